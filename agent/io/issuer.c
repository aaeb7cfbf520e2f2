#include "agent/io/issuer.h"

#include <stdio.h>

#include "agent/core/command.h"
#include "agent/core/pace.h"
#include "agent/core/tokens.h"
#include "agent/io/http_crowd.h"
#include "proto/canon.h"
#include "proto/token.h"
#include "tls/file.h"
#include "tls/handles.h"
#include "tls/join.h"
#include "tls/pki.h"

#define WAITING_MAX 8    /* requests whose token is being spent */
#define EVERY_MS 500     /* more often than this, ... */
#define BURST 20         /* ... after so many at once, nobody of a network is answered */
#define NETWORKS_MAX 64  /* that are told apart */
#define OWN (1ull << 62) /* of tokens of our own questions: HTTP counts from 1 */
#define DAY_MS (86400 * (msec)1000)

/* A request whose token is being spent. */
struct waiting {
    uint64_t token; /* of our question; 0: free */
    uint64_t from;  /* who asked */
    struct join_request request;
};

/* How often one network may ask. */
struct network {
    char name[HTTP_NETWORK_SIZE];
    struct pace pace;
};

/* Refusals that anybody can cause. */
enum noise { NOISE_SENSELESS, NOISE_GUESS, NOISE_KINDS, NOISE_NONE = NOISE_KINDS };

struct issuer {
    struct issuer_conf conf;
    struct pki_root authority;
    char *pem; /* owned; of the authority's certificate */
    char *directory;
    struct network networks[NETWORKS_MAX];

    struct hush hush[NOISE_KINDS];

    uint64_t last;
    struct waiting waiting[WAITING_MAX];
};

/* ---- life ---- */

int issuer_open(const struct issuer_conf *conf, msec wall, struct issuer **ret, struct err *err)
{
    struct issuer *s = xcalloc(1, sizeof *s);
    s->conf = *conf;
    s->directory = xasprintf("%s/issued", conf->config->state_dir);
    int rc;
    if ((rc = pki_issuer_load(conf->config->issuer_cert, conf->config->issuer_key, &s->authority,
                              err)) < 0 ||
        (rc = trust_issuer(conf->trust, s->authority.crt, wall, err)) < 0 ||
        (rc = file_make_directory(s->directory, 0700, err)) < 0) {
        issuer_free(s);
        return err_wrap(err, "issuer");
    }
    s->pem = pki_crt_pem(s->authority.crt);
    *ret = s;
    return 0;
}

void issuer_free(struct issuer *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < WAITING_MAX; i++)
        join_request_done(&s->waiting[i].request);
    pki_root_done(&s->authority);
    free(s->pem);
    free(s->directory);
    free(s);
}

/* ---- refusing ---- */

/* A whole request with a token that was given is none. */
static enum noise noise_of(const struct join_request *r, const struct err *err)
{
    if (err->code == ERR_NOT_FOUND)
        return NOISE_GUESS;
    return r == NULL || err->code == ERR_INVALID || err->code == ERR_UNAUTHENTICATED
               ? NOISE_SENSELESS
               : NOISE_NONE;
}

static void refuse(struct issuer *s, msec mono, uint64_t to, const struct join_request *r,
                   const struct err *err)
{
    unsigned untold = 0;
    enum noise noise = noise_of(r, err);
    bool whole = err->msg[0] != '\0' && r != NULL && r->host[0] != '\0';
    if (noise == NOISE_NONE || hush_tells(&s->hush[noise], mono, &untold)) {
        _cleanup_json_ json_t *fields = json_pack("{s:s, s:s, s:s*}", "code", err_name(err->code),
                                                  "reason", err->msg, "of", whole ? r->host : NULL);
        if (fields != NULL && untold > 0)
            json_object_set_new(fields, "untold", json_integer(untold));
        if (fields != NULL)
            s->conf.audit(s->conf.arg, "certificates.refused", fields);
    }
    s->conf.answer(s->conf.arg, to, NULL, err);
}

/* The place of a network; of one that is new, that of who has waited longest. */
static struct network *network_of(struct issuer *s, const char *name)
{
    struct network *oldest = &s->networks[0];
    for (size_t i = 0; i < NETWORKS_MAX; i++) {
        if (strcmp(s->networks[i].name, name) == 0 && s->networks[i].pace.burst > 0)
            return &s->networks[i];
        if (s->networks[i].pace.empty_at < oldest->pace.empty_at)
            oldest = &s->networks[i];
    }
    *oldest = (struct network){.pace = {.every = EVERY_MS, .burst = BURST}};
    snprintf(oldest->name, sizeof oldest->name, "%s", name);
    return oldest;
}

/* ---- a request comes ---- */

/* Of this question; of none, 0: a free place. */
static struct waiting *place_of(struct issuer *s, uint64_t token)
{
    for (size_t i = 0; i < WAITING_MAX; i++)
        if (s->waiting[i].token == token)
            return &s->waiting[i];
    return NULL;
}

static int ask_voters(struct issuer *s, struct waiting *w, struct err *err)
{
    char proof[HASH_HEX_SIZE];
    if (!token_proof(w->request.secret, proof))
        return err_set(err, ERR_UNAUTHENTICATED, "a token is wanted");
    _cleanup_json_ json_t *doc =
        json_pack("{s:s, s:s, s:s, s:s}", "proof", proof, "request", w->request.digest, "host",
                  w->request.host, "role", join_request_role(&w->request));
    REQUIRE(doc != NULL);
    _cleanup_(freep) char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
    w->token = OWN | ++s->last;
    s->conf.spend(s->conf.arg, w->token, text);
    return 0;
}

void issuer_join(struct issuer *s, struct moment now, uint64_t from, const char *network,
                 const char *bytes, size_t len)
{
    struct waiting *w = place_of(s, 0);
    struct join_request request = {.secret = ""};
    struct err err = {0};
    if (!pace_take(&network_of(s, network)->pace, now.mono) || w == NULL) {
        err_set(&err, ERR_LIMIT, "too many ask at once; try again in a few seconds");
        s->conf.answer(s->conf.arg, from, NULL, &err); /* no record: it would be their doing */
        return;
    }
    if (trust_issuer(s->conf.trust, s->authority.crt, now.wall, &err) < 0) {
        err_wrap(&err, "issuer"); /* before a token is spent for nothing */
        refuse(s, now.mono, from, NULL, &err);
        return;
    }
    if (join_request_read(bytes, len, &request, &err) < 0) {
        refuse(s, now.mono, from, NULL, &err);
        return;
    }
    *w = (struct waiting){.from = from, .request = request};
    if (ask_voters(s, w, &err) < 0) {
        refuse(s, now.mono, from, &request, &err);
        join_request_done(&w->request);
        w->token = 0;
    }
}

/* ---- it was spent ---- */

/* An admin alone makes new hosts; one that counts already, only where he says so. */
static bool is_there(const struct issuer *s, const char *host)
{
    const struct config *c = s->conf.config;
    for (size_t i = 0; i < c->n_raft_voters; i++)
        if (strcmp(c->raft_voters[i], host) == 0)
            return true;
    return s->conf.known(s->conf.arg, host);
}

/* A planner may say that a token was spent which was taken back, or used by others: where this
 * agent votes it knows better. What it has not heard of yet says nothing. */
static int check_remembered(const struct issuer *s, const struct join_request *r, const char *hash,
                            struct err *err)
{
    const Skein__Token *token = s->conf.remembered(s->conf.arg, hash);
    if (token == NULL)
        return 0;
    if (token->revoked != NULL)
        return err_set(err, ERR_DENIED, "the token was taken back by %s", token->revoked->person);
    if (token->has_used_at_ms && strcmp(token->request, r->digest) != 0)
        return err_set(err, ERR_CONFLICT, "the token was used already");
    return 0;
}

/* What an admin signed of this token, by this host's own roster: the planner's word is not enough.
 */
static int verify(const struct issuer *s, const struct join_request *r, const json_t *answer,
                  msec wall, struct trust_command *ret, struct err *err)
{
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    const char *envelope = json_string_value(json_object_get(answer, "envelope"));
    struct tokens_command c;
    if (envelope == NULL || !token_proof(r->secret, proof) || !token_hash(proof, hash))
        return err_set(err, ERR_UNAVAILABLE, "the planner gave no sound answer");
    int rc = command_open(trust_of(s->conf.trust), trust_cluster(s->conf.trust)->uuid,
                          (const uint8_t *)envelope, strlen(envelope), wall, ret, err);
    if (rc < 0 || (rc = tokens_read(ret, &c, err)) < 0)
        return rc;
    if (c.verb != TOKENS_CREATE || strcmp(c.hash, hash) != 0)
        return err_set(err, ERR_DENIED, "what was signed is about another token");
    if (strcmp(c.host, r->host) != 0 || strcmp(c.role, join_request_role(r)) != 0)
        return err_set(err, ERR_DENIED, "the token is for another host or role");
    if ((rc = check_remembered(s, r, hash, err)) < 0)
        return rc;
    if (!c.replace && is_there(s, r->host))
        return err_set(err, ERR_CONFLICT,
                       "there is a host %s already, and what was signed does not say that it is "
                       "replaced",
                       r->host);
    return 0;
}

/* No token brings two certificates of this host's, whatever the planner says. */
static int mark_used(const struct issuer *s, const struct join_request *r, struct err *err)
{
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    REQUIRE(token_proof(r->secret, proof) && token_hash(proof, hash));
    _cleanup_(freep) char *path = xasprintf("%s/%s.token", s->directory, hash);
    if (file_exists(path))
        return err_set(err, ERR_CONFLICT, "the token was used already");
    return file_write(path, r->digest, strlen(r->digest), 0600, FILE_ANY_GROUP, err);
}

/* As long as the configuration says, and no longer than the issuer itself. */
static int days_of(const struct issuer *s, msec wall)
{
    msec end = (msec)gnutls_x509_crt_get_expiration_time(s->authority.crt) * 1000;
    return MAX(1, MIN(s->conf.config->issuer_days, (int)((end - wall) / DAY_MS)));
}

/* PEM of the leaf, of which a copy with the issuer's is kept, to be revoked by. */
static int certify(const struct issuer *s, struct pki_request *request, gnutls_pubkey_t key,
                   msec wall, char **ret, char serial[SERIAL_SIZE], struct err *err)
{
    gnutls_x509_crt_t crt = NULL;
    int rc =
        pki_certify(&s->authority, trust_cluster(s->conf.trust), request, key, wall, &crt, err);
    if (rc < 0)
        return rc;
    _cleanup_(freep) char *pem = pki_crt_pem(crt);
    pki_serial(crt, serial);
    gnutls_x509_crt_deinit(crt);
    _cleanup_(freep) char *path = xasprintf("%s/%s.%s.pem", s->directory, request->name, serial);
    _cleanup_(freep) char *both = xasprintf("%s%s", pem, s->pem);
    rc = file_write(path, both, strlen(both), 0600, FILE_ANY_GROUP, err);
    if (rc == 0)
        *ret = TAKE_PTR(pem);
    return rc;
}

struct issued {
    char *certificates[JOIN_USES]; /* owned */
    char serials[JOIN_USES][SERIAL_SIZE];
};

static void issued_done(struct issued *i)
{
    for (size_t use = 0; use < JOIN_USES; use++)
        free(i->certificates[use]);
}

/* What was asked for of a use, as request says of names. */
static int issue_use(const struct issuer *s, const struct join_request *r,
                     struct pki_request *request, enum identity_use use, msec wall,
                     struct issued *ret, struct err *err)
{
    request->use = use;
    if (r->keys[use] == NULL)
        return 0;
    return certify(s, request, r->keys[use], wall, &ret->certificates[use], ret->serials[use], err);
}

static int issue(const struct issuer *s, const struct join_request *r, const json_t *command,
                 msec wall, struct issued *ret, struct err *err)
{
    const char *dns[TOKENS_NAMES_MAX], *addresses[TOKENS_NAMES_MAX];
    struct pki_request request = {
        .name = r->host, .dns = dns, .addresses = addresses, .days = days_of(s, wall)};
    int rc;
    if ((rc = trust_issuer(s->conf.trust, s->authority.crt, wall, err)) < 0)
        return err_wrap(err, "issuer");
    if ((rc = tokens_names(command, "dns", dns, &request.n_dns, err)) < 0 ||
        (rc = tokens_names(command, "addresses", addresses, &request.n_addresses, err)) < 0 ||
        (rc = mark_used(s, r, err)) < 0)
        return rc;
    for (enum identity_use use = 0; use < JOIN_USES; use++)
        if ((rc = issue_use(s, r, &request, use, wall, ret, err)) < 0)
            return rc;
    return 0;
}

static json_t *list_of(char *const *texts, size_t n, const char *first)
{
    json_t *list = json_array();
    if (first != NULL)
        json_array_append_new(list, json_string(first));
    for (size_t i = 0; i < n; i++)
        if (first == NULL || strcmp(texts[i], first) != 0)
            json_array_append_new(list, json_string(texts[i]));
    return list;
}

static char *answer_of(const struct issuer *s, const struct issued *issued)
{
    const struct config *c = s->conf.config;
    const struct trust *trust = trust_of(s->conf.trust);
    const struct trust_roots *roots = trust->roots(trust);
    _cleanup_json_ json_t *peers = list_of(c->mesh_seeds, c->n_mesh_seeds, c->mesh_listen);
    _cleanup_json_ json_t *voters = list_of(c->raft_voters, c->n_raft_voters, NULL);
    struct join_answer answer = {
        .cluster = *trust_cluster(s->conf.trust),
        .issuer = s->pem,
        .machines = roots->machines,
        .people = roots->people,
        .crl = roots->crl,
        .roster = roots->roster,
        .peers = peers,
        .voters = voters,
    };
    for (size_t use = 0; use < JOIN_USES; use++)
        answer.certificates[use] = issued->certificates[use];
    return join_answer_write(&answer);
}

/* person NULL: it renewed. */
static void tell_issued(const struct issuer *s, const struct join_request *r, const char *person,
                        const struct issued *issued)
{
    _cleanup_json_ json_t *serials = json_array();
    for (size_t use = 0; use < JOIN_USES; use++)
        if (issued->certificates[use] != NULL)
            json_array_append_new(serials, json_string(issued->serials[use]));
    _cleanup_json_ json_t *fields =
        json_pack("{s:s, s:s, s:s*, s:O}", "of", r->host, "role", join_request_role(r), "who",
                  person, "serials", serials);
    if (fields != NULL)
        s->conf.audit(s->conf.arg, "certificates.issued", fields);
}

static void conclude(struct issuer *s, const struct waiting *w, const json_t *answer,
                     struct moment now)
{
    _cleanup_(trust_command_done) struct trust_command command = {0};
    _cleanup_(issued_done) struct issued issued = {0};
    struct err err = {0};
    if (verify(s, &w->request, answer, now.wall, &command, &err) < 0 ||
        issue(s, &w->request, command.command, now.wall, &issued, &err) < 0) {
        refuse(s, now.mono, w->from, &w->request, &err);
        return;
    }
    tell_issued(s, &w->request, command.person, &issued);
    s->conf.answer(s->conf.arg, w->from, answer_of(s, &issued), &err);
}

/* ---- a member renews ---- */

/* The chain by which it holds a use now: the agent's by the session, the others' as it shows them.
 * That keys for libvirt and QEMU were once given to it is what says its role. */
static int present_chain(const struct join_request *r, enum identity_use use,
                         gnutls_session_t session, struct chain *ret, struct err *err)
{
    if (use == USE_AGENT)
        return chain_of_peer(session, ret, err);
    if (r->present[use] == NULL)
        return err_set(err, ERR_DENIED, "what it holds now for %s is not shown", use_name(use));
    return chain_read(r->present[use], ret, err);
}

/* ret NULL: only look whether it may. */
static int renew_use(const struct issuer *s, const struct join_request *r, enum identity_use use,
                     gnutls_session_t session, msec wall, struct issued *ret, struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {.n = 0};
    _cleanup_(pki_names_done) struct pki_names names = {.n_dns = 0};
    struct subject subject;
    int rc;
    if (r->keys[use] == NULL)
        return 0;
    if ((rc = present_chain(r, use, session, &chain, err)) < 0 ||
        (rc = trust_member(s->conf.trust, &chain, use, wall, &subject, err)) < 0 ||
        (rc = pki_names_read(chain.crts[0], &names, err)) < 0)
        return rc;
    if (strcmp(subject.name, r->host) != 0)
        return err_set(err, ERR_DENIED, "it is of host %s, not of %s", subject.name, r->host);
    struct pki_request request = {.name = r->host,
                                  .dns = names.dns,
                                  .addresses = names.addresses,
                                  .n_dns = names.n_dns,
                                  .n_addresses = names.n_addresses,
                                  .days = days_of(s, wall)};
    return ret != NULL ? issue_use(s, r, &request, use, wall, ret, err) : 0;
}

/* All that was asked for, or nothing. */
static int renew_all(const struct issuer *s, const struct join_request *r, gnutls_session_t session,
                     msec wall, struct issued *ret, struct err *err)
{
    int rc = trust_issuer(s->conf.trust, s->authority.crt, wall, err);
    if (rc < 0)
        return err_wrap(err, "issuer");
    if (r->secret[0] != '\0')
        return err_set(err, ERR_INVALID, "a member renews without a token");
    for (int pass = 0; pass < 2; pass++)
        for (enum identity_use use = 0; use < JOIN_USES; use++)
            if (renew_use(s, r, use, session, wall, pass == 0 ? NULL : ret, err) < 0)
                return err_wrap(err, "certificate for %s", use_name(use));
    return 0;
}

void issuer_renew(struct issuer *s, struct moment now, uint64_t from, void *session,
                  const char *network, const char *bytes, size_t len)
{
    _cleanup_(join_request_done) struct join_request request = {.secret = ""};
    _cleanup_(issued_done) struct issued issued = {0};
    struct err err = {0};
    if (!pace_take(&network_of(s, network)->pace, now.mono)) {
        err_set(&err, ERR_LIMIT, "too many ask at once; try again in a few seconds");
        s->conf.answer(s->conf.arg, from, NULL, &err);
    } else if (join_request_read(bytes, len, &request, &err) < 0) {
        refuse(s, now.mono, from, NULL, &err);
    } else if (renew_all(s, &request, session, now.wall, &issued, &err) < 0) {
        refuse(s, now.mono, from, &request, &err);
    } else {
        tell_issued(s, &request, NULL, &issued);
        s->conf.answer(s->conf.arg, from, answer_of(s, &issued), &err);
    }
}

/* The planner's words for why not. */
static void error_of(const json_t *answer, struct err *err)
{
    const json_t *error = json_object_get(answer, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error, "message"));
    enum err_code known = code != NULL ? err_from_name(code) : ERR_UNKNOWN;
    err_set(err, known != ERR_OK ? known : ERR_UNKNOWN, "%s",
            message != NULL ? message : "the planner gave no sound answer");
}

bool issuer_asked(const struct issuer *s, uint64_t token)
{
    return s != NULL && (token & OWN) != 0;
}

void issuer_answered(struct issuer *s, struct moment now, uint64_t token, unsigned status,
                     const void *body, size_t len)
{
    struct waiting *w = place_of(s, token);
    if (w == NULL)
        return;
    _cleanup_json_ json_t *answer = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
    struct err err = {0};
    if (status == 200) {
        conclude(s, w, answer, now);
    } else {
        error_of(answer, &err);
        refuse(s, now.mono, w->from, &w->request, &err);
    }
    join_request_done(&w->request);
    *w = (struct waiting){.token = 0};
}
