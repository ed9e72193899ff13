/* urza config: lists, shows, exports, imports and clears the results of tuning. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "cli/cli_priv.h"
#include "cli/tuning_priv.h"

/* Parses a text of the tuner as JSON, and frees it. */
static json_t *take_json(char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    urza_tune_free(text);
    return value;
}

static bool list(struct cli *cli, urza_tuner *tuner, struct error *err)
{
    urza_error problem;
    char *text;
    if (urza_tuner_list(tuner, &text, &problem) != 0)
        return bundle_fail(&problem, err);
    json_t *rows = take_json(text), *row;
    size_t i;
    if (cli->json) {
        report_json(rows);
        return true;
    }
    json_array_foreach(rows, i, row) tuning_row(cli, row);
    json_decref(rows);
    return true;
}

static double ns_of(const json_t *timing)
{
    return json_number_value(json_object_get(timing, "ns"));
}

static int compare_timings(const void *a, const void *b)
{
    double x = ns_of(*(json_t *const *)a), y = ns_of(*(json_t *const *)b);
    return (x > y) - (x < y);
}

static void print_timings(struct cli *cli, const json_t *timings)
{
    size_t count = json_array_size(timings);
    const json_t **rows = ARENA_ARRAY(cli->arena, const json_t *, count + 1);
    for (size_t i = 0; i < count; i++)
        rows[i] = json_array_get(timings, i);
    qsort(rows, count, sizeof *rows, compare_timings);
    for (size_t i = 0; i < count; i++) {
        char time[TUNING_TIME_BYTES];
        tuning_time(ns_of(rows[i]), time);
        report_lines(stdout, "%10s  %3lld runs  %-8s  %s\n", time,
                     (long long)json_integer_value(json_object_get(rows[i], "samples")),
                     json_string_value(json_object_get(rows[i], "state")),
                     tuning_config(cli, json_object_get(rows[i], "config")));
    }
}

static bool show(struct cli *cli, urza_tuner *tuner, const char *key, struct error *err)
{
    urza_error problem;
    char *text;
    if (urza_tuner_show(tuner, key, &text, &problem) != 0)
        return bundle_fail(&problem, err);
    json_t *entry = take_json(text);
    if (cli->json) {
        report_json(entry);
        return true;
    }
    const json_t *invocation = json_object_get(entry, "invocation");
    const json_t *measured = json_object_get(entry, "measured");
    report_lines(stdout, "%s, %s\n%s", json_string_value(json_object_get(invocation, "target")),
                 json_string_value(json_object_get(invocation, "compiler")),
                 json_string_value(json_object_get(invocation, "graph")));
    if (measured) {
        report_lines(stdout, "config: %s\n", tuning_config(cli, json_object_get(entry, "config")));
        print_timings(cli, json_object_get(measured, "timings"));
    }
    json_decref(entry);
    return true;
}

static bool export_to(urza_tuner *tuner, const char *path, struct error *err)
{
    urza_error problem;
    char *text;
    if (urza_tuner_export(tuner, &text, &problem) != 0)
        return bundle_fail(&problem, err);
    bool ok = true;
    if (path)
        ok = file_write_atomic(path, text, strlen(text), 0644, err);
    else
        report_block(stdout, text, strlen(text));
    urza_tune_free(text);
    return ok;
}

static bool report_count(struct cli *cli, const char *verb, uint32_t count)
{
    if (cli->json)
        report_json(json_pack("{s:i}", verb, (int)count));
    else
        report_lines(stdout, "%u %s\n", count, verb);
    return true;
}

static bool import_from(struct cli *cli, urza_tuner *tuner, const char *path, struct error *err)
{
    urza_error problem;
    char *text;
    size_t size;
    uint32_t count = 0;
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &size, err))
        return false;
    int code = urza_tuner_import(tuner, text, size, &count, &problem);
    free(text);
    if (code != 0) {
        bundle_fail(&problem, err);
        return fail_at(err, "%s", path);
    }
    return report_count(cli, "imported", count);
}

static bool clear(struct cli *cli, urza_tuner *tuner, const char *match, struct error *err)
{
    urza_error problem;
    uint32_t count = 0;
    if (urza_tuner_clear(tuner, match, &count, &problem) != 0)
        return bundle_fail(&problem, err);
    return report_count(cli, "forgotten", count);
}

static bool schema(struct cli *cli, struct error *err)
{
    urza_error problem;
    char *text;
    if (urza_config_schema(&text, &problem) != 0)
        return bundle_fail(&problem, err);
    json_t *rows = take_json(text), *row;
    size_t i;
    if (cli->json) {
        report_json(rows);
        return true;
    }
    json_array_foreach(rows, i, row) report_lines(
        stdout, "%-13s 0 to %-9lld %s\n", json_string_value(json_object_get(row, "key")),
        (long long)json_integer_value(json_object_get(row, "most")),
        json_string_value(json_object_get(row, "doc")));
    json_decref(rows);
    return true;
}

bool cmd_config(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct words words = {.most = 2};
    urza_tuner *tuner;
    urza_tuner_options options = {.record = 0};
    const struct option_row rows[] = {{0}};
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    const char *verb = words.items[0] ? words.items[0] : "list";
    const char *word = words.items[0] ? words.items[1] : NULL;
    if (!tuning_open(cli, &options, &tuner, err))
        return false;
    bool ok;
    if (strcmp(verb, "list") == 0 && !word)
        ok = list(cli, tuner, err);
    else if (strcmp(verb, "show") == 0 && word)
        ok = show(cli, tuner, word, err);
    else if (strcmp(verb, "export") == 0)
        ok = export_to(tuner, word, err);
    else if (strcmp(verb, "import") == 0 && word)
        ok = import_from(cli, tuner, word, err);
    else if (strcmp(verb, "clear") == 0)
        ok = clear(cli, tuner, word ? word : "*", err);
    else if (strcmp(verb, "schema") == 0 && !word)
        ok = schema(cli, err);
    else
        ok = fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
    urza_tuner_close(tuner);
    return ok;
}
