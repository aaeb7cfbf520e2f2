#include "agent/ctl/whatif.h"

#include <stdio.h>

#include "proto/canon.h"
#include "proto/util.h"
#include "tls/file.h"

#define SNAPSHOT_MAX ((size_t)1 << 30)
#define HOSTS_MAX ((size_t)64 << 20)

static const char *name_of(const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    return name != NULL ? name : "";
}

static json_t *find_named(const json_t *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        if (strcmp(name_of(o), name) == 0)
            return o;
    }
    return NULL;
}

/* "no host "hv9"; did you mean "hv8"?" */
static int unknown(const json_t *list, const char *what, const char *name, struct err *err)
{
    size_t n = json_array_size(list);
    _cleanup_(freep) const char **names = xcalloc(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = name_of(json_array_get(list, i));
    const char *near = nearest_word(name, names);
    if (near != NULL)
        return err_set(err, ERR_NOT_FOUND, "the snapshot has no %s \"%.64s\"; did you mean \"%s\"?",
                       what, name, near);
    return err_set(err, ERR_NOT_FOUND, "the snapshot has no %s \"%.64s\"", what, name);
}

static bool runs_on(const json_t *vm, const char *host)
{
    const char *at = json_string_value(json_object_get(vm, "host"));
    const char *state = json_string_value(json_object_get(vm, "state"));
    return at != NULL && strcmp(at, host) == 0 && state != NULL && strcmp(state, "stopped") != 0;
}

static int fail_host(json_t *doc, const char *name, struct err *err)
{
    size_t i;
    json_t *hosts = json_object_get(doc, "hosts"), *host = find_named(hosts, name), *vm;
    if (host == NULL)
        return unknown(hosts, "host", name, err);
    json_object_set_new(host, "state", json_string("offline"));
    json_array_foreach(json_object_get(doc, "vms"), i, vm)
    {
        if (runs_on(vm, name))
            json_object_set_new(vm, "state", json_string("crashed"));
    }
    return 0;
}

static int mark_draining(json_t *doc, const char *name, struct err *err)
{
    json_t *hosts = json_object_get(doc, "hosts"), *host = find_named(hosts, name);
    if (host == NULL)
        return unknown(hosts, "host", name, err);
    json_object_set_new(host, "state", json_string("draining"));
    return 0;
}

static bool is_within(const char *domain, const char *of)
{
    size_t n = strlen(of);
    return domain != NULL && strncmp(domain, of, n) == 0 && (domain[n] == '\0' || domain[n] == '/');
}

static int mark_domain(json_t *doc, const char *domain, struct err *err)
{
    size_t i;
    json_t *host;
    bool any = false;
    json_array_foreach(json_object_get(doc, "hosts"), i, host)
    {
        if (!is_within(json_string_value(json_object_get(host, "failure_domain")), domain))
            continue;
        json_object_set_new(host, "state", json_string("draining"));
        any = true;
    }
    return any ? 0 : err_set(err, ERR_NOT_FOUND, "no host is in failure domain \"%.64s\"", domain);
}

/* One host as it stands in a snapshot, or a list of them. */
static int add_hosts(json_t *doc, const char *path, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_json_ json_t *added = NULL;
    json_t *hosts = json_object_get(doc, "hosts");
    size_t len, i;
    int rc = file_read(path, HOSTS_MAX, &text, &len, err);
    if (rc == 0)
        rc = canon_parse(text, len, path, &added, err);
    if (rc < 0)
        return rc;
    if (json_is_object(added)) {
        json_t *list = json_array();
        json_array_append_new(list, added);
        added = list;
    }
    json_t *host;
    json_array_foreach(added, i, host)
    {
        if (find_named(hosts, name_of(host)) != NULL)
            return err_set(err, ERR_CONFLICT, "%s: the snapshot has a host \"%.64s\" already", path,
                           name_of(host));
        json_array_append(hosts, host);
    }
    if (i == 0)
        return err_set(err, ERR_INVALID, "%s: neither a host nor a list of hosts", path);
    return 0;
}

static int remove_rule(json_t *doc, const char *name, struct err *err)
{
    size_t i;
    json_t *rules = json_object_get(doc, "rules"), *rule;
    json_array_foreach(rules, i, rule)
    {
        if (strcmp(name_of(rule), name) == 0) {
            json_array_remove(rules, i);
            return 0;
        }
    }
    return unknown(rules, "rule", name, err);
}

static int each(json_t *doc, const struct plan_names *list,
                int (*change)(json_t *doc, const char *name, struct err *err), struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < list->n; i++)
        rc = change(doc, list->items[i], err);
    return rc;
}

static int alter(const struct plan_args *a, json_t *doc, struct err *err)
{
    if (!json_is_array(json_object_get(doc, "hosts")) ||
        !json_is_array(json_object_get(doc, "vms")))
        return err_set(err, ERR_INVALID, "snapshot: hosts and vms must be lists");
    int rc = each(doc, &a->add, add_hosts, err);
    if (rc == 0)
        rc = each(doc, &a->rules, remove_rule, err);
    if (rc == 0)
        rc = each(doc, &a->fail, fail_host, err);
    if (rc == 0 && a->policy != NULL)
        rc = each(doc, &a->drain, mark_draining, err);
    if (rc == 0 && a->policy != NULL)
        rc = each(doc, &a->domains, mark_domain, err);
    return rc;
}

int whatif_snapshot(const struct plan_args *a, char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_json_ json_t *doc = NULL;
    bool drains = a->policy != NULL && (a->drain.n > 0 || a->domains.n > 0);
    size_t len;
    int rc = file_read(a->snapshot, SNAPSHOT_MAX, &text, &len, err);
    if (rc == 0 && (drains || a->fail.n > 0 || a->add.n > 0 || a->rules.n > 0)) {
        rc = canon_parse(text, len, "snapshot", &doc, err);
        if (rc == 0)
            rc = alter(a, doc, err);
        free(TAKE_PTR(text));
        if (rc == 0)
            rc = canon_dump(doc, &text, &len, err);
    }
    if (rc == 0 && a->save != NULL)
        rc = file_write(a->save, text, len, FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(text);
    *ret_len = len;
    return 0;
}
