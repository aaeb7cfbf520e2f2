/* plan_doc.h - skein.plan/1: the plan as a canonical document, its digest, and reading it back.
 * Pure. The digest covers the body only: not state, term, approvals or results. */
#ifndef SKEIN_PLANNER_CORE_PLAN_DOC_H
#define SKEIN_PLANNER_CORE_PLAN_DOC_H

#include <jansson.h>

#include "planner/core/planner.h"
#include "proto/hash.h"
#include "proto/units.h"

#define PLAN_SCHEMA "skein.plan/1"
#define PLAN_ID_SIZE 13 /* the digest's first 12 digits */

/* What the body says beside the result. Borrowed. */
struct plan_origin {
    const char *policy_name, *policy_digest; /* digest NULL for a user's own plan */
    const char *class;                       /* safety, drain, user, optimise */
    const char *reason;                      /* the trigger's words */
    uint64_t seed;
};

/* The body as a new reference. */
int plan_body_new(const struct model *m, const struct planner_result *r,
                  const struct plan_origin *origin, json_t **ret, struct err *err);

/* Digest and id of a body. */
int plan_body_digest(const json_t *body, char ret_digest[HASH_HEX_SIZE], struct err *err);
void plan_id(const char digest[HASH_HEX_SIZE], char ret[PLAN_ID_SIZE]);

/* {schema, id, digest, body, state: "DRAFT", made_in_term: null, approvals: [], results: []};
 * a new reference; body is borrowed. */
int plan_doc_new(json_t *body, json_t **ret, struct err *err);

/* A plan read back: enough for those who carry it out. Strings are owned by the struct. */
const char *plan_action_type_name(enum plan_action_type t);

struct plan_action {
    char *id; /* "s1-1": unique in the plan */
    enum plan_action_type type;
    int step;        /* from 0 */
    char *vm, *uuid; /* NULL for standby and wake */
    char *from, *to; /* migrate, copy-storage; others: from is where it runs */
    char *host;      /* standby, wake */
    char *reason;
    struct planner_parameters parameters;
    struct planner_estimate estimate;
};

struct plan_doc {
    json_t *json;       /* the whole document, or only its body where that was given; owned */
    const json_t *body; /* within json */
    char id[PLAN_ID_SIZE], digest[HASH_HEX_SIZE]; /* recomputed from the body */
    const char *policy_name, *policy_digest, *snapshot_digest, *class, *reason; /* within json */
    struct plan_action *actions; /* in the order of steps */
    int n_actions, n_steps;
};

/* Accepts a whole document (whose id and digest must be the body's) or a bare body. Strict: unknown
 * action types, missing fields, numbers out of range are errors that name the place. */
int plan_doc_parse(const char *text, size_t len, struct plan_doc **ret, struct err *err);
int plan_doc_from_json(json_t *doc, struct plan_doc **ret, struct err *err); /* borrows, refs doc */
void plan_doc_free(struct plan_doc *d);

static inline void plan_doc_freep(struct plan_doc **d)
{
    plan_doc_free(*d);
}

#endif
