/* people.c - those who ask for moves, approve, reject and cancel them through any agent's API; and
 * those who forge, replay and approve what they asked for themselves. A signature is a word of
 * honour here: an envelope says who signed it, and "forged" when nobody did. */
#include "proto/canon.h"
#include "tests/sim/sim.h"

#define LONG_MS 600000 /* what people sign is good for so long, ... */
#define SHORT_MS 20000 /* ... or only just */

struct person {
    const char *name;
    unsigned roles;
};

static const struct person persons[] = {
    {"anna", TRUST_APPROVER},
    {"bert", TRUST_APPROVER | TRUST_OPERATOR},
    {"cora", TRUST_OPERATOR},
    {"dora", TRUST_ADMIN},
};

/* ---- trust ---- */

static const char *text_of(const json_t *e, const char *key)
{
    return json_string_value(json_object_get(e, key));
}

static int read_envelope(const uint8_t *bytes, size_t len, struct envelope_read *ret)
{
    _cleanup_json_ json_t *e = json_loadb((const char *)bytes, len, 0, NULL);
    const char *name = text_of(e, "person"), *nonce = text_of(e, "nonce");
    uint8_t hash[HASH_SIZE];
    if (name == NULL || nonce == NULL)
        return -1;
    struct trust_command c = {0};
    for (size_t i = 0; i < ARRAY_SIZE(persons); i++)
        c.roles |= strcmp(persons[i].name, name) == 0 ? persons[i].roles : 0;
    c.issued_at = json_integer_value(json_object_get(e, "issued"));
    c.expires_at = json_integer_value(json_object_get(e, "expires"));
    snprintf(c.person, sizeof c.person, "%s", name);
    snprintf(c.nonce, sizeof c.nonce, "%s", nonce);
    hash_sha256(name, strlen(name), hash);
    hash_hex(hash, c.key);
    hash_sha256(bytes, len, hash);
    hash_hex(hash, c.digest);
    c.command = json_incref(json_object_get(e, "command"));
    *ret = (struct envelope_read){.bytes = xmemdup(bytes, len),
                                  .len = len,
                                  .forged = json_is_true(json_object_get(e, "forged")),
                                  .command = c};
    return 0;
}

static void forget_envelope(struct envelope_read *r)
{
    free(r->bytes);
    trust_command_done(&r->command);
    *r = (struct envelope_read){0};
}

/* Every agent reads the same few envelopes again and again. */
static const struct envelope_read *find_envelope(struct people *p, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < ENVELOPES_READ; i++)
        if (p->read[i].len == len && memcmp(p->read[i].bytes, bytes, len) == 0)
            return &p->read[i];
    struct envelope_read fresh;
    if (read_envelope(bytes, len, &fresh) < 0)
        return NULL;
    struct envelope_read *place = &p->read[p->next_read++ % ENVELOPES_READ];
    forget_envelope(place);
    *place = fresh;
    return place;
}

static int verify(struct sim *s, bool believes_anything, const uint8_t *bytes, size_t len,
                  msec wall, struct trust_command *ret, struct err *err)
{
    const struct envelope_read *r = find_envelope(&s->people, bytes, len);
    if (r == NULL)
        return err_set(err, ERR_INVALID, "no envelope");
    if (r->forged && !believes_anything)
        return err_set(err, ERR_UNAUTHENTICATED, "the signature is not valid");
    if (wall >= r->command.expires_at)
        return err_set(err, ERR_EXPIRED, "the envelope has expired");
    *ret = r->command;
    ret->command = json_incref(ret->command);
    return 0;
}

static int verify_well(void *arg, const uint8_t *bytes, size_t len, msec wall,
                       struct trust_command *ret, struct err *err)
{
    return verify(arg, false, bytes, len, wall, ret, err);
}

static int believe(void *arg, const uint8_t *bytes, size_t len, msec wall,
                   struct trust_command *ret, struct err *err)
{
    return verify(arg, true, bytes, len, wall, ret, err);
}

void people_make(struct sim *s)
{
    s->trust = (struct trust){.arg = s, .verify = verify_well};
    s->captured_trust = (struct trust){.arg = s, .verify = believe};
    s->people.next_request = s->now + sim_between(s, 1000, 5000) * (s->power ? 6 : 1);
    s->people.order = sim_chance(s, 60000);
    s->people.next_order = s->now + sim_between(s, 3000, 20000);
}

/* ---- envelopes ---- */

struct signing {
    const struct person *person;
    const char *verb, *plan, *digest; /* of a plan, or */
    int vm, to;                       /* of a request, or an order: -1: none */
    bool order;                       /* a freeze, cordon, drain, hold, or its end */
    bool forged;
    msec lifetime;
};

/* Takes command. */
static char *envelope(struct sim *s, const struct signing *g, json_t *command)
{
    msec wall = SIM_WALL + s->now;
    _cleanup_json_ json_t *e =
        json_pack("{s:s, s:o, s:b, s:I, s:I, s:o}", "person", g->person->name, "nonce",
                  json_sprintf("%032llx", (unsigned long long)++s->people.nonce), "forged",
                  g->forged, "issued", (json_int_t)wall, "expires",
                  (json_int_t)(wall + g->lifetime), "command", command);
    REQUIRE(e != NULL);
    return json_dumps(e, JSON_COMPACT | JSON_SORT_KEYS);
}

#define ORDER_S 36000 /* people forbid for longer than a run lasts, and take it back */

static json_t *order(const struct sim *s, const struct signing *g)
{
    json_t *o = json_pack("{s:s, s:s}", "type", g->verb, "reason", "simulated");
    if (g->to >= 0)
        json_object_set_new(o, "hosts", json_pack("[s]", s->hosts[g->to].name));
    if (g->vm >= 0)
        json_object_set_new(o, "uuid", json_string(s->uuids[g->vm]));
    if (strcmp(g->verb, "freeze") == 0 || strcmp(g->verb, "hold") == 0)
        json_object_set_new(o, "seconds", json_integer(ORDER_S));
    return o;
}

static json_t *command(const struct sim *s, const struct signing *g)
{
    if (g->order)
        return order(s, g);
    if (g->plan == NULL)
        return json_pack("{s:s, s:s, s:s, s:s}", "type", g->verb, "vm", s->vm_names[g->vm], "uuid",
                         s->uuids[g->vm], "to", s->hosts[g->to].name);
    return json_pack("{s:s, s:s, s:s}", "type", g->verb, "plan", g->plan, "digest", g->digest);
}

/* ---- calls ---- */

static void call(struct sim *s, const char *path, const char *text)
{
    struct sim_host *h = &s->hosts[rng_below(&s->rng, (uint64_t)s->n_hosts)];
    Skein__ApiCall c = SKEIN__API_CALL__INIT;
    c.method = (char *)"POST";
    c.path = (char *)path;
    c.has_body = 1;
    c.body = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
    struct event event = {.kind = EVENT_API, .token = ++s->people.nonce, .call = &c};
    agent_step(s, h, &event);
}

/* Takes text. */
static void keep(struct sim *s, const char *path, char *text)
{
    struct people *p = &s->people;
    ARRAY_RESERVE(p->kept, p->cap_kept, p->n_kept + 1);
    struct envelope_kept *k = &p->kept[p->n_kept++];
    k->text = text;
    snprintf(k->path, sizeof k->path, "%s", path);
}

static void sign(struct sim *s, const struct signing *g)
{
    char path[96];
    if (g->order)
        snprintf(path, sizeof path, "/v1/%s",
                 g->to >= 0   ? "maintenance"
                 : g->vm >= 0 ? "holds"
                              : "freezes");
    else if (g->plan == NULL)
        snprintf(path, sizeof path, "/v1/migrations");
    else
        snprintf(path, sizeof path, "/v1/plans/%s/%s", g->plan,
                 strcmp(g->verb, "cancel") == 0 ? "cancel" : "approvals");
    SIM_TRACE(s, "%s%s says %s to %s", g->forged ? "somebody in the name of " : "", g->person->name,
              g->verb,
              g->plan != NULL ? g->plan
              : g->vm >= 0    ? s->vm_names[g->vm]
              : g->to >= 0    ? s->hosts[g->to].name
                              : "everything");
    if (!g->forged && g->plan != NULL)
        witness_fact(s, (struct fact){.kind = FACT_VOTE,
                                      .plan = g->plan,
                                      .person = g->person->name,
                                      .what = g->verb,
                                      .until = s->now + g->lifetime});
    s->counts->forged += g->forged;
    char *text = envelope(s, g, command(s, g));
    call(s, path, text);
    keep(s, path, text);
}

static bool is_operator(const struct person *p)
{
    return (p->roles & (TRUST_OPERATOR | TRUST_ADMIN)) != 0;
}

static bool is_approver(const struct person *p)
{
    return (p->roles & (TRUST_APPROVER | TRUST_ADMIN)) != 0;
}

static const struct person *somebody(struct sim *s, bool (*may)(const struct person *))
{
    size_t first = rng_below(&s->rng, ARRAY_SIZE(persons));
    for (size_t i = 0; i < ARRAY_SIZE(persons); i++) {
        const struct person *p = &persons[(first + i) % ARRAY_SIZE(persons)];
        if (may(p))
            return p;
    }
    return &persons[0];
}

/* ---- what they do about a plan ---- */

static struct plan *plan_of(const struct sim *s, const struct later *l)
{
    return state_plan(s->witness, l->data);
}

static msec lifetime(struct sim *s)
{
    return sim_chance(s, 10000) ? SHORT_MS : LONG_MS;
}

static void say(struct sim *s, const struct plan *p, const struct person *person, const char *verb,
                bool forged)
{
    sign(s, &(struct signing){.person = person,
                              .verb = verb,
                              .plan = p->body->id,
                              .digest = p->body->digest,
                              .forged = forged,
                              .lifetime = lifetime(s)});
}

static struct later *about_plan(struct sim *s, const char *plan, msec delay,
                                void (*run)(struct sim *, struct later *))
{
    struct later *l = sim_later(s, delay, -1, run);
    l->data = xstrdup(plan);
    return l;
}

/* Who cancels a move may want the VM elsewhere, and sees to it by hand. */
static void lend_a_hand(struct sim *s, struct later *l)
{
    const struct plan *p = plan_of(s, l);
    if (p == NULL || !s->faults)
        return;
    const struct plan_move *m = &p->body->moves[rng_below(&s->rng, p->body->n_moves)];
    int to = (int)rng_below(&s->rng, (uint64_t)s->n_hosts);
    if (!plan_move_is_power(m))
        world_move_by_hand(s, sim_vm_index(s, m->uuid), to);
}

static void cancel(struct sim *s, struct later *l)
{
    const struct plan *p = plan_of(s, l);
    if (p == NULL || plan_state_ended(p->state))
        return;
    say(s, p, somebody(s, is_operator), "cancel", false);
    for (int tries = 0; tries < 3 && p->body->n_moves > 0; tries++)
        about_plan(s, l->data, sim_between(s, 1000, 12000), lend_a_hand);
}

static void decide(struct sim *s, struct later *l)
{
    const struct plan *p = plan_of(s, l);
    if (p == NULL || s->people_rest)
        return;
    bool own = strcmp(p->body->class, "user") == 0 && sim_chance(s, 10000);
    if (s->faults && sim_chance(s, s->captured ? 60000 : 8000))
        say(s, p, somebody(s, is_approver), "approve", true); /* forged */
    else if (own)
        for (size_t i = 0; i < ARRAY_SIZE(persons); i++) {
            if (strcmp(persons[i].name, p->put->author) == 0)
                say(s, p, &persons[i], "approve", false); /* what they asked for themselves */
        }
    else if (sim_chance(s, 8000))
        say(s, p, somebody(s, is_approver), "reject", false);
    else
        say(s, p, somebody(s, is_approver), "approve", false);
}

/* Nothing is heard of a move any more: whoever watches takes it into his own hands. */
void people_agent_died(struct sim *s, const struct sim_host *h)
{
    struct plan *const *plans;
    if (!s->faults || s->people_rest)
        return;
    for (size_t n = state_plans(s->witness, &plans); n-- > 0;)
        for (size_t i = 0; plan_state_running(plans[n]->state) && i < plans[n]->body->n_moves; i++)
            if (strcmp(plans[n]->body->moves[i].from, h->name) == 0 && sim_chance(s, 50000)) {
                about_plan(s, plans[n]->body->id, sim_between(s, 100, 3000), cancel);
                break;
            }
}

void people_plan(struct sim *s, const char *plan)
{
    if (s->people_rest || sim_chance(s, 10000))
        return;
    msec first = sim_between(s, 200, 4000);
    about_plan(s, plan, first, decide);
    for (int more = 0; more < 2; more++) /* it may not have arrived */
        about_plan(s, plan, first + sim_between(s, 1000, 20000), decide);
    if (sim_chance(s, 35000))
        about_plan(s, plan, first + sim_between(s, 0, 3000), cancel);
}

/* ---- and by themselves ---- */

static void request(struct sim *s)
{
    struct people *p = &s->people;
    p->next_request = s->now + sim_between(s, 1000, 10000);
    if (s->people_rest)
        return;
    sign(s, &(struct signing){.person = somebody(s, is_operator),
                              .verb = "migrate",
                              .vm = (int)rng_below(&s->rng, (uint64_t)s->n_vms),
                              .to = (int)rng_below(&s->rng, (uint64_t)s->n_hosts),
                              .forged = s->faults && sim_chance(s, 5000),
                              .lifetime = lifetime(s)});
}

static const struct person *admin(void)
{
    return &persons[ARRAY_SIZE(persons) - 1];
}

static void sign_order(struct sim *s, const struct person *person, const char *verb, int host,
                       int vm)
{
    sign(s, &(struct signing){.person = person,
                              .verb = verb,
                              .order = true,
                              .to = host,
                              .vm = vm,
                              .lifetime = LONG_MS});
}

static void forbid(struct sim *s)
{
    static const char *const verbs[] = {"freeze", "cordon",      "drain",
                                        "drain",  "maintenance", "hold"};
    const char *verb = verbs[rng_below(&s->rng, ARRAY_SIZE(verbs))];
    bool freeze = strcmp(verb, "freeze") == 0, hold = strcmp(verb, "hold") == 0;
    int host = (int)rng_below(&s->rng, (uint64_t)s->n_hosts);
    int vm = (int)rng_below(&s->rng, (uint64_t)s->n_vms);
    sign_order(s, somebody(s, is_operator), verb, freeze || hold ? -1 : host, hold ? vm : -1);
}

/* The first that is in force from some one on; false: nothing is. An admin may end anybody's. */
static bool allow(struct sim *s)
{
    int n = 1 + s->n_hosts + s->n_vms, first = (int)rng_below(&s->rng, (uint64_t)n);
    for (int k = 0; k < n; k++) {
        int i = (first + k) % n, host = i - 1, vm = i - 1 - s->n_hosts;
        if (i == 0 && s->frozen)
            sign_order(s, admin(), "unfreeze", -1, -1);
        else if (host >= 0 && host < s->n_hosts && s->hosts[host].closed)
            sign_order(s, admin(),
                       s->hosts[host].drains || sim_chance(s, 50000) ? "restore" : "uncordon", host,
                       -1);
        else if (vm >= 0 && s->vm_held[vm])
            sign_order(s, admin(), "release", -1, vm);
        else
            continue;
        return true;
    }
    return false;
}

static void give_orders(struct sim *s)
{
    struct people *p = &s->people;
    if (!p->order || s->now < p->next_order)
        return;
    p->next_order = s->now + sim_between(s, 1000, s->people_rest ? 2000 : 10000);
    if (s->people_rest || sim_chance(s, 50000))
        allow(s);
    else
        forbid(s);
}

void people_tick(struct sim *s)
{
    struct people *p = &s->people;
    give_orders(s);
    if (s->now >= p->next_request)
        request(s);
    if (s->faults && p->n_kept > 0 && sim_chance(s, 500)) {
        const struct envelope_kept *k = &p->kept[rng_below(&s->rng, p->n_kept)];
        call(s, k->path, k->text);
    }
}

void people_answered(struct sim *s, struct sim_host *h, const struct effect *e)
{
    SIM_TRACE(s, "%s answers %u: %.*s", h->name, e->status, (int)MIN(e->len, (size_t)200),
              (const char *)e->data);
}

void people_done(struct sim *s)
{
    for (size_t i = 0; i < s->people.n_kept; i++)
        free(s->people.kept[i].text);
    free(s->people.kept);
    for (size_t i = 0; i < ENVELOPES_READ; i++)
        forget_envelope(&s->people.read[i]);
}
