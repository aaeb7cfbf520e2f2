#include "agent/io/doctor.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/http_json.h"
#include "agent/io/libvirt_conf.h"
#include "proto/util.h"
#include "tls/anchor.h"
#include "tls/pki.h"

#define JOB_BIT (UINT64_C(1) << 63) /* no token of the core has it: effects count from 1 */
#define ASKED_MAX 16
#define FILES_LEAST 4096
#define STATE_FREE_MIB 256
#define SOON                                                                                       \
    (2 * 24 * 3600000LL) /* of a list of revoked certificates: it is renewed every week            \
                          */

struct asked {
    uint64_t job, token; /* job 0: free */
};

struct doctor {
    struct doctor_conf conf; /* its http: NULL when it is gone */
    uint64_t jobs;
    struct asked asked[ASKED_MAX];
};

struct doctor *doctor_new(const struct doctor_conf *conf)
{
    struct doctor *d = xcalloc(1, sizeof *d);
    d->conf = *conf;
    return d;
}

void doctor_stop(struct doctor *d)
{
    d->conf.http = NULL;
}

void doctor_free(struct doctor *d)
{
    free(d);
}

/* ---- answers ---- */

static void answer_findings(const struct doctor *d, uint64_t token, const struct hv_findings *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->n; i++) {
        struct err line; /* makes it one line of UTF-8 */
        err_set(&line, ERR_UNKNOWN, "%s", f->items[i].evidence);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "code", f->items[i].code,
                                              "evidence", line.msg, "remedy", f->items[i].remedy,
                                              "advice", f->items[i].advice));
    }
    http_json_answer(d->conf.http, token, 200,
                     json_pack("{s:s, s:o}", "host", d->conf.host, "findings", list));
}

/* ---- a VM ---- */

/* "to=HOST" */
static bool read_to(const char *query, char *ret, size_t size)
{
    if (query == NULL || strncmp(query, "to=", 3) != 0 || strchr(query, '&') != NULL ||
        strlen(query + 3) >= size)
        return false;
    snprintf(ret, size, "%s", query + 3);
    return ret[0] != '\0';
}

static void examine(struct doctor *d, uint64_t token, const char *uuid, const char *query)
{
    struct err err = {0};
    struct hv_job job = {.kind = HV_EXAMINE};
    struct asked *free_place = NULL;
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (d->asked[i].job == 0)
            free_place = &d->asked[i];
    if (!uuid_is_valid(uuid))
        err_set(&err, ERR_INVALID, "\"%.64s\" is not a VM's UUID", uuid);
    else if (!read_to(query, job.move.to, sizeof job.move.to))
        err_set(&err, ERR_INVALID, "the query wants ?to=HOST");
    else if (free_place == NULL)
        err_set(&err, ERR_LIMIT, "%d VMs are being examined", ASKED_MAX);
    if (err.code != ERR_OK) {
        http_json_err(d->conf.http, token, &err, 503);
        return;
    }
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", uuid);
    snprintf(job.move.vm, sizeof job.move.vm, "%s", uuid);
    job.id = JOB_BIT | ++d->jobs;
    *free_place = (struct asked){job.id, token};
    jobs_submit(d->conf.jobs, &job);
}

bool doctor_result(struct doctor *d, const struct hv_result *result)
{
    for (size_t i = 0; i < ASKED_MAX; i++) {
        struct asked asked = d->asked[i];
        if (asked.job == 0 || asked.job != result->job)
            continue;
        d->asked[i] = (struct asked){0};
        if (result->err.code != ERR_OK || result->findings == NULL)
            http_json_err(d->conf.http, asked.token, &result->err, 503);
        else
            answer_findings(d, asked.token, result->findings);
        return true;
    }
    return false;
}

/* ---- the host ---- */

static bool is_off(const char *directory, const char *file, const char *key)
{
    char value[64];
    return libvirt_setting(directory, file, key, value, sizeof value) &&
           (strcmp(value, "0") == 0 || value[0] == '-');
}

static void check_libvirtd(const char *directory, struct hv_findings *f)
{
    char value[512];
    if (!libvirt_setting(directory, "libvirtd.conf", "tls_allowed_dn_list", value, sizeof value))
        finding_add(f, "LIBVIRT_OPEN", "list the hosts' names there, and restart libvirtd",
                    "%s/libvirtd.conf sets no tls_allowed_dn_list: every certificate of the root "
                    "commands this libvirtd",
                    directory);
    if (libvirt_setting(directory, "libvirtd.conf", "listen_tcp", value, sizeof value) &&
        strcmp(value, "0") != 0)
        finding_add(f, "LIBVIRT_PLAIN", "set listen_tcp = 0",
                    "%s/libvirtd.conf has listen_tcp = %s: commands in the clear", directory,
                    value);
    if (libvirt_setting(directory, "libvirtd.conf", "tls_no_verify_certificate", value,
                        sizeof value) &&
        strcmp(value, "0") != 0)
        finding_add(f, "LIBVIRT_UNVERIFIED", "set tls_no_verify_certificate = 0",
                    "%s/libvirtd.conf lets anybody in, whatever the certificate", directory);
}

static void check_qemu(const char *directory, struct hv_findings *f)
{
    char value[512];
    if (!libvirt_setting(directory, "qemu.conf", "lock_manager", value, sizeof value))
        finding_add(
            f, "NO_LOCK_MANAGER", "set lock_manager = \"lockd\" (or \"sanlock\") on all hosts",
            "%s/qemu.conf sets no lock_manager: libvirt itself excludes no second copy of a "
            "VM; only QEMU's image locks and RBD's do",
            directory);
    if (!libvirt_setting(directory, "qemu.conf", "migrate_tls_x509_verify", value, sizeof value) &&
        !libvirt_setting(directory, "qemu.conf", "default_tls_x509_verify", value, sizeof value))
        finding_add(f, "MIGRATION_UNVERIFIED", "set migrate_tls_x509_verify = 1",
                    "%s/qemu.conf does not say that migrations verify the other end's certificate",
                    directory);
    if (libvirt_setting(directory, "qemu.conf", "security_driver", value, sizeof value) &&
        strstr(value, "none") != NULL)
        finding_advise(f, "NO_SECURITY_DRIVER", "remove security_driver from it",
                       "%s/qemu.conf switches off what confines VMs (security_driver = %s)",
                       directory, value);
}

/* Without it a move whose other host died waits for TCP, a quarter of an hour. */
static void check_keepalive(const char *directory, struct hv_findings *f)
{
    static const char *const files[] = {"libvirtd.conf", "qemu.conf"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (is_off(directory, files[i], "keepalive_interval"))
            finding_add(f, "NO_KEEPALIVE", "set keepalive_interval = 5, keepalive_count = 5",
                        "%s/%s switches keepalive off: a dead peer is noticed after minutes",
                        directory, files[i]);
}

static void check_certificate(const char *directory, const char *name, msec wall,
                              struct hv_findings *f)
{
    struct err err = {0};
    msec end;
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    if (pki_certificate_end(path, &end, &err) < 0)
        finding_add(f, "NO_CERTIFICATE", "issue this host's files again (skein cert issue --host)",
                    "%s", err.msg);
    else if (sat_sub(end, wall) < SOON)
        finding_add(f, "CERTIFICATE_OLD", "issue this host's files again (skein cert issue --host)",
                    "%s %s", path,
                    end < wall ? "has expired: no move succeeds" : "expires within two days");
}

static void check_certificates(const struct doctor_conf *conf, msec wall, struct hv_findings *f)
{
    char migration[256];
    _cleanup_(freep) char *libvirt = xasprintf("%s/libvirt", conf->pki_directory);
    libvirt_migration_pki(conf->libvirt_directory, conf->pki_directory, migration,
                          sizeof migration);
    check_certificate(libvirt, "servercert.pem", wall, f);
    check_certificate(libvirt, "clientcert.pem", wall, f);
    check_certificate(migration, "server-cert.pem", wall, f);
    check_certificate(migration, "client-cert.pem", wall, f);
}

static void check_crl(const char *directory, msec wall, struct hv_findings *f)
{
    _cleanup_(freep) char *root = xasprintf("%s/machines.pem", directory);
    _cleanup_(freep) char *crl = xasprintf("%s/crl.pem", directory);
    struct anchor *anchor = NULL;
    struct err err = {0};
    if (anchor_load(root, crl, &anchor, &err) < 0) {
        finding_add(f, "NO_TRUST", "issue this host's files again (skein cert issue --host)", "%s",
                    err.msg);
        return;
    }
    msec left = sat_sub(anchor_crl_next_update(anchor), wall);
    anchor_free(anchor);
    if (left < SOON)
        finding_add(f, "CRL_OLD", "bring a new crl.pem (skein cert revoke, or renew it)",
                    "%s/crl.pem %s", directory,
                    left < 0 ? "has expired: no new moves" : "expires within two days");
}

static void check_limits(const struct doctor_conf *conf, struct hv_findings *f)
{
    struct rlimit files;
    struct statvfs fs;
    struct timex clock = {0};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_LEAST)
        finding_add(f, "FEW_FILES", "set LimitNOFILE=65536 in the unit",
                    "the agent may open %llu files at once", (unsigned long long)files.rlim_cur);
    if (statvfs(conf->state_dir, &fs) == 0 &&
        ((uint64_t)fs.f_bavail * fs.f_frsize >> 20) < STATE_FREE_MIB)
        finding_add(f, "STATE_DISK_FULL", "make room: an agent that cannot write its journal stops",
                    "%s has %llu MiB left", conf->state_dir,
                    (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize >> 20));
    if (adjtimex(&clock) == TIME_ERROR)
        finding_add(
            f, "CLOCK_FREE", "run chrony or systemd-timesyncd",
            "nothing keeps this host's clock: approvals are refused beyond 2 s of difference");
}

void doctor_host(const struct doctor_conf *conf, msec wall, struct hv_findings *ret)
{
    *ret = (struct hv_findings){0};
    if (conf->libvirt_directory != NULL) {
        check_libvirtd(conf->libvirt_directory, ret);
        check_qemu(conf->libvirt_directory, ret);
        check_keepalive(conf->libvirt_directory, ret);
        check_certificates(conf, wall, ret);
    }
    check_crl(conf->tls_directory, wall, ret);
    check_limits(conf, ret);
}

bool doctor_call(struct doctor *d, uint64_t token, const Skein__ApiCall *call)
{
    static const char path[] = "/v1/doctor";
    if (strcmp(call->method, "GET") != 0 || strncmp(call->path, path, sizeof path - 1) != 0)
        return false;
    const char *rest = call->path + sizeof path - 1;
    if (rest[0] == '/') {
        examine(d, token, rest + 1, call->query);
        return true;
    }
    if (rest[0] != '\0')
        return false;
    struct hv_findings findings;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    doctor_host(&d->conf, (msec)now.tv_sec * 1000, &findings);
    answer_findings(d, token, &findings);
    return true;
}
