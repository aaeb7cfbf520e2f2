/* failure.h - the catalogue of failed moves: what a code and its message usually mean, and what to
 * do. Held once; report, API and handbook show the same words. */
#ifndef SKEIN_AGENT_CORE_FAILURE_H
#define SKEIN_AGENT_CORE_FAILURE_H

struct failure {
    const char *kind; /* "connection": stable, for scripts */
    const char *cause, *remedy;
};

/* The entry for a failed action; never NULL. code and message may be NULL. */
const struct failure *failure_find(const char *code, const char *message);

#endif
