/* agenda.h - what will happen, by time; of things of one time the first that was entered. */
#ifndef SKEIN_TESTS_LIB_AGENDA_H
#define SKEIN_TESTS_LIB_AGENDA_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/units.h"

/* First member of whatever is entered. */
struct happening {
    msec at;
    uint64_t order;
};

/* A binary heap of pointers. Zeroed is empty; agenda_done frees the heap, not what is in it. */
struct agenda {
    struct happening **items;
    size_t n, cap;
    uint64_t entered;
};

void agenda_add(struct agenda *a, msec at, struct happening *h);
/* The next that is due at until, taken out; NULL: none. */
struct happening *agenda_take(struct agenda *a, msec until);
msec agenda_next(const struct agenda *a); /* INT64_MAX: nothing will happen */
void agenda_done(struct agenda *a);

#endif
