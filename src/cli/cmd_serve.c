/* urza serve, fsck, gc, token: the registry as a service, and maintenance of its data while it is
 * stopped. Every setting (server/settings.def) is an option of serve. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "server/server.h"

#define ROWS_MOST 64
#define NAME_BYTES 64

/* Options for all settings: values are texts, and parsed when they are set. */
struct setting_options {
    struct option_row rows[ROWS_MOST];
    char names[ROWS_MOST][NAME_BYTES];
    const char *texts[ROWS_MOST];
    uint32_t count;
};

static void list_settings(struct setting_options *options)
{
    for (uint32_t i = 0; setting_at(i) && options->count < ROWS_MOST - 1; i++, options->count++) {
        char *name = options->names[i];
        snprintf(name, NAME_BYTES, "%s", setting_at(i)->name);
        for (char *at = name; *at != '\0'; at++)
            *at = *at == '_' ? '-' : *at;
        options->rows[i] = (struct option_row){name,
                                               0,
                                               OPTION_TEXT,
                                               setting_at(i)->flag ? "true|false" : "VALUE",
                                               &options->texts[i],
                                               setting_at(i)->doc};
    }
}

static void add_row(struct setting_options *options, struct option_row row)
{
    options->rows[options->count++] = row;
}

static const char *variable_of(struct cli *cli, const char *setting)
{
    struct strbuf name;
    strbuf_init(&name, cli->arena);
    strbuf_printf(&name, "URZA_%s", setting);
    for (char *at = name.data; *at != '\0'; at++)
        *at = *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at;
    return cli->variable(name.data);
}

/* Collects settings from defaults, the file, the environment and options. */
static bool gather(struct cli *cli, const char *file, const struct setting_options *options,
                   struct settings *out, struct error *err)
{
    settings_default(out);
    if (file && !settings_read(out, file, cli->arena, err))
        return false;
    for (uint32_t i = 0; setting_at(i); i++) {
        const char *name = setting_at(i)->name, *text = variable_of(cli, name);
        if (text && !settings_set(out, name, text, cli->arena, err))
            return fail_at(err, "environment");
        if (options->texts[i] && !settings_set(out, name, options->texts[i], cli->arena, err))
            return false;
    }
    return true;
}

static void say_ready(void *context, const char *url)
{
    struct cli *cli = context;
    if (!cli->json)
        report_lines(stdout, "Urza serves at %s; Ctrl-C ends it\n", url);
    fflush(stdout);
}

bool cmd_serve(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct setting_options *options = ARENA_NEW(cli->arena, struct setting_options);
    struct server_options server = {.on_ready = say_ready, .context = cli};
    const char *file = NULL;
    bool print = false;
    struct words words = {.most = 0};
    list_settings(options);
    add_row(options, (struct option_row){"config", 0, OPTION_TEXT, "FILE", &file,
                                         "settings, one `name = value` a line"});
    add_row(options, (struct option_row){"print-config", 0, OPTION_FLAG, NULL, &print,
                                         "print all settings as such a file, and end"});
    if (!args_parse(cli, options->rows, argc, argv, &words, err) ||
        !gather(cli, file, options, &server.settings, err))
        return false;
    if (print) {
        struct strbuf text;
        strbuf_init(&text, cli->arena);
        settings_print(&server.settings, &text);
        report_lines(stdout, "%s", text.data);
        return true;
    }
    cli->arena->oom = NULL;
    return server_run(&server, err);
}

/* For fsck and gc: --data, and other settings from file and environment. */
static bool open_stopped(struct cli *cli, int argc, char **argv, bool *repair, struct settings *out,
                         struct error *err)
{
    struct setting_options *options = ARENA_NEW(cli->arena, struct setting_options);
    const char *data = NULL, *file = NULL;
    struct words words = {.most = 0};
    struct option_row rows[4] = {
        {"data", 0, OPTION_TEXT, "DIR", &data, "the folder of a service that is stopped"},
        {"config", 0, OPTION_TEXT, "FILE", &file, "its settings"},
    };
    if (repair)
        rows[2] =
            (struct option_row){"repair", 0, OPTION_FLAG, NULL, repair, "mend what can be mended"};
    if (!args_parse(cli, rows, argc, argv, &words, err) || !gather(cli, file, options, out, err))
        return false;
    return !data || settings_set(out, "data", data, cli->arena, err);
}

bool cmd_fsck(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct settings settings;
    bool repair = false;
    unsigned long faults = 0;
    if (!open_stopped(cli, argc, argv, &repair, &settings, err) ||
        !server_fsck(&settings, repair, &faults, err))
        return false;
    return faults == 0 ||
           fail(err, ERR_IO, "%lu faults; urza fsck --repair mends what can be mended", faults);
}

bool cmd_gc(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct settings settings;
    return open_stopped(cli, argc, argv, NULL, &settings, err) && server_gc(&settings, err);
}

bool cmd_token(struct cli *cli, int argc, char **argv, struct error *err)
{
    const char *scopes = "read,compile", *token, *line;
    struct words words = {.least = 2, .most = 2};
    const struct option_row rows[] = {
        {"scopes", 0, OPTION_TEXT, "LIST", &scopes,
         "of read, compile, admin, worker, between commas (default: read,compile)"},
        {0}};
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    if (strcmp(words.items[0], "new") != 0)
        return fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
    if (!server_new_token(words.items[1], scopes, cli->arena, &token, &line, err))
        return false;
    if (cli->json)
        report_json(json_pack("{s:s, s:s}", "token", token, "line", line));
    else {
        report_lines(stderr,
                     "token, to be told to the client: %s\n"
                     "line for the file that --tokens names:\n",
                     token);
        report_lines(stdout, "%s\n", line);
    }
    return true;
}
