/* api_priv.h - what the parts of the API share: api.c routes and waits, api_command.c takes
 * what people signed, api_show.c renders, api_status.c sums up. */
#ifndef SKEIN_AGENT_CORE_API_PRIV_H
#define SKEIN_AGENT_CORE_API_PRIV_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/core/admin.h"
#include "agent/core/api.h"
#include "agent/core/gate.h"
#include "agent/core/library.h"
#include "agent/core/pace.h"
#include "agent/core/rulebook.h"
#include "agent/core/tokens.h"

/* ---- calls that wait: api.c ---- */

/* Who gets the answer, and until when. */
struct caller {
    bool remote;            /* another agent handed it on */
    uint64_t token;         /* this agent's own API */
    char host[HV_NAME_MAX]; /* remote: the agent ... */
    uint64_t id;            /* ... and its request */
    msec deadline;          /* mono */
    msec planner_by;        /* mono: how long it waits for a planner to be elected; 0: not at all */
};

enum call_stage {
    CALL_RELAYED,  /* the planner was asked: key is the request's id */
    CALL_RESEND,   /* the planner, if there is one, will be asked at resend_at */
    CALL_PROPOSED, /* an envelope was proposed: key is the proposal's token */
    CALL_PLANNING, /* a request is in the state: its plan or the reason why there is none */
};

struct call {
    enum call_stage stage;
    struct caller caller;
    uint64_t key;
    msec resend_at;
    char asked[HV_NAME_MAX];    /* RELAYED: whom */
    Skein__ApiCall *call;       /* RELAYED, RESEND: owned */
    bool merges_status;         /* RELAYED: the answer completes this agent's own status */
    json_t *answer;             /* PROPOSED: when applied; owned. NULL: what became of the plan */
    enum gate_verb verb;        /* PROPOSED, PLANNING ... */
    char person[128];           /* ... who signed */
    char plan[PLAN_ID_SIZE];    /* ... about which plan; "" for a request */
    char nonce[HASH_HEX_SIZE];  /* ... and which request */
    char digest[HASH_HEX_SIZE]; /* ... of the envelope */
};

struct api {
    struct call *calls;
    size_t n, cap;
    struct hush guesses; /* of tokens */
};

/* Calls are few: a list will do. */
struct call *api_find_call(struct api *api, enum call_stage stage, uint64_t key);
void api_add_call(struct api *api, const struct call *call);
/* Out of the list; the caller of this function owns what it holds. */
struct call api_take_call(struct api *api, struct call *at);
bool api_can_wait(const struct api *api, struct err *err);

/* Takes body. */
void api_answer(struct api_context *c, const struct caller *to, unsigned status, json_t *body);
void api_answer_status(struct api_context *c, const struct caller *to, unsigned status,
                       const struct err *err);
void api_answer_err(struct api_context *c, const struct caller *to, const struct err *err);

/* ---- requests ---- */

/* A request taken apart; everything is borrowed. */
struct api_request {
    const char *method, *path, *query; /* query: "" when there is none */
    const char *id;                    /* the path's variable segment; "" when it has none */
    const uint8_t *body;
    size_t body_len;
};

/* Answers of status 200; new references in *ret. err says why not. */
typedef int api_show(const struct api_context *c, const struct api_request *r, json_t **ret,
                     struct err *err);
api_show api_show_status, api_show_hosts, api_show_vms, api_show_snapshot, api_show_plans,
    api_show_plan, api_show_plan_report, api_show_report, api_show_maintenance, api_show_orders,
    api_show_freezes, api_show_holds, api_show_policies, api_show_policy, api_show_rules,
    api_show_tokens;

/* To the planner; it is answered when that has answered. */
int api_hand_on(struct api *api, struct api_context *c, const struct caller *caller,
                const struct api_request *r, bool merges_status, struct err *err);

/* ---- api_command.c ---- */

/* Signed commands that belong to a path, as a set; these are their first bits. */
enum { API_VERBS = 0, API_TOKENS = 13, API_ORDERS = 16, API_RULES = 26, API_POLICIES = 28 };

_Static_assert((int)GATE_DRILL < (int)API_TOKENS, "a bit for each");

#define API_BIT(first, verb) (1u << ((unsigned)(first) + (unsigned)(verb)))
#define API_VERB(v) API_BIT(API_VERBS, GATE_##v)
#define API_ORDER(v) API_BIT(API_ORDERS, ADMIN_##v)
#define API_TOKEN(v) API_BIT(API_TOKENS, TOKENS_##v)
#define API_RULE(v) API_BIT(API_RULES, RULEBOOK_##v)
#define API_POLICY(v) API_BIT(API_POLICIES, LIBRARY_##v)

void api_command(struct api *api, struct api_context *c, const struct caller *caller,
                 const struct api_request *r, unsigned verbs);
/* True when the request has its answer, which was given. */
bool api_answer_request(struct api_context *c, const struct call *call);

/* ---- api_tokens.c ---- */

/* An agent that is about to issue certificates spends a token: {"proof", "request", "host",
 * "role"}. The answer is the token, with what an admin signed. Nobody signs this: the proof speaks
 * for itself. */
void api_token_use(struct api *api, struct api_context *c, const struct caller *caller,
                   const struct api_request *r);

/* ---- api_show.c, api_status.c ---- */

/* A string; text that was cut within a character, or is no UTF-8, is said to be so. */
json_t *api_text(const char *text);
bool api_leads(const struct api_context *c);
/* Why there is no planner, in one line; for c->leader "". */
void api_no_planner(const struct api_context *c, struct err *err);
/* What nearly every list of this host needs: {vm, from, to, state, percent...} of running actions.
 */
json_t *api_in_flight(const struct api_context *c);

/* VMs that run on a host, as far as is known here. */
size_t api_host_vms(const struct api_context *c, const char *host);

/* Own status completed by what the planner said of itself (borrowed; NULL: it said nothing, and
 * why). Takes own. */
json_t *api_merge_status(json_t *own, const json_t *planner, const char *why);

#endif
