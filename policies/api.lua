---@meta skein
-- api.lua: what a policy may use, for editors that know LuaCATS annotations (lua-language-server).
-- Nothing here is run. docs/policy-guide.md explains it; a quantity that is unknown is nil, never 0.

---@alias celsius number
---@alias mib integer
---@alias percent number
---@alias seconds number a number of seconds; in declarations also text like "90s", "5m", "1h30m", "1d"

-- ---- the declaration

---@class skein.Param
---@field type "number"|"integer"|"percent"|"celsius"|"duration"|"boolean"|"string"|"choice"
---@field default any the value where nobody sets another
---@field min? any
---@field max? any
---@field unit? string
---@field doc? string
---@field choices? any[] for type "choice"

---@class skein.Window
---@field from string "22:00"
---@field to string "06:00"; earlier than from: the next day
---@field days? string "mon-fri,sun"; the day on which the window opens
---@field zone? string "Europe/Berlin", "UTC" (default), "+02:00"

---@class skein.Declaration
---@field name string a word of at most 63 letters, digits, _ and -
---@field api 1
---@field goal? "relieve"|"balance"|"consolidate"|"drain"|"enforce" what the search is for (default: balance)
---@field class? "safety"|"drain"|"thermal"|"user"|"optimise" who goes first (default: optimise)
---@field params? table<string, skein.Param>
---@field needs? string[] like "host.temp.cpu": the policy abstains while no host reports it
---@field schedule? skein.Window|skein.Window[] when c.window is open (default: always)
---@field scope? table<string, string> tags that a VM must have to be moved
---@field cooldown? seconds no second move of a VM within (default: "30m")
---@field agreement? integer evaluations in a row that want moves before they become a plan (default: 1)
---@field hold? seconds for how long they must have been wanted (default: 0)
---@field description? string

---@class skein.Policy
---@field name string
---@field params table<string, any>
---@field trigger fun(c: skein.Context): boolean, string? shall anything be done, and why (or why not)
---@field sources? fun(c: skein.Context): skein.Host|skein.Host[] the hosts that VMs may leave (default: all)
---@field select? fun(c: skein.Context, host: skein.Host): skein.Vm|skein.Vm[] which of its VMs (default: all)
---@field filter? fun(c: skein.Context, vm: skein.Vm, host: skein.Host): skein.Verdict|boolean|nil nil accepts
---@field score? fun(c: skein.Context, vm: skein.Vm, host: skein.Host): number, string?, ...: any 0 (bad) to 100 (good), and why: text, or a format and its values
---@field objective? fun(c: skein.Context): skein.Objective what the search weighs
---@field accept? fun(c: skein.Context, plan: skein.Plan): boolean|skein.Verdict, string? is the plan worth it
---@field permit? fun(c: skein.Context, move: skein.Move): skein.Verdict|boolean|nil nil allows
---@field migration? fun(c: skein.Context, move: skein.Move): skein.Migration|nil
---@field unplaceable? fun(c: skein.Context, vm: skein.Vm, why: skein.Why): skein.Verdict|nil a VM should leave and finds no host: shutdown(why), suspend(why), or reject(code, why) in the policy's own words
---@field verify? fun(c: skein.Context, plan: skein.Plan, before: skein.Context, after: skein.Context): table<string, number>|nil what the plan is expected to change, as figures

---Declare the policy; stands once in a file. Hooks are set on what it returns.
---@param declaration skein.Declaration
---@return skein.Policy
function policy(declaration) end

-- ---- verdicts

---@class skein.Verdict

---Refuse: a pair in `filter`, a move in `permit`, a plan in `accept`.
---@param code string like "HOT_INLET"
---@param fmt? string why, for people; as string.format has it
---@return skein.Verdict
function reject(code, fmt, ...) end

---The same as reject, for `permit`.
---@return skein.Verdict
function deny(code, fmt, ...) end

---@return skein.Verdict
function allow() end

---In `permit`: the move waits for someone's approval.
---@param spec { approvers?: string, timeout?: seconds, reason?: string }
---@return skein.Verdict
function wait(spec) end

---In `unplaceable`: what could be done with the VM instead. It is said in the plan, for people to decide.
---@param why? string
---@return skein.Verdict
function shutdown(why) end

---@param why? string
---@return skein.Verdict
function suspend(why) end

---"1h30m" -> 5400
---@param text seconds|string
---@return number
function duration(text) end

---Shown by `skein plan make` while a policy is written; no part of the plan.
function print(...) end

-- ---- what the policy looks at

---@class skein.Context
---@field now seconds since 1970
---@field taken_at seconds when the snapshot was taken
---@field cluster string
---@field seed integer
---@field policy string its name
---@field params table<string, any>
---@field hosts skein.List<skein.Host> all, by name
---@field vms skein.List<skein.Vm> all
---@field window { open: boolean, ends_in?: seconds, starts_in?: seconds }
---@field utc { year: integer, month: integer, day: integer, hour: integer, minute: integer, second: integer, weekday: string, text: string }
---@field limits { total: integer, inflow_per_host: integer, outflow_per_host: integer, n_plus: integer }
local Context = {}

---@param name string
---@return skein.Host?
function Context:host(name) end

---@param name string name or UUID
---@return skein.Vm?
function Context:vm(name) end

---Keep something with the decision.
---@param key string
---@param value any
function Context:note(key, value) end

---Say in the plan why nothing is proposed for a host or VM.
---@param what skein.Host|skein.Vm
---@param verdict skein.Verdict what reject(...) gives
function Context:refuse(what, verdict) end

---What all hosts together usually use at the time of the week that is so far ahead, in cores: of that half-hour of the
---week, or where that was not seen yet the most of this time of any day. nil where no day is known.
---@param ahead? seconds|string like "45m"; default: now
---@return number?
function Context:usual(ahead) end

---The least and the most that is usual at any time of the week, in cores; nil where nothing is known.
---@return number?, number?
function Context:usual_range() end

---@class skein.Cpu
---@field cores number? (VM: nil)
---@field used number? cores in use
---@field free number?
---@field util percent?
---@field vcpus integer? promised to VMs
---@field capacity integer? vCPUs that may be promised
---@field model string?
---@field psi percent? pressure: time in which something waited for a CPU
local Cpu = {}
---@return percent? util
function Cpu:pct() end

---@class skein.Memory
---@field total mib?
---@field reserved mib?
---@field used mib?
---@field committed mib? promised to VMs
---@field capacity mib? that may be promised to VMs
---@field free mib? capacity that is not promised
---@field util percent? committed of capacity
---@field psi percent?
local Memory = {}
---@return percent? util
function Memory:pct() end

---@class skein.Temperature
---@field inlet celsius?
---@field inlet_max celsius?
---@field inlet_headroom celsius?
---@field outlet celsius?
---@field cpu celsius?
---@field cpu_max celsius?
---@field headroom celsius? cpu_max - cpu
---@field rise celsius? cpu - inlet
---@field trend number? degrees a minute

---@class skein.Power
---@field watts number?
---@field idle number? watts without load, by the curve
---@field model number? watts at the CPU use shown, by the curve
---@field can_wake boolean?
---@field wake_seconds integer?
---@field standby_allowed boolean?
---@field last_wake_proof seconds?

---@class skein.Projection a host as it would be
---@field cpu skein.Cpu
---@field mem skein.Memory
---@field temp skein.Temperature
---@field power skein.Power

---@class skein.Host
---@field name string
---@field state "up"|"cordoned"|"draining"|"maintenance"|"quarantine"|"standby"|"offline"|"unknown"
---@field tags table<string, string>
---@field failure_domain string?
---@field voter boolean?
---@field age seconds? since it was observed
---@field cpu skein.Cpu
---@field mem skein.Memory
---@field temp skein.Temperature
---@field power skein.Power
---@field psi_io percent?
---@field storage { name: string, shared: boolean?, free: mib?, total: mib? }[]?
---@field networks string[]?
---@field vms skein.List<skein.Vm>
---@field neighbours skein.List<skein.Host> the other hosts of its failure domain
---@field qemu string?
---@field libvirt string?
---@field arch string?
---@field migration_mbps integer?
---@field implausible string? why its data are not believed
local Host = {}

---The host with that VM on it.
---@param vm skein.Vm
---@return skein.Projection
function Host:after(vm) end

---The host without that VM.
---@param vm skein.Vm
---@return skein.Projection
function Host:without(vm) end

---What was measured before, of "cpu.util", "cpu.psi", "mem.used" (MiB), "temp.inlet", "temp.cpu" or "power.watts".
---@param what string
---@return skein.History
function Host:history(what) end

---Samples of the past, the mean of a minute each. A function is nil where less than half of its time is known.
---@class skein.History
local History = {}
---@param window seconds|string like "5m"
---@return number?
function History:avg(window) end
---@param percent number p(66, "5m"): what 66 % of the samples do not pass
---@param window seconds|string
---@return number?
function History:p(percent, window) end
---@param window seconds|string
---@return number?
function History:max(window) end
---@param window seconds|string
---@return number?
function History:min(window) end
---@param window seconds|string
---@return number? change a minute, by least squares
function History:trend(window) end
---@return seconds? since the newest sample that is known
function History:age() end

---@class skein.Vm
---@field name string
---@field uuid string?
---@field host skein.Host?
---@field state "running"|"paused"|"suspended"|"stopped"|"crashed"|"unknown"
---@field owner string?
---@field priority integer 0 to 100, 50 where nobody says
---@field tags table<string, string>
---@field vcpus integer?
---@field cpu { vcpus: integer?, used: number?, util: percent? }
---@field mem { max: mib?, used: mib? }
---@field heat celsius? what it adds to its host's CPU temperature, estimated
---@field dirty_rate number? MiB a second
---@field wset mib? memory that it writes to again and again
---@field storage string[]?
---@field networks string[]?
---@field local_disk mib?
---@field machine string?
---@field cpu_model string?
---@field devices { type: string, migratable: boolean }[]
---@field blockers string[]?
---@field movable boolean nothing but a destination is missing
---@field persistent boolean?
---@field autostart boolean?
---@field last_move seconds?
---@field moves_24h integer?
---@field hold_until seconds?
---@field postcopy_allowed boolean?

local Vm = {}

---What was measured before, of "cpu.used".
---@param what string
---@return skein.History
function Vm:history(what) end

---@class skein.List<T>: { [integer]: T }
local List = {}

---Those whose fields are these, or for which the function says true.
---@param spec table|fun(o: any): boolean
function List:where(spec) end

---By a field like "temp.cpu" ("load" and "heat" are short for cpu.util and temp.cpu) or a function. "-" before
---the name, or "desc": falling. Unknown values stand last.
---@param key string|fun(o: any): any
---@param order? "asc"|"desc"
function List:sort_by(key, order) end

---@param n integer
function List:take(n) end
function List:first() end
---@return integer
function List:count() end
---@return number? sum nil as soon as one value is unknown
function List:sum(key) end
---@return number?
function List:mean(key) end
---@return number? deviation mean absolute deviation
function List:deviation(key) end
---@return number? value, any owner of the largest that is known
function List:max(key) end
---@return number? value, any owner of the smallest that is known
function List:min(key) end
---@return string names with commas
function List:names() end
---VMs of the list that may move at all.
function List:movable() end
---@return boolean
function List:contains(o) end
---@return boolean
function List:any(spec) end
---@return boolean
function List:all(spec) end

-- ---- what goes to the search and comes from it

---@class skein.Weights costs; what is left out keeps 0, no weights at all mean the goal's own
---@field imbalance? integer per 0.1 % of imbalance
---@field overload? integer per thousandth of a core, or MiB, above `safety`
---@field ratio? integer per MiB of memory that free vCPUs lack on a host, of what all have for each
---@field host_used? integer per host in use
---@field watt? integer per watt that a host in use draws when idle
---@field soft_rule? integer per violation of a should rule of weight 1
---@field move? integer per move
---@field move_gib? integer per GiB carried
---@field owner_moves? integer per move of the owner with the most of them
---@field distance? integer per level of the failure domain that a move's ends do not share
---@field score? integer per point of score that a move misses

---@class skein.Resource something that VMs bring and hosts have room for, such as degrees
---@field unit string
---@field load fun(vm: skein.Vm): number? what it brings; nil keeps it where it is
---@field room? fun(host: skein.Host): number? what the host can still take; nil: it takes nothing
---@field relief? fun(host: skein.Host): number? how much of it must leave (goal "relieve")
---@field gain? fun(host: skein.Host): number? how much of a VM's load counts there (1 = all)

---@class skein.Objective
---@field weights? skein.Weights
---@field resource? skein.Resource
---@field max_moves? integer
---@field min_gain? integer cost that a plan must save
---@field safety? percent of a host's capacity above which load costs (default 85)
---@field deadline? seconds from now, by when every move must have ended
---@field n_plus? integer hosts whose failure the rest must still carry
---@field copy_storage? boolean local disks may be copied
---@field effort? integer evaluations of the search at most
---@field wake? skein.Host|skein.Host[] hosts on standby that are woken in a first step, whatever follows
---@field goal? "relieve"|"balance"|"consolidate"|"drain"|"enforce" of this run, where it is not the policy's

---@class skein.Move
---@field vm skein.Vm
---@field from skein.Host
---@field to skein.Host
---@field step integer
---@field seconds number estimated
---@field downtime_ms number estimated
---@field mib integer to be carried

---@class skein.Why why a VM finds no host
---@field code string
---@field message string
---@field relax string the smallest change that would allow it

---@class skein.Plan
---@field moves skein.List<skein.Move>
---@field standby skein.List<skein.Host> hosts that it puts on standby, where whoever carries it out can
---@field wake skein.List<skein.Host> hosts that it wakes
---@field steps integer
---@field seconds number
---@field imbalance_before percent
---@field imbalance_after percent
---@field hosts_used_before integer
---@field hosts_used_after integer
---@field hosts_freed integer
---@field violations_before integer of must rules
---@field violations_after integer
---@field cost_before integer
---@field cost_after integer
---@field relief_missing number of the objective's resource

---@class skein.Migration pause and bandwidth may only be lowered
---@field downtime_ms? integer
---@field bandwidth_mib_s? integer
---@field auto_converge? boolean
---@field postcopy? boolean where the VM allows it: short for mode = "postcopy"
---@field mode? "precopy"|"postcopy"|"postcopy-after-precopy" post-copy where the VM allows it
---@field compression? "xbzrle" pages that are sent again are sent as differences
---@field parallel? integer connections; not with post-copy or compression

-- ---- tests (NAME_test.lua beside the policy)

---@param name string
---@param run fun()
function test(name, run) end

---@class skein.World
local World = {}
---@param changes table merged into the snapshot; hosts and VMs by name; `unknown` takes a value away
---@return skein.World
function World:with(changes) end
---@param values table<string, any>
---@return skein.World
function World:params(values) end
---@param time string "2026-11-22T01:30:00Z"
---@return skein.World
function World:at(time) end
---@param n integer
---@return skein.World
function World:seed(n) end
---@return skein.World
function World:unchecked() end
function World:run() end

---@param what string|table "three-hosts", the name of fixtures/NAME.json, or a snapshot
---@return skein.World
function given(what) end

---@param hosts integer
---@param vms_per_host? integer
---@return table snapshot
function fleet(hosts, vms_per_host) end

unknown = {}
expect = {}
function expect.moves(n) end
function expect.no_moves() end
---@return { to: function, from: function, in_step: function, because: function }
function expect.move(vm) end
function expect.stays(vm) end
function expect.rejected(vm, host, code) end
function expect.allowed(vm, host) end
---A host is put on standby, or not.
function expect.standby(host) end
function expect.awake(host) end
---A host is woken, or not.
function expect.wake(host) end
function expect.sleeps(host) end
function expect.reason(part) end
function expect.waits(vm, approvers) end
function expect.note(key, value) end
function expect.healthy() end
function expect.failed(part) end
function expect.equal(have, want) end
