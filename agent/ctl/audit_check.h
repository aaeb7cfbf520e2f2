/* audit_check.h - is an exported audit what its hosts signed? Needs the export and the machines'
 * root, nothing else. An export is a line of JSON that begins it (schema skein.audit/1: the
 * checkpoint, and the heads of other logs) and the records, a line each, whose bytes are the
 * leaves; several exports may stand in one file. Proofs (skein.audit-proof/1,
 * skein.audit-consistency/1) are lines of their own. */
#ifndef SKEIN_AGENT_CTL_AUDIT_CHECK_H
#define SKEIN_AGENT_CTL_AUDIT_CHECK_H

#include <jansson.h>

#include "proto/err.h"
#include "proto/units.h"

struct audit_check_args {
    const char *roots;   /* machines.pem, or a directory with it (and perhaps cluster.json) */
    const char *anchors; /* a file of checkpoints kept elsewhere, one a line; NULL: none */
    int cosigned;        /* so many cosignatures are wanted of each checkpoint */
};

/* {"intact": true, "logs": [{"host", "records", "root", "at", "cosigned_by": [...], "file"}],
 *  "proofs": [{"host", "seq", "record"} ...], "notes": [...]}. The error names file and line. */
int audit_check(const struct audit_check_args *args, char *const *files, int n_files, msec now,
                json_t **ret, struct err *err);

#endif
