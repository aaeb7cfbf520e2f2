/* config.h - the agent's configuration file (libconfig): one table of keys, from which reading,
 * checking and the "did you mean" derive. */
#ifndef SKEIN_AGENT_IO_CONFIG_H
#define SKEIN_AGENT_IO_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"
#include "proto/log.h"
#include "proto/units.h"

struct config_tag {
    char *key, *value;
};

struct config {
    char *cluster, *host, *state_dir, *failure_domain;
    struct config_tag *tags;
    size_t n_tags;
    char *mesh_listen;
    char **mesh_seeds;
    size_t n_mesh_seeds;
    char *api_listen; /* "" when there is no HTTPS API */
    char *api_socket;
    char *issuer_listen; /* "" when this host issues no certificates */
    char *issuer_cert, *issuer_key;
    int issuer_days;    /* validity of what it issues */
    char **issuer_from; /* doors of issuers, from which this host renews */
    size_t n_issuer_from;
    char *tls_directory;
    char *tls_libvirt_crl, *tls_qemu_crl; /* where the hypervisor reads revocations; "": nowhere */
    char *hypervisor;                     /* "libvirt:URI" or "sim:SOCKET" */
    char *migration_address, *migration_ports;
    int migration_bandwidth_mib_s; /* 0: not limited */
    int migration_mbps;            /* link's speed; 0: unknown */
    char *power_driver;            /* "off", "suspend" or "command" */
    char *power_command;           /* of driver "command": a program's path */
    char *power_standby;           /* "allowed" or "never" */
    char *power_mac;               /* of the card that wakes this host; "" when unknown */
    char *power_segment;           /* hosts of one can wake each other by wake-on-LAN; "": none */
    char *power_broadcast;         /* where wake-on-LAN is sent */
    char *sensors_source;          /* "hwmon" or "none" */
    char *sensors_inlet, *sensors_outlet, *sensors_cpu; /* "CHIP/LABEL"; "" finds them */
    char *gates_hooks;                                  /* folder of the gate rules' hooks */
    char *firewall;                                     /* "off" or "nft" */
    char **raft_voters;                                 /* host names */
    size_t n_raft_voters;
    int raft_election_timeout_ms;
    int raft_replace_after_s; /* 0: the voters are fixed */
    int raft_wanted;          /* voters, where they are replaced; 0: by the number of hosts */
    char *policies_directory;
    char **policies_active;
    size_t n_policies_active;
    int policies_evaluate_interval_s;
    int policies_deadline_ms;
    json_t *policies_params; /* [{"name": POLICY, "params": {NAME: value}}], or NULL */
    int policies_agreement;
    int policies_hold_s;
    int record_every_s, record_max_mib, record_days;
    int limits_total, limits_inflow_per_host, limits_outflow_per_host;
    int capacity_reserved_mib; /* memory that is not for VMs */
    double capacity_cpu_overcommit, capacity_memory_overcommit;
    int plans_lifetime_s; /* unapproved plans expire */
    char **audit_anchors; /* where checkpoints go outside the cluster: see publish.h */
    size_t n_audit_anchors;
    int audit_checkpoint_s; /* between checkpoints, when there is something new */
    char *log_level;
};

/* Read and check path. Errors name file and line: "agent.conf:7: mesh.seds: unknown key; did you
 * mean \"seeds\"?". */
int config_load(const char *path, struct config **ret, struct err *err);
void config_free(struct config *config);

enum log_level config_log_level(const struct config *config);

#endif
