-- expect: usual is called on c
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    for _, t in ipairs{ {}, setmetatable({}, { __index = c, __tostring = function() while true do end end }), true } do
        if pcall(c.usual, c, t) then return false, "taken" end
    end
    c.usual(c.hosts[1], 5)
    return true, "done"
end

return P
