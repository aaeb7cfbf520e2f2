-- expect: time limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end

function P.trigger(c)
    local s = ("\u{10FFFF}"):rep(100000)
    while true do for _ in utf8.codes(s) do end end
    return true, "done"
end

return P
