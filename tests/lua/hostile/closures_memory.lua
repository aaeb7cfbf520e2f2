-- expect: memory|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    for i = 1, 1e9 do t[i] = function() return t, i end end
    return true, "done"
end

return P
