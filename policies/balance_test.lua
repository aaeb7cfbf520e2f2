-- Tests of balance.

-- h1 carries six busy VMs, the others two idle ones each.
local function uneven(changes)
    local vms = {}
    for i = 11, 14 do
        vms["vm" .. i] = {
            uuid = ("00000000-0000-4000-8000-%012d"):format(i), host = "h1", state = "running", vcpus = 4,
            cpu_used_cores = 2, memory_mib = 4096, memory_used_mib = 3072, storage = { "shared" },
            networks = { "br-vm" }, machine = "pc-q35-7.2",
        }
    end
    local world = given("four-hosts"):with{ hosts = { h1 = { cpu = { used_cores = 10.2 } } }, vms = vms }
    return changes and world:with(changes) or world
end

test("an even fleet is left alone", function()
    given("four-hosts"):run()
    expect.no_moves()
    expect.reason("differs by 0.0 %")
end)

test("VMs leave the busiest host", function()
    uneven():run()
    expect.reason("the hosts' CPU use differs by")
    expect.move("vm11"):from("h1")
    expect.healthy()
end)

test("a small difference is not worth a move", function()
    uneven():params{ threshold = 40 }:run()
    expect.no_moves()
end)

test("a host under pressure takes nothing", function()
    uneven{ hosts = { h2 = { pressure = { cpu = 30 } } } }:run()
    expect.rejected("vm11", "h2", "PRESSURE")
end)

test("pressure alone is a reason", function()
    given("three-hosts"):with{ hosts = { h1 = { pressure = { cpu = 25 } } } }:run()
    expect.reason("under pressure: h1")
end)

test("no destination gets as busy as the source is", function()
    uneven{ hosts = { h2 = { cpu = { used_cores = 9 } } } }:run()
    expect.rejected("vm11", "h2", "NO_GAIN")
end)

test("where no host says how busy it is, nothing is done", function()
    given("two-hosts"):with{ hosts = { h1 = { cpu = { used_cores = unknown } }, h2 = { cpu = { used_cores = unknown } } } }:run()
    expect.no_moves()
    expect.reason("abstains: no host reports host.cpu.util")
end)

test("a VM of unknown load stays", function()
    uneven{ vms = { vm11 = { cpu_used_cores = unknown } } }:run()
    expect.stays("vm11")
    expect.rejected("vm11", "h2", "UNKNOWN_LOAD")
end)

test("few moves at a time", function()
    uneven():params{ max_moves = 1 }:run()
    expect.moves(1)
end)

test("a plan that mends too little is not accepted", function()
    uneven():params{ gain = 90, max_moves = 1 }:run()
    expect.no_moves()
    expect.reason("not accepted: imbalance would only fall")
end)
