#include "proto/frame.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/util.h"

uint8_t *frame_pack(const ProtobufCMessage *message, size_t *ret_len)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    REQUIRE(len <= UINT32_MAX);
    uint8_t *bytes = xmalloc(FRAME_HEADER + len);
    for (unsigned i = 0; i < FRAME_HEADER; i++)
        bytes[i] = (uint8_t)(len >> (24 - 8 * i));
    protobuf_c_message_pack(message, bytes + FRAME_HEADER);
    *ret_len = FRAME_HEADER + len;
    return bytes;
}

int frame_peek(const uint8_t *bytes, size_t len, size_t max, size_t *ret_len, struct err *err)
{
    size_t size = 0;
    if (len < FRAME_HEADER)
        return 0;
    for (unsigned i = 0; i < FRAME_HEADER; i++)
        size = size << 8 | bytes[i];
    if (size > max)
        return err_set(err, ERR_LIMIT, "a message of %zu bytes; %zu are allowed", size, max);
    *ret_len = size;
    return len - FRAME_HEADER >= size;
}

int frame_connect(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, ERR_INVALID, "%s: longer than the %zu bytes of a socket's name", path,
                       sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "no socket: %m");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int rc = err_set(err, ERR_UNAVAILABLE, "%s: %m", path);
        close(fd);
        return rc;
    }
    return fd;
}

int frame_send(int fd, const ProtobufCMessage *message, struct err *err)
{
    size_t len, done = 0;
    _cleanup_(freep) uint8_t *bytes = frame_pack(message, &len);
    while (done < len) {
        ssize_t n = send(fd, bytes + done, len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_UNAVAILABLE, "the other end is gone: %m");
        done += (size_t)n;
    }
    return 0;
}

static msec mono_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (msec)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int wait_readable(int fd, msec end, struct err *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        msec left = end < 0 ? -1 : MAX(end - mono_now(), 0);
        int n = poll(&p, 1, (int)MIN(left, (msec)INT32_MAX));
        if (n > 0)
            return 0;
        if (n == 0)
            return err_set(err, ERR_TIMEOUT, "no answer");
        if (errno != EINTR)
            return err_set(err, ERR_IO, "poll: %m");
    }
}

static int receive(int fd, uint8_t *bytes, size_t len, msec end, struct err *err)
{
    for (size_t done = 0; done < len;) {
        int rc = wait_readable(fd, end, err);
        if (rc < 0)
            return rc;
        ssize_t n = recv(fd, bytes + done, len - done, 0);
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "the other end is gone");
        if (n < 0 && errno != EINTR)
            return err_set(err, ERR_UNAVAILABLE, "the other end is gone: %m");
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int frame_receive(int fd, msec timeout, uint8_t **ret, size_t *ret_len, struct err *err)
{
    uint8_t header[FRAME_HEADER];
    size_t len = 0;
    msec end = timeout < 0 ? -1 : mono_now() + timeout;
    int rc = receive(fd, header, sizeof header, end, err);
    if (rc == 0)
        rc = frame_peek(header, sizeof header, FRAME_REPLY_MAX, &len, err);
    if (rc < 0)
        return rc;
    _cleanup_(freep) uint8_t *bytes = xmalloc(MAX(len, (size_t)1));
    if ((rc = receive(fd, bytes, len, end, err)) < 0)
        return rc;
    *ret = TAKE_PTR(bytes);
    *ret_len = len;
    return 0;
}
