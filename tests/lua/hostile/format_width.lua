-- expect: invalid|too long|time limit|memory
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    string.format("%999999999d", 1)
    return true, "done"
end

return P
