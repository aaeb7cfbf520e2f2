-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    for x = 0, 1, 1e-300 do end
    return true, "done"
end

return P
