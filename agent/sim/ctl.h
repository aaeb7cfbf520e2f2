/* ctl.h - skein-sim ctl: commands to a running world, and what it looks like. */
#ifndef SKEIN_AGENT_SIM_CTL_H
#define SKEIN_AGENT_SIM_CTL_H

#include "agent/sim/world.h"

/* argv[0] is "ctl". Returns the exit status: 0 done, 1 refused or failed, 2 wrong usage. */
int ctl_main(int argc, char **argv);

/* The words after the socket as a command; ERR_INVALID says what is wrong with them. Strings are
 * borrowed from words. */
int ctl_parse(int n, char *const *words, Skein__SimInject *ret, struct err *err);

#endif
