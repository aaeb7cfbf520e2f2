-- expect: time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    for i = 1, 100000 do t[i] = i end
    while true do table.sort(t, function(a, b) return true end) end
    return true, "done"
end

return P
