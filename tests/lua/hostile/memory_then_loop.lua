-- expect: time limit|memory
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    pcall(function() local s = "x" while true do s = s .. s end end)
    while true do pcall(function() local s = ("y"):rep(1 << 28) end) end
    return true, "done"
end

return P
