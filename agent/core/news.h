/* news.h - what is worth telling: which change of a host's summary cannot wait for its turn, and
 * when the planner needs this host's VMs again. Small changes are no news (a deadband). Pure. */
#ifndef SKEIN_AGENT_CORE_NEWS_H
#define SKEIN_AGENT_CORE_NEWS_H

#include "proto/skein.pb-c.h"
#include "proto/units.h"

struct news {
    Skein__HostSummary *told; /* owned; NULL: nothing yet */
    msec urgent_at;
    Skein__HostDetail *detail; /* owned: as the planner has it; NULL: nothing yet */
    char *planner;             /* owned: who has it */
    msec detail_at;
};

/* Others decide by it: a state, who plans, a limit passed, a load that is another one. At most one
 * a second. */
bool news_is_important(const struct news *n, const Skein__HostSummary *summary, msec now);
void news_told(struct news *n, const Skein__HostSummary *summary, bool urgent, msec now);

/* Is the detail to be sent to planner now? If so it counts as sent. members: of the cluster. */
bool news_detail_is_due(struct news *n, const Skein__HostDetail *detail, const char *planner,
                        size_t members, msec now);

void news_done(struct news *n);

#endif
