/* The snapshot is read piece by piece and written out again in canonical form, changed where it was
 * asked: no tree of the whole, which would be ten times its size. */
#include "agent/ctl/whatif.h"

#include <stdio.h>

#include "agent/ctl/cmd_policy.h"
#include "planner/core/jread.h"
#include "proto/canon.h"
#include "proto/util.h"
#include "tls/file.h"

#define HOSTS_MAX ((size_t)64 << 20)

enum { HOSTS, VMS, RULES, N_LISTS };

static const char *const list_keys[] = {"hosts", "vms", "rules", NULL};

struct names {
    char **items; /* owned, as are they */
    size_t n, cap;
};

struct member {
    char *key, *text; /* owned; text is canonical */
};

struct rewrite {
    const struct plan_args *a;
    bool drains;                 /* hosts to be drained are marked so */
    struct buf lists[N_LISTS];   /* "[...", without the end */
    bool ended[N_LISTS];         /* the list was there */
    struct names names[N_LISTS]; /* of hosts and rules */
    struct member *members;      /* of the top object */
    size_t n_members, cap_members;
    bool domain_met[PLAN_NAMES_MAX];
};

static void rewrite_done(struct rewrite *x)
{
    for (int i = 0; i < N_LISTS; i++) {
        buf_done(&x->lists[i]);
        for (size_t k = 0; k < x->names[i].n; k++)
            free(x->names[i].items[k]);
        free(x->names[i].items);
    }
    for (size_t i = 0; i < x->n_members; i++) {
        free(x->members[i].key);
        free(x->members[i].text);
    }
    free(x->members);
}

/* ---- names ---- */

static const char *text_of(const struct jnode *object, const char *key)
{
    const struct jnode *v = jnode_get(object, key);
    return v != NULL && v->type == J_STRING ? v->text : NULL;
}

static bool is_in(const struct plan_names *list, const char *name)
{
    for (int i = 0; name != NULL && i < list->n; i++)
        if (strcmp(list->items[i], name) == 0)
            return true;
    return false;
}

static bool has_name(const struct names *x, const char *name)
{
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->items[i], name) == 0)
            return true;
    return false;
}

static void keep_name(struct names *x, const char *name)
{
    ARRAY_RESERVE(x->items, x->cap, x->n + 1);
    x->items[x->n++] = xstrdup(name != NULL ? name : "");
}

/* "no host "hv9"; did you mean "hv8"?" for the first of the list that is not there. */
static int check_names(struct names *have, const struct plan_names *list, const char *what,
                       struct err *err)
{
    for (int i = 0; i < list->n; i++) {
        if (has_name(have, list->items[i]))
            continue;
        ARRAY_RESERVE(have->items, have->cap, have->n + 1);
        have->items[have->n] = NULL;
        const char *near = nearest_word(list->items[i], (const char *const *)have->items);
        if (near != NULL)
            return err_set(err, ERR_NOT_FOUND,
                           "the snapshot has no %s \"%.64s\"; did you mean \"%s\"?", what,
                           list->items[i], near);
        return err_set(err, ERR_NOT_FOUND, "the snapshot has no %s \"%.64s\"", what,
                       list->items[i]);
    }
    return 0;
}

static bool is_within(const char *domain, const char *of)
{
    size_t n = strlen(of);
    return domain != NULL && strncmp(domain, of, n) == 0 && (domain[n] == '\0' || domain[n] == '/');
}

/* ---- one piece ---- */

static int add_element(struct rewrite *x, int list, const struct jnode *v, struct err *err)
{
    struct buf *b = &x->lists[list];
    buf_adds(b, b->len == 0 ? "[" : ",");
    return jnode_canon(v, b, err);
}

/* The object with a state of its own. */
static int add_in_state(struct rewrite *x, int list, const struct jnode *v, const char *state,
                        struct err *err)
{
    _cleanup_(freep) struct jnode **items = xcalloc(v->n + 1, sizeof(struct jnode *));
    struct jnode put = {.type = J_STRING, .key = "state", .text = state}, altered = *v;
    size_t n = 0, i = 0;
    put.key_len = strlen(put.key);
    put.len = strlen(state);
    for (; i < v->n && strcmp(v->items[i]->key, put.key) < 0; i++)
        items[n++] = v->items[i];
    items[n++] = &put;
    for (; i < v->n; i++)
        if (strcmp(v->items[i]->key, put.key) != 0)
            items[n++] = v->items[i];
    altered.items = items;
    altered.n = n;
    return add_element(x, list, &altered, err);
}

/* Lost hosts are offline; for a policy, those to be drained are said to be. NULL: as it was. */
static const char *host_state(struct rewrite *x, const char *name, const char *domain)
{
    const struct plan_args *a = x->a;
    bool draining = x->drains && is_in(&a->drain, name);
    for (int i = 0; x->drains && i < a->domains.n; i++)
        if (is_within(domain, a->domains.items[i]))
            x->domain_met[i] = draining = true;
    return draining ? "draining" : is_in(&a->fail, name) ? "offline" : NULL;
}

static int on_host(struct rewrite *x, const struct jnode *v, struct err *err)
{
    const char *name = text_of(v, "name");
    const char *state = host_state(x, name, text_of(v, "failure_domain"));
    keep_name(&x->names[HOSTS], name);
    return state != NULL ? add_in_state(x, HOSTS, v, state, err) : add_element(x, HOSTS, v, err);
}

/* What ran on a lost host has crashed. */
static int on_vm(struct rewrite *x, const struct jnode *v, struct err *err)
{
    const char *state = text_of(v, "state");
    if (state != NULL && strcmp(state, "stopped") != 0 && is_in(&x->a->fail, text_of(v, "host")))
        return add_in_state(x, VMS, v, "crashed", err);
    return add_element(x, VMS, v, err);
}

static int on_rule(struct rewrite *x, const struct jnode *v, struct err *err)
{
    const char *name = text_of(v, "name");
    keep_name(&x->names[RULES], name);
    return is_in(&x->a->rules, name) ? 0 : add_element(x, RULES, v, err);
}

static int keep_member(struct rewrite *x, const char *key, const struct jnode *v, struct err *err)
{
    _cleanup_(buf_done) struct buf b = {0};
    int rc = jnode_canon(v, &b, err);
    if (rc < 0)
        return rc;
    ARRAY_RESERVE(x->members, x->cap_members, x->n_members + 1);
    x->members[x->n_members++] = (struct member){.key = xstrdup(key), .text = buf_take(&b)};
    return 0;
}

static int on_piece(void *ctx, const char *key, int index, const struct jnode *v, struct err *err)
{
    struct rewrite *x = ctx;
    int list = 0;
    while (list < N_LISTS && strcmp(list_keys[list], key) != 0)
        list++;
    if (list == N_LISTS)
        return keep_member(x, key, v, err);
    if (index < 0)
        return err_set(err, ERR_INVALID, "snapshot: %s: must be a list", key);
    if (x->ended[list])
        return err_set(err, ERR_INVALID, "snapshot: duplicate key \"%s\"", key);
    if (v == NULL)
        x->ended[list] = true;
    else if (list == HOSTS)
        return on_host(x, v, err);
    else
        return list == VMS ? on_vm(x, v, err) : on_rule(x, v, err);
    return 0;
}

/* ---- hosts that are not there yet ---- */

static const char *string_in(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static int add_host(struct rewrite *x, json_t *host, const char *path, struct err *err)
{
    const char *name = string_in(host, "name") != NULL ? string_in(host, "name") : "";
    _cleanup_(freep) char *text = NULL;
    if (has_name(&x->names[HOSTS], name))
        return err_set(err, ERR_CONFLICT, "%s: the snapshot has a host \"%.64s\" already", path,
                       name);
    const char *state = host_state(x, name, string_in(host, "failure_domain"));
    if (state != NULL)
        json_object_set_new(host, "state", json_string(state));
    keep_name(&x->names[HOSTS], name);
    int rc = canon_dump(host, &text, NULL, err);
    if (rc < 0)
        return rc;
    buf_adds(&x->lists[HOSTS], x->lists[HOSTS].len == 0 ? "[" : ",");
    buf_adds(&x->lists[HOSTS], text);
    return 0;
}

/* One host as it stands in a snapshot, or a list of them. */
static int add_hosts(struct rewrite *x, const char *path, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_json_ json_t *added = NULL;
    size_t len, i;
    int rc = file_read(path, HOSTS_MAX, &text, &len, err);
    if (rc == 0)
        rc = canon_parse(text, len, path, &added, err);
    if (rc < 0)
        return rc;
    if (json_is_object(added))
        return add_host(x, added, path, err);
    json_t *host;
    json_array_foreach(added, i, host)
    {
        rc = add_host(x, host, path, err);
        if (rc < 0)
            return rc;
    }
    if (i == 0)
        return err_set(err, ERR_INVALID, "%s: neither a host nor a list of hosts", path);
    return 0;
}

/* ---- the whole ---- */

/* What was named must be there. */
static int check_asked(struct rewrite *x, struct err *err)
{
    const struct plan_args *a = x->a;
    int rc = check_names(&x->names[RULES], &a->rules, "rule", err);
    if (rc == 0)
        rc = check_names(&x->names[HOSTS], &a->fail, "host", err);
    if (rc < 0 || !x->drains)
        return rc;
    rc = check_names(&x->names[HOSTS], &a->drain, "host", err);
    for (int i = 0; rc == 0 && i < a->domains.n; i++)
        if (!x->domain_met[i])
            rc = err_set(err, ERR_NOT_FOUND, "no host is in failure domain \"%.64s\"",
                         a->domains.items[i]);
    return rc;
}

static int by_member(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static void compose(struct rewrite *x, struct buf *out)
{
    for (int i = 0; i < N_LISTS; i++) {
        if (!x->ended[i])
            continue;
        buf_adds(&x->lists[i], x->lists[i].len == 0 ? "[]" : "]");
        ARRAY_RESERVE(x->members, x->cap_members, x->n_members + 1);
        x->members[x->n_members++] =
            (struct member){.key = xstrdup(list_keys[i]), .text = buf_take(&x->lists[i])};
    }
    if (x->n_members > 0)
        qsort(x->members, x->n_members, sizeof *x->members, by_member);
    for (size_t i = 0; i < x->n_members; i++) {
        const struct jnode key = {
            .type = J_STRING, .text = x->members[i].key, .len = strlen(x->members[i].key)};
        buf_adds(out, i == 0 ? "{" : ",");
        jnode_canon(&key, out, NULL);
        buf_adds(out, ":");
        buf_adds(out, x->members[i].text);
        free(TAKE_PTR(x->members[i].text));
    }
    buf_adds(out, "}");
}

static int alter(struct rewrite *x, char **text, size_t *len, struct err *err)
{
    struct jread conf = {.streamed = list_keys, .piece = on_piece, .ctx = x};
    struct buf out = {0};
    int rc = jread_run(&conf, "snapshot", *text, *len, err);
    if (rc == 0 && (!x->ended[HOSTS] || !x->ended[VMS]))
        rc = err_set(err, ERR_INVALID, "snapshot: hosts and vms must be lists");
    for (int i = 0; rc == 0 && i < x->a->add.n; i++)
        rc = add_hosts(x, x->a->add.items[i], err);
    if (rc == 0)
        rc = check_asked(x, err);
    if (rc < 0)
        return rc;
    free(TAKE_PTR(*text));
    compose(x, &out);
    *len = out.len;
    *text = buf_take(&out);
    return 0;
}

int whatif_snapshot(const struct plan_args *a, char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(rewrite_done) struct rewrite x = {
        .a = a, .drains = a->policy != NULL && (a->drain.n > 0 || a->domains.n > 0)};
    size_t len;
    int rc = file_read(a->snapshot, SNAPSHOT_MAX, &text, &len, err);
    if (rc == 0 && (x.drains || a->fail.n > 0 || a->add.n > 0 || a->rules.n > 0))
        rc = alter(&x, &text, &len, err);
    if (rc == 0 && a->save != NULL)
        rc = file_write(a->save, text, len, FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(text);
    *ret_len = len;
    return 0;
}
