-- expect: time limit|note|memory
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local i = 0
    while true do
        i = i + 1
        c:note("k" .. i, ("x"):rep(1000))
    end
    return true, "done"
end

return P
