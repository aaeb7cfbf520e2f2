-- expect: time limit|ok|invalid
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = { a = 1 }
    for k in pairs(t) do t[k .. "a"] = 1 t[k] = nil end
    return true, "done"
end

return P
