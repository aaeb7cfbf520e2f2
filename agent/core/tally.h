/* tally.h - what this agent has recorded since it started, counted: for its metrics. Pure. */
#ifndef SKEIN_AGENT_CORE_TALLY_H
#define SKEIN_AGENT_CORE_TALLY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Upper bounds in milliseconds; the last bucket has none. */
#define TALLY_DURATIONS_MS                                                                         \
    {                                                                                              \
        1000, 2000, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000                     \
    }
#define TALLY_DOWNTIMES_MS                                                                         \
    {                                                                                              \
        10, 25, 50, 100, 200, 300, 500, 1000, 2000, 5000                                           \
    }
#define TALLY_BUCKETS 10

struct histogram {
    uint64_t buckets[TALLY_BUCKETS + 1]; /* not cumulated */
    uint64_t sum_ms, count;
};

/* One kind of record; texts are owned. */
struct tally_line {
    char *event, *code; /* code: "" where the record has none */
    uint64_t count;
};

struct tally {
    struct tally_line *lines; /* in the order in which they came first */
    size_t n, cap;
    struct histogram durations, downtimes; /* of the moves that left this host and succeeded */
    uint64_t transferred_mib;
};

void tally_done(struct tally *t);
/* An audit record: its event, its code, and of a move what was measured. */
void tally_record(struct tally *t, const json_t *record);

#endif
