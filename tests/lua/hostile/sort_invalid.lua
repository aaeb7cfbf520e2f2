-- expect: ok|invalid order|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    for i = 1, 20000 do t[i] = i % 7 end
    table.sort(t, function(a, b) return true end)
    return true, "done"
end

return P
