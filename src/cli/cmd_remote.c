/* urza remote: a registry from the command line, by the public client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "urza/client.h"

#define DEFAULT_URL "http://127.0.0.1:8080"

struct remote {
    struct cli *cli;
    urza_client *client;
    char **words; /* arguments after the verb */
    const char *url, *token_file, *ca_file, *out;
    struct text_list hints, keys;
    double timeout_s; /* 0: the client's default */
    bool later, check, allow_unsigned;
};

/* What came back. */

static bool fail_as(const urza_error *from, struct error *err)
{
    return bundle_fail(from, err);
}

/* The JSON of an answer, which the caller owns; NULL on failure. Frees the answer. */
static json_t *value_of(urza_answer *answer, struct error *err)
{
    const char *text = urza_answer_json(answer);
    json_t *value = json_read(text, strlen(text), err);
    urza_answer_free(answer);
    return value;
}

static json_t *ask(struct remote *remote, const char *method, const char *path, const char *json,
                   struct error *err)
{
    urza_answer *answer;
    urza_error problem;
    if (urza_client_request(remote->client, method, path, json, &answer, &problem) != 0) {
        fail_as(&problem, err);
        return NULL;
    }
    return value_of(answer, err);
}

/* Prints a value as one word: lists separated by commas, objects as JSON. */
static const char *word_of(struct cli *cli, const json_t *value)
{
    struct strbuf text;
    const json_t *item;
    size_t i;
    if (json_is_string(value))
        return json_string_value(value)[0] != '\0' ? report_word(cli, json_string_value(value))
                                                   : "-";
    if (!value || json_is_null(value))
        return "-";
    strbuf_init(&text, cli->arena);
    if (json_is_array(value) && json_is_string(json_array_get(value, 0)))
        json_array_foreach(value, i, item)
            strbuf_printf(&text, "%s%s", i > 0 ? "," : "", word_of(cli, item));
    else
        json_write_canonical(value, &text);
    return report_word(cli, text.data);
}

/* Prints all members, one per line. Releases the value. */
static bool show(struct cli *cli, json_t *value)
{
    const char *key;
    json_t *member;
    if (!value)
        return false;
    if (cli->json) {
        report_json(value);
        return true;
    }
    json_object_foreach(value, key, member)
        report_lines(stdout, "%-24s %s\n", report_word(cli, key), word_of(cli, member));
    json_decref(value);
    return true;
}

/* Reports success, in words or as the service's answer. Releases the value. */
static bool say(struct cli *cli, json_t *value, const char *what, const char *subject)
{
    if (!value)
        return false;
    if (cli->json) {
        report_json(value);
        return true;
    }
    report_lines(stdout, "%s %s\n", what, report_word(cli, subject));
    json_decref(value);
    return true;
}

/* Paths. */

static void add_encoded(struct strbuf *path, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr("._~-", c))
            strbuf_add(path, text, 1);
        else
            strbuf_printf(path, "%%%02X", c);
    }
}

static const char *path_of(struct cli *cli, const char *before, const char *name)
{
    struct strbuf path;
    strbuf_init(&path, cli->arena);
    strbuf_puts(&path, before);
    add_encoded(&path, name);
    return path.data;
}

/* Compiling, fetching. */

static bool write_package(struct remote *remote, const char *kernel, struct error *err)
{
    urza_package *package;
    urza_error problem;
    size_t size;
    int code = urza_client_fetch(remote->client, kernel,
                                 remote->check ? URZA_FETCH_CHECK : URZA_FETCH_DEFAULT, &package,
                                 &problem);
    if (code != 0)
        return fail_as(&problem, err);
    const void *bytes = urza_package_bytes(package, &size);
    bool ok = file_write_atomic(remote->out, bytes, size, 0644, err);
    urza_package_free(package);
    return ok;
}

/* Parses NAME=VALUE: a VALUE that is a number, true or false in JSON becomes that, anything else a
 * string. */
static bool take_hints(const struct remote *remote, json_t *out, struct error *err)
{
    for (uint32_t i = 0; i < remote->hints.texts.count; i++) {
        const char *text = remote->hints.texts.items[i], *equals = strchr(text, '=');
        if (!equals || equals == text)
            return fail(err, ERR_USAGE, "--hint expects NAME=VALUE, not '%s'", text);
        json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
        if (!json_is_number(value) && !json_is_boolean(value)) {
            json_decref(value);
            value = NULL;
        }
        const char *name = arena_strndup(remote->cli->arena, text, (size_t)(equals - text));
        if (json_object_set_new(out, name, value ? value : json_string(equals + 1)) != 0)
            return fail(err, ERR_USAGE, "--hint '%s' is not UTF-8", text);
    }
    return true;
}

static bool say_compiled(struct remote *remote, json_t *value, struct error *err)
{
    struct cli *cli = remote->cli;
    const char *id =
        json_string_value(json_object_get(value, remote->later ? "job_id" : "kernel_id"));
    const json_t *entry,
        *degraded = json_object_get(json_object_get(value, "metadata"), "degraded");
    size_t i;
    if (!id)
        return fail(err, ERR_PROTOCOL, "the answer has no id");
    if (remote->out && !write_package(remote, id, err))
        return false;
    if (cli->json) {
        report_json(json_incref(value));
        return true;
    }
    json_array_foreach(degraded, i, entry)
        report_lines(stderr, "urza: %s: %s\n", word_of(cli, json_object_get(entry, "what")),
                     word_of(cli, json_object_get(entry, "why")));
    report_lines(stdout, "%s\n", report_word(cli, id));
    return true;
}

static bool run_compile(struct remote *remote, struct error *err)
{
    struct cli *cli = remote->cli;
    struct strbuf text;
    urza_request request = {0};
    urza_answer *answer;
    urza_error problem;
    if (remote->later && remote->out)
        return fail(err, ERR_USAGE, "a job has no package yet: --async and -o exclude each other");
    if (!bundle_read(cli, remote->words[0], &request.source, &request.size, err))
        return false;
    json_t *hints = json_object();
    bool ok = take_hints(remote, hints, err);
    strbuf_init(&text, cli->arena);
    json_write_canonical(hints, &text);
    json_decref(hints);
    if (!ok)
        return false;
    request.hints = text.data;
    progress_begin(cli, "waiting for the registry");
    int code = remote->later ? urza_client_submit(remote->client, &request, &answer, &problem)
                             : urza_client_compile(remote->client, &request, &answer, &problem);
    progress_end(cli);
    if (code != 0)
        return fail_as(&problem, err);
    json_t *value = value_of(answer, err);
    ok = value && say_compiled(remote, value, err);
    json_decref(value);
    return ok;
}

static bool run_fetch(struct remote *remote, struct error *err)
{
    if (!remote->out)
        return fail(err, ERR_USAGE, "fetch needs -o OUT");
    return write_package(remote, remote->words[0], err) &&
           say(remote->cli,
               json_pack("{s:s, s:s}", "kernel", remote->words[0], "file", remote->out), "fetched",
               remote->words[0]);
}

/* Listing. */

static const struct listing {
    const char *kind, *fields[5];
} listings[] = {
    {"kernels", {"id", "status", "strategy", "targets", "latency_us"}},
    {"aliases", {"id", "kernel"}},
    {"blueprints", {"id", "status", "name"}},
    {"jobs", {"id", "state", "kernel"}},
    {"compilations", {"kernel", "status", "strategy", "total_ms"}},
    {"events", {"kind", "subject", "message"}},
};

static void show_items(struct cli *cli, const struct listing *listing, const json_t *value)
{
    const json_t *item, *next = json_object_get(value, "next");
    size_t i;
    json_array_foreach(json_object_get(value, "items"), i,
                       item) for (size_t f = 0; f < 5 && listing->fields[f]; f++)
        report_lines(stdout, "%s%s", word_of(cli, json_object_get(item, listing->fields[f])),
                     f < 4 && listing->fields[f + 1] ? "  " : "\n");
    if (json_is_string(next))
        report_lines(stderr, "more behind cursor=%s\n", word_of(cli, next));
}

static bool run_list(struct remote *remote, struct error *err)
{
    struct cli *cli = remote->cli;
    const struct listing *listing = &listings[0];
    struct strbuf path;
    char **words = remote->words;
    if (*words && !strchr(*words, '=')) {
        size_t i = 0, count = sizeof listings / sizeof *listings;
        while (i < count && strcmp(listings[i].kind, *words) != 0)
            i++;
        if (i == count)
            return fail(err, ERR_USAGE,
                        "'%s' is none of kernels, aliases, blueprints, jobs, "
                        "compilations, events",
                        *words);
        listing = &listings[i];
        words++;
    }
    strbuf_init(&path, cli->arena);
    strbuf_printf(&path, "/api/v1/%s", listing->kind);
    for (char separator = '?'; *words; words++, separator = '&') {
        const char *equals = strchr(*words, '=');
        if (!equals)
            return fail(err, ERR_USAGE, "a filter is NAME=VALUE, not '%s'", *words);
        strbuf_add(&path, &separator, 1);
        add_encoded(&path, arena_strndup(cli->arena, *words, (size_t)(equals - *words)));
        strbuf_puts(&path, "=");
        add_encoded(&path, equals + 1);
    }
    json_t *value = ask(remote, "GET", path.data, NULL, err);
    if (!value)
        return false;
    if (cli->json) {
        report_json(value);
        return true;
    }
    show_items(cli, listing, value);
    json_decref(value);
    return true;
}

static bool run_show(struct remote *remote, struct error *err)
{
    return show(
        remote->cli,
        ask(remote, "GET", path_of(remote->cli, "/api/v1/kernels/", remote->words[0]), NULL, err));
}

static bool run_status(struct remote *remote, struct error *err)
{
    return show(remote->cli, ask(remote, "GET", "/status?history=0", NULL, err));
}

static bool run_alias(struct remote *remote, struct error *err)
{
    struct strbuf body;
    json_t *wanted = json_pack("{s:o}", "kernel", report_text(remote->words[1]));
    strbuf_init(&body, remote->cli->arena);
    json_write_canonical(wanted, &body);
    json_decref(wanted);
    json_t *value = ask(remote, "PUT", path_of(remote->cli, "/api/v1/aliases/", remote->words[0]),
                        body.data, err);
    return say(remote->cli, value, "set", remote->words[0]);
}

static bool run_retire(struct remote *remote, struct error *err)
{
    json_t *value = ask(remote, "DELETE",
                        path_of(remote->cli, "/api/v1/kernels/", remote->words[0]), NULL, err);
    return say(remote->cli, value, "retired", remote->words[0]);
}

/* Jobs. */

static int show_event(void *user, const urza_job_event *event)
{
    struct cli *cli = user;
    struct error ignored;
    json_t *value = json_read(event->json, strlen(event->json), &ignored);
    if (!cli->json)
        report_lines(stdout, "%s %s\n", word_of(cli, json_object_get(value, "state")),
                     word_of(cli, json_object_get(value, "stage")));
    fflush(stdout);
    json_decref(value);
    return 0;
}

static bool run_watch(struct remote *remote, struct error *err)
{
    urza_answer *answer;
    urza_error problem;
    if (urza_client_watch(remote->client, remote->words[0],
                          remote->timeout_s > 0 ? remote->timeout_s : -1, show_event, remote->cli,
                          &answer, &problem) != 0)
        return fail_as(&problem, err);
    const char *id = urza_answer_kernel_id(answer);
    id = id ? arena_strdup(remote->cli->arena, id) : "";
    return say(remote->cli, value_of(answer, err), "made", id);
}

static bool run_cancel(struct remote *remote, struct error *err)
{
    urza_error problem;
    if (urza_client_cancel(remote->client, remote->words[0], &problem) != 0)
        return fail_as(&problem, err);
    return say(remote->cli, json_pack("{s:s}", "cancelled", remote->words[0]), "cancelled",
               remote->words[0]);
}

/* trust NAME [KEY]: the given key must equal the service's. */
static bool run_trust(struct remote *remote, struct error *err)
{
    struct cli *cli = remote->cli;
    uint8_t key[32];
    if (!cli->home)
        return fail(err, ERR_USAGE, "no folder for keys: set URZA_HOME");
    json_t *status = ask(remote, "GET", "/status?history=0", NULL, err);
    if (!status)
        return false;
    const char *hex = json_string_value(json_object_get(status, "public_key"));
    bool ok = (hex && strlen(hex) == 64 && hex_decode(hex, key, sizeof key)) ||
              fail(err, ERR_PROTOCOL, "the service has no public key");
    if (ok && remote->words[1] && strcmp(remote->words[1], hex) != 0)
        ok = fail(err, ERR_SIGNATURE, "the service's key is another one: %s", hex);
    if (ok && !cli->json)
        report_lines(stdout, "%s signs what %s serves\n", hex, report_word(cli, remote->url));
    ok = ok && keys_trust(cli->home, remote->words[0], key, err) &&
         say(cli, json_pack("{s:s, s:s}", "trusted", remote->words[0], "key", hex), "trusted as",
             remote->words[0]);
    json_decref(status);
    return ok;
}

static const struct verb {
    const char *name;
    uint32_t least, most; /* allowed number of arguments after the verb */
    bool (*run)(struct remote *remote, struct error *err);
} verbs[] = {
    {"compile", 1, 1, run_compile}, {"fetch", 1, 1, run_fetch}, {"list", 0, 32, run_list},
    {"show", 1, 1, run_show},       {"alias", 2, 2, run_alias}, {"retire", 1, 1, run_retire},
    {"status", 0, 0, run_status},   {"watch", 1, 1, run_watch}, {"cancel", 1, 1, run_cancel},
    {"trust", 1, 2, run_trust},
};

static const struct verb *find_verb(char **words)
{
    uint32_t count = 0;
    while (words[count])
        count++;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(words[0], verbs[i].name) == 0 && count - 1 >= verbs[i].least &&
            count - 1 <= verbs[i].most)
            return &verbs[i];
    return NULL;
}

static bool open_client(struct remote *remote, struct error *err)
{
    struct cli *cli = remote->cli;
    struct trusted_keys trusted;
    struct strbuf folder;
    urza_error problem;
    if (!remote->url)
        remote->url = cli->variable("URZA_URL");
    if (!remote->url)
        remote->url = DEFAULT_URL;
    if (!bundle_trusted(cli, &remote->keys, &trusted, err))
        return false;
    strbuf_init(&folder, cli->arena);
    strbuf_printf(&folder, "%s/remote", cli->cache ? cli->cache : "");
    const urza_client_options options = {
        .token = remote->token_file ? NULL : cli->variable("URZA_TOKEN"),
        .token_file = remote->token_file,
        .cache_dir = cli->cache ? folder.data : NULL,
        .trust = remote->allow_unsigned ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE,
        .trusted_keys = trusted.keys,
        .trusted_key_count = trusted.count,
        .ca_file = remote->ca_file,
        .timeout_ms = remote->timeout_s > 0 && remote->timeout_s < 4e6
                          ? (uint32_t)(remote->timeout_s * 1e3) + 1
                          : 0,
    };
    return urza_client_open(remote->url, &options, &remote->client, &problem) == 0 ||
           fail_as(&problem, err);
}

bool cmd_remote(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct remote remote = {.cli = cli};
    struct words words = {.least = 1, .most = 34};
    const struct option_row rows[] = {
        {"url", 0, OPTION_TEXT, "URL", &remote.url, "the registry ($URZA_URL, " DEFAULT_URL ")"},
        {"token-file", 0, OPTION_TEXT, "FILE", &remote.token_file, "a token; else $URZA_TOKEN"},
        {"ca-file", 0, OPTION_TEXT, "FILE", &remote.ca_file,
         "PEM of who signs its certificate (default: whom the system trusts)"},
        {"output", 'o', OPTION_TEXT, "OUT", &remote.out, "compile, fetch: where the package goes"},
        {"hint", 0, OPTION_LIST, "NAME=VALUE", &remote.hints, "compile: a hint; again and again"},
        {"async", 0, OPTION_FLAG, NULL, &remote.later, "compile: start a job, print its id"},
        {"check", 0, OPTION_FLAG, NULL, &remote.check,
         "fetch: ask whether evidence is newer than that of the package that was fetched before"},
        {"timeout", 0, OPTION_REAL, "SECONDS", &remote.timeout_s, "(default: 600; watch: none)"},
        {"key", 0, OPTION_LIST, "HEX", &remote.keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &remote.allow_unsigned,
         "take packages that nobody signed"},
        {0}};
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    const struct verb *verb = find_verb(words.items);
    if (!verb)
        return fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
    remote.words = words.items + 1;
    if (!open_client(&remote, err))
        return false;
    bool ok = verb->run(&remote, err);
    urza_client_close(remote.client);
    return ok;
}
