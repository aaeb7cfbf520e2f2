-- expect: 'io' is not offered
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    io.open("/etc/passwd"):read("a")
    return true, "done"
end

return P
