/* urza tune: measures the kernels of a blueprint or package, or all that were recorded.
 *
 * Everything that may crash runs in a child: one finds the kernels, and one per kernel measures it
 * and writes the result to the cache, from which this process reads it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "cli/tuning_priv.h"
#include "compiler/compile.h"
#include "tuner/tuner.h"

#define SECONDS_EACH 3.0
#define SECONDS_MAX 1e6
#define MEASURE_MS 120000 /* time for measuring in addition to the budget */

struct request {
    const char *file, *targets;
    double budget_s; /* 0: SECONDS_EACH per kernel */
    bool recorded, again;
};

struct kernels {
    VEC(const char *) records; /* JSON, without duplicates */
};

struct finding {
    const struct request *request;
    struct strbuf records; /* one per line */
};

static bool write_record(void *context, const char *record, struct error *err)
{
    struct finding *finding = context;
    if (finding->records.size_bytes + strlen(record) > LIMIT_JSON_BYTES)
        return fail(err, ERR_LIMIT, "the kernels' records are longer than %zu bytes",
                    LIMIT_JSON_BYTES);
    strbuf_printf(&finding->records, "%s\n", record);
    return true;
}

/* Compiles a package's graph again; the values of parameters do not matter. */
static bool compile_package(struct cli *cli, const void *bytes, size_t size,
                            const struct compile_options *options, struct error *err)
{
    struct graph *graph = ARENA_NEW(cli->arena, struct graph);
    struct compile_result result;
    const uint8_t *text;
    size_t text_size;
    if (!package_entry(bytes, size, "graph", &text, &text_size, err) ||
        !graph_parse(graph, cli->arena, (const char *)text, text_size, err))
        return false;
    struct package_param *params =
        ARENA_ARRAY(cli->arena, struct package_param, graph->params.count + 1);
    for (uint32_t i = 0; i < graph->params.count; i++) {
        value_id param = graph->params.items[i];
        int64_t count;
        if (!dim_is_const(&graph->dims, graph_elements(graph, param), &count))
            return fail(err, ERR_PACKAGE, "a parameter has no constant shape");
        params[i].dtype = (enum dtype)graph_node(graph, param)->dtype;
        params[i].data_bytes = (size_t)count * dtype_bytes(params[i].dtype);
        params[i].data = arena_alloc(cli->arena, params[i].data_bytes, 64);
    }
    return compile_graph(&(struct compile_source){graph, params, NULL}, options, cli->arena,
                         &result, err);
}

static bool compile_kernels(struct cli *cli, struct finding *f, struct error *err)
{
    const char *path = f->request->file;
    struct recorder recorder = {write_record, f};
    struct config_chooser chooser = recorder_chooser(&recorder);
    struct compile_options options = {
        .chooser = &chooser, .targets = f->request->targets, .strategy = STRATEGY_FAST};
    struct compile_result result;
    const void *bytes;
    size_t size;
    options.folder = bundle_folder(cli, path);
    if (!options.targets)
        options.targets = target_best_here();
    if (!options.targets)
        return fail(err, ERR_TARGET, "this machine runs none of the targets");
    if (!bundle_read(cli, path, &bytes, &size, err))
        return false;
    if (package_looks_like(bytes, size))
        return compile_package(cli, bytes, size, &options, err);
    return compile_blueprint(bytes, size, &options, cli->arena, &result, err);
}

static bool find_kernels(struct cli *cli, void *context, struct child_answer *out,
                         struct error *err)
{
    struct finding finding = {.request = context};
    strbuf_init(&finding.records, cli->arena);
    if (!compile_kernels(cli, &finding, err))
        return false;
    out->parts[0] = (struct child_part){finding.records.data, finding.records.size_bytes};
    return true;
}

/* Reads the records of a file's kernels. */
static bool read_records(struct cli *cli, const struct request *request, struct kernels *out,
                         struct error *err)
{
    struct strmap seen = {0};
    struct child_answer answer;
    if (!isolated_read(cli, find_kernels, (void *)(uintptr_t)request, &answer, err))
        return false;
    const char *at = answer.parts[0].data;
    for (const char *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        const char *record = arena_strndup(cli->arena, at, (size_t)(end - at));
        if (strmap_add(&seen, cli->arena, record, 0))
            VEC_PUSH(cli->arena, &out->records, record);
    }
    return true;
}

struct measuring {
    urza_tuner *tuner;
    const char *record;
    double budget_s;
};

static bool measure(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct measuring *m = context;
    (void)cli, (void)out;
    urza_error problem;
    return urza_tuner_tune(m->tuner, m->record, m->budget_s, NULL, &problem) == 0 ||
           bundle_fail(&problem, err);
}

/* Selects from the cache the recorded entries that were not measured yet and that this machine can
 * run. */
static bool choose_recorded(struct cli *cli, urza_tuner *tuner, struct kernels *out,
                            struct error *err)
{
    urza_error problem;
    char *text, *shown;
    if (urza_tuner_list(tuner, &text, &problem) != 0)
        return bundle_fail(&problem, err);
    json_t *rows = json_loads(text, 0, NULL), *row;
    size_t i;
    urza_tune_free(text);
    json_array_foreach(rows, i, row)
    {
        const char *key = json_string_value(json_object_get(row, "key"));
        const char *target = json_string_value(json_object_get(row, "target"));
        if (json_object_get(row, "ns") || !target_supported_here(target) ||
            urza_tuner_show(tuner, key, &shown, &problem) != 0)
            continue;
        json_t *entry = json_loads(shown, 0, NULL);
        char *record = json_dumps(json_object_get(entry, "invocation"), JSON_COMPACT);
        VEC_PUSH(cli->arena, &out->records, arena_strdup(cli->arena, record));
        free(record);
        json_decref(entry);
        urza_tune_free(shown);
    }
    json_decref(rows);
    return true;
}

/* The record's entry, as in urza_tuner_list, or NULL. */
static json_t *find_row(urza_tuner *tuner, const char *record)
{
    urza_error problem;
    char *text, key[SHA256_HEX_BYTES];
    json_t *found = NULL, *row;
    size_t i;
    struct error err;
    if (!record_key(record, key, &err) || urza_tuner_list(tuner, &text, &problem) != 0)
        return NULL;
    json_t *rows = json_loads(text, 0, NULL);
    urza_tune_free(text);
    json_array_foreach(rows, i, row) if (strcmp(json_string_value(json_object_get(row, "key")),
                                                key) == 0) found = json_incref(row);
    json_decref(rows);
    return found;
}

static bool is_measured(urza_tuner *tuner, const char *record)
{
    json_t *row = find_row(tuner, record);
    bool measured = json_object_get(row, "ns") != NULL;
    json_decref(row);
    return measured;
}

/* Measures one kernel; a failure is reported and skipped. */
static void tune_one(struct cli *cli, urza_tuner *tuner, const char *record, double budget_s,
                     json_t *rows)
{
    struct measuring measuring = {tuner, record, budget_s};
    struct error err = {.code = ERR_NONE};
    struct child_answer answer;
    const struct isolated isolated = {measure, &measuring, MEASURE_MS + (uint32_t)(2e3 * budget_s),
                                      "the process that measures"};
    bool ok = isolated_run(cli, &isolated, &answer, &err);
    json_t *row = find_row(tuner, record);
    if (cli->progress)
        fputs("\r\033[K", stderr);
    if (!ok)
        report_warning(cli, "%s: %s", err.place, err.message);
    if (row && !cli->json)
        tuning_row(cli, row);
    fflush(stdout);
    if (row)
        json_array_append_new(rows, row);
}

static bool tune(struct cli *cli, const struct request *request, urza_tuner *tuner,
                 struct error *err)
{
    struct kernels found = {0}, wanted = {0};
    json_t *rows = json_array();
    bool ok = request->recorded ? choose_recorded(cli, tuner, &found, err)
                                : read_records(cli, request, &found, err);
    for (uint32_t i = 0; ok && i < found.records.count; i++)
        if (request->again || !is_measured(tuner, found.records.items[i]))
            VEC_PUSH(cli->arena, &wanted.records, found.records.items[i]);
    uint64_t begin = clock_ns();
    for (uint32_t i = 0; ok && i < wanted.records.count; i++) {
        double left_s = request->budget_s - (double)(clock_ns() - begin) * 1e-9;
        double share_s = request->budget_s > 0 ? left_s / (wanted.records.count - i) : SECONDS_EACH;
        if (request->budget_s > 0 && share_s < 0.01)
            break;
        tune_one(cli, tuner, wanted.records.items[i], share_s, rows);
    }
    size_t measured = json_array_size(rows);
    if (ok && cli->json)
        report_json(json_pack("{s:i, s:i, s:O}", "kernels", (int)found.records.count, "measured",
                              (int)measured, "entries", rows));
    else if (ok)
        report_lines(stdout, "%u kernels, %u measured now\n", found.records.count,
                     (unsigned)measured);
    json_decref(rows);
    return ok;
}

bool cmd_tune(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct words words = {.most = 1};
    struct request request = {.file = NULL};
    urza_tuner *tuner;
    urza_tuner_options options = {.on_progress = tuning_progress, .user = cli};
    const struct option_row rows[] = {
        {"budget", 0, OPTION_REAL, "SECONDS", &request.budget_s,
         "for all kernels together (default: 3 for each)"},
        {"recorded", 0, OPTION_FLAG, NULL, &request.recorded,
         "what was recorded while compiling, instead of a file"},
        {"again", 0, OPTION_FLAG, NULL, &request.again, "also what was measured before"},
        {"target", 0, OPTION_TEXT, "LIST", &request.targets,
         "code for these (default: the best that this machine runs)"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    request.file = words.items[0];
    if (!request.file == !request.recorded)
        return fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
    if (request.budget_s > SECONDS_MAX)
        return fail(err, ERR_USAGE, "--budget: at most %g s", SECONDS_MAX);
    if (!tuning_open(cli, &options, &tuner, err))
        return false;
    bool ok = tune(cli, &request, tuner, err);
    urza_tuner_close(tuner);
    return ok || (request.file && err->code != ERR_NONE ? fail_at(err, "%s", request.file) : false);
}
