/* api_tokens.c - the tokens by which hosts may join: shown, and spent. */
#include "agent/core/api_priv.h"
#include "proto/canon.h"

static json_t *vote_json(const Skein__Vote *v)
{
    char at[TIME_TEXT_SIZE];
    time_format((msec)v->at_ms, at);
    return json_pack("{s:s, s:s, s:o}", "person", v->person, "at", at, "reason",
                     api_text(v->reason != NULL ? v->reason : ""));
}

/* Without its hash: that would do no harm, and is of no use. */
static json_t *token_json(const Skein__Token *token, msec wall)
{
    char until[TIME_TEXT_SIZE], used[TIME_TEXT_SIZE];
    time_format((msec)token->vote->expires_at_ms, until);
    json_t *o =
        json_pack("{s:s%, s:s, s:s, s:s, s:s, s:o}", "id", token->hash,
                  (size_t)(TOKENS_ID_SIZE - 1), "host", token->host, "role", token->role, "until",
                  until, "status", tokens_status(token, wall), "created", vote_json(token->vote));
    if (token->revoked != NULL)
        json_object_set_new(o, "revoked", vote_json(token->revoked));
    if (token->has_used_at_ms) {
        time_format((msec)token->used_at_ms, used);
        json_object_set_new(o, "used",
                            json_pack("{s:s, s:s, s:s}", "at", used, "issuer", token->issuer,
                                      "request", token->request));
    }
    return o;
}

int api_show_tokens(const struct api_context *c, const struct api_request *r, json_t **ret,
                    struct err *err)
{
    (void)r, (void)err;
    Skein__Token *const *tokens;
    size_t n = tokens_all(state_tokens(c->state), &tokens);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, token_json(tokens[i], c->step->now.wall));
    *ret = json_pack("{s:o}", "tokens", list);
    return 0;
}

/* ---- spending one ---- */

static bool is_digest(const char *text)
{
    return strlen(text) == HASH_HEX_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == HASH_HEX_SIZE - 1;
}

/* The texts of ret are doc's. */
static int read_use(const struct api_request *r, json_t **ret_doc, Skein__TokenUse *ret,
                    struct err *err)
{
    _cleanup_json_ json_t *doc =
        json_loadb((const char *)r->body, r->body_len, JSON_REJECT_DUPLICATES, NULL);
    const char *proof, *request, *host, *role;
    if (json_unpack(doc, "{s:s, s:s, s:s, s:s !}", "proof", &proof, "request", &request, "host",
                    &host, "role", &role) < 0 ||
        !is_digest(proof) || !is_digest(request) || strlen(host) >= TOKENS_NAME_SIZE ||
        strlen(role) >= TOKENS_NAME_SIZE)
        return err_set(err, ERR_INVALID,
                       "wants proof and request, of 64 hexadecimal digits each, host and role");
    skein__token_use__init(ret);
    ret->proof = (char *)(uintptr_t)proof;
    ret->request = (char *)(uintptr_t)request;
    ret->host = (char *)(uintptr_t)host;
    ret->role = (char *)(uintptr_t)role;
    *ret_doc = TAKE_PTR(doc);
    return 0;
}

/* Guesses fill no audit. */
static void refuse(struct api *api, struct api_context *c, const struct caller *caller,
                   const struct err *err)
{
    unsigned untold = 0;
    bool guess = err->code == ERR_NOT_FOUND || err->code == ERR_INVALID;
    if (!guess || hush_tells(&api->guesses, c->step->now.mono, &untold))
        effect_audit(c->step, "token.refused", "{s:s, s:o, s:s, s:o*}", "code", err_name(err->code),
                     "reason", api_text(err->msg), "issuer",
                     caller->remote ? caller->host : c->step->conf->host, "untold",
                     untold > 0 ? json_integer(untold) : NULL);
    api_answer_err(c, caller, err);
}

static void propose(struct api *api, struct api_context *c, const struct caller *caller,
                    Skein__TokenUse *use, const Skein__Token *token)
{
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    use->issuer = (char *)(uintptr_t)(caller->remote ? caller->host : c->step->conf->host);
    entry.kind_case = SKEIN__ENTRY__KIND_TOKEN_USE;
    entry.token_use = use;
    json_t *answer = json_pack("{s:s%, s:s, s:s%}", "token", token->hash,
                               (size_t)(TOKENS_ID_SIZE - 1), "hash", token->hash, "envelope",
                               (const char *)token->vote->envelope.data, token->vote->envelope.len);
    REQUIRE(answer != NULL); /* envelopes are JSON, verified */
    struct call call = {.stage = CALL_PROPOSED, .caller = *caller, .answer = answer};
    call.key = effect_propose(c->step, OWNER_API, &entry);
    api_add_call(api, &call);
}

/* Judged first by what is known already, so that guesses cost no entry; and by every voter when it
 * is applied: of two at once one comes first. */
void api_token_use(struct api *api, struct api_context *c, const struct caller *caller,
                   const struct api_request *r)
{
    _cleanup_json_ json_t *doc = NULL;
    const Skein__Token *token;
    Skein__TokenUse use;
    struct err err = {0};
    if (read_use(r, &doc, &use, &err) < 0) {
        refuse(api, c, caller, &err);
    } else if (!api_leads(c)) {
        if (api_hand_on(api, c, caller, r, false, &err) < 0)
            api_answer_err(c, caller, &err);
    } else if (tokens_judge(state_tokens(c->state), &use, c->step->now.wall, &token, &err) < 0) {
        refuse(api, c, caller, &err);
    } else if (api_can_wait(api, &err)) {
        propose(api, c, caller, &use, token);
    } else {
        api_answer_err(c, caller, &err);
    }
}
