-- night_consolidation: within its window, packs VMs onto fewer hosts; those that then stand empty go on
-- standby. All are woken and the load is spread again before the day's load usually comes, as the fleet's week
-- shows (c:usual), and before the window ends, whichever is first. Where no week is known yet it is the window's
-- end alone: let it end when the day's load begins. Load that rises at night wakes hosts at once.

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
                        doc = "hosts are woken and load is spread this long before the day's load, or the window's end" },
        look_ahead = { type = "duration", default = "2h", min = "0s", max = "12h",
                       doc = "packed hosts carry what usually comes within this time, others wake for it" },
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

-- ---- what the week teaches

local SLOT <const> = 1800 -- c:usual() knows half-hours

-- How many times what is used now usually comes within the time: at least 1, and 1 where it is not known.
local function growth(c, time)
    local now, most = c:usual(), 0
    if not now or now <= 0 then return 1 end
    for ahead = 0, time, SLOT // 2 do most = math.max(most, c:usual(ahead) or 0) end
    return math.max(most / now, 1)
end

local GROWS <const> = 1.1  -- by less than this a load that is usual differs at any hour
local RISES <const> = 1.25 -- by less than this a night's load rises and falls again
local NIGHT <const> = 0.6  -- a week whose least is more than this part of its most has no nights

-- Does the load begin to rise to more than the hosts that are awake can do well? That is halfway between what they
-- are packed to and what is strain.
local function day_comes(c)
    if growth(c, c.params.wake_before) <= GROWS then return false end
    local used, cores = up(c):sum("cpu.used"), up(c):sum("cpu.cores")
    local most = (c.params.cpu_target + c.params.wake_above) / 2
    return used and cores and used * growth(c, c.params.look_ahead) > cores * most / 100
end

-- Is it too late to pack: does the load rise soon, or is it in the upper half of a week that has days and nights?
local function soon_day(c)
    if growth(c, c.params.last_start) > RISES then return true end
    local least, most = c:usual_range()
    local now = c:usual()
    return now and least < NIGHT * most and now > (least + most) / 2
end

-- "morning": everything wakes and spreads; "strain": some hosts wake; "night": packing; nil and why not.
local function look(c)
    local sleeping = asleep(c)
    local ends = not c.window.open or ends_within(c, c.params.wake_before)
    local morning = ends or day_comes(c)
    if #sleeping > 0 and morning then
        return "morning", string.format(ends and "%d hosts are wanted by day"
                                        or "%d hosts are wanted: the day's load usually comes now", #sleeping)
    end
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
        return nil, ends and "the window ends soon" or "the day's load usually comes now"
    end
    if ends_within(c, c.params.last_start) then return nil, "the window ends soon" end
    if soon_day(c) then return nil, "the day's load usually comes soon" end
    return "night"
end

-- Asked for every pair: looked up once an evaluation.
local seen, said, why_said, more
local function look_once(c)
    if seen == c.taken_at then return end
    seen = c.taken_at
    said, why_said = look(c)
    more = said == "night" and growth(c, c.params.look_ahead) or 1
end

local function phase(c)
    look_once(c)
    return said, why_said
end

-- Packed hosts have to carry this many times what is used now.
local function ahead(c)
    look_once(c)
    return more
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
            load = function(vm)
                local used = busiest(vm)
                return used and used * ahead(c)
            end,
            room = function(host)
                local cores, used = host.cpu.cores, host.cpu.used
                return cores and used and math.max(cores * c.params.cpu_target / 100 - used * ahead(c), 0)
            end,
        },
    }
end

function P.filter(c, vm, host)
    local after = host:after(vm)
    local cpu, memory, headroom = after.cpu.util, after.mem.util, after.temp.headroom
    if not cpu then return reject("UNKNOWN_LOAD", "the load of %s or %s is not known", vm.name, host.name) end
    cpu = cpu * ahead(c)
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

-- ---- is it worth the energy?

-- Seconds until the hosts that go to sleep now are wanted again; nil where that is not known.
local function sleeps_for(c)
    local now, wanted = c:usual(), c.window.ends_in
    for time = 0, now and (wanted or 12 * 3600) or -1, SLOT // 2 do
        if (c:usual(time) or 0) > RISES * now then
            wanted = time
            break
        end
    end
    return wanted and wanted - c.params.wake_before
end

-- What a move takes: 0.512 J for each MB carried and 20 J (Liu et al., HPDC 2011).
local function joules_of(plan)
    local sum = 0
    for _, move in ipairs(plan.moves) do sum = sum + 0.512 * 1.05 * move.mib + 20 end
    return sum
end

-- Joules that the plan saves: the idle watts of its hosts for as long as they sleep, less what moving, falling asleep
-- and waking take (each transition what the host draws idle, for as long as it takes to wake); nil where not known.
local function saves(c, plan)
    local time, sum = sleeps_for(c), -joules_of(plan)
    if not time then return nil end
    for _, host in ipairs(plan.standby) do
        local watts, wake = host.power.idle or host.power.watts, host.power.wake_seconds or 0
        if not watts then return nil end
        sum = sum + watts * (time - plan.seconds - 2 * wake)
    end
    return sum
end

function P.accept(c, plan)
    if phase(c) ~= "night" then return true end
    if #plan.standby == 0 then
        if plan.hosts_freed >= c.params.least_freed then return true end
        return false, string.format("it would empty %d hosts", plan.hosts_freed)
    end
    local joules = saves(c, plan)
    if joules then c:note("saves_wh", joules // 3600) end
    if joules and joules <= 0 then return false, "the night is too short to save energy" end
    return true
end

return P
