-- expect: time limit|C stack overflow
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function again() return (("x"):rep(1000):gsub(".", again)) end
    again()
    return true, "done"
end

return P
