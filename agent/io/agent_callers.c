/* agent_callers.c - the API: its doors, who may come in, and who answers a call. */
#include "agent/io/agent_audit.h"
#include "agent/io/agent_priv.h"
#include "agent/io/api_local.h"
#include "agent/io/api_metrics.h"
#include "agent/io/clock.h"
#include "agent/io/doctor.h"
#include "agent/io/http.h"
#include "agent/io/libvirt_conf.h"
#include "agent/io/trust.h"
#include "proto/log.h"
#include "proto/util.h"
#include "tls/file.h"
#include "tls/join.h"

static void api_called(void *arg, uint64_t token, const Skein__ApiCall *call)
{
    struct agent *a = arg;
    if (!api_metrics_call(a->http, a->node, a->mesh, agent_now(a), token, call) &&
        !api_local_call(a->api_local, token, call) && !doctor_call(a->doctor, token, call) &&
        !agent_audit_call(a->audit, agent_now(a), token, call))
        agent_step(a, &(struct event){.kind = EVENT_API, .token = token, .call = call});
}

static int admit(void *arg, void *session, struct err *err)
{
    const struct agent *a = arg;
    struct guest guest;
    return trust_guest(a->trust, session, clock_wall(), &guest, err);
}

int agent_renew_http(struct agent *a, struct err *err)
{
    _cleanup_(http_tls_done) struct http_tls tls = {0};
    _cleanup_(http_tls_done) struct http_tls hosts = {0};
    int rc;
    if ((rc = http_tls_read(a->config->tls_directory, &tls, err)) < 0 ||
        (rc = http_tls_read_hosts(a->config->tls_directory, &hosts, err)) < 0 ||
        (rc = http_renew(a->http, HTTP_PEOPLE, &tls, err)) < 0)
        return rc;
    return http_renew(a->http, HTTP_HOSTS, &hosts, err);
}

static int start_http(struct agent *a, struct err *err)
{
    _cleanup_(http_tls_done) struct http_tls tls = {0};
    _cleanup_(http_tls_done) struct http_tls hosts = {0};
    struct http_conf conf = {
        .loop = &a->loop,
        .socket = a->config->api_socket,
        .listen = a->config->api_listen,
        .tls = &tls,
        .hosts_listen = a->config->issuer_listen,
        .hosts_tls = &hosts,
        .hosts_body_max = JOIN_REQUEST_MAX,
        .on_host = agent_host_asks,
        .arg = a,
        .admit = admit,
        .on_call = api_called,
    };
    int rc = 0;
    if (agent_open_issuer(a, err) < 0) {
        log_err(err, "no certificates are issued here: the hosts' door stays closed");
        conf.hosts_listen = "";
    }
    if (conf.listen[0] != '\0')
        rc = http_tls_read(a->config->tls_directory, &tls, err);
    if (rc >= 0 && conf.hosts_listen[0] != '\0')
        rc = http_tls_read_hosts(a->config->tls_directory, &hosts, err);
    return rc < 0 ? rc : http_open(&conf, &a->http, err);
}

int agent_open_http(struct agent *a, struct err *err)
{
    _cleanup_(freep) char *directory = xstrdup(a->config->api_socket);
    char *slash = strrchr(directory, '/');
    int rc = 0;
    if (slash != NULL && slash != directory) {
        *slash = '\0';
        rc = file_make_directory(directory, 0755, err);
    }
    if (rc >= 0)
        rc = start_http(a, err);
    if (rc < 0)
        return rc;
    a->api_local = api_local_new(a->store, a->http);
    bool libvirt = strncmp(a->config->hypervisor, "libvirt:", 8) == 0;
    a->doctor = doctor_new(
        &(struct doctor_conf){.host = a->config->host,
                              .state_dir = a->config->state_dir,
                              .tls_directory = a->config->tls_directory,
                              .libvirt_directory = libvirt ? LIBVIRT_CONF_DIRECTORY : NULL,
                              .pki_directory = LIBVIRT_PKI_DIRECTORY,
                              .jobs = a->jobs,
                              .http = a->http});
    return 0;
}
