/* settings.h - the parameters that a version of a policy carries: in its text, before its first
 * word,
 *
 *   --[==[skein:params {"threshold":15}]==] local P = policy { ...
 *
 * a comment for Lua, on the first line, so that lines keep their numbers. They are thereby part of
 * what people sign, of the version's digest, and of every copy of it: the voters', the audit's, a
 * file's. Pure. Only the policy itself can say whether they are its parameters: policy_load() does.
 */
#ifndef SKEIN_PLANNER_CORE_SETTINGS_H
#define SKEIN_PLANNER_CORE_SETTINGS_H

#include <jansson.h>

#include "proto/err.h"

#define SETTINGS_MAX 64                     /* parameters of one policy */
#define SETTINGS_TEXT_MAX ((size_t)8 << 10) /* bytes of what stands before the text */

/* *ret: {NAME: number, text or boolean}, a new reference, or NULL where the text carries none.
 * *ret_len (may be NULL): the bytes before the policy's own text. ERR_POLICY: it begins like such a
 * comment and is none. */
int settings_read(const char *text, size_t len, json_t **ret, size_t *ret_len, struct err *err);

/* The text with these parameters, which stand for those of the same names that it carries; owned by
 * the caller, NUL-terminated. */
int settings_write(const char *text, size_t len, const json_t *params, char **ret, size_t *ret_len,
                   struct err *err);

#endif
