-- expect: __close is not allowed
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    do
        local x <close> = setmetatable({}, { __close = function() while true do end end })
    end
    return true, "done"
end

return P
