-- expect: returned|host
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.trigger(c) return true end
function P.sources(c) return { setmetatable({ name = "h1" }, {}) } end
function P.score(c, vm, host) return 1 end
return P
