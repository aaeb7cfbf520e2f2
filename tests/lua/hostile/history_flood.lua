-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    while true do for _, h in ipairs(c.hosts) do h:history("cpu.util"):avg("5m") end end
    return true, "done"
end

return P
