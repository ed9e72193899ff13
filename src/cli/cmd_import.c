/* urza import: writes a model or a blueprint of any dialect as a native blueprint. Parameter values
 * that came with a model are written to a safetensors file beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"

struct request {
    const char *file, *out;
    struct given given;
    uint64_t seed;
};

/* The path of the file of parameters: the blueprint's with another extension. */
static const char *params_path(struct cli *cli, const char *out)
{
    struct strbuf path;
    size_t length = strlen(out);
    if (length > 5 && strcmp(out + length - 5, ".json") == 0)
        length -= 5;
    strbuf_init(&path, cli->arena);
    strbuf_add(&path, out, length);
    strbuf_puts(&path, ".safetensors");
    return path.data;
}

/* A file of that name which does not belong to an earlier blueprint, such as the weights that a
 * model was made of, is not replaced. */
static bool check_params_path(struct cli *cli, const struct request *request, struct error *err)
{
    const char *path = params_path(cli, request->out);
    struct stat info;
    if (stat(path, &info) != 0 || stat(request->out, &info) == 0)
        return true;
    return fail(err, ERR_USAGE,
                "'%s', where the parameters would go, exists without '%s': -o OUT "
                "says where else they go",
                path, request->out);
}

/* Prints the parameters that came with the model, and adds a reference to their file to the
 * document. */
static bool print_params(struct cli *cli, const struct blueprint *blueprint, const char *path,
                         json_t *document, struct strbuf *out, struct error *err)
{
    const struct graph *graph = &blueprint->graph;
    const char *slash = strrchr(path, '/');
    struct package_param *params =
        ARENA_ARRAY(cli->arena, struct package_param, graph->params.count);
    json_t *list = json_array();
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *node = graph_node(graph, graph->params.items[i]);
        params[i] = (struct package_param){.dtype = (enum dtype)node->dtype,
                                           .data = blueprint->inits[i].data,
                                           .data_bytes = blueprint->inits[i].data_bytes};
        json_t *item = json_pack("{s:s, s:{s:s, s:s}}", "id", node->attrs->name, "init", "kind",
                                 "safetensors", "path", slash ? slash + 1 : path);
        if (blueprint->inits[i].frozen)
            json_object_set_new(item, "trainable", json_false());
        json_array_append_new(list, item);
    }
    json_object_set_new(document, "params", list);
    return params_write(graph, params, out, err);
}

/* Part 0: the blueprint; part 1: the file of its parameters, empty when there is none. */
static bool print_blueprint(struct cli *cli, const struct request *request,
                            const struct blueprint *blueprint, struct child_answer *out,
                            struct error *err)
{
    json_t *document = json_read(blueprint->json, blueprint->json_bytes, err);
    struct strbuf text, params;
    bool given = blueprint->graph.params.count > 0 && blueprint->inits[0].kind == INIT_DATA;
    if (!document)
        return false;
    strbuf_init(&text, cli->arena);
    strbuf_init(&params, cli->arena);
    bool ok = !given ||
              print_params(cli, blueprint, params_path(cli, request->out), document, &params, err);
    json_write_canonical(document, &text);
    strbuf_puts(&text, "\n");
    json_decref(document);
    out->parts[0] = (struct child_part){text.data, text.size_bytes};
    out->parts[1] = (struct child_part){params.data, params.size_bytes};
    return ok;
}

static bool import(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct request *request = context;
    struct blueprint *blueprint = ARENA_NEW(cli->arena, struct blueprint);
    struct import_options options = {.seed = request->seed,
                                     .folder = bundle_folder(cli, request->file)};
    struct strbuf refused;
    const void *bytes;
    size_t size;
    strbuf_init(&refused, cli->arena);
    if (!given_read(cli, &request->given, &options, err) ||
        !bundle_read(cli, request->file, &bytes, &size, err))
        return false;
    isolated_confine(cli, options.folder);
    options.refused = &refused;
    if (!blueprint_read(bytes, size, &options, cli->arena, blueprint, err)) {
        if (refused.size_bytes >= sizeof err->message)
            report_lines(stderr, "%s\n", refused.data);
        return fail_at(err, "%s", request->file);
    }
    const char *end = blueprint->warnings + blueprint->warnings_bytes;
    for (const char *at = blueprint->warnings; at < end; at += strlen(at) + 1)
        report_warning(cli, "%s", at);
    return print_blueprint(cli, request, blueprint, out, err);
}

/* Parameters are written first, so that a blueprint never names a missing file. A device or pipe
 * has no folder for a second file, and gets only the blueprint. */
static bool write_files(struct cli *cli, const struct request *request,
                        const struct child_answer *made, struct error *err)
{
    const struct child_part *text = &made->parts[0], *params = &made->parts[1];
    struct stat info;
    bool special = stat(request->out, &info) == 0 && !S_ISREG(info.st_mode);
    const char *path = params->size_bytes > 0 && !special ? params_path(cli, request->out) : NULL;
    if ((path && !file_write_atomic(path, params->data, params->size_bytes, 0644, err)) ||
        !file_write_atomic(request->out, text->data, text->size_bytes, 0644, err))
        return false;
    if (cli->json)
        report_json(json_pack("{s:o, s:o}", "path", report_text(request->out), "params",
                              path ? report_text(path) : json_null()));
    else
        report_lines(stdout, "%s\n%s%s", request->out, path ? path : "", path ? "\n" : "");
    return true;
}

bool cmd_import(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request = {.out = NULL};
    struct child_answer made;
    struct words words = {.least = 1, .most = 1};
    const struct option_row rows[] = {
        {"output", 'o', OPTION_TEXT, "OUT", &request.out,
         "the blueprint to write, its parameters beside it (default: FILE.json in this folder)"},
        GIVEN_ROWS(&request.given),
        {"seed", 0, OPTION_SEED, "N", &request.seed,
         "of parameters that the blueprint gives no values (default: 0)"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    request.file = words.items[0];
    return bundle_output(cli, request.file, ".json", &request.out, err) &&
           check_params_path(cli, &request, err) &&
           isolated_read(cli, import, &request, &made, err) &&
           write_files(cli, &request, &made, err);
}
