/* state_roots.c - the roots, revocations and roster by which the voters judge what people signed:
 * agreed on, so that all of them judge alike, whatever stands in each one's files. Agents that act
 * judge by their own, which follow these only where their own admins signed (trust.h). */
#include "agent/core/state_priv.h"

static char *text_of(const ProtobufCBinaryData *bytes)
{
    char *text = xcalloc(bytes->len + 1, 1);
    memcpy(text, bytes->data, bytes->len);
    return text;
}

static int follow(struct state *st, const Skein__Roots *roots, const struct trust *previous,
                  msec at, struct err *err)
{
    const struct trust *trust = st->conf->trust;
    if (trust->follow == NULL)
        return err_set(err, ERR_UNSUPPORTED, "roots are not agreed on here");
    if (!roots->has_machines || !roots->has_people || !roots->has_crl || !roots->has_roster)
        return err_set(err, ERR_INVALID, "roots: a field is missing");
    _cleanup_(freep) char *machines = text_of(&roots->machines), *people = text_of(&roots->people);
    _cleanup_(freep) char *crl = text_of(&roots->crl), *roster = text_of(&roots->roster);
    struct trust_roots texts = {
        .machines = machines, .people = people, .crl = crl, .roster = roster};
    struct trust *next;
    int rc = trust->follow(trust->arg, &texts, previous, at, &next, err);
    if (rc < 0)
        return rc;
    state_drop_roots(st);
    st->agreed = next;
    return 0;
}

void state_drop_roots(struct state *st)
{
    if (st->agreed != NULL)
        st->conf->trust->drop(st->agreed);
    st->agreed = NULL;
}

int state_apply_roots(struct state *st, const Skein__Roots *roots, struct err *err)
{
    int rc = follow(st, roots, st->agreed, st->last.at, err);
    if (rc < 0)
        return rc;
    st->last.kind = STATE_ROOTS;
    const struct trust_roots *now = st->agreed->roots(st->agreed);
    snprintf(st->last.about, sizeof st->last.about, "roster version %llu, revocations %llu",
             (unsigned long long)now->roster_version, (unsigned long long)now->revocations);
    return 0;
}

const struct trust_roots *state_roots(const struct state *st)
{
    return st->agreed != NULL ? st->agreed->roots(st->agreed) : NULL;
}

int state_check_roots(const struct state *st, const struct trust_roots *roots, msec wall,
                      struct err *err)
{
    const struct trust *trust = st->conf->trust;
    struct trust *next;
    int rc = trust->follow(trust->arg, roots, st->agreed, wall, &next, err);
    if (rc == 0)
        trust->drop(next);
    return rc;
}

int state_trust(const struct state *st, const struct trust **ret, struct err *err)
{
    *ret = st->agreed != NULL ? st->agreed : st->conf->trust;
    if (st->agreed == NULL && st->conf->trust->follow != NULL)
        return err_set(err, ERR_UNAVAILABLE, "the voters have not agreed on a roster yet");
    return 0;
}

/* ---- images ---- */

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

Skein__Roots *state_roots_message(const struct trust_roots *roots)
{
    Skein__Roots m = SKEIN__ROOTS__INIT;
    m.has_machines = m.has_people = m.has_crl = m.has_roster = 1;
    m.machines = bytes_of(roots->machines);
    m.people = bytes_of(roots->people);
    m.crl = bytes_of(roots->crl);
    m.roster = bytes_of(roots->roster);
    return (Skein__Roots *)codec_copy(&m.base);
}

int state_restore_roots(struct state *st, const Skein__Roots *roots, msec at, struct err *err)
{
    return follow(st, roots, NULL, at, err);
}
