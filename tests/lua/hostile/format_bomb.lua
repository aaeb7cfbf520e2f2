-- expect: invalid conversion|memory limit|too long|limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = string.format("%99999999999d", 1)
    return true, "done"
end

return P
