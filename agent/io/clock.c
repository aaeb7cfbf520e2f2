#include "agent/io/clock.h"

#include <time.h>

static msec read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (msec)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

msec clock_mono(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

msec clock_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}
