-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local t = setmetatable({}, { __newindex = function(t, k, v) t[k .. "x"] = v end })
    pcall(function() t.a = 1 end)
    while true do pcall(function() t.a = 1 end) end
    return true, "done"
end

return P
