/* fields.h - tables of what a JSON object may hold, and the reading of it into a struct. Pure.
 * Every value is checked for type, sign and size; the message names the place. */
#ifndef SKEIN_PLANNER_CORE_FIELDS_H
#define SKEIN_PLANNER_CORE_FIELDS_H

#include "planner/core/arena.h"
#include "planner/core/jread.h"
#include "planner/core/model.h"

/* Where we are in the document: "hosts[3].cpu". Linked upwards on the stack. */
struct where {
    const struct where *up;
    const char *key; /* NULL: an array's element */
    int index;
};

#define FIELDS_FOUND 256

struct fields_ctx {
    struct arena *arena;
    struct intern strings;

    struct {
        const struct field *table, *field;
    } found[FIELDS_FOUND]; /* by the key's hash: the elements of a list look alike */

    const char **warnings; /* owned */
    size_t n_warnings, cap_warnings;
    struct err *err;
};

enum field_type {
    FIELD_ANY,     /* kept in the digest, not read */
    FIELD_STRING,  /* const char *, interned */
    FIELD_BOOL,    /* enum tri */
    FIELD_TIME,    /* msec */
    FIELD_FLOOR,   /* int64_t, a fraction rounded down: what there is */
    FIELD_CEIL,    /* int64_t, rounded up: what is needed */
    FIELD_MILLI,   /* milli, not negative */
    FIELD_CELSIUS, /* milli; implausible is unknown, with a warning */
    FIELD_SIGNED,  /* milli, any sign */
    FIELD_STRINGS, /* struct model_strings */
    FIELD_CALL
};

struct field {
    const char *key;
    enum field_type type;
    size_t offset;
    int (*call)(struct fields_ctx *c, const struct jnode *v, const struct where *w, void *obj);
};

/* Read object v by a table (ending with key NULL) into *obj. null is as if absent. */
int fields_read(struct fields_ctx *c, const struct field *table, const struct jnode *v,
                const struct where *w, void *obj);

/* Fill err: "snapshot: WHERE: ..." */
int fields_bad(struct fields_ctx *c, const struct where *w, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void fields_warn(struct fields_ctx *c, const struct where *w, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

int fields_string(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                  const char **ret);
int fields_strings(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                   struct model_strings *ret);
int fields_array(struct fields_ctx *c, const struct jnode *v, const struct where *w);

/* The word's index in names (NULL-terminated), or an error with a suggestion. */
int fields_word(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                const char *const *names, int *ret);

#endif
