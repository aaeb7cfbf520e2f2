/* api.h - the API's answers, rendered from the node's modules; pure.
 * One table of routes says method, path and where the answer is made: here, or by the planner, to
 * whom other agents hand the call on while the caller waits. */
#ifndef SKEIN_AGENT_CORE_API_H
#define SKEIN_AGENT_CORE_API_H

#include "agent/core/duty.h"
#include "agent/core/exec.h"
#include "agent/core/reserve.h"
#include "agent/core/state.h"
#include "agent/core/step.h"
#include "agent/core/view.h"

struct api; /* opaque: calls that wait for an answer */

/* What answers are made from; borrowed for one call. */
struct membership;

struct api_context {
    struct step *step;
    const struct view *view;
    const struct membership *membership; /* NULL: no mesh to speak of (tests) */
    const struct state *state;
    const struct duty *duty;
    const struct exec *exec;
    const struct reserve *reserve;
    const char *leader; /* "" when nobody is known to plan */
    uint64_t term;
};

#define API_TIMEOUT_MS 10000 /* a relayed or proposed call is answered with 504 after this */

unsigned api_status_of(enum err_code code); /* of HTTP */

struct api *api_new(void);
void api_free(struct api *api);

/* A call from this agent's own API; answered by EFFECT_ANSWER with this token, now or later. */
void api_call(struct api *api, struct api_context *c, uint64_t token, const Skein__ApiCall *call);
/* A call that another agent handed on; answered by a Reply with this id. */
void api_relayed(struct api *api, struct api_context *c, const char *from, uint64_t id,
                 const Skein__ApiCall *call);
/* Replies and proposals whose token has OWNER_API. from: the reply's authenticated sender; nobody
 * answers for the agent that was asked. */
void api_reply(struct api *api, struct api_context *c, const char *from, const Skein__Reply *reply);
void api_proposed(struct api *api, struct api_context *c, uint64_t token, const struct err *err);
void api_tick(struct api *api, struct api_context *c);
bool api_waits(const struct api *api); /* a call waits for api_tick or an answer */

#endif
