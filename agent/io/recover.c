#include "agent/io/recover.h"

#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "agent/io/council_seams.h"
#include "agent/io/store.h"
#include "proto/canon.h"
#include "proto/util.h"
#include "tls/file.h"

struct recover {
    const struct recover_conf *conf;
    uv_loop_t loop;
    struct store *store; /* this host's */
    const char *voters[CONSENSUS_VOTERS_MAX];
    size_t n_voters;
    struct raft_configuration configuration;
    struct raft_buffer encoded; /* the new voters */
    struct store_raft_state log;
    struct voter_groups groups; /* those that were known; n 0: the voters were never replaced */
    char *before;               /* names of the voters that the log has now */
};

static const char warning[] =
    "\n"
    "This is for the loss of a majority of the voters that will not come back.\n"
    " - What only the lost voters had agreed on is lost: of the hosts that are left, take the one\n"
    "   with the highest term and, among those, the highest entry.\n"
    " - What this host holds becomes the cluster's state, even what was never agreed on.\n"
    " - The lost voters must not start again with their old state: remove their state directories\n"
    "   first. With the old configuration they would elect a planner of their own.\n"
    " - Every agent's raft.voters must name the new voters before it is started again, and the\n"
    "   other new voters must be given this log first (--out here, --from there).\n";

/* ---- the new voters ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_voters(struct recover *r, struct err *err)
{
    const struct config *config = r->conf->config;
    bool self = false;
    if (config->n_raft_voters < 1 || config->n_raft_voters > CONSENSUS_VOTERS_MAX)
        return err_set(err, ERR_INVALID, "raft.voters names %zu hosts: 1 to %d can vote",
                       config->n_raft_voters, CONSENSUS_VOTERS_MAX);
    for (size_t i = 0; i < config->n_raft_voters; i++) {
        r->voters[r->n_voters++] = config->raft_voters[i];
        self |= strcmp(config->raft_voters[i], config->host) == 0;
    }
    if (!self)
        return err_set(err, ERR_INVALID, "raft.voters does not name this host, %s", config->host);
    qsort(r->voters, r->n_voters, sizeof *r->voters, compare_names);
    return raft_voters_encode(r->voters, r->n_voters, &r->configuration, &r->encoded, err);
}

/* libraft's form, version 1: a byte, a count, then of each voter its number, name and role. */
static char *voters_named(const void *encoded, size_t len)
{
    _cleanup_(buf_done) struct buf names = {0};
    const char *p = encoded, *end = p + len;
    uint64_t n;
    if (len < 1 + sizeof n)
        return NULL;
    memcpy(&n, p + 1, sizeof n);
    p += 1 + sizeof n;
    for (uint64_t i = 0; i < n; i++) {
        if ((size_t)(end - p) < sizeof n + 2)
            return NULL;
        p += sizeof n;
        size_t name = strnlen(p, (size_t)(end - p));
        if ((size_t)(end - p) < name + 2)
            return NULL;
        buf_addf(&names, "%s%s", i > 0 ? ", " : "", p);
        p += name + 2;
    }
    return buf_take(&names);
}

/* ---- the log ---- */

static uint64_t last_index(const struct store_raft_state *l)
{
    return l->n_entries > 0 ? l->entries[l->n_entries - 1].index : l->snapshot.index;
}

static bool is_of(const struct recover *r, const void *data, size_t len)
{
    return len == r->encoded.len && memcmp(data, r->encoded.base, len) == 0;
}

/* Whose log is it? All that names voters in it has to name the same. */
static int look_at_voters(struct recover *r, bool *ret_new, struct err *err)
{
    const struct store_raft_state *l = &r->log;
    const void *names = l->snapshot.index > 0 ? l->snapshot.config : NULL;
    size_t len = l->snapshot.index > 0 ? l->snapshot.config_len : 0;
    for (size_t i = 0; i < l->n_entries; i++)
        if (l->entries[i].type == RAFT_CHANGE && names == NULL) {
            names = l->entries[i].data;
            len = l->entries[i].len;
        }
    r->before = names != NULL ? voters_named(names, len) : NULL;
    if (r->before == NULL)
        return err_set(err, ERR_IO, "the log does not say whose it is: it is damaged");
    *ret_new = is_of(r, names, len);
    return 0;
}

static int load_groups(struct recover *r, struct store *from, struct err *err)
{
    _cleanup_(freep) void *value = NULL;
    size_t len = 0;
    int rc = store_kv_get(from, COUNCIL_KEY_GROUP, &value, &len, err);
    if (rc == -ERR_NOT_FOUND)
        return 0;
    return rc < 0 ? rc : groups_unpack(value, len, &r->groups, err);
}

static int load_from(struct recover *r, struct store *from, struct err *err)
{
    int rc = store_raft_load(from, &r->log, err);
    return rc < 0 ? rc : load_groups(r, from, err);
}

static int load(struct recover *r, struct err *err)
{
    struct store_conf conf = {.path = r->conf->from, .loop = &r->loop};
    struct store *other = NULL;
    struct stat st;
    if (conf.path == NULL)
        return load_from(r, r->store, err);
    if (stat(conf.path, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, "%s: %m", conf.path);
    int rc = store_open(&conf, &other, err);
    if (rc < 0)
        return rc;
    rc = load_from(r, other, err);
    store_close(other, NULL, NULL);
    return rc;
}

/* Where voters are replaced, those that recover are a group of their own, after all that were. */
static void write_group(const struct recover *r, struct store_batch *b)
{
    struct voter_groups groups = r->groups;
    struct voter_group next = {.n = r->n_voters};
    size_t len;
    if (groups.n == 0)
        return;
    const struct voter_group *last = &groups.list[groups.n - 1];
    if (r->conf->from == NULL) { /* else it was named by who handed the log out */
        next.number = last->number + 1;
        group_digest(last, next.previous);
        for (size_t i = 0; i < r->n_voters; i++)
            snprintf(next.voters[i].host, sizeof next.voters[i].host, "%s", r->voters[i]);
        snprintf(next.reason, sizeof next.reason, "recovered");
        groups_add(&groups, &next);
    }
    _cleanup_(freep) uint8_t *bytes = groups_pack(&groups, &len);
    store_kv_put(b, COUNCIL_KEY_GROUP, bytes, len);
}

static void write_log(const struct recover *r, struct store_batch *b, uint64_t term)
{
    write_group(r, b);
    const struct store_raft_state *l = &r->log;
    const struct store_raft_snapshot *s = &l->snapshot;
    store_raft_truncate(b, 1);
    store_raft_set(b, term, 0);
    if (s->index > 0)
        store_raft_snapshot_put(b, s->index, s->term, r->encoded.base, r->encoded.len, s->data,
                                s->len, s->index + 1);
    for (size_t i = 0; i < l->n_entries; i++) {
        const struct store_raft_entry *e = &l->entries[i];
        bool names = e->type == RAFT_CHANGE;
        store_raft_append(b, e->index, e->term, e->type, names ? r->encoded.base : e->data,
                          names ? r->encoded.len : e->len);
    }
}

/* ---- doing it ---- */

static int add_audit(const struct recover *r, struct store_batch *b, uint64_t term, struct err *err)
{
    const struct recover_conf *conf = r->conf;
    char at[TIME_TEXT_SIZE];
    time_format(conf->wall, at);
    _cleanup_(freep) char *after = voters_named(r->encoded.base, r->encoded.len);
    _cleanup_json_ json_t *record =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b}", "event", "voters.recovered",
                  "at", at, "host", conf->config->host, "who", conf->who, "reason", conf->reason,
                  "before", r->before, "voters", after, "entry", (json_int_t)last_index(&r->log),
                  "term", (json_int_t)term, "own_log", conf->from == NULL);
    if (record == NULL)
        return err_set(err, ERR_IO, "the log names voters that are no text: it is damaged");
    _cleanup_(freep) char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    store_audit_append(b, conf->wall, text);
    return 0;
}

static int hand_out(struct recover *r, uint64_t term, struct err *err)
{
    struct store_conf conf = {.path = r->conf->out, .loop = &r->loop};
    struct store *other = NULL;
    struct stat st;
    if (conf.path == NULL)
        return 0;
    if (stat(conf.path, &st) == 0)
        return err_set(err, ERR_CONFLICT, "%s exists already", conf.path);
    int rc = store_open(&conf, &other, err);
    if (rc < 0)
        return rc;
    struct store_batch *b = store_batch_new();
    write_log(r, b, term);
    rc = store_submit_wait(other, b, err);
    store_close(other, NULL, NULL);
    return rc;
}

static int apply(struct recover *r, FILE *to, struct err *err)
{
    /* The same for all that take it from here: what was voted in the old term does not count. */
    uint64_t term = r->conf->from == NULL ? r->log.term + 1 : r->log.term;
    int rc = hand_out(r, term, err);
    if (rc < 0)
        return rc;
    struct store_batch *b = store_batch_new();
    write_log(r, b, term);
    if ((rc = add_audit(r, b, term, err)) < 0) {
        store_batch_free(b);
        return rc;
    }
    if ((rc = store_submit_wait(r->store, b, err)) < 0)
        return rc;
    fprintf(to, "done, and recorded in this host's audit log: term %llu, entry %llu\n",
            (unsigned long long)term, (unsigned long long)last_index(&r->log));
    if (r->conf->out != NULL)
        fprintf(to, "for the other new voters: %s\n", r->conf->out);
    return 0;
}

static void describe(const struct recover *r, FILE *to)
{
    _cleanup_(freep) char *after = voters_named(r->encoded.base, r->encoded.len);
    fprintf(to, "log        %s\n",
            r->conf->from != NULL ? r->conf->from : "of this host's state directory");
    fprintf(to, "term       %llu\nentry      %llu\n", (unsigned long long)r->log.term,
            (unsigned long long)last_index(&r->log));
    fprintf(to, "voters     %s\nnew voters %s (raft.voters)\n", r->before, after);
}

static int check_reason(const struct recover_conf *conf, struct err *err)
{
    if (conf->reason == NULL || conf->reason[0] == '\0')
        return err_set(err, ERR_INVALID, "a reason is wanted, for the audit: --reason TEXT");
    _cleanup_json_ json_t *text = json_string(conf->reason);
    return text != NULL ? 0 : err_set(err, ERR_INVALID, "the reason is no UTF-8");
}

static int work(struct recover *r, FILE *to, struct err *err)
{
    bool is_new = false;
    int rc = load(r, err);
    if (rc < 0)
        return rc;
    if (r->log.term == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no log of a voter");
    if ((rc = look_at_voters(r, &is_new, err)) < 0)
        return rc;
    describe(r, to);
    if (!r->conf->apply) {
        fprintf(to, "%s\nNothing was done. To do it: --yes --reason TEXT\n", warning);
        return 0;
    }
    if (r->conf->from == NULL && is_new)
        return err_set(err, ERR_CONFLICT,
                       "the log belongs to the voters of raft.voters already; name those that "
                       "shall vote there first");
    if (r->conf->from != NULL && !is_new)
        return err_set(err, ERR_CONFLICT, "%s belongs to other voters than raft.voters names",
                       r->conf->from);
    rc = check_reason(r->conf, err);
    return rc < 0 ? rc : apply(r, to, err);
}

int recover_run(const struct recover_conf *conf, FILE *to, struct err *err)
{
    struct recover r = {.conf = conf};
    _cleanup_(freep) char *path = xasprintf("%s/" STORE_FILE, conf->config->state_dir);
    struct store_conf store = {.path = path, .loop = &r.loop};
    uv_loop_init(&r.loop);
    int rc = read_voters(&r, err);
    if (rc >= 0)
        rc = file_make_directory(conf->config->state_dir, 0700, err);
    if (rc >= 0 && (rc = store_open(&store, &r.store, err)) == -ERR_CONFLICT)
        err_wrap(err, "stop this host's agent first");
    if (rc >= 0)
        rc = work(&r, to, err);
    if (r.store != NULL)
        store_close(r.store, NULL, NULL);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    uv_loop_close(&r.loop);
    store_raft_state_done(&r.log);
    raft_configuration_close(&r.configuration);
    raft_free(r.encoded.base);
    free(r.before);
    return rc;
}
