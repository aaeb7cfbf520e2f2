-- expect: time limit
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true, "x" end
function P.filter(c,v,h) for i, x in ipairs(setmetatable({}, {__index=function(t,k) return k end})) do end end
function P.sources(c) return c:host("hv1") end
return P
