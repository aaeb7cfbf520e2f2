-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function f() error(setmetatable({}, { __tostring = function() error({}) end })) end
    while true do pcall(f) end
    return true, "done"
end

return P
