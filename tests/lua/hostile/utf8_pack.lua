-- expect: time limit|limit|too large|overflow
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = {}
    for i = 1, 200000 do t[i] = string.pack("s8", string.rep("p", 1 << 16)) end
    return true, "done"
end

return P
