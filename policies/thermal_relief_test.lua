-- Tests of thermal_relief.

-- h1 at 80 degrees, most of it by vm1.
local function hot(changes)
    local world = given("three-hosts"):with{
        hosts = { h1 = { temperature = { cpu_celsius = 80 }, cpu = { used_cores = 9.2 } } },
        vms = { vm1 = { cpu_used_cores = 6, vcpus = 8 }, vm2 = { cpu_used_cores = 3 } },
    }:params{ relief_margin = 5 }
    return changes and world:with(changes) or world
end

test("a calm fleet is left alone", function()
    given("three-hosts"):run()
    expect.no_moves()
    expect.reason("no host is hot")
end)

test("a hot host gives away the smallest sufficient set", function()
    hot():run()
    expect.moves(1)
    expect.move("vm1"):from("h1"):in_step(1):because("after the move")
    expect.reason("h1 at 80.0 °C")
    expect.healthy()
end)

test("the coolest destination is taken", function()
    hot{ hosts = { h2 = { temperature = { cpu_celsius = 60 } } } }:run()
    expect.moves(1)
    expect.move("vm1"):to("h3")
    expect.allowed("vm1", "h3")
    expect.rejected("vm1", "h2", "NO_HEADROOM")
end)

test("the limit of the machine itself counts", function()
    hot{ hosts = { h1 = { temperature = { cpu_celsius = 70, cpu_max_celsius = 75 } } } }:run()
    expect.move("vm1")
end)

test("a rising trend is hot before the limit is reached", function()
    hot{ hosts = { h1 = { temperature = { cpu_celsius = 73, trend_celsius_per_min = 1.0 } } } }:run()
    expect.moves(1)
end)

test("a little below the limit is enough", function()
    hot():params{}:run()
    expect.moves(1)
    expect.move("vm2")
end)

test("a host that cools is not relieved of more", function()
    hot{ hosts = { h1 = { temperature = { trend_celsius_per_min = -5 } } } }:run()
    expect.no_moves()
    hot{ hosts = { h1 = { temperature = { trend_celsius_per_min = -0.5 } } } }:run() -- not enough
    expect.moves(1)
end)

test("that a destination cools is no promise", function()
    hot{ hosts = {
        h2 = { temperature = { cpu_celsius = 68, trend_celsius_per_min = -5 } },
        h3 = { temperature = { cpu_celsius = 68, trend_celsius_per_min = -5 } },
    } }:run()
    expect.no_moves()
end)

test("hot inlet air: moving won't help", function()
    hot{ hosts = { h1 = { temperature = { inlet_celsius = 36 } } } }:run()
    expect.no_moves()
    expect.rejected(nil, "h1", "HOT_INLET")
end)

test("hot inlet air is told even when no CPU is hot yet", function()
    given("three-hosts"):with{ hosts = { h2 = { temperature = { inlet_celsius = 36 } } } }:run()
    expect.no_moves()
    expect.rejected(nil, "h2", "HOT_INLET")
end)

test("a destination with hot inlet air takes nothing", function()
    hot{ hosts = { h2 = { temperature = { inlet_celsius = 34 } } } }:run()
    expect.rejected("vm1", "h2", "HOT_INLET")
end)

test("unknown and implausible temperatures are no reason to move", function()
    for _, t in ipairs{ 0, -3, 900 } do
        hot{ hosts = { h1 = { temperature = { cpu_celsius = t } } } }:run()
        expect.no_moves()
    end
    hot{ hosts = { h1 = { temperature = unknown } } }:run()
    expect.no_moves()
end)

test("a destination of unknown temperature takes nothing", function()
    hot{ hosts = { h2 = { temperature = unknown }, h3 = { temperature = unknown } } }:run()
    expect.no_moves()
    expect.rejected("vm1", "h2", "UNKNOWN_TEMPERATURE")
end)

test("warm destinations are not pushed over their limit", function()
    hot{ hosts = { h2 = { temperature = { cpu_celsius = 68 } }, h3 = { temperature = { cpu_celsius = 68 } } } }:run()
    expect.no_moves()
    expect.rejected("vm1", "h3", "NO_HEADROOM")
end)

test("a hot neighbour keeps VMs away, but not the source itself", function()
    given("four-hosts"):with{ hosts = {
        h1 = { temperature = { cpu_celsius = 80 } }, h4 = { temperature = { cpu_celsius = 74 } },
    } }:run()
    expect.rejected("vm1", "h3", "HOT_NEIGHBOUR")
    expect.move("vm1"):to("h2")
end)

test("pinned VMs stay", function()
    hot{ vms = { vm1 = { blockers = { "host device" } }, vm2 = { blockers = { "host device" } } } }:run()
    expect.no_moves()
    expect.rejected("vm1", "h2", "BLOCKED")
end)

test("parameters are bounded", function()
    hot():params{ limit = 500 }:run()
    expect.failed("parameter 'limit' is 500")
end)

test("where all that fits is not sufficient, it helps at least", function()
    hot{ vms = { vm1 = { cpu_used_cores = 8 } }, hosts = { h1 = { cpu = { used_cores = 11.2 } } } }:run()
    expect.moves(1)
    expect.move("vm2")
end)
