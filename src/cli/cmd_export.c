/* urza export: writes a blueprint of any dialect, a model or a package as an ONNX model. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "compiler/export/export.h"
#include "compiler/import/import.h"

struct request {
    const char *file, *out;
    struct text_list keys;
    struct given given;
    bool allow_unsigned;
    uint64_t seed;
};

struct source {
    const struct graph *graph;
    const struct package_param *params;
};

static bool read_blueprint(struct cli *cli, const struct request *request, const void *bytes,
                           size_t size, struct source *out, struct error *err)
{
    struct blueprint *blueprint = ARENA_NEW(cli->arena, struct blueprint);
    const char *folder = bundle_folder(cli, request->file);
    struct import_options options = {.seed = request->seed, .folder = folder};
    if (!given_read(cli, &request->given, &options, err))
        return false;
    isolated_confine(cli, folder);
    if (!blueprint_read(bytes, size, &options, cli->arena, blueprint, err))
        return false;
    const struct graph *graph = &blueprint->graph;
    struct package_param *params =
        ARENA_ARRAY(cli->arena, struct package_param, graph->params.count);
    for (uint32_t i = 0; i < graph->params.count; i++)
        if (!blueprint_param_data(blueprint, i, folder, cli->arena, &params[i], err))
            return false;
    *out = (struct source){graph, params};
    return true;
}

static bool read_package(struct cli *cli, const struct request *request, const void *bytes,
                         size_t size, struct source *out, struct error *err)
{
    struct package_contents *contents = ARENA_NEW(cli->arena, struct package_contents);
    struct trusted_keys trusted;
    const struct trust trust = {request->allow_unsigned ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE,
                                &trusted};
    if (!bundle_trusted(cli, &request->keys, &trusted, err))
        return false;
    isolated_confine(cli, NULL);
    if (!package_read(bytes, size, &trust, cli->arena, contents, err))
        return false;
    *out = (struct source){&contents->graph, contents->params};
    return true;
}

static bool read_source(struct cli *cli, const struct request *request, struct source *out,
                        struct error *err)
{
    const void *bytes;
    size_t size;
    if (!bundle_read(cli, request->file, &bytes, &size, err))
        return false;
    return package_looks_like(bytes, size) ? read_package(cli, request, bytes, size, out, err)
                                           : read_blueprint(cli, request, bytes, size, out, err);
}

static bool export(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct request *request = context;
    struct source source;
    struct strbuf refused;
    struct onnx_file model;
    if (!read_source(cli, request, &source, err))
        return fail_at(err, "%s", request->file);
    strbuf_init(&refused, cli->arena);
    if (!onnx_write(source.graph, source.params, cli->arena, &refused, &model, err)) {
        if (refused.size_bytes >= sizeof err->message)
            report_lines(stderr, "%s\n", refused.data);
        return fail_at(err, "%s", request->file);
    }
    out->parts[0] = (struct child_part){model.data, model.size_bytes};
    return true;
}

bool cmd_export(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request = {.out = NULL};
    struct child_answer made;
    struct words words = {.least = 1, .most = 1};
    const struct option_row rows[] = {
        {"output", 'o', OPTION_TEXT, "OUT", &request.out,
         "the model to write (default: FILE.onnx in this folder)"},
        GIVEN_ROWS(&request.given),
        {"seed", 0, OPTION_SEED, "N", &request.seed,
         "of parameters that the blueprint gives no values (default: 0)"},
        {"key", 0, OPTION_LIST, "HEX", &request.keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &request.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    request.file = words.items[0];
    if (!bundle_output(cli, request.file, ".onnx", &request.out, err) ||
        !isolated_read(cli, export, &request, &made, err))
        return false;
    size_t size = made.parts[0].size_bytes;
    if (!file_write_atomic(request.out, made.parts[0].data, size, 0644, err))
        return false;
    if (cli->json)
        report_json(
            json_pack("{s:o, s:I}", "path", report_text(request.out), "bytes", (json_int_t)size));
    else
        report_lines(stdout, "%s\n", request.out);
    return true;
}
