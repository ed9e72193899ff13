/* Checks of a plan, lifetimes, and the plan as text for people.
 *
 * Launches run in order, prepare before forward, so "written before read" is checked in one walk
 * with a flag per buffer. */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "package/package_priv.h"
#include "package/plan_priv.h"

static const char *const kind_names[] = {
    [BUFFER_INPUT] = "input",       [BUFFER_OUTPUT] = "output", [BUFFER_PARAM] = "param",
    [BUFFER_PREPARED] = "prepared", [BUFFER_TEMP] = "temp",
};

const char *buffer_kind_name(enum buffer_kind kind)
{
    return kind_names[kind];
}

enum buffer_kind buffer_kind_from_name(const char *name)
{
    for (int kind = BUFFER_INPUT; kind <= BUFFER_TEMP; kind++)
        if (strcmp(kind_names[kind], name) == 0)
            return (enum buffer_kind)kind;
    return 0;
}

bool buffer_is_bound(enum buffer_kind kind)
{
    return kind == BUFFER_INPUT || kind == BUFFER_OUTPUT || kind == BUFFER_PARAM;
}

/* A constant must not be negative; with need_const a dim that is not constant is refused. */
static bool check_dim(const struct plan *plan, dim_id dim, bool need_const, const char *what,
                      struct error *err)
{
    int64_t value;
    if (dim == DIM_NONE || dim >= plan->dims->exprs.count)
        return fail(err, ERR_PACKAGE, "%s is no dim", what);
    if (!dim_is_const(plan->dims, dim, &value))
        return !need_const || fail(err, ERR_PACKAGE, "%s depends on a named dim", what);
    return value >= 0 || fail(err, ERR_PACKAGE, "%s is negative", what);
}

static bool check_buffer(const struct plan *plan, const struct plan_buffer *buffer,
                         struct error *err)
{
    if (buffer->kind < BUFFER_INPUT || buffer->kind > BUFFER_TEMP)
        return fail(err, ERR_PACKAGE, "has no kind");
    if (buffer->dtype <= DTYPE_NONE || buffer->dtype >= DTYPE_COUNT)
        return fail(err, ERR_PACKAGE, "has no dtype");
    bool need_const = buffer->kind == BUFFER_PARAM || buffer->kind == BUFFER_PREPARED;
    return check_dim(plan, buffer->elements, need_const, "the number of elements", err);
}

/* Checks one argument; written: whether an earlier launch wrote the buffer. */
static bool check_arg(const struct plan_buffer *buffer, bool prepare, bool writes, bool written,
                      struct error *err)
{
    enum buffer_kind kind = buffer->kind;
    if (prepare && kind != BUFFER_PARAM && kind != BUFFER_PREPARED)
        return fail(err, ERR_PACKAGE, "a prepare launch may not touch it");
    if (writes) {
        bool may = prepare ? kind == BUFFER_PREPARED : kind == BUFFER_OUTPUT || kind == BUFFER_TEMP;
        return may || fail(err, ERR_PACKAGE, "the launch may not write it");
    }
    bool given = kind == BUFFER_INPUT || kind == BUFFER_PARAM;
    return given || written || fail(err, ERR_PACKAGE, "is read before it is written");
}

static bool check_code(const struct plan *plan, const struct plan_code *code, bool prepare,
                       struct error *err)
{
    if (code->kernel >= plan->kernel_count)
        return fail(err, ERR_PACKAGE, "kernel %u of %u", code->kernel, plan->kernel_count);
    return check_dim(plan, code->extent, prepare, "extent", err) &&
           check_dim(plan, code->work, prepare, "work", err) &&
           check_dim(plan, code->scratch_bytes, prepare, "scratch_bytes", err);
}

static bool check_variants(const struct plan *plan, const struct plan_launch *launch, bool prepare,
                           struct error *err)
{
    if (prepare && launch->variant_count > 0)
        return fail(err, ERR_PACKAGE, "a prepare launch has variants");
    for (uint32_t i = 0; i < launch->variant_count; i++) {
        const struct plan_variant *variant = &launch->variants[i];
        if (variant->special >= plan->specials.count)
            return fail(err, ERR_PACKAGE, "variant %u is for specialisation %u of %u", i,
                        variant->special, plan->specials.count);
        if (i > 0 && variant->special <= launch->variants[i - 1].special)
            return fail(err, ERR_PACKAGE,
                        "variant %u is for specialisation %u, which does not follow %u", i,
                        variant->special, launch->variants[i - 1].special);
        if (!check_code(plan, &variant->code, false, err))
            return fail_at(err, "variant %u", i);
    }
    return true;
}

/* Checks one launch and marks the buffers that it writes. */
static bool check_launch(const struct plan *plan, const struct plan_launch *launch, bool prepare,
                         bool *written, struct error *err)
{
    if (launch->arg_count > LIMIT_KERNEL_BUFFERS)
        return fail(err, ERR_LIMIT, "more than %d arguments", LIMIT_KERNEL_BUFFERS);
    if (launch->written == 0 ||
        (launch->arg_count < 32 && launch->written >> launch->arg_count != 0))
        return fail(err, ERR_PACKAGE, "writes nothing, or arguments it does not have");
    if (!check_code(plan, &launch->code, prepare, err) ||
        !check_variants(plan, launch, prepare, err))
        return false;
    if (launch->asked != DIM_NONE && (!check_dim(plan, launch->asked, prepare, "asked", err) ||
                                      !check_dim(plan, launch->done, prepare, "done", err)))
        return false;
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        uint32_t id = launch->args[i];
        if (id >= plan->buffers.count)
            return fail(err, ERR_PACKAGE, "buffer %u of %u", id, plan->buffers.count);
        if (!check_arg(&plan->buffers.items[id], prepare, launch_writes(launch, i), written[id],
                       err))
            return fail_at(err, "buffer %u", id);
    }
    for (uint32_t i = 0; i < launch->arg_count; i++)
        if (launch_writes(launch, i))
            written[launch->args[i]] = true;
    return true;
}

bool plan_check(const struct plan *plan, struct error *err)
{
    if (plan->buffers.count > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "the plan has more than %d buffers", LIMIT_NODES);
    if (plan->prepare.count > LIMIT_LAUNCHES || plan->forward.count > LIMIT_LAUNCHES)
        return fail(err, ERR_LIMIT, "the plan has more than %d launches", LIMIT_LAUNCHES);
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (!check_buffer(plan, &plan->buffers.items[i], err))
            return fail_at(err, "buffer %u", i);
    if (!plan_loops_check(plan, err) || !plan_entries_check(plan, err) ||
        !plan_specials_check(plan, err))
        return false;
    bool *written = ARENA_ARRAY(plan->arena, bool, plan->buffers.count);
    for (uint32_t i = 0; i < plan->prepare.count; i++)
        if (!check_launch(plan, &plan->prepare.items[i], true, written, err))
            return fail_at(err, "prepare launch %u", i);
    for (uint32_t i = 0; i < plan->forward.count; i++)
        if (!plan_loop_begin(plan, i, written, err) ||
            !check_launch(plan, &plan->forward.items[i], false, written, err) ||
            !plan_loop_end(plan, i, written, err))
            return fail_at(err, "forward launch %u", i);
    return true;
}

/* Computes the lifetimes of a checked plan. */
void plan_lifetimes(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        struct plan_buffer *buffer = &plan->buffers.items[i];
        buffer->first_launch = buffer->kind == BUFFER_TEMP ? UINT32_MAX : 0;
        buffer->last_launch = 0;
        buffer->turn = TURN_NONE;
        buffer->displaced = false;
    }
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            struct plan_buffer *buffer = &plan->buffers.items[launch->args[k]];
            if (buffer->kind != BUFFER_TEMP)
                continue;
            if (buffer->first_launch == UINT32_MAX)
                buffer->first_launch = i;
            buffer->last_launch = i;
        }
    }
    plan_loops_lifetimes(plan);
}

void plan_finish(struct plan *plan)
{
    struct error err;
    bool sound = plan_check(plan, &err);
    assert(sound);
    (void)sound;
    plan_lifetimes(plan);
}

/* The graph's value for an input, output or param buffer; VALUE_NONE when the graph has none with
 * that index. */
static value_id bound_value(const struct graph *graph, const struct plan_buffer *buffer)
{
    uint32_t i = buffer->index;
    if (buffer->kind == BUFFER_INPUT)
        return i < graph->inputs.count ? graph->inputs.items[i] : VALUE_NONE;
    if (buffer->kind == BUFFER_PARAM)
        return i < graph->params.count ? graph->params.items[i] : VALUE_NONE;
    return i < graph->outputs.count ? graph->outputs.items[i].value : VALUE_NONE;
}

/* Claims that an output may be written over an input: as far as the plan shows. */
static bool check_updates(const struct plan *plan, const struct graph *graph, struct error *err)
{
    bool reads;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        uint32_t input = buffer->in_place ? graph_updates_input(graph, buffer->index) : UPDATE_NONE;
        if (buffer->in_place &&
            (input == UPDATE_NONE ||
             !plan_may_update(plan, plan_bound_buffer(plan, BUFFER_INPUT, input), i, &reads)))
            return fail(err, ERR_PACKAGE, "output %u cannot be written in place", buffer->index);
    }
    return true;
}

bool plan_check_graph(const struct plan *plan, const struct graph *graph, struct error *err)
{
    uint32_t starts[] = {[BUFFER_INPUT] = 0,
                         [BUFFER_OUTPUT] = graph->inputs.count,
                         [BUFFER_PARAM] = graph->inputs.count + graph->outputs.count};
    /* By (kind, index): 1 + the buffer for it; 0: none so far. */
    uint32_t *seen =
        ARENA_ARRAY(plan->arena, uint32_t, starts[BUFFER_PARAM] + (size_t)graph->params.count);
    bool *written = ARENA_ARRAY(plan->arena, bool, plan->buffers.count);
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            written[launch->args[k]] |= launch_writes(launch, k);
    }
    plan_loops_written(plan, plan->forward.count, written);
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (!buffer_is_bound(buffer->kind))
            continue;
        const char *kind = kind_names[buffer->kind];
        value_id value = bound_value(graph, buffer);
        if (value == VALUE_NONE)
            return fail(err, ERR_PACKAGE, "the graph has no %s %u", kind, buffer->index);
        const struct node *node = graph_node(graph, value);
        if (buffer->dtype != node->dtype ||
            buffer->elements != dim_product(plan->dims, node->shape, node->rank))
            return fail(err, ERR_PACKAGE, "dtype or size of %s %u is not the graph's", kind,
                        buffer->index);
        uint32_t *slot = &seen[starts[buffer->kind] + buffer->index];
        if (*slot != 0)
            return fail(err, ERR_PACKAGE, "%s %u has two buffers", kind, buffer->index);
        *slot = i + 1;
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        uint32_t slot = seen[starts[BUFFER_OUTPUT] + i];
        if (slot == 0 || !written[slot - 1])
            return fail(err, ERR_PACKAGE, "no launch writes output %u", i);
    }
    return check_updates(plan, graph, err);
}

/* launch: for what it counts; NULL: not said. */
static void describe_code(const struct plan *plan, const struct plan_code *code,
                          const struct plan_launch *launch, struct strbuf *out)
{
    strbuf_puts(out, " extent ");
    dim_print(plan->dims, code->extent, out);
    strbuf_puts(out, " work ");
    dim_print(plan->dims, code->work, out);
    if (launch && launch->asked != DIM_NONE) {
        strbuf_puts(out, " asked ");
        dim_print(plan->dims, launch->asked, out);
        strbuf_puts(out, " done ");
        dim_print(plan->dims, launch->done, out);
    }
    strbuf_puts(out, " scratch ");
    dim_print(plan->dims, code->scratch_bytes, out);
}

static void describe_launch(const struct plan *plan, const char *entry, uint32_t index,
                            const struct plan_launch *launch, struct strbuf *out)
{
    strbuf_printf(out, "%s %u: %s kernel %u (", entry, index, launch->label ? launch->label : "",
                  launch->code.kernel);
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        uint32_t id = launch->args[i];
        const struct plan_buffer *buffer = &plan->buffers.items[id];
        if (i > 0)
            strbuf_puts(out, ", ");
        strbuf_printf(out, "%s%s %u %s[", launch_writes(launch, i) ? "out " : "",
                      kind_names[buffer->kind], buffer_is_bound(buffer->kind) ? buffer->index : id,
                      dtype_name(buffer->dtype));
        dim_print(plan->dims, buffer->elements, out);
        strbuf_puts(out, buffer->in_place && launch_writes(launch, i) ? "] in place" : "]");
    }
    strbuf_puts(out, ")");
    describe_code(plan, &launch->code, launch, out);
    for (uint32_t i = 0; i < launch->node_count; i++) {
        strbuf_puts(out, i > 0 ? ", " : " nodes ");
        json_write_string(launch->nodes[i], strlen(launch->nodes[i]), out);
    }
    if (launch->more_nodes > 0)
        strbuf_printf(out, " and %u more", launch->more_nodes);
    strbuf_puts(out, "\n");
    for (uint32_t i = 0; i < launch->variant_count; i++) {
        const struct plan_variant *variant = &launch->variants[i];
        strbuf_puts(out, "  at ");
        plan_special_print(plan, variant->special, out);
        strbuf_printf(out, ": kernel %u", variant->code.kernel);
        describe_code(plan, &variant->code, NULL, out);
        strbuf_puts(out, "\n");
    }
}

void plan_describe(const struct plan *plan, struct strbuf *out)
{
    for (uint32_t i = 0; i < plan->prepare.count; i++)
        describe_launch(plan, "prepare", i, &plan->prepare.items[i], out);
    for (uint32_t i = 0; i < plan->forward.count; i++)
        describe_launch(plan, "forward", i, &plan->forward.items[i], out);
    plan_loops_describe(plan, out);
}
