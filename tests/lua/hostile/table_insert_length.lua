-- expect: time limit
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = setmetatable({}, { __len = function() return 1 << 60 end })
    table.insert(t, 1, "x")
    return true, "done"
end

return P
