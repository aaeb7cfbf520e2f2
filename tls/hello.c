#include "tls/hello.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "proto/codec.h"
#include "proto/transport.pb-c.h"

static void hello_freep(Skein__Hello **p)
{
    if (*p != NULL)
        skein__hello__free_unpacked(*p, NULL);
}

uint8_t *hello_pack(const struct hello *hello, size_t *ret_len)
{
    Skein__Hello m = SKEIN__HELLO__INIT;
    m.has_protocol = m.has_incarnation = m.has_link = 1;
    m.protocol = hello->protocol;
    m.cluster = (char *)(uintptr_t)hello->cluster;
    m.host = (char *)(uintptr_t)hello->peer.host;
    m.version = (char *)(uintptr_t)hello->peer.version;
    m.listen = (char *)(uintptr_t)hello->peer.listen;
    m.incarnation = hello->peer.incarnation;
    m.link = hello->link;
    return codec_pack(&m.base, ret_len);
}

static int check_port(const char *text, struct err *err, const char *address)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || *end != '\0' || port > 65535)
        return err_set(err, ERR_INVALID, "\"%.60s\": wants a port from 1 to 65535", address);
    return 0;
}

int address_check(const char *address, struct err *err)
{
    char host[TRANSPORT_ADDRESS_SIZE];
    uint8_t ip[16];
    bool six = address[0] == '[';
    const char *end = six ? strchr(address, ']') : strchr(address, ':');
    const char *from = address + six, *port = end != NULL ? end + six : NULL;
    if (strlen(address) >= TRANSPORT_ADDRESS_SIZE || end == NULL || *port != ':')
        return err_set(err, ERR_INVALID, "\"%.60s\" is not IP:PORT", address);
    snprintf(host, sizeof host, "%.*s", (int)(end - from), from);
    if (inet_pton(six ? AF_INET6 : AF_INET, host, ip) != 1)
        return err_set(err, ERR_INVALID, "\"%.60s\": \"%s\" is not an IP address", address, host);
    return check_port(port + 1, err, address);
}

/* An absent text is empty; one that does not fit is an error, never cut. */
static int copy_text(const char *what, const char *from, char *to, size_t size, struct err *err)
{
    if (from == NULL)
        from = "";
    if (strlen(from) >= size)
        return err_set(err, ERR_LIMIT, "hello: %s longer than %zu bytes", what, size - 1);
    snprintf(to, size, "%s", from);
    return 0;
}

static int take_texts(const Skein__Hello *m, struct hello *h, struct err *err)
{
    int rc;
    if ((rc = copy_text("cluster", m->cluster, h->cluster, sizeof h->cluster, err)) < 0 ||
        (rc = copy_text("host", m->host, h->peer.host, sizeof h->peer.host, err)) < 0 ||
        (rc = copy_text("version", m->version, h->peer.version, sizeof h->peer.version, err)) < 0 ||
        (rc = copy_text("listen", m->listen, h->peer.listen, sizeof h->peer.listen, err)) < 0)
        return rc;
    if (!uuid_is_valid(h->cluster))
        return err_set(err, ERR_INVALID, "hello: cluster is not a lower-case UUID");
    if ((rc = name_check("host", h->peer.host, err)) < 0 ||
        (h->peer.listen[0] != '\0' && (rc = address_check(h->peer.listen, err)) < 0))
        return err_wrap(err, "hello");
    return 0;
}

int hello_unpack(const uint8_t *bytes, size_t len, struct hello *ret, struct err *err)
{
    _cleanup_(hello_freep) Skein__Hello *m = NULL;
    struct hello h = {0};
    if (len > HELLO_MAX)
        return err_set(err, ERR_LIMIT, "hello: larger than %d bytes", HELLO_MAX);
    int rc =
        codec_unpack(&skein__hello__descriptor, "hello", bytes, len, (ProtobufCMessage **)&m, err);
    if (rc < 0 || (rc = take_texts(m, &h, err)) < 0)
        return rc;
    if (!m->has_protocol || !m->has_incarnation || !m->has_link)
        return err_set(err, ERR_INVALID, "hello: protocol, incarnation or link is missing");
    h.protocol = m->protocol;
    h.peer.incarnation = m->incarnation;
    h.link = m->link;
    *ret = h;
    return 0;
}
