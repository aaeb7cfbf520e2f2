-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true, "x" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    local r = reject("X", "y")
    r[1], r[2], r[3] = setmetatable({}, { __tostring = function() while true do end end }), {}, r
    if host.name == "hv2" then r[1] = ("Z"):rep(1 << 20) end
    return r
end
return P
