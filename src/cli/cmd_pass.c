/* urza pass: runs one graph pass on a graph in text form. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/nearest.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "compiler/opt/opt.h"
#include "compiler/target/target.h"

struct request {
    const char *file, *text;
    size_t size;
    const struct pass_row *pass;
    const struct target *target; /* NULL: the pass does not depend on the target */
};

static const char *pass_name(uint32_t index)
{
    return pass_at(index) ? pass_at(index)->name : NULL;
}

static const char *target_name(uint32_t index)
{
    return target_at(index) ? target_at(index)->name : NULL;
}

static json_t *name_properties(uint32_t set)
{
    json_t *list = json_array();
    for (int p = 0; p < PROPERTY_COUNT; p++)
        if (set >> p & 1)
            json_array_append_new(list, json_string(property_name((enum property)p)));
    return list;
}

static void list_passes(struct cli *cli)
{
    json_t *list = json_array();
    for (uint32_t i = 0; pass_at(i); i++) {
        const struct pass_row *pass = pass_at(i);
        if (cli->json)
            json_array_append_new(
                list, json_pack("{s:s, s:b, s:b, s:o, s:o, s:o, s:s}", "pass", pass->name, "needed",
                                pass->needed, "target", pass->target, "needs",
                                name_properties(pass->needs), "gives", name_properties(pass->gives),
                                "keeps", name_properties(pass->keeps), "doc", pass->doc));
        else
            printf("%-17s %s%s\n", pass->name, pass->doc, pass->target ? " (--target)" : "");
    }
    if (cli->json)
        report_json(list);
    else
        json_decref(list);
}

/* Checks what the pass needs. In the pipeline a violation would be a bug; here it is a fault of the
 * given graph. */
static bool has_needs(const struct pass_row *pass, const struct graph *graph, struct arena *arena,
                      struct error *err)
{
    value_id where;
    for (int p = 0; p < PROPERTY_COUNT; p++)
        if ((pass->needs >> p & 1) && !property_holds((enum property)p, graph, arena, &where))
            return fail(err, ERR_UNSUPPORTED,
                        "'%s' needs graphs in which %s, unlike %%%u; simplify makes them so",
                        pass->name, property_doc((enum property)p), where);
    return true;
}

/* Reads, runs and prints in the child, since the text is untrusted. */
static bool run_pass(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct request *request = context;
    struct graph graph, next, live;
    struct strbuf text;
    isolated_confine(cli, NULL);
    if (!graph_parse(&graph, cli->arena, request->text, request->size, err) ||
        !has_needs(request->pass, &graph, cli->arena, err))
        return fail_at(err, "%s", request->file);
    if (!pass_run(request->pass, &next, cli->arena, &graph,
                  &(struct pass_setting){request->target, true}, err) ||
        !graph_copy_live(&live, cli->arena, &next, err))
        return false;
    strbuf_init(&text, cli->arena);
    graph_print(&live, &text);
    out->parts[0] = (struct child_part){text.data, text.size_bytes};
    return true;
}

static bool find_target(const struct pass_row *pass, const char *name, const struct target **out,
                        struct error *err)
{
    *out = NULL;
    if (!pass->target && name)
        return fail(err, ERR_USAGE, "'%s' asks for no --target", pass->name);
    if (!pass->target)
        return true;
    if (!name)
        return fail(err, ERR_USAGE, "'%s' asks for a --target, such as %s", pass->name,
                    target_name(0));
    *out = target_find(name);
    return *out || fail(err, ERR_TARGET, "'%s' is no target; is '%s' meant?", name,
                        name_nearest(name, target_name));
}

bool cmd_pass(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request = {.pass = NULL};
    struct child_answer text;
    const char *target = NULL;
    struct words words = {.least = 0, .most = 2};
    const struct option_row rows[] = {
        {"target", 0, OPTION_TEXT, "NAME", &target, "x86-64-v3 ...: of passes that ask for one"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    if (!words.items[0]) {
        list_passes(cli);
        return true;
    }
    request.pass = pass_find(words.items[0]);
    if (!request.pass)
        return fail(err, ERR_USAGE, "'%s' is no pass; is '%s' meant? urza pass lists them",
                    words.items[0], name_nearest(words.items[0], pass_name));
    if (!words.items[1])
        return fail(err, ERR_USAGE, "no graph is named for '%s' to run on", words.items[0]);
    request.file = words.items[1];
    if (!find_target(request.pass, target, &request.target, err) ||
        !bundle_read_source(cli, request.file, &request.text, &request.size, err) ||
        !isolated_read(cli, run_pass, &request, &text, err))
        return false;
    isolated_print_graph(cli, &text);
    return true;
}
