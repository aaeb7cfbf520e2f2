/* cli_agent.c - asking an agent: over its socket, or over HTTPS. */
#include <curl/curl.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/text.h"

#define ANSWER_MAX ((size_t)64 << 20) /* bytes; a fleet's snapshot fits */
#define TIMEOUT_S 30L                 /* the agent itself gives up after 10 */

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct buf *answer = arg;
    if (answer->len + size * n > ANSWER_MAX)
        return 0; /* ends the transfer */
    buf_add(answer, data, size * n);
    return size * n;
}

/* curl says "could not connect"; why, and what to do, the socket itself tells. */
static int why_not_connected(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, ERR_INVALID, "socket %.40s...: the path is too long", path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    int why = rc < 0 ? errno : 0;
    close(fd);
    if (why == EACCES || why == EPERM)
        return err_set(err, ERR_DENIED,
                       "socket %s: permission denied; try: as root, or in the group of the socket",
                       path);
    return err_set(err, ERR_UNAVAILABLE,
                   "no agent answers at %s%s%s; try: systemctl status "
                   "skein-agent, or --socket PATH",
                   path, why != 0 ? ": " : "", why != 0 ? strerror(why) : "");
}

/* Where the agent is, for people. */
static const char *place(const struct cli *cli)
{
    return cli->url != NULL ? cli->url : cli->socket;
}

static int transport_error(CURLcode rc, const struct cli *cli, const char *detail, struct err *err)
{
    if (rc == CURLE_COULDNT_CONNECT && cli->url == NULL)
        return why_not_connected(cli->socket, err);
    if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST)
        return err_set(err, ERR_UNAVAILABLE,
                       "no agent answers at %s: %s; try: another host, or api.listen there",
                       cli->url, detail[0] != '\0' ? detail : curl_easy_strerror(rc));
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        return err_set(
            err, ERR_UNAUTHENTICATED,
            "%s: %s; --tls-ca wants the machines' root, and the address must be one that "
            "its certificate names",
            cli->url, detail[0] != '\0' ? detail : curl_easy_strerror(rc));
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "the agent at %s did not answer within %ld s", place(cli),
                       TIMEOUT_S);
    if (rc == CURLE_WRITE_ERROR)
        return err_set(err, ERR_LIMIT, "the agent's answer is larger than %zu MiB",
                       ANSWER_MAX >> 20);
    return err_set(err, ERR_IO, "the agent at %s: %s", place(cli),
                   detail[0] != '\0' ? detail : curl_easy_strerror(rc));
}

static bool is_encrypted(const char *path)
{
    char line[256];
    bool found = false;
    FILE *f = fopen(path, "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
        found = strstr(line, "ENCRYPTED") != NULL;
    if (f != NULL)
        fclose(f);
    return found;
}

/* A person's certificate and key, and the root that the agent's must lead to. */
static int set_tls(const struct cli *cli, CURL *curl, struct err *err)
{
    if (cli->tls_certificate == NULL || cli->tls_key == NULL || cli->tls_ca == NULL)
        return err_set(err, ERR_INVALID,
                       "--url wants --tls-cert, --tls-key and --tls-ca (or SKEIN_TLS_CERT, "
                       "SKEIN_TLS_KEY, SKEIN_TLS_CA)");
    curl_easy_setopt(curl, CURLOPT_SSLCERT, cli->tls_certificate);
    curl_easy_setopt(curl, CURLOPT_SSLKEY, cli->tls_key);
    curl_easy_setopt(curl, CURLOPT_CAINFO, cli->tls_ca);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    if (!is_encrypted(cli->tls_key))
        return 0;
    _cleanup_(args_wipep) char *passphrase =
        args_ask_passphrase(getenv("SKEIN_TLS_PASSPHRASE_FILE"), cli->tls_key);
    if (passphrase == NULL)
        return err_set(err, ERR_UNAUTHENTICATED,
                       "%s is encrypted; name a file with its passphrase in "
                       "SKEIN_TLS_PASSPHRASE_FILE",
                       cli->tls_key);
    curl_easy_setopt(curl, CURLOPT_KEYPASSWD, passphrase); /* copied */
    return 0;
}

/* What every call has in common; NULL with err set. */
static CURL *prepare(const struct cli *cli, const char *path, char detail[CURL_ERROR_SIZE],
                     struct err *err)
{
    size_t n = cli->url != NULL ? strlen(cli->url) : 0;
    while (n > 0 && cli->url[n - 1] == '/')
        n--;
    _cleanup_(freep) char *url = cli->url != NULL ? xasprintf("%.*s%s", (int)n, cli->url, path)
                                                  : xasprintf("http://localhost%s", path);
    CURL *curl = curl_easy_init();
    detail[0] = '\0';
    if (curl == NULL) {
        err_set(err, ERR_INTERNAL, "libcurl does not start");
        return NULL;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    if (cli->url == NULL) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
    } else if (set_tls(cli, curl, err) < 0) {
        curl_easy_cleanup(curl);
        return NULL;
    }
    return curl;
}

static int perform(const struct cli *cli, const char *path, const char *body, struct buf *answer,
                   long *ret_status, struct err *err)
{
    char detail[CURL_ERROR_SIZE];
    CURL *curl = prepare(cli, path, detail, err);
    if (curl == NULL)
        return -(int)err->code;
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
    }
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return rc == CURLE_OK ? 0 : transport_error(rc, cli, detail, err);
}

/* {"error": {"code", "message"}} */
static int refusal(const json_t *doc, long status, struct err *err)
{
    const char *code = text_at(doc, "error.code"), *message = text_at(doc, "error.message");
    if (message == NULL)
        return err_set(err, ERR_INTERNAL, "the agent answers %ld without a reason", status);
    enum err_code known = err_from_name(code != NULL ? code : "");
    return err_set(err, known > ERR_OK && known < ERR_COUNT ? known : ERR_UNKNOWN, "%s", message);
}

int cli_call(const struct cli *cli, const char *path, const char *body, json_t **ret,
             struct err *err)
{
    _cleanup_(buf_done) struct buf answer = {0};
    json_error_t where;
    long status = 0;
    int rc = perform(cli, path, body, &answer, &status, err);
    if (rc < 0)
        return rc;
    json_t *doc = json_loadb(answer.data != NULL ? answer.data : "", answer.len,
                             JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(doc)) {
        json_decref(doc);
        return err_set(err, ERR_INTERNAL, "the agent at %s answers %ld with what is no JSON object",
                       place(cli), status);
    }
    if (status == 200) {
        *ret = doc;
        return 0;
    }
    rc = refusal(doc, status, err);
    json_decref(doc);
    return rc;
}

int cli_get(const struct cli *cli, const char *path, json_t **ret, struct err *err)
{
    int rc = cli_call(cli, path, NULL, ret, err);
    if (rc == 0 && cli->format != CLI_JSON)
        text_tidy_json(ret);
    return rc;
}

/* ---- events ---- */

struct stream {
    int (*each)(void *arg, const char *data, struct err *err);
    void *arg;
    struct buf line;
    struct err *err;
    bool stopped; /* each said so */
};

/* A line of the stream (WHATWG, server-sent events); ours have their data in one line. */
static void take_line(struct stream *s)
{
    static const char data[] = "data: ";
    if (s->line.len >= sizeof data && strncmp(s->line.data, data, sizeof data - 1) == 0)
        s->stopped = s->each(s->arg, s->line.data + sizeof data - 1, s->err) < 0;
    s->line.len = 0;
}

static size_t on_stream(char *data, size_t size, size_t n, void *arg)
{
    struct stream *s = arg;
    for (size_t i = 0; i < size * n && !s->stopped; i++) {
        if (data[i] == '\n')
            take_line(s);
        else if (s->line.len >= ANSWER_MAX)
            return 0;
        else
            buf_add(&s->line, &data[i], 1);
    }
    return s->stopped ? 0 : size * n;
}

int cli_follow(const struct cli *cli, const char *path,
               int (*each)(void *arg, const char *data, struct err *err), void *arg,
               struct err *err)
{
    char detail[CURL_ERROR_SIZE];
    struct stream s = {.each = each, .arg = arg, .err = err};
    CURL *curl = prepare(cli, path, detail, err);
    if (curl == NULL)
        return -(int)err->code;
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_stream);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &s);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    buf_done(&s.line);
    if (s.stopped)
        return -(int)err->code;
    if (rc != CURLE_OK)
        return transport_error(rc, cli, detail, err);
    return err_set(err, ERR_UNAVAILABLE, "the agent at %s has ended the stream", place(cli));
}
