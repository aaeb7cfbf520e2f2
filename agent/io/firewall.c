#include "agent/io/firewall.h"

#include <arpa/inet.h>
#include <pthread.h>

#include "agent/io/clock.h"
#include "agent/io/command_run.h"
#include "proto/log.h"
#include "proto/util.h"

#define PATIENCE 5000    /* of one call of nft */
#define KEEP_EVERY 60000 /* between two looks after the rules */

struct firewall {
    char *ports;
    pthread_mutex_t lock;
    msec kept; /* mono; under the lock */
};

/* All of it again changes nothing: the sets keep what they hold. The first packet of a connection
 * alone is judged. */
static const char rules[] =
    "table inet skein {\n"
    "  set sources4 { type ipv4_addr; flags timeout; }\n"
    "  set sources6 { type ipv6_addr; flags timeout; }\n"
    "  chain sources { }\n"
    "  chain migration { type filter hook input priority -5; policy accept; }\n"
    "}\n"
    "flush chain inet skein migration\n"
    "flush chain inet skein sources\n"
    "add rule inet skein migration iifname \"lo\" accept\n"
    "add rule inet skein migration tcp dport %s tcp flags & (syn | ack) == syn jump sources\n"
    "add rule inet skein sources ip saddr @sources4 return\n"
    "add rule inet skein sources ip6 saddr @sources6 return\n"
    "add rule inet skein sources reject with tcp reset\n";

/* Added first, so that it is there to be deleted; then with its new time. */
static void add_source(struct buf *script, const char *address, msec time)
{
    unsigned char binary[sizeof(struct in6_addr)];
    int version = inet_pton(AF_INET, address, binary) == 1    ? 4
                  : inet_pton(AF_INET6, address, binary) == 1 ? 6
                                                              : 0;
    if (version == 0)
        return;
    buf_addf(script, "add element inet skein sources%d { %s }\n", version, address);
    buf_addf(script, "delete element inet skein sources%d { %s }\n", version, address);
    if (time > 0)
        buf_addf(script, "add element inet skein sources%d { %s timeout %llds }\n", version,
                 address, (long long)((time + 999) / 1000));
}

char *firewall_script(const char *ports, const char *sources, msec time)
{
    _cleanup_(buf_done) struct buf script = {0};
    _cleanup_(freep) char *copy = xstrdup(sources);
    char *rest = copy;
    buf_addf(&script, rules, ports);
    size_t len = script.len;
    for (char *word; (word = strsep(&rest, " ")) != NULL;)
        add_source(&script, word, time);
    return sources[0] != '\0' && script.len == len ? NULL : buf_take(&script);
}

static int tell(const char *script, struct err *err)
{
    static const char *const argv[] = {"nft", "-f", "-", NULL};
    char said[256];
    int status;
    int rc = command_run(argv, script, PATIENCE, said, sizeof said, &status, err);
    if (rc < 0)
        return err_wrap(err, "the firewall");
    said[strcspn(said, "\n")] = '\0';
    return status == 0 ? 0 : err_set(err, ERR_IO, "the firewall: nft: %s", said);
}

static int change(const struct firewall *f, const char *sources, msec time, struct err *err)
{
    _cleanup_(freep) char *script = firewall_script(f->ports, sources, time);
    if (script == NULL)
        return err_set(err, ERR_INVALID, "the firewall: \"%s\" has no address", sources);
    return tell(script, err);
}

int firewall_new(const char *ports, struct firewall **ret, struct err *err)
{
    struct firewall *f = xcalloc(1, sizeof *f);
    f->ports = xstrdup(ports);
    f->kept = clock_mono();
    pthread_mutex_init(&f->lock, NULL);
    int rc = change(f, "", 0, err);
    if (rc < 0)
        firewall_free(f);
    else
        *ret = f;
    return rc;
}

void firewall_free(struct firewall *f)
{
    if (f == NULL)
        return;
    pthread_mutex_destroy(&f->lock);
    free(f->ports);
    free(f);
}

int firewall_open(struct firewall *f, const char *sources, msec time, struct err *err)
{
    return f != NULL ? change(f, sources, time, err) : 0;
}

int firewall_close(struct firewall *f, const char *sources, struct err *err)
{
    return f != NULL ? change(f, sources, 0, err) : 0;
}

void firewall_keep(struct firewall *f)
{
    struct err err = {0};
    if (f == NULL)
        return;
    pthread_mutex_lock(&f->lock);
    msec now = clock_mono();
    bool due = now - f->kept >= KEEP_EVERY;
    if (due)
        f->kept = now;
    pthread_mutex_unlock(&f->lock);
    if (due && change(f, "", 0, &err) < 0)
        log_warn("%s", err.msg);
}
