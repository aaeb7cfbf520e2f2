-- expect: time limit|memory|too many|stack
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function grow(...) return grow(1, ...) end
    grow()
    return true, "done"
end

return P
