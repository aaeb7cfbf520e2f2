-- expect: stack overflow|memory limit|time limit|C stack overflow
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function f(n) return 1 + f(n + 1) end
    f(1)
    return true, "done"
end

return P
