-- enforce_rules: repairs violated rules with the fewest moves, and touches nothing else.

local P = policy {
    name = "enforce_rules", api = 1, goal = "enforce", class = "safety", cooldown = "10m",
    description = "repairs violated placement rules, and nothing else",
    params = {
        max_moves = { type = "integer", default = 20, min = 1, max = 1000,
                      doc = "moves of one plan at most" },
    },
}

-- Whether a rule is violated is found by the planner, which knows all of them.
function P.trigger(c)
    return true, "placement rules"
end

function P.objective(c)
    return { max_moves = c.params.max_moves }
end

function P.accept(c, plan)
    if plan.violations_after > plan.violations_before then
        return false, "it would break a rule to mend another"
    end
    return true
end

return P
