#include "agent/io/policy_files.h"

#include "agent/core/admin.h"
#include "agent/core/library.h"
#include "proto/log.h"
#include "tls/file.h"

static int read_one(const struct config *config, const char *name, struct node_policy *ret,
                    struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s.lua", config->policies_directory, name);
    struct node_policy p = {0};
    int rc = file_read(path, LIBRARY_SOURCE_MAX, &p.source, &p.source_len, err);
    if (rc < 0)
        return rc;
    p.name = xstrdup(name);
    *ret = p;
    return 0;
}

struct node_policy *policy_files_read(const struct config *config, size_t *ret_n)
{
    struct node_policy *all = xcalloc(config->n_policies_active + 1, sizeof *all);
    bool drains = false;
    struct err err;
    size_t n = 0;
    for (size_t i = 0; i < config->n_policies_active; i++) {
        drains = drains || strcmp(config->policies_active[i], ADMIN_DRAIN_POLICY) == 0;
        if (read_one(config, config->policies_active[i], &all[n], &err) == 0)
            n++;
        else
            log_err(&err, "policies.active");
    }
    if (!drains && read_one(config, ADMIN_DRAIN_POLICY, &all[n], &err) == 0)
        n++;
    *ret_n = n;
    return all;
}

void policy_files_free(struct node_policy *policies, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(policies[i].name);
        free(policies[i].source);
    }
    free(policies);
}

int policy_files_check(const struct config *config, struct err *err)
{
    for (size_t i = 0; i < config->n_policies_active; i++) {
        struct node_policy one = {0};
        if (read_one(config, config->policies_active[i], &one, err) < 0)
            return -(int)err->code;
        free(one.name);
        free(one.source);
    }
    return 0;
}
