-- expect: memory limit|time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    for i = 1, 1e12 do t[i] = { i, i } end
    return true, "done"
end

return P
