-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = setmetatable({}, { __pairs = function(t) return function() return 1 end, t, nil end })
    for k in pairs(t) do end
    while true do end
    return true, "done"
end

return P
