/* hypervisor_libvirt_admin.c - libvirtd's administration socket: its TLS files, its clients. */
#include <libvirt/libvirt-admin.h>
#include <libvirt/virterror.h>
#include <stdio.h>

#include "agent/io/command_run.h"
#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/revoker.h"
#include "proto/log.h"

#define ENDED "ended " /* how a line begins that says whose session was ended */

/* The daemon that serves TLS: the one for everything, or the modular ones' proxy. */
static const struct {
    const char *uri, *server;
} daemons[] = {{"libvirtd:///system", "libvirtd"}, {"virtproxyd:///system", "virtproxyd"}};

/* "CN=hv4,OU=libvirt,O=dc1": the name, if it is that of a libvirt of ours. */
static bool host_of(const char *dn, char *ret, size_t size)
{
    const char *name = strstr(dn, "CN=");
    if (name == NULL || (name != dn && name[-1] != ',') || strstr(dn, "OU=libvirt") == NULL)
        return false;
    snprintf(ret, size, "%.*s", (int)strcspn(name + 3, ","), name + 3);
    return true;
}

/* Over TLS, and of a host newly revoked? */
static bool is_revoked(virAdmClientPtr client, const struct revoked *revoked, char *ret_host,
                       size_t size)
{
    virTypedParameterPtr params = NULL;
    int n = 0;
    const char *dn = NULL;
    bool yes = false;
    if (virAdmClientGetTransport(client) != VIR_CLIENT_TRANS_TLS ||
        virAdmClientGetInfo(client, &params, &n, 0) < 0)
        return false;
    if (virTypedParamsGetString(params, n, VIR_CLIENT_INFO_X509_DISTINGUISHED_NAME, &dn) == 1)
        yes = host_of(dn, ret_host, size) && revoked_names(revoked, USE_LIBVIRT, ret_host);
    virTypedParamsFree(params, n);
    return yes;
}

static int end_sessions(virAdmServerPtr server, const struct revoked *revoked, struct err *err)
{
    virAdmClientPtr *clients = NULL;
    char host[HV_NAME_MAX];
    int n = virAdmServerListClients(server, &clients, 0);
    if (n < 0)
        return libvirt_error(err, "listing libvirtd's clients");
    for (int i = 0; i < n; i++) {
        if (is_revoked(clients[i], revoked, host, sizeof host) &&
            virAdmClientClose(clients[i], 0) == 0)
            printf(ENDED "%s\n", host);
        virAdmClientFree(clients[i]);
    }
    free(clients);
    return 0;
}

static int reload(virAdmConnectPtr conn, const char *name, const struct revoked *revoked,
                  struct err *err)
{
    virAdmServerPtr server = virAdmConnectLookupServer(conn, name, 0);
    if (server == NULL)
        return libvirt_error(err, "server %s", name);
    /* First the list, then those who came before it. */
    int rc = virAdmServerUpdateTlsFiles(server, 0) < 0
                 ? libvirt_error(err, "%s does not read its TLS files again", name)
                 : end_sessions(server, revoked, err);
    virAdmServerFree(server);
    return rc;
}

static int reload_any(const struct revoked *revoked, struct err *err)
{
    if (virAdmInitialize() < 0)
        return libvirt_error(err, "libvirt's administration");
    for (size_t i = 0; i < ARRAY_SIZE(daemons); i++) {
        virAdmConnectPtr conn = virAdmConnectOpen(daemons[i].uri, 0);
        if (conn == NULL) {
            if (i == 0)
                libvirt_error(err, "%s", daemons[i].uri);
            continue;
        }
        int rc = reload(conn, daemons[i].server, revoked, err);
        virAdmConnectClose(conn);
        return rc;
    }
    return -(int)err->code;
}

/* ---- a process of its own: both of libvirt's libraries do not live in one ---- */

#define ASKED "--libvirt-sessions"
#define PATIENCE 8000
#define SAID_MAX (64u << 10)
#define LINE_SIZE (2 * SERIAL_BYTES + 16)

/* "anybody", or a marked serial number a line. */
static char *names_text(const struct revoked *revoked)
{
    struct buf text = {0};
    if (revoked->unmarked)
        buf_adds(&text, "anybody\n");
    for (size_t i = 0; i < revoked->n; i++) {
        for (size_t k = 0; k < SERIAL_BYTES; k++)
            buf_addf(&text, "%02x", revoked->serials[i][k]);
        buf_adds(&text, "\n");
    }
    return text.data != NULL ? buf_take(&text) : xstrdup("");
}

static void read_names(FILE *from, struct revoked *ret)
{
    char line[LINE_SIZE];
    while (fgets(line, sizeof line, from) != NULL) {
        uint8_t serial[SERIAL_BYTES];
        size_t n = 0;
        ret->unmarked = ret->unmarked || strncmp(line, "anybody", 7) == 0;
        while (n < SERIAL_BYTES && sscanf(line + 2 * n, "%2hhx", &serial[n]) == 1)
            n++;
        if (n < SERIAL_BYTES)
            continue;
        ARRAY_RESERVE(ret->serials, ret->cap, ret->n + 1);
        memcpy(ret->serials[ret->n++], serial, SERIAL_BYTES);
    }
}

static void keep_quiet(void *arg, virErrorPtr error)
{
    (void)arg;
    (void)error; /* each failing call reports its own */
}

void revoker_main_if_asked(int argc, char **argv)
{
    struct revoked revoked = {0};
    struct err err = {0};
    if (argc != 2 || strcmp(argv[1], ASKED) != 0)
        return;
    virSetErrorFunc(NULL, keep_quiet);
    read_names(stdin, &revoked);
    int rc = reload_any(&revoked, &err);
    if (rc < 0)
        printf("%s\n", err.msg);
    revoked_done(&revoked);
    exit(rc < 0 ? 1 : 0);
}

int revoker_reload_libvirt(const struct revoked *revoked, unsigned *ret_ended, struct err *err)
{
    static const char *const self[] = {"/proc/self/exe", ASKED, NULL};
    _cleanup_(freep) char *names = names_text(revoked), *said = xmalloc(SAID_MAX);
    int status;
    int rc = command_run(self, names, PATIENCE, said, SAID_MAX, &status, err);
    if (rc < 0)
        return rc;
    char *rest = said;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strncmp(line, ENDED, sizeof ENDED - 1) == 0) {
            log_info("libvirtd: the session of %s, which is revoked, is ended",
                     line + sizeof ENDED - 1);
            ++*ret_ended;
        } else if (status != 0 && line[0] != '\0') {
            return err_set(err, ERR_HYPERVISOR, "%s", line);
        }
    }
    return status == 0 ? 0 : err_set(err, ERR_HYPERVISOR, "libvirtd's administration failed");
}
