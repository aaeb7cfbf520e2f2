/* liar.c - an agent that lies, for the end-to-end tests: joins the mesh with a real host's
 * certificate and asks another agent for something that it must refuse.
 *
 * usage: liar PKI HOST LISTEN PEER-ADDRESS PEER start|reserve BODY.json [OPTION...]
 *   sign=KEY:CERT   add an approval of BODY's digest signed by this person
 *   ask=KEY:CERT    ... or the request for BODY's move
 *   late=SECONDS    envelopes after this were signed so long ago (negative: in the future) ...
 *   life=SECONDS    ... and count so long (default 600)
 *   cluster=UUID    ... and are for this cluster
 *   ticket=TEXT     ... and name this ticket
 *   again           add the last envelope once more
 *   forge           change a letter of the last envelope's signature
 *   old             the permit is an hour old
 *   alter           change one digit of BODY after it was signed
 *   unsigned-vm     (reserve) offer a VM that BODY does not name
 * Prints "refused CODE: MESSAGE" (exit 0), "accepted" (exit 1), or why it got no answer (exit 2).
 */
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "planner/core/plan_doc.h"
#include "proto/canon.h"
#include "proto/codec.h"
#include "tls/envelope.h"
#include "tls/file.h"
#include "tls/transport.h"

#define PATIENCE_MS 20000

struct liar {
    struct transport *transport;
    const char *peer;
    Skein__Request *request;
    int outcome; /* -1 while waiting */
};

static msec clock_ms(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (msec)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static _Noreturn void die(const struct err *err, const char *what)
{
    printf("liar: %s: %s\n", what, err->msg);
    exit(2);
}

static void joined(void *arg, const struct transport_peer *peer)
{
    struct liar *liar = arg;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    struct err err = {0};
    size_t len;
    if (strcmp(peer->host, liar->peer) != 0)
        return;
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = liar->request;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&frame.base, &len);
    if (transport_send(liar->transport, liar->peer, bytes, len, &err) < 0)
        die(&err, "send");
}

static void parted(void *arg, const char *host, const char *reason)
{
    (void)arg;
    printf("# link to %s is down: %s\n", host, reason);
}

static void received(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct liar *liar = arg;
    _cleanup_(skein_frame_freep) Skein__Frame *frame = NULL;
    struct err err = {0};
    if (codec_frame(bytes, len, &frame, &err) < 0)
        die(&err, "frame");
    if (strcmp(host, liar->peer) != 0 || frame->kind_case != SKEIN__FRAME__KIND_REPLY ||
        frame->reply->id != liar->request->id)
        return;
    const Skein__Reply *reply = frame->reply;
    liar->outcome = reply->code != NULL ? 0 : 1;
    if (reply->code != NULL)
        printf("refused %s: %s\n", reply->code, reply->message);
    else
        printf("accepted\n");
}

/* A plan's body: its canonical bytes, which may then be altered, and what they say. */
struct body {
    char *bytes;
    size_t len;
    json_t *json;
    struct plan_doc *plan;
};

static void body_read(struct body *body, const char *path)
{
    _cleanup_(freep) char *text = NULL;
    struct err err = {0};
    size_t n;
    if (file_read(path, 1 << 20, &text, &n, &err) < 0 ||
        canon_parse(text, n, path, &body->json, &err) < 0 ||
        canon_dump(body->json, &body->bytes, &body->len, &err) < 0 ||
        plan_doc_from_json(body->json, &body->plan, &err) < 0)
        die(&err, path);
}

/* How the envelopes are made from here on. */
struct pen {
    struct cluster cluster;
    msec late, life;
    const char *ticket;
};

static json_t *approval_of(const struct plan_doc *plan, const char *ticket)
{
    char id[PLAN_ID_SIZE];
    plan_id(plan->digest, id);
    return json_pack("{s:s,s:s,s:s,s:b,s:s}", "type", "approve", "plan", id, "digest", plan->digest,
                     "rollback", 0, "ticket", ticket);
}

static json_t *request_of(const struct plan_doc *plan)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "type", "migrate", "vm", plan->actions[0].vm, "uuid",
                     plan->actions[0].uuid, "to", plan->actions[0].to);
}

/* command is taken. */
static char *sign(json_t *command, const char *key_and_cert, const struct pen *pen)
{
    _cleanup_(freep) char *key = xstrdup(key_and_cert);
    char *cert = strchr(key, ':'), *envelope = NULL;
    struct identity *person = NULL;
    struct err err = {0};
    uint8_t nonce[ENVELOPE_NONCE_SIZE];
    REQUIRE(cert != NULL && getrandom(nonce, sizeof nonce, 0) == (ssize_t)sizeof nonce);
    *cert++ = '\0';
    if (identity_load(cert, key, NULL, NULL, &person, &err) < 0 ||
        envelope_sign(command, person, &pen->cluster, clock_ms(CLOCK_REALTIME) - pen->late,
                      pen->life, nonce, &envelope, &err) < 0)
        die(&err, "sign");
    json_decref(command);
    identity_free(person);
    return envelope;
}

static void forge(char *envelope)
{
    static const char key[] = "\"signature\":\"";
    char *at = strstr(envelope, key);
    REQUIRE(at != NULL);
    at += sizeof key + 10;
    *at = *at == 'A' ? 'B' : 'A';
}

/* A digit of the seed: the plan means the same, but it is not what was signed. */
static void alter(char *body)
{
    static const char key[] = "\"seed\":";
    char *at = strstr(body, key);
    REQUIRE(at != NULL);
    at += sizeof key - 1;
    *at = *at == '9' ? '8' : '9';
}

/* What a planner would have committed; no voter did. */
static void permit_invent(Skein__Permit *permit, const struct plan_doc *plan, msec age)
{
    uint64_t now = (uint64_t)(clock_ms(CLOCK_REALTIME) - age);
    skein__permit__init(permit);
    permit->id = "00112233445566778899aabbccddeeff";
    permit->plan = (char *)(uintptr_t)plan->id;
    permit->digest = (char *)(uintptr_t)plan->digest;
    permit->action = plan->actions[0].id;
    permit->source = plan->actions[0].from;
    permit->destination = plan->actions[0].to;
    permit->has_term = permit->has_issued_at_ms = permit->has_expires_at_ms = 1;
    permit->has_attempt = 1;
    permit->term = permit->attempt = 1;
    permit->issued_at_ms = now;
    permit->expires_at_ms = now + 15000;
}

static void ask(struct liar *liar, const struct transport_conf *base, const char *address)
{
    struct transport_conf conf = *base;
    struct err err = {0};
    conf.arg = liar;
    conf.on_up = joined;
    conf.on_down = parted;
    conf.on_frame = received;
    if (transport_new(&conf, &liar->transport, &err) < 0 ||
        transport_dial(liar->transport, address, &err) < 0)
        die(&err, "transport");
    msec end = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;
    while (liar->outcome < 0 && clock_ms(CLOCK_MONOTONIC) < end) {
        struct pollfd fd = {.fd = transport_fd(liar->transport), .events = POLLIN};
        if (!transport_pending(liar->transport))
            poll(&fd, 1, 20);
        while (transport_process(liar->transport, clock_ms(CLOCK_MONOTONIC), 64))
            ;
        transport_tick(liar->transport, clock_ms(CLOCK_MONOTONIC));
    }
    transport_free(liar->transport);
    if (liar->outcome < 0)
        printf("liar: no answer within %d s\n", PATIENCE_MS / 1000);
}

/* What is sent, as the options have it. */
struct lie {
    struct body body;
    ProtobufCBinaryData approvals[4];
    size_t n_approvals;
    struct pen pen;
    msec age;         /* of the permit */
    const char *uuid; /* of the VM offered */
};

static void lie_approve(struct lie *lie, char *envelope)
{
    lie->approvals[lie->n_approvals++] =
        (ProtobufCBinaryData){.data = (uint8_t *)envelope, .len = strlen(envelope)};
}

static void lie_option(struct lie *lie, const char *option)
{
    char *last =
        lie->n_approvals > 0 ? (char *)lie->approvals[lie->n_approvals - 1].data : (char *)"";
    REQUIRE(lie->n_approvals < ARRAY_SIZE(lie->approvals));
    if (strncmp(option, "sign=", 5) == 0)
        lie_approve(lie, sign(approval_of(lie->body.plan, lie->pen.ticket), option + 5, &lie->pen));
    if (strncmp(option, "ask=", 4) == 0)
        lie_approve(lie, sign(request_of(lie->body.plan), option + 4, &lie->pen));
    if (strcmp(option, "again") == 0)
        lie_approve(lie, xstrdup(last));
    if (strncmp(option, "late=", 5) == 0)
        lie->pen.late = 1000 * atoll(option + 5);
    if (strncmp(option, "life=", 5) == 0)
        lie->pen.life = 1000 * atoll(option + 5);
    if (strncmp(option, "cluster=", 8) == 0)
        snprintf(lie->pen.cluster.uuid, sizeof lie->pen.cluster.uuid, "%s", option + 8);
    if (strncmp(option, "ticket=", 7) == 0)
        lie->pen.ticket = option + 7;
    if (strcmp(option, "forge") == 0)
        forge(last);
    if (strcmp(option, "old") == 0)
        lie->age = 3600000;
    if (strcmp(option, "alter") == 0)
        alter(lie->body.bytes);
    if (strcmp(option, "unsigned-vm") == 0)
        lie->uuid = "00000000-0000-4000-8000-000000000001";
}

static void lie_done(struct lie *lie)
{
    for (size_t i = 0; i < lie->n_approvals; i++)
        free(lie->approvals[i].data);
    plan_doc_free(lie->body.plan);
    json_decref(lie->body.json);
    free(lie->body.bytes);
}

/* Tells it to that peer; kind is start or reserve. */
static int lie_tell(struct lie *lie, const struct transport_conf *conf, const char *address,
                    const char *peer, const char *kind)
{
    Skein__Permit permit;
    permit_invent(&permit, lie->body.plan, lie->age);
    Skein__VmDetail vm = SKEIN__VM_DETAIL__INIT;
    vm.uuid = (char *)(uintptr_t)lie->uuid;
    vm.name = lie->body.plan->actions[0].vm;
    vm.has_state = vm.has_vcpus = vm.has_memory_mib = 1;
    vm.vcpus = 1;
    vm.memory_mib = 64;

    Skein__StartAction start = SKEIN__START_ACTION__INIT;
    Skein__Reserve reserve = SKEIN__RESERVE__INIT;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.has_id = 1;
    request.id = 4711;
    start.has_body = reserve.has_body = 1;
    start.body = reserve.body =
        (ProtobufCBinaryData){.data = (uint8_t *)lie->body.bytes, .len = lie->body.len};
    start.approvals = reserve.approvals = lie->approvals;
    start.n_approvals = reserve.n_approvals = lie->n_approvals;
    start.permit = reserve.permit = &permit;
    reserve.vm = &vm;
    if (strcmp(kind, "start") == 0) {
        request.kind_case = SKEIN__REQUEST__KIND_START;
        request.start = &start;
    } else {
        request.kind_case = SKEIN__REQUEST__KIND_RESERVE;
        request.reserve = &reserve;
    }
    struct liar liar = {.peer = peer, .request = &request, .outcome = -1};
    ask(&liar, conf, address);
    return liar.outcome < 0 ? 2 : liar.outcome;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct cluster cluster;
    if (argc < 8) {
        printf("liar: see the head of liar.c\n");
        return 2;
    }
    _cleanup_(freep) char *cluster_path = xasprintf("%s/cluster.json", argv[1]);
    if (cluster_load(cluster_path, &cluster, &err) < 0)
        die(&err, cluster_path);
    struct lie lie = {.pen = {.cluster = cluster, .life = 600000, .ticket = ""}};
    body_read(&lie.body, argv[7]);
    lie.uuid = lie.body.plan->actions[0].uuid;
    for (int i = 8; i < argc; i++)
        lie_option(&lie, argv[i]);
    struct transport_conf conf = {
        .cluster = cluster,
        .host = argv[2],
        .listen = argv[3],
        .directory = argv[1],
        .version = "liar",
        .incarnation = (uint64_t)clock_ms(CLOCK_REALTIME),
    };
    int status = lie_tell(&lie, &conf, argv[4], argv[5], argv[6]);
    lie_done(&lie);
    return status;
}
