/* server.h - skein-sim's shell: the world on a Unix socket, its time on the loop's clock. */
#ifndef SKEIN_AGENT_SIM_SERVER_H
#define SKEIN_AGENT_SIM_SERVER_H

#include "agent/sim/world.h"

#define SERVER_SPEED_MIN 0.01
#define SERVER_SPEED_MAX 10000.0

struct server_conf {
    const char *socket; /* made for its owner alone; a dead server's is replaced */
    double speed;       /* seconds of the world in a real one */
};

/* Serves until SIGTERM or SIGINT. The world stays the caller's. ERR_EXISTS when another world
 * listens there. */
int server_run(struct world *world, const struct server_conf *conf, struct err *err);

#endif
