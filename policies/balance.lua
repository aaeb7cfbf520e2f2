-- balance: evens out what hosts really use (CPU time and pressure, not what was requested), when the
-- difference is large enough to matter and the plan mends enough of it.

local P = policy {
    name = "balance", api = 1, goal = "balance", class = "optimise", cooldown = "6h",
    description = "evens out the hosts' use",
    params = {
        threshold = { type = "percent", default = 12, min = 2, max = 50,
                      doc = "mean deviation of the hosts' CPU use at which something is done" },
        gain = { type = "percent", default = 10, min = 1, max = 100,
                 doc = "part of the imbalance that a plan must mend" },
        cpu_limit = { type = "percent", default = 80, min = 20, max = 100,
                      doc = "CPU use of a destination after the move, at most" },
        pressure = { type = "percent", default = 10, min = 1, max = 100,
                     doc = "CPU pressure at which a host counts as hot, and takes nothing" },
        max_moves = { type = "integer", default = 5, min = 1, max = 100,
                      doc = "moves of one plan at most" },
    },
    needs = { "host.cpu.util" },
}

local function pressed(c, host)
    return host.cpu.psi ~= nil and host.cpu.psi >= c.params.pressure
end

local function known(c)
    return c.hosts:where(function(h) return h.state == "up" and h.cpu.util ~= nil end)
end

function P.trigger(c)
    local hosts = known(c)
    if #hosts < 2 then return false, "fewer than two hosts with a known load" end
    local deviation, hot = hosts:deviation("cpu.util"), hosts:where(function(h) return pressed(c, h) end)
    c:note("deviation", deviation)
    if #hot > 0 and #hot < #hosts then return true, "under pressure: " .. hot:names() end
    if deviation < c.params.threshold then
        return false, string.format("the hosts' CPU use differs by %.1f %%", deviation)
    end
    return true, string.format("the hosts' CPU use differs by %.1f %%", deviation)
end

-- Only hosts above the mean, or under pressure, give VMs away.
function P.sources(c)
    local hosts = known(c)
    local mean = hosts:mean("cpu.util")
    return hosts:where(function(h) return h.cpu.util > mean or pressed(c, h) end)
end

function P.objective(c)
    return {
        max_moves = c.params.max_moves, safety = c.params.cpu_limit,
        -- The filter sees one arrival at a time; this holds the limit for all of them together.
        resource = {
            unit = "cores",
            load = function(vm) return vm.cpu.used end,
            room = function(host)
                local cores, used = host.cpu.cores, host.cpu.used
                return cores and used and math.max(cores * c.params.cpu_limit / 100 - used, 0)
            end,
        },
    }
end

function P.filter(c, vm, host)
    local cpu, source = host:after(vm).cpu.util, vm.host
    if not cpu then return reject("UNKNOWN_LOAD", "the load of %s or %s is not known", vm.name, host.name) end
    if pressed(c, host) then return reject("PRESSURE", "%s is under pressure itself", host.name) end
    if cpu > c.params.cpu_limit then
        return reject("CPU_LIMIT", "%s would reach %.0f %% CPU", host.name, cpu)
    end
    -- The destination must not become what the source is now: the VM would come back.
    if source and source.cpu.util and not pressed(c, source) and cpu >= source.cpu.util then
        return reject("NO_GAIN", "%s would be busier than %s is now", host.name, source.name)
    end
end

function P.score(c, vm, host)
    local cpu = host:after(vm).cpu.util or 100
    return 100 - cpu, "%.0f %% CPU after the move", cpu
end

function P.accept(c, plan)
    local before, after = plan.imbalance_before, plan.imbalance_after
    if after > before * (1 - c.params.gain / 100) then
        return false, string.format("imbalance would only fall from %.1f to %.1f %%", before, after)
    end
    return true
end

return P
