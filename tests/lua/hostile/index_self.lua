-- expect: loop|'__index'|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    setmetatable(t, { __index = t })
    local x = t.anything
    return true, "done"
end

return P
