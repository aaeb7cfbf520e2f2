/* baseline.h - what a VM was before it moved, in lines, held against what it is afterwards: pure.
 *
 * A line is "KIND SUBJECT=VALUE", of at most CODEC_NAME_MAX bytes:
 *   def   belongs to the definition: another value, or none, means that it is not the same VM
 *   set   how it was set up (limits, pinning, where its disks and cards are): to be told
 *   run   what was seen of it (addresses, statistics): to be told where both ends saw something */
#ifndef SKEIN_AGENT_CORE_BASELINE_H
#define SKEIN_AGENT_CORE_BASELINE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/util.h"

#define BASELINE_LINES_MAX 256

struct baseline {
    char **lines; /* owned */
    size_t n;
};

/* Cuts what is too long, drops what may not stand in a message and what is too much. */
void baseline_add(struct baseline *b, const char *kind, const char *subject, const char *value);
void baseline_done(struct baseline *b);

/* Adds to changed and to wrong what is different afterwards: "SUBJECT was VALUE, is VALUE", parted
 * by
 * "; ". What only came to it is no difference. */
void baseline_compare(char *const *before, size_t n_before, const struct baseline *after,
                      struct buf *changed, struct buf *wrong);

#endif
