-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = setmetatable({}, { __index = function(t, k) while true do end end })
    local x = t.anything
    return true, "done"
end

return P
