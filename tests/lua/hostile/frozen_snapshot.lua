-- expect: read-only
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    c.hosts[1].name = "other"
    return true, "done"
end

return P
