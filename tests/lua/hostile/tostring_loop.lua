-- expect: time limit|stack
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = setmetatable({}, { __tostring = function(x) return tostring(x) end })
    tostring(t)
    return true, "done"
end

return P
