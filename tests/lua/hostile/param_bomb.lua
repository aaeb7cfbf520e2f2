-- expect: time limit|memory
-- lua_ms: 150
local params = setmetatable({}, { __pairs = function() while true do end end, __index = function() while true do end end })
local P = policy { name = "hostile", api = 1, params = params }
while true do end
