-- spread_ha: VMs with the same value of a tag ("ha" unless set otherwise) are replicas of one
-- service; no two shall share a host while another host can take one. Says too whether the fleet
-- could carry the loss of its fullest host.

local P = policy {
    name = "spread_ha", api = 1, goal = "drain", class = "optimise", cooldown = "1h",
    description = "keeps replicas of one service on different hosts",
    params = {
        tag = { type = "string", default = "ha", doc = "tag whose value names the service" },
    },
}

-- The replicas of each service on one host beyond the first, which stays.
local function surplus(c, host)
    local seen, extra = {}, {}
    for _, vm in ipairs(host.vms:where{ state = "running" }:sort_by("name")) do
        local service = vm.tags[c.params.tag]
        if service and seen[service] then extra[#extra + 1] = vm end
        if service then seen[service] = true end
    end
    return extra
end

local function crowded(c)
    return c.hosts:where(function(h) return #surplus(c, h) > 0 end)
end

-- Would the memory of any host's VMs fit on the others? nil where something is unknown.
local function survives_one(c)
    local up = c.hosts:where{ state = "up" }
    local free, most = up:sum("mem.free"), nil
    if not free then return nil end
    for _, h in ipairs(up) do
        local need = h.mem.committed + h.mem.free
        most = math.max(most or 0, need)
    end
    return most ~= nil and free >= most
end

function P.trigger(c)
    local ok = survives_one(c)
    if ok ~= nil then c:note("survives_one_host", tostring(ok)) end
    local hosts = crowded(c)
    if #hosts == 0 then return false, "no two replicas share a host" end
    return true, "replicas share " .. hosts:names()
end

function P.sources(c)
    return crowded(c)
end

function P.select(c, host)
    return surplus(c, host)
end

function P.filter(c, vm, host)
    local service = vm.tags[c.params.tag]
    for _, other in ipairs(host.vms) do
        if other.uuid ~= vm.uuid and other.tags[c.params.tag] == service then
            return reject("SAME_SERVICE", "%s, a replica of %s too, is on %s", other.name, service, host.name)
        end
    end
end

function P.score(c, vm, host)
    local after = host:after(vm)
    return 100 - math.max(after.cpu.util or 50, after.mem.util or 50), "most room left"
end

return P
