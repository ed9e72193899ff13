/* Whether a mutant does anything: its results beside those of the right package, bit by bit, in
 * calls of many sizes. Any NaN is as good as another. */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "mutants.h"
#include "urza/run.h"
#include "verify/dims.h"

#define TRIAL_COST 6e7     /* multiplications in one call */
#define TRIAL_ELEMENTS 8e6 /* of all values */
#define EDGE 256           /* bytes around outputs */
#define EDGE_FILL 0xA5
#define HEAP_FILL 0x3C /* in memory that is not written yet */
#define MAX_OUTPUTS 256

static const uint32_t thread_counts[] = {1, 3};

/* As far as a call at these dims goes: elements, and multiplications. */
static double cost(const struct graph *g, const int64_t *dims, double *out_elements)
{
    double total = 0;
    *out_elements = 0;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        double elements = 1, depth = 1;
        int64_t dim = 0;
        for (uint32_t i = 0; i < n->rank; i++)
            elements *= dim_eval(&g->dims, n->shape[i], dims, &dim) ? (double)dim : 1;
        const struct node *w = n->operand_count == 2 ? graph_node(g, n->operands[1]) : NULL;
        uint32_t first = n->prim == PRIM_CONV ? 1 : w ? (uint32_t)w->rank - n->attrs->contract : 0;
        if (n->prim == PRIM_CONV || n->prim == PRIM_CONTRACT)
            for (uint32_t i = first; i < w->rank; i++)
                depth *= dim_eval(&g->dims, w->shape[i], dims, &dim) ? (double)dim : 1;
        total += elements * depth;
        *out_elements += elements;
    }
    return total;
}

static bool fits(const struct graph *g, const int64_t *dims)
{
    double elements, all = cost(g, dims, &elements);
    return all <= TRIAL_COST && elements <= TRIAL_ELEMENTS;
}

/* Every dim at wish, or only that of one index with the others small; smaller until it fits. */
static void wish_dims(const struct graph *g, int64_t wish, int only, int64_t *out)
{
    const struct dim_table *dims = &g->dims;
    for (;; wish = wish * 3 / 4) {
        for (uint32_t i = 0; i < dims->names.count; i++) {
            const struct dim_name *name = &dims->names.items[i];
            int64_t at = only >= 0 && only != (int)i ? 3 : wish;
            at = at < 0 ? (name->typical > 0 ? name->typical : 8) : at;
            out[i] = dims_legal(name, at);
        }
        if (wish <= 1 || fits(g, out))
            return;
    }
}

static void put(const struct tensor *t, int64_t at, double value, int64_t integer)
{
    char *data = (char *)t->data + (size_t)at * dtype_bytes(t->dtype);
    double f64 = value;
    float f32 = (float)value;
    uint16_t f16 = t->dtype == DTYPE_F16 ? f16_from_double(value) : bf16_from_double(value);
    if (t->dtype == DTYPE_BOOL)
        integer &= 1;
    const void *from = t->dtype == DTYPE_F64      ? (const void *)&f64
                       : t->dtype == DTYPE_F32    ? (const void *)&f32
                       : dtype_is_float(t->dtype) ? (const void *)&f16
                                                  : (const void *)&integer;
    memcpy(data, from, dtype_bytes(t->dtype));
}

/* few: one element in 61 is no number, an infinity or at the end of its range. ties: a handful of
 * values. large: of all magnitudes. */
static void refill(const struct trial *trial, uint64_t seed)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, 3e38, -1e30, 1e-40, 65504};
    static const int64_t ends[] = {INT64_MIN, INT64_MAX, INT32_MIN, INT32_MAX, -32768, 255, -1, 77};
    static const double few_values[] = {-1, 0, -0.0, 1, 2, 0.5, -0.5, 3};
    for (uint32_t i = 0; i < trial->sample.input_count; i++) {
        const struct tensor *t = &trial->sample.inputs[i];
        uint64_t key = rng_key(seed + i);
        for (int64_t at = 0; at < t->count; at++) {
            uint32_t r = rng_u32(key, (uint64_t)at), pick = r >> 8 & 7;
            double magnitude = ldexp((r & 1) ? 1.37 : -1.61, (int)(r >> 16 & 63) - 24);
            if (strcmp(trial->fill, "ties") == 0)
                put(t, at, few_values[pick], (int64_t)pick - 2);
            else if (strcmp(trial->fill, "odd") == 0 && r % 61 == 0)
                put(t, at, odd[pick], ends[pick]);
            else if (strcmp(trial->fill, "large") == 0)
                put(t, at, magnitude, (int64_t)(r | (uint64_t)r << 29));
        }
    }
}

static bool add_trial(struct subject *s, const int64_t *dims, const char *fill, uint64_t seed,
                      struct error *err)
{
    if (s->trial_count == MAX_TRIALS)
        return true;
    struct trial *t = &s->trials[s->trial_count];
    *t = (struct trial){.fill = fill, .shift = s->trial_count % 2};
    const struct sample_request request = {.graph = &s->contents.graph,
                                           .params = s->contents.params,
                                           .dims = dims,
                                           .seed = seed + 1000 * s->trial_count,
                                           .fill = strcmp(fill, "special") == 0 ? FILL_SPECIAL
                                                                                : FILL_NORMAL};
    if (!sample_make(&t->sample, &request, &s->arena, err))
        return false;
    refill(t, seed + 77 * s->trial_count);
    s->trial_count++;
    return true;
}

static bool add_trials(struct subject *s, uint64_t seed, struct error *err)
{
    static const struct {
        int64_t wish;
        const char *fill;
    } rows[] = {{-1, "random"}, {0, "random"},  {13, "random"}, {13, "special"},
                {33, "odd"},    {37, "ties"},   {29, "large"},  {-1, "odd"},
                {7, "random"},  {48, "random"}, {101, "ties"},  {1 << 16, "random"}};
    const struct graph *g = &s->contents.graph;
    int64_t dims[LIMIT_NAMED_DIMS] = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof rows / sizeof rows[0]; i++) {
        wish_dims(g, rows[i].wish, -1, dims);
        ok = add_trial(s, dims, rows[i].fill, seed, err);
    }
    for (uint32_t i = 0; ok && g->dims.names.count > 1 && i < g->dims.names.count && i < 4; i++) {
        wish_dims(g, 1 << 16, (int)i, dims);
        ok = add_trial(s, dims, "random", seed, err);
    }
    return ok;
}

/* One call; outputs stand between edges. */
static bool call(const struct trial *trial, urza_module *module, struct arena *arena,
                 void **outputs, struct error *err)
{
    const struct sample *sample = &trial->sample;
    void **inputs = ARENA_ARRAY(arena, void *, sample->input_count + 1);
    for (uint32_t i = 0; i < sample->input_count; i++) {
        const struct tensor *t = &sample->inputs[i];
        size_t shift = trial->shift * dtype_bytes(t->dtype);
        inputs[i] = (char *)arena_alloc(arena, t->bytes + EDGE, 64) + shift;
        memcpy(inputs[i], t->data, t->bytes);
    }
    for (uint32_t i = 0; i < sample->output_count; i++) {
        const struct tensor *t = &sample->outputs[i];
        char *block = arena_alloc(arena, t->bytes + 2 * EDGE, 64);
        memset(block, EDGE_FILL, t->bytes + 2 * EDGE);
        outputs[i] = block + EDGE + trial->shift * dtype_bytes(t->dtype);
    }
    if (!sample_call(sample, module, inputs, outputs, err))
        return false;
    for (uint32_t i = 0; i < sample->input_count; i++)
        if (memcmp(inputs[i], sample->inputs[i].data, sample->inputs[i].bytes) != 0)
            return fail(err, ERR_VERIFY, "an input is written");
    for (uint32_t i = 0; i < sample->output_count; i++) {
        size_t shift = trial->shift * dtype_bytes(sample->outputs[i].dtype);
        const uint8_t *low = (uint8_t *)outputs[i] - EDGE - shift,
                      *high = (uint8_t *)outputs[i] + sample->outputs[i].bytes;
        for (size_t at = 0; at < EDGE - shift; at++)
            if (low[at] != EDGE_FILL || high[at] != EDGE_FILL)
                return fail(err, ERR_VERIFY, "a byte beside an output is written");
    }
    return true;
}

static urza_module *load(const struct subject *s, const void *package, size_t size,
                         const char *target, uint32_t threads, urza_error *failure)
{
    urza_load_options options = {.trust = URZA_TRUST_REQUIRE,
                                 .trusted_keys = (const uint8_t(*)[32]) & s->key.public_key,
                                 .trusted_key_count = 1,
                                 .threads = threads,
                                 .target = target};
    urza_module *module = NULL;
    return urza_load_memory(package, size, &options, &module, failure) == 0 ? module : NULL;
}

struct expecting {
    const struct subject *subject;
    uint32_t target;
};

/* In a child, so that no memory of ours holds right results that a mutant might find there. */
static void run_right(const void *argument, struct arena *arena, struct strbuf *out)
{
    const struct expecting *e = argument;
    const struct subject *s = e->subject;
    urza_error failure = {0};
    struct error err = {0};
    urza_module *module =
        load(s, s->package, s->package_bytes, s->contents.targets[e->target].name, 1, &failure);
    bool ok = module != NULL;
    for (uint32_t i = 0; ok && i < s->trial_count; i++) {
        void *outputs[MAX_OUTPUTS];
        ok = call(&s->trials[i], module, arena, outputs, &err);
        for (uint32_t o = 0; ok && o < s->trials[i].sample.output_count; o++)
            strbuf_add(out, outputs[o], s->trials[i].sample.outputs[o].bytes);
    }
    if (!ok) {
        strbuf_init(out, arena);
        strbuf_printf(out, "%s%s", failure.message, err.message);
    }
}

static bool expect(struct subject *s, uint32_t target, struct error *err)
{
    struct expecting e = {s, target};
    struct strbuf answer;
    size_t bytes = 0, at = 0;
    if (s->contents.graph.outputs.count > MAX_OUTPUTS)
        return fail(err, ERR_LIMIT, "more than %d outputs", MAX_OUTPUTS);
    for (uint32_t i = 0; i < s->trial_count; i++)
        for (uint32_t o = 0; o < s->trials[i].sample.output_count; o++)
            bytes += s->trials[i].sample.outputs[o].bytes;
    if (!spawn_run(run_right, &e, 120, &s->arena, &answer, err))
        return false;
    if (answer.size_bytes != bytes)
        return fail(err, ERR_VERIFY, "%.200s", answer.data);
    for (uint32_t i = 0; i < s->trial_count; i++) {
        struct trial *t = &s->trials[i];
        t->expected[target] = ARENA_ARRAY(&s->arena, void *, t->sample.output_count + 1);
        for (uint32_t o = 0; o < t->sample.output_count; o++) {
            t->expected[target][o] =
                arena_memdup(&s->arena, answer.data + at, t->sample.outputs[o].bytes);
            at += t->sample.outputs[o].bytes;
        }
    }
    return true;
}

bool trials_make(struct subject *s, uint64_t seed, struct error *err)
{
    if (!add_trials(s, seed, err))
        return false;
    for (uint32_t i = 0; i < s->contents.target_count; i++)
        if (target_supported_here(s->contents.targets[i].name) && !expect(s, i, err))
            return fail_at(err, "%s, the right package", s->name);
    return true;
}

static double element(enum dtype dtype, const void *data, int64_t at)
{
    const char *p = (const char *)data + (size_t)at * dtype_bytes(dtype);
    int64_t integer = 0;
    uint16_t half;
    float f32;
    double f64;
    if (dtype == DTYPE_F64)
        return memcpy(&f64, p, sizeof f64), f64;
    if (dtype == DTYPE_F32)
        return memcpy(&f32, p, sizeof f32), (double)f32;
    if (dtype_is_float(dtype)) {
        memcpy(&half, p, sizeof half);
        return dtype == DTYPE_F16 ? f16_to_double(half) : bf16_to_double(half);
    }
    memcpy(&integer, p, dtype_bytes(dtype));
    return (double)dtype_wrap(dtype, integer);
}

/* True when no element differs. */
static bool compare(const struct tensor *t, const void *expected, const void *got,
                    struct observation *out, int64_t *out_at)
{
    size_t bytes = dtype_bytes(t->dtype);
    double largest = 0, worst = 0;
    bool same = true;
    if (memcmp(expected, got, t->bytes) == 0)
        return true;
    for (int64_t i = 0; i < t->count; i++) {
        const char *a = (const char *)expected + (size_t)i * bytes,
                   *b = (const char *)got + (size_t)i * bytes;
        double x = element(t->dtype, expected, i), y = element(t->dtype, got, i);
        if (isfinite(x))
            largest = fmax(largest, fabs(x));
        if (memcmp(a, b, bytes) == 0 || (isnan(x) && isnan(y)))
            continue;
        double difference = isfinite(x) && isfinite(y) ? fabs(x - y) : INFINITY;
        if (same || difference > worst)
            *out_at = i;
        worst = fmax(worst, difference);
        same = false;
    }
    out->worst = largest > 0 ? worst / largest : worst;
    return same;
}

static bool observe_trial(const struct subject *s, uint32_t target, uint32_t index,
                          urza_module *module, uint32_t threads, struct observation *out)
{
    const struct trial *t = &s->trials[index];
    const struct dim_table *dims = &s->contents.graph.dims;
    void *outputs[MAX_OUTPUTS];
    struct arena arena;
    struct error err = {0};
    int64_t at = 0;
    uint32_t output = 0;
    arena_init(&arena);
    bool ran = call(t, module, &arena, outputs, &err), same = ran;
    while (same && output < t->sample.output_count) {
        same = compare(&t->sample.outputs[output], t->expected[target][output], outputs[output],
                       out, &at);
        output += same;
    }
    if (!same) {
        int used = snprintf(out->where, sizeof out->where, "%s, %u threads", t->fill, threads);
        for (uint32_t i = 0; i < dims->names.count && (size_t)used < sizeof out->where; i++)
            used += snprintf(out->where + used, sizeof out->where - (size_t)used, " %s=%lld",
                             dims->names.items[i].name, (long long)t->sample.dims[i]);
        if (!ran)
            out->worst = INFINITY;
        if ((size_t)used < sizeof out->where)
            snprintf(out->where + used, sizeof out->where - (size_t)used, ": %.60s[%lld]",
                     ran ? s->contents.graph.outputs.items[output].name : err.message,
                     (long long)at);
        out->differs = true;
    }
    arena_release(&arena);
    return same;
}

void observe(const struct subject *s, const void *package, size_t size, struct observation *out)
{
    for (uint32_t target = 0; target < s->contents.target_count; target++) {
        if (!target_supported_here(s->contents.targets[target].name))
            continue;
        for (int k = 0; k < 2; k++) {
            urza_error failure = {0};
            urza_module *module = load(s, package, size, s->contents.targets[target].name,
                                       thread_counts[k], &failure);
            bool same = module != NULL;
            if (!module) {
                *out = (struct observation){.differs = true, .worst = INFINITY};
                snprintf(out->where, sizeof out->where, "does not load: %.120s", failure.message);
            }
            for (uint32_t i = 0; same && i < s->trial_count; i++)
                same = observe_trial(s, target, i, module, thread_counts[k], out);
            urza_unload(module);
            if (!same)
                return;
        }
    }
}

/* Bytes of bool are 0 or 1. */
static bool truth_values(const struct tensor *t, const void *data)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; t->dtype == DTYPE_BOOL && i < t->bytes; i++)
        if (bytes[i] > 1)
            return false;
    return true;
}

/* Whether the reference tells these results from right ones. */
static bool beyond_reference(uint32_t target, struct trial *t, void **outputs, struct arena *arena)
{
    struct interp_difference right, found;
    struct error err = {0};
    uint32_t output;
    if (!t->sample.expected && !sample_expect(&t->sample, arena, &err))
        return true;
    for (uint32_t o = 0; o < t->sample.output_count; o++)
        if (!truth_values(&t->sample.outputs[o], outputs[o]))
            return true;
    sample_compare(&t->sample, t->expected[target], &right, &output);
    sample_compare(&t->sample, outputs, &found, &output);
    return right.worst_ratio <= 1 && !(found.worst_ratio <= 1);
}

static bool trials_exceed(const struct subject *s, uint32_t target, urza_module *module)
{
    bool exceeds = false;
    for (uint32_t i = 0; i < s->trial_count && !exceeds; i++) {
        struct trial t = s->trials[i];
        struct arena arena;
        struct error err = {0};
        struct observation unused;
        void *outputs[MAX_OUTPUTS];
        int64_t at;
        arena_init(&arena);
        exceeds = !call(&t, module, &arena, outputs, &err);
        bool same = true;
        for (uint32_t o = 0; o < t.sample.output_count && !exceeds; o++)
            same &= compare(&t.sample.outputs[o], t.expected[target][o], outputs[o], &unused, &at);
        exceeds = exceeds || (!same && beyond_reference(target, &t, outputs, &arena));
        arena_release(&arena);
    }
    return exceeds;
}

bool exceeds_bounds(const struct subject *s, const void *package, size_t size)
{
    for (uint32_t target = 0; target < s->contents.target_count; target++) {
        if (!target_supported_here(s->contents.targets[target].name))
            continue;
        for (int k = 0; k < 2; k++) {
            urza_error failure = {0};
            urza_module *module = load(s, package, size, s->contents.targets[target].name,
                                       thread_counts[k], &failure);
            bool exceeds = !module || trials_exceed(s, target, module);
            urza_unload(module);
            if (exceeds)
                return true;
        }
    }
    return false;
}
