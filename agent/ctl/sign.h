/* sign.h - who signs: a person's key and certificate, and commands made with them. */
#ifndef SKEIN_AGENT_CTL_SIGN_H
#define SKEIN_AGENT_CTL_SIGN_H

#include <jansson.h>

#include "agent/ctl/cli.h"

/* Options that every signing command takes; put SIGN_OPTIONS(args) into its table. */
struct sign_args {
    const char *key, *certificate, *passphrase_file, *reason, *lifetime;
    int lifetime_default, lifetime_max; /* seconds; 0: an hour, a week */
};

#define SIGN_OPTIONS(a)                                                                            \
    {"key", '\0', NULL, &(a).key}, {"cert", '\0', NULL, &(a).certificate},                         \
        {"passphrase-file", '\0', NULL, &(a).passphrase_file},                                     \
        {"reason", '\0', NULL, &(a).reason},                                                       \
    {                                                                                              \
        "lifetime", '\0', NULL, &(a).lifetime                                                      \
    }

#define SIGN_HELP                                                                                  \
    "  --key FILE              your private key, PEM (SKEIN_KEY)\n"                                \
    "  --cert FILE             your certificate (SKEIN_CERT; default: the key's name with .pem)\n" \
    "  --passphrase-file FILE  its first line opens the key (default: ask on the terminal)\n"      \
    "  --reason TEXT           recorded with your signature\n"                                     \
    "  --lifetime SECONDS      your signature counts so long (default: 3600)\n"

/* 0 when the options name a key and make sense; else the exit status 2, said. Call it first. */
int sign_check(const struct cli *cli, struct sign_args *args);

struct signer; /* opaque: an opened key, and the cluster it signs for */

/* Loads the key and asks the agent which cluster it serves; refuses a certificate of another. */
int sign_open(const struct cli *cli, const struct sign_args *args, struct signer **ret,
              struct err *err);
void sign_close(struct signer *signer);
DEFINE_CLEANUP(struct signer, sign_close)
const char *sign_name(const struct signer *signer);    /* as the certificate says it */
const char *sign_cluster(const struct signer *signer); /* the name of the cluster it signs for */

/* Adds the reason to command (a type with its fields; taken), signs and posts it. */
int sign_post(const struct cli *cli, const struct signer *signer, json_t *command, const char *path,
              json_t **ret, struct err *err);

/* sign_open and sign_post at once, for commands that sign one thing. Takes command. */
int sign_command(const struct cli *cli, const struct sign_args *args, json_t *command,
                 const char *path, json_t **ret, struct err *err);

#endif
