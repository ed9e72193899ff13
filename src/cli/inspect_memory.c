/* urza inspect --memory: where the temporaries of a plan lie at one size, as the runtime lays them
 * out, and how near that comes to the least there can be. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "cli/inspect_memory_priv.h"
#include "cli/inspect_priv.h"
#include "package/step_spec.h"
#include "verify/verify.h"

#define NAME_COLUMNS 40

const char *const memory_kinds[MEMORY_KIND_COUNT] = {
    [MEMORY_INPUTS] = "inputs",         [MEMORY_PARAMS] = "params",
    [MEMORY_PREPARED] = "prepared",     [MEMORY_OUTPUTS] = "outputs",
    [MEMORY_COTANGENTS] = "cotangents", [MEMORY_GRADIENTS] = "gradients",
    [MEMORY_STATES] = "states",         [MEMORY_IN_PLACE] = "in_place",
    [MEMORY_STAGED] = "staged",
};

/* The target that is asked for, else the best one of this CPU, else the first. */
static const struct package_target *choose_target(const struct package_contents *contents,
                                                  const char *name, struct error *err)
{
    const struct package_target *best = NULL;
    for (uint32_t i = 0; i < contents->target_count; i++) {
        const struct package_target *target = &contents->targets[i];
        if (name && strcmp(target->name, name) == 0)
            return target;
        if (target_supported_here(target->name) &&
            (!best || target_rank(target->name) > target_rank(best->name)))
            best = target;
    }
    if (name)
        return fail(err, ERR_USAGE, "the package has no code for the target '%s'", name), NULL;
    if (contents->target_count == 0)
        return fail(err, ERR_UNSUPPORTED, "the package has no code, so no plan of its memory"),
               NULL;
    return best ? best : &contents->targets[0];
}

static const char *dims_text(struct cli *cli, const struct dim_table *dims, const int64_t *values)
{
    struct strbuf text;
    strbuf_init(&text, cli->arena);
    for (uint32_t i = 0; i < dims->names.count; i++)
        strbuf_printf(&text, "%s%s=%" PRId64, i > 0 ? ", " : "",
                      report_word(cli, dim_shown(dims, i)), values[i]);
    return text.size_bytes > 0 ? text.data : "";
}

/* The last node of a launch is the one whose value it stores; behind it what it does. */
static const char *launch_name(struct cli *cli, const struct plan_launch *launch)
{
    const char *label = launch->label ? launch->label : "";
    struct strbuf text;
    if (launch->node_count == 0)
        return label;
    strbuf_init(&text, cli->arena);
    strbuf_printf(&text, "%s%s: %s", launch->nodes[launch->node_count - 1],
                  launch->more_nodes > 0 ? " …" : "", label);
    return text.data;
}

/* By buffer; NULL: no launch writes it, but copies of a loop do. */
static const char **name_buffers(struct cli *cli, const struct plan *plan)
{
    const char **names = ARENA_ARRAY(cli->arena, const char *, plan->buffers.count + 1);
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        const char *name = launch_name(cli, launch);
        for (uint32_t k = 0; k < launch->arg_count; k++)
            if (launch_writes(launch, k) && !names[launch->args[k]])
                names[launch->args[k]] = name;
    }
    return names;
}

static bool has_name(const char *const *names, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Of an input; spec: of a whole step, or NULL. */
static enum memory_kind kind_of_input(const struct graph *graph, const struct step_spec *spec,
                                      uint32_t input)
{
    const char *name = graph_node(graph, graph->inputs.items[input])->attrs->name;
    if (spec && (has_name(spec->trained, spec->trained_count, name) ||
                 has_name(spec->frozen, spec->frozen_count, name) ||
                 has_name(spec->running, spec->running_count, name)))
        return MEMORY_PARAMS;
    for (uint32_t i = 0; i < graph->updates.count; i++)
        if (graph->updates.items[i].input == input)
            return MEMORY_STATES;
    return MEMORY_INPUTS;
}

static enum memory_kind kind_of(const struct package_contents *block, const struct step_spec *spec,
                                bool backward, const struct plan_buffer *buffer)
{
    const struct graph *graph = &block->graph;
    uint32_t inputs = graph->inputs.count, params = graph->params.count;
    switch ((enum buffer_kind)buffer->kind) {
    case BUFFER_INPUT:
        if (!backward || buffer->index < inputs)
            return kind_of_input(graph, spec, buffer->index);
        return buffer->index < inputs + params ? MEMORY_PARAMS : MEMORY_COTANGENTS;
    case BUFFER_OUTPUT:
        if (backward && buffer->index >= graph->outputs.count)
            return MEMORY_GRADIENTS;
        if (backward || graph_updates_input(graph, buffer->index) == UPDATE_NONE)
            return MEMORY_OUTPUTS;
        return buffer->in_place ? MEMORY_IN_PLACE : MEMORY_STAGED;
    case BUFFER_PARAM: return MEMORY_PARAMS;
    case BUFFER_PREPARED: return MEMORY_PREPARED;
    case BUFFER_TEMP: break;
    }
    return MEMORY_KIND_COUNT;
}

/* What the layout says nothing of: bytes of other buffers, and scratch memory. */
static bool add_others(const struct package_contents *block, const struct step_spec *spec,
                       bool backward, struct memory_view *out)
{
    const int64_t *dims = out->values;
    const struct plan *plan = out->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        enum memory_kind kind = kind_of(block, spec, backward, buffer);
        int64_t bytes;
        if (kind == MEMORY_KIND_COUNT)
            continue;
        if (!dim_eval(plan->dims, buffer->elements, dims, &bytes) || bytes < 0 ||
            !checked_mul_i64(bytes, (int64_t)dtype_bytes((enum dtype)buffer->dtype), &bytes) ||
            !checked_add_i64(out->kinds[kind], bytes, &out->kinds[kind]))
            return false;
    }
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        int64_t bytes;
        if (!layout_size(plan, plan_code_at(plan, &plan->forward.items[i], dims)->scratch_bytes,
                         dims, 1, &bytes))
            return false;
        out->scratch = bytes > out->scratch ? bytes : out->scratch;
    }
    return true;
}

static int by_time(const void *left, const void *right)
{
    const struct memory_row *a = left, *b = right;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a->buffer < b->buffer ? -1 : a->buffer > b->buffer;
}

static bool lay_out(struct cli *cli, const int64_t *dims, struct memory_view *out)
{
    const struct plan *plan = out->plan;
    uint32_t count = plan->buffers.count;
    struct layout_item *items = ARENA_ARRAY(cli->arena, struct layout_item, count + 1);
    struct layout_item **work =
        ARENA_ARRAY(cli->arena, struct layout_item *, 2 * (size_t)count + 1);
    const char **names = name_buffers(cli, plan);
    int64_t all, bytes;
    if (!layout_items(plan, dims, items, &all) || !layout_place(items, count, work, &out->layout))
        return false;
    out->rows = ARENA_ARRAY(cli->arena, struct memory_row, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (items[i].size_bytes == 0 || !dim_eval(plan->dims, buffer->elements, dims, &bytes))
            continue;
        bytes *= (int64_t)dtype_bytes((enum dtype)buffer->dtype); /* fits: see layout_items */
        bool saved = items[i].first < out->forward && items[i].last >= out->forward;
        out->saved += saved ? bytes : 0;
        out->rows[out->count++] = (struct memory_row){.buffer = i,
                                                      .first = items[i].first,
                                                      .last = items[i].last,
                                                      .bytes = bytes,
                                                      .address = items[i].offset,
                                                      .name = names[i] ? names[i] : "loop",
                                                      .saved = saved};
    }
    if (out->count > 0)
        qsort(out->rows, out->count, sizeof *out->rows, by_time);
    return true;
}

static bool gather(struct cli *cli, const struct package_contents *block,
                   const struct memory_request *request, struct memory_view *out, struct error *err)
{
    const struct package_contents *contents = request->backward ? block->step : block;
    int64_t *dims = ARENA_ARRAY(cli->arena, int64_t, LIMIT_NAMED_DIMS);
    const struct step_spec *spec = inspect_spec(cli, block);
    if (!contents && spec)
        return fail(err, ERR_USAGE,
                    "the package is a whole training step: --memory without --backward shows it");
    if (!contents)
        return fail(err, ERR_UNSUPPORTED,
                    "the package has no backward pass: compile it with --backward");
    const struct package_target *target = choose_target(contents, request->target, err);
    if (!target || !dims_choose(&contents->graph.dims, request->dims, dims, err))
        return false;
    struct plan_entry entry;
    *out = (struct memory_view){.target = target->name, .values = dims, .plan = &target->plan};
    out->dims = dims_text(cli, &contents->graph.dims, dims);
    if (plan_find_entry(out->plan, "forward_train", &entry))
        out->forward = entry.count;
    return (lay_out(cli, dims, out) && add_others(block, spec, request->backward, out)) ||
           fail(err, ERR_LIMIT, "sizes of the plan do not fit");
}

static double ratio_of(const struct memory_view *view)
{
    return view->layout.bound > 0 ? (double)view->layout.bytes / (double)view->layout.bound : 1;
}

static json_t *describe(const struct memory_view *view)
{
    json_t *buffers = json_array(), *object = json_object(), *dims = json_object();
    for (uint32_t i = 0; i < view->plan->dims->names.count; i++)
        json_object_set_new(dims, dim_shown(view->plan->dims, i),
                            json_integer((json_int_t)view->values[i]));
    for (uint32_t i = 0; i < view->count; i++) {
        const struct memory_row *row = &view->rows[i];
        json_array_append_new(
            buffers, json_pack("{s:I,s:o,s:I,s:I,s:I,s:I,s:b}", "buffer", (json_int_t)row->buffer,
                               "name", report_text(row->name), "bytes", (json_int_t)row->bytes,
                               "first", (json_int_t)row->first, "last", (json_int_t)row->last,
                               "address", (json_int_t)row->address, "saved", (int)row->saved));
    }
    json_object_set_new(object, "target", json_string(view->target));
    json_object_set_new(object, "dims", dims);
    json_object_set_new(object, "launches", json_integer((json_int_t)view->plan->forward.count));
    json_object_set_new(object, "forward_train", json_integer((json_int_t)view->forward));
    json_object_set_new(object, "buffers", buffers);
    json_object_set_new(object, "peak_bytes", json_integer((json_int_t)view->layout.bytes));
    json_object_set_new(object, "bound_bytes", json_integer((json_int_t)view->layout.bound));
    json_object_set_new(object, "bound_launch", json_integer((json_int_t)view->layout.at));
    json_object_set_new(object, "ratio", report_number(ratio_of(view)));
    json_object_set_new(object, "saved_bytes", json_integer((json_int_t)view->saved));
    json_object_set_new(object, "scratch_bytes", json_integer((json_int_t)view->scratch));
    for (int i = 0; i < MEMORY_KIND_COUNT; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_bytes", memory_kinds[i]);
        json_object_set_new(object, key, json_integer((json_int_t)view->kinds[i]));
    }
    return object;
}

static void print(struct cli *cli, const struct memory_view *view)
{
    const struct plan *plan = view->plan;
    report_lines(stdout, "%s%s%s%s, %u launches\n", view->target,
                 view->forward > 0 ? ", training" : "", view->dims[0] ? ", " : "", view->dims,
                 plan->forward.count);
    report_lines(stdout, "%6s %14s %13s %14s       %s\n", "buffer", "bytes", "launches", "address",
                 "name");
    for (uint32_t i = 0; i < view->count; i++) {
        const struct memory_row *row = &view->rows[i];
        report_lines(stdout, "%6u %14" PRId64 " %6u %6u %14" PRId64 " %-5s %s\n", row->buffer,
                     row->bytes, row->first, row->last, row->address, row->saved ? "saved" : "",
                     report_word(cli, row->name));
    }
    report_lines(stdout, "%-10s %14" PRId64 " bytes\n", "peak", view->layout.bytes);
    report_lines(stdout, "%-10s %14" PRId64 " bytes are alive in launch %u", "bound",
                 view->layout.bound, view->layout.at);
    if (view->count > 0)
        report_lines(stdout, ": %s",
                     report_word(cli, launch_name(cli, &plan->forward.items[view->layout.at])));
    report_lines(stdout, "\n%-10s %14.3f peak / bound\n", "ratio", ratio_of(view));
    if (view->forward > 0)
        report_lines(stdout, "%-10s %14" PRId64 " bytes from forward_train for backward\n", "saved",
                     view->saved);
    report_lines(stdout, "%-10s %14" PRId64 " bytes for each thread, beside the peak\n", "scratch",
                 view->scratch);
    for (int i = 0; i < MEMORY_KIND_COUNT; i++)
        if (view->kinds[i] > 0)
            report_lines(stdout, "%-10s %14" PRId64 " bytes%s\n", memory_kinds[i], view->kinds[i],
                         i == MEMORY_IN_PLACE ? " of inputs are written where they lie"
                         : i == MEMORY_STAGED ? ", copied over inputs at the end"
                                              : "");
}

bool inspect_memory(struct cli *cli, const struct package_contents *contents,
                    const struct memory_request *request, struct error *err)
{
    struct memory_view view;
    struct strbuf picture;
    if (!gather(cli, contents, request, &view, err))
        return false;
    if (request->svg) {
        strbuf_init(&picture, cli->arena);
        memory_svg(cli, &view, &picture);
        if (!file_write_atomic(request->svg, picture.data, picture.size_bytes, 0644, err))
            return false;
    }
    if (cli->json)
        report_json(describe(&view));
    else
        print(cli, &view);
    return true;
}

bool inspect_memory_options(const struct memory_request *request, struct error *err)
{
    const char *first = request->dims       ? "--dims"
                        : request->target   ? "--target"
                        : request->svg      ? "--svg"
                        : request->backward ? "--backward"
                                            : NULL;
    return request->wanted || !first || fail(err, ERR_USAGE, "%s goes with --memory", first);
}
