-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    while true do pcall(function() c.hosts:where(function(h) error("x") end) end) end
    return true, "done"
end

return P
