-- night_consolidation: within its window, packs VMs onto fewer hosts; those that then stand empty go on
-- standby. Before the window ends all are woken and the load is spread again: by then it must be over, so
-- let the window end when the day's load begins. Load that rises at night wakes hosts at once.

local P = policy {
    name = "night_consolidation", api = 1, goal = "consolidate", class = "optimise",
    cooldown = "2h",
    description = "packs VMs onto fewer hosts at night",
    schedule = { from = "22:00", to = "05:30", days = "mon-sun", zone = "UTC" },
    params = {
        cpu_target = { type = "percent", default = 70, min = 20, max = 95,
                       doc = "CPU use of a host after packing, at most" },
        memory_target = { type = "percent", default = 90, min = 20, max = 100,
                          doc = "memory of a host given to VMs after packing, at most" },
        temperature_margin = { type = "celsius", default = 10, min = 0, max = 40,
                               doc = "a packed host's CPU stays this far below its maximum" },
        n_plus = { type = "integer", default = 1, min = 0, max = 4,
                   doc = "hosts whose failure the rest must still carry" },
        least_freed = { type = "integer", default = 1, min = 1, max = 100,
                        doc = "a plan that empties fewer hosts is not worth its moves" },
        last_start = { type = "duration", default = "90m", min = "0s", max = "6h",
                       doc = "nothing is packed this close to the window's end" },
        wake_before = { type = "duration", default = "45m", min = "0s", max = "6h",
                        doc = "hosts are woken and load is spread this long before the window's end" },
        wake_above = { type = "percent", default = 85, min = 30, max = 100,
                       doc = "CPU use of a host above which others are woken at any hour" },
        spread = { type = "percent", default = 5, min = 1, max = 50,
                   doc = "mean deviation of CPU use that is left when load was spread" },
        max_moves = { type = "integer", default = 40, min = 1, max = 1000,
                      doc = "moves of one plan at most" },
    },
    needs = { "host.cpu.util" },
}

-- Hosts on standby; not those that people keep there.
local function asleep(c)
    return c.hosts:where(function(h)
        return h.state == "standby" and h.power.can_wake and h.tags["standby"] ~= "keep"
    end)
end

local function up(c) return c.hosts:where{ state = "up" } end

local function strained(c)
    return up(c):where(function(h) return (h.cpu.util or 0) > c.params.wake_above end)
end

local function ends_within(c, time)
    return c.window.open and c.window.ends_in ~= nil and c.window.ends_in <= time
end

-- "morning": everything wakes and spreads; "strain": some hosts wake; "night": packing; nil and why not.
local function look(c)
    local sleeping = asleep(c)
    local morning = not c.window.open or ends_within(c, c.params.wake_before)
    if #sleeping > 0 and morning then return "morning", string.format("%d hosts are wanted by day", #sleeping) end
    if #sleeping > 0 and #strained(c) > 0 then
        return "strain", string.format("%s above %d %% CPU while others sleep", strained(c):names(),
                                       c.params.wake_above)
    end
    if not c.window.open then return nil, "outside its window" end
    if morning then
        local uneven = up(c):deviation("cpu.util")
        if uneven and uneven > c.params.spread then
            return "morning", string.format("CPU use differs by %.0f %% before the day", uneven)
        end
        return nil, "the window ends soon"
    end
    if ends_within(c, c.params.last_start) then return nil, "the window ends soon" end
    return "night"
end

-- Asked for every pair: looked up once an evaluation.
local seen, said, why_said
local function phase(c)
    if seen ~= c.taken_at then
        seen = c.taken_at
        said, why_said = look(c)
    end
    return said, why_said
end

-- Hosts that may be emptied: not those whose owner wants them awake.
local function spare(c)
    return up(c):where(function(h) return h.power.standby_allowed ~= false and h.tags["standby"] ~= "never" end)
end

function P.trigger(c)
    local now, why = phase(c)
    if now ~= "night" then return now ~= nil, why end
    local used = up(c):where(function(h) return #h.vms > 0 end)
    local idle = spare(c):where(function(h) return #h.vms == 0 and h.power.can_wake end)
    if #used <= 1 + c.params.n_plus and #idle == 0 then return false, "no host can be spared" end
    return true, string.format("night: %d hosts in use, %d more could sleep", #used, #idle)
end

function P.sources(c)
    return phase(c) == "night" and spare(c) or up(c)
end

-- What a VM took at its busiest of late, where that is known: packed hosts have less to spare.
local function busiest(vm)
    local used = vm.cpu.used
    return used and math.max(used, vm:history("cpu.used"):p(95, "15m") or 0)
end

function P.objective(c)
    local now = phase(c)
    if now == "morning" or now == "strain" then
        local sleeping = asleep(c)
        return {
            goal = "balance",
            wake = now == "morning" and sleeping or sleeping:take(math.max(#strained(c), #sleeping // 4, 1)),
            n_plus = c.params.n_plus,
            deadline = now == "morning" and c.window.open and c.window.ends_in or 0,
        }
    end
    return {
        max_moves = c.params.max_moves, n_plus = c.params.n_plus, safety = c.params.cpu_target,
        deadline = c.window.ends_in or 0,
        -- The filter sees one arrival at a time; this holds the target for all of them together.
        resource = {
            unit = "cores",
            load = busiest,
            room = function(host)
                local cores, used = host.cpu.cores, host.cpu.used
                return cores and used and math.max(cores * c.params.cpu_target / 100 - used, 0)
            end,
        },
    }
end

function P.filter(c, vm, host)
    local after = host:after(vm)
    local cpu, memory, headroom = after.cpu.util, after.mem.util, after.temp.headroom
    if not cpu then return reject("UNKNOWN_LOAD", "the load of %s or %s is not known", vm.name, host.name) end
    if cpu > c.params.cpu_target then
        return reject("CPU_TARGET", "%s would reach %.0f %% CPU, %.0f is allowed", host.name, cpu,
                      c.params.cpu_target)
    end
    if memory and memory > c.params.memory_target then
        return reject("MEMORY_TARGET", "%s would give %.0f %% of its memory to VMs", host.name, memory)
    end
    if headroom and headroom < c.params.temperature_margin then
        return reject("NO_HEADROOM", "%s would come within %.0f °C of its limit", host.name, headroom)
    end
end

-- Fill what is full already; before the day, what is empty.
function P.score(c, vm, host)
    if phase(c) ~= "night" then return 100 - (host:after(vm).cpu.util or 100) end
    local cpu, memory = host.cpu.util or 0, host.mem.util or 0
    return math.max(cpu, memory), "%s holds %d VMs already", host.name, #host.vms
end

function P.accept(c, plan)
    if phase(c) ~= "night" or #plan.standby > 0 then return true end
    if plan.hosts_freed < c.params.least_freed then
        return false, string.format("it would empty %d hosts", plan.hosts_freed)
    end
    return true
end

return P
