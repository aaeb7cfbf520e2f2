-- expect: time limit|stack|error
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function h(e) return xpcall(error, h, e) end
    while true do xpcall(error, h, "x") end
    return true, "done"
end

return P
