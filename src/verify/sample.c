#include "verify/sample.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "graph/element.h"
#include "package/package.h"

/* Limit on the cells of a whole reference run; beyond it a size cannot be checked on a usual
 * machine. */

static bool tensor_make(struct tensor *out, const struct graph *graph, value_id value,
                        const int64_t *dims, struct arena *arena, struct error *err)
{
    const struct node *node = graph_node(graph, value);
    struct tensor t = {.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t i = 0; i < t.rank; i++) {
        if (!dim_eval(&graph->dims, node->shape[i], dims, &t.shape[i]) || t.shape[i] < 0)
            return fail(err, ERR_INPUT, "dim %u of a tensor has no value", i);
        if (!checked_mul_i64(t.count, t.shape[i], &t.count))
            return fail(err, ERR_LIMIT, "a tensor has too many elements");
    }
    if (t.count > LIMIT_TENSOR_BYTES / (int64_t)dtype_bytes(t.dtype))
        return fail(err, ERR_LIMIT, "a tensor has %lld elements of %s, too many",
                    (long long)t.count, dtype_name(t.dtype));
    t.bytes = (size_t)t.count * dtype_bytes(t.dtype);
    if (arena)
        t.data = arena_raw(arena, t.bytes, 64);
    *out = t;
    return true;
}

/* The values of the block's param of that name, if it has one. */
static void use_param(const struct package_contents *block, const char *name, struct tensor *out)
{
    for (uint32_t i = 0; i < block->graph.params.count; i++) {
        const struct node *node = graph_node(&block->graph, block->graph.params.items[i]);
        if (strcmp(node->attrs->name, name) == 0 && block->params[i].data_bytes == out->bytes)
            memcpy(out->data, block->params[i].data, out->bytes);
    }
}

bool sample_make(struct sample *out, const struct sample_request *request, struct arena *arena,
                 struct error *err)
{
    const struct graph *graph = request->graph;
    const int64_t *dims = request->dims;
    struct sample s = {.graph = graph,
                       .params = request->params,
                       .input_count = graph->inputs.count,
                       .output_count = graph->outputs.count};
    memcpy(s.dims, dims, graph->dims.names.count * sizeof dims[0]);
    s.inputs = ARENA_ARRAY(arena, struct tensor, s.input_count);
    s.outputs = ARENA_ARRAY(arena, struct tensor, s.output_count);
    int64_t *extents = index_extents(graph, dims, arena);
    for (uint32_t i = 0; i < s.input_count; i++) {
        struct tensor *t = &s.inputs[i];
        if (!tensor_make(t, graph, graph->inputs.items[i], dims, arena, err))
            return fail_at(err, "input %u", i);
        random_fill(t->dtype, t->count, request->seed + i, request->fill, extents[i], t->data);
        elements_store(graph, i, dims, t->data);
        if (request->block && request->fill == FILL_NORMAL)
            use_param(request->block, graph_node(graph, graph->inputs.items[i])->attrs->name, t);
    }
    for (uint32_t i = 0; i < s.output_count; i++)
        if (!tensor_make(&s.outputs[i], graph, graph->outputs.items[i].value, dims, NULL, err))
            return fail_at(err, "output '%s'", graph->outputs.items[i].name);
    *out = s;
    return true;
}

static bool load_input(const struct tensor *t, struct arena *arena, struct interp_tensor *out,
                       struct error *err)
{
    return interp_load(out, arena, &(struct native_tensor){t->dtype, t->rank, t->shape, t->data},
                       err);
}

static bool borrow_param(const struct sample *sample, uint32_t param, struct arena *arena,
                         struct interp_tensor *out, struct error *err)
{
    const struct graph *graph = sample->graph;
    struct tensor t;
    if (!tensor_make(&t, graph, graph->params.items[param], sample->dims, NULL, err) ||
        !interp_borrow(
            out, arena,
            &(struct native_tensor){t.dtype, t.rank, t.shape, sample->params[param].data}, err))
        return false;
    if (sample->other_params)
        out->lazy = sample->other_params[param];
    return true;
}

bool sample_sources(const struct sample *sample, const struct interp_tensor *params,
                    struct interp_tensor *sources, struct arena *arena, struct error *err)
{
    uint32_t inputs = sample->input_count;
    for (uint32_t i = 0; i < inputs; i++)
        if (!load_input(&sample->inputs[i], arena, &sources[i], err))
            return false;
    for (uint32_t i = 0; i < sample->graph->params.count; i++)
        if (params)
            sources[inputs + i] = params[i];
        else if (!borrow_param(sample, i, arena, &sources[inputs + i], err))
            return false;
    return true;
}

bool sample_expect(struct sample *sample, struct arena *arena, struct error *err)
{
    const struct graph *graph = sample->graph;
    const struct interp_options options = {.mode = INTERP_REFERENCE,
                                           .memory_limit = REFERENCE_BYTES};
    uint32_t count = sample->input_count + graph->params.count;
    struct interp_tensor *sources = ARENA_ARRAY(arena, struct interp_tensor, count);
    struct interp_tensor *expected = ARENA_ARRAY(arena, struct interp_tensor, sample->output_count);
    if (!sample_sources(sample, NULL, sources, arena, err) ||
        !interp_run(graph, &options, &(struct interp_arguments){sample->dims, sources, count},
                    arena, expected, err))
        return false;
    sample->expected = expected;
    return true;
}

static DLTensor describe(struct tensor *t, DLDataType dtype, void *data)
{
    return (DLTensor){.data = data,
                      .device = {kDLCPU, 0},
                      .ndim = (int32_t)t->rank,
                      .dtype = dtype,
                      .shape = t->shape};
}

static bool check_shapes(const struct sample *sample, urza_module *module, const DLTensor *inputs,
                         struct arena *arena, struct error *err)
{
    int64_t(*shapes)[8] = arena_array(arena, sample->output_count, sizeof *shapes);
    urza_error failure = {0};
    if (urza_output_shapes(module, inputs, sample->input_count, shapes, &failure) != 0)
        return fail(err, (enum error_code)failure.code, "%s", failure.message);
    for (uint32_t i = 0; i < sample->output_count; i++)
        for (uint32_t d = 0; d < sample->outputs[i].rank; d++)
            if (shapes[i][d] != sample->outputs[i].shape[d])
                return fail(err, ERR_VERIFY,
                            "output '%s': the runtime says dim %u is %lld, expected %lld",
                            sample->graph->outputs.items[i].name, d, (long long)shapes[i][d],
                            (long long)sample->outputs[i].shape[d]);
    return true;
}

/* The tensors of a call. */
struct calling {
    DLTensor *in, *out;
    uint32_t in_count, out_count;
};

/* Where they lie. */
struct places {
    void *const *inputs, *const *outputs;
};

static bool describe_all(const struct sample *sample, const urza_module *module,
                         const struct places *places, struct arena *arena, struct calling *c,
                         struct error *err)
{
    *c = (struct calling){.in_count = sample->input_count, .out_count = sample->output_count};
    if (urza_input_count(module) != c->in_count || urza_output_count(module) != c->out_count)
        return fail(err, ERR_VERIFY, "the module has %u inputs and %u outputs, expected %u and %u",
                    urza_input_count(module), urza_output_count(module), c->in_count, c->out_count);
    c->in = ARENA_ARRAY(arena, DLTensor, c->in_count);
    c->out = ARENA_ARRAY(arena, DLTensor, c->out_count);
    for (uint32_t i = 0; i < c->in_count; i++)
        c->in[i] =
            describe(&sample->inputs[i], urza_input_info(module, i)->dtype, places->inputs[i]);
    for (uint32_t i = 0; i < c->out_count; i++)
        c->out[i] =
            describe(&sample->outputs[i], urza_output_info(module, i)->dtype, places->outputs[i]);
    return true;
}

static bool took(int code, const urza_error *failure, struct error *err)
{
    return code == 0 || fail(err, (enum error_code)failure->code, "%s%s%s", failure->place,
                             failure->place[0] ? ": " : "", failure->message);
}

bool sample_call(const struct sample *sample, urza_module *module, void *const *inputs,
                 void *const *outputs, struct error *err)
{
    struct arena arena;
    struct calling c;
    urza_error failure = {0};
    const struct places places = {inputs, outputs};
    arena_init(&arena);
    bool ok = describe_all(sample, module, &places, &arena, &c, err) &&
              check_shapes(sample, module, c.in, &arena, err) &&
              took(urza_call(module, c.in, c.in_count, c.out, c.out_count, NULL, &failure),
                   &failure, err);
    arena_release(&arena);
    return ok;
}

bool sample_step(const struct sample *sample, urza_module *module, void *const *inputs,
                 void *const *outputs, struct error *err)
{
    struct arena arena;
    struct calling c;
    urza_error failure = {0};
    const struct places places = {inputs, outputs};
    uint32_t count = 0;
    arena_init(&arena);
    bool ok = describe_all(sample, module, &places, &arena, &c, err);
    for (uint32_t i = 0; ok && i < c.out_count; i++) {
        uint32_t input = graph_updates_input(sample->graph, i);
        if (input == UPDATE_NONE) {
            c.out[count++] = c.out[i];
            continue;
        }
        if (sample->outputs[i].bytes > 0)
            memcpy(outputs[i], inputs[input], sample->outputs[i].bytes);
        c.in[input].data = outputs[i];
    }
    ok = ok && took(urza_step(module, c.in, c.in_count, c.out, count, &failure), &failure, err);
    arena_release(&arena);
    return ok;
}

void sample_compare(const struct sample *sample, void *const *outputs,
                    struct interp_difference *out, uint32_t *out_output)
{
    struct interp_difference worst = {0};
    uint32_t where = 0;
    int64_t undetermined = 0;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        struct interp_difference found = {0};
        interp_compare(&sample->expected[i], outputs[i], &found);
        undetermined += found.undetermined;
        if (i == 0 || !(found.worst_ratio <= worst.worst_ratio)) {
            worst = found;
            where = i;
        }
    }
    worst.undetermined = undetermined;
    *out = worst;
    *out_output = where;
}

bool elements_differ(enum dtype dtype, const void *a, const void *b, size_t bytes,
                     size_t *out_element)
{
    static const uint64_t infinities[DTYPE_COUNT] = {[DTYPE_F64] = 0x7ff0000000000000u,
                                                     [DTYPE_F32] = 0x7f800000,
                                                     [DTYPE_F16] = 0x7c00,
                                                     [DTYPE_BF16] = 0x7f80};
    size_t step = dtype_bytes(dtype);
    if (bytes == 0 || memcmp(a, b, bytes) == 0)
        return false;
    for (size_t at = 0; at < bytes; at += step) {
        uint64_t x = 0, y = 0, sign = (uint64_t)1 << (8 * step - 1);
        memcpy(&x, (const uint8_t *)a + at, step);
        memcpy(&y, (const uint8_t *)b + at, step);
        bool same_nan =
            dtype_is_float(dtype) && ((x ^ y) & ~sign) == 0 && (x & ~sign) > infinities[dtype];
        if (x != y && !same_nan) {
            *out_element = at / step;
            return true;
        }
    }
    return false;
}

bool sample_differs(const struct sample *sample, void *const *a, void *const *b,
                    uint32_t *out_output, size_t *out_element)
{
    for (uint32_t i = 0; i < sample->output_count; i++) {
        const struct tensor *t = &sample->outputs[i];
        *out_output = i;
        if (elements_differ(t->dtype, a[i], b[i], t->bytes, out_element))
            return true;
    }
    return false;
}
