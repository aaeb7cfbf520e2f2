/* hooks.h - what gate rules name to be asked: programs of this host's folder of hooks, and URLs.
 *
 * A program gets the question as JSON on its standard input. It exits with 0: yes, 1: no, 2: not
 * yet, all else: it failed, which means not yet; the first line that it prints is the reason.
 * Whoever may write to it or its folder besides root (or the agent's user) decides what runs on
 * this host: then it is not run. A URL is sent the question and answers {"verdict":
 * "allow"|"deny"|"wait", "reason": TEXT}. Calls block, and run in workers. */
#ifndef SKEIN_AGENT_IO_HOOKS_H
#define SKEIN_AGENT_IO_HOOKS_H

#include "proto/err.h"

#define HOOKS_DIRECTORY "/etc/skein/hooks"

/* All of them (agent/core/hook.h has the form), until one does not say yes. 0; ERR_DENIED: no;
 * ERR_UNAVAILABLE: not yet. */
int hooks_ask(const char *directory, const char *questions, struct err *err);

#endif
