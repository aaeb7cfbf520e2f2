-- expect: time limit|memory limit
-- lua_ms: 150
local P = policy { name = "hostile", api = 1, goal = "drain" }
local kept = {}
function P.trigger(c) return true, "x" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    while true do
        kept[#kept + 1] = host:after(vm)
        for i = 1, #kept do local x = kept[i].temp.cpu, kept[i].mem:pct() end
    end
end
return P
