-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
local n = 0
function P.trigger(c) return true end
function P.score(c, vm, host)
    n = n + 1
    if n > 2 then while true do end end
    return 50
end
return P
