-- expect: no text but a table
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    error(setmetatable({}, { __tostring = function() while true do end end }))
    return true, "done"
end

return P
