-- expect: more than 1000000 elements
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    table.move({}, 1, 2 ^ 40 // 1 | 0, 2)
    return true, "done"
end

return P
