/* urza inspect and urza explain: the contents of a package, after verifying all of it, or what a
 * model is made of (source.c). */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "cli/inspect_priv.h"
#include "graph/element.h"
#include "verify/verify.h"

struct view {
    const char *path;
    const void *bytes;
    size_t size_bytes;
    struct package_contents contents;
    bool is_signed;
};

/* Scalar operations of a call: those that the graph asks for, and those that the kernels do. */
struct operations {
    int64_t asked, done;
    bool at_most; /* some are in loops that may end before */
};

static bool add_up(const struct plan *plan, const int64_t *dims, struct operations *out)
{
    struct operations sum = {0};
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        int64_t asked, done, trips;
        if (launch->asked == DIM_NONE || !dim_eval(plan->dims, launch->asked, dims, &asked) ||
            !dim_eval(plan->dims, launch->done, dims, &done) ||
            !plan_trips(plan, i, dims, &trips) || !checked_mul_i64(asked, trips, &asked) ||
            !checked_mul_i64(done, trips, &done) ||
            !checked_add_i64(sum.asked, asked, &sum.asked) ||
            !checked_add_i64(sum.done, done, &sum.done))
            return false;
    }
    for (uint32_t i = 0; i < plan->loops.count; i++)
        sum.at_most |= plan->loops.items[i].condition > 0;
    *out = sum;
    return true;
}

/* Counts for the target whose kernels do the most in relation to what is asked; false if there is
 * no native code, or nothing was counted. */
static bool count_operations(const struct package_contents *contents, struct operations *out)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    struct error none;
    double worst = -1;
    if (!dims_choose(&contents->graph.dims, NULL, dims, &none))
        return false;
    for (uint32_t i = 0; i < contents->target_count; i++) {
        struct operations here;
        if (!add_up(&contents->targets[i].plan, dims, &here))
            return false;
        double ratio = here.asked > 0 ? (double)here.done / (double)here.asked : 0;
        if (ratio > worst)
            *out = here;
        worst = ratio > worst ? ratio : worst;
    }
    return worst >= 0;
}

static json_t *describe_operations(const struct package_contents *contents)
{
    struct operations counted;
    if (!count_operations(contents, &counted))
        return json_null();
    json_t *object = json_pack("{s:I,s:I}", "asked", (json_int_t)counted.asked, "done",
                               (json_int_t)counted.done);
    if (counted.at_most)
        json_object_set_new(object, "at_most", json_true());
    return object;
}

static json_t *describe_tensor(struct cli *cli, const struct graph *graph, const char *name,
                               value_id value)
{
    const struct node *node = graph_node(graph, value);
    json_t *shape = json_array(), *object = json_object();
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        int64_t size;
        struct strbuf text;
        strbuf_init(&text, cli->arena);
        dim_print(&graph->dims, node->shape[axis], &text);
        bool fixed = dim_is_const(&graph->dims, node->shape[axis], &size);
        json_array_append_new(shape, fixed ? json_integer(size) : report_text(text.data));
    }
    json_object_set_new(object, "name", report_text(name));
    json_object_set_new(object, "dtype", json_string(dtype_name(node->dtype)));
    json_object_set_new(object, "shape", shape);
    return object;
}

static json_t *describe_sources(struct cli *cli, const struct graph *graph, const value_id *values,
                                uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(
            list,
            describe_tensor(cli, graph, graph_node(graph, values[i])->attrs->name, values[i]));
    return list;
}

static json_t *describe_outputs(struct cli *cli, const struct graph *graph)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const struct graph_output *output = &graph->outputs.items[i];
        json_t *object = describe_tensor(cli, graph, output->name, output->value);
        const char *updated = source_updated(graph, i);
        if (updated)
            json_object_set_new(object, "updates", report_text(updated));
        json_array_append_new(list, object);
    }
    return list;
}

/* Guards are printed from the manifest, which programs read before loading. */
static bool describe(struct cli *cli, const struct view *view, json_t **out, struct error *err)
{
    const struct package_contents *contents = &view->contents;
    const struct graph *graph = &contents->graph;
    const uint8_t *text;
    size_t size;
    if (!package_entry(view->bytes, view->size_bytes, "manifest.json", &text, &size, err))
        return false;
    json_t *manifest = json_read((const char *)text, size, err);
    json_t *evidence = json_read(contents->evidence_json, contents->evidence_bytes, err);
    if (!manifest || !evidence) {
        json_decref(manifest);
        json_decref(evidence);
        return false;
    }
    json_t *object = json_object(), *targets = json_array();
    for (uint32_t i = 0; i < contents->target_count; i++)
        json_array_append_new(targets, json_string(contents->targets[i].name));
    json_object_set_new(object, "kernel_id", json_string(view->contents.id));
    json_object_set_new(object, "name", report_text(contents->name));
    json_object_set_new(object, "compiler", report_text(contents->compiler));
    json_object_set_new(object, "strategy", report_text(contents->strategy));
    json_object_set_new(object, "size_bytes", json_integer((json_int_t)view->size_bytes));
    json_object_set_new(object, "signed", json_boolean(view->is_signed));
    json_object_set_new(object, "inputs",
                        describe_sources(cli, graph, graph->inputs.items, graph->inputs.count));
    json_object_set_new(object, "outputs", describe_outputs(cli, graph));
    json_object_set_new(object, "params",
                        describe_sources(cli, graph, graph->params.items, graph->params.count));
    json_object_set_new(object, "targets", targets);
    json_object_set_new(object, "specialised", inspect_specials(contents));
    json_object_set_new(object, "work", describe_operations(contents));
    json_object_set_new(object, "training", inspect_training(cli, contents));
    json_object_set_new(object, "step", inspect_step(cli, contents));
    json_object_set_new(object, "graft", inspect_graft(cli, contents));
    json_object_set(object, "dims", json_object_get(manifest, "dims"));
    json_object_set(object, "guards", json_object_get(manifest, "guards"));
    json_object_set_new(object, "evidence", evidence);
    json_decref(manifest);
    *out = object;
    return true;
}

/* updates: the name of an input; NULL: none. */
static void print_tensor(struct cli *cli, const struct graph *graph, const char *role,
                         const char *name, value_id value, const char *updates)
{
    const struct node *node = graph_node(graph, value);
    struct strbuf shape;
    strbuf_init(&shape, cli->arena);
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        strbuf_puts(&shape, axis > 0 ? ", " : "");
        dim_print_shown(&graph->dims, node->shape[axis], &shape);
    }
    report_lines(stdout, "%-9s %s  %s[%s]", role, report_word(cli, name), dtype_name(node->dtype),
                 shape.data);
    if (updates)
        report_lines(stdout, "  updates %s", report_word(cli, updates));
    report_lines(stdout, "\n");
}

/* The elements of inputs that say what a named dim is. */
static void print_tellers(struct cli *cli, const struct graph *graph, uint32_t name)
{
    uint32_t told;
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *e = &graph->elements.items[i];
        const char *input = graph_node(graph, graph->inputs.items[e->input])->attrs->name;
        if (dim_is_name(&graph->dims, e->dim, &told) && told == name)
            report_lines(stdout, "%-9s told by element %u of input '%s' (%s)\n", "", e->element,
                         report_word(cli, input), element_rule_name(e->rule));
    }
}

static void print(struct cli *cli, const struct view *view)
{
    const struct package_contents *contents = &view->contents;
    const struct graph *graph = &contents->graph;
    report_lines(stdout, "%s\n", view->contents.id);
    report_lines(stdout, "%-9s %s\n", "name", report_word(cli, contents->name));
    report_lines(stdout, "%-9s %s, strategy %s\n", "compiler", contents->compiler,
                 contents->strategy);
    report_lines(stdout, "%-9s %zu bytes, %s\n", "size", view->size_bytes,
                 view->is_signed ? "signed" : "unsigned");
    for (uint32_t i = 0; i < graph->dims.names.count; i++) {
        const struct dim_name *dim = &graph->dims.names.items[i];
        report_lines(stdout, "%-9s %s  %lld to %lld", "dim",
                     report_word(cli, dim_shown(&graph->dims, i)), (long long)dim->min,
                     (long long)dim->max);
        if (dim->multiple_of > 1)
            report_lines(stdout, ", multiple of %lld", (long long)dim->multiple_of);
        report_lines(stdout, "\n");
        if (dim->why)
            report_lines(stdout, "%-9s %s\n", "", report_word(cli, dim->why));
        print_tellers(cli, graph, i);
    }
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        print_tensor(cli, graph, "input", graph_node(graph, graph->inputs.items[i])->attrs->name,
                     graph->inputs.items[i], NULL);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        print_tensor(cli, graph, "output", graph->outputs.items[i].name,
                     graph->outputs.items[i].value, source_updated(graph, i));
    for (uint32_t i = 0; i < graph->params.count; i++)
        print_tensor(cli, graph, "param", graph_node(graph, graph->params.items[i])->attrs->name,
                     graph->params.items[i], NULL);
    for (uint32_t i = 0; i < contents->target_count; i++) {
        const struct package_target *target = &contents->targets[i];
        report_lines(stdout, "%-9s %s  %u kernels, %zu bytes of code%s\n", "target", target->name,
                     target->kernel_count, target->code_bytes,
                     target_supported_here(target->name) ? "" : ", not for this CPU");
        inspect_specials_print(cli, target);
    }
    struct operations counted;
    if (count_operations(contents, &counted))
        report_lines(stdout, "%-9s %s%lld operations a call asked for, %lld done\n", "work",
                     counted.at_most ? "at most " : "", (long long)counted.asked,
                     (long long)counted.done);
    inspect_training_print(cli, contents);
    inspect_step_print(cli, contents);
    inspect_graft_print(cli, contents);
    struct strbuf evidence;
    strbuf_init(&evidence, cli->arena);
    if (evidence_describe(contents->evidence_json, contents->evidence_bytes, false, &evidence))
        report_lines(stdout, "evidence\n%s", evidence.data);
    else
        report_lines(stdout, "%-9s none\n", "evidence");
}

/* of: what stands behind the names of targets. Then those of the training step. */
static void dump_plans(const struct package_contents *contents, const char *of, struct strbuf *out)
{
    for (uint32_t i = 0; i < contents->target_count; i++) {
        strbuf_printf(out, "%s%s\n", contents->targets[i].name, of);
        plan_describe(&contents->targets[i].plan, out);
    }
    if (contents->step)
        dump_plans(contents->step, ", training", out);
}

static void dump_schedules(const struct package_contents *contents, const char *of,
                           struct strbuf *out)
{
    for (uint32_t i = 0; i < contents->target_count; i++) {
        const struct package_target *target = &contents->targets[i];
        strbuf_printf(out, "%s%s\n", target->name, of);
        for (uint32_t k = 0; k < target->kernel_count; k++)
            strbuf_printf(out, "  %s: %s\n", target->kernel_names[k], target->kernel_configs[k]);
    }
    if (contents->step)
        dump_schedules(contents->step, ", training", out);
}

static bool dump(struct cli *cli, const struct view *view, const char *what, struct error *err)
{
    struct strbuf text;
    strbuf_init(&text, cli->arena);
    bool is_manifest = strcmp(what, "manifest") == 0;
    if (is_manifest || strcmp(what, "graph") == 0) {
        const uint8_t *data;
        size_t size;
        if (!package_entry(view->bytes, view->size_bytes, is_manifest ? "manifest.json" : "graph",
                           &data, &size, err))
            return false;
        strbuf_add(&text, data, size);
    } else if (strcmp(what, "plan") == 0) {
        dump_plans(&view->contents, "", &text);
    } else if (strcmp(what, "schedule") == 0) {
        dump_schedules(&view->contents, "", &text);
    } else {
        return fail(err, ERR_USAGE, "'%s' cannot be dumped: manifest, graph, plan or schedule",
                    what);
    }
    if (cli->json)
        report_json(json_pack("{s:o}", "dump", report_text(text.data)));
    else
        report_block(stdout, text.data, text.size_bytes);
    return true;
}

static bool is_signed(const struct view *view)
{
    const uint8_t *data;
    size_t size;
    struct error none;
    return package_entry(view->bytes, view->size_bytes, "signature", &data, &size, &none);
}

struct request {
    struct text_list keys;
    struct given given;
    struct memory_request memory;
    bool allow_unsigned;
    const char *what;
};

static bool show_package(struct cli *cli, const struct request *request, const char *path,
                         struct error *err)
{
    struct trusted_keys trusted;
    struct view *view = ARENA_NEW(cli->arena, struct view);
    if (request->given.dims.texts.count + request->given.known.texts.count > 0)
        return fail(err, ERR_USAGE, "--dim and --known are for models: '%s' is compiled", path);
    if (!bundle_trusted(cli, &request->keys, &trusted, err) ||
        !bundle_read(cli, path, &view->bytes, &view->size_bytes, err))
        return false;
    view->path = path;
    const struct trust trust = {request->allow_unsigned ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE,
                                &trusted};
    if (!package_read(view->bytes, view->size_bytes, &trust, cli->arena, &view->contents, err))
        return fail_at(err, "%s", view->path);
    view->is_signed = is_signed(view);
    if (request->what)
        return dump(cli, view, request->what, err);
    if (request->memory.wanted)
        return inspect_memory(cli, &view->contents, &request->memory, err);
    if (!cli->json) {
        print(cli, view);
        return true;
    }
    json_t *object;
    if (!describe(cli, view, &object, err))
        return false;
    report_json(object);
    return true;
}

static bool show(struct cli *cli, int argc, char **argv, bool explain, struct error *err)
{
    struct request request = {.what = NULL};
    struct words words = {.least = 1, .most = 1};
    bool compiled;
    const struct option_row rows[] = {
        {"dump", 0, OPTION_TEXT, "WHAT", &request.what,
         "of a package: print manifest, graph, plan or schedule"},
        {"memory", 0, OPTION_FLAG, NULL, &request.memory.wanted,
         "of a package: where temporaries lie, the peak, and its lower bound"},
        {"dims", 0, OPTION_TEXT, "LIST", &request.memory.dims,
         "with --memory: B=32,S=16: sizes (default: typical ones)"},
        {"backward", 0, OPTION_FLAG, NULL, &request.memory.backward,
         "with --memory: of the training step"},
        {"target", 0, OPTION_TEXT, "NAME", &request.memory.target,
         "with --memory: of the code for this target (default: the best here)"},
        {"svg", 0, OPTION_TEXT, "FILE", &request.memory.svg,
         "with --memory: draw lifetimes and addresses"},
        GIVEN_ROWS(&request.given),
        {"key", 0, OPTION_LIST, "HEX", &request.keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &request.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err) ||
        !inspect_memory_options(&request.memory, err))
        return false;
    if (request.what && request.memory.wanted)
        return fail(err, ERR_USAGE, "--dump and --memory are two requests: give one");
    if (!bundle_is_package(words.items[0], &compiled, err))
        return false;
    if (compiled)
        return show_package(cli, &request, words.items[0], err);
    if (request.memory.wanted)
        return fail(err, ERR_USAGE, "--memory is for packages: compile '%s' first", words.items[0]);
    if (request.what)
        return fail(err, ERR_USAGE, "--dump is for packages; 'urza graph' prints a model's graph");
    const struct source_request source = {words.items[0], &request.given, explain};
    return source_show(cli, &source, err);
}

bool cmd_inspect(struct cli *cli, int argc, char **argv, struct error *err)
{
    return show(cli, argc, argv, false, err);
}

bool cmd_explain(struct cli *cli, int argc, char **argv, struct error *err)
{
    return show(cli, argc, argv, true, err);
}
