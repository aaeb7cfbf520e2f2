-- expect: time limit|stack
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local m = {}
    m.__eq = function(a, b) return setmetatable({}, m) == setmetatable({}, m) end
    local x = setmetatable({}, m) == setmetatable({}, m)
    return true, "done"
end

return P
