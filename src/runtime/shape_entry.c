/* Computes everything that follows from the shapes of the inputs: values of the named dims, shapes
 * of the outputs, sizes and offsets of temporaries, extents of launches. All of it is in one block.
 *
 * Inputs that the graph does not allow are an error. Where the graph allows them, but sizes of the
 * plan do not fit in 63 bits, the entry gets a reason, and such calls are interpreted. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "package/layout.h"
#include "runtime/runtime_priv.h"

#define CHUNKS_PER_THREAD 4
#define FINER_SCRATCH_BYTES \
    ((int64_t)4 << 20) /* limit on scratch memory of all chunks of a launch for splitting finer */

static const char too_large[] = "sizes of the plan do not fit";

static size_t carve_entry(struct carve *carve, const struct urza_module *module,
                          struct shape_entry *out)
{
    const struct graph *graph = &module->package.graph;
    const struct plan *plan = module->target ? &module->target->plan : NULL;
    carve_take(carve, 1, sizeof *out);
    struct shape_entry entry = {
        .key = carve_take(carve, module->key_count, sizeof(int64_t)),
        .dims = carve_take(carve, LIMIT_NAMED_DIMS, sizeof(int64_t)),
        .output_shapes = carve_take(carve, graph->outputs.count, LIMIT_RANK * sizeof(int64_t)),
        .output_bytes = carve_take(carve, graph->outputs.count, sizeof(size_t)),
        .launches = carve_take(carve, plan ? plan->forward.count : 0, sizeof(struct shape_launch)),
        .before = carve_take(carve, plan ? plan->forward.count + 1 : 0, sizeof(uint32_t)),
        .loops = carve_take(carve, plan ? plan->loops.count : 0, sizeof(struct shape_loop)),
        .moves = carve_take(carve, module->move_count, sizeof(struct shape_move)),
        .temp_offsets = carve_take(carve, plan ? plan->buffers.count : 0, sizeof(size_t)),
    };
    if (out)
        *out = entry;
    return carve->used_bytes;
}

static bool fill_output(const struct graph *graph, struct shape_entry *entry, uint32_t output,
                        struct error *err)
{
    const struct node *node = graph_node(graph, graph->outputs.items[output].value);
    int64_t *shape = entry->output_shapes[output];
    int64_t bytes = (int64_t)dtype_bytes(node->dtype);
    bool fits = true;
    for (uint32_t i = 0; i < node->rank; i++) {
        if (!dim_eval(&graph->dims, node->shape[i], entry->dims, &shape[i]))
            return fail(err, ERR_LIMIT, "dim %u has no value", i);
        if (shape[i] < 0)
            return fail(err, ERR_INPUT, "dim %u would be %" PRId64, i, shape[i]);
        fits = fits && checked_mul_i64(bytes, shape[i], &bytes);
    }
    if (!fits || bytes > LIMIT_TENSOR_BYTES)
        return fail(err, ERR_LIMIT, "the tensor would be too large");
    entry->output_bytes[output] = (size_t)bytes;
    return true;
}

static bool place_temps(const struct plan *plan, struct shape_entry *entry,
                        struct layout_item *items, struct layout_item **work)
{
    struct layout layout;
    int64_t all;
    if (!layout_items(plan, entry->dims, items, &all) ||
        !layout_place(items, plan->buffers.count, work, &layout))
        return false;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        entry->temp_offsets[i] = (size_t)items[i].offset;
    entry->scratch_offset = (size_t)layout.bytes;
    entry->intermediate_bytes = (uint64_t)all;
    return true;
}

/* Places temporaries; ERR_NOMEM when there is no memory for the working arrays. */
static bool lay_out_temps(const struct plan *plan, struct shape_entry *entry, bool *out_fits,
                          struct error *err)
{
    size_t count = plan->buffers.count;
    struct layout_item *items = calloc(count + 1, sizeof *items);
    struct layout_item **work = calloc(2 * count + 1, sizeof *work);
    bool ok = items && work;
    if (ok)
        *out_fits = place_temps(plan, entry, items, work);
    free(items);
    free(work);
    return ok || fail(err, ERR_NOMEM, "no memory to lay out temporaries");
}

/* Splits a launch into several chunks per thread if the chunks are large enough: iterations may
 * take different times (a last block of few rows, for instance), and a thread that is done takes
 * the next chunk. */
static uint32_t count_finer(const struct urza_module *module, int64_t work, int64_t extent,
                            int64_t scratch_stride)
{
    int64_t chunks = (int64_t)module->runtime->threads * CHUNKS_PER_THREAD, scratch;
    chunks = chunks < LIMIT_THREADS ? chunks : LIMIT_THREADS;
    chunks = chunks < extent ? chunks : extent;
    bool fits = checked_mul_i64(scratch_stride, chunks, &scratch) && scratch <= FINER_SCRATCH_BYTES;
    return fits && work / chunks >= PARALLEL_WORK ? (uint32_t)chunks : module->runtime->threads;
}

uint32_t launch_chunks(const struct urza_module *module, const struct plan_launch *launch,
                       const int64_t *dims, int64_t extent, int64_t scratch_stride, int64_t parts)
{
    const struct plan *plan = &module->target->plan;
    int64_t work;
    if (module->chunks > 0 && extent > 0)
        return extent < module->chunks ? (uint32_t)extent : module->chunks;
    if (module->runtime->threads == 1 || extent <= 1)
        return 1;
    /* The exact number of operations where it is known: the estimate counts partial blocks of rows
     * as full. */
    dim_id operations =
        launch->asked != DIM_NONE ? launch->asked : plan_code_at(plan, launch, dims)->work;
    if (!dim_eval(plan->dims, operations, dims, &work))
        work = INT64_MAX;
    work /= parts;
    if (work < PARALLEL_WORK)
        return 1;
    return extent < module->runtime->threads ? (uint32_t)extent
                                             : count_finer(module, work, extent, scratch_stride);
}

size_t shape_buffer_bytes(const struct plan *plan, uint32_t buffer, const int64_t *dims)
{
    const struct plan_buffer *b = &plan->buffers.items[buffer];
    int64_t bytes = 0, elements = 0;
    bool fits = dim_eval(plan->dims, b->elements, dims, &elements) && elements >= 0 &&
                checked_mul_i64(elements, (int64_t)dtype_bytes(b->dtype), &bytes);
    return fits ? (size_t)bytes : SIZE_MAX;
}

/* Fills the moves of the loop of that index, whose slots begin at `slot`. */
static bool fill_moves(const struct urza_module *module, uint32_t index, uint32_t slot,
                       const int64_t *dims, struct shape_move *moves)
{
    const struct plan *plan = &module->target->plan;
    const struct plan_loop *loop = &plan->loops.items[index];
    struct shape_move *rows = moves + loop->state_count, *after = rows + loop->row_count;
    struct shape_move *end = after + loop->state_count;
    bool fits = true;
    slot++;
    for (uint32_t i = 0; i < loop->state_count; i++, slot += 4) {
        size_t bytes = shape_buffer_bytes(plan, loop->states[i].state, dims);
        bool wanted = loop->states[i].result != PLAN_NONE;
        bool turns = plan_state_turns(plan, loop, i);
        fits &= bytes != SIZE_MAX;
        moves[i] = (struct shape_move){slot, slot + 1, bytes, turns};
        after[i] = (struct shape_move){slot + 2, slot + 1, bytes, turns};
        end[i] = (struct shape_move){slot + 1, slot + 3, wanted ? bytes : 0,
                                     plan_result_turns(plan, loop, i)};
    }
    for (uint32_t i = 0; i < loop->row_count; i++, slot += 2) {
        size_t bytes = shape_buffer_bytes(plan, loop->rows[i].row, dims);
        fits &= bytes != SIZE_MAX;
        rows[i] = (struct shape_move){slot, slot + 1, bytes, plan_row_turns(plan, loop, i)};
    }
    return fits;
}

/* The slot of the state that a loop whose slots begin at `slot` looks at (add_loop_slots). */
static uint32_t condition_slot(const struct plan_loop *loop, uint32_t slot)
{
    return loop->condition > 0 ? slot + 1 + 4 * (loop->condition - 1) + 1 : PLAN_NONE;
}

static bool fill_loops(const struct urza_module *module, struct shape_entry *entry)
{
    const struct plan *plan = &module->target->plan;
    uint32_t slot = module->loop_slots;
    struct shape_move *moves = entry->moves;
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        struct shape_loop *out = &entry->loops[entry->loop_count++];
        uint32_t first = entry->before[loop->first];
        uint32_t count = entry->before[loop->first + loop->count] - first;
        *out = (struct shape_loop){.first = first,
                                   .count = count,
                                   .iter = loop->iter == PLAN_NONE ? PLAN_NONE : slot,
                                   .condition = condition_slot(loop, slot),
                                   .states = loop->state_count,
                                   .rows = loop->row_count,
                                   .moves = moves,
                                   .turns = &module->turns[i]};
        if (!dim_eval(plan->dims, loop->trips, entry->dims, &out->trips) || out->trips < 0 ||
            out->trips > LIMIT_DIM_VALUE || !fill_moves(module, i, slot, entry->dims, moves))
            return false;
        out->most = out->trips;
        if (loop->condition > 0 && module->most_trips > 0 && module->most_trips < out->trips)
            out->most = module->most_trips;
        slices_choose(module, entry, i, out);
        moves += 3 * loop->state_count + loop->row_count;
        slot += 1 + 4 * loop->state_count + 2 * loop->row_count;
    }
    return true;
}

static bool fill_launches(const struct urza_module *module, struct shape_entry *entry)
{
    const struct plan *plan = &module->target->plan;
    int64_t scratch_bytes = 0, memory;
    uint32_t slot = 0, special = plan_special_at(plan, entry->dims);
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        const struct plan_code *code = plan_code_of(launch, special);
        uint32_t first_slot = slot;
        entry->before[i] = entry->launch_count;
        slot += launch->arg_count;
        int64_t extent, stride, needed;
        if (!dim_eval(plan->dims, code->extent, entry->dims, &extent) || extent < 0)
            return false;
        if (extent == 0)
            continue;
        if (!layout_size(plan, code->scratch_bytes, entry->dims, 1, &stride))
            return false;
        uint32_t chunks = launch_chunks(module, launch, entry->dims, extent, stride, 1);
        if (!checked_mul_i64(stride, chunks, &needed))
            return false;
        if (needed > scratch_bytes)
            scratch_bytes = needed;
        entry->launches[entry->launch_count++] = (struct shape_launch){
            .kernel = module->kernels[code->kernel],
            .number = module->first_launch + plan->prepare.count + i,
            .first_slot = first_slot,
            .chunks = chunks,
            .extent = extent,
            .scratch_stride = (size_t)stride,
        };
    }
    entry->before[plan->forward.count] = entry->launch_count;
    if (!fill_loops(module, entry) ||
        !checked_add_i64((int64_t)entry->scratch_offset, scratch_bytes, &memory))
        return false;
    entry->memory_bytes = (size_t)memory;
    return true;
}

static bool fill_entry(struct urza_module *module, const struct call_context *context,
                       struct shape_entry *entry, struct error *err)
{
    const struct graph *graph = &module->package.graph;
    if (!guards_bind(graph, context->given, graph->inputs.count, entry->dims, err))
        return false;
    if (module->key_count > 0)
        memcpy(entry->key, context->key, module->key_count * sizeof *entry->key);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (!fill_output(graph, entry, i, err))
            return fail_at(err, "output '%s'", graph->outputs.items[i].name);
    entry->reason = module->reason;
    if (!module->target)
        return true;
    bool fits = false;
    if (!lay_out_temps(&module->target->plan, entry, &fits, err))
        return false;
    if (!fits || !fill_launches(module, entry))
        entry->reason = too_large;
    return true;
}

struct shape_entry *shape_entry_new(struct urza_module *module, const struct call_context *context,
                                    uint64_t hash, struct error *err)
{
    size_t size = carve_entry(&(struct carve){0}, module, NULL);
    char *block = calloc(1, size);
    if (!block) {
        fail(err, ERR_NOMEM, "no memory for one more shape");
        return NULL;
    }
    struct shape_entry *entry = (struct shape_entry *)(void *)block;
    carve_entry(&(struct carve){.base = block}, module, entry);
    entry->hash = hash;
    if (fill_entry(module, context, entry, err))
        return entry;
    free(entry);
    return NULL;
}
