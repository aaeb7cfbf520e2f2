-- expect: __gc is not allowed
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    setmetatable({}, { __gc = function() while true do end end })
    return true, "done"
end

return P
