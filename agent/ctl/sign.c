#include "agent/ctl/sign.h"

#include <sys/random.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"
#include "tls/envelope.h"

#define LIFETIME_S 3600
#define LIFETIME_MAX_S (7 * 86400) /* what the voters accept */

struct signer {
    struct identity *identity;
    struct cluster cluster;
    char name[NAME_SIZE];
    const char *reason; /* borrowed */
    msec lifetime;
};

static const char *or_environment(const char *option, const char *variable)
{
    const char *value = option != NULL ? option : getenv(variable);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int longest(const struct sign_args *args)
{
    return args->lifetime_max > 0 ? args->lifetime_max : LIFETIME_MAX_S;
}

int sign_check(const struct cli *cli, struct sign_args *args)
{
    struct err err;
    int seconds;
    args->key = or_environment(args->key, "SKEIN_KEY");
    args->certificate = or_environment(args->certificate, "SKEIN_CERT");
    if (args->key == NULL)
        return cli_usage(cli, "--key (or SKEIN_KEY) is missing: your private key signs this");
    if (args->lifetime != NULL &&
        args_number("--lifetime", args->lifetime, longest(args), &seconds, &err) < 0)
        return cli_usage(cli, "%s", err.msg);
    return 0;
}

/* ---- the key ---- */

static int ask_cluster(const struct cli *cli, struct cluster *ret, struct err *err)
{
    _cleanup_json_ json_t *status = NULL;
    int rc = cli_call(cli, "/v1/status", NULL, &status, err);
    if (rc < 0)
        return rc;
    const char *name = text_or(status, "cluster", ""), *uuid = text_or(status, "cluster_uuid", "");
    if (!uuid_is_valid(uuid) || name_check("cluster", name, err) < 0)
        return err_set(err, ERR_INTERNAL, "the agent does not say which cluster it serves");
    snprintf(ret->name, sizeof ret->name, "%s", name);
    snprintf(ret->uuid, sizeof ret->uuid, "%s", uuid);
    return 0;
}

int sign_open(const struct cli *cli, const struct sign_args *args, struct signer **ret,
              struct err *err)
{
    _cleanup_(sign_closep) struct signer *s = xcalloc(1, sizeof *s);
    _cleanup_(freep) char *beside = args_certificate(args->key);
    const char *certificate = args->certificate != NULL ? args->certificate : beside;
    int seconds = args->lifetime_default > 0 ? args->lifetime_default : LIFETIME_S, rc;
    if ((rc = identity_load(certificate, args->key, args_ask_passphrase,
                            (void *)(uintptr_t)args->passphrase_file, &s->identity, err)) < 0 ||
        (args->lifetime != NULL &&
         (rc = args_number("--lifetime", args->lifetime, longest(args), &seconds, err)) < 0) ||
        (rc = ask_cluster(cli, &s->cluster, err)) < 0 ||
        (rc = identity_name(s->identity, s->cluster.name, s->name, err)) < 0)
        return rc;
    s->reason = args->reason;
    s->lifetime = (msec)seconds * 1000;
    *ret = TAKE_PTR(s);
    return 0;
}

void sign_close(struct signer *signer)
{
    if (signer == NULL)
        return;
    identity_free(signer->identity);
    free(signer);
}

const char *sign_name(const struct signer *signer)
{
    return signer->name;
}

const char *sign_cluster(const struct signer *signer)
{
    return signer->cluster.name;
}

int sign_post(const struct cli *cli, const struct signer *signer, json_t *command, const char *path,
              json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *owned = command;
    _cleanup_(freep) char *envelope = NULL;
    uint8_t nonce[ENVELOPE_NONCE_SIZE];
    if (getrandom(nonce, sizeof nonce, 0) != sizeof nonce)
        return err_set(err, ERR_IO, "no random numbers: %m");
    if (signer->reason != NULL &&
        json_object_set_new(owned, "reason", json_string(signer->reason)) < 0)
        return err_set(err, ERR_INVALID, "--reason is not UTF-8");
    int rc = envelope_sign(owned, signer->identity, &signer->cluster, args_now(), signer->lifetime,
                           nonce, &envelope, err);
    return rc < 0 ? rc : cli_call(cli, path, envelope, ret, err);
}

int sign_command(const struct cli *cli, const struct sign_args *args, json_t *command,
                 const char *path, json_t **ret, struct err *err)
{
    _cleanup_(sign_closep) struct signer *signer = NULL;
    int rc = sign_open(cli, args, &signer, err);
    if (rc < 0) {
        json_decref(command);
        return rc;
    }
    return sign_post(cli, signer, command, path, ret, err);
}
