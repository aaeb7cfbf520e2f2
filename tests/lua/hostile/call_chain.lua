-- expect: stack overflow|C stack|time limit|attempt to call
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    for i = 1, 300 do t = setmetatable({}, { __call = t }) end
    t()
    return true, "done"
end

return P
