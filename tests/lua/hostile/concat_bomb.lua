-- expect: time limit|memory limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = string.rep("x", 16 << 20)
    local n = 0
    while true do
        local t = s .. n
        n = n + #t
    end
    return true, "done"
end

return P
