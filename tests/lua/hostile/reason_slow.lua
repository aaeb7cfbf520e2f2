-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    return true, setmetatable({}, { __tostring = function() while true do end end })
end

return P
