-- expect: time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function deep(n)
        if n == 0 then while true do end end
        while true do pcall(deep, n - 1) end
    end
    deep(50)
    return true, "done"
end

return P
