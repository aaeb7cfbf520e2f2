/* network.h - frames between hosts, in virtual time: they are lost, doubled, late, out of order,
 * old ones come again, and pairs of hosts are cut off from each other, in one direction or both.
 * Hosts are numbers below the count given; any count will do. */
#ifndef SKEIN_TESTS_LIB_NETWORK_H
#define SKEIN_TESTS_LIB_NETWORK_H

#include "tests/lib/agenda.h"
#include "tests/lib/rng.h"

struct network; /* opaque */

/* Chances in a hundred thousand; delays in ms. */
struct network_faults {
    unsigned loss, twice, slow, again; /* again: a frame of the last minutes is sent once more */
    msec delay_min, delay_max, slow_max;
};

/* A frame on its way; free with letter_free. */
struct letter {
    struct happening when;
    int from, to;
    size_t len;
    uint8_t bytes[];
};

struct network *network_new(int hosts, uint64_t seed);
void network_free(struct network *n);
/* Until the next call; frames under way stay as they are. */
void network_set_faults(struct network *n, const struct network_faults *faults);

void network_send(struct network *n, msec now, int from, int to, const void *bytes, size_t len);
/* The next frame that arrives by until; NULL: none. Frames over a cut pair do not arrive. */
struct letter *network_take(struct network *n, msec until);
msec network_next(const struct network *n);
/* It arrives again, at that time: whom it is for could not take it. */
void network_return(struct network *n, struct letter *l, msec at);
void letter_free(struct letter *l);

/* Nothing goes from one to the other until then. */
void network_cut(struct network *n, int from, int to, msec until);
void network_heal(struct network *n);
bool network_has_cuts(const struct network *n, msec now); /* any at all */
bool network_is_cut(const struct network *n, msec now, int from, int to);

#endif
