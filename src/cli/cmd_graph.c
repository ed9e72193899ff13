/* urza graph: prints the graph of a blueprint as it is read, or the graph stored in a package. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"

struct request {
    const char *file;
    struct text_list keys;
    struct given given;
    bool allow_unsigned, dot;
};

static bool read_graph(struct cli *cli, const struct request *request, const void *bytes,
                       size_t size, const struct graph **out, struct error *err)
{
    if (!package_looks_like(bytes, size)) {
        struct blueprint *blueprint = ARENA_NEW(cli->arena, struct blueprint);
        struct import_options options = {.folder = bundle_folder(cli, request->file)};
        *out = &blueprint->graph;
        if (!given_read(cli, &request->given, &options, err))
            return false;
        isolated_confine(cli, options.folder);
        return blueprint_read(bytes, size, &options, cli->arena, blueprint, err);
    }
    struct package_contents *contents = ARENA_NEW(cli->arena, struct package_contents);
    struct trusted_keys trusted;
    const struct trust trust = {request->allow_unsigned ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE,
                                &trusted};
    *out = &contents->graph;
    if (!bundle_trusted(cli, &request->keys, &trusted, err))
        return false;
    isolated_confine(cli, NULL);
    return package_read(bytes, size, &trust, cli->arena, contents, err);
}

static bool print_graph(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct request *request = context;
    const struct graph *graph;
    const void *bytes;
    struct strbuf text;
    size_t size;
    if (!bundle_read(cli, request->file, &bytes, &size, err))
        return false;
    if (!read_graph(cli, request, bytes, size, &graph, err))
        return fail_at(err, "%s", request->file);
    strbuf_init(&text, cli->arena);
    if (request->dot)
        graph_print_dot(graph, &text);
    else
        graph_print(graph, &text);
    out->parts[0] = (struct child_part){text.data, text.size_bytes};
    return true;
}

bool cmd_graph(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request = {.dot = false};
    struct child_answer text;
    struct words words = {.least = 1, .most = 1};
    const struct option_row rows[] = {
        {"dot", 0, OPTION_FLAG, NULL, &request.dot, "in Graphviz's language"},
        GIVEN_ROWS(&request.given),
        {"key", 0, OPTION_LIST, "HEX", &request.keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &request.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    request.file = words.items[0];
    if (!isolated_read(cli, print_graph, &request, &text, err))
        return false;
    isolated_print_graph(cli, &text);
    return true;
}
