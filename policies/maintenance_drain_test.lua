-- Tests of maintenance_drain.

test("nothing happens while no host is drained", function()
    given("three-hosts"):run()
    expect.no_moves()
    expect.reason("no host is being drained")
end)

test("everything leaves a draining host", function()
    given("three-hosts"):with{ hosts = { h2 = { state = "draining" } } }:run()
    expect.moves(2)
    expect.move("vm3"):from("h2")
    expect.move("vm4"):from("h2")
    expect.healthy()
end)

test("stopped VMs are left alone", function()
    given("three-hosts"):with{ hosts = { h2 = { state = "maintenance" } }, vms = { vm3 = { state = "stopped" } } }:run()
    expect.stays("vm3")
    expect.move("vm4")
end)

test("a hot host takes none of them", function()
    given("three-hosts"):with{ hosts = {
        h2 = { state = "draining" }, h1 = { temperature = { cpu_celsius = 89 } },
    } }:run()
    expect.rejected("vm3", "h1", "NO_HEADROOM")
    expect.move("vm3"):to("h3")
end)

test("a busy host takes none of them", function()
    given("three-hosts"):with{ hosts = {
        h2 = { state = "draining" }, h1 = { cpu = { used_cores = 15 } },
    } }:run()
    expect.rejected("vm3", "h1", "CPU_LIMIT")
    expect.move("vm3"):to("h3")
end)

test("unknown loads do not stop a drain", function()
    given("three-hosts"):with{
        hosts = { h2 = { state = "draining" }, h1 = { temperature = unknown } },
        vms = { vm3 = { cpu_used_cores = unknown } },
    }:run()
    expect.moves(2)
end)

test("what cannot move says why", function()
    given("three-hosts"):with{ hosts = { h2 = { state = "draining" } }, vms = { vm3 = { devices = { "gpu" } } } }:run()
    expect.stays("vm3")
    expect.rejected("vm3", nil, "DEVICE")
    expect.move("vm4")
end)
