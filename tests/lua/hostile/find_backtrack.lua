-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = ("a"):rep(30000)
    while true do s:find(("a?"):rep(20) .. ("a*"):rep(20) .. "b") end
    return true, "done"
end

return P
