#include "agent/io/hooks.h"

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/command_run.h"
#include "agent/io/webhook.h"
#include "proto/canon.h"
#include "proto/util.h"

#define REASON_MAX 200

/* One line that logs and terminals may have. */
static void tidy(char *text)
{
    text[strcspn(text, "\r\n")] = '\0';
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    json_t *valid = json_string(text);
    if (valid == NULL) /* no UTF-8 */
        text[0] = '\0';
    json_decref(valid);
}

static int verdict(int answer, const char *rule, const char *reason, struct err *err)
{
    const char *colon = reason[0] != '\0' ? ": " : "";
    if (answer == 0)
        return 0;
    if (answer == 1)
        return err_set(err, ERR_DENIED, "gate rule %s: its hook says no%s%s", rule, colon, reason);
    if (answer == 2)
        return err_set(err, ERR_UNAVAILABLE, "gate rule %s: its hook says wait%s%s", rule, colon,
                       reason);
    return err_set(err, ERR_UNAVAILABLE, "gate rule %s: its hook failed%s%s", rule, colon, reason);
}

/* ---- programs ---- */

static int check_owner(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, "%s: %m", path);
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0)
        return err_set(err, ERR_DENIED, "%s may be written by others than root", path);
    return 0;
}

static int ask_program(const char *directory, const char *hook, const char *rule, msec patience,
                       const char *question, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, hook);
    const char *const argv[] = {path, NULL};
    char said[REASON_MAX];
    int status = 0;
    struct err why = {0};
    if (check_owner(directory, &why) < 0 || check_owner(path, &why) < 0 ||
        command_run(argv, question, patience, said, sizeof said, &status, &why) < 0)
        return verdict(3, rule, why.msg, err);
    tidy(said);
    return verdict(status, rule, said, err);
}

/* ---- URLs ---- */

static int post(const char *url, const char *question, msec patience, struct buf *answer,
                struct err *err)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    long status = 0;
    if (curl == NULL)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    webhook_prepare(curl, url, headers, question, (long)patience, answer);
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    if (rc != CURLE_OK)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", url, curl_easy_strerror(rc));
    return status >= 200 && status <= 299
               ? 0
               : err_set(err, ERR_UNAVAILABLE, "%s answers %ld", url, status);
}

static int ask_url(const char *url, const char *rule, msec patience, const char *question,
                   struct err *err)
{
    static const char *const words[] = {"allow", "deny", "wait"};
    _cleanup_(buf_done) struct buf text = {0};
    _cleanup_json_ json_t *answer = NULL;
    struct err why = {0};
    if (post(url, question, patience, &text, &why) < 0 ||
        canon_parse(text.data != NULL ? text.data : "", text.len, url, &answer, &why) < 0)
        return verdict(3, rule, why.msg, err);
    const char *word = json_string_value(json_object_get(answer, "verdict"));
    const char *given = json_string_value(json_object_get(answer, "reason"));
    _cleanup_(freep) char *reason = xasprintf("%.*s", REASON_MAX - 1, given != NULL ? given : "");
    int n = 0;
    while (n < 3 && (word == NULL || strcmp(word, words[n]) != 0))
        n++;
    tidy(reason);
    return verdict(n, rule, n < 3 ? reason : "its answer has no verdict", err);
}

/* ---- both ---- */

static int ask(const char *directory, const json_t *one, struct err *err)
{
    const json_t *question = json_object_get(one, "question");
    const char *hook = json_string_value(json_object_get(one, "hook"));
    const char *rule = json_string_value(json_object_get(question, "rule"));
    msec patience = json_integer_value(json_object_get(one, "seconds")) * 1000;
    _cleanup_(freep) char *text = json_dumps(question, JSON_COMPACT | JSON_SORT_KEYS);
    if (hook == NULL || rule == NULL || text == NULL)
        return err_set(err, ERR_INTERNAL, "a question to a hook is incomplete");
    return webhook_url_ok(hook) ? ask_url(hook, rule, patience, text, err)
                                : ask_program(directory, hook, rule, patience, text, err);
}

int hooks_ask(const char *directory, const char *questions, struct err *err)
{
    _cleanup_json_ json_t *list = json_loads(questions, 0, NULL);
    const json_t *one;
    size_t i;
    int rc = 0;
    json_array_foreach(list, i, one)
    {
        if (rc == 0)
            rc = ask(directory, one, err);
    }
    return list != NULL ? rc : err_set(err, ERR_INTERNAL, "questions to hooks are no JSON");
}
