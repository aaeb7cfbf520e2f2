-- expect: time limit|memory|elements|too many|size
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = setmetatable({}, { __len = function() return 1 << 60 end })
    table.unpack(t, 1, #t)
    return true, "done"
end

return P
