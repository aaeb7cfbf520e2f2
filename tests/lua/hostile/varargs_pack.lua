-- expect: memory|too many|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    while true do t[#t + 1] = table.pack(table.unpack(t, 1, math.min(#t, 200))) end
    return true, "done"
end

return P
