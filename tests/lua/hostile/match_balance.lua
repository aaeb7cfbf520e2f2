-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = ("("):rep(200000)
    for i = 1, 1e9 do s:match("%b()") end
    return true, "done"
end

return P
