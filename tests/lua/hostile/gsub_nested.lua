-- expect: stack overflow|C stack|time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function f(s) return (s:gsub(".", f)) end
    f("ab")
    return true, "done"
end

return P
