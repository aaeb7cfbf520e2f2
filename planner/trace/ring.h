/* ring.h - recorded snapshots (skein.snapshot/1) in files: each begins with a whole one, the others
 * are compressed against the one before, which they hardly differ from. Pure: bytes in, bytes out.
 *
 * A file is RING_MAGIC and then records: a head (ring.c) and the packed text. A record that is cut
 * off at the end of a file, because the writer was ended, is not there. */
#ifndef SKEIN_PLANNER_TRACE_RING_H
#define SKEIN_PLANNER_TRACE_RING_H

#include "proto/err.h"
#include "proto/units.h"
#include "proto/util.h"

#define RING_MAGIC "skein.ring/1\n"
#define RING_ENDING ".ring"
#define RING_RECORDS 64                  /* of one file */
#define RING_TEXT_MAX ((size_t)64 << 20) /* bytes of one snapshot */

/* Zeros: a new file. */
struct ring_writer {
    char *last; /* owned */
    size_t last_len;
    unsigned n; /* records so far */
};

void ring_writer_done(struct ring_writer *w);

/* Append to out what the file grows by. at: the wall clock. */
int ring_pack(struct ring_writer *w, msec at, const char *text, size_t len, struct buf *out,
              struct err *err);

bool ring_is_name(const char *name); /* of a file of these, by its ending */

struct ring_reader {
    const char *data; /* borrowed: the file */
    size_t len, pos;
    msec at; /* of the record read last, and its text with a NUL; owned */
    char *text;
    size_t text_len;
};

/* Zeros but data and len. 1: a record was read; 0: there is no more; or negative. */
int ring_next(struct ring_reader *r, struct err *err);
void ring_reader_done(struct ring_reader *r);

#endif
