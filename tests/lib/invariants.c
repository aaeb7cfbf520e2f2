#include "tests/lib/invariants.h"

#include <stdio.h>

#include "tests/lib/invariants_priv.h"

static const char *const kind_names[] = {

#define X(name, text) [FACT_##name] = text,
    FACT_KINDS(X)
#undef X
};

const char *fact_kind_name(enum fact_kind kind)
{
    REQUIRE(kind < FACT_KIND_COUNT);
    return kind_names[kind];
}

struct invariants *invariants_new(void)
{
    return xcalloc(1, sizeof(struct invariants));
}

void invariants_free(struct invariants *inv)
{
    if (inv == NULL)
        return;
    for (size_t i = 0; i < inv->n_hosts; i++)
        free(inv->hosts[i].domains);
    for (size_t i = 0; i < inv->n_plans; i++)
        free(inv->plans[i].cancel_known);
    free(inv->hosts);
    free(inv->vms);
    free(inv->actions);
    free(inv->plans);
    free(inv->votes);
    free(inv->terms);
    free(inv->images);
    free(inv->commands);
    free(inv);
}

int broken(struct err *err, int number, const char *fmt, ...)
{
    char text[ERR_MSG_MAX / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(err, ERR_CONFLICT, "invariant %d is broken: %s", number, text);
}

static int lacks(struct err *err, const struct fact *f, const char *field)
{
    return err_set(err, ERR_INVALID, "fact \"%s\": \"%s\" is missing", fact_kind_name(f->kind),
                   field);
}

static void set_name(char to[NAME_SIZE], const char *from)
{
    snprintf(to, NAME_SIZE, "%s", from != NULL ? from : "");
}

/* ---- finding; what is not known yet is added ---- */

static int find_host(const struct invariants *inv, const char *name)
{
    for (size_t i = 0; i < inv->n_hosts; i++)
        if (strcmp(inv->hosts[i].name, name) == 0)
            return (int)i;
    return NOWHERE;
}

static int get_host(struct invariants *inv, const char *name)
{
    int at = find_host(inv, name);
    if (at != NOWHERE)
        return at;
    ARRAY_RESERVE(inv->hosts, inv->cap_hosts, inv->n_hosts + 1);
    struct inv_host *h = &inv->hosts[inv->n_hosts];
    *h = (struct inv_host){.domains = xcalloc(inv->cap_vms + 1, sizeof *h->domains)};
    set_name(h->name, name);
    return (int)inv->n_hosts++;
}

static int get_vm(struct invariants *inv, const char *uuid)
{
    for (size_t i = 0; i < inv->n_vms; i++)
        if (strcmp(inv->vms[i].uuid, uuid) == 0)
            return (int)i;
    size_t before = inv->cap_vms;
    ARRAY_RESERVE(inv->vms, inv->cap_vms, inv->n_vms + 1);
    for (size_t i = 0; i < inv->n_hosts && inv->cap_vms != before; i++) {
        struct domain *grown = xcalloc(inv->cap_vms + 1, sizeof *grown);
        memcpy(grown, inv->hosts[i].domains, inv->n_vms * sizeof *grown);
        free(inv->hosts[i].domains);
        inv->hosts[i].domains = grown;
    }
    inv->vms[inv->n_vms] = (struct inv_vm){0};
    set_name(inv->vms[inv->n_vms].uuid, uuid);
    return (int)inv->n_vms++;
}

struct inv_plan *inv_plan(struct invariants *inv, const char *plan)
{
    for (size_t i = inv->n_plans; i-- > 0;)
        if (strcmp(inv->plans[i].plan, plan) == 0)
            return &inv->plans[i];
    return NULL;
}

struct inv_action *inv_action(struct invariants *inv, const char *plan, const char *action)
{
    for (size_t i = inv->n_actions; i-- > 0;)
        if (strcmp(inv->actions[i].plan, plan) == 0 && strcmp(inv->actions[i].action, action) == 0)
            return &inv->actions[i];
    return NULL;
}

/* ---- taking facts in ---- */

static int take_complete(struct invariants *inv, const struct fact *f, struct err *err)
{
    char words[512], *rest = words;
    snprintf(words, sizeof words, "%s", f->kinds != NULL ? f->kinds : "");
    for (char *word; (word = strsep(&rest, " ,")) != NULL;) {
        size_t kind = 0;
        while (kind < FACT_KIND_COUNT && strcmp(word, kind_names[kind]) != 0)
            kind++;
        if (kind == FACT_KIND_COUNT && word[0] != '\0')
            return err_set(err, ERR_INVALID, "fact \"complete\": there is no kind \"%s\"", word);
        if (kind < FACT_KIND_COUNT)
            inv->complete |= UINT64_C(1) << kind;
    }
    return 0;
}

static int take_host(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->host == NULL)
        return lacks(err, f, "host");
    int at = get_host(inv, f->host);
    struct inv_host *h = &inv->hosts[at];
    h->memory_mib = f->memory_mib;
    h->vcpus = f->vcpus;
    h->inflow = f->inflow;
    h->outflow = f->outflow;
    h->voter = f->voter;
    return 0;
}

static int read_state(const struct fact *f, enum domain_state *ret, struct err *err)
{
    static const char *const names[] = {
        [DOMAIN_ABSENT] = "absent",   [DOMAIN_RUNNING] = "running", [DOMAIN_PAUSED] = "paused",
        [DOMAIN_STOPPED] = "stopped", [DOMAIN_CRASHED] = "crashed", [DOMAIN_INCOMING] = "incoming",
    };

    for (size_t i = 0; f->what != NULL && i < ARRAY_SIZE(names); i++)
        if (strcmp(f->what, names[i]) == 0) {
            *ret = (enum domain_state)i;
            return 0;
        }
    return err_set(
        err, ERR_INVALID,
        "fact \"domain\": \"what\" is none of absent, running, paused, stopped, crashed, "
        "incoming");
}

static int take_domain(struct invariants *inv, const struct fact *f, struct err *err)
{
    enum domain_state state = DOMAIN_ABSENT;
    if (f->host == NULL || f->vm == NULL)
        return lacks(err, f, f->host == NULL ? "host" : "vm");
    if (read_state(f, &state, err) < 0)
        return -(int)err->code;
    int host = get_host(inv, f->host), vm = get_vm(inv, f->vm);
    struct domain *d = &inv->hosts[host].domains[vm], before = *d;
    inv->vms[vm].seen = inv->vms[vm].seen || state != DOMAIN_ABSENT;
    inv->vms[vm].persistent = inv->vms[vm].persistent || f->persistent;
    *d = (struct domain){.state = state,
                         .persistent = f->persistent,
                         .job = f->job,
                         .since = before.state == state ? before.since : inv->now};
    return rule_domain(inv, host, vm, &before, err);
}

static int take_about_vm(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->vm == NULL)
        return lacks(err, f, "vm");
    int at = get_vm(inv, f->vm);
    struct inv_vm *vm = &inv->vms[at];
    if (f->kind == FACT_OPERATOR)
        vm->operator_at = MAX(inv->now, (int64_t)1);
    else if (f->kind == FACT_REPAIRED)
        vm->broken = false;
    if (f->kind == FACT_VM) {
        vm->memory_mib = f->memory_mib;
        vm->vcpus = f->vcpus;
    }
    for (size_t i = 0; i < inv->n_actions; i++) {
        struct inv_action *a = &inv->actions[i];
        if (&inv->vms[a->vm] != vm)
            continue;
        if (f->kind == FACT_JOB_ENDED)
            a->job = false;
    }
    if (f->kind == FACT_BROKEN) {
        vm->broken = true;
        vm->broken_at = MAX(inv->now, (int64_t)1);
    }
    return 0;
}

static int take_plan(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->plan == NULL)
        return lacks(err, f, "plan");
    if (inv_plan(inv, f->plan) != NULL)
        return 0;
    ARRAY_RESERVE(inv->plans, inv->cap_plans, inv->n_plans + 1);
    struct inv_plan *p = &inv->plans[inv->n_plans++];
    *p = (struct inv_plan){.at = inv->now};
    set_name(p->plan, f->plan);
    set_name(p->class, f->what);
    set_name(p->author, f->person);
    return 0;
}

static int take_action(struct invariants *inv, const struct fact *f, struct err *err)
{
    const char *const needed[] = {f->plan, f->action, f->vm, f->from, f->to};
    static const char *const names[] = {"plan", "action", "vm", "from", "to"};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (needed[i] == NULL)
            return lacks(err, f, names[i]);
    if (inv_action(inv, f->plan, f->action) != NULL)
        return 0;
    int vm = get_vm(inv, f->vm), from = get_host(inv, f->from), to = get_host(inv, f->to);
    ARRAY_RESERVE(inv->actions, inv->cap_actions, inv->n_actions + 1);
    struct inv_action *a = &inv->actions[inv->n_actions++];
    *a = (struct inv_action){.vm = vm, .from = from, .to = to, .step = f->step};
    set_name(a->plan, f->plan);
    set_name(a->action, f->action);
    return 0;
}

static int take_vote(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->plan == NULL || f->person == NULL || f->what == NULL)
        return lacks(err, f, f->plan == NULL ? "plan" : f->person == NULL ? "person" : "what");
    ARRAY_RESERVE(inv->votes, inv->cap_votes, inv->n_votes + 1);
    struct inv_vote *v = &inv->votes[inv->n_votes++];
    *v = (struct inv_vote){.at = inv->now, .until = f->until};
    set_name(v->plan, f->plan);
    set_name(v->person, f->person);
    set_name(v->what, f->what);
    return 0;
}

static int take_command(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->digest == NULL)
        return lacks(err, f, "digest");
    for (size_t i = 0; i < inv->n_commands; i++)
        if (strcmp(inv->commands[i].digest, f->digest) == 0)
            return BROKEN(err, 6, "the signed command %.12s was taken twice", f->digest);
    ARRAY_RESERVE(inv->commands, inv->cap_commands, inv->n_commands + 1);
    set_name(inv->commands[inv->n_commands++].digest, f->digest);
    return 0;
}

static int take_leader(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->host == NULL)
        return lacks(err, f, "host");
    int host = get_host(inv, f->host);
    for (size_t i = 0; i < inv->n_terms; i++)
        if (inv->terms[i].term == f->term && inv->terms[i].host != host)
            return BROKEN(err, 10, "%s and %s both plan in term %lld", f->host,
                          inv->hosts[inv->terms[i].host].name, (long long)f->term);
    ARRAY_RESERVE(inv->terms, inv->cap_terms, inv->n_terms + 1);
    inv->terms[inv->n_terms++] = (struct inv_term){f->term, host};
    return 0;
}

static int take_image(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->digest == NULL || f->host == NULL)
        return lacks(err, f, f->host == NULL ? "host" : "digest");
    for (size_t i = inv->n_images; i-- > 0;) {
        if (inv->images[i].index != f->index)
            continue;
        if (strcmp(inv->images[i].digest, f->digest) != 0)
            return BROKEN(err, 15, "the state of %s at entry %lld is not what others have there",
                          f->host, (long long)f->index);
        return 0;
    }
    ARRAY_RESERVE(inv->images, inv->cap_images, inv->n_images + 1);
    inv->images[inv->n_images].index = f->index;
    set_name(inv->images[inv->n_images++].digest, f->digest);
    return 0;
}

/* ---- about an action ---- */

static int take_permit(struct invariants *inv, struct inv_action *a, const struct fact *f,
                       struct err *err)
{
    if (f->permit == NULL)
        return lacks(err, f, "permit");
    int rc = rule_permit(inv, a, f, err);
    if (a->returned) { /* a new attempt: to be journaled, audited and started once more */
        a->started = 0;
        a->journal_started = a->audit_started = a->ended = a->returned = false;
        set_name(a->outcome, "");
    }
    set_name(a->permit, f->permit);
    a->permit_at = inv->now;
    a->permit_term = f->term;
    a->attempt = f->attempt;
    a->confirmed_source = a->confirmed_destination = 0;
    return rc;
}

static int take_confirmed(struct invariants *inv, struct inv_action *a, const struct fact *f,
                          struct err *err)
{
    if (f->host == NULL || f->from == NULL || f->permit == NULL)
        return lacks(err, f, f->host == NULL ? "host" : f->from == NULL ? "from" : "permit");
    int asker = get_host(inv, f->host), voter = get_host(inv, f->from);
    if (strcmp(f->permit, a->permit) == 0) {
        a->confirmed_source |= asker == a->from ? UINT64_C(1) << (voter & 63) : 0;
        a->confirmed_destination |= asker == a->to ? UINT64_C(1) << (voter & 63) : 0;
    }
    return rule_confirmed(a, f, err);
}

static int take_journal(struct invariants *inv, struct inv_action *a, const struct fact *f,
                        struct err *err)
{
    if (f->what == NULL)
        return lacks(err, f, "what");
    if (!f->destination) {
        a->journal_started = a->journal_started || strcmp(f->what, "STARTED") == 0;
        return 0;
    }
    bool held = a->held;
    a->held = strcmp(f->what, "RESERVED") == 0;
    if (a->held)
        a->held_until = f->until;
    return held && !a->held ? rule_released(inv, a, err) : 0;
}

static int take_end(struct invariants *inv, struct inv_action *a, const struct fact *f,
                    struct err *err)
{
    if (f->what == NULL)
        return lacks(err, f, "what");
    if (f->kind == FACT_ENDED) {
        a->ended = true;
        set_name(a->outcome, f->what);
        return rule_ended(inv, a, f->what, err);
    }
    if (strcmp(f->what, "returned") == 0) {
        a->returned = true;
        return rule_returned(inv, a, err);
    }
    bool first = a->reported[0] == '\0';
    set_name(a->reported, f->what);
    /* what the planner itself found out, without the source's word */
    return first && !a->ended ? rule_ended(inv, a, f->what, err) : 0;
}

static int take_about_action(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->plan == NULL || f->action == NULL)
        return lacks(err, f, f->plan == NULL ? "plan" : "action");
    struct inv_action *a = inv_action(inv, f->plan, f->action);
    if (a == NULL)
        return f->kind == FACT_STARTED
                   ? BROKEN(err, 5, "action %s/%s is of no plan that is known", f->plan, f->action)
                   : err_set(err, ERR_INVALID, "fact \"%s\": action %s/%s is not known",
                             fact_kind_name(f->kind), f->plan, f->action);
    if (f->kind == FACT_PERMIT)
        return take_permit(inv, a, f, err);
    if (f->kind == FACT_CONFIRMED)
        return take_confirmed(inv, a, f, err);
    if (f->kind == FACT_JOURNAL)
        return take_journal(inv, a, f, err);
    if (f->kind == FACT_ADMITTED)
        return rule_admitted(inv, a, f->until, err);
    if (f->kind == FACT_STARTED && f->host != NULL)
        return rule_started(inv, a, f, get_host(inv, f->host), err);
    if (f->kind == FACT_STARTED)
        return lacks(err, f, "host");
    return take_end(inv, a, f, err);
}

static int take_audit(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->what == NULL)
        return lacks(err, f, "what");
    struct inv_action *a =
        f->plan != NULL && f->action != NULL ? inv_action(inv, f->plan, f->action) : NULL;
    if (a != NULL && strcmp(f->what, "move.started") == 0 && f->host != NULL &&
        find_host(inv, f->host) == a->from)
        a->audit_started = true;
    return 0;
}

static int take_about_plan(struct invariants *inv, const struct fact *f, struct err *err)
{
    struct inv_plan *p = f->plan != NULL ? inv_plan(inv, f->plan) : NULL;
    if (p == NULL)
        return err_set(err, ERR_INVALID, "fact \"%s\": no plan that is known",
                       fact_kind_name(f->kind));
    if (f->kind == FACT_PLAN_STATE) {
        set_name(p->state, f->what);
        return 0;
    }
    if (f->host == NULL)
        return lacks(err, f, "host");
    int host = get_host(inv, f->host);
    for (size_t i = 0; i < p->n_known; i++)
        if (p->cancel_known[i].host == host)
            p->cancel_known[i--] = p->cancel_known[--p->n_known];
    if (f->what != NULL && strcmp(f->what, "forgotten") == 0)
        return 0;
    ARRAY_RESERVE(p->cancel_known, p->cap_known, p->n_known + 1);
    p->cancel_known[p->n_known].host = host;
    p->cancel_known[p->n_known++].at = inv->now;
    return 0;
}

static int take_done_to_vm(struct invariants *inv, const struct fact *f, struct err *err)
{
    if (f->host == NULL || f->vm == NULL)
        return lacks(err, f, f->host == NULL ? "host" : "vm");
    int host = get_host(inv, f->host), vm = get_vm(inv, f->vm);
    return f->kind == FACT_TIDIED ? rule_tidied(inv, host, vm, err)
                                  : rule_aborted(inv, host, vm, err);
}

/* What people forbid, and what they forbid no more. */
static int take_order(struct invariants *inv, const struct fact *f, struct err *err)
{
    bool on = f->kind == FACT_FORBIDDEN, drain = f->what != NULL && strcmp(f->what, "drain") == 0;
    int64_t since = on ? MAX(inv->now, (int64_t)1) : 0;
    if (f->what == NULL)
        return lacks(err, f, "what");
    if (strcmp(f->what, "freeze") == 0) {
        inv->frozen_at = since;
    } else if (strcmp(f->what, "cordon") == 0 || drain) {
        if (f->host == NULL)
            return lacks(err, f, "host");
        struct inv_host *h = &inv->hosts[get_host(inv, f->host)];
        h->closed_at = on && h->closed_at != 0 ? h->closed_at : since;
        h->drains = on && drain;
    } else if (strcmp(f->what, "hold") == 0) {
        if (f->vm == NULL)
            return lacks(err, f, "vm");
        int vm = get_vm(inv, f->vm);
        inv->vms[vm].held_at = since;
    } else {
        return err_set(err, ERR_INVALID, "fact \"%s\": nobody can order a \"%s\"",
                       fact_kind_name(f->kind), f->what);
    }
    return 0;
}

int invariants_fact(struct invariants *inv, const struct fact *f, struct err *err)
{
    inv->now = MAX(inv->now, f->at);
    switch (f->kind) {
    case FACT_COMPLETE:
        return take_complete(inv, f, err);
    case FACT_LIMITS:
        inv->total = f->total;
        inv->permit_lifetime = f->until;
        inv->timeout = f->timeout;
        inv->slack = f->slack;
        return 0;
    case FACT_HOST:
        return take_host(inv, f, err);
    case FACT_DOMAIN:
        return take_domain(inv, f, err);
    case FACT_VM:
    case FACT_OPERATOR:
    case FACT_BROKEN:
    case FACT_REPAIRED:
    case FACT_JOB_ENDED:
        return take_about_vm(inv, f, err);
    case FACT_PLAN:
        return take_plan(inv, f, err);
    case FACT_ACTION:
        return take_action(inv, f, err);
    case FACT_VOTE:
        return take_vote(inv, f, err);
    case FACT_COMMAND:
        return take_command(inv, f, err);
    case FACT_LEADER:
        return take_leader(inv, f, err);
    case FACT_FORBIDDEN:
    case FACT_ALLOWED:
        return take_order(inv, f, err);
    case FACT_PLANNING:
        return rule_planning(inv, f, err);
    case FACT_DEAD:
        return BROKEN(err, 14, "%s takes %s for dead, which lives", f->host != NULL ? f->host : "?",
                      f->to != NULL ? f->to : "?");
    case FACT_IMAGE:
        return take_image(inv, f, err);
    case FACT_PERMIT:
    case FACT_CONFIRMED:
    case FACT_ADMITTED:
    case FACT_JOURNAL:
    case FACT_STARTED:
    case FACT_ENDED:
    case FACT_REPORTED:
        return take_about_action(inv, f, err);
    case FACT_AUDIT:
        return take_audit(inv, f, err);
    case FACT_CANCEL_KNOWN:
    case FACT_PLAN_STATE:
        return take_about_plan(inv, f, err);
    case FACT_ABORTED:
    case FACT_TIDIED:
        return take_done_to_vm(inv, f, err);
    case FACT_CHECK:
        return invariants_check(inv, err);
    case FACT_SETTLED:
        return rule_settled(inv, err);
    case FACT_KIND_COUNT:
        break;
    }
    return err_set(err, ERR_INVALID, "a fact of no kind");
}
