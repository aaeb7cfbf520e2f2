#include "agent/io/agent_roots.h"

#include <stdio.h>

#include "agent/core/state.h"
#include "agent/io/clock.h"
#include "agent/io/revoker.h"
#include "proto/codec.h"
#include "proto/log.h"

struct agent_roots {
    struct agent_roots_conf conf;
    struct revoker *revoker;                      /* NULL: no hypervisor that reads lists */
    char complaint[sizeof((struct err *)0)->msg]; /* of the hypervisor, as it was logged last */
};

static const struct trust_roots *own(const struct agent_roots *r)
{
    const struct trust *trust = trust_of(r->conf.trust);
    return trust->roots(trust);
}

/* ---- the hypervisor ---- */

static bool goes_to_revoked(void *arg, const struct hv_move *move)
{
    return revoked_names(arg, USE_LIBVIRT, move->to);
}

static void revoker_done(void *arg, const struct revoked *revoked, unsigned ended,
                         const struct err *err)
{
    struct agent_roots *r = arg;
    if (err->code != ERR_OK && strcmp(err->msg, r->complaint) != 0)
        log_warn("revocations are not held by the hypervisor yet: %s", err->msg);
    snprintf(r->complaint, sizeof r->complaint, "%s", err->code != ERR_OK ? err->msg : "");
    if (revoked == NULL)
        return;
    unsigned aborted = jobs_abort_moves(r->conf.jobs, goes_to_revoked, (void *)(uintptr_t)revoked);
    log_info("the hypervisor holds the revocations: %u sessions ended, %u moves aborted", ended,
             aborted);
    r->conf.hypervisor_told(r->conf.arg, ended);
}

static void open_revoker(struct agent_roots *r)
{
    const struct config *config = r->conf.config;
    if (strncmp(config->hypervisor, "libvirt:", 8) != 0 ||
        (config->tls_libvirt_crl[0] == '\0' && config->tls_qemu_crl[0] == '\0'))
        return;
    r->revoker = revoker_open(&(struct revoker_conf){
        .loop = r->conf.loop,
        .state_dir = config->state_dir,
        .libvirt_crl = config->tls_libvirt_crl,
        .qemu_crl = config->tls_qemu_crl,
        .arg = r,
        .done = revoker_done,
    });
}

static void tell_hypervisor(struct agent_roots *r)
{
    if (r->revoker != NULL)
        revoker_take(r->revoker, own(r)->machines, own(r)->crl);
}

/* ---- life ---- */

struct agent_roots *agent_roots_open(const struct agent_roots_conf *conf)
{
    struct agent_roots *r = xcalloc(1, sizeof *r);
    r->conf = *conf;
    open_revoker(r);
    tell_hypervisor(r);
    return r;
}

void agent_roots_stop(struct agent_roots *r)
{
    revoker_close(TAKE_PTR(r->revoker));
}

void agent_roots_free(struct agent_roots *r)
{
    free(r);
}

/* ---- peers ---- */

void agent_roots_tell(struct agent_roots *r, const char *host)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    struct err err;
    size_t len;
    frame.kind_case = SKEIN__FRAME__KIND_ROOTS;
    frame.roots = state_roots_message(own(r));
    _cleanup_(freep) uint8_t *bytes = codec_pack(&frame.base, &len);
    if (host == NULL)
        agent_audit_tell_all(r->conf.audit, &frame);
    else
        mesh_send(r->conf.mesh, host, bytes, len, &err);
    skein__roots__free_unpacked(frame.roots, NULL);
}

static int reload_users(struct agent_roots *r, struct err *err)
{
    tell_hypervisor(r);
    int rc = mesh_reload(r->conf.mesh, err); /* links of those who were revoked end */
    return rc < 0 ? rc : agent_audit_reload(r->conf.audit, clock_wall(), err);
}

/* Followed where it is newer and proves itself. */
static void follow(struct agent_roots *r, const char *from, const struct trust_roots *told)
{
    struct err err = {0};
    bool changed = false;
    if (trust_adopt(r->conf.trust, told, clock_wall(), &changed, &err) < 0)
        log_warn("roots of %s are not followed: %s: %s", from, err_name(err.code), err.msg);
    if (!changed)
        return;
    log_info("follows roots of %s: roster version %llu, revocations %llu", from,
             (unsigned long long)own(r)->roster_version, (unsigned long long)own(r)->revocations);
    if (reload_users(r, &err) < 0)
        log_err(&err, "roots");
    agent_roots_tell(r, NULL);
}

void agent_roots_agreed(struct agent_roots *r, const struct trust_roots *agreed)
{
    if (agreed != NULL)
        follow(r, "the voters", agreed);
}

static char *text_of(const ProtobufCBinaryData *bytes)
{
    return xasprintf("%.*s", (int)bytes->len, bytes->data != NULL ? (char *)bytes->data : "");
}

void agent_roots_told(struct agent_roots *r, const char *host, const Skein__Roots *roots)
{
    _cleanup_(freep) char *machines = text_of(&roots->machines), *people = text_of(&roots->people);
    _cleanup_(freep) char *crl = text_of(&roots->crl), *roster = text_of(&roots->roster);
    follow(r, host, &(struct trust_roots){machines, people, crl, roster, 0, 0});
}

int agent_roots_reload(struct agent_roots *r, struct err *err)
{
    int rc = trust_reload(r->conf.trust, clock_wall(), err);
    return rc < 0 ? rc : reload_users(r, err);
}
