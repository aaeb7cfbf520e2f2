-- expect: not defined|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    for i = 1, 1e9 do _G["v" .. i] = i end
    return true, "done"
end

return P
