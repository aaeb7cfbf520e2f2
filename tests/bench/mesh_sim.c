/* mesh-sim: the agents' gossip, thousands of them in one process, with virtual time.
 *
 * The same cores that real agents run (agent/core/gossip.h), on the network of
 * tests/lib/gossip_net.h: bytes and messages an agent, how old summaries are when they arrive, how
 * long a death takes to be known, and whether anybody is taken for dead who lives. */
#include <getopt.h>
#include <jansson.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/lib/gossip_net.h"

#define AGE_BUCKETS 400 /* of 50 ms */

struct bench {
    uint32_t agents, domains, victim, stopped;
    int seconds;
    double paused, loss;
    uint64_t seed;
    bool json;

    uint64_t ages[AGE_BUCKETS], n_ages;
    msec age_max;
    bool measuring;
    usec victim_at, stopped_at, event_at;
    usec victim_last, stopped_last;
    uint32_t victim_known, stopped_known;
    uint64_t false_deaths, suspicions;
};

static void on_news(struct net *net, uint32_t node, const struct gossip_effect *e)
{
    struct bench *b = net->arg;
    (void)node;
    if (!b->measuring)
        return;
    msec age = net_ms(net) - e->born;
    b->ages[MIN((size_t)MAX(age, (msec)0) / 50, (size_t)AGE_BUCKETS - 1)]++;
    b->n_ages++;
    b->age_max = MAX(b->age_max, age);
}

static void on_change(struct net *net, uint32_t node, const struct gossip_effect *e)
{
    struct bench *b = net->arg;
    (void)node;
    b->suspicions += e->suspected;
    if (e->state != GOSSIP_GONE_DEAD)
        return;
    if (b->victim_at > 0 && e->host == gossip_id_of(net->nodes[b->victim].name)) {
        b->victim_known++;
        b->victim_last = net->now;
    } else if (b->stopped_at > 0 && e->host == gossip_id_of(net->nodes[b->stopped].name)) {
        b->stopped_known++;
        b->stopped_last = net->now;
    } else {
        b->false_deaths++;
    }
}

static msec age_percentile(const struct bench *b, double p)
{
    uint64_t want = (uint64_t)((double)b->n_ages * p), seen = 0;
    for (size_t i = 0; i < AGE_BUCKETS; i++)
        if ((seen += b->ages[i]) >= want)
            return (msec)(i + 1) * 50;
    return AGE_BUCKETS * 50;
}

/* The oldest thing that any running agent knows of any running host. */
static msec oldest(const struct net *net, uint64_t *ret_missing)
{
    msec worst = 0;
    *ret_missing = 0;
    for (uint32_t i = 0; i < net->n; i++) {
        const struct gossip *g = net->nodes[i].gossip;
        for (size_t k = 0; g != NULL && k < gossip_count(g); k++) {
            struct gossip_member m;
            gossip_at(g, k, &m);
            if (m.state != GOSSIP_ALIVE || m.suspected)
                continue;
            if (m.summary == NULL)
                ++*ret_missing;
            else
                worst = MAX(worst, net_ms(net) - m.born);
        }
    }
    return worst;
}

static void pause_some(struct net *net, const struct bench *b)
{
    uint32_t n = (uint32_t)(b->paused * net->n / 1.5); /* 1.5 s on average, once a second */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t who = (uint32_t)(net_random(net) % net->n);
        if (who != b->victim && who != b->stopped)
            net_pause(net, who, 500000 + (usec)(net_random(net) % 2000000));
    }
}

struct shape {
    size_t links_max, links_sum, distance_max, orphans;
};

static struct shape shape_of(const struct net *net)
{
    struct shape s = {0};
    for (uint32_t i = 0; i < net->n; i++) {
        struct gossip_stats stats;
        if (net->nodes[i].gossip == NULL)
            continue;
        gossip_stats(net->nodes[i].gossip, &stats);
        s.links_max = MAX(s.links_max, stats.links);
        s.links_sum += stats.links;
        s.distance_max = MAX(s.distance_max, (size_t)stats.distance);
        s.orphans += stats.orphan;
    }
    return s;
}

static void run_second(struct net *net, const struct bench *b)
{
    if (b->paused > 0)
        pause_some(net, b);
    net_run(net, net->now + 1000000);
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void usage(FILE *to)
{
    fputs(
        "usage: mesh-sim [--agents N] [--seconds S] [--domains D] [--paused SHARE] [--loss SHARE]\n"
        "                [--seed N] [-o json]\n"
        "After 20 s of settling, S seconds are measured (60); then one agent is killed and "
        "another\n"
        "stopped for ever. --paused 0.1: a tenth of the agents is stopped for 0.5 to 2.5 s at any\n"
        "time. --loss 0.05: so many packets are lost.\n",
        to);
}

static int parse(int argc, char **argv, struct bench *b)
{
    static const struct option options[] = {
        {"agents", required_argument, NULL, 'a'},  {"seconds", required_argument, NULL, 's'},
        {"domains", required_argument, NULL, 'd'}, {"paused", required_argument, NULL, 'p'},
        {"loss", required_argument, NULL, 'l'},    {"seed", required_argument, NULL, 'S'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    for (int c; (c = getopt_long(argc, argv, "o:h", options, NULL)) != -1;)
        switch (c) {
        case 'a':
            b->agents = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 's':
            b->seconds = atoi(optarg);
            break;
        case 'd':
            b->domains = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'p':
            b->paused = strtod(optarg, NULL);
            break;
        case 'l':
            b->loss = strtod(optarg, NULL);
            break;
        case 'S':
            b->seed = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            b->json = strcmp(optarg, "json") == 0;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            return -1;
        }
    return b->agents >= 2 && b->seconds > 0 ? 0 : -1;
}

static json_t *report(const struct net *net, const struct bench *b, const struct shape *shape,
                      double seconds, uint64_t bytes, uint64_t messages, uint64_t delivered,
                      msec worst, uint64_t missing)
{
    double per_agent = seconds * net->n;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return json_pack(
        "{s:i, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:i, s:i, s:I, s:I, s:i,"
        " s:f, s:I, s:f, s:f}",
        "agents", (int)net->n, "seconds", seconds, "bytes_s", (double)bytes / per_agent,
        "messages_s", (double)messages / per_agent, "samples_s", (double)delivered / per_agent,
        "bytes_per_sample", (double)bytes / (double)delivered, "age_p50_ms",
        (json_int_t)age_percentile(b, 0.5), "age_p99_ms", (json_int_t)age_percentile(b, 0.99),
        "age_max_ms", (json_int_t)b->age_max, "oldest_ms", (json_int_t)worst, "missing",
        (json_int_t)missing, "kill_detect_s", (double)(b->victim_last - b->victim_at) / 1e6,
        "stop_detect_s", (double)(b->stopped_last - b->stopped_at) / 1e6, "kill_known",
        (int)b->victim_known, "stop_known", (int)b->stopped_known, "false_deaths",
        (json_int_t)b->false_deaths, "links_max", (json_int_t)shape->links_max, "tree_depth",
        (int)shape->distance_max, "links_mean", (double)shape->links_sum / net->n, "orphans",
        (json_int_t)shape->orphans, "cpu_seconds", cpu_seconds(), "max_rss_mb",
        (double)usage.ru_maxrss / 1024);
}

static uint64_t sum(const struct net *net, size_t offset)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < net->n; i++)
        total += *(const uint64_t *)(const void *)((const char *)&net->nodes[i] + offset);
    return total;
}

static void measure_deaths(struct net *net, struct bench *b)
{
    b->victim_at = net->now;
    net_kill(net, b->victim);
    for (int i = 0; i < 8; i++)
        run_second(net, b);
    b->stopped_at = net->now;
    net_pause(net, b->stopped, (usec)1000000 * 1000000);
    for (int i = 0; i < 12; i++)
        run_second(net, b);
}

int main(int argc, char **argv)
{
    struct bench b = {.agents = 1000, .seconds = 60, .domains = 10, .seed = 1};
    struct net net;
    if (parse(argc, argv, &b) < 0) {
        usage(stderr);
        return 2;
    }
    net_init(&net, b.agents, b.domains, b.seed);
    net.arg = &b;
    net.on_news = on_news;
    net.on_change = on_change;
    net.loss = b.loss;
    b.victim = b.agents / 3;
    b.stopped = b.agents / 2;
    for (uint32_t i = 0; i < net.n; i++)
        net_start(&net, i, UINT32_MAX);
    net_acquaint(&net);
    for (int i = 0; i < 20; i++)
        run_second(&net, &b);
    b.measuring = true;
    uint64_t bytes = sum(&net, offsetof(struct net_node, bytes_in));
    uint64_t messages = sum(&net, offsetof(struct net_node, messages_in)), had = net.delivered;
    for (int i = 0; i < b.seconds; i++)
        run_second(&net, &b);
    b.measuring = false;
    bytes = sum(&net, offsetof(struct net_node, bytes_in)) - bytes;
    messages = sum(&net, offsetof(struct net_node, messages_in)) - messages;
    had = net.delivered - had;
    uint64_t missing;
    msec worst = oldest(&net, &missing);
    struct shape shape = shape_of(&net);
    measure_deaths(&net, &b);
    json_t *out = report(&net, &b, &shape, b.seconds, bytes, messages, had, worst, missing);
    char *text = json_dumps(out, b.json ? JSON_COMPACT : JSON_INDENT(2));
    puts(text);
    free(text);
    json_decref(out);
    net_done(&net);
    return 0;
}
