/* balance.c - even out, by few moves that pay. */

#include "planner/core/search.h"
#include "planner/core/solve.h"

void solve_balance(struct solve *x)
{
    struct search_conf conf = {.min_gain = x->p->min_gain,
                               .max_moves = x->p->max_moves,
                               .effort = x->effort,
                               .seed = x->p->seed,
                               .stop = x->p->stop,
                               .stop_ctx = x->p->stop_ctx};
    x->stopped = !planner_search(x->s, &conf, NULL);
}
