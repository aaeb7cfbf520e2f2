#include "agent/io/config.h"

#include <arpa/inet.h>
#include <libconfig.h>
#include <math.h>
#include <stdio.h>

#include "agent/core/admin.h"
#include "agent/io/hooks.h"
#include "agent/io/power_driver.h"
#include "agent/io/publish.h"
#include "proto/canon.h"
#include "proto/util.h"

enum key_type { KEY_STRING, KEY_INT, KEY_NUMBER, KEY_STRINGS };

/* group ("" is the top level), name, type, field, needed, default, least and most for numbers */
struct key {
    const char *group, *name;
    enum key_type type;
    size_t offset, count_offset;
    bool needed;
    const char *text;        /* default of strings */
    double number, min, max; /* default and bounds of numbers */
};

#define AT(field) offsetof(struct config, field)
#define STRING(group, name, field, needed, text)                                                   \
    {                                                                                              \
        group, name, KEY_STRING, AT(field), 0, needed, text, 0, 0, 0                               \
    }
#define INT(group, name, field, number, min, max)                                                  \
    {                                                                                              \
        group, name, KEY_INT, AT(field), 0, false, NULL, number, min, max                          \
    }
#define NUMBER(group, name, field, number, min, max)                                               \
    {                                                                                              \
        group, name, KEY_NUMBER, AT(field), 0, false, NULL, number, min, max                       \
    }
#define STRINGS(group, name, field, needed)                                                        \
    {                                                                                              \
        group, name, KEY_STRINGS, AT(field), AT(n_##field), needed, NULL, 0, 0, 0                  \
    }

static const struct key keys[] = {
    STRING("", "cluster", cluster, true, NULL),
    STRING("", "host", host, true, NULL),
    STRING("", "state_dir", state_dir, false, "/var/lib/skein"),
    STRING("", "failure_domain", failure_domain, false, ""),
    STRING("", "hypervisor", hypervisor, false, "libvirt:qemu:///system"),
    STRING("", "firewall", firewall, false, "off"),
    STRING("gates", "hooks", gates_hooks, false, HOOKS_DIRECTORY),
    STRING("mesh", "listen", mesh_listen, true, NULL),
    STRINGS("mesh", "seeds", mesh_seeds, false),
    STRING("api", "listen", api_listen, false, ""),
    STRING("api", "socket", api_socket, false, "/run/skein/agent.sock"),
    STRING("issuer", "listen", issuer_listen, false, ""),
    STRING("issuer", "cert", issuer_cert, false, "/etc/pki/skein/issuer.pem"),
    STRING("issuer", "key", issuer_key, false, "/etc/pki/skein/issuer.key"),
    STRINGS("issuer", "from", issuer_from, false),
    INT("issuer", "days", issuer_days, 365, 1, 3650),
    STRING("tls", "directory", tls_directory, false, "/etc/pki/skein"),
    STRING("tls", "libvirt_crl", tls_libvirt_crl, false, "/etc/pki/CA/cacrl.pem"),
    STRING("tls", "qemu_crl", tls_qemu_crl, false, "/etc/pki/qemu/ca-crl.pem"),
    STRING("migration", "address", migration_address, false, ""),
    STRING("migration", "ports", migration_ports, false, "49152-49215"),
    INT("migration", "bandwidth_mib_s", migration_bandwidth_mib_s, 0, 0, 1e6),
    INT("migration", "link_mbps", migration_mbps, 0, 0, 1e7),
    STRING("power", "driver", power_driver, false, "off"),
    STRING("power", "command", power_command, false, ""),
    STRING("power", "standby", power_standby, false, "allowed"),
    STRING("power", "mac", power_mac, false, ""),
    STRING("power", "segment", power_segment, false, ""),
    STRING("power", "broadcast", power_broadcast, false, "255.255.255.255"),
    STRING("sensors", "source", sensors_source, false, "hwmon"),
    STRING("sensors", "inlet", sensors_inlet, false, ""),
    STRING("sensors", "outlet", sensors_outlet, false, ""),
    STRING("sensors", "cpu", sensors_cpu, false, ""),
    STRINGS("raft", "voters", raft_voters, true),
    INT("raft", "election_timeout_ms", raft_election_timeout_ms, 500, 100, 60000),
    INT("raft", "replace_after_s", raft_replace_after_s, 0, 0, 30 * 86400),
    INT("raft", "wanted", raft_wanted, 0, 0, 7),
    STRING("policies", "directory", policies_directory, false, "/usr/share/skein/policies"),
    STRINGS("policies", "active", policies_active, false),
    INT("policies", "evaluate_interval_s", policies_evaluate_interval_s, 30, 1, 86400),
    INT("policies", "deadline_ms", policies_deadline_ms, 500, 10, 60000),
    INT("policies", "agreement", policies_agreement, 1, 1, 100),
    INT("policies", "hold_s", policies_hold_s, 0, 0, 7 * 86400),
    INT("record", "every_s", record_every_s, 60, 0, 86400),
    INT("record", "max_mib", record_max_mib, 256, 1, 1e6),
    INT("record", "days", record_days, 14, 1, 3650),
    INT("limits", "total", limits_total, 5, 1, 10000),
    INT("limits", "inflow_per_host", limits_inflow_per_host, 1, 1, 1000),
    INT("limits", "outflow_per_host", limits_outflow_per_host, 2, 1, 1000),
    INT("capacity", "reserved_mib", capacity_reserved_mib, 0, 0, 1e9),
    NUMBER("capacity", "cpu_overcommit", capacity_cpu_overcommit, 1, 0.1, 1000),
    NUMBER("capacity", "memory_overcommit", capacity_memory_overcommit, 1, 0.1, 1000),
    INT("plans", "lifetime_s", plans_lifetime_s, 3600, 10, 7 * 86400),
    STRINGS("audit", "anchors", audit_anchors, false),
    INT("audit", "checkpoint_s", audit_checkpoint_s, 5, 1, 3600),
    STRING("log", "level", log_level, false, "info"),
};

static void *field_at(struct config *c, size_t offset)
{
    return (char *)c + offset;
}

static int here(struct err *err, const config_setting_t *s, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int here(struct err *err, const config_setting_t *s, const char *path, const char *fmt, ...)
{
    struct err inner;
    va_list ap;
    va_start(ap, fmt);
    err_setv(&inner, ERR_INVALID, fmt, ap);
    va_end(ap);
    unsigned line = config_setting_source_line(s);
    return err_set(err, ERR_INVALID, "%s:%u: %s", path, line, inner.msg);
}

static bool group_exists(const char *group)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i].group, group) == 0)
            return true;
    return strcmp(group, "tags") == 0;
}

static const struct key *key_find(const char *group, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i].group, group) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static int unknown_key(const config_setting_t *s, const char *group, const char *path,
                       struct err *err)
{
    const char *names[2 * ARRAY_SIZE(keys) + 3], *name = config_setting_name(s);
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].group, group) == 0)
            names[n++] = keys[i].name;
        else if (group[0] == '\0')
            names[n++] = keys[i].group;
    }
    if (group[0] == '\0')
        names[n++] = "tags";
    if (strcmp(group, "policies") == 0)
        names[n++] = "params";
    names[n] = NULL;
    const char *near = nearest_word(name, names);
    return here(err, s, path, "%s%s%s: unknown key%s%s%s", group, group[0] != '\0' ? "." : "", name,
                near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                near != NULL ? "\"?" : "");
}

static int read_strings(const struct key *key, const config_setting_t *s, const char *path,
                        struct config *c, struct err *err)
{
    if (!config_setting_is_array(s) && !config_setting_is_list(s))
        return here(err, s, path, "%s: a list of strings is wanted, [ \"...\", ... ]", key->name);
    int n = config_setting_length(s);
    char **items = xcalloc((size_t)n, sizeof *items);
    *(char ***)field_at(c, key->offset) = items;
    for (int i = 0; i < n; i++) {
        const char *text = config_setting_get_string_elem(s, i);
        if (text == NULL || text[0] == '\0')
            return here(err, s, path, "%s[%d]: a non-empty string is wanted", key->name, i);
        items[i] = xstrdup(text);
        *(size_t *)field_at(c, key->count_offset) = (size_t)i + 1;
    }
    return 0;
}

static int read_number(const struct key *key, const config_setting_t *s, const char *path,
                       struct config *c, struct err *err)
{
    double v;
    if (config_setting_is_number(s) == CONFIG_FALSE)
        return here(err, s, path, "%s: a number is wanted", key->name);
    if (config_setting_type(s) == CONFIG_TYPE_FLOAT)
        v = config_setting_get_float(s);
    else
        v = (double)config_setting_get_int64(s);
    if (!(v >= key->min && v <= key->max))
        return here(err, s, path, "%s: %g is not between %g and %g", key->name, v, key->min,
                    key->max);
    if (key->type == KEY_INT)
        *(int *)field_at(c, key->offset) = (int)v;
    else
        *(double *)field_at(c, key->offset) = v;
    return 0;
}

static int read_key(const struct key *key, const config_setting_t *s, const char *path,
                    struct config *c, struct err *err)
{
    if (key->type == KEY_STRINGS)
        return read_strings(key, s, path, c, err);
    if (key->type != KEY_STRING)
        return read_number(key, s, path, c, err);
    const char *text = config_setting_get_string(s);
    if (text == NULL)
        return here(err, s, path, "%s: a string is wanted, \"...\"", key->name);
    if (key->needed && text[0] == '\0')
        return here(err, s, path, "%s: empty", key->name);
    char **field = field_at(c, key->offset);
    free(*field);
    *field = xstrdup(text);
    return 0;
}

static int read_tags(const config_setting_t *group, const char *path, struct config *c,
                     struct err *err)
{
    int n = config_setting_length(group);
    c->tags = xcalloc((size_t)n, sizeof *c->tags);
    for (int i = 0; i < n; i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *text = config_setting_get_string(s);
        if (text == NULL)
            return here(err, s, path, "tags.%s: a string is wanted", config_setting_name(s));
        c->tags[c->n_tags++] = (struct config_tag){xstrdup(config_setting_name(s)), xstrdup(text)};
    }
    return 0;
}

/* NULL: of no type that a parameter has, or too large. */
static json_t *param_value(const config_setting_t *s)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return json_integer(config_setting_get_int64(s));
    case CONFIG_TYPE_FLOAT: {
        double v = config_setting_get_float(s);
        return fabs(v) < 1e12 ? canon_milli(llround(v * 1000)) : NULL;
    }
    case CONFIG_TYPE_BOOL:
        return json_boolean(config_setting_get_bool(s));
    case CONFIG_TYPE_STRING:
        return json_string(config_setting_get_string(s));
    default:
        return NULL;
    }
}

/* policies.params: a group for each policy. What the parameters are, the policy says itself. */
static int read_params(const config_setting_t *group, const char *path, struct config *c,
                       struct err *err)
{
    if (!config_setting_is_group(group))
        return here(err, group, path, "policies.params: groups are wanted, { POLICY = { ... }; }");
    c->policies_params = json_array();
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *policy = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(policy);
        if (!config_setting_is_group(policy))
            return here(err, policy, path,
                        "policies.params.%s: a group is wanted, { NAME = value; }", name);
        json_t *params = json_object();
        json_array_append_new(c->policies_params,
                              json_pack("{s:s, s:o}", "name", name, "params", params));
        for (int k = 0; k < config_setting_length(policy); k++) {
            const config_setting_t *s = config_setting_get_elem(policy, (unsigned)k);
            const char *key = config_setting_name(s);
            if (json_object_set_new(params, key, param_value(s)) < 0)
                return here(err, s, path,
                            "policies.params.%s.%s: a number, a string or a boolean is wanted",
                            name, key);
        }
    }
    return 0;
}

static int read_group(const config_setting_t *group, const char *name, const char *path,
                      struct config *c, struct err *err)
{
    if (strcmp(name, "tags") == 0)
        return read_tags(group, path, c, err);
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *child = config_setting_name(s);
        int rc;
        const struct key *key = key_find(name, child);
        if (key != NULL)
            rc = read_key(key, s, path, c, err);
        else if (strcmp(name, "policies") == 0 && strcmp(child, "params") == 0)
            rc = read_params(s, path, c, err);
        else if (name[0] == '\0' && config_setting_is_group(s) && group_exists(child))
            rc = read_group(s, child, path, c, err);
        else
            rc = unknown_key(s, name, path, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void set_defaults(struct config *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct key *key = &keys[i];
        if (key->type == KEY_STRING && key->text != NULL)
            *(char **)field_at(c, key->offset) = xstrdup(key->text);
        else if (key->type == KEY_INT)
            *(int *)field_at(c, key->offset) = (int)key->number;
        else if (key->type == KEY_NUMBER)
            *(double *)field_at(c, key->offset) = key->number;
    }
}

static int check_needed(const struct config *c, const char *path, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct key *key = &keys[i];
        if (key->needed && *(void *const *)field_at((struct config *)c, key->offset) == NULL)
            return err_set(err, ERR_INVALID, "%s: %s%s%s is missing", path, key->group,
                           key->group[0] != '\0' ? "." : "", key->name);
    }
    return 0;
}

/* "A.B.C.D:PORT" or "[IPv6]:PORT". */
static bool address_is_valid(const char *text)
{
    char host[64];
    int port, n = 0;
    unsigned char binary[16];
    if (sscanf(text, "[%63[0-9a-fA-F:]]:%d%n", host, &port, &n) != 2 &&
        sscanf(text, "%63[0-9.]:%d%n", host, &port, &n) != 2)
        return false;
    return text[n] == '\0' && port > 0 && port < 65536 &&
           (inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1);
}

static int check_one_of(const char *key, const char *value, const char *const *choices,
                        const char *path, struct err *err)
{
    for (const char *const *choice = choices; *choice != NULL; choice++)
        if (strcmp(value, *choice) == 0)
            return 0;
    const char *near = nearest_word(value, choices);
    return err_set(err, ERR_INVALID, "%s: %s: \"%s\" is none of its values; did you mean \"%s\"?",
                   path, key, value, near != NULL ? near : choices[0]);
}

static int check_address(const char *key, const char *value, const char *path, struct err *err)
{
    if (address_is_valid(value))
        return 0;
    return err_set(err, ERR_INVALID, "%s: %s: \"%s\" is not an address like 10.77.0.1:7440", path,
                   key, value);
}

static int check_host(const char *key, const char *name, const char *path, struct err *err)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
    if (n > 0 && n <= 64 && name[n] == '\0')
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s: %s: \"%s\": 1 to 64 letters, digits, dots, dashes and underscores are "
                   "wanted",
                   path, key, name);
}

/* Parameters are for the policies that the file names, and the drains', which need not be. */
static int check_params(const struct config *c, const char *path, struct err *err)
{
    _cleanup_(freep) const char **names = xcalloc(c->n_policies_active + 2, sizeof *names);
    for (size_t i = 0; i < c->n_policies_active; i++)
        names[i] = c->policies_active[i];
    names[c->n_policies_active] = ADMIN_DRAIN_POLICY;
    for (size_t i = 0; i < json_array_size(c->policies_params); i++) {
        const json_t *item = json_array_get(c->policies_params, i);
        int rc = check_one_of("policies.params", json_string_value(json_object_get(item, "name")),
                              names, path, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_power(const struct config *c, const char *path, struct err *err)
{
    static const char *const drivers[] = {"off", "suspend", "command", NULL};
    static const char *const standby[] = {"allowed", "never", NULL};
    unsigned char address[4];
    int rc;
    if ((rc = check_one_of("power.driver", c->power_driver, drivers, path, err)) < 0 ||
        (rc = check_one_of("power.standby", c->power_standby, standby, path, err)) < 0)
        return rc;
    if (strcmp(c->power_driver, "command") == 0 && c->power_command[0] != '/')
        return err_set(err, ERR_INVALID,
                       "%s: power.command: the path of a program is wanted, \"/...\"", path);
    if (c->power_mac[0] != '\0' && power_driver_mac(c->power_mac, NULL, err) < 0)
        return err_wrap(err, "%s: power.mac", path);
    if (inet_pton(AF_INET, c->power_broadcast, address) != 1)
        return err_set(err, ERR_INVALID, "%s: power.broadcast: \"%s\" is no IPv4 address", path,
                       c->power_broadcast);
    return 0;
}

/* A firewall knows addresses and ports, no names. */
static int check_firewall(const struct config *c, const char *path, struct err *err)
{
    unsigned char address[sizeof(struct in6_addr)];
    int from = 0, to = 0, end = 0;
    if (strcmp(c->firewall, "off") == 0)
        return 0;
    if (strncmp(c->hypervisor, "libvirt:", 8) != 0)
        return err_set(err, ERR_INVALID, "%s: firewall: simulated hosts have none", path);
    if (sscanf(c->migration_ports, "%5d-%5d%n", &from, &to, &end) != 2 ||
        c->migration_ports[end] != '\0' || from < 1 || from > to || to > 65535)
        return err_set(err, ERR_INVALID, "%s: migration.ports: \"%s\" is not like 49152-49215",
                       path, c->migration_ports);
    if (c->migration_address[0] != '\0' && inet_pton(AF_INET, c->migration_address, address) != 1 &&
        inet_pton(AF_INET6, c->migration_address, address) != 1)
        return err_set(err, ERR_INVALID,
                       "%s: migration.address: \"%s\" is no address: with a firewall, no name does",
                       path, c->migration_address);
    return 0;
}

static int check_meaning(const struct config *c, const char *path, struct err *err)
{
    static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
    static const char *const firewalls[] = {"off", "nft", NULL};
    static const char *const sources[] = {"hwmon", "none", NULL};
    int rc;
    if ((rc = check_host("cluster", c->cluster, path, err)) < 0 ||
        (rc = check_host("host", c->host, path, err)) < 0 ||
        (rc = check_address("mesh.listen", c->mesh_listen, path, err)) < 0 ||
        (rc = check_one_of("log.level", c->log_level, levels, path, err)) < 0 ||
        (rc = check_one_of("firewall", c->firewall, firewalls, path, err)) < 0 ||
        (rc = check_firewall(c, path, err)) < 0 ||
        (rc = check_one_of("sensors.source", c->sensors_source, sources, path, err)) < 0 ||
        (rc = check_params(c, path, err)) < 0 || (rc = check_power(c, path, err)) < 0)
        return rc;
    for (size_t i = 0; i < c->n_mesh_seeds; i++)
        if ((rc = check_address("mesh.seeds", c->mesh_seeds[i], path, err)) < 0)
            return rc;
    for (size_t i = 0; i < c->n_audit_anchors; i++)
        if ((rc = publish_check("audit.anchors", c->audit_anchors[i], err)) < 0)
            return err_wrap(err, "%s", path);
    for (size_t i = 0; i < c->n_raft_voters; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(c->raft_voters[i], c->raft_voters[k]) == 0)
                return err_set(err, ERR_INVALID, "%s: raft.voters: \"%s\" stands there twice", path,
                               c->raft_voters[i]);
    if (c->n_raft_voters == 0 || c->n_raft_voters % 2 == 0 || c->n_raft_voters > 7)
        return err_set(err, ERR_INVALID, "%s: raft.voters: 1, 3, 5 or 7 are wanted, not %zu", path,
                       c->n_raft_voters);
    if (c->raft_wanted != 0 && (c->raft_replace_after_s == 0 || c->raft_wanted % 2 == 0))
        return err_set(err, ERR_INVALID,
                       c->raft_wanted % 2 == 0 ? "%s: raft.wanted: 1, 3, 5 or 7"
                                               : "%s: raft.wanted is for voters that are replaced "
                                                 "(raft.replace_after_s)",
                       path);
    return 0;
}

int config_load(const char *path, struct config **ret, struct err *err)
{
    config_t file;
    config_init(&file);
    struct config *c = xcalloc(1, sizeof *c);
    int rc;
    set_defaults(c);
    if (config_read_file(&file, path) == CONFIG_FALSE) {
        if (config_error_type(&file) == CONFIG_ERR_FILE_IO)
            rc = err_set(err, ERR_IO, "%s: cannot be read: %m", path);
        else
            rc = err_set(err, ERR_INVALID, "%s:%d: %s", path, config_error_line(&file),
                         config_error_text(&file));
    } else {
        rc = read_group(config_root_setting(&file), "", path, c, err);
        if (rc >= 0)
            rc = check_needed(c, path, err);
        if (rc >= 0)
            rc = check_meaning(c, path, err);
    }
    config_destroy(&file);
    if (rc < 0) {
        config_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct key *key = &keys[i];
        if (key->type == KEY_STRING)
            free(*(char **)field_at(c, key->offset));
        if (key->type != KEY_STRINGS)
            continue;
        char **items = *(char ***)field_at(c, key->offset);
        for (size_t k = 0; k < *(size_t *)field_at(c, key->count_offset); k++)
            free(items[k]);
        free(items);
    }
    for (size_t i = 0; i < c->n_tags; i++) {
        free(c->tags[i].key);
        free(c->tags[i].value);
    }
    free(c->tags);
    json_decref(c->policies_params);
    free(c);
}

enum log_level config_log_level(const struct config *c)
{
    if (strcmp(c->log_level, "error") == 0)
        return LOG_LEVEL_ERROR;
    if (strcmp(c->log_level, "warning") == 0)
        return LOG_LEVEL_WARN;
    return strcmp(c->log_level, "debug") == 0 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}
