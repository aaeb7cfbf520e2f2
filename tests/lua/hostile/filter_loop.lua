-- expect: filter_loop.lua:4: over the time limit
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true, "x" end
function P.filter(c,v,h) while true do end end
function P.sources(c) return c:host("hv1") end
return P
