/* A kernel taken out of its graph, for measuring: its operands, the candidates, and checking
 * results.
 *
 * Operands are multiples of 1/4 with magnitudes up to 2. Their products and sums are exact in the
 * usual sizes, so kernels that sum in different orders give the same bits, and a wrong result
 * stands out. A small kernel's result is checked against the interpreter's error bounds; a large
 * one's against the result of the default config, with a tolerance for the rounding errors of its
 * longest sum. The bytes before and behind the result (fences) must not change. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/codegen/codegen.h"
#include "compiler/lower/lower.h"
#include "compiler/target/target.h"
#include "graph/interp.h"
#include "package/package.h"
#include "tuner/tuner_priv.h"

#define MOST_BYTES ((int64_t)2 << 30) /* total size of operands and result */
#define FENCE_BYTES 4096              /* size of each fence */
#define FENCE_FILL 0xa5
#define SAMPLE_NS 30000.0     /* shorter runs are repeated until a sample takes this long */
#define INTERP_WORK (1 << 20) /* most operations for which the interpreter is the reference */

struct candidate {
    struct config config;
    struct arena arena; /* released when the candidate is discarded */
    void *map;          /* machine code; NULL: not built */
    size_t map_bytes;
    urza_kernel_fn *call;
    int64_t extent;
    void *scratch;
    uint32_t repeats;
    const char *steps; /* the schedule's; the same as another candidate's: the same code */
};

struct bench {
    struct kernel_case *kernel;
    struct arena *arena; /* released after the bench */
    int64_t dims[LIMIT_NAMED_DIMS];
    void *buffers[LIMIT_KERNEL_BUFFERS]; /* [0] is the result */
    uint32_t buffer_count;
    struct interp_tensor result; /* its shape; has cells if the interpreter is the reference */
    uint8_t *fence;              /* fence, result, fence */
    size_t result_bytes;
    void *reference; /* the default config's result; NULL: the interpreter is the reference */
    double tolerance;
    struct candidate *candidates;
    uint32_t count;
};

static void fill(enum dtype dtype, int64_t count, uint64_t seed, void *out)
{
    uint64_t key = rng_key(seed);
    for (int64_t i = 0; i < count; i++) {
        uint32_t r = rng_u32(key, (uint64_t)i);
        double real = ((double)(r >> 1 & 7) + 1) / 4 * (r & 1 ? 1 : -1);
        switch (dtype) {
        case DTYPE_F64: ((double *)out)[i] = real; break;
        case DTYPE_F32: ((float *)out)[i] = (float)real; break;
        case DTYPE_F16: ((uint16_t *)out)[i] = f16_from_double(real); break;
        case DTYPE_BF16: ((uint16_t *)out)[i] = bf16_from_double(real); break;
        case DTYPE_I64:
        case DTYPE_U64: ((int64_t *)out)[i] = r & 7; break;
        case DTYPE_I32:
        case DTYPE_U32: ((int32_t *)out)[i] = r & 7; break;
        case DTYPE_I16:
        case DTYPE_U16: ((int16_t *)out)[i] = r & 7; break;
        case DTYPE_I8:
        case DTYPE_U8: ((uint8_t *)out)[i] = r & 7; break;
        case DTYPE_BOOL: ((uint8_t *)out)[i] = r & 1; break;
        case DTYPE_NONE:
        case DTYPE_COUNT: break;
        }
    }
}

/* Shape and size in bytes of a value at the bench's dims; allocates nothing. */
static bool measure_value(const struct bench *b, value_id value, struct interp_tensor *out,
                          int64_t *total, int64_t *out_bytes, struct error *err)
{
    const struct graph *g = &b->kernel->graph;
    const struct node *node = graph_node(g, value);
    *out = (struct interp_tensor){.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t i = 0; i < node->rank; i++)
        if (!dim_eval(&g->dims, node->shape[i], b->dims, &out->shape[i]) || out->shape[i] < 0 ||
            !checked_mul_i64(out->count, out->shape[i], &out->count))
            return fail(err, ERR_LIMIT, "a tensor has no size at typical dims");
    if (!checked_mul_i64(out->count, (int64_t)dtype_bytes(out->dtype), out_bytes) ||
        !checked_add_i64(*total, *out_bytes, total) || *total > MOST_BYTES)
        return fail(err, ERR_LIMIT, "tensors of more than %lld bytes are not measured",
                    (long long)MOST_BYTES);
    return true;
}

static bool make_buffers(struct bench *b, const struct nest *nest, struct error *err)
{
    int64_t total = 0, bytes = 0;
    b->buffer_count = nest->arguments.count;
    for (uint32_t i = 0; i < b->buffer_count; i++) {
        struct interp_tensor tensor;
        if (!measure_value(b, nest_argument(nest, i)->value, &tensor, &total, &bytes, err))
            return false;
        if (i == 0) {
            b->result = tensor;
            b->result_bytes = (size_t)bytes;
            b->fence = arena_alloc(b->arena, (size_t)bytes + (size_t)2 * FENCE_BYTES, 64);
            b->buffers[0] = b->fence + FENCE_BYTES;
        } else {
            b->buffers[i] = arena_alloc(b->arena, (size_t)bytes, 64);
            fill(tensor.dtype, tensor.count, i, b->buffers[i]);
        }
    }
    return true;
}

/* Computes the reference with the interpreter, with error bounds. */
static bool interpret(struct bench *b, const struct nest *nest, struct error *err)
{
    const struct graph *g = &b->kernel->graph;
    struct interp_tensor *sources =
        ARENA_ARRAY(b->arena, struct interp_tensor, g->inputs.count + 1);
    for (uint32_t i = 0; i < g->inputs.count; i++) {
        value_id input = g->inputs.items[i];
        struct interp_tensor shape;
        const void *data = NULL;
        int64_t total = 0, bytes;
        for (uint32_t a = 1; a < b->buffer_count; a++)
            if (nest_argument(nest, a)->value == input)
                data = b->buffers[a];
        if (!measure_value(b, input, &shape, &total, &bytes, err))
            return false;
        if (!data) /* only its shape is used: the kernel does not read it */
            data = arena_alloc(b->arena, (size_t)bytes, 64);
        if (!interp_load(&sources[i], b->arena,
                         &(struct native_tensor){shape.dtype, shape.rank, shape.shape, data}, err))
            return false;
    }
    return interp_run(
        g, &(struct interp_options){.mode = INTERP_REFERENCE, .memory_limit = (size_t)MOST_BYTES},
        &(struct interp_arguments){b->dims, sources, g->inputs.count}, b->arena, &b->result, err);
}

bool case_question(struct kernel_case *kernel, struct arena *arena, struct nest *nest,
                   struct kernel_question *out, struct error *err)
{
    const struct lower_task task = {&kernel->graph, &kernel->partition, kernel->group, arena};
    if (!lower_group(&task, nest, err))
        return false;
    *out = (struct kernel_question){.graph = &kernel->graph,
                                    .partition = &kernel->partition,
                                    .group = kernel->group,
                                    .target = kernel->target,
                                    .hint = &kernel->hint,
                                    .scheduling = sched_begin(nest, &kernel->hint, kernel->target)};
    return true;
}

static bool map_code(struct candidate *c, const struct code_image *image, struct error *err)
{
    void *map =
        mmap(NULL, image->size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return fail(err, ERR_NOMEM, "no memory for code");
    memcpy(map, image->bytes, image->size_bytes);
    if (mprotect(map, image->size_bytes, PROT_READ | PROT_EXEC) != 0) {
        munmap(map, image->size_bytes);
        return fail(err, ERR_IO, "code cannot be made executable");
    }
    c->map = map;
    c->map_bytes = image->size_bytes;
    uintptr_t entry = (uintptr_t)map + image->kernel_offsets[0];
    c->call = (urza_kernel_fn *)entry;
    return true;
}

/* Compiles the kernel with the candidate's config into executable memory; the intermediate results
 * are in the candidate's arena. */
static bool generate(struct bench *b, struct candidate *c, const char **out_steps,
                     struct error *err)
{
    struct kernel_case *k = b->kernel;
    struct nest *nest = ARENA_NEW(&c->arena, struct nest);
    struct dim_table *dims = &k->graph.dims; /* lowering and scheduling may add dims */
    struct kernel_question question;
    struct schedule schedule;
    struct sched_sizes sizes;
    struct strbuf steps;
    struct code_image image;
    int64_t scratch_bytes;
    if (!case_question(k, &c->arena, nest, &question, err))
        return false;
    sched_finish(question.scheduling, &c->config, &schedule);
    strbuf_init(&steps, b->arena);
    sched_print(&schedule, &steps);
    for (uint32_t i = 0; i < b->count; i++)
        if (b->candidates[i].steps && strcmp(b->candidates[i].steps, steps.data) == 0)
            return fail(err, ERR_UNSUPPORTED, "the same steps as of another");
    if (!nest_verify(nest, err) || !sched_measure(nest, dims, &sizes, err) ||
        !dim_eval(dims, sizes.extent, b->dims, &c->extent) ||
        !dim_eval(dims, sizes.scratch_bytes, b->dims, &scratch_bytes) || scratch_bytes > MOST_BYTES)
        return fail(err, ERR_LIMIT, "its sizes cannot be told");
    if (!codegen(&(struct code_request){&nest, 1, k->target, NULL}, &c->arena, &image, err))
        return false;
    c->scratch = arena_alloc(&c->arena, (size_t)scratch_bytes, 64);
    *out_steps = steps.data;
    return map_code(c, &image, err);
}

static int build(void *user, uint32_t candidate)
{
    struct bench *b = user;
    struct candidate *c = &b->candidates[candidate];
    struct error err;
    const char *steps = NULL;
    if (c->map)
        return 0; /* the default config, built before for the reference */
    arena_init(&c->arena);
    c->arena.oom = b->arena->oom;
    if (!generate(b, c, &steps, &err)) {
        arena_release(&c->arena);
        return 1;
    }
    c->steps = steps;
    c->repeats = 0;
    return 0;
}

static void discard(void *user, uint32_t candidate)
{
    struct bench *b = user;
    struct candidate *c = &b->candidates[candidate];
    if (c->map)
        munmap(c->map, c->map_bytes);
    arena_release(&c->arena);
    c->map = NULL;
}

/* CPU time of this thread, which does not include the time of other processes. */
static double thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The first run is one call, on a result that holds FENCE_FILL; later runs repeat the call until a
 * sample takes SAMPLE_NS. */
static double run(void *user, uint32_t candidate)
{
    struct bench *b = user;
    struct candidate *c = &b->candidates[candidate];
    uint32_t repeats = c->repeats > 0 ? c->repeats : 1;
    if (c->repeats == 0)
        memset(b->fence, FENCE_FILL, b->result_bytes + (size_t)2 * FENCE_BYTES);
    double begin = thread_ns();
    for (uint32_t i = 0; i < repeats; i++)
        c->call(b->buffers, b->dims, c->scratch, 0, c->extent);
    double ns = (thread_ns() - begin) / repeats;
    if (c->repeats == 0)
        c->repeats = ns >= SAMPLE_NS ? 1 : (uint32_t)(SAMPLE_NS / (ns > 10 ? ns : 10)) + 1;
    return ns;
}

static bool fences_stand(const struct bench *b)
{
    for (size_t i = 0; i < FENCE_BYTES; i++)
        if (b->fence[i] != FENCE_FILL || b->fence[FENCE_BYTES + b->result_bytes + i] != FENCE_FILL)
            return false;
    return true;
}

static double element(enum dtype dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case DTYPE_F64: return ((const double *)data)[i];
    case DTYPE_F32: return (double)((const float *)data)[i];
    case DTYPE_F16: return f16_to_double(((const uint16_t *)data)[i]);
    default: return bf16_to_double(((const uint16_t *)data)[i]);
    }
}

static bool near_reference(const struct bench *b)
{
    enum dtype dtype = b->result.dtype;
    double largest = 0;
    if (!dtype_is_float(dtype))
        return memcmp(b->buffers[0], b->reference, b->result_bytes) == 0;
    for (int64_t i = 0; i < b->result.count; i++) {
        double x = fabs(element(dtype, b->reference, i));
        largest = isfinite(x) && x > largest ? x : largest;
    }
    for (int64_t i = 0; i < b->result.count; i++) {
        double x = element(dtype, b->reference, i), y = element(dtype, b->buffers[0], i);
        bool same = (isnan(x) && isnan(y)) || (isinf(x) && isinf(y) && (x > 0) == (y > 0)) ||
                    fabs(x - y) <= b->tolerance * largest;
        if (!same)
            return false;
    }
    return true;
}

static int check(void *user, uint32_t candidate)
{
    struct bench *b = user;
    struct interp_difference difference;
    (void)candidate;
    if (!fences_stand(b))
        return 1;
    if (b->reference)
        return near_reference(b) ? 0 : 1;
    interp_compare(&b->result, b->buffers[0], &difference);
    return difference.worst_ratio <= 1 ? 0 : 1;
}

/* Relative error that the result may have: one rounding in its own type, and one in f32 (in f64 for
 * an f64 result) for each term of the longest sum. */
static double tolerance_of(const struct bench *b)
{
    const struct graph *g = &b->kernel->graph;
    double terms = 16;
    for (value_id v = 1; v < g->nodes.count; v++) {
        int64_t n, most = 1;
        const struct node *node = graph_node(g, v);
        for (uint32_t i = 0; i < node->rank; i++)
            if (dim_eval(&g->dims, node->shape[i], b->dims, &n) && n > 0)
                most = n > most ? n : most;
        terms = (double)most > terms ? (double)most : terms;
    }
    double own = dtype_is_float(b->result.dtype) ? dtype_unit_roundoff(b->result.dtype) : 0;
    return 4 * (own +
                terms * dtype_unit_roundoff(b->result.dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32));
}

static bool judge(struct bench *b, const struct nest *nest, int64_t work, struct error *err)
{
    if (work <= INTERP_WORK)
        return interpret(b, nest, err);
    if (build(b, 0) != 0)
        return fail(err, ERR_COMPILE, "the kernel does not compile with its default config");
    run(b, 0);
    b->candidates[0].repeats = 0;
    b->reference = arena_memdup(b->arena, b->buffers[0], b->result_bytes);
    b->tolerance = tolerance_of(b);
    return true;
}

static void free_bench(void *bench)
{
    bench_free(bench);
}

bool bench_new(struct kernel_case *kernel, uint32_t candidates_max, struct arena *arena,
               struct bench **out, struct error *err)
{
    struct bench *b = ARENA_NEW(arena, struct bench);
    struct nest *nest = ARENA_NEW(arena, struct nest);
    struct dim_table *dims = &kernel->graph.dims;
    struct config *configs = ARENA_ARRAY(arena, struct config, candidates_max);
    struct sched_sizes sizes;
    const struct lower_task task = {&kernel->graph, &kernel->partition, kernel->group, arena};
    int64_t work;
    *b = (struct bench){.kernel = kernel, .arena = arena};
    arena_own(arena, free_bench, b);
    if (!target_supported_here(kernel->target->name))
        return fail(err, ERR_TARGET, "this machine cannot run code for %s", kernel->target->name);
    for (uint32_t i = 0; i < dims->names.count; i++)
        b->dims[i] = dim_typical(&dims->names.items[i]);
    if (!lower_group(&task, nest, err) || !sched_measure(nest, dims, &sizes, err) ||
        !make_buffers(b, nest, err))
        return false;
    if (!dim_eval(dims, sizes.work, b->dims, &work))
        work = INT64_MAX;
    uint32_t count =
        sched_space(sched_begin(nest, &kernel->hint, kernel->target), configs, candidates_max);
    b->candidates = ARENA_ARRAY(arena, struct candidate, count);
    b->count = count;
    for (uint32_t i = 0; i < b->count; i++)
        b->candidates[i].config = configs[i];
    if (!judge(b, nest, work, err)) {
        bench_free(b);
        return false;
    }
    *out = b;
    return true;
}

void bench_free(struct bench *bench)
{
    for (uint32_t i = 0; bench && i < bench->count; i++)
        discard(bench, i);
}

uint32_t bench_count(const struct bench *bench)
{
    return bench->count;
}

const struct config *bench_config(const struct bench *bench, uint32_t candidate)
{
    return &bench->candidates[candidate].config;
}

urza_search_space bench_space(struct bench *bench)
{
    return (urza_search_space){.count = bench->count,
                               .user = bench,
                               .build = build,
                               .run = run,
                               .check = check,
                               .discard = discard};
}
