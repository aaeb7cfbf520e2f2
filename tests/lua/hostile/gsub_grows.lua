-- expect: ok|time limit|memory limit
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true, "x" end
function P.filter(c,v,h) return (("x"):rep(1e6):gsub(".", {x=("y"):rep(1000)})) end
function P.sources(c) return c:host("hv1") end
return P
