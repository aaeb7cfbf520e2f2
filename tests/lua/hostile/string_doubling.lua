-- expect: memory|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = "x"
    while true do s = s .. s end
    return true, "done"
end

return P
