-- expect: ok|time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    for i = 1, 2000 do c:note("key" .. i, string.rep("y", 1000)) end
    c:note("esc", "\27[2J\0\255")
    do return true, string.rep("z", 2 << 20) end
    return true, "done"
end

return P
