/* Examples of ops, lowered, for tests; see lowered.h. */
#include "compiler/lower/lowered.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/loop/nest_eval.h"

static bool optimise(struct lowered *l, struct graph *graph, const struct target *target,
                     struct error *err)
{
    l->graph = *graph;
    for (uint32_t i = 0; pass_at(i); i++) {
        struct graph next;
        if (!pass_run(pass_at(i), &next, &l->arena, &l->graph, &(struct pass_setting){target, true},
                      err))
            return false;
        l->graph = next;
    }
    return true;
}

/* Memory of exactly the right size, so that sanitizers see an access past its end. */
static bool allocate(struct lowered *l, value_id value, struct error *err)
{
    const struct node *node = graph_node(&l->graph, value);
    size_t bytes = dtype_bytes(node->dtype);
    for (uint32_t i = 0; i < node->rank; i++) {
        int64_t n;
        if (!dim_eval(&l->graph.dims, node->shape[i], l->example.dim_values, &n) || n < 0)
            return fail(err, ERR_BUG, "value %u has no size", value);
        bytes *= (size_t)n;
    }
    l->bytes[value] = bytes;
    l->memory[value] = arena_alloc(&l->arena, bytes, 64);
    return true;
}

static bool refer(struct lowered *l, const struct graph *graph, uint64_t seed, struct error *err)
{
    struct interp_tensor in[LIMIT_OPERANDS];
    void *data[LIMIT_OPERANDS];
    for (uint32_t i = 0; i < l->example.operand_count; i++) {
        const struct op_example_operand *o = &l->example.operands[i];
        data[i] = arena_array(&l->arena, (size_t)o->count, dtype_bytes(o->dtype));
        op_example_fill(o, seed + 100 + i, data[i]);
        if (!interp_load(&in[i], &l->arena,
                         &(struct native_tensor){o->dtype, o->rank, o->shape, data[i]}, err))
            return false;
    }
    if (!interp_run(graph, &(struct interp_options){.mode = INTERP_REFERENCE},
                    &(struct interp_arguments){l->example.dim_values, in, l->example.operand_count},
                    &l->arena, l->expected, err))
        return false;
    for (uint32_t i = 0; i < l->example.operand_count; i++)
        l->memory[l->graph.inputs.items[i]] = data[i];
    return true;
}

static bool lower_all(struct lowered *l, struct error *err)
{
    struct lowered_group *lowered;
    if (!lower_graph(&l->graph, &l->arena, &l->partition, &lowered, err))
        return fail_at(err, "lower");
    l->kernel_count = l->partition.groups.count;
    l->kernels = ARENA_ARRAY(&l->arena, struct lowered_kernel, l->kernel_count + 1);
    for (uint32_t i = 0; i < l->kernel_count; i++) {
        struct lowered_kernel *k = &l->kernels[i];
        k->group = &l->partition.groups.items[i];
        k->nest = *lowered[i].nest;
        for (uint32_t a = 0; a < k->nest.arguments.count; a++) {
            value_id value = nest_argument(&k->nest, a)->value;
            if (!l->memory[value] && !allocate(l, value, err))
                return false;
        }
    }
    return true;
}

bool lowered_build(struct lowered *out, const struct op_row *row,
                   const struct op_example_request *request, const struct target *target,
                   struct error *err)
{
    struct graph graph;
    *out = (struct lowered){0};
    arena_init(&out->arena);
    graph_init(&graph, &out->arena);
    if (!op_example_build(row, request, &graph, &out->example, err))
        return fail_at(err, "example");
    if (!optimise(out, &graph, target, err))
        return false;
    out->memory = ARENA_ARRAY(&out->arena, void *, out->graph.nodes.count);
    out->bytes = ARENA_ARRAY(&out->arena, size_t, out->graph.nodes.count);
    if (!refer(out, &graph, request->seed, err))
        return fail_at(err, "reference");
    return lower_all(out, err);
}

void lowered_release(struct lowered *lowered)
{
    arena_release(&lowered->arena);
}

bool lowered_again(struct lowered *lowered, uint32_t kernel, struct nest *out, struct error *err)
{
    const struct lower_task task = {&lowered->graph, &lowered->partition,
                                    lowered->kernels[kernel].group, &lowered->arena};
    return lower_group(&task, out, err);
}

void lowered_arguments(const struct lowered *lowered, uint32_t kernel, void **out)
{
    const struct lowered_kernel *k = &lowered->kernels[kernel];
    for (uint32_t i = 0; i < k->nest.arguments.count; i++)
        out[i] = lowered->memory[nest_argument(&k->nest, i)->value];
}

bool lowered_evaluate(struct lowered *lowered, struct error *err)
{
    void *arguments[LIMIT_KERNEL_BUFFERS];
    for (uint32_t i = 0; i < lowered->kernel_count; i++) {
        lowered_arguments(lowered, i, arguments);
        if (!nest_eval(&lowered->kernels[i].nest, arguments, lowered->example.dim_values, true,
                       err))
            return false;
    }
    return true;
}

const char *lowered_check(struct lowered *lowered)
{
    for (uint32_t i = 0; i < lowered->graph.outputs.count; i++) {
        struct interp_difference d;
        const void *memory = lowered->memory[lowered->graph.outputs.items[i].value];
        struct strbuf text;
        strbuf_init(&text, &lowered->arena);
        if (!memory) {
            strbuf_printf(&text, "output %u has no memory", i);
            return text.data;
        }
        interp_compare(&lowered->expected[i], memory, &d);
        if (d.worst_ratio > 1) {
            strbuf_printf(&text, "output %u, element %lld: off by %g, bound %g", i,
                          (long long)d.worst_index, d.worst_absolute, d.worst_bound);
            return text.data;
        }
    }
    return NULL;
}
