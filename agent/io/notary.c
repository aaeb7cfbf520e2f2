#include "agent/io/notary_priv.h"

#include <stdio.h>
#include <string.h>

#include "agent/io/consensus.h"
#include "proto/log.h"
#include "proto/util.h"

#define ROUND_MS 4000  /* a round's patience with voters that do not answer */
#define AGAIN_MS 1000  /* between two questions to one */
#define RETRY_MS 30000 /* after a round with too few cosignatures, when nothing is new */
#define TRIES 4
#define KEY_CHECKPOINT "checkpoint"

static int load(struct notary *n, msec wall, struct err *err)
{
    const char *dir = n->conf.tls_directory;
    _cleanup_(freep) char *crt = xasprintf("%s/host.pem", dir),
                          *key = xasprintf("%s/host.key", dir);
    _cleanup_(freep) char *root = xasprintf("%s/machines.pem", dir);
    _cleanup_(freep) char *crl = xasprintf("%s/crl.pem", dir);
    struct identity *identity = NULL;
    struct anchor *machines = NULL;
    int rc = identity_load(crt, key, NULL, NULL, &identity, err);
    (void)wall;
    if (rc < 0)
        return rc;
    rc = anchor_load(root, crl, &machines, err);
    if (rc < 0) {
        identity_free(identity);
        return rc;
    }
    identity_free(n->identity);
    anchor_free(n->machines);
    n->identity = identity;
    n->machines = machines;
    return 0;
}

int notary_reload(struct notary *n, msec wall, struct err *err)
{
    return load(n, wall, err);
}

/* What the last life signed: so that a log that was cut since is noticed by `audit verify`. */
static void load_latest(struct notary *n, msec wall)
{
    struct err err = {0};
    struct checkpoint c;
    void *text;
    size_t len;
    if (store_kv_get(n->conf.store, KEY_CHECKPOINT, &text, &len, &err) < 0)
        return;
    if (checkpoint_verify(text, len, n->machines, n->conf.cluster, wall, &c, NULL, NULL, &err) <
        0) {
        log_err(&err, "the audit's last checkpoint");
        free(text);
        return;
    }
    n->latest = xrealloc(text, len + 1, 1);
    n->latest[len] = '\0';
    n->latest_size = c.size;
}

int notary_open(const struct notary_conf *conf, msec wall, struct notary **ret, struct err *err)
{
    struct notary *n = xcalloc(1, sizeof *n);
    n->conf = *conf;
    n->voters = xcalloc(MAX(conf->n_voters, (size_t)CONSENSUS_VOTERS_MAX), sizeof *n->voters);
    int rc = load(n, wall, err);
    if (rc < 0) {
        notary_free(n);
        return rc;
    }
    load_latest(n, wall);
    *ret = n;
    return 0;
}

/* Those who wait get what there is, or the reason why not. */
static void serve(struct waiter *waiters, size_t n, const struct err *err, const char *text)
{
    for (size_t i = 0; i < n; i++)
        waiters[i].cb(waiters[i].arg, err, text);
}

void notary_free(struct notary *n)
{
    struct err err;
    if (n == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "the agent stops");
    serve(n->waiters, n->n_waiters, &err, NULL);
    serve(n->served, n->n_served, &err, NULL);
    identity_free(n->identity);
    anchor_free(n->machines);
    witness_done(&n->witness);
    free(n->voters);
    free(n->bare);
    free(n->text);
    free(n->latest);
    free(n->waiters);
    free(n->served);
    free(n);
}

const char *notary_checkpoint(const struct notary *n)
{
    return n->latest;
}

/* What the others had seen is not known of these; a round goes on with them. */
void notary_voters(struct notary *n, const char *const *voters, size_t n_voters)
{
    REQUIRE(n_voters <= CONSENSUS_VOTERS_MAX);
    n->conf.voters = voters;
    n->conf.n_voters = n_voters;
    memset(n->voters, 0, n_voters * sizeof *n->voters);
    n->cosigned = 0;
    if (!n->active)
        return;
    free(n->text);
    n->text = xstrdup(n->bare);
}

/* ---- asking the voters ---- */

static bool is_self(const struct notary *n, size_t voter)
{
    return strcmp(n->conf.voters[voter], n->conf.host) == 0;
}

/* Others' cosignatures that make a head binding. */
static size_t needed(const struct notary *n)
{
    size_t majority = n->conf.n_voters / 2 + 1;
    for (size_t i = 0; i < n->conf.n_voters; i++)
        if (is_self(n, i))
            majority--;
    return majority;
}

static void send_ask(struct notary *n, size_t voter, const struct merkle_proof *proof)
{
    Skein__CosignAsk ask = SKEIN__COSIGN_ASK__INIT;
    Skein__AuditFrame frame = SKEIN__AUDIT_FRAME__INIT;
    ProtobufCBinaryData hashes[MERKLE_PROOF_MAX];
    ask.has_checkpoint = ask.has_from_size = 1;
    ask.checkpoint = (ProtobufCBinaryData){strlen(n->bare), (uint8_t *)n->bare};
    ask.from_size = n->voters[voter].known;
    for (size_t i = 0; proof != NULL && i < proof->n; i++)
        hashes[i] = (ProtobufCBinaryData){HASH_SIZE, (uint8_t *)(uintptr_t)proof->hashes[i]};
    ask.proof = hashes;
    ask.n_proof = proof != NULL ? proof->n : 0;
    frame.kind_case = SKEIN__AUDIT_FRAME__KIND_ASK;
    frame.ask = &ask;
    n->conf.send(n->conf.arg, n->conf.voters[voter], &frame);
}

struct asking {
    struct notary *notary;
    size_t voter;
    uint64_t known, size;
};

static void proved(void *arg, const struct err *err, const struct merkle_proof *proof)
{
    _cleanup_(freep) struct asking *a = arg;
    struct notary *n = a->notary;
    if (a->voter >= n->conf.n_voters)
        return; /* others vote now */
    if (err != NULL)
        log_err(err, "no proof for %s", n->conf.voters[a->voter]);
    else if (n->active && n->head.size == a->size && n->voters[a->voter].known == a->known)
        send_ask(n, a->voter, proof);
}

static void ask(struct notary *n, size_t voter)
{
    struct notary_voter *v = &n->voters[voter];
    struct err err = {0};
    if (is_self(n, voter) || v->done || v->tries >= TRIES)
        return;
    v->tries++;
    if (v->known == 0) {
        send_ask(n, voter, NULL);
        return;
    }
    struct asking *a = xcalloc(1, sizeof *a);
    *a = (struct asking){n, voter, v->known, n->head.size};
    if (store_audit_proof(n->conf.store, STORE_PROOF_CONSISTENCY, v->known, n->head.size, proved, a,
                          &err) < 0) {
        log_err(&err, "no proof for %s", n->conf.voters[voter]);
        free(a);
    }
}

/* ---- rounds ---- */

static void keep(struct notary *n)
{
    struct store_batch *batch = store_batch_new();
    struct err err = {0};
    store_kv_put(batch, KEY_CHECKPOINT, n->text, strlen(n->text));
    if (store_submit(n->conf.store, batch, NULL, NULL, &err) < 0)
        log_err(&err, "the checkpoint is not kept");
}

static void commit(struct notary *n)
{
    Skein__AuditHead head = SKEIN__AUDIT_HEAD__INIT;
    head.host = (char *)n->conf.host;
    head.has_size = head.has_document = 1;
    head.size = n->head.size;
    head.document = (ProtobufCBinaryData){strlen(n->bare), (uint8_t *)n->bare};
    n->conf.commit(n->conf.arg, &head);
    n->conf.publish(n->conf.arg, n->text);
}

static void finish(struct notary *n)
{
    n->active = false;
    n->latest_enough = n->cosigned >= needed(n);
    keep(n);
    if (n->latest_enough && n->head.size > 0)
        commit(n);
    free(n->latest);
    n->latest = TAKE_PTR(n->text);
    n->latest_size = n->head.size;
    free(TAKE_PTR(n->bare));
    struct waiter *served = n->served;
    size_t n_served = n->n_served;
    n->served = NULL;
    n->n_served = n->cap_served = 0;
    serve(served, n_served, NULL, n->latest);
    free(served);
}

static void begin(struct notary *n, struct moment now)
{
    struct err err = {0};
    n->begun = n->again = now.mono;
    n->head = (struct checkpoint){.at = now.wall};
    snprintf(n->head.host, sizeof n->head.host, "%s", n->conf.host);
    store_audit_head(n->conf.store, &n->head.size, n->head.root);
    if (checkpoint_sign(&n->head, n->conf.cluster, n->identity, &n->bare, &err) < 0) {
        log_err(&err, "the audit's head is not signed");
        serve(n->waiters, n->n_waiters, &err, NULL);
        n->n_waiters = 0;
        return;
    }
    n->text = xstrdup(n->bare);
    n->cosigned = 0;
    n->active = true;
    free(n->served);
    n->served = n->waiters;
    n->n_served = n->n_waiters;
    n->cap_served = n->cap_waiters;
    n->waiters = NULL;
    n->n_waiters = n->cap_waiters = 0;
    for (size_t i = 0; i < n->conf.n_voters; i++) {
        n->voters[i].tries = 0;
        n->voters[i].done = false;
        ask(n, i);
    }
}

static bool is_due(const struct notary *n, msec now)
{
    uint64_t size;
    uint8_t root[HASH_SIZE];
    store_audit_head(n->conf.store, &size, root);
    if (n->n_waiters > 0 || n->begun == 0) /* at the start too: the log may be an older one */
        return true;
    if (now - n->begun < n->conf.every)
        return false;
    return size > n->latest_size || (!n->latest_enough && now - n->begun >= RETRY_MS);
}

void notary_tick(struct notary *n, struct moment now)
{
    if (n->active) {
        if (n->cosigned >= needed(n) || now.mono - n->begun >= ROUND_MS) {
            finish(n);
        } else if (now.mono - n->again >= AGAIN_MS) {
            n->again = now.mono;
            for (size_t i = 0; i < n->conf.n_voters; i++)
                ask(n, i);
        }
    }
    if (!n->active && is_due(n, now.mono))
        begin(n, now);
}

void notary_fresh(struct notary *n, struct moment now, notary_done_cb cb, void *arg)
{
    ARRAY_RESERVE(n->waiters, n->cap_waiters, n->n_waiters + 1);
    n->waiters[n->n_waiters++] = (struct waiter){cb, arg};
    notary_tick(n, now);
}

/* ---- what voters say ---- */

static void complain(struct notary *n, size_t voter, const char *message)
{
    struct notary_voter *v = &n->voters[voter];
    v->done = true;
    if (v->complained)
        return;
    v->complained = true;
    n->conf.conflict(n->conf.arg, n->conf.host, message);
}

static void refused(struct notary *n, size_t voter, const Skein__CosignAnswer *answer)
{
    struct notary_voter *v = &n->voters[voter];
    enum err_code code = err_from_name(answer->code);
    _cleanup_(freep) char *text =
        xasprintf("%s does not cosign this log: %s", n->conf.voters[voter],
                  answer->message != NULL ? answer->message : answer->code);
    if (code == ERR_STALE && answer->has_known_size && answer->known_size <= n->head.size) {
        v->known = answer->known_size;
        ask(n, voter);
    } else if (code == ERR_STALE || code == ERR_CONFLICT) {
        complain(n, voter, text);
    } else {
        log_warn("%s", text);
        v->done = true;
    }
}

static void answered(struct notary *n, struct moment now, const char *from,
                     const Skein__CosignAnswer *answer)
{
    struct err err = {0};
    char *text = NULL;
    size_t i = 0;
    while (i < n->conf.n_voters && strcmp(n->conf.voters[i], from) != 0)
        i++;
    if (!n->active || i == n->conf.n_voters || answer->size != n->head.size || n->voters[i].done)
        return;
    if (answer->code != NULL) {
        refused(n, i, answer);
        return;
    }
    if (checkpoint_cosigned(n->text, strlen(n->text), (const char *)answer->cosignature.data,
                            answer->cosignature.len, n->machines, n->conf.cluster, now.wall, &text,
                            &err) < 0) {
        log_err(&err, "what %s cosigned", from);
        return;
    }
    free(n->text);
    n->text = text;
    n->cosigned++;
    n->voters[i].done = true;
    n->voters[i].complained = false;
    n->voters[i].known = n->head.size;
    if (n->cosigned >= needed(n))
        notary_tick(n, now);
}

void notary_frame(struct notary *n, struct moment now, const char *from,
                  const Skein__AuditFrame *frame)
{
    if (frame->kind_case == SKEIN__AUDIT_FRAME__KIND_ASK)
        witness_ask(n, now, from, frame->ask);
    else if (frame->kind_case == SKEIN__AUDIT_FRAME__KIND_ANSWER)
        answered(n, now, from, frame->answer);
}
