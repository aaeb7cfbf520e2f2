-- expect: memory limit|too large
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = string.rep("x", 1 << 40)
    return true, "done"
end

return P
