/* hostile.c - clients that mean no good, for the end-to-end tests: so many connections at once to
 * an agent's mesh port, of four kinds in turn. One says nothing (half open), one sends noise, one a
 * TLS record so slowly that it never ends, one shows a certificate of another root. Whoever is
 * turned away comes back a second later. They come from sixteen addresses of 127.66.0.0/16.
 *
 * usage: hostile IP PORT CONNECTIONS SECONDS CERTIFICATE KEY
 * Prints how many connections were made, how many stood at once, and how many still do at the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_MS 1000
#define SLOW_MS 250
#define SOURCES 16
#define NOISE 4096

enum kind { SILENT, NOISY, SLOW, FOREIGN, KINDS };

struct client {
    enum kind kind;
    int fd; /* -1: not connected */
    bool begun, shaken;
    long next; /* ms: when it connects, or speaks, again */
    gnutls_session_t session;
};

static gnutls_certificate_credentials_t credentials;
static struct sockaddr_in target = {.sin_family = AF_INET};
static unsigned made, open_now, open_most;

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void turned_away(struct client *c)
{
    if (c->session != NULL)
        gnutls_deinit(c->session);
    c->session = NULL;
    close(c->fd);
    c->fd = -1;
    c->next = now_ms() + AGAIN_MS;
    open_now--;
}

static void begin(struct client *c, unsigned number)
{
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x7f420001 + number / KINDS % SOURCES)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0) {
        perror("hostile");
        exit(2);
    }
    c->begun = c->shaken = false;
    open_now++;
    if (connect(c->fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        turned_away(c);
}

static void shake(struct client *c)
{
    int rc = c->shaken ? 0 : gnutls_handshake(c->session);
    char byte;
    c->shaken |= rc == 0;
    if (rc == 0) /* in TLS 1.3 the verdict comes later */
        rc = (int)gnutls_record_recv(c->session, &byte, 1);
    if (rc != GNUTLS_E_AGAIN && rc <= 0)
        turned_away(c);
}

static void say_first(struct client *c)
{
    char noise[NOISE];
    ssize_t n = 0;
    c->begun = true;
    made++;
    open_most = open_now > open_most ? open_now : open_most;
    if (c->kind == NOISY) {
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (char)rand();
        n = send(c->fd, noise, sizeof noise, MSG_NOSIGNAL);
    } else if (c->kind == SLOW) {
        n = send(c->fd, "\x16\x03\x01\x3f\x00\x01\x00\x3e\xfc\x03\x03", 11, MSG_NOSIGNAL);
        c->next = now_ms() + SLOW_MS;
    } else if (c->kind == FOREIGN) {
        gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
        gnutls_set_default_priority(c->session);
        gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, credentials);
        gnutls_transport_set_int(c->session, c->fd);
        shake(c);
    }
    if (n < 0)
        turned_away(c);
}

static void listen_to(struct client *c)
{
    char bytes[1024];
    if (c->kind == FOREIGN) {
        shake(c);
        return;
    }
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        turned_away(c);
}

static void go_on(struct client *c, unsigned number)
{
    if (c->fd < 0 && now_ms() >= c->next)
        begin(c, number);
    else if (c->fd >= 0 && c->begun && c->kind == SLOW && now_ms() >= c->next) {
        c->next = now_ms() + SLOW_MS;
        if (send(c->fd, "\x5a", 1, MSG_NOSIGNAL) < 0)
            turned_away(c);
    }
}

static void turn(struct client *clients, struct pollfd *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        go_on(&clients[i], i);
        fds[i] =
            (struct pollfd){.fd = clients[i].fd, .events = clients[i].begun ? POLLIN : POLLOUT};
    }
    poll(fds, n, 50);
    for (unsigned i = 0; i < n; i++) {
        if (clients[i].fd < 0 || fds[i].revents == 0)
            continue;
        if (!clients[i].begun && (fds[i].revents & (POLLERR | POLLHUP)) != 0)
            turned_away(&clients[i]);
        else if (!clients[i].begun)
            say_first(&clients[i]);
        else
            listen_to(&clients[i]);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (argc != 7 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
        fprintf(stderr, "usage: hostile IP PORT CONNECTIONS SECONDS CERTIFICATE KEY\n");
        return 2;
    }
    target.sin_port = htons((unsigned short)atoi(argv[2]));
    unsigned n = (unsigned)atoi(argv[3]);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    gnutls_certificate_allocate_credentials(&credentials);
    if (gnutls_certificate_set_x509_key_file(credentials, argv[5], argv[6], GNUTLS_X509_FMT_PEM) <
        0) {
        fprintf(stderr, "hostile: %s cannot be used\n", argv[5]);
        return 2;
    }
    struct client *clients = calloc(n, sizeof *clients);
    struct pollfd *fds = calloc(n, sizeof *fds);
    if (clients == NULL || fds == NULL)
        return 2;
    for (unsigned i = 0; i < n; i++)
        clients[i] = (struct client){.kind = i % KINDS, .fd = -1};
    for (long end = now_ms() + 1000 * atol(argv[4]); now_ms() < end;)
        turn(clients, fds, n);
    printf("%u connections, %u at once, %u at the end\n", made, open_most, open_now);
    return 0;
}
