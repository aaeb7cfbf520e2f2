-- expect: built in
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    pairs = function() return nil end
    return true, "done"
end

return P
