/* state_voters.c - the entry that names the next group of voters: the last of its log. */
#include "agent/core/state_priv.h"

/* How far a host's clock may be behind those of the voters, at the most that is borne anywhere: by
 * then every permit that is not expired here is expired there. */
#define CLOCKS_MS 30000

/* Hosts learn of new voters when they can: until then the old ones are asked whether a permit
 * stands, and might say yes to one that the new ones took back. So none may stand. */
static const Skein__Permit *find_standing(const struct state *st)
{
    for (size_t i = 0; i < st->n_plans; i++)
        for (size_t k = 0; k < st->plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &st->plans[i]->items[k];
            if (item->permit != NULL && !plan_action_ended(plan_item_state(item)) &&
                (msec)item->permit->expires_at_ms + CLOCKS_MS > st->last.at)
                return item->permit;
        }
    return NULL;
}

int state_apply_voters(struct state *st, const Skein__VoterGroup *m, struct err *err)
{
    struct voter_group next;
    const Skein__Permit *standing = find_standing(st);
    if (st->conf->group.number == 0)
        return err_set(err, ERR_UNSUPPORTED, "the voters are fixed");
    if (group_read(m, &next, err) < 0 || group_check_next(&st->conf->group, &next, err) < 0)
        return -(int)err->code;
    if (next.index != 0)
        return err_set(err, ERR_INVALID, "the place of an entry is not in it");
    if (standing != NULL)
        return err_set(err, ERR_UNAVAILABLE, "permit %s stands", standing->id);
    next.index = st->index;
    next.term = st->term;
    st->next = next;
    st->last.kind = STATE_VOTERS;
    return 0;
}

const struct voter_group *state_next_group(const struct state *st)
{
    bool next = st->next.number != 0 && st->next.number == st->conf->group.number + 1;
    return next ? &st->next : NULL;
}

void state_voters_changed(struct state *st)
{
    const struct node_conf *conf = st->conf;
    admin_set_only(st->admin, step_votes(conf, conf->host) ? NULL : conf->host);
}
