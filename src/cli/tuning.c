/* The user's tuner: the folder of its cache, and printing its warnings and entries. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "cli/tuning_priv.h"

static void print_warning(void *user, const char *message)
{
    report_warning(user, "%s", message);
}

bool tuning_open(struct cli *cli, const urza_tuner_options *wish, urza_tuner **out,
                 struct error *err)
{
    urza_tuner_options options = *wish;
    struct strbuf folder;
    urza_error problem = {.code = 0};
    if (!cli->cache)
        return fail(err, ERR_USAGE, "no folder for the tuning cache: set URZA_HOME");
    strbuf_init(&folder, cli->arena);
    strbuf_printf(&folder, "%s/tuning", cli->cache);
    options.directory = folder.data;
    options.on_warning = print_warning;
    options.user = cli;
    return urza_tuner_open(&options, out, &problem) == 0 || bundle_fail(&problem, err);
}

void tuning_progress(void *user, const urza_tune_progress *p)
{
    static const char clear[] = "\r\033[K";
    char line[160], op[61];
    const struct cli *cli = user;
    if (!cli->progress)
        return;
    snprintf(op, sizeof op, "%s", p->op);
    for (char *at = op; *at != '\0'; at++) /* replaces control characters */
        *at = *at < ' ' || *at > '~' ? '?' : *at;
    int size =
        snprintf(line, sizeof line, "%s%s: %u of %u tried, %u left, %.1f s%s", clear, op, p->tried,
                 p->candidates, p->alive, p->elapsed_s, p->elapsed_s >= p->budget_s ? clear : "");
    ssize_t written = size > 0 ? write(STDERR_FILENO, line, strnlen(line, sizeof line)) : 0;
    (void)written; /* if the terminal is gone, progress does not matter */
}

void tuning_time(double ns, char out[TUNING_TIME_BYTES])
{
    if (ns < 1e3)
        snprintf(out, TUNING_TIME_BYTES, "%.0f ns", ns);
    else if (ns < 1e6)
        snprintf(out, TUNING_TIME_BYTES, "%.3g us", ns / 1e3);
    else
        snprintf(out, TUNING_TIME_BYTES, "%.3g ms", ns / 1e6);
}

const char *tuning_config(struct cli *cli, const json_t *config)
{
    struct strbuf text;
    const char *key;
    json_t *value;
    strbuf_init(&text, cli->arena);
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
        strbuf_printf(&text, "%s%s %lld", text.size_bytes > 0 ? ", " : "", key,
                      (long long)json_integer_value(value));
    return text.size_bytes > 0 ? text.data : "-";
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

void tuning_row(struct cli *cli, const json_t *row)
{
    const json_t *ns = json_object_get(row, "ns");
    struct strbuf what;
    size_t i;
    json_t *operand;
    strbuf_init(&what, cli->arena);
    strbuf_printf(&what, "%s %s <-", text_of(row, "op"), text_of(row, "result"));
    json_array_foreach(json_object_get(row, "operands"), i, operand)
        strbuf_printf(&what, "%s %s", i > 0 ? "," : "", json_string_value(operand));
    report_lines(stdout, "%.12s  %s  %s\n", text_of(row, "key"), text_of(row, "target"), what.data);
    if (!ns) {
        puts("              recorded, not measured");
        return;
    }
    char before[TUNING_TIME_BYTES], after[TUNING_TIME_BYTES];
    double fast = json_number_value(ns);
    double slow = json_number_value(json_object_get(row, "heuristic_ns"));
    tuning_time(slow, before);
    tuning_time(fast, after);
    report_lines(stdout, "              %s -> %s (%.2f times)  %s\n", before, after,
                 fast > 0 ? slow / fast : 1, tuning_config(cli, json_object_get(row, "config")));
}
