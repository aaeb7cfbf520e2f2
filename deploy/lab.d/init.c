/* init.c - process 1 of a lab's and of a host's process namespace.
 * Reaps what is orphaned to it (a QEMU that nobody reaps would look alive to libvirtd for ever) and
 * does nothing else; its death ends every process of the namespace. */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void)
{
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        sigwaitinfo(&child, NULL);
    }
}
