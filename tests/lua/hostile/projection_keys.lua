-- expect: ok
local P = policy { name = "hostile", api = 1, goal = "drain" }
function P.trigger(c) return true, "x" end
function P.sources(c) return c:host("hv1") end
function P.filter(c, vm, host)
    local after, before = host:after(vm), host:without(vm)
    for _, k in ipairs{ 1, 0, -1, 1.5, true, {}, print, ("x"):rep(1000), "cpu\0", after, before } do
        for _, p in ipairs{ after, before, after.cpu, before.mem } do
            if pcall(function() return p[k] end) then return reject("TAKEN", "it took a %s", type(k)) end
            if pcall(function() p[k] = 1 end) then return reject("SET", "it was set") end
        end
    end
    if pcall(host.after, after, vm) or pcall(host.after, host, after) then return reject("FORGED") end
end
return P
