-- expect: read-only
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local mt = getmetatable("")
    string.format = function() return "owned" end
    return true, "done"
end

return P
