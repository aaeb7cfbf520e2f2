#include "agent/io/node_conf.h"

#include <math.h>

#include "agent/io/policy_files.h"
#include "proto/util.h"

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **sorted_voters(const struct config *config)
{
    const char **voters = xcalloc(config->n_raft_voters, sizeof *voters);
    for (size_t i = 0; i < config->n_raft_voters; i++)
        voters[i] = config->raft_voters[i];
    qsort(voters, config->n_raft_voters, sizeof *voters, by_name);
    return voters;
}

/* That it can be woken is a matter of its configuration: of a driver, and of a card where packets
 * are to wake it. */
static void set_power(Skein__HostCapability *c, const struct config *config)
{
    bool command = strcmp(config->power_driver, "command") == 0;
    bool suspend = strcmp(config->power_driver, "suspend") == 0;
    c->power = xstrdup(config->power_driver);
    c->has_stops_vms = c->stops_vms = 1;
    c->has_tokens = c->tokens = 1;
    c->has_can_wake = 1;
    c->can_wake =
        command || (suspend && config->power_mac[0] != '\0' && config->power_segment[0] != '\0');
    if (command || suspend || strcmp(config->power_standby, "never") == 0) {
        c->has_standby_allowed = 1;
        c->standby_allowed = strcmp(config->power_standby, "never") != 0;
    }
    if (config->power_mac[0] != '\0')
        c->wake_mac = xstrdup(config->power_mac);
    if (config->power_segment[0] != '\0')
        c->segment = xstrdup(config->power_segment);
}

static Skein__HostCapability *own_capability(const struct config *config)
{
    Skein__HostCapability *c = xmalloc(sizeof *c);
    skein__host_capability__init(c);
    c->host = xstrdup(config->host);
    if (config->failure_domain[0] != '\0')
        c->failure_domain = xstrdup(config->failure_domain);
    c->tags = xcalloc(config->n_tags, sizeof *c->tags);
    for (size_t i = 0; i < config->n_tags; i++) {
        Skein__Tag *tag = xmalloc(sizeof *tag);
        skein__tag__init(tag);
        tag->key = xstrdup(config->tags[i].key);
        tag->value = xstrdup(config->tags[i].value);
        c->tags[c->n_tags++] = tag;
    }
    if (config->migration_mbps > 0) {
        c->has_migration_mbps = 1;
        c->migration_mbps = (uint32_t)config->migration_mbps;
    } else if (config->migration_bandwidth_mib_s > 0) {
        c->has_migration_mbps = 1;
        c->migration_mbps = (uint32_t)(config->migration_bandwidth_mib_s * 8.388608);
    }
    set_power(c, config);
    if (config->migration_address[0] != '\0')
        c->migration_address = xstrdup(config->migration_address);
    c->mesh_address = xstrdup(config->mesh_listen);
    return c;
}

static Skein__HostSummary *own_summary(const struct config *config, uint64_t incarnation)
{
    Skein__HostSummary *s = xmalloc(sizeof *s);
    skein__host_summary__init(s);
    s->host = xstrdup(config->host);
    s->has_incarnation = 1;
    s->incarnation = incarnation;
    s->has_memory_reserved_mib = 1;
    s->memory_reserved_mib = (uint64_t)config->capacity_reserved_mib;
    s->has_cpu_overcommit_milli = 1;
    s->cpu_overcommit_milli = (uint32_t)lround(config->capacity_cpu_overcommit * 1000);
    s->has_memory_overcommit_milli = 1;
    s->memory_overcommit_milli = (uint32_t)lround(config->capacity_memory_overcommit * 1000);
    return s;
}

/* The migrations' own, and the mesh's: which one is taken, the routes say. */
static char *source_addresses(const struct config *config)
{
    const char *mesh = config->mesh_listen, *colon = strrchr(mesh, ':');
    bool bracket = mesh[0] == '[';
    int len = (int)(colon - mesh) - 2 * bracket;
    return xasprintf("%s%s%.*s", config->migration_address,
                     config->migration_address[0] != '\0' ? " " : "", len, mesh + bracket);
}

struct node_conf *node_conf_new(const struct config *config, const struct trust_store *trust,
                                uint64_t incarnation)
{
    struct node_conf *conf = xcalloc(1, sizeof *conf);
    Skein__HostDetail *own = xmalloc(sizeof *own);
    skein__host_detail__init(own);
    own->summary = own_summary(config, incarnation);
    own->capability = own_capability(config);
    *conf = (struct node_conf){
        .cluster = config->cluster,
        .cluster_uuid = trust_cluster(trust)->uuid,
        .host = config->host,
        .incarnation = incarnation,
        .voters = sorted_voters(config),
        .n_voters = config->n_raft_voters,
        .own = own,
        .migration_address = config->migration_address,
        .mesh_address = config->mesh_listen,
        .source_addresses = source_addresses(config),
        .firewall = strcmp(config->firewall, "nft") == 0,
        .seeds = (const char *const *)config->mesh_seeds,
        .n_seeds = config->n_mesh_seeds,
        .policies = (const char *const *)config->policies_active,
        .n_policies = config->n_policies_active,
        .limit_total = (unsigned)config->limits_total,
        .limit_inflow = (unsigned)config->limits_inflow_per_host,
        .limit_outflow = (unsigned)config->limits_outflow_per_host,
        .observe_every = 3000, /* events bring it forward; each costs some 10 ms of a core */
        .summary_every = 6000, /* known everywhere within 10 s: 4 s for the way */
        .detail_every = 2000,
        .evaluate_every = (msec)config->policies_evaluate_interval_s * 1000,
        .policy_params = config->policies_params,
        .policy_agreement = (unsigned)config->policies_agreement,
        .policy_hold = (msec)config->policies_hold_s * 1000,
        .stale_after = 15000, /* several observations, and a timeout of one */
        .plan_lifetime = (msec)config->plans_lifetime_s * 1000,
        .permit_lifetime = 15000,
        .reservation_lifetime = 60000,
        .request_timeout = 3000,
        .action_timeout = 600000,
        .clock_skew_limit = 2000,
        .simulated = strncmp(config->hypervisor, "sim:", strlen("sim:")) == 0,
        .voters_wanted = (unsigned)config->raft_wanted,
        .voters_patience = (msec)config->raft_replace_after_s * 1000,
        .trust = trust_of(trust),
    };
    conf->sources = policy_files_read(config, &conf->n_sources);
    return conf;
}

void node_conf_voters(struct node_conf *conf, const struct voter_groups *groups, uint64_t store,
                      bool begins)
{
    Skein__HostCapability *own = conf->own->capability;
    const char **voters;
    conf->groups = *groups;
    conf->group = groups->list[groups->n - 1];
    conf->store = store;
    conf->begins = begins;
    free((void *)(uintptr_t)conf->voters);
    voters = xcalloc(conf->group.n, sizeof *voters);
    for (size_t i = 0; i < conf->group.n; i++)
        voters[i] = conf->group.voters[i].host;
    conf->voters = voters;
    conf->n_voters = conf->group.n;
    own->has_store = 1;
    own->store = store;
}

void node_conf_free(struct node_conf *conf)
{
    if (conf == NULL)
        return;
    skein__host_detail__free_unpacked((Skein__HostDetail *)(uintptr_t)conf->own, NULL);
    free((void *)(uintptr_t)conf->voters);
    free((void *)(uintptr_t)conf->source_addresses);
    policy_files_free((struct node_policy *)(uintptr_t)conf->sources, conf->n_sources);
    free(conf);
}
