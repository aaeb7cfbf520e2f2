-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.trigger(c) return true end
function P.objective(c)
    return { resource = { unit = "x", load = function(vm) while true do end end } }
end
return P
