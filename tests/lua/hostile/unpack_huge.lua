-- expect: too many results|elements|range
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    return table.unpack({}, 1, 1e8)
end

return P
