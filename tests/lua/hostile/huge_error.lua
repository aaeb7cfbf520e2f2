-- expect: xxxx|time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    error(string.rep("x", 10 << 20))
    return true, "done"
end

return P
