-- expect: time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function handler() while true do end end
    while true do
        xpcall(function() error("x") end, handler)
    end
    return true, "done"
end

return P
