/* What a model or blueprint is made of, before it is compiled.
 *
 * A child reads the file and describes it as JSON, which is the result of --json; without that this
 * process prints the same JSON as lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"
#include "compiler/import/notes.h"

static void set(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text ? report_text(text) : json_null());
}

const char *source_updated(const struct graph *graph, uint32_t output)
{
    uint32_t input = graph_updates_input(graph, output);
    return input == UPDATE_NONE ? NULL : graph_node(graph, graph->inputs.items[input])->attrs->name;
}

static json_t *tensor(struct cli *cli, const struct graph *graph, const char *name, value_id value)
{
    const struct node *node = graph_node(graph, value);
    json_t *shape = json_array(), *object = json_object();
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        int64_t size;
        struct strbuf text;
        strbuf_init(&text, cli->arena);
        dim_print_shown(&graph->dims, node->shape[axis], &text);
        bool fixed = dim_is_const(&graph->dims, node->shape[axis], &size);
        json_array_append_new(shape, fixed ? json_integer(size) : report_text(text.data));
    }
    set(object, "name", name);
    set(object, "dtype", dtype_name(node->dtype));
    json_object_set_new(object, "shape", shape);
    return object;
}

static json_t *dims(const struct graph *graph)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < graph->dims.names.count; i++) {
        const struct dim_name *dim = &graph->dims.names.items[i];
        json_t *object = json_object();
        set(object, "name", dim_shown(&graph->dims, i));
        json_object_set_new(object, "min", json_integer(dim->min));
        json_object_set_new(object, "max", json_integer(dim->max));
        json_object_set_new(object, "multiple_of", json_integer(dim->multiple_of));
        if (dim->why)
            set(object, "why", dim->why);
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *params(const struct graph *graph)
{
    json_int_t bytes = 0;
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *node = graph_node(graph, graph->params.items[i]);
        int64_t elements = 1, size;
        for (uint32_t axis = 0; axis < node->rank; axis++)
            if (dim_is_const(&graph->dims, node->shape[axis], &size))
                elements *= size;
        bytes += elements * (json_int_t)dtype_bytes(node->dtype);
    }
    return json_pack("{s:I, s:I}", "count", (json_int_t)graph->params.count, "bytes", bytes);
}

static int compare_ops(const void *a, const void *b)
{
    const struct import_op *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->name, y->name);
}

static json_t *ops(struct import_notes *notes)
{
    json_t *list = json_array();
    if (notes->ops.count > 0)
        qsort(notes->ops.items, notes->ops.count, sizeof *notes->ops.items, compare_ops);
    for (uint32_t i = 0; i < notes->ops.count; i++) {
        const struct import_op *op = &notes->ops.items[i];
        json_array_append_new(list, json_pack("{s:o, s:I}", "op", report_text(op->name), "count",
                                              (json_int_t)op->count));
    }
    return list;
}

/* The nodes that need no kernel, by what became of them. */
static json_t *folded(const struct import_notes *notes)
{
    json_t *object = json_object();
    for (int fate = IMPORT_CONSTANT; fate < IMPORT_FATES; fate++) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < notes->ops.count; i++)
            if (notes->ops.items[i].fates[fate] > 0)
                json_array_append_new(
                    list, json_pack("{s:o, s:I}", "op", report_text(notes->ops.items[i].name),
                                    "count", (json_int_t)notes->ops.items[i].fates[fate]));
        json_object_set_new(object, import_fate_name((enum import_fate)fate), list);
    }
    return object;
}

static json_t *refused(const struct import_notes *notes)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < notes->refused.count; i++) {
        const struct import_refusal *from = &notes->refused.items[i];
        json_t *object = json_object();
        set(object, "op", from->op);
        set(object, "node", from->node);
        set(object, "reason", from->why);
        set(object, "cure", from->cure);
        json_object_set_new(object, "count", json_integer(from->count));
        json_array_append_new(list, object);
    }
    return list;
}

/* What was read of the graph: inputs and dims of one that is refused, too. */
static void describe_graph(struct cli *cli, const struct import_notes *notes, bool complete,
                           json_t *object)
{
    const struct graph *graph = notes->graph;
    json_t *inputs = json_array(), *outputs = json_array(), *declared = json_array();
    for (uint32_t i = 0; graph && i < graph->inputs.count; i++)
        json_array_append_new(inputs, tensor(cli, graph,
                                             graph_node(graph, graph->inputs.items[i])->attrs->name,
                                             graph->inputs.items[i]));
    for (uint32_t i = 0; complete && i < graph->outputs.count; i++) {
        const struct graph_output *output = &graph->outputs.items[i];
        json_t *shown = tensor(cli, graph, output->name, output->value);
        if (source_updated(graph, i))
            set(shown, "updates", source_updated(graph, i));
        json_array_append_new(outputs, shown);
    }
    for (uint32_t i = 0; !complete && i < notes->outputs.count; i++)
        json_array_append_new(declared, report_text(notes->outputs.items[i]));
    json_object_set_new(object, "inputs", inputs);
    json_object_set_new(object, "outputs", outputs);
    json_object_set_new(object, "declared_outputs", declared);
    json_object_set_new(object, "dims", graph ? dims(graph) : json_array());
    json_object_set_new(object, "params", graph ? params(graph) : json_null());
}

/* Whether a warning repeats what restricts a dim, which stands beside the dim. */
static bool is_of_dim(const struct dim_table *table, const char *warning)
{
    for (uint32_t i = 0; i < table->names.count; i++)
        if (table->names.items[i].why && strstr(warning, table->names.items[i].why))
            return true;
    return false;
}

static json_t *warnings(const struct blueprint *blueprint)
{
    json_t *list = json_array();
    const char *end = blueprint->warnings + blueprint->warnings_bytes;
    for (const char *at = blueprint->warnings; at < end; at += strlen(at) + 1)
        if (!is_of_dim(&blueprint->graph.dims, at))
            json_array_append_new(list, report_text(at));
    return list;
}

/* A source as it is given to the reader, and again with some of its dims fixed. */
struct reading {
    const void *bytes;
    size_t size;
    struct import_options options;
    struct arena *arena;
};

static bool reads_with(const struct reading *r, const struct dim_table *table, uint32_t fixed)
{
    struct import_options options = r->options;
    struct dim_name sizes[LIMIT_NAMED_DIMS];
    struct blueprint ignored;
    struct error err = {.code = ERR_NONE};
    struct arena *arena = arena_inside(r->arena);
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->names.count; i++) {
        if ((fixed >> i & 1) == 0)
            continue;
        sizes[count] = table->names.items[i];
        sizes[count].min = sizes[count].max = dim_typical(&table->names.items[i]);
        sizes[count++].multiple_of = 1;
    }
    options.notes = NULL;
    options.dims = sizes;
    options.dim_count = count;
    bool ok = blueprint_read(r->bytes, r->size, &options, arena, &ignored, &err);
    arena_release(arena);
    return ok;
}

/* Where a source is read once some of its dims have one size each: these dims, as few as can be. */
static json_t *cure(struct cli *cli, const struct reading *r, const struct graph *graph)
{
    const struct dim_table *table = &graph->dims;
    uint32_t count = table->names.count, all = count < 32 ? (1u << count) - 1 : 0;
    struct strbuf text;
    if (all == 0 || r->options.dim_count > 0 || !reads_with(r, table, all))
        return json_null();
    for (uint32_t i = 0; i < count; i++)
        if (reads_with(r, table, all & ~(1u << i)))
            all &= ~(1u << i);
    strbuf_init(&text, cli->arena);
    for (uint32_t i = 0; i < count; i++)
        if (all >> i & 1)
            strbuf_printf(&text, "%s--dim %s=SIZE", text.size_bytes > 0 ? " " : "",
                          table->names.items[i].name);
    return report_text(text.data);
}

static void describe_error(const struct error *err, json_t *object)
{
    json_t *error = json_object();
    set(error, "error", error_name(err->code));
    set(error, "place", err->place);
    set(error, "message", err->message);
    json_object_set_new(object, "error", error);
}

/* Whether an error says something of a source that is there. */
static bool is_of_content(const struct import_notes *notes, const struct error *err)
{
    return notes->format && (err->code == ERR_UNSUPPORTED || err->code == ERR_BLUEPRINT ||
                             err->code == ERR_SHAPE || err->code == ERR_LIMIT);
}

static bool describe(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct source_request *request = context;
    struct blueprint *blueprint = ARENA_NEW(cli->arena, struct blueprint);
    struct import_notes notes;
    struct reading r = {.options = {.folder = bundle_folder(cli, request->file), .notes = &notes},
                        .arena = cli->arena};
    struct error failure = {.code = ERR_NONE};
    struct strbuf text;
    import_notes_init(&notes, cli->arena);
    if (!given_read(cli, request->given, &r.options, err) ||
        !bundle_read(cli, request->file, &r.bytes, &r.size, err))
        return false;
    isolated_confine(cli, r.options.folder);
    bool ok = blueprint_read(r.bytes, r.size, &r.options, cli->arena, blueprint, &failure);
    if (!ok && !is_of_content(&notes, &failure)) {
        *err = failure;
        return fail_at(err, "%s", request->file);
    }
    if (ok)
        notes.graph = &blueprint->graph;
    json_t *object = json_object();
    set(object, "path", request->file);
    json_object_set_new(object, "size_bytes", json_integer((json_int_t)r.size));
    set(object, "format", notes.format);
    set(object, "version", notes.version);
    set(object, "producer", notes.producer);
    json_object_set_new(object, "supported", json_boolean(ok));
    describe_graph(cli, &notes, ok, object);
    json_object_set_new(object, "ops", ops(&notes));
    if (request->explain)
        json_object_set_new(object, "folded", folded(&notes));
    json_object_set_new(object, "warnings", warnings(blueprint));
    json_object_set_new(object, "refused", refused(&notes));
    json_object_set_new(object, "error", json_null());
    if (!ok)
        describe_error(&failure, object);
    json_object_set_new(object, "cure",
                        !ok && notes.graph ? cure(cli, &r, notes.graph) : json_null());
    strbuf_init(&text, cli->arena);
    json_write_canonical(object, &text);
    json_decref(object);
    out->parts[0] = (struct child_part){text.data, text.size_bytes};
    return true;
}

/* Printing. */

static const char *string(struct cli *cli, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? report_word(cli, text) : "";
}

static long long number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_dim(struct cli *cli, const json_t *dim)
{
    const char *why = string(cli, dim, "why");
    report_lines(stdout, "%-9s %s  %lld to %lld", "dim", string(cli, dim, "name"),
                 number(dim, "min"), number(dim, "max"));
    if (number(dim, "multiple_of") > 1)
        report_lines(stdout, ", multiple of %lld", number(dim, "multiple_of"));
    report_lines(stdout, *why ? "\n%-9s %s\n" : "\n", "", why);
}

static void print_tensor(struct cli *cli, const char *role, const json_t *tensor)
{
    const json_t *shape = json_object_get(tensor, "shape"), *size;
    size_t axis;
    report_lines(stdout, "%-9s %s  %s[", role, string(cli, tensor, "name"),
                 string(cli, tensor, "dtype"));
    json_array_foreach(shape, axis, size)
    {
        const char *comma = axis > 0 ? ", " : "";
        if (json_is_integer(size))
            report_lines(stdout, "%s%lld", comma, (long long)json_integer_value(size));
        else
            report_lines(stdout, "%s%s", comma, report_word(cli, json_string_value(size)));
    }
    const char *updates = string(cli, tensor, "updates");
    report_lines(stdout, "]%s%s\n", *updates ? "  updates " : "", updates);
}

#define LINE_COLUMNS 90

/* "ops       Conv 53, Relu 49", in lines of bounded length; nothing for no ops. lead: what stands
 * before the first. */
static void print_ops(struct cli *cli, const char *role, const char *lead, const json_t *list)
{
    const json_t *op;
    size_t i, column = 0;
    json_array_foreach(list, i, op)
    {
        struct strbuf word;
        strbuf_init(&word, cli->arena);
        strbuf_printf(&word, "%s%s %lld", i == 0 ? lead : "", string(cli, op, "op"),
                      number(op, "count"));
        if (column == 0 || column + word.size_bytes > LINE_COLUMNS) {
            report_lines(stdout, "%s%-9s ", i > 0 ? ",\n" : "", i > 0 ? "" : role);
            column = 10;
        } else {
            report_lines(stdout, ", ");
        }
        report_lines(stdout, "%s", word.data);
        column += word.size_bytes + 2;
    }
    if (i > 0)
        report_lines(stdout, "\n");
}

static void print_bytes(long long bytes, char out[32])
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static void print_refused(struct cli *cli, const json_t *one)
{
    const char *node = string(cli, one, "node"), *cure = string(cli, one, "cure");
    char times[32] = "";
    if (number(one, "count") > 1)
        snprintf(times, sizeof times, " (%lld times)", number(one, "count"));
    report_lines(stdout, "%-9s %s%s%s%s%s: %s\n", "refused", string(cli, one, "op"),
                 *node ? " '" : "", node, *node ? "'" : "", times, string(cli, one, "reason"));
    if (*cure)
        report_lines(stdout, "%-9s cure: %s\n", "", cure);
}

/* Refusals one by one where there are any, else the error. */
static void print_failure(struct cli *cli, const json_t *object)
{
    const json_t *refusals = json_object_get(object, "refused"),
                 *error = json_object_get(object, "error"), *one;
    const char *place = string(cli, error, "place"), *cure = string(cli, object, "cure");
    size_t i;
    json_array_foreach(refusals, i, one) print_refused(cli, one);
    if (json_array_size(refusals) == 0)
        report_lines(stdout, "%-9s %s%s%s\n", "refused", place, *place ? ": " : "",
                     string(cli, error, "message"));
    if (*cure)
        report_lines(stdout, "%-9s cure: it is read with %s\n", "", cure);
}

static void print_folded(struct cli *cli, const json_t *folded)
{
    static const char *const leads[IMPORT_FATES] = {
        [IMPORT_CONSTANT] = "into constants: ",
        [IMPORT_SIZES] = "into arithmetic on dims: ",
        [IMPORT_LOADED] = "into values that are computed when the package is loaded: ",
        [IMPORT_SAME] = "into nothing, as they change nothing: "};
    for (int fate = IMPORT_CONSTANT; fate < IMPORT_FATES; fate++)
        print_ops(cli, "folded", leads[fate],
                  json_object_get(folded, import_fate_name((enum import_fate)fate)));
}

static void print(struct cli *cli, const json_t *object)
{
    const char *version = string(cli, object, "version"), *by = string(cli, object, "producer");
    const json_t *held = json_object_get(object, "params"), *item;
    char bytes[32];
    size_t i;
    report_lines(stdout, "%s\n%-9s %s%s%s%s%s\n", string(cli, object, "path"), "format",
                 string(cli, object, "format"), *version ? ", " : "", version,
                 *by ? ", written by " : "", by);
    json_array_foreach(json_object_get(object, "dims"), i, item) print_dim(cli, item);
    json_array_foreach(json_object_get(object, "inputs"), i, item) print_tensor(cli, "input", item);
    json_array_foreach(json_object_get(object, "outputs"), i, item)
        print_tensor(cli, "output", item);
    json_array_foreach(json_object_get(object, "declared_outputs"), i, item)
        report_lines(stdout, "%-9s %s\n", "output", report_word(cli, json_string_value(item)));
    if (json_is_object(held)) {
        print_bytes(number(held, "bytes"), bytes);
        report_lines(stdout, "%-9s %lld, %s\n", "params", number(held, "count"), bytes);
    }
    print_ops(cli, "ops", "", json_object_get(object, "ops"));
    print_folded(cli, json_object_get(object, "folded"));
    json_array_foreach(json_object_get(object, "warnings"), i, item)
        report_lines(stdout, "%-9s %s\n", "warning", report_word(cli, json_string_value(item)));
    if (!json_is_true(json_object_get(object, "supported")))
        print_failure(cli, object);
}

bool source_show(struct cli *cli, const struct source_request *request, struct error *err)
{
    struct child_answer answer;
    struct source_request copy = *request;
    if (!isolated_read(cli, describe, &copy, &answer, err))
        return false;
    json_t *object = json_read(answer.parts[0].data, answer.parts[0].size_bytes, err);
    if (!object)
        return false;
    if (!cli->json) {
        print(cli, object);
        json_decref(object);
        return true;
    }
    report_json(object);
    return true;
}
