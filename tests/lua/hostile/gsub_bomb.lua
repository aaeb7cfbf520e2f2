-- expect: time limit|memory limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = "x"
    while true do s = s:gsub(".", "xx") end
    return true, "done"
end

return P
