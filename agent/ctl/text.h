/* text.h - JSON into words: reaching into documents, quantities with units, text that is safe to
 * print. Names and reasons come from policies, guests and other hosts: a terminal must not obey
 * them. */
#ifndef SKEIN_AGENT_CTL_TEXT_H
#define SKEIN_AGENT_CTL_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "proto/units.h"

/* ---- reaching in: "planner.host"; NULL where something is missing ---- */

const json_t *json_at(const json_t *doc, const char *path);
const char *text_at(const json_t *doc, const char *path);
const char *text_or(const json_t *doc, const char *path, const char *fallback);
/* Where an action leads: a host, or "(shutdown)", "(suspend)"; fallback where it says nothing. */
const char *text_to(const json_t *action, const char *fallback);
/* QUANTITY_UNKNOWN where it is missing, null or no number; fractions in thousandths. */
int64_t number_at(const json_t *doc, const char *path);
milli milli_at(const json_t *doc, const char *path);
msec time_at(const json_t *doc, const char *path); /* RFC 3339; wall */

/* ---- safe to print ---- */

/* Control characters (C0, DEL, C1 and those that turn the direction of writing) become '?', in
 * place. True when there were any. */
bool text_tidy(char *text);
/* Every string and key of the document: *doc is replaced by a tidy copy. */
bool text_tidy_json(json_t **doc);

/* ---- quantities; "-" when unknown ---- */

#define TEXT_SIZE 48
const char *text_mib(int64_t mib, char ret[TEXT_SIZE]);      /* "8 GiB", "1.5 GiB", "512 MiB" */
const char *text_ms(int64_t ms, char ret[TEXT_SIZE]);        /* "60 ms", "1.4 s", "14 s", "2 min" */
const char *text_milli(milli value, char ret[TEXT_SIZE]);    /* "71.5", "3" */
const char *text_number(int64_t value, char ret[TEXT_SIZE]); /* "4" */
const char *text_age(msec age, char ret[TEXT_SIZE]);         /* "0 s", "14 s": no fractions */
const char *text_ago(msec at, msec now, char ret[TEXT_SIZE]); /* "14 s ago" */

/* What a state's word (of a host, VM, plan or action) means: "green", "red", "yellow" or NULL. */
const char *text_state_color(const char *state);

#endif
