-- expect: at most 7 days
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    for _, t in ipairs{ 0 / 0, math.huge, -math.huge, -1, math.maxinteger, math.mininteger, 1e308 } do
        if pcall(c.usual, c, t) then return false, "taken" end
    end
    c:usual(1e18)
    return true, "done"
end

return P
