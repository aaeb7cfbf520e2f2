-- expect: time limit|memory|refus
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    while true do for _, h in ipairs(c.hosts) do c:refuse(h, reject("X", ("y"):rep(1000))) end end
    return true, "done"
end

return P
