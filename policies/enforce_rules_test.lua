-- Tests of enforce_rules.

test("where every rule holds nothing moves", function()
    given("three-hosts"):with{ rules = { { name = "apart", type = "anti-affinity", vms = { "vm1", "vm3" } } } }:run()
    expect.no_moves()
end)

test("a violated rule is repaired with one move", function()
    given("three-hosts"):with{ rules = { { name = "apart", type = "anti-affinity", vms = { "vm1", "vm2" } } } }:run()
    expect.moves(1)
    expect.healthy()
end)

test("VMs that no rule names are not touched", function()
    given("three-hosts"):with{
        hosts = { h1 = { cpu = { used_cores = 15.5 } } },
        rules = { { name = "fence", type = "run-on", vms = { "vm3" }, hosts = { "h3" } } },
    }:run()
    expect.moves(1)
    expect.move("vm3"):to("h3")
end)
