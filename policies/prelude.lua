-- prelude.lua: the part of the policy language that is itself Lua. It is compiled into skein and
-- runs before every policy; a policy sees the globals defined here and nothing else of it.
-- What a policy may use is described in api.lua.

local native, globals = ...
local HOOKS <const> = {
    "trigger", "sources", "select", "filter", "score", "objective", "accept", "permit",
    "migration", "unplaceable", "verify",
}
local FIELDS <const> = { "name", "api", "goal", "class", "params", "needs", "schedule", "scope",
                         "cooldown", "agreement", "hold", "description" }
local CLASSES <const> = { "safety", "drain", "thermal", "user", "optimise" }
local GOALS <const> = { "relieve", "balance", "consolidate", "drain", "enforce" }

local function contains(list, value)
    for _, v in ipairs(list) do
        if v == value then return true end
    end
    return false
end

-- Raise at the caller's caller: `what` is unknown, perhaps one of names was meant.
local function unknown(kind, what, names, level)
    local near = native.nearest(tostring(what), names)
    if near then
        error(("unknown %s '%s'; did you mean '%s'?"):format(kind, tostring(what), near), level + 1)
    end
    error(("unknown %s '%s'; there is: %s"):format(kind, tostring(what),
                                                   table.concat(names, ", ")), level + 1)
end

local function one_of(kind, value, names, level)
    if not contains(names, value) then unknown(kind, value, names, level + 1) end
    return value
end

-- ---- durations: "90s", "5m", "2h", "1d" or a number of seconds

local UNITS <const> = { s = 1, m = 60, h = 3600, d = 86400 }

local function seconds(text, level)
    if math.type(text) then return text end
    local sum, rest = 0, type(text) == "string" and text or ""
    if rest == "" then
        error("a duration is a number of seconds or like \"90s\", \"5m\", \"1h30m\"", level + 1)
    end
    while rest ~= "" do
        local n, unit, tail = rest:match("^(%d+%.?%d*)([smhd])(.*)$")
        if not n then
            error(("'%s' is not a duration like \"90s\", \"5m\", \"1h30m\""):format(text), level + 1)
        end
        sum, rest = sum + tonumber(n) * UNITS[unit], tail
    end
    return sum
end

globals.duration = function(text) return seconds(text, 2) end

-- ---- parameters: typed, bounded, with defaults

local PARAM_FIELDS <const> = { "type", "default", "min", "max", "unit", "doc", "choices" }
local PARAM_TYPES <const> = { "number", "integer", "percent", "celsius", "duration", "boolean",
                              "string", "choice" }

local function bounded(name, spec, value, level)
    local lo, hi = spec.min, spec.max
    if spec.type == "percent" then lo, hi = lo or 0, hi or 100 end
    if spec.type == "duration" then
        lo, hi = lo and seconds(lo, level + 1) or 0, hi and seconds(hi, level + 1)
    end
    if value ~= value or (lo and value < lo) or (hi and value > hi) then
        error(("parameter '%s' is %s, allowed is %s to %s"):format(name, value, lo or "-inf",
                                                                   hi or "inf"), level + 1)
    end
    return value
end

local function checked(name, spec, value, level)
    local t = spec.type
    if t == "duration" then
        return bounded(name, spec, seconds(value, level + 1), level + 1)
    elseif t == "boolean" or t == "string" then
        if type(value) ~= t then
            error(("parameter '%s' must be a %s, not a %s"):format(name, t, type(value)), level + 1)
        end
        return value
    elseif t == "choice" then
        return one_of("choice of parameter '" .. name .. "':", value, spec.choices, level + 1)
    end
    if not math.type(value) then
        error(("parameter '%s' must be a number (%s), not a %s"):format(name, t, type(value)), level + 1)
    end
    if t == "integer" and not math.tointeger(value) then
        error(("parameter '%s' must be an integer, not %s"):format(name, value), level + 1)
    end
    return bounded(name, spec, value, level + 1)
end

local function check_spec(name, spec, level)
    if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
        error(("a parameter's name is a word, not '%s'"):format(tostring(name)), level + 1)
    end
    if type(spec) ~= "table" then
        error(("parameter '%s' must be described by a table like { type = \"percent\", default = 70 }")
              :format(name), level + 1)
    end
    for k in native.pairs(spec) do
        if not contains(PARAM_FIELDS, k) then
            unknown("field of parameter '" .. name .. "':", k, PARAM_FIELDS, level + 1)
        end
    end
    if spec.type == nil then error(("parameter '%s' has no type"):format(name), level + 1) end
    one_of("type of parameter '" .. name .. "':", spec.type, PARAM_TYPES, level + 1)
    if spec.type == "choice" and type(spec.choices) ~= "table" then
        error(("parameter '%s' is a choice and needs choices = { ... }"):format(name), level + 1)
    end
    if spec.default == nil then error(("parameter '%s' has no default"):format(name), level + 1) end
end

local function resolve_params(policy_name, specs, level)
    local values, names = {}, {}
    if specs == nil then return values, {} end
    if type(specs) ~= "table" then error("params must be a table", level + 1) end
    for name, spec in native.pairs(specs) do
        check_spec(name, spec, level + 1)
        values[name] = checked(name, spec, spec.default, level + 1)
        names[#names + 1] = name
    end
    for name, value in native.pairs(native.settings(policy_name)) do
        if specs[name] == nil then unknown("parameter", name, names, level + 1) end
        values[name] = checked(name, specs[name], value, level + 1)
    end
    return values, names
end

-- A read of an undefined parameter is an error, not nil.
local function frozen_record(values, kind)
    local names = {}
    for k in native.pairs(values) do names[#names + 1] = k end
    return native.freeze(setmetatable(values, {
        __index = function(_, k) unknown(kind, k, names, 2) end,
    }), kind .. "s")
end

-- ---- schedule: windows of the day, by weekday, in local time

local DAYS <const> = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" }
local WINDOW_FIELDS <const> = { "from", "to", "days", "zone" }

local function minute_of(text, what, level)
    local h, m = tostring(text):match("^(%d%d?):(%d%d)$")
    h, m = tonumber(h), tonumber(m)
    if not h or h > 24 or m > 59 or h * 60 + m > 1440 then
        error(("schedule: %s must be a time like \"22:00\", not '%s'"):format(what, tostring(text)),
              level + 1)
    end
    return h * 60 + m
end

local function day_number(word, level)
    one_of("day:", word, DAYS, level + 1)
    for i, d in ipairs(DAYS) do
        if d == word then return i end
    end
end

-- "mon-fri,sun" -> { [1] = true, ... }
local function days_of(text, level)
    local set = {}
    if text == nil then text = "mon-sun" end
    if type(text) ~= "string" then error("schedule: days must be text like \"mon-fri\"", level + 1) end
    for part in text:gmatch("[^,%s]+") do
        local a, b = part:match("^(%a+)%-(%a+)$")
        local first, last = day_number(a or part, level + 1), day_number(b or a or part, level + 1)
        local d = first
        while true do
            set[d] = true
            if d == last then break end
            d = d % 7 + 1
        end
    end
    return set
end

local function parse_window(w, level)
    if type(w) ~= "table" then error("schedule: a window is { from = \"22:00\", to = \"06:00\" }", level + 1) end
    for k in native.pairs(w) do
        if not contains(WINDOW_FIELDS, k) then
            unknown("field of a schedule's window:", k, WINDOW_FIELDS, level + 1)
        end
    end
    local zone = w.zone == nil and "UTC" or w.zone
    if type(zone) ~= "string" or not native.zone_offset(zone, 0) then
        error(("schedule: zone '%s' is not known (a name such as \"Europe/Berlin\", \"UTC\", \"+02:00\")")
              :format(tostring(zone)), level + 1)
    end
    return { from = minute_of(w.from, "from", level + 1), to = minute_of(w.to, "to", level + 1),
             days = days_of(w.days, level + 1), zone = zone }
end

local function parse_schedule(s, level)
    if s == nil then return nil end
    if type(s) ~= "table" then error("schedule must be a table", level + 1) end
    if s[1] == nil then s = { s } end
    local windows = {}
    for i, w in ipairs(s) do windows[i] = parse_window(w, level + 1) end
    return windows
end

-- Minutes since the window's last opening when it is open at now, and its length.
local function inside(w, now)
    local minutes = (now + native.zone_offset(w.zone, now)) // 60
    local length = (w.to - w.from) % 1440
    if length == 0 then length = 1440 end
    for back = 0, 1 do
        local day = minutes // 1440 - back
        local since = minutes - day * 1440 - w.from
        if since >= 0 and since < length and w.days[(day + 3) % 7 + 1] then -- 1970-01-01: a Thursday
            return since, length
        end
    end
end

-- { open, ends_in, starts_in } in seconds; nil where that has no meaning. No schedule: always open.
local function window_at(windows, now)
    if not windows then return { open = true } end
    local ends
    for _, w in ipairs(windows) do
        local since, length = inside(w, now)
        if since then
            local left = (length - since) * 60 - now % 60
            ends = math.max(ends or 0, left)
        end
    end
    if ends then return { open = true, ends_in = ends } end
    for minutes = 1, 8 * 1440 do
        local t = now - now % 60 + minutes * 60
        for _, w in ipairs(windows) do
            if inside(w, t) then return { open = false, starts_in = t - now } end
        end
    end
    return { open = false }
end

-- ---- policy{}: the declaration

local declared, locked

local function check_name(name, level)
    if type(name) ~= "string" or not name:match("^[%a][%w_%-]*$") or #name > 63 then
        error("policy: name must be a word of at most 63 letters, digits, _ and -", level + 1)
    end
    return name
end

local function set_hook(hooks, name, f)
    if locked then error("hooks are set while the file is read, not later", 3) end
    if not contains(HOOKS, name) then unknown("hook", name, HOOKS, 2 + 1) end
    if type(f) ~= "function" then
        error(("hook '%s' must be a function, not a %s"):format(name, type(f)), 3)
    end
    if hooks[name] then error(("hook '%s' is defined twice"):format(name), 3) end
    native.check_hook(name, f)
    hooks[name] = f
end

local function text_list(what, v, level)
    if v == nil then return {} end
    if type(v) ~= "table" then error(what .. " must be a list of texts", level + 1) end
    for i, s in ipairs(v) do
        if type(s) ~= "string" then error(what .. "[" .. i .. "] must be text", level + 1) end
    end
    return v
end

local function check_scope(scope, level)
    if scope == nil then return end
    if type(scope) ~= "table" then
        error("policy: scope is a table of tags like { tier = \"batch\" }", level + 1)
    end
    for k, v in native.pairs(scope) do
        if type(k) ~= "string" or type(v) ~= "string" or #k > 63 or #v > 63 then
            error("policy: scope is a table of tags like { tier = \"batch\" }", level + 1)
        end
    end
end

local function check_needs(needs, level)
    for _, path in ipairs(needs) do
        if not path:match("^host%.[%a_]+%.?[%a_]*$") then
            error(("policy: needs: '%s' is not like \"host.temp.cpu\""):format(path), level + 1)
        end
    end
end

local function check_agreement(runs, level)
    if runs == nil then return 1 end
    if math.type(runs) ~= "integer" or runs < 1 or runs > 100 then
        error("policy: agreement is a number of evaluations from 1 to 100", level + 1)
    end
    return runs
end

local function check_hold(time, level)
    local s = seconds(time or 0, level + 1)
    if s < 0 or s > 7 * UNITS.d then error("policy: hold is a time of at most 7 days", level + 1) end
    return math.floor(s * 1000)
end

globals.policy = function(decl)
    if declared then error("policy{} stands once in a file", 2) end
    if type(decl) ~= "table" then error("policy{} takes a table", 2) end
    for k in native.pairs(decl) do
        if contains(HOOKS, k) then
            error(("hook '%s' is set after the declaration: function P.%s(...) ... end"):format(k, k), 2)
        end
        if not contains(FIELDS, k) then unknown("field of policy{}:", k, FIELDS, 2) end
    end
    if decl.api == nil then error("policy: api = 1 is missing", 2) end
    if decl.api ~= 1 then
        error(("policy: api is %s, this skein offers api 1"):format(tostring(decl.api)), 2)
    end
    local name = check_name(decl.name, 2)
    local values, names = resolve_params(name, decl.params, 2)
    local d = {
        name = name,
        api = 1,
        class = one_of("class", decl.class or "optimise", CLASSES, 2),
        goal = one_of("goal", decl.goal or "balance", GOALS, 2),
        description = decl.description,
        param_names = names,
        params = frozen_record(values, "parameter"),
        needs = text_list("needs", decl.needs, 2),
        schedule = parse_schedule(decl.schedule, 2),
        scope = decl.scope,
        cooldown_ms = math.floor(seconds(decl.cooldown or "30m", 2) * 1000),
        agreement = check_agreement(decl.agreement, 2),
        hold_ms = check_hold(decl.hold, 2),
        hooks = {},
    }
    check_scope(d.scope, 2)
    check_needs(d.needs, 2)
    declared = d
    return setmetatable({}, {
        __index = function(_, k)
            if d.hooks[k] then return d.hooks[k] end
            if k == "name" or k == "class" or k == "goal" or k == "params" or k == "api" then
                return d[k]
            end
        end,
        __newindex = function(_, k, v) set_hook(d.hooks, k, v) end,
        __metatable = false,
    })
end

-- ---- verdicts

local REJECT <const> = { __metatable = false, __name = "reject" }
local WAIT <const> = { __metatable = false, __name = "wait" }
local FALLBACK <const> = { __metatable = false, __name = "fallback" }
local ALLOW <const> = native.freeze({}, "allow")
local known_codes = {}

local function check_code(code, level)
    if type(code) ~= "string" or not code:match("^[A-Z][A-Z0-9_]*$") or #code > 63 then
        error("reject: the code must be like \"HOT_INLET\"", level + 1)
    end
    known_codes[code] = true
end

local function message_of(fmt, ...)
    if fmt == nil then return "" end
    if select("#", ...) == 0 then return tostring(fmt) end
    return native.format(fmt, ...)
end

globals.reject = function(code, fmt, ...)
    if not known_codes[code] then check_code(code, 2) end
    return setmetatable({ code, message_of(fmt, ...) }, REJECT)
end
globals.deny = globals.reject
globals.allow = function() return ALLOW end
globals.shutdown = function(why)
    return setmetatable({ "shutdown", "shut it down: " .. tostring(why or "its policy proposes it") }, FALLBACK)
end
globals.suspend = function(why)
    return setmetatable({ "suspend", "suspend it: " .. tostring(why or "its policy proposes it") }, FALLBACK)
end

globals.wait = function(spec)
    if type(spec) ~= "table" then error("wait takes a table like { approvers = \"dba\" }", 2) end
    local fields = { "approvers", "timeout", "reason" }
    for k in native.pairs(spec) do
        if not contains(fields, k) then unknown("field of wait{}:", k, fields, 2) end
    end
    local who = spec.approvers or "approver"
    if type(who) ~= "string" then error("wait: approvers must be text", 2) end
    return setmetatable({ who, spec.timeout and seconds(spec.timeout, 2) or 0,
                          tostring(spec.reason or "") }, WAIT)
end

-- For looking into a policy while it is written: shown by the command line, not part of the plan.
globals.print = function(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = native.tostring(parts[i]) end
    native.log(table.concat(parts, "\t"))
end

-- ---- lists of hosts and VMs

local methods = {}
local list_meta = { __index = methods }

local function list(items) return native.freeze(setmetatable(items, list_meta), "list") end

setmetatable(methods, {
    __index = function(_, k)
        if math.type(k) then return nil end
        local names = {}
        for name in native.pairs(methods) do names[#names + 1] = name end
        unknown("method of a list:", k, names, 2)
    end,
})

local ALIASES <const> = { load = "cpu.util", heat = "temp.cpu" }

-- "temp.cpu" -> a function from an object to that field; nil where a part is unknown.
local function getter(key, level)
    if type(key) == "function" then return key end
    if type(key) ~= "string" then error("a field's name like \"temp.cpu\", or a function", level + 1) end
    local a, b = (ALIASES[key] or key):match("^([%a_][%w_]*)%.?([%w_]*)$")
    if not a then error(("'%s' is not a field like \"temp.cpu\""):format(key), level + 1) end
    if b == "" then return function(o) return o[a] end end
    return function(o)
        local part = o[a]
        if part ~= nil then return part[b] end
    end
end

local function matches(o, spec)
    for k, want in native.pairs(spec) do
        local have = o[k]
        if type(want) == "table" and type(have) == "table" then
            if not matches(have, want) then return false end
        elseif have ~= want then
            return false
        end
    end
    return true
end

-- The elements for which a function says true, or whose fields are those of a table.
function methods.where(self, spec)
    local test = spec
    if type(spec) == "table" then
        test = function(o) return matches(o, spec) end
    elseif type(spec) ~= "function" then
        error("where takes a table of fields or a function", 2)
    end
    local out = {}
    for i = 1, #self do
        local o = self[i]
        if test(o) then out[#out + 1] = o end
    end
    return list(out)
end

-- Rising, or falling with "desc" (or a "-" before the name). Unknown values stand last; equal ones
-- keep their order.
function methods.sort_by(self, key, order)
    local down = order == "desc"
    if order ~= nil and order ~= "asc" and order ~= "desc" then
        error("sort_by: the order is \"asc\" or \"desc\"", 2)
    end
    if type(key) == "string" and key:sub(1, 1) == "-" then key, down = key:sub(2), true end
    local get, values, out = getter(key, 2), {}, {}
    for i = 1, #self do
        values[i] = { self[i], get(self[i]) }
    end
    native.sort(values, function(a, b)
        local x, y = a[2], b[2]
        if x == nil or y == nil then return x ~= nil and y == nil end
        if down then return y < x end
        return x < y
    end)
    for i, v in ipairs(values) do out[i] = v[1] end
    return list(out)
end

function methods.take(self, n)
    local out = {}
    for i = 1, math.min(n, #self) do out[i] = self[i] end
    return list(out)
end

function methods.first(self) return self[1] end
function methods.count(self) return #self end

-- nil as soon as one value is unknown: a sum with a hole in it is not a sum.
function methods.sum(self, key)
    local get, sum = getter(key, 2), 0
    for i = 1, #self do
        local v = get(self[i])
        if v == nil then return nil end
        sum = sum + v
    end
    return sum
end

function methods.mean(self, key)
    local sum = methods.sum(self, key)
    return sum and #self > 0 and sum / #self or nil
end

-- Mean absolute deviation from the mean: how unevenly a quantity is spread.
function methods.deviation(self, key)
    local get, mean, sum = getter(key, 2), methods.mean(self, key), 0
    if not mean then return nil end
    for i = 1, #self do sum = sum + math.abs(get(self[i]) - mean) end
    return sum / #self
end

local function extreme(self, key, better)
    local get, best, owner = getter(key, 3)
    for i = 1, #self do
        local v = get(self[i])
        if v ~= nil and (best == nil or better(v, best)) then best, owner = v, self[i] end
    end
    return best, owner
end

function methods.max(self, key) return extreme(self, key, function(a, b) return a > b end) end
function methods.min(self, key) return extreme(self, key, function(a, b) return a < b end) end

function methods.names(self)
    local out = {}
    for i = 1, #self do out[i] = self[i].name end
    return table.concat(out, ", ")
end

function methods.movable(self)
    return self:where(function(vm) return vm.movable end)
end

function methods.contains(self, o)
    for i = 1, #self do
        if self[i] == o then return true end
    end
    return false
end

function methods.any(self, test) return #self:where(test) > 0 end
function methods.all(self, test) return #self:where(test) == #self end

-- ---- what was measured before: samples, the oldest first, false where one is missing; .every
-- seconds each, the last of them .ended seconds ago

local series = {}
local series_meta = { __index = series }

setmetatable(series, {
    __index = function(_, k)
        if math.type(k) then return nil end
        local names = {}
        for name in native.pairs(series) do names[#names + 1] = name end
        unknown("method of a history:", k, names, 2)
    end,
})

-- The known ones among the last samples that cover the time; nil where fewer than half are known:
-- then nothing can be said of that time.
local function known(self, window, level)
    local n = math.max(math.ceil(seconds(window, level + 1) / self.every), 1)
    local out, from = {}, #self - n + 1
    for i = math.max(from, 1), #self do
        if self[i] then out[#out + 1] = { i, self[i] } end
    end
    if 2 * #out < n then return nil end
    return out
end

-- Seconds since the newest known sample.
function series.age(self)
    for i = #self, 1, -1 do
        if self[i] then return self.ended + (#self - i) * self.every end
    end
    return nil
end

function series.avg(self, window)
    local samples, sum = known(self, window, 2), 0
    if not samples then return nil end
    for _, s in ipairs(samples) do sum = sum + s[2] end
    return sum / #samples
end

-- The percentile by nearest rank: p(66, "5m") is not passed by 66 % of the samples.
function series.p(self, percent, window)
    if not math.type(percent) or percent < 0 or percent > 100 then
        error("p takes a percentage and a time, like p(66, \"5m\")", 2)
    end
    local samples = known(self, window, 2)
    if not samples then return nil end
    native.sort(samples, function(a, b) return a[2] < b[2] end)
    return samples[math.max(math.ceil(#samples * percent / 100), 1)][2]
end

function series.max(self, window) return series.p(self, 100, window) end
function series.min(self, window) return series.p(self, 0, window) end

-- Change a minute: the slope of the line that fits the samples best (least squares).
function series.trend(self, window)
    local samples = known(self, window, 2)
    if not samples or #samples < 2 then return nil end
    local n, x, y, xx, xy = #samples, 0, 0, 0, 0
    for _, s in ipairs(samples) do
        x, y, xx, xy = x + s[1], y + s[2], xx + s[1] * s[1], xy + s[1] * s[2]
    end
    return (n * xy - x * y) / (n * xx - x * x) * 60 / self.every
end

-- Seconds after which an observation counts as missing.
local STALE <const> = 300

-- Why the policy abstains: something it needs is reported by no host, or only by stale ones.
local function unmet(c)
    for _, path in ipairs(declared.needs) do
        local get, found = getter(path:sub(6), 2), false
        for _, host in ipairs(c.hosts) do
            found = found or (get(host) ~= nil and (host.age or 0) <= STALE)
        end
        if not found then return "abstains: no host reports " .. path end
    end
end

-- What nearly every pair is asked: the filter, and where that accepts the score. `scoring` tells
-- which of the two it was that failed.
local function judge(filter, score)
    local scoring = false -- luacheck: ignore 231 (C looks at it)
    return function(c, vm, host)
        scoring = false
        local verdict = filter(c, vm, host)
        if verdict ~= nil and verdict ~= true and not rawequal(verdict, ALLOW) then return verdict end
        scoring = true
        return nil, score(c, vm, host)
    end
end

return {
    judge = judge,
    unmet = unmet,
    declared = function()
        locked = true
        return declared
    end,
    window_at = window_at,
    list_meta = list_meta,
    series_meta = series_meta,
    reject_meta = REJECT,
    wait_meta = WAIT,
    fallback_meta = FALLBACK,
    allow = ALLOW,
    hooks = HOOKS,
}
