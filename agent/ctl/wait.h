/* wait.h - the option --wait[=SECONDS]: until the plan has ended; done only if it succeeded. */
#ifndef SKEIN_AGENT_CTL_WAIT_H
#define SKEIN_AGENT_CTL_WAIT_H

#include "agent/ctl/cli.h"

struct wait_args {
    bool given;
    const char *seconds;
};

#define WAIT_OPTION(a)                                                                             \
    {                                                                                              \
        "wait", '\0', &(a).given, &(a).seconds                                                     \
    }
#define WAIT_HELP                                                                                  \
    "  --wait[=SECONDS]        until the plan has ended (so long at most); exit status 0 only if " \
    "it\n                          SUCCEEDED\n"

int wait_check(const struct cli *cli, const struct wait_args *args); /* 0, or 2: said */
/* Follows the plan (progress on stdout, on stderr with -o json, whose last document is then
 * printed) and returns the exit status. */
int wait_for_plan(const struct cli *cli, const char *id, const struct wait_args *args);

/* The answer to a request names the plan that was made: prints its id, or with -o json the answer
 * where nobody waits, says that it waits for an approval where approval, and waits for it where
 * asked to. Returns the exit status. */
int wait_answered(const struct cli *cli, const json_t *answer, bool approval,
                  const struct wait_args *args);

#endif
