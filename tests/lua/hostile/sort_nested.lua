-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local function deep(n)
        local t = {}
        for i = 1, 2000 do t[i] = -i end
        table.sort(t, function(a, b) if n > 0 then deep(n - 1) end return a < b end)
    end
    deep(50)
    return true, "done"
end

return P
