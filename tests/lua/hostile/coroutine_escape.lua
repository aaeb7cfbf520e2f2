-- expect: 'coroutine' is not offered
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    coroutine.wrap(function() while true do end end)()
    return true, "done"
end

return P
