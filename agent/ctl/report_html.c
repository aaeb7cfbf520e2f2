#include "agent/ctl/report_html.h"

#include "agent/ctl/text.h"
#include "proto/canon.h"
#include "proto/util.h"

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Skein: plan ";

static const char style[] =
    "</title>\n"
    "<style>\n"
    "body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 "
    "1em; color: #222; background: #fff }\n"
    "table { border-collapse: collapse; width: 100%; margin: 1em 0 }\n"
    "th, td { text-align: left; padding: .3em .6em; border-bottom: 1px solid #ccc; vertical-align: "
    "top }\n"
    "td.n { text-align: right; white-space: nowrap }\n"
    "code { font-size: .85em; overflow-wrap: anywhere }\n"
    ".SUCCEEDED { color: #05601f } .FAILED, .NEEDS_OPERATOR { color: #a50f0f }\n"
    "dt { font-weight: 600 } dd { margin: 0 0 .5em 1.5em }\n"
    "@media (prefers-color-scheme: dark) { body { color: #ddd; background: #16181a }\n"
    "  th, td { border-color: #444 } .SUCCEEDED { color: #7fd694 }\n"
    "  .FAILED, .NEEDS_OPERATOR { color: #ff9a9a } }\n"
    "</style>\n"
    "</head>\n"
    "<body>\n";

/* Names and messages come from anywhere. */
static void put(FILE *to, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        switch (*c) {
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '&':
            fputs("&amp;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        default:
            fputc(*c, to);
        }
    }
}

static void put_term(FILE *to, const char *term, const char *text)
{
    fprintf(to, "<dt>%s</dt><dd>", term);
    put(to, text);
    fputs("</dd>\n", to);
}

static void put_cell(FILE *to, const char *class, const char *text)
{
    fprintf(to, "<td%s%s%s>", class != NULL ? " class=\"" : "", class != NULL ? class : "",
            class != NULL ? "\"" : "");
    put(to, text);
    fputs("</td>", to);
}

/* Measured, and what was predicted in brackets. */
static void put_both(FILE *to, const char *measured, const char *predicted)
{
    _cleanup_(freep) char *text =
        strcmp(predicted, "-") == 0 ? xstrdup(measured) : xasprintf("%s (%s)", measured, predicted);
    put_cell(to, "n", text);
}

static void put_votes(FILE *to, const json_t *report)
{
    size_t i;
    const json_t *vote;
    json_array_foreach(json_object_get(report, "approvals"), i, vote)
    {
        _cleanup_(freep) char *text = xasprintf(
            "%s by %s (%s) at %s%s%s", text_or(vote, "verdict", "?"), text_or(vote, "person", "?"),
            text_or(vote, "role", "?"), text_or(vote, "at", "?"),
            text_at(vote, "reason") != NULL ? ": " : "", text_or(vote, "reason", ""));
        put_term(to, "Signed", text);
    }
}

static void put_head(FILE *to, const json_t *report)
{
    const char *id = text_or(report, "id", "?");
    fputs(head, to);
    put(to, id);
    fputs(style, to);
    fputs("<h1>Plan ", to);
    put(to, id);
    fputs("</h1>\n<dl>\n", to);
    _cleanup_(freep) char *state = xasprintf("%s%s%s", text_or(report, "state", "?"),
                                             text_at(report, "state_reason") != NULL ? ": " : "",
                                             text_or(report, "state_reason", ""));
    _cleanup_(freep) char *what =
        xasprintf("class %s, policy %s, made %s by %s", text_or(report, "class", "?"),
                  text_or(report, "policy", "none"), text_or(report, "made_at", "?"),
                  text_or(report, "author", "?"));
    _cleanup_(freep) char *when = xasprintf("%s to %s", text_or(report, "started_at", "not begun"),
                                            text_or(report, "ended_at", "not ended"));
    put_term(to, "State", state);
    put_term(to, "Why", text_or(report, "why", "-"));
    put_term(to, "What", what);
    put_votes(to, report);
    put_term(to, "When", when);
    put_term(to, "Digest", text_or(report, "digest", "?"));
    fputs("</dl>\n", to);
}

static void put_remark(FILE *to, const json_t *move)
{
    fputs("<td>", to);
    if (text_at(move, "code") != NULL) {
        put(to, text_at(move, "code"));
        fputs(": ", to);
        put(to, text_or(move, "message", ""));
    } else {
        put(to, text_or(move, "reason", ""));
    }
    if (text_at(move, "failure.kind") != NULL) {
        fputs("<br><b>", to);
        put(to, text_at(move, "failure.kind"));
        fputs("</b>: ", to);
        put(to, text_or(move, "failure.cause", ""));
        fputs("<br>Try: ", to);
        put(to, text_or(move, "failure.remedy", ""));
    }
    fputs("<br><code>", to);
    put(to, text_or(move, "virsh", ""));
    fputs("</code></td>", to);
}

static void put_move(FILE *to, const json_t *move)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    const char *state = text_or(move, "state", "?");
    fputs("<tr>", to);
    put_cell(to, NULL, text_or(move, "vm", "?"));
    put_cell(to, NULL, text_or(move, "from", "?"));
    put_cell(to, NULL, text_to(move, "?"));
    put_cell(to, text_state_color(state) != NULL ? state : NULL, state);
    put_both(to, text_ms(number_at(move, "duration_ms"), a),
             text_ms(number_at(move, "predicted.duration_ms"), b));
    put_both(to, text_ms(number_at(move, "downtime_ms"), a),
             text_ms(number_at(move, "predicted.downtime_ms"), b));
    put_both(to, text_mib(number_at(move, "transferred_mib"), a),
             text_mib(number_at(move, "predicted.transferred_mib"), b));
    put_cell(to, NULL, text_or(move, "approvers", "-"));
    put_remark(to, move);
    fputs("</tr>\n", to);
}

static void put_totals(FILE *to, const json_t *totals)
{
    char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
    fprintf(to, "<p>%lld of %lld moved; took %s, longest pause %s, copied %s.</p>\n",
            (long long)MAX(number_at(totals, "succeeded"), 0),
            (long long)MAX(number_at(totals, "actions"), 0),
            text_ms(number_at(totals, "duration_ms"), a),
            text_ms(number_at(totals, "downtime_max_ms"), b),
            text_mib(number_at(totals, "transferred_mib"), c));
}

void report_html(FILE *to, const json_t *report)
{
    size_t i;
    const json_t *move;
    put_head(to, report);
    fputs("<table>\n<thead><tr><th>VM</th><th>From</th><th>To</th><th>State</th>"
          "<th>Took (predicted)</th><th>Pause (predicted)</th><th>Copied (predicted)</th>"
          "<th>Approved by</th><th>Remark, and the same by hand</th></tr></thead>\n<tbody>\n",
          to);
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        put_move(to, move);
    }
    fputs("</tbody>\n</table>\n", to);
    put_totals(to, json_object_get(report, "totals"));
    fputs("</body>\n</html>\n", to);
}
