-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    while true do pcall(c.usual, c, "1d12h") c:usual_range() end
    return true, "done"
end

return P
