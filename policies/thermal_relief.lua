-- thermal_relief: a host whose CPU runs hot gives away the smallest set of VMs that cools it.
-- When the inlet air itself is hot it moves nothing, and says so: the room is at fault.

local P = policy {
    name = "thermal_relief", api = 1, goal = "relieve", class = "thermal", cooldown = "10m",
    description = "cools a hot host by moving the smallest sufficient set of its VMs",
    params = {
        limit = { type = "celsius", default = 75, min = 40, max = 110,
                  doc = "CPU temperature at which a host is hot, when its own maximum allows no less" },
        below_max = { type = "celsius", default = 8, min = 0, max = 40,
                      doc = "a host is hot this far below its own maximum, if that is below limit" },
        margin = { type = "celsius", default = 5, min = 0, max = 30,
                   doc = "how far below the limit a destination stays" },
        relief_margin = { type = "celsius", default = 1, min = 0, max = 30,
                          doc = "how far below the limit a hot host shall come" },
        inlet_limit = { type = "celsius", default = 32, min = 15, max = 50,
                        doc = "inlet air at which moving VMs no longer helps" },
        look_ahead = { type = "duration", default = "5m", min = "0s", max = "30m",
                       doc = "a host that will be hot within this time counts as hot" },
        lag = { type = "duration", default = "3m", min = "10s", max = "1h",
                doc = "how slowly a processor's temperature follows its load: a time constant" },
        hot_neighbour = { type = "celsius", default = 3, min = 0, max = 20,
                          doc = "a destination's rack neighbours must be this far below their limit" },
        max_moves = { type = "integer", default = 4, min = 1, max = 50,
                      doc = "moves of one plan at most" },
    },
}

-- The CPU temperature at which this host counts as hot.
local function limit_of(c, host)
    local limit = c.params.limit
    if host.temp.cpu_max then limit = math.min(limit, host.temp.cpu_max - c.params.below_max) end
    return limit
end

local function inlet_limit_of(c, host)
    local limit = c.params.inlet_limit
    if host.temp.inlet_max then limit = math.min(limit, host.temp.inlet_max) end
    return limit
end

-- The CPU temperature after the look-ahead if nothing else changes, nil when the present one is
-- unknown. Heat follows load with a lag, so that a slope flattens out: a host that warms does not
-- warm for ever, and one that cools, because VMs have left, shall not lose more of them meanwhile.
local function expected(c, host)
    local now, trend = host.temp.cpu, host.temp.trend
    if not now or not trend then return now end
    return now + trend * c.params.lag / 60 * (1 - math.exp(-c.params.look_ahead / c.params.lag))
end

-- Of a destination: that it is cooling is no promise.
local function at_most(c, host)
    local t = expected(c, host)
    return t and math.max(t, host.temp.cpu)
end

local function holds_vms(host)
    return host.state == "up" or host.state == "cordoned" or host.state == "draining"
end

local function is_hot(c, host)
    local t = expected(c, host)
    return holds_vms(host) and t ~= nil and t >= limit_of(c, host)
end

local function inlet_is_hot(c, host)
    return host.temp.inlet ~= nil and host.temp.inlet >= inlet_limit_of(c, host)
end

local function hot_hosts(c)
    return c.hosts:where(function(h) return is_hot(c, h) end)
end

-- How many degrees a VM's departure must take from the host in all.
local function wanted(c, host)
    return math.max(expected(c, host) - (limit_of(c, host) - c.params.relief_margin), 0)
end

function P.trigger(c)
    local hot = hot_hosts(c)
    if #hot == 0 then
        local air = c.hosts:where(function(h) return holds_vms(h) and inlet_is_hot(c, h) end)
        for _, h in ipairs(air) do
            c:refuse(h, reject("HOT_INLET", "moving won't help: the inlet air of %s is %.1f °C",
                               h.name, h.temp.inlet))
        end
        return false, "no host is hot"
    end
    local t, worst = hot:max("heat")
    return true, string.format("%s at %.1f °C (limit %.1f)%s", worst.name, t, limit_of(c, worst),
                               #hot > 1 and string.format(", %d hosts are hot", #hot) or "")
end

function P.sources(c)
    return hot_hosts(c):where(function(h)
        if not inlet_is_hot(c, h) then return true end
        c:refuse(h, reject("HOT_INLET",
                           "moving won't help: the inlet air of %s is %.1f °C (limit %.1f), cool the room",
                           h.name, h.temp.inlet, inlet_limit_of(c, h)))
        return false
    end)
end

-- Degrees: each VM brings its heat, each host has room up to margin below its limit.
function P.objective(c)
    return {
        max_moves = c.params.max_moves,
        resource = {
            unit = "°C",
            load = function(vm) return vm.heat end,
            room = function(host)
                local t = at_most(c, host)
                return t and limit_of(c, host) - c.params.margin - t
            end,
            relief = function(host) return wanted(c, host) end,
        },
    }
end

function P.filter(c, vm, host)
    local now = at_most(c, host)
    if not now then
        return reject("UNKNOWN_TEMPERATURE", "the temperature of %s is not known", host.name)
    end
    if inlet_is_hot(c, host) then
        return reject("HOT_INLET", "the inlet air of %s is %.1f °C", host.name, host.temp.inlet)
    end
    local after, limit = host:after(vm).temp.cpu, limit_of(c, host) - c.params.margin
    if after and after + (now - host.temp.cpu) > limit then
        return reject("NO_HEADROOM", "%s would reach %.1f °C, %.1f is allowed", host.name,
                      after + (now - host.temp.cpu), limit)
    end
    for _, n in ipairs(host.neighbours) do
        local t = n.temp.cpu
        if t and n ~= vm.host and t > limit_of(c, n) - c.params.hot_neighbour then
            return reject("HOT_NEIGHBOUR", "%s, beside %s, is at %.1f °C", n.name, host.name, t)
        end
    end
end

-- The cooler the destination stays, the better.
function P.score(c, vm, host)
    local limit, after = limit_of(c, host), host:after(vm).temp.cpu
    if not after then return 0 end
    return 100 * (limit - after) / limit, "%.0f °C after the move", after
end

return P
