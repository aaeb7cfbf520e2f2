/* model_fields.h - one host, one VM, one rule of a snapshot, read into what model_parse.c resolves.
 * Pure; internal to the reading of snapshots. */
#ifndef SKEIN_PLANNER_CORE_MODEL_FIELDS_H
#define SKEIN_PLANNER_CORE_MODEL_FIELDS_H

#include "planner/core/fields.h"

/* An element with what is needed only until names are resolved. */
struct piece_text {
    size_t at, len; /* canonical bytes, in parser.canon */
};

struct raw_host {
    struct model_host host;
    int index; /* in the document */
    struct piece_text text;
};

struct raw_vm {
    struct model_vm vm;
    const char *host_name;
    int index;
    struct piece_text text;
};

struct raw_rule {
    struct model_rule rule;
    const char **vm_names, **host_names; /* in the arena */
    int n_vm_names, n_host_names;
    struct model_tags select;
    bool has_select;
    int index;
    struct piece_text text;
};

/* w.index is the element's number. Names are not resolved yet; text is the caller's to fill. */
int model_read_host(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                    struct raw_host *ret);
int model_read_vm(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                  struct raw_vm *ret);
int model_read_rule(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                    struct raw_rule *ret);

#endif
