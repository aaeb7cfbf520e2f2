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

/* What is left of the time is not worth another part below this share of one. */
#define LAST_PART 0.05

struct task {
    struct walk *walk;
    int64_t tries;
};

struct search {
    const struct search_conf *conf;
    struct ground ground;
    struct state *states[WALKS];
    struct walk *walks[WALKS];
    int64_t part;       /* tries of one walk in a part */
    int64_t done;       /* by each walk */
    bool rests;         /* the trials are over */
    double gone_before; /* of the time, when the first part began */
};

static void run_task(void *arg)
{
    struct task *t = arg;
    walk_on(t->walk, t->tries);
}

static void run_part(struct search *x, int64_t tries)
{
    struct task tasks[WALKS];
    void *args[WALKS];
    for (int i = 0; i < WALKS; i++) {
        tasks[i] = (struct task){x->walks[i], tries};
        args[i] = &tasks[i];
    }
    if (x->conf->run != NULL)
        x->conf->run(x->conf->run_ctx, run_task, args, WALKS);
    else
        for (int i = 0; i < WALKS; i++)
            run_task(args[i]);
    x->done += tries;
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

/* What each walk can try in all of the time, at the speed so far. */
static double tries_in_all(const struct search *x, double gone)
{
    if (x->done == 0 || gone <= x->gone_before)
        return (double)x->part * SEARCH_PARTS;
    return (double)x->done / (gone - x->gone_before);
}

/* Cooling that follows the time gone, however fast the walks are. */
static void steer(struct search *x, double gone)
{
    double trial = (double)TRIAL_PARTS / SEARCH_PARTS, length = x->rests ? 1 - trial : trial;
    int64_t tries = (int64_t)(tries_in_all(x, gone) * length) + 1;
    for (int i = 0; i < WALKS; i++)
        walk_steer(x->walks[i], (x->rests ? gone - trial : gone) / length, tries);
}

/* No more than what is left allows. */
static int64_t timely_part(const struct search *x, double gone)
{
    return (int64_t)MIN((double)x->part, tries_in_all(x, gone) * (1 - gone) * 0.9);
}

/* Returns the parts done; they are all where *ret_whole. */
static int walk_all(struct search *x, bool *ret_whole)
{
    const struct search_conf *conf = x->conf;
    int parts = conf->parts > 0 ? MIN(conf->parts, SEARCH_PARTS) : SEARCH_PARTS, i = 0;
    double step = walk_typical_step(x->walks[0]);
    *ret_whole = false;
    begin_trial(x, step);
    x->gone_before = conf->pace != NULL ? conf->pace(conf->pace_ctx) : 0;
    for (; conf->pace != NULL || i < parts; i++) {
        double gone =
            conf->pace != NULL ? conf->pace(conf->pace_ctx) : (double)i / (double)SEARCH_PARTS;
        int64_t tries = conf->pace != NULL ? timely_part(x, gone) : x->part;
        if (conf->pace != NULL && (gone >= 1 || (double)tries < LAST_PART * (double)x->part))
            break;
        if (conf->stop != NULL && conf->stop(conf->stop_ctx))
            return i;
        if (!x->rests && gone * SEARCH_PARTS >= TRIAL_PARTS) {
            x->rests = true;
            begin_rest(x, step);
        }
        if (conf->pace != NULL)
            steer(x, gone);
        run_part(x, tries);
    }
    *ret_whole = true;
    return i;
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
    bool whole;
    *ret_parts = walk_all(&x, &whole);
    walk_adopt(x.walks[0], walk_best(x.walks[best_walk(&x)]));
    for (int i = 0; i < WALKS; i++) {
        walk_free(x.walks[i]);
        if (i > 0) {
            s->evaluations += x.states[i]->evaluations;
            search_state_free(x.states[i]);
        }
    }
    ground_done(&x.ground);
    return whole;
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
