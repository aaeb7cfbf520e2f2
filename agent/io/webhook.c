#include "agent/io/webhook.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "proto/util.h"

#define POLL_MS 50 /* while a transfer is under way: nobody waits for less */

struct transfer {
    struct webhooks *webhooks;
    CURL *curl;
    struct curl_slist *headers;
    char *body, *url;
    struct buf answer;
    webhook_done done;
    void *arg;
    struct transfer *next;
};

struct webhooks {
    CURLM *multi;
    uv_timer_t timer;
    struct transfer *transfers;
    unsigned n;
    void (*closed)(void *arg);
    void *closed_arg;
};

bool webhook_url_ok(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0 || strncasecmp(url, "http://", 7) == 0;
}

static void transfer_free(struct transfer *t)
{
    struct webhooks *w = t->webhooks;
    for (struct transfer **p = &w->transfers; *p != NULL; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            w->n--;
            break;
        }
    curl_multi_remove_handle(w->multi, t->curl);
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    buf_done(&t->answer);
    free(t->body);
    free(t->url);
    free(t);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct buf *answer = arg;
    if (answer->len + size * n > WEBHOOK_ANSWER_MAX)
        return 0; /* ends the transfer */
    buf_add(answer, data, size * n);
    return size * n;
}

void webhook_prepare(void *curl, const char *url, const struct curl_slist *headers,
                     const char *body, long timeout_ms, struct buf *answer)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); /* this may be no main thread */
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
}

static int outcome(const struct transfer *t, CURLcode rc, struct err *err)
{
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "%s did not answer in time", t->url);
    if (rc == CURLE_WRITE_ERROR)
        return err_set(err, ERR_LIMIT, "%s: its answer is larger than %u KiB", t->url,
                       WEBHOOK_ANSWER_MAX >> 10);
    if (rc != CURLE_OK)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", t->url, curl_easy_strerror(rc));
    if (status < 200 || status > 299)
        return err_set(err, ERR_DENIED, "%s answers %ld", t->url, status);
    return 0;
}

static void ended(struct transfer *t, CURLcode rc)
{
    struct err err = {0};
    bool well = outcome(t, rc, &err) == 0;
    if (t->done != NULL)
        t->done(t->arg, well ? NULL : &err, t->answer.data != NULL ? t->answer.data : "",
                t->answer.len);
    transfer_free(t);
}

static void on_timer(uv_timer_t *timer)
{
    struct webhooks *w = timer->data;
    int running, left;
    curl_multi_perform(w->multi, &running);
    for (CURLMsg *m; (m = curl_multi_info_read(w->multi, &left)) != NULL;) {
        struct transfer *t = NULL;
        CURLcode rc = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        ended(t, rc);
    }
    if (w->transfers == NULL)
        uv_timer_stop(&w->timer);
}

int webhooks_open(uv_loop_t *loop, struct webhooks **ret, struct err *err)
{
    struct webhooks *w = xcalloc(1, sizeof *w);
    w->multi = curl_multi_init();
    if (w->multi == NULL) {
        free(w);
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    }
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    *ret = w;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct webhooks *w = handle->data;
    curl_multi_cleanup(w->multi);
    if (w->closed != NULL)
        w->closed(w->closed_arg);
    free(w);
}

void webhooks_close(struct webhooks *w, void (*closed)(void *arg), void *arg)
{
    w->closed = closed;
    w->closed_arg = arg;
    while (w->transfers != NULL)
        transfer_free(w->transfers);
    uv_close((uv_handle_t *)&w->timer, on_closed);
}

static void prepare(struct transfer *t, long timeout_ms)
{
    t->headers = curl_slist_append(NULL, "Content-Type: application/json");
    t->headers = curl_slist_append(t->headers, "Expect:");
    curl_easy_setopt(t->curl, CURLOPT_PRIVATE, t);
    webhook_prepare(t->curl, t->url, t->headers, t->body, timeout_ms, &t->answer);
}

int webhook_post(struct webhooks *w, const char *url, const char *body, long timeout_ms,
                 webhook_done done, void *arg, struct err *err)
{
    if (w->n >= WEBHOOK_AT_ONCE)
        return err_set(err, ERR_LIMIT, "%u web hooks wait for their answers already", w->n);
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    struct transfer *t = xcalloc(1, sizeof *t);
    *t = (struct transfer){.webhooks = w, .curl = curl, .done = done, .arg = arg};
    t->url = xstrdup(url);
    t->body = xstrdup(body);
    t->next = w->transfers;
    w->transfers = t;
    w->n++;
    prepare(t, timeout_ms);
    curl_multi_add_handle(w->multi, curl);
    uv_timer_start(&w->timer, on_timer, 0, POLL_MS);
    return 0;
}
