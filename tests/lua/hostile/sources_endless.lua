-- expect: time limit
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true, "x" end
function P.sources(c) return setmetatable({}, {__index=function(t,k) return c.hosts[1] end}) end
return P
