/* urza import: a model or a blueprint of any dialect, written as a native blueprint. Values of
 * parameters that came with a model go into a safetensors file beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "cli/apart_priv.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"

struct request {
    const char *file, *out;
    struct text_list known, dims;
    uint64_t seed;
};

/* NAME=FILE.npy */
static bool read_known(struct cli *cli, const char *text, struct import_tensor *out,
                       struct error *err)
{
    const char *equals = strchr(text, '=');
    char *bytes;
    size_t size;
    struct npy npy;
    if (!equals)
        return fail(err, ERR_USAGE, "'%s', expected NAME=FILE.npy", text);
    if (!file_read(equals + 1, (size_t)LIMIT_TENSOR_BYTES, &bytes, &size, err))
        return false;
    bool ok = npy_parse(bytes, size, cli->arena, &npy, err);
    free(bytes);
    if (!ok)
        return fail_at(err, "%s", equals + 1);
    *out = (struct import_tensor){.name = arena_strndup(cli->arena, text, (size_t)(equals - text)),
                                  .dtype = dtype_from_npy(npy.descr),
                                  .rank = npy.rank,
                                  .data = npy.data,
                                  .bytes = npy.data_bytes};
    memcpy(out->shape, npy.shape, sizeof out->shape);
    return true;
}

/* NAME=SIZE or NAME=LEAST..MOST */
static bool read_dim(struct cli *cli, const char *text, struct dim_name *out, struct error *err)
{
    const char *equals = strchr(text, '=');
    uint64_t least = 0, most = 0;
    if (!equals)
        return fail(err, ERR_USAGE, "'%s', expected NAME=SIZE or NAME=LEAST..MOST", text);
    const char *dots = strstr(equals, "..");
    const char *first = equals + 1;
    size_t length = dots ? (size_t)(dots - first) : strlen(first);
    bool ok = args_number(arena_strndup(cli->arena, first, length), LIMIT_DIM_VALUE, &least) &&
              (!dots || args_number(dots + 2, LIMIT_DIM_VALUE, &most));
    if (!ok || (dots && most < least))
        return fail(err, ERR_USAGE, "'%s', expected NAME=SIZE or NAME=LEAST..MOST", text);
    *out = (struct dim_name){.name = arena_strndup(cli->arena, text, (size_t)(equals - text)),
                             .min = (int64_t)least,
                             .max = (int64_t)(dots ? most : least),
                             .multiple_of = 1};
    return true;
}

static bool read_options(struct cli *cli, const struct request *request, struct import_options *out,
                         struct error *err)
{
    uint32_t known = request->known.texts.count, dims = request->dims.texts.count;
    struct import_tensor *tensors = ARENA_ARRAY(cli->arena, struct import_tensor, known);
    struct dim_name *names = ARENA_ARRAY(cli->arena, struct dim_name, dims);
    for (uint32_t i = 0; i < known; i++)
        if (!read_known(cli, request->known.texts.items[i], &tensors[i], err))
            return false;
    for (uint32_t i = 0; i < dims; i++)
        if (!read_dim(cli, request->dims.texts.items[i], &names[i], err))
            return false;
    *out = (struct import_options){.seed = request->seed,
                                   .folder = bundle_folder(cli, request->file),
                                   .fixed = tensors,
                                   .fixed_count = known,
                                   .dims = names,
                                   .dim_count = dims};
    return true;
}

/* The path of the file of parameters: that of the blueprint with another ending. */
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

/* Prints the parameters that came with the model, and says in the document where they are. */
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
        json_array_append_new(list,
                              json_pack("{s:s, s:{s:s, s:s}}", "id", node->attrs->name, "init",
                                        "kind", "safetensors", "path", slash ? slash + 1 : path));
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
    struct import_options options;
    struct strbuf refused;
    const void *bytes;
    size_t size;
    strbuf_init(&refused, cli->arena);
    if (!read_options(cli, request, &options, err) ||
        !bundle_read(cli, request->file, &bytes, &size, err))
        return false;
    apart_confine(cli, options.folder);
    options.refused = &refused;
    if (!blueprint_read(bytes, size, &options, cli->arena, blueprint, err)) {
        if (refused.size_bytes >= sizeof err->message)
            report_lines(stderr, "%s\n", refused.data);
        return fail_at(err, "%s", request->file);
    }
    const char *end = blueprint->warnings + blueprint->warnings_bytes;
    for (const char *at = blueprint->warnings; at < end; at += strlen(at) + 1)
        report_lines(stderr, "urza: warning: %s\n", at);
    return print_blueprint(cli, request, blueprint, out, err);
}

/* The parameters first: a blueprint never names a file that is not there. Nothing can lie beside a
 * device or a pipe: it gets the blueprint alone. */
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
        {"output", 'o', OPTION_TEXT, "OUT", &request.out, "the blueprint to write"},
        {"known", 0, OPTION_LIST, "NAME=FILE.npy", &request.known,
         "an input of a model that is a constant from here on"},
        {"dim", 0, OPTION_LIST, "NAME=SIZE", &request.dims,
         "the size of a named dim of a model, or its range LEAST..MOST"},
        {"seed", 0, OPTION_SEED, "N", &request.seed,
         "of parameters that the blueprint gives no values (default: 0)"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    request.file = words.items[0];
    if (!request.out)
        return fail(err, ERR_USAGE, "-o OUT says where the blueprint goes");
    return apart_read(cli, import, &request, &made, err) && write_files(cli, &request, &made, err);
}
