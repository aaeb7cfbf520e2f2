-- expect: time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = string.rep("a", 30)
    string.find(s, string.rep(".-", 12) .. "b")
    return true, "done"
end

return P
