-- expect: time limit|memory|time limit|C stack overflow
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local m = {}
    m.__concat = function(a, b) return setmetatable({}, m) .. a end
    local x = setmetatable({}, m) .. "x"
    return true, "done"
end

return P
