/* skein: the operator's command line. */
#include "agent/ctl/commands.h"
#include "planner/worker/worker.h"

int main(int argc, char **argv)
{
    worker_main_if_asked(argc, argv); /* this program is its own policy worker */
    return ctl_main(argc, argv);
}
