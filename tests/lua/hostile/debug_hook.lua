-- expect: 'debug' is not offered
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    debug.sethook()
    while true do end
    return true, "done"
end

return P
