-- expect: memory|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local keep, s = {}, ("x"):rep(1 << 20)
    while true do keep[#keep + 1] = (s:upper()):lower() .. #keep end
    return true, "done"
end

return P
