-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true end
function P.sources(c) return c.hosts:take(1) end
function P.permit(c, move) while true do end end
return P
