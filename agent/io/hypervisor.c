#include "agent/io/hypervisor.h"

#include <stdarg.h>
#include <stdio.h>

#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_sim.h"
#include "proto/hash.h"
#include "proto/util.h"

static const struct hypervisor_ops *const implementations[] = {&hypervisor_libvirt_ops,
                                                               &hypervisor_sim_ops};

static int open_scheme(const struct hypervisor_conf *conf, struct hypervisor **ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(implementations); i++) {
        const char *scheme = implementations[i]->scheme;
        size_t n = strlen(scheme);
        if (strncmp(conf->uri, scheme, n) != 0 || conf->uri[n] != ':')
            continue;
        if (conf->uri[n + 1] == '\0')
            return err_set(err, ERR_INVALID, "hypervisor \"%s\": nothing follows \"%s:\"",
                           conf->uri, scheme);
        return implementations[i]->open(conf, conf->uri + n + 1, ret, err);
    }
    struct buf known = {0};
    for (size_t i = 0; i < ARRAY_SIZE(implementations); i++)
        buf_addf(&known, "%s\"%s:...\"", i > 0 ? ", " : "", implementations[i]->scheme);
    err_set(err, ERR_INVALID, "hypervisor \"%s\": unknown scheme; known: %s", conf->uri,
            known.data);
    buf_done(&known);
    return -(int)ERR_INVALID;
}

int hypervisor_open(const struct hypervisor_conf *conf, struct hypervisor **ret, struct err *err)
{
    struct firewall *firewall = NULL;
    int rc = 0;
    if (conf->firewall_ports != NULL)
        rc = firewall_new(conf->firewall_ports, &firewall, err);
    if (rc == 0)
        rc = open_scheme(conf, ret, err);
    if (rc < 0) {
        sensors_close(conf->sensors);
        power_driver_free(conf->power);
        firewall_free(firewall);
        return rc;
    }
    (*ret)->power = conf->power;
    (*ret)->firewall = firewall;
    snprintf((*ret)->host, sizeof(*ret)->host, "%s", conf->host);
    (*ret)->hooks = xstrdup(conf->hooks != NULL ? conf->hooks : HOOKS_DIRECTORY);
    return 0;
}

void hypervisor_close(struct hypervisor *hv)
{
    if (hv == NULL)
        return;
    struct power_driver *power = hv->power;
    struct firewall *firewall = hv->firewall;
    char *hooks = hv->hooks;
    hv->ops->close(hv);
    power_driver_free(power);
    free(hooks);
    firewall_free(firewall);
}

static struct hv_finding *finding_new(struct hv_findings *f, const char *code, const char *remedy,
                                      const char *evidence, va_list args)
{
    if (f->n == HV_FINDINGS_MAX)
        return NULL;
    struct hv_finding *one = &f->items[f->n++];
    *one = (struct hv_finding){0};
    vsnprintf(one->evidence, sizeof one->evidence, evidence, args);
    snprintf(one->code, sizeof one->code, "%s", code);
    snprintf(one->remedy, sizeof one->remedy, "%s", remedy);
    return one;
}

void finding_add(struct hv_findings *f, const char *code, const char *remedy, const char *evidence,
                 ...)
{
    va_list args;
    va_start(args, evidence);
    finding_new(f, code, remedy, evidence, args);
    va_end(args);
}

void finding_advise(struct hv_findings *f, const char *code, const char *remedy,
                    const char *evidence, ...)
{
    va_list args;
    va_start(args, evidence);
    struct hv_finding *one = finding_new(f, code, remedy, evidence, args);
    va_end(args);
    if (one != NULL)
        one->advice = true;
}

/* Whatever was planned: a host on which something is active does not go to sleep. */
static int check_idle(struct hypervisor *hv, struct err *err)
{
    Skein__HostDetail *detail = NULL;
    struct hv_clock clock = {0};
    int rc = hv->ops->observe(hv, &detail, &clock, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < detail->n_vms && rc == 0; i++)
        if (!detail->vms[i]->has_state || detail->vms[i]->state != SKEIN__VM_STATE__VM_STOPPED)
            rc = err_set(err, ERR_CONFLICT, "VM %s is active here", detail->vms[i]->name);
    skein__host_detail__free_unpacked(detail, NULL);
    return rc;
}

static int call_power(struct hypervisor *hv, const struct hv_job *job, struct err *err)
{
    if (hv->power == NULL)
        return err_set(err, ERR_UNSUPPORTED, "this host cannot switch any host's power");
    if (job->kind == HV_WAKE)
        return power_driver_wake(hv->power, job->move.to, job->mac, err);
    int rc = check_idle(hv, err);
    return rc < 0 ? rc : power_driver_standby(hv->power, hv->host, err);
}

static bool is_about_host(enum hv_kind kind)
{
    return kind == HV_OBSERVE || kind == HV_STANDBY || kind == HV_WAKE || kind == HV_ASK;
}

void hypervisor_call(struct hypervisor *hv, const struct hv_job *job, struct hv_result *ret)
{
    const struct hypervisor_ops *ops = hv->ops;
    const struct hv_move *move = &job->move;
    *ret = (struct hv_result){.job = job->id, .kind = job->kind};
    struct err *err = &ret->err;
    if (!is_about_host(job->kind) && !uuid_is_valid(move->uuid)) {
        err_set(err, ERR_INVALID, "\"%s\" is not a VM's UUID", move->uuid);
        return;
    }
    int rc = -1;
    switch (job->kind) {
    case HV_OBSERVE:
        firewall_keep(hv->firewall);
        rc = ops->observe(hv, &ret->detail, &ret->clock, err);
        break;
    case HV_LOOK:
        rc = ops->look(hv, move->uuid, &ret->seen, err);
        break;
    case HV_LOOK_REMOTE:
        rc = ops->look_remote(hv, move, &ret->seen, err);
        break;
    case HV_PRECHECK:
        rc = ops->precheck(hv, move, err);
        if (rc == 0 && ops->baseline != NULL)
            ops->baseline(hv, move->uuid, &ret->baseline, NULL); /* it moves without, too */
        break;
    case HV_BASELINE:
        rc = ops->baseline != NULL ? ops->baseline(hv, move->uuid, &ret->baseline, err) : 0;
        break;
    case HV_EXAMINE:
        ret->findings = xcalloc(1, sizeof *ret->findings);
        rc = ops->examine(hv, move, ret->findings, err);
        break;
    case HV_ADMIT:
        rc = job->vm != NULL ? ops->admit(hv, move, job->vm, err)
                             : err_set(err, ERR_INVALID, "nothing is known of the VM to arrive");
        break;
    case HV_MIGRATE:
        rc = ops->migrate(hv, move, &ret->stats, err);
        break;
    case HV_PROGRESS:
        rc = ops->progress(hv, move->uuid, &ret->progress, err);
        break;
    case HV_TUNE:
        rc = ops->tune(hv, move, err);
        break;
    case HV_POSTCOPY:
        rc = ops->postcopy(hv, move->uuid, err);
        break;
    case HV_ABORT:
        rc = ops->abort(hv, move->uuid, err);
        break;
    case HV_TIDY:
        rc = ops->tidy(hv, move->uuid, err);
        break;
    case HV_RESUME:
        rc = ops->resume(hv, move->uuid, err);
        break;
    case HV_DISCARD:
        rc = ops->discard(hv, move->uuid, err);
        break;
    case HV_AUTOSTART:
        rc = ops->autostart(hv, move->uuid, err);
        break;
    case HV_SHUTDOWN:
        rc = ops->shutdown(hv, move->uuid, err);
        break;
    case HV_SUSPEND:
        rc = ops->suspend(hv, move->uuid, err);
        break;
    case HV_STANDBY:
    case HV_WAKE:
        rc = call_power(hv, job, err);
        break;
    case HV_ASK:
        rc = hooks_ask(hv->hooks, job->questions != NULL ? job->questions : "[]", err);
        break;
    case HV_OPEN:
        rc = firewall_open(hv->firewall, move->sources, (msec)move->timeout_ms, err);
        break;
    case HV_CLOSE:
        rc = firewall_close(hv->firewall, move->sources, err);
        break;
    case HV_KINDS:
        err_set(err, ERR_INTERNAL, "no such call");
        break;
    }
    REQUIRE(rc == 0 || err->code != ERR_OK);
}
