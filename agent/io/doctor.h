/* doctor.h - what is wrong with this host, or in the way of one VM's leaving it, for people:
 *   GET /v1/doctor                     this host: its libvirt, its certificates, its limits
 *   GET /v1/doctor/UUID?to=HOST        a VM of this host, and a move of it
 * Both answer {"host", "findings": [{"code", "evidence", "remedy", "advice"}]}. Belongs to the loop
 * thread.
 */
#ifndef SKEIN_AGENT_IO_DOCTOR_H
#define SKEIN_AGENT_IO_DOCTOR_H

#include "agent/io/http.h"
#include "agent/io/jobs.h"

struct doctor; /* opaque */

/* Borrows all but conf itself. */
struct doctor_conf {
    const char *host, *state_dir, *tls_directory;
    const char *libvirt_directory; /* "/etc/libvirt"; NULL: the hypervisor is not libvirt */
    const char *pki_directory;     /* "/etc/pki": of libvirt's and QEMU's certificates */
    struct jobs *jobs;
    struct http *http;
};

struct doctor *doctor_new(const struct doctor_conf *conf);
void doctor_stop(struct doctor *d); /* before http and jobs close */
void doctor_free(struct doctor *d);

/* True when the call was the doctor's; its answer follows. */
bool doctor_call(struct doctor *d, uint64_t token, const Skein__ApiCall *call);
/* True when the result was the doctor's; it stays the caller's. */
bool doctor_result(struct doctor *d, const struct hv_result *result);

/* What the files and limits of this host say. wall: now. */
void doctor_host(const struct doctor_conf *conf, msec wall, struct hv_findings *ret);

#endif
