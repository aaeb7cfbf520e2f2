-- testkit.lua: what a policy's tests are written with. Compiled into skein; the tests see the globals
-- defined here (docs/policy-guide.md describes them).

local native, globals = ...

local tests, current = {}, nil

local function array() return setmetatable({}, native.array_meta) end

local function copy(v)
    if type(v) ~= "table" then return v end
    local out = setmetatable({}, getmetatable(v)) -- an empty array stays one
    for k, x in native.pairs(v) do out[k] = copy(x) end
    return out
end

-- ---- fleets

-- A value that is taken away from the snapshot: unknown.
local UNKNOWN <const> = native.freeze({}, "unknown")
globals.unknown = UNKNOWN

local function host(name, domain)
    return {
        name = name, state = "up", failure_domain = domain,
        cpu = { cores = 16, used_cores = 4, model = "EPYC-Rome", usable_models = { "EPYC-Rome" } },
        memory = { total_mib = 65536, reserved_mib = 2048, used_mib = 16384 },
        pressure = { cpu = 0, memory = 0, io = 0 },
        temperature = { inlet_celsius = 24, inlet_max_celsius = 35, cpu_celsius = 50,
                        cpu_max_celsius = 90, trend_celsius_per_min = 0 },
        power = { watts = 180, curve_watts = { 90, 110, 125, 140, 155, 170, 185, 200, 215, 230, 245 },
                  can_wake = true, wake_seconds = 120, standby_allowed = true },
        storage = { { name = "shared", shared = true, free_mib = 900000, total_mib = 1000000 } },
        networks = { "br-vm" }, migration_mbps = 10000, arch = "x86_64",
        machines = { "pc-q35-7.2" }, qemu = "7.2.22", libvirt = "9.0.0",
    }
end

local function vm(number, name, on)
    return {
        name = name, uuid = ("00000000-0000-4000-8000-%012d"):format(number), host = on,
        state = "running", vcpus = 4, cpu_used_cores = 1, memory_mib = 4096, memory_used_mib = 3072,
        dirty_mib_s = 4, wset_mib = 100, storage = { "shared" }, networks = { "br-vm" },
        machine = "pc-q35-7.2",
    }
end

-- n hosts h1, h2, ... two to a rack, each with vms_per_host VMs vm1, vm2, ... in turn.
local function fleet(n, vms_per_host)
    local s = { schema = "skein.snapshot/1", cluster = "test", taken_at = "2026-11-22T01:30:00Z",
                seed = 1, hosts = {}, vms = {}, rules = array(),
                limits = { total = 5, inflow_per_host = 1, outflow_per_host = 2, n_plus = 0 } }
    for i = 1, n do
        s.hosts[i] = host("h" .. i, "dc/r" .. (i + 1) // 2)
        s.hosts[i].cpu.used_cores = vms_per_host + 0.2
        for _ = 1, vms_per_host do
            local k = #s.vms + 1
            s.vms[k] = vm(k, "vm" .. k, "h" .. i)
        end
    end
    return s
end

local NUMBERS <const> = { "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten" }

-- "three-hosts": a fleet with two VMs a host.
local function built_in(name)
    local word = name:match("^(%a+)%-hosts?$")
    for i, w in ipairs(NUMBERS) do
        if w == word then return fleet(i, 2) end
    end
end

-- ---- changing a fleet

local merge

-- Items of an array that are named: { h1 = {...} } changes the one of that name, or adds it.
local function merge_named(list, changes)
    for name, change in native.pairs(changes) do
        local found
        for i, item in ipairs(list) do
            if item.name == name or item.uuid == name then found = i end
        end
        if change == UNKNOWN then
            if found then table.remove(list, found) end
        else
            local item = found and list[found] or { name = name }
            list[found or #list + 1] = merge(item, change)
        end
    end
    return list
end

function merge(base, changes)
    if type(changes) ~= "table" or changes == UNKNOWN or type(base) ~= "table" then
        return copy(changes)
    end
    for k, v in native.pairs(changes) do
        if v == UNKNOWN then
            base[k] = nil
        elseif (k == "hosts" or k == "vms") and type(v) == "table" and v[1] == nil then
            base[k] = merge_named(base[k] or array(), v)
        elseif type(v) == "table" and v[1] == nil and type(base[k]) == "table" then
            base[k] = merge(base[k], v)
        else
            base[k] = copy(v)
        end
    end
    return base
end

-- ---- given(...):with{...}:run()

local World = {}
World.__index = World

function World:with(changes)
    if type(changes) ~= "table" then error("with takes a table of changes to the snapshot", 2) end
    self.snapshot = merge(self.snapshot, changes)
    return self
end

-- Parameters of the policy other than its defaults.
function World:params(values)
    self.options.params = values
    return self
end

function World:at(time)
    self.options.at = time
    return self
end

function World:seed(n)
    self.options.seed = n
    return self
end

-- Without the checks that every run gets besides (docs/policy-guide.md); say why in the test.
function World:unchecked()
    self.options.unchecked = true
    return self
end

function World:run()
    current = native.run(self.snapshot, self.options)
    return current
end

globals.given = function(what)
    local snapshot
    if type(what) == "table" then
        snapshot = copy(what)
    else
        snapshot = native.fixture(tostring(what)) or built_in(tostring(what))
        if not snapshot then
            error(("given: there is no fleet '%s': a file fixtures/%s.json beside the tests, or one like "
                   .. "\"three-hosts\""):format(tostring(what), tostring(what)), 2)
        end
    end
    return setmetatable({ snapshot = snapshot, options = {} }, World)
end

globals.fleet = function(n, vms_per_host)
    if math.type(n) ~= "integer" or n < 1 or n > 200 then error("fleet: 1 to 200 hosts", 2) end
    return fleet(n, vms_per_host or 2)
end

-- ---- expect

local expect = {}
local Move = {}
Move.__index = Move

local function answer(level)
    if not current then error("nothing has been run: given(...):run() comes first", level + 1) end
    if current.error then error("the policy failed: " .. current.error.message, level + 1) end
    return current
end

local function moves()
    local out = {}
    for i, step in ipairs(current.body.steps) do
        for _, a in ipairs(step.actions) do
            if a.type == "migrate" then out[#out + 1] = { vm = a.vm, from = a.from, to = a.to, step = i, reason = a.reason,
                              parameters = a.parameters, id = a.id } end
        end
    end
    return out
end

local function told()
    local parts = {}
    for _, m in ipairs(moves()) do parts[#parts + 1] = ("%s %s->%s"):format(m.vm, m.from, m.to) end
    if #parts == 0 then return "no moves (" .. current.body.reason .. ")" end
    return table.concat(parts, ", ")
end

function expect.move(name)
    answer(2)
    for _, m in ipairs(moves()) do
        if m.vm == name then return setmetatable({ move = m }, Move) end
    end
    error(("expected %s to move; there is: %s"):format(name, told()), 2)
end

local function field(self, key, want)
    local have = self.move[key]
    if have ~= want then
        error(("expected %s to move with %s %s; it is %s"):format(self.move.vm, key, tostring(want),
                                                                  tostring(have)), 3)
    end
    return self
end

function Move:to(want) return field(self, "to", want) end
function Move:from(want) return field(self, "from", want) end
function Move:in_step(want) return field(self, "step", want) end

function Move:because(part)
    if not string.find(self.move.reason, part, 1, true) then
        error(("expected a reason with \"%s\"; it is \"%s\""):format(part, self.move.reason), 2)
    end
    return self
end

local function powers(type)
    local out = {}
    for _, step in ipairs(current.body.steps) do
        for _, a in ipairs(step.actions) do
            if a.type == type then out[a.host] = true end
        end
    end
    return out
end

local function expect_power(type, name, want)
    answer(3)
    if (powers(type)[name] or false) ~= want then
        error(("expected %s%s of %s (%s)"):format(want and "" or "no ", type, tostring(name),
                                                current.body.reason), 3)
    end
end

function expect.standby(name) expect_power("standby", name, true) end
function expect.wake(name) expect_power("wake", name, true) end
function expect.sleeps(name) expect_power("wake", name, false) end
function expect.awake(name) expect_power("standby", name, false) end

function expect.no_moves()
    answer(2)
    if #moves() > 0 then error("expected no moves; there is: " .. told(), 2) end
end

function expect.moves(n)
    answer(2)
    if #moves() ~= n then error(("expected %d moves; there is: %s"):format(n, told()), 2) end
end

function expect.stays(name)
    answer(2)
    for _, m in ipairs(moves()) do
        if m.vm == name then error(("expected %s to stay; it goes to %s"):format(name, m.to), 2) end
    end
end

-- What was refused of that pair: by the plan, then by the policy and the planner when asked of it.
local function refusals(name, to)
    local out = {}
    for _, r in ipairs(current.body.refused) do
        if r.vm == name and (to == nil or r.host == to or r.host == nil) and (name or r.host == to) then
            out[#out + 1] = r
        end
    end
    for _, p in ipairs(current.pairs) do
        if p.vm == name and p.host == to and p.code then out[#out + 1] = p end
    end
    return out
end

-- That pair is refused, by the policy or by the planner; with code, for that reason. A nil VM: the
-- host itself is; a nil host: no host would do.
function expect.rejected(name, to, code)
    answer(2)
    local codes = {}
    for _, r in ipairs(refusals(name, to)) do
        if code == nil or r.code == code then return end
        codes[#codes + 1] = r.code .. ": " .. (r.message or "")
    end
    local pair = tostring(name or "the fleet") .. " on " .. tostring(to or "any host")
    if #codes == 0 then error(("expected %s to be refused; it is not"):format(pair), 2) end
    error(("expected %s to be refused for %s; it is for %s"):format(pair, code,
                                                                    table.concat(codes, "; ")), 2)
end

function expect.allowed(name, to)
    answer(2)
    local r = refusals(name, to)[1]
    if r then
        error(("expected %s to be allowed on %s; refused: %s: %s"):format(name, to, r.code,
                                                                         r.message or ""), 2)
    end
end

function expect.reason(part)
    answer(2)
    if not string.find(current.body.reason, part, 1, true) then
        error(("expected a reason with \"%s\"; it is \"%s\""):format(part, current.body.reason), 2)
    end
end

function expect.waits(name, approvers)
    answer(2)
    for _, m in ipairs(moves()) do
        for _, a in ipairs(current.approvals) do
            if m.vm == name and a.action == m.id then
                if approvers and a.approvers ~= approvers then
                    error(("expected %s to wait for %s; it waits for %s"):format(name, approvers, a.approvers), 2)
                end
                return
            end
        end
    end
    error(("expected the move of %s to wait for approval; there is: %s"):format(name, told()), 2)
end

function expect.note(key, value)
    answer(2)
    local have = current.notes[key]
    if have ~= value then error(("expected note %s = %s; it is %s"):format(key, tostring(value), tostring(have)), 2) end
end

-- Every hook ran without an error.
function expect.healthy()
    answer(2)
    for name, h in native.pairs(current.health.hooks) do
        if h.errors > 0 then error(("hook %s failed %d times: %s"):format(name, h.errors, h.last_error), 2) end
    end
end

function expect.failed(part)
    if not current or not current.error then error("expected the policy to fail; it did not", 2) end
    if part and not string.find(current.error.message, part, 1, true) then
        error(("expected a failure with \"%s\"; it is: %s"):format(part, current.error.message), 2)
    end
end

function expect.equal(have, want)
    if have ~= want then error(("expected %s; it is %s"):format(tostring(want), tostring(have)), 2) end
end

setmetatable(expect, {
    __index = function(_, k)
        local names = {}
        for name in native.pairs(expect) do names[#names + 1] = name end
        local near = native.nearest(tostring(k), names)
        error(("there is no expect.%s%s"):format(tostring(k), near and "; did you mean expect." .. near .. "?" or ""), 2)
    end,
})
globals.expect = native.freeze(expect, "expect")

-- ---- test(name, function)

globals.test = function(name, f)
    if type(name) ~= "string" or type(f) ~= "function" then error("test(name, function() ... end)", 2) end
    tests[#tests + 1] = { name = name, run = f }
end

return {
    tests = tests,
    begin = function() current = nil end,
}
