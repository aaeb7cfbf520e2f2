/* table.h - tables like lsblk's, through libsmartcols. */
#ifndef SKEIN_AGENT_CTL_TABLE_H
#define SKEIN_AGENT_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table; /* opaque */

struct table_column {
    const char *name; /* of the first column NULL: no headings */
    bool right;       /* numbers */
    bool wide;        /* only with -o wide */
    bool cut;         /* shortened where the terminal is narrow */
    bool wrap;        /* or continued on the next line */
};

/* Columns marked wide are left out unless wide. columns is borrowed. */
struct table *table_new(const struct table_column *columns, size_t n, bool wide);
/* A line; cells are set by column number, those left out are empty. Text is copied. */
void table_line(struct table *t);
void table_set(struct table *t, size_t column, const char *text);
/* Colour by what a state's word means: good, bad, under way. */
void table_set_state(struct table *t, size_t column, const char *state);
/* Prints (nothing when there is no line) and frees. */
void table_print(struct table *t, FILE *to);

#endif
