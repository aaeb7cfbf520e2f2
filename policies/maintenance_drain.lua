-- maintenance_drain: whatever runs on a host that is draining or in maintenance goes elsewhere, to
-- where most room is left. What finds no place stays, and the plan says why.

local P = policy {
    name = "maintenance_drain", api = 1, goal = "drain", class = "drain", cooldown = "0s",
    description = "empties hosts that are draining or in maintenance",
    params = {
        cpu_limit = { type = "percent", default = 90, min = 20, max = 100,
                      doc = "CPU use of a destination after the move, at most" },
        temperature_margin = { type = "celsius", default = 3, min = 0, max = 40,
                               doc = "a destination's CPU stays this far below its maximum" },
    },
}

local function leaving(c)
    return c.hosts:where(function(h)
        return (h.state == "draining" or h.state == "maintenance") and #h.vms:where{ state = "running" } > 0
    end)
end

function P.trigger(c)
    local hosts = leaving(c)
    if #hosts == 0 then return false, "no host is being drained" end
    return true, "draining " .. hosts:names()
end

function P.sources(c)
    return leaving(c)
end

-- Unknown loads and temperatures do not stop a drain: the host has to be emptied.
function P.filter(c, vm, host)
    local after = host:after(vm)
    local cpu, headroom = after.cpu.util, after.temp.headroom
    if cpu and cpu > c.params.cpu_limit then
        return reject("CPU_LIMIT", "%s would reach %.0f %% CPU", host.name, cpu)
    end
    if headroom and headroom < c.params.temperature_margin then
        return reject("NO_HEADROOM", "%s would come within %.0f °C of its limit", host.name, headroom)
    end
end

function P.score(c, vm, host)
    local after = host:after(vm)
    local cpu, memory = after.cpu.util or 50, after.mem.util or 50
    return 100 - math.max(cpu, memory), "%.0f %% CPU, %.0f %% memory after the move", cpu, memory
end

return P
