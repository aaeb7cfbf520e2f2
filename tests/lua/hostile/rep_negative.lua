-- expect: ok
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local x = ("x"):rep(-1) .. ("y"):rep(math.mininteger)
    return true, "done"
end

return P
