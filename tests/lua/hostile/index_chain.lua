-- expect: loop
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local a = setmetatable({}, {})
    local t = a
    for i = 1, 3000 do t = setmetatable({}, { __index = t }) end
    local y = t.x
    return true, "done"
end

return P
