-- expect: where a host was expected
local P = policy { name = "hostile", api = 1 }
function P.trigger(c) return true end
function P.sources(c)
    return { setmetatable({ name = "hv1" }, { 16777217, true, __index = c.hosts[1] }) }
end
return P
