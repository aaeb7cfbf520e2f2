-- expect: memory|limit|ok|long
-- lua_ms: 150
local P = policy { name = "hostile", api = 1, description = ("x"):rep(200 * 1024 * 1024) }
function P.trigger(c) return false end
function P.score(c, vm, host) return 1 end
return P
