#include "agent/ctl/cli.h"

#include <getopt.h>
#include <unistd.h>

#include "agent/ctl/text.h"
#include "proto/hash.h"

#define OPTIONS_MAX 16

/* ---- options ---- */

static const struct {
    const char *name;
    enum cli_format format;
} formats[] = {{"table", CLI_TABLE},
               {"json", CLI_JSON},
               {"wide", CLI_WIDE},
               {"name", CLI_NAME},
               {"html", CLI_HTML}};

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "skein %s: ", cli->command);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "; see skein %s --help\n", cli->command);
    va_end(ap);
    return 2;
}

static int set_format(struct cli *cli, const char *word)
{
    _cleanup_(buf_done) struct buf known = {0};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (formats[i].format != CLI_TABLE && (cli->formats & formats[i].format) == 0)
            continue;
        if (strcmp(word, formats[i].name) == 0) {
            cli->format = formats[i].format;
            return CLI_GO;
        }
        buf_addf(&known, "%s%s", known.len > 0 ? ", " : "", formats[i].name);
    }
    return cli_usage(cli, "-o %.32s: only %s are known here", word, known.data);
}

/* How the agent is reached: by an option of every command, or the environment. */
static const struct {
    const char *name, *variable, *otherwise;
    size_t offset; /* in struct cli */
} common[] = {
    {"socket", "SKEIN_SOCKET", NULL, offsetof(struct cli, socket)},
    {"url", "SKEIN_URL", NULL, offsetof(struct cli, url)},
    {"tls-cert", "SKEIN_TLS_CERT", "SKEIN_CERT", offsetof(struct cli, tls_certificate)},
    {"tls-key", "SKEIN_TLS_KEY", "SKEIN_KEY", offsetof(struct cli, tls_key)},
    {"tls-ca", "SKEIN_TLS_CA", NULL, offsetof(struct cli, tls_ca)},
};

enum { COMMON_COUNT = ARRAY_SIZE(common) };

static const char **common_at(struct cli *cli, size_t i)
{
    return (const char **)((char *)cli + common[i].offset);
}

/* getopt_long's view of the options; values from 256 up are indices. */
struct parser {
    struct option longs[OPTIONS_MAX + COMMON_COUNT + 3];
    char letters[2 * OPTIONS_MAX + 8];
    const char *names[OPTIONS_MAX + COMMON_COUNT + 3];
};

enum { OPTION_COMMON = 512, OPTION_FIRST = 256 };

static void add_long(struct parser *p, size_t i, const char *name, int has_arg, int value)
{
    p->longs[i] = (struct option){name, has_arg, NULL, value};
    p->names[i] = name;
}

static void build(struct parser *p, const struct cli_option *options)
{
    size_t n = 0;
    strcpy(p->letters, ":ho:");
    for (; options != NULL && options[n].name != NULL; n++) {
        const struct cli_option *o = &options[n];
        REQUIRE(n < OPTIONS_MAX);
        int has_arg = o->text == NULL  ? no_argument
                      : o->set != NULL ? optional_argument
                                       : required_argument;
        add_long(p, n, o->name, has_arg, OPTION_FIRST + (int)n);
        if (o->letter != '\0' && o->letter != CLI_MANY)
            strcat(p->letters, (char[]){o->letter, o->text != NULL ? ':' : '\0', '\0'});
    }
    for (size_t i = 0; i < COMMON_COUNT; i++)
        add_long(p, n++, common[i].name, required_argument, OPTION_COMMON + (int)i);
    add_long(p, n, "output", required_argument, 'o');
    add_long(p, n + 1, "help", no_argument, 'h');
}

static int wrong_option(const struct cli *cli, const struct parser *p, char **argv, int answer)
{
    const char *word = argv[optind - 1];
    if (answer == ':')
        return cli_usage(cli, "%s wants a value", word);
    if (strncmp(word, "--", 2) != 0)
        return cli_usage(cli, "unknown option -%c", optopt);
    const char *near = nearest_word(word + 2, p->names);
    if (near != NULL)
        return cli_usage(cli, "unknown option %.64s: did you mean --%s?", word, near);
    return cli_usage(cli, "unknown option %.64s", word);
}

static const struct cli_option *find_option(const struct cli_option *options, int c)
{
    if (c >= OPTION_FIRST && c < OPTION_COMMON)
        return &options[c - OPTION_FIRST];
    for (; options != NULL && options->name != NULL; options++)
        if (options->letter != '\0' && options->letter == c)
            return options;
    return NULL;
}

static int add_value(const struct cli *cli, const struct cli_option *o)
{
    size_t n = 0;
    while (o->text[n] != NULL)
        n++;
    if (n == CLI_MANY_MAX)
        return cli_usage(cli, "--%s more than %d times", o->name, CLI_MANY_MAX);
    o->text[n] = optarg;
    return CLI_GO;
}

static int take_option(struct cli *cli, const struct parser *p, const struct cli_option *options,
                       char **argv, int c)
{
    if (c == 'h') {
        fputs(cli->help, stdout);
        return 0;
    }
    if (c == 'o')
        return set_format(cli, optarg);
    if (c >= OPTION_COMMON) {
        *common_at(cli, (size_t)(c - OPTION_COMMON)) = optarg;
        return CLI_GO;
    }
    const struct cli_option *o = find_option(options, c);
    if (c == '?' || c == ':' || o == NULL)
        return wrong_option(cli, p, argv, c);
    if (o->letter == CLI_MANY)
        return add_value(cli, o);
    if (o->set != NULL)
        *o->set = true;
    if (o->text != NULL)
        *o->text = optarg;
    return CLI_GO;
}

int cli_parse(struct cli *cli, int argc, char **argv, const struct cli_option *options, int min,
              int max)
{
    struct parser p = {0};
    build(&p, options);
    cli->socket = CLI_SOCKET;
    for (size_t i = 0; i < COMMON_COUNT; i++) {
        const char *value = getenv(common[i].variable);
        if (value == NULL && common[i].otherwise != NULL)
            value = getenv(common[i].otherwise);
        if (value != NULL && value[0] != '\0')
            *common_at(cli, i) = value;
    }
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, p.letters, p.longs, NULL)) != -1;) {
        int rc = take_option(cli, &p, options, argv, c);
        if (rc != CLI_GO)
            return rc;
    }
    if (cli->url != NULL && cli->url[0] == '\0')
        cli->url = NULL;
    if (cli->url != NULL && strncmp(cli->url, "https://", 8) != 0)
        return cli_usage(cli, "--url %.128s: it begins with https://", cli->url);
    cli->operands = argv + optind;
    cli->n_operands = argc - optind;
    if (cli->n_operands > max)
        return cli_usage(cli, "\"%.64s\" is not expected", cli->operands[max]);
    if (cli->n_operands < min)
        return cli_usage(cli, "an argument is missing");
    return CLI_GO;
}

int cli_plan_id(const struct cli *cli, const char *id)
{
    size_t n = strspn(id, "0123456789abcdef");
    if (n == 0 || id[n] != '\0' || n >= HASH_HEX_SIZE)
        return cli_usage(cli, "\"%.64s\" is not a plan's id: hexadecimal digits are wanted", id);
    return 0;
}

int cli_failed(const struct err *err)
{
    _cleanup_(freep) char *message = xstrdup(err->msg); /* an agent's words */
    text_tidy(message);
    fflush(stdout);
    fprintf(stderr, "error: %s: %s\n", err_name(err->code), message);
    return err->code == ERR_UNSUPPORTED ? 3 : 1;
}

/* ---- output ---- */

void cli_print_json(const json_t *doc)
{
    json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
}

bool cli_color(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}
