/* state_audit.c - the newest signed head of each host's audit log. What a head says is not judged
 * here: voters see to that before they cosign it, and whoever verifies a log verifies the heads;
 * here they are only kept where no single host can take them back. */
#include "agent/core/state_priv.h"

#define HEADS_MAX 10000
#define HEAD_BYTES_MAX (8u << 10)

static size_t position_of(const struct state *st, const char *host)
{
    size_t i = 0;
    while (i < st->n_heads && strcmp(st->heads[i]->host, host) < 0)
        i++;
    return i;
}

static int check(const Skein__AuditHead *head, struct err *err)
{
    if (head->host == NULL || head->host[0] == '\0' || !head->has_size || !head->has_document)
        return err_set(err, ERR_INVALID, "audit head: a field is missing");
    if (head->document.len > HEAD_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "audit head of %s: %zu bytes", head->host,
                       head->document.len);
    return 0;
}

int state_apply_head(struct state *st, const Skein__AuditHead *head, struct err *err)
{
    if (check(head, err) < 0)
        return -(int)err->code;
    size_t at = position_of(st, head->host);
    bool there = at < st->n_heads && strcmp(st->heads[at]->host, head->host) == 0;
    if (!there && st->n_heads >= HEADS_MAX)
        return err_set(err, ERR_LIMIT, "%d hosts have an audit head", HEADS_MAX);
    st->last.kind = STATE_HEAD;
    Skein__AuditHead *copy = (Skein__AuditHead *)codec_copy(&head->base);
    if (there) {
        skein__audit_head__free_unpacked(st->heads[at], NULL);
        st->heads[at] = copy;
        return 0;
    }
    ARRAY_RESERVE(st->heads, st->cap_heads, st->n_heads + 1);
    memmove(&st->heads[at + 1], &st->heads[at], (st->n_heads - at) * sizeof *st->heads);
    st->heads[at] = copy;
    st->n_heads++;
    return 0;
}

size_t state_heads(const struct state *st, Skein__AuditHead *const **ret)
{
    *ret = st->heads;
    return st->n_heads;
}
