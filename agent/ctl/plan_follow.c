/* plan_follow.c - watching a plan until it ends. */
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/ctl/plan_view.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

#define STEP_PERCENT 10 /* of a move, between two plain lines */

struct plan_follower {
    FILE *to;
    bool terminal;
    unsigned drawn; /* lines on the terminal to be replaced */
    json_t *said;   /* action (or "plan") -> what was last said of it */
};

msec follow_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void follow_pause(void)
{
    struct timespec t = {.tv_sec = FOLLOW_EVERY_MS / 1000};
    nanosleep(&t, NULL);
}

bool follow_may_pass(const struct err *err)
{
    return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT || err->code == ERR_IO ||
           err->code == ERR_NOT_LEADER;
}

/* Is it news? Then remember it. */
static bool is_news(struct plan_follower *f, const char *about, const char *what)
{
    const char *last = json_string_value(json_object_get(f->said, about));
    if (last != NULL && strcmp(last, what) == 0)
        return false;
    json_object_set_new(f->said, about, json_string(what));
    return true;
}

static unsigned columns_of(FILE *to)
{
    struct winsize size;
    return ioctl(fileno(to), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* A line that never wraps, so that the cursor finds back: bytes are at least columns. */
static void draw_line(struct plan_follower *f, const char *text)
{
    size_t n = MIN(strlen(text), columns_of(f->to) - 1);
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; /* not within a character */
    fprintf(f->to, "%.*s\n", (int)n, text);
    f->drawn++;
}

static void draw_bar(char ret[24], int64_t percent)
{
    int filled = percent < 0 ? 0 : (int)MIN(percent, 100) / 5;
    snprintf(ret, 24, "[%.*s%.*s]", filled, "####################", 20 - filled,
             "....................");
}

static void draw_action(struct plan_follower *f, const json_t *doc, const json_t *action)
{
    char text[PLAN_ACTION_TEXT_SIZE], bar[24] = "";
    const char *state = plan_action_text(doc, action, text);
    const char *id = text_or(action, "id", "");
    const json_t *progress = json_object_get(json_object_get(doc, "progress"), id);
    if (progress != NULL)
        draw_bar(bar, number_at(progress, "percent"));
    _cleanup_(freep) char *line = xasprintf("  %-12s %s -> %s  %s %s", text_or(action, "vm", "?"),
                                            text_or(action, "from", "?"), text_to(action, "?"), bar,
                                            state[0] != '\0' ? state : "waits");
    draw_line(f, line);
}

/* A line for each change; of a running move one each ten percent. */
static void say_action(struct plan_follower *f, const json_t *doc, const json_t *action)
{
    char state[PLAN_ACTION_TEXT_SIZE], word[64];
    const char *id = text_or(action, "id", "");
    const json_t *progress = json_object_get(json_object_get(doc, "progress"), id);
    plan_action_text(doc, action, state);
    int64_t percent = progress != NULL ? MAX(number_at(progress, "percent"), 0) : 0;
    snprintf(word, sizeof word, "%.*s %lld", (int)strcspn(state, " "), state,
             (long long)percent / STEP_PERCENT);
    if (state[0] == '\0' || !is_news(f, id, word))
        return;
    fprintf(f->to, "%s  %s -> %s  %s\n", text_or(action, "vm", "?"), text_or(action, "from", "?"),
            text_to(action, "?"), state);
}

void plan_follower_show(struct plan_follower *f, const json_t *doc)
{
    size_t i, k;
    const json_t *step, *action;
    _cleanup_(freep) char *head = xasprintf(
        "plan %s  %s%s%s", text_or(doc, "id", "?"), text_or(doc, "state", "?"),
        text_at(doc, "state_reason") != NULL ? ": " : "", text_or(doc, "state_reason", ""));
    if (f->drawn > 0)
        fprintf(f->to, "\x1b[%uA\x1b[J", f->drawn);
    f->drawn = 0;
    if (f->terminal)
        draw_line(f, head);
    json_array_foreach(json_at(doc, "body.steps"), i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            (f->terminal ? draw_action : say_action)(f, doc, action);
        }
    }
    if (!f->terminal && is_news(f, "plan", head))
        fprintf(f->to, "%s\n", head);
    fflush(f->to);
}

struct plan_follower *plan_follower_new(FILE *to)
{
    struct plan_follower *f = xcalloc(1, sizeof *f);
    *f = (struct plan_follower){
        .to = to, .terminal = isatty(fileno(to)) != 0, .said = json_object()};
    return f;
}

void plan_follower_free(struct plan_follower *f)
{
    if (f == NULL)
        return;
    json_decref(f->said);
    free(f);
}

static void say_trouble(struct plan_follower *f, const struct err *err)
{
    if (!is_news(f, "trouble", err->msg))
        return;
    fprintf(f->to, "waiting: %s\n", err->msg);
    f->drawn = 0; /* what was drawn stays */
    fflush(f->to);
}

int plan_follow(const struct cli *cli, const char *id, FILE *to, msec limit, json_t **ret,
                struct err *err)
{
    struct plan_follower f = {.to = to, .terminal = isatty(fileno(to)) != 0, .said = json_object()};
    _cleanup_json_ json_t *said _unused_ = f.said;
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%s", id);
    msec begin = follow_now(), answered = begin;
    for (;;) {
        _cleanup_json_ json_t *doc = NULL;
        int rc = cli_call(cli, path, NULL, &doc, err);
        if (rc < 0 && (!follow_may_pass(err) || follow_now() - answered > FOLLOW_PATIENCE_MS))
            return rc;
        if (rc < 0) {
            say_trouble(&f, err);
        } else {
            answered = follow_now();
            _cleanup_json_ json_t *tidy = json_incref(doc);
            text_tidy_json(&tidy);
            plan_follower_show(&f, tidy);
            if (plan_has_ended(text_or(doc, "state", ""))) {
                *ret = cli->format == CLI_JSON ? TAKE_PTR(doc) : TAKE_PTR(tidy);
                return 0;
            }
        }
        if (limit > 0 && follow_now() - begin >= limit)
            return err_set(err, ERR_TIMEOUT,
                           "plan %s is %s after %lld s; try: skein plan show -f %s", id,
                           text_or(doc, "state", "not known"), (long long)limit / 1000, id);
        follow_pause();
    }
}
