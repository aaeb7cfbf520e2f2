-- Tests of spread_ha.

local function replicas(changes)
    local world = given("three-hosts"):with{ vms = {
        vm1 = { tags = { ha = "web" } }, vm2 = { tags = { ha = "web" } }, vm3 = { tags = { ha = "web" } },
    } }
    return changes and world:with(changes) or world
end

test("services on their own hosts are left alone", function()
    given("three-hosts"):with{ vms = { vm1 = { tags = { ha = "web" } }, vm3 = { tags = { ha = "web" } } } }:run()
    expect.no_moves()
    expect.reason("no two replicas share a host")
end)

test("the second replica goes where no other is", function()
    replicas():run()
    expect.moves(1)
    expect.move("vm2"):to("h3")
    expect.rejected("vm2", "h2", "SAME_SERVICE")
    expect.healthy()
end)

test("another tag can name the service", function()
    replicas():params{ tag = "service" }:run()
    expect.no_moves()
end)

test("where every host has one, the surplus stays and says why", function()
    replicas{ vms = { vm5 = { tags = { ha = "web" } } } }:run()
    expect.no_moves()
    expect.rejected("vm2", "h3", "SAME_SERVICE")
end)

test("it tells whether one host's loss could be carried", function()
    given("three-hosts"):run()
    expect.note("survives_one_host", "true")
    given("three-hosts"):with{ vms = {
        vm1 = { memory_mib = 50000 }, vm3 = { memory_mib = 50000 }, vm5 = { memory_mib = 50000 },
    } }:run()
    expect.note("survives_one_host", "false")
    given("three-hosts"):with{ hosts = { h1 = { memory = unknown } } }:run()
    expect.note("survives_one_host", nil)
end)
