/* Runs one launch twice.
 *
 * The first run is whole; the second is in chunks, from the last to the first. In the second run
 * results have other addresses and alignment, and results and scratch memory hold other bytes
 * beforehand. The two results differ if an element is not written, if scratch memory is read before
 * it is written, if a chunk writes elements of another, or if a result depends on where a chunk
 * ends. So every element is known to have been written, whichever elements are then compared with
 * the reference.
 *
 * Of a launch that would take too long, a share of the iterations runs both times: the first ones,
 * some in the middle, and the last ones.
 *
 *     iterations   0 [###...........###...........###] extent
 *
 * Results then hold random numbers beforehand, different ones in the second run: elements that are
 * equal afterwards were written. The others keep their random numbers, which serve as arguments for
 * later launches. */
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/verify_priv.h"

#define CHUNKS_MOST 8
#define SCRATCH_ALIGN 64
/* Xor of the first byte of an element's random number between the two runs. */
#define UNWRITTEN 0x5a

/* The content of memory before a run: a signalling NaN in every float dtype, with a different
 * payload in each run; not a valid bool and an unlikely integer. */
static void fill_before(enum dtype dtype, void *data, size_t bytes, int run)
{
    static const uint64_t doubles[] = {0x7ff4a5a512345678u, 0xfff35a5a87654321u};
    static const uint32_t singles[] = {0x7fa5a123u, 0xffb35a45u};
    static const uint16_t halves[] = {0x7d2au, 0xfd93u}, brains[] = {0x7fa5u, 0xffb3u};
    const void *pattern = doubles + run;
    uint8_t block[256];
    size_t step = dtype_bytes(dtype);
    switch (dtype) {
    case DTYPE_F64: break;
    case DTYPE_F32: pattern = singles + run; break;
    case DTYPE_F16: pattern = halves + run; break;
    case DTYPE_BF16: pattern = brains + run; break;
    default: memset(data, run ? 0x5a : FENCED_FILL, bytes); return;
    }
    for (size_t i = 0; i < sizeof block; i += step)
        memcpy(block + i, pattern, step);
    for (size_t i = 0; i < bytes; i += sizeof block)
        memcpy((uint8_t *)data + i, block, bytes - i < sizeof block ? bytes - i : sizeof block);
}

bool value_bytes(const struct graph *g, value_id value, const int64_t *dims, size_t *out)
{
    const struct node *node = graph_node(g, value);
    int64_t count = 1, dim;
    for (uint32_t i = 0; i < node->rank; i++) {
        if (!dim_eval(&g->dims, node->shape[i], dims, &dim) || dim < 0 ||
            (dim > 0 && count > LIMIT_TENSOR_BYTES / 8 / dim))
            return false;
        count *= dim;
    }
    *out = (size_t)count * dtype_bytes((enum dtype)node->dtype);
    return true;
}

bool run_begin(struct run *run, const struct plan *plan, const struct launch_case *c,
               const int64_t *dims, struct arena *arena, struct outcome *outcome)
{
    const struct plan_launch *launch = c->launch;
    int64_t scratch, work;
    const struct plan_code *code = plan_code_at(plan, launch, dims);
    dim_id operations = launch->done != DIM_NONE ? launch->done : code->work;
    run->launch = c;
    run->dims = dims;
    run->results = ARENA_ARRAY(arena, struct fenced, c->graph->outputs.count);
    run->result_bytes = ARENA_ARRAY(arena, size_t, c->graph->outputs.count);
    if (!dim_eval(plan->dims, code->extent, dims, &run->extent) || run->extent < 0 ||
        !dim_eval(plan->dims, code->scratch_bytes, dims, &scratch) || scratch < 0)
        return outcome_fail(outcome, "its extent or scratch memory has no size");
    run->scratch_bytes = ((size_t)scratch + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    run->share = run->extent;
    if (dim_eval(plan->dims, operations, dims, &work) && (double)work > run->share_work)
        run->share = (int64_t)((double)run->extent * run->share_work / (double)work) / 3 * 3 + 3;
    if (run->share < run->extent)
        run->written = ARENA_ARRAY(arena, uint8_t *, c->graph->outputs.count);
    for (uint32_t i = 0; i < c->graph->outputs.count; i++) {
        enum dtype dtype =
            (enum dtype)graph_node(c->graph, c->graph->outputs.items[i].value)->dtype;
        size_t *bytes = &run->result_bytes[i];
        if (!value_bytes(c->graph, c->graph->outputs.items[i].value, dims, bytes))
            return outcome_fail(outcome, "a result has no size");
        if (run->written)
            run->written[i] = arena_raw(arena, *bytes / dtype_bytes(dtype), 1);
    }
    return true;
}

struct piece {
    int64_t begin, end;
};

/* The chunks of the second run: single iterations if there are few, else uneven pieces. */
static uint32_t find_chunks(int64_t extent, struct piece *out)
{
    const int64_t ends[] = {1, 3, extent / 3 + 1, extent / 2 + 1, extent - 1, extent};
    uint32_t count = 0;
    for (int64_t i = 0; extent <= CHUNKS_MOST && i < extent; i++)
        out[count++] = (struct piece){i, i + 1};
    for (size_t i = 0; extent > CHUNKS_MOST && i < sizeof ends / sizeof ends[0]; i++) {
        int64_t begin = count > 0 ? out[count - 1].end : 0;
        if (ends[i] > begin)
            out[count++] = (struct piece){begin, ends[i]};
    }
    return count;
}

/* The iterations of a share: a third of them at the start, in the middle and at the end; in the
 * second run each piece is cut in two. */
static uint32_t find_share(const struct run *run, bool in_chunks, struct piece *out)
{
    int64_t third = run->share / 3, middle = run->extent / 2 - third / 2;
    const int64_t begins[] = {0, middle, run->extent - third};
    uint32_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        int64_t cut = begins[i] + (in_chunks ? third / 2 : third);
        if (cut > begins[i])
            out[count++] = (struct piece){begins[i], cut};
        if (begins[i] + third > cut)
            out[count++] = (struct piece){cut, begins[i] + third};
    }
    return count;
}

static void call(const struct run *run, void *scratch, bool in_chunks)
{
    struct piece pieces[CHUNKS_MOST] = {{0, run->extent}};
    uint32_t count = 1;
    if (run->extent == 0)
        return; /* as in the runtime, which skips such launches */
    if (run->share < run->extent)
        count = find_share(run, in_chunks, pieces);
    else if (in_chunks)
        count = find_chunks(run->extent, pieces);
    for (uint32_t i = count; i-- > 0;)
        run->kernel(run->pointers, run->dims, scratch, pieces[i].begin, pieces[i].end);
}

/* Fills a result with its initial content, as described at the top of the file. */
static void fill_result(const struct run *run, uint32_t output, enum dtype dtype, uint8_t *data,
                        int number)
{
    size_t bytes = run->result_bytes[output], item = dtype_bytes(dtype);
    if (!run->written) {
        fill_before(dtype, data, bytes, number);
        return;
    }
    random_fill(dtype, (int64_t)(bytes / item), output + 1, FILL_NORMAL, 0, data);
    for (size_t at = 0; number == 1 && at < bytes; at += item)
        data[at] ^= UNWRITTEN;
}

/* Places scratch memory, and results in new blocks, which the caller closes. */
static bool place(struct run *run, struct fenced *blocks, struct fenced *scratch, int number,
                  struct outcome *outcome)
{
    const struct graph *g = run->launch->graph;
    struct error err;
    bool ok = fenced_place(scratch, run->pool, run->scratch_bytes, FENCE_END, 0, &err);
    for (uint32_t i = 0; ok && i < g->outputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->outputs.items[i].value)->dtype;
        enum fence_side side = number == 0 ? FENCE_END : FENCE_START;
        size_t offset = number == 0 ? 0 : 3 * dtype_bytes(dtype);
        ok = fenced_place(&blocks[i], run->pool, run->result_bytes[i], side, offset, &err);
        if (ok)
            fill_result(run, i, dtype, blocks[i].data, number);
        run->pointers[run->launch->writes[i]] = blocks[i].data;
    }
    if (ok)
        fill_before(DTYPE_F32, scratch->data, run->scratch_bytes, number);
    return ok || outcome_error(outcome, &err);
}

/* Whether nothing was written around scratch memory and results. */
static bool intact(const struct run *run, const struct fenced *blocks, const struct fenced *scratch,
                   struct outcome *outcome)
{
    ptrdiff_t at;
    if (!fenced_intact(scratch, &at))
        return outcome_fail(outcome,
                            "a byte was written %td bytes from the start of scratch memory", at);
    for (uint32_t i = 0; i < run->launch->graph->outputs.count; i++)
        if (!fenced_intact(&blocks[i], &at))
            return outcome_fail(outcome, "a byte was written %td bytes from the start of a result",
                                at);
    return true;
}

static bool call_into(struct run *run, struct fenced *blocks, int number, struct outcome *outcome)
{
    struct fenced scratch = {0};
    bool ok = place(run, blocks, &scratch, number, outcome);
    if (ok) {
        call(run, scratch.data, number == 1);
        ok = intact(run, blocks, &scratch, outcome);
    }
    fenced_close(&scratch);
    return ok;
}

/* Notes which elements a share has written. False, with the place, if an element was changed
 * differently in the two runs, or if none was written. */
static bool note_written(const uint8_t *first, const uint8_t *second, size_t count, size_t item,
                         uint8_t *written, size_t *out_at)
{
    bool any = count == 0;
    *out_at = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *a = first + i * item, *b = second + i * item;
        bool rest = memcmp(a + 1, b + 1, item - 1) == 0;
        written[i] = rest && a[0] == b[0];
        any |= written[i];
        if (!written[i] && !(rest && (a[0] ^ b[0]) == UNWRITTEN)) {
            *out_at = i;
            return false;
        }
    }
    return any;
}

static bool same_bits(const struct run *run, const struct fenced *again, struct outcome *outcome)
{
    const struct graph *g = run->launch->graph;
    for (uint32_t i = 0; i < g->outputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->outputs.items[i].value)->dtype;
        size_t bytes = run->result_bytes[i], item = dtype_bytes(dtype), at;
        const uint8_t *first = run->results[i].data, *second = again[i].data;
        if (run->written ? note_written(first, second, bytes / item, item, run->written[i], &at)
                         : !elements_differ(dtype, first, second, bytes, &at))
            continue;
        return outcome_fail(
            outcome,
            "element %zu of %zu is not written, or differs between a run as a whole "
            "and one in chunks",
            at, bytes / item);
    }
    return true;
}

bool run_place(struct run *run, struct outcome *outcome)
{
    return place(run, run->results, &run->scratch, 0, outcome);
}

void run_in_place(const struct run *run)
{
    call(run, run->scratch.data, false);
}

bool run_seal(struct run *run, struct outcome *outcome)
{
    struct error err;
    bool ok = intact(run, run->results, &run->scratch, outcome);
    fenced_close(&run->scratch);
    for (uint32_t i = 0; ok && i < run->launch->graph->outputs.count; i++)
        ok = fenced_seal(&run->results[i], &err) || outcome_error(outcome, &err);
    return ok;
}

bool run_twice(struct run *run, struct arena *arena, struct outcome *outcome)
{
    uint32_t count = run->launch->graph->outputs.count;
    struct fenced *again = ARENA_ARRAY(arena, struct fenced, count);
    struct error err;
    bool ok = call_into(run, run->results, 0, outcome) && call_into(run, again, 1, outcome) &&
              same_bits(run, again, outcome);
    for (uint32_t i = 0; i < count; i++) {
        fenced_close(&again[i]);
        if (ok && !fenced_seal(&run->results[i], &err))
            ok = outcome_error(outcome, &err);
    }
    return ok;
}
