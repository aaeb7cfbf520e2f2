#include "planner/core/search.h"

#include <string.h>

#include "planner/core/descend.h"
#include "planner/core/walk.h"
#include "proto/util.h"

#define WALKS 2
/* Parts in which each walk tries its own warmth. */
#define TRIAL_PARTS 32
/* In typical steps: where the trials begin, how much warmer the second walk is after them, and
 * where all end. */
static const double warmth[WALKS] = {0.06, 0.2};
#define WARMER 2.0
#define COLD 3e-5

struct task {
    struct walk *walk;
    int64_t tries;
};

struct search {
    const struct search_conf *conf;
    struct ground ground;
    struct state *states[WALKS];
    struct walk *walks[WALKS];
    int64_t part; /* tries of one walk in a part */
};

static void run_task(void *arg)
{
    struct task *t = arg;
    walk_on(t->walk, t->tries);
}

static void run_part(struct search *x)
{
    struct task tasks[WALKS];
    void *args[WALKS];
    for (int i = 0; i < WALKS; i++) {
        tasks[i] = (struct task){x->walks[i], x->part};
        args[i] = &tasks[i];
    }
    if (x->conf->run != NULL)
        x->conf->run(x->conf->run_ctx, run_task, args, WALKS);
    else
        for (int i = 0; i < WALKS; i++)
            run_task(args[i]);
}

static int best_walk(const struct search *x)
{
    int best = 0;
    for (int i = 1; i < WALKS; i++)
        if (walk_best_cost(x->walks[i]) < walk_best_cost(x->walks[best]))
            best = i;
    return best;
}

/* Each walk its own warmth, then all that of the best. */
static void begin_trial(struct search *x, double step)
{
    for (int i = 0; i < WALKS; i++)
        walk_begin(x->walks[i], step * warmth[i], step * COLD, x->part * TRIAL_PARTS);
}

static void begin_rest(struct search *x, double step)
{
    int best = best_walk(x);
    double warm = step * warmth[best];
    for (int i = 0; i < WALKS; i++) {
        walk_adopt(x->walks[i], walk_best(x->walks[best]));
        walk_begin(x->walks[i], warm, step * COLD, x->part * (SEARCH_PARTS - TRIAL_PARTS));
        warm *= WARMER;
    }
}

/* Returns the parts done. */
static int walk_all(struct search *x)
{
    const struct search_conf *conf = x->conf;
    int parts = conf->parts > 0 ? MIN(conf->parts, SEARCH_PARTS) : SEARCH_PARTS;
    double step = walk_typical_step(x->walks[0]);
    begin_trial(x, step);
    for (int i = 0; i < parts; i++) {
        if (conf->stop != NULL && conf->stop(conf->stop_ctx))
            return i;
        if (i == TRIAL_PARTS)
            begin_rest(x, step);
        run_part(x);
    }
    return parts;
}

static bool search_thoroughly(struct state *s, const struct search_conf *conf, int *ret_parts)
{
    struct search x = {.conf = conf, .part = MAX(conf->effort / WALKS / SEARCH_PARTS, 1)};
    ground_init(&x.ground, s->in);
    for (int i = 0; i < WALKS; i++) {
        x.states[i] = i == 0 ? s : state_copy(s);
        x.walks[i] =
            walk_new(&x.ground, x.states[i], conf->seed + (uint64_t)i * 0x9E3779B97F4A7C15U);
    }
    *ret_parts = walk_all(&x);
    walk_adopt(x.walks[0], walk_best(x.walks[best_walk(&x)]));
    for (int i = 0; i < WALKS; i++) {
        walk_free(x.walks[i]);
        if (i > 0) {
            s->evaluations += x.states[i]->evaluations;
            search_state_free(x.states[i]);
        }
    }
    ground_done(&x.ground);
    return *ret_parts == SEARCH_PARTS || *ret_parts == conf->parts;
}

bool planner_search(struct state *s, const struct search_conf *conf, int *ret_parts)
{
    int parts = 0;
    bool done;
    if (conf->thorough) {
        done = search_thoroughly(s, conf, &parts);
    } else {
        struct descend_conf sparing = {.min_gain = conf->min_gain,
                                       .min_gain_below = conf->min_gain_below,
                                       .max_moves = conf->max_moves,
                                       .effort = conf->effort,
                                       .seed = conf->seed,
                                       .stop = conf->stop,
                                       .stop_ctx = conf->stop_ctx};
        done = planner_descend(s, &sparing);
    }
    if (ret_parts != NULL)
        *ret_parts = parts;
    return done;
}
