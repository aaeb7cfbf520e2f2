-- Tests of night_consolidation.

test("by day nothing happens", function()
    given("six-hosts"):at("2026-11-22T12:00:00Z"):run()
    expect.no_moves()
    expect.reason("outside its window")
end)

test("close to the window's end nothing begins", function()
    given("six-hosts"):at("2026-11-22T04:30:00Z"):run()
    expect.no_moves()
    expect.reason("the window ends soon")
end)

test("with too few hosts none can be spared", function()
    given("two-hosts"):run()
    expect.no_moves()
    expect.reason("no host can be spared")
end)

test("no host is filled beyond its target", function()
    given("six-hosts"):with{ hosts = { h1 = { cpu = { used_cores = 11 } } } }:run()
    expect.rejected("vm3", "h1", "CPU_TARGET")
    expect.healthy()
end)

test("memory and temperature are kept in mind", function()
    given("six-hosts"):with{
        hosts = { h2 = { temperature = { cpu_celsius = 84 } } },
        vms = { vm1 = { memory_mib = 56000 } },
    }:run()
    expect.rejected("vm5", "h2", "NO_HEADROOM")
    expect.rejected("vm5", "h1", "MEMORY_TARGET")
end)

test("hosts that must stay awake are not emptied", function()
    given("six-hosts"):with{ hosts = {
        h1 = { tags = { standby = "never" } }, h2 = { power = { standby_allowed = false } },
    } }:run()
    expect.stays("vm1")
    expect.stays("vm3")
end)

test("a VM of unknown load stays", function()
    given("six-hosts"):with{ vms = { vm3 = { cpu_used_cores = unknown } } }:run()
    expect.stays("vm3")
    expect.rejected("vm3", "h1", "UNKNOWN_LOAD")
end)

local function sleeping(at)
    local world = given("six-hosts"):at(at)
    local hosts = {}
    for i = 1, 6 do hosts["h" .. i] = { power = { can_wake = true, standby_allowed = true, wake_seconds = 120 } } end
    hosts.h5.state, hosts.h6.state = "standby", "standby"
    return world:with{
        hosts = hosts,
        vms = { vm9 = { host = "h1" }, vm10 = { host = "h2" }, vm11 = { host = "h3" }, vm12 = { host = "h4" } },
    }
end

test("hosts that stand empty go to sleep", function()
    local hosts = {}
    for i = 1, 6 do hosts["h" .. i] = { power = { can_wake = true, standby_allowed = true } } end
    given("six-hosts"):at("2026-11-22T23:00:00Z"):with{ hosts = hosts }:run()
    expect.healthy()
    expect.standby("h1")
end)

test("so do hosts that stood empty before, though no other can be spared", function()
    local hosts, vms = {}, {}
    for i = 1, 6 do hosts["h" .. i] = { power = { can_wake = true, standby_allowed = true } } end
    for i = 1, 12 do vms["vm" .. i] = { host = "h" .. 1 + i % 2, cpu_used_cores = 0.5 } end
    given("six-hosts"):at("2026-11-22T23:00:00Z"):with{ hosts = hosts, vms = vms }:run()
    expect.healthy()
    expect.reason("2 hosts in use")
    expect.standby("h3")
end)

test("before the day they wake, and load is spread", function()
    sleeping("2026-11-22T05:00:00Z"):run()
    expect.wake("h5")
    expect.wake("h6")
    expect.reason("wanted by day")
end)

test("and after it, where that was missed", function()
    sleeping("2026-11-22T09:00:00Z"):run()
    expect.wake("h5")
end)

test("in the middle of the night they sleep on", function()
    sleeping("2026-11-22T02:00:00Z"):run()
    expect.reason("night")
end)

test("load that rises wakes some", function()
    sleeping("2026-11-22T02:00:00Z"):with{ hosts = { h1 = { cpu = { used_cores = 15.5 } } } }:run()
    expect.wake("h5")
    expect.reason("while others sleep")
end)

test("a host that people keep asleep is left alone", function()
    sleeping("2026-11-22T05:00:00Z"):with{ hosts = { h5 = { tags = { standby = "keep" } } } }:run()
    expect.wake("h6")
    expect.sleeps("h5")
end)

-- A week whose load comes at four on weekdays and at ten on weekends; 2026-11-22 is a Sunday.
local function week()
    local cores = {}
    for slot = 0, 7 * 48 - 1 do
        local hour, comes = slot % 48 / 2, slot >= 5 * 48 and 10 or 4
        cores[slot + 1] = hour < comes and 4 or hour < 22 and 40 or 5
    end
    return { history = { week = { every_s = 1800, used_cores = cores } } }
end

local function taught(at) return sleeping(at):with(week()) end

test("before the load that usually comes they wake, though the window is open for long", function()
    taught("2026-11-23T03:20:00Z"):run()
    expect.wake("h5")
    expect.reason("the day's load usually comes now")
end)

test("but not hours before", function()
    taught("2026-11-23T02:00:00Z"):run()
    expect.sleeps("h5")
end)

test("nor on a day on which it comes later", function()
    taught("2026-11-22T03:20:00Z"):run()
    expect.sleeps("h5")
    expect.reason("night")
end)

test("nothing is packed when the load comes soon, or is there", function()
    given("six-hosts"):with(week()):at("2026-11-23T02:45:00Z"):run()
    expect.no_moves()
    expect.reason("usually comes soon")
    given("six-hosts"):with(week()):at("2026-11-23T04:10:00Z"):params{ last_start = 0, wake_before = 0 }:run()
    expect.no_moves()
    expect.reason("usually comes soon")
end)

test("what comes within two hours has its room", function()
    given("six-hosts"):with(week()):at("2026-11-23T02:10:00Z"):run()
    expect.no_moves()
    given("six-hosts"):with(week()):at("2026-11-23T01:10:00Z"):run()
    expect.move("vm1")
end)

test("a sleep that costs more than it saves is not worth it", function()
    local function short(wake_seconds)
        local hosts = {}
        for i = 1, 6 do
            hosts["h" .. i] = { power = { can_wake = true, standby_allowed = true, wake_seconds = wake_seconds,
                                          curve_watts = { 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200 } } }
        end
        return given("six-hosts"):at("2026-11-22T04:00:00Z"):with{ hosts = hosts }
               :params{ last_start = 0, wake_before = "1h" }
    end
    short(1200):run()
    expect.no_moves()
    expect.reason("too short to save energy")
    short(60):run()
    expect.standby("h1")
end)
