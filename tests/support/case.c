#include "case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "verify/fenced.h"
#include "verify/isolate.h"
#include "work.h"

#define CASE_SECONDS 20     /* a thousand times what a case takes */
#define PRINTED_FAILURES 10 /* failures shown with a graph; the others by name */

/* So much of an output may be undetermined; so few elements are none, where outputs are small. */
#define UNCHECKED_MOST 0.01
#define UNCHECKED_FEW 4

/* What a child sends back. */
struct answer {
    bool ok;
    struct error err;
    struct case_result result;
};

const struct package_param *case_params(const struct graph *graph, uint64_t seed,
                                        struct arena *arena, struct error *err)
{
    struct package_param *params = ARENA_ARRAY(arena, struct package_param, graph->params.count);
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *node = graph_node(graph, graph->params.items[i]);
        int64_t count = 1, dim;
        for (uint32_t d = 0; d < node->rank; d++) {
            if (!dim_is_const(&graph->dims, node->shape[d], &dim)) {
                fail(err, ERR_SHAPE, "param %u has a dynamic dim", i);
                return NULL;
            }
            count *= dim;
        }
        size_t bytes = (size_t)count * dtype_bytes((enum dtype)node->dtype);
        void *data = arena_alloc(arena, bytes, 64);
        random_fill((enum dtype)node->dtype, count, seed + 7919 * (i + 1), FILL_NORMAL, 0, data);
        params[i] = (struct package_param){(enum dtype)node->dtype, data, bytes};
    }
    return params;
}

static bool is_interpreter(const struct test_case *test)
{
    return strcmp(test->target, "interpreter") == 0;
}

static bool load(const struct test_case *test, const struct compile_result *compiled,
                 urza_module **out, struct error *err)
{
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED,
                                 .threads = 1 + (uint32_t)(test->seed % 2),
                                 .chunks = (uint32_t)(test->seed % 3) * 3, /* small as they are */
                                 .target = test->target};
    urza_error failure = {0};
    if (urza_load_memory(compiled->package, compiled->package_bytes, &options, out, &failure) != 0)
        return fail(err, (enum error_code)failure.code, "load: %s %s", failure.place,
                    failure.message);
    if (strcmp(urza_target(*out), test->target) != 0)
        return fail(err, ERR_VERIFY, "runs %s code", urza_target(*out));
    return true;
}

/* Every tensor against a fence, by turns at its end and at its start, up to 63 bytes away. */
static bool open_blocks(const struct sample *sample, uint64_t key, struct fenced *blocks,
                        struct error *err)
{
    for (uint32_t i = 0; i < sample->input_count + sample->output_count; i++) {
        bool input = i < sample->input_count;
        const struct tensor *t =
            input ? &sample->inputs[i] : &sample->outputs[i - sample->input_count];
        uint32_t random = rng_u32(key, i);
        size_t item = dtype_bytes(t->dtype);
        size_t offset = (random & 1) != 0 ? 0 : (random >> 8) % 64 / item * item;
        enum fence_side side = (random & 2) != 0 ? FENCE_END : FENCE_START;
        if (!fenced_open(&blocks[i], t->bytes, side, offset, err))
            return false;
        if (input) {
            memcpy(blocks[i].data, t->data, t->bytes);
            if (!fenced_seal(&blocks[i], err))
                return false;
        }
    }
    return true;
}

static bool check_fences(const struct sample *sample, const struct fenced *blocks,
                         struct error *err)
{
    ptrdiff_t at = 0;
    for (uint32_t i = 0; i < sample->output_count; i++)
        if (!fenced_intact(&blocks[sample->input_count + i], &at))
            return fail(err, ERR_VERIFY, "a byte was written %td bytes from the start of '%s'", at,
                        sample->graph->outputs.items[i].name);
    return true;
}

static void note_worst(const struct sample *sample, const struct interp_difference *found,
                       uint32_t output, struct case_result *result)
{
    for (uint32_t i = 0; i < sample->output_count; i++)
        result->elements += sample->outputs[i].count;
    result->undetermined += found->undetermined;
    if (sample->output_count == 0 || found->worst_ratio <= result->worst.worst_ratio)
        return;
    result->worst = *found;
    const struct dim_table *dims = &sample->graph->dims;
    int used = snprintf(result->place, sizeof result->place, "output '%.24s'",
                        sample->graph->outputs.items[output].name);
    for (uint32_t i = 0; i < dims->names.count && (size_t)used < sizeof result->place; i++)
        used += snprintf(result->place + used, sizeof result->place - (size_t)used, " %s=%lld",
                         dims->names.items[i].name, (long long)sample->dims[i]);
}

/* Whether the bits are those of a NaN of a float dtype. */
static bool is_nan(enum dtype dtype, const void *data)
{
    union {
        double f64;
        float f32;
        uint16_t u16;
    } x;
    memcpy(&x, data, dtype_bytes(dtype));
    switch ((int)dtype) {
    case DTYPE_F64: return x.f64 != x.f64;
    case DTYPE_F32: return x.f32 != x.f32;
    case DTYPE_F16: return (x.u16 & 0x7fff) > 0x7c00;
    case DTYPE_BF16: return (x.u16 & 0x7fff) > 0x7f80;
    }
    return false;
}

static bool check_exact(const struct sample *sample, void *const *outputs, struct arena *arena,
                        struct error *err)
{
    struct interp_tensor in[LIMIT_OPERANDS], out[LIMIT_OPERANDS];
    for (uint32_t i = 0; i < sample->input_count; i++) {
        const struct tensor *t = &sample->inputs[i];
        if (!interp_load(&in[i], arena,
                         &(struct native_tensor){t->dtype, t->rank, t->shape, t->data}, err))
            return false;
    }
    const struct interp_options options = {.mode = INTERP_NATIVE};
    if (!interp_run(sample->graph, &options,
                    &(struct interp_arguments){sample->dims, in, sample->input_count}, arena, out,
                    err))
        return false;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        const struct tensor *t = &sample->outputs[i];
        size_t item = dtype_bytes(t->dtype);
        char *native = arena_alloc(arena, t->bytes, 64), *compiled = outputs[i];
        interp_store(&out[i], native);
        for (size_t at = 0; at < t->bytes; at += item)
            if (memcmp(native + at, compiled + at, item) != 0 &&
                !(is_nan(t->dtype, native + at) && is_nan(t->dtype, compiled + at)))
                return fail(err, ERR_VERIFY, "output '%s'[%zu] is not what the interpreter gives",
                            sample->graph->outputs.items[i].name, at / item);
    }
    return true;
}

/* Whether an output stays open: too many of its elements are undetermined now, and were in all
 * calls before. The last such is named. */
static bool stays_open(const struct sample *sample, bool *open, struct case_result *result)
{
    bool any = false;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        const struct interp_tensor *expected = &sample->expected[i];
        int64_t undetermined = 0;
        for (int64_t at = 0; expected->bounds && at < expected->count; at++)
            undetermined += !(expected->bounds[at] < INFINITY);
        open[i] = open[i] && undetermined > UNCHECKED_FEW &&
                  (double)undetermined > UNCHECKED_MOST * (double)expected->count;
        if (!open[i])
            continue;
        any = true;
        snprintf(result->unchecked, sizeof result->unchecked, "%lld of %lld elements of '%.24s'",
                 (long long)undetermined, (long long)expected->count,
                 sample->graph->outputs.items[i].name);
    }
    return any;
}

/* One call. */
static bool run_fill(const struct test_case *test, const struct package_param *params,
                     const int64_t *dims, uint64_t seed, enum fill fill, urza_module *module,
                     struct arena *arena, struct sample *out, struct case_result *result,
                     struct error *err)
{
    struct sample sample;
    const struct sample_request request = {test->graph, params, dims, seed, fill, NULL};
    if (!sample_make(&sample, &request, arena, err))
        return false;
    for (uint32_t i = 0; test->fill && i < sample.input_count; i++)
        test->fill(test->user, i, &sample.inputs[i], seed + i);
    if (!sample_expect(&sample, arena, err))
        return false;
    uint32_t count = sample.input_count + sample.output_count;
    struct fenced *blocks = ARENA_ARRAY(arena, struct fenced, count);
    void **places = ARENA_ARRAY(arena, void *, count);
    if (!open_blocks(&sample, rng_key(seed), blocks, err))
        return false;
    for (uint32_t i = 0; i < count; i++)
        places[i] = blocks[i].data;
    struct interp_difference found;
    uint32_t output;
    if (!sample_call(&sample, module, places, places + sample.input_count, err) ||
        !check_fences(&sample, blocks, err))
        return false;
    sample_compare(&sample, places + sample.input_count, &found, &output);
    note_worst(&sample, &found, output, result);
    if (test->exact && !check_exact(&sample, places + sample.input_count, arena, err))
        return false;
    for (uint32_t i = 0; i < count; i++)
        fenced_close(&blocks[i]);
    *out = sample;
    return true;
}

/* What cannot be checked on special numbers must be on normal ones, or else on exact ones, as in
 * verification. */
static bool run_size(const struct test_case *test, const struct package_param *params,
                     const int64_t *dims, uint64_t seed, urza_module *module, struct arena *arena,
                     struct case_result *result, struct error *err)
{
    static const enum fill fills[] = {FILL_SPECIAL, FILL_NORMAL, FILL_EXACT};
    uint32_t first = test->special ? 0 : 1, count = test->fill ? 2 : 3;
    bool *open = ARENA_ARRAY(arena, bool, test->graph->outputs.count);
    memset(open, true, test->graph->outputs.count * sizeof *open);
    for (uint32_t i = first; i < count; i++) {
        struct sample sample;
        if (!run_fill(test, params, dims, seed, fills[i], module, arena, &sample, result, err))
            return false;
        result->repeated += i > first;
        if (test->exact || !stays_open(&sample, open, result))
            return true;
    }
    result->excused++;
    return test->unchecked != NULL ||
           fail(err, ERR_VERIFY, "%s cannot be checked", result->unchecked);
}

static bool run_sizes(const struct test_case *test, const struct package_param *params,
                      urza_module *module, struct case_result *result, struct error *err)
{
    static const int64_t none[LIMIT_NAMED_DIMS];
    uint32_t count = test->size_count > 0 ? test->size_count : 1;
    for (uint32_t i = 0; i < count; i++) {
        struct arena arena;
        arena_init(&arena);
        const int64_t *dims = test->size_count > 0 ? test->sizes[i] : none;
        bool ok = run_size(test, params, dims, test->seed + 101 * i, module, &arena, result, err);
        arena_release(&arena);
        if (!ok)
            return fail_at(err, "size %u", i);
    }
    urza_stats stats;
    urza_stats_get(module, &stats);
    if (!is_interpreter(test) && stats.native_calls != stats.calls)
        return fail(err, ERR_VERIFY, "was interpreted: %s", stats.last_fallback);
    const struct interp_difference *worst = &result->worst;
    return worst->worst_ratio <= 1 ||
           fail(err, ERR_VERIFY, "%s[%lld] is off by %.3g, bound %.3g", result->place,
                (long long)worst->worst_index, worst->worst_absolute, worst->worst_bound);
}

/* In the child. Its memory goes with it. */
static void check(const void *argument, void *out)
{
    const struct test_case *test = argument;
    struct answer *answer = out;
    struct arena arena;
    arena_init(&arena);
    struct compile_options options = {
        .targets = test->target, .strategy = test->strategy, .specialise = test->specialise};
    if (options.strategy == STRATEGY_NONE)
        options.strategy = STRATEGY_STANDARD;
    if (is_interpreter(test))
        options = (struct compile_options){.strategy = STRATEGY_EMERGENCY};
    struct compile_result compiled;
    urza_module *module = NULL;
    const struct package_param *params = case_params(test->graph, test->seed, &arena, &answer->err);
    if (!params)
        return;
    if (!compile_graph(&(struct compile_source){test->graph, params, NULL}, &options, &arena,
                       &compiled, &answer->err)) {
        fail_at(&answer->err, "compile");
        return;
    }
    answer->ok = work_is_bounded(compiled.package, compiled.package_bytes, &answer->err) &&
                 load(test, &compiled, &module, &answer->err) &&
                 run_sizes(test, params, module, &answer->result, &answer->err);
    urza_unload(module);
}

bool case_check(const struct test_case *test, struct case_result *out, struct error *err)
{
    struct answer answer;
    *out = (struct case_result){0};
    if (!isolate(check, test, &answer, sizeof answer, CASE_SECONDS, err))
        return false;
    *out = answer.result;
    if (!answer.ok)
        *err = answer.err;
    return answer.ok;
}

uint32_t case_targets(const char *out[CASE_TARGETS])
{
    uint32_t count = 0;
    const char *name;
    for (uint32_t i = 0; (name = target_name_at(i)) != NULL && count < PACKAGE_TARGETS; i++)
        if (target_supported_here(name))
            out[count++] = name;
    out[count++] = "interpreter";
    return count;
}

bool case_shrink(const struct test_case *test, struct arena *arena, struct graph *out)
{
    struct graph live, one;
    struct error err;
    if (!graph_copy_live(&live, arena, test->graph, &err))
        return false;
    for (value_id value = 1; value < live.nodes.count; value++) {
        struct case_result result;
        struct test_case part = *test;
        struct graph_output output = {.name = "value", .value = value};
        enum prim prim = (enum prim)graph_node(&live, value)->prim;
        if (prim == PRIM_INPUT || prim == PRIM_PARAM)
            continue;
        live.outputs.count = 0;
        VEC_PUSH(arena, &live.outputs, output);
        if (!graph_copy_live(&one, arena, &live, &err))
            return false;
        part.graph = &one;
        part.unchecked = "what is sought are wrong values";
        if (!case_check(&part, &result, &err)) {
            *out = one;
            return true;
        }
    }
    return false;
}

static void print_failure(const struct tally *tally, const struct test_case *test, const char *name,
                          const struct error *err)
{
    printf("FAIL %s %s: %s: %s%s%s\n", name, test->target, error_name(err->code), err->place,
           err->place[0] ? ": " : "", err->message);
    if (tally->failures > PRINTED_FAILURES)
        return;
    struct arena arena;
    struct graph small;
    struct strbuf text;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    bool shrunk = case_shrink(test, &arena, &small);
    if (shrunk || graph_copy_live(&small, &arena, test->graph, &(struct error){0}))
        graph_print(&small, &text);
    printf("%s%s", shrunk ? "fails already with:\n" : "no smaller graph fails:\n", text.data);
    arena_release(&arena);
}

void tally_run(struct tally *tally, const struct test_case *test, const char *name)
{
    struct case_result result;
    struct error err = {0};
    bool ok = case_check(test, &result, &err);
    tally->cases++;
    tally->elements += result.elements;
    tally->undetermined += result.undetermined;
    tally->repeated += result.repeated;
    tally->excused += ok && result.excused > 0;
    if (result.worst.worst_ratio > tally->worst_ratio) {
        tally->worst_ratio = result.worst.worst_ratio;
        snprintf(tally->worst_name, sizeof tally->worst_name, "%s %s", name, test->target);
    }
    if (!ok) {
        tally->failures++;
        print_failure(tally, test, name, &err);
    }
    fflush(stdout);
}

int tally_finish(const struct tally *tally, const char *what)
{
    printf("%s: %u cases, %u failures; %lld elements, %lld of them undetermined (%u calls repeated "
           "on numbers that determine more, %u excused); worst %.3g of its bound: %s\n",
           what, tally->cases, tally->failures, (long long)tally->elements,
           (long long)tally->undetermined, tally->repeated, tally->excused, tally->worst_ratio,
           tally->worst_name);
    return tally->failures > 0 || tally->cases == 0;
}
