/* Runs a few iterations of launches at sizes that would take too long, and too much memory, to run
 * whole.
 *
 * Of each launch three pieces run: the first iteration, one in the middle, and the last two
 * together. Its arguments and results have their true size, but take little memory: an argument is
 * one block of random numbers, mapped repeatedly; a result consists of pages that the system
 * allocates when they are written.
 *
 *     argument   | block | block | block | blo      the same pages
 *     result     |  ......M..........M........ M|   M: drawn elements, their pages marked
 *
 * Each piece must write something: an unallocated page, or over a mark. The first iteration must
 * write the first element and the last one the last element, except where places depend on values,
 * as in sorting. Drawn elements that are written are compared with the reference. This finds
 * kernels that do nothing from some size on, or that skip some of their iterations. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/child.h"
#include "base/error.h"
#include "verify/verify_priv.h"

#define ITERATIONS 4     /* iterations that run, of each launch */
#define FAR_LAUNCH 1.2e8 /* limit on the cost of these iterations of one launch */
#define LAUNCH_COST 5e4  /* fixed cost of a launch, in operations: mappings, judging */
/* Numbers repeat after an odd number of pages, so that rows whose length is a power of two do not
 * all read the same ones. */
#define PERIOD_PAGES 257
/* Periods in the blocks of arguments that have as many or more: each mapping has its cost. Smaller
 * arguments have blocks of one. */
#define LARGE_PERIODS 8
#define SHIFT_PAGES 37 /* each argument starts so many pages further */

/* Fill of marked pages. A second run with the other byte detects a result that equals the first one
 * by chance. */
static const uint8_t MARKS[] = {0xa5, 0x5a};

static double piece_share(int64_t extent)
{
    return extent > ITERATIONS ? ITERATIONS / (double)extent : 1;
}

double far_cost(const struct plan *plan, const bool *distinct, const int64_t *dims)
{
    double cost = 0;
    uint32_t special = plan_special_at(plan, dims);
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        const struct plan_code *code = plan_code_of(launch, special);
        dim_id operations = launch->done != DIM_NONE ? launch->done : code->work;
        int64_t extent, scratch, work, elements;
        double bytes = 0;
        if (!dim_eval(plan->dims, code->extent, dims, &extent) || extent < 0 ||
            !dim_eval(plan->dims, code->scratch_bytes, dims, &scratch) ||
            !dim_eval(plan->dims, operations, dims, &work))
            return INFINITY;
        for (uint32_t a = 0; a < launch->arg_count; a++) {
            const struct plan_buffer *buffer = &plan->buffers.items[launch->args[a]];
            if (!dim_eval(plan->dims, buffer->elements, dims, &elements))
                return INFINITY;
            bool written = launch_writes(launch, a);
            bytes += (double)elements * (double)(written + dtype_bytes(buffer->dtype));
        }
        if (bytes + (double)scratch > (double)VERIFY_RESERVED_BYTES)
            return INFINITY;
        /* Bytes cost, too, since touched pages must be mapped. */
        double share = piece_share(extent) * ((double)work + bytes);
        if (share > FAR_LAUNCH)
            return INFINITY;
        if (distinct[i])
            cost += LAUNCH_COST + share;
    }
    return cost;
}

/* The address space of a launch: arguments and results are placed in it one after the other, with
 * protected pages between. */
struct room {
    uint8_t *map;
    size_t bytes, used, page;
};

static size_t round_up(size_t bytes, size_t page)
{
    return (bytes + page - 1) / page * page;
}

static uint8_t *room_take(struct room *room, size_t bytes)
{
    uint8_t *at = room->map + room->used;
    room->used += round_up(bytes, room->page) + room->page;
    return at;
}

static uint8_t *room_place(struct room *room, size_t bytes)
{
    uint8_t *at = room_take(room, bytes);
    return bytes == 0 || mprotect(at, round_up(bytes, room->page), PROT_READ | PROT_WRITE) == 0
               ? at
               : NULL;
}

/* Makes a block of random numbers in shared memory, which can be mapped repeatedly: its numbers
 * repeat with the period. False: no memory. */
static bool block_make(struct far_block *block, uint64_t seed, size_t period)
{
    uint8_t *map =
        mmap(NULL, block->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    random_fill(block->dtype, (int64_t)(period / dtype_bytes(block->dtype)), seed, FILL_NORMAL,
                block->extent, map);
    for (size_t at = period; at < block->bytes; at += period)
        memcpy(map + at, map, period);
    block->map = map;
    if (mprotect(map, block->bytes, PROT_READ) == 0)
        return true;
    munmap(map, block->bytes);
    return false;
}

/* A block for an argument of so many bytes, of a dtype and with numbers that index an extent; made
 * at first use. NULL: no memory. */
static const struct far_block *block_of(struct far_blocks *blocks, enum dtype dtype, int64_t extent,
                                        uint64_t seed, size_t period, size_t bytes)
{
    size_t periods = bytes > LARGE_PERIODS * period ? LARGE_PERIODS : 1;
    struct far_block block = {.dtype = dtype, .extent = extent, .bytes = periods * period};
    for (uint32_t i = 0; i < blocks->count; i++)
        if (blocks->items[i].dtype == dtype && blocks->items[i].extent == extent &&
            blocks->items[i].bytes >= block.bytes)
            return &blocks->items[i];
    if (!block_make(&block, seed, period))
        return NULL;
    if (blocks->count == FAR_BLOCKS) {
        blocks->count--;
        munmap(blocks->items[blocks->count].map, blocks->items[blocks->count].bytes);
    }
    blocks->items[blocks->count] = block;
    return &blocks->items[blocks->count++];
}

void far_blocks_close(struct far_blocks *blocks)
{
    for (; blocks->count > 0; blocks->count--)
        munmap(blocks->items[blocks->count - 1].map, blocks->items[blocks->count - 1].bytes);
}

/* Maps the block repeatedly over an argument's range, starting at the argument's own offset in the
 * block. */
static uint8_t *room_repeat(struct room *room, size_t bytes, const struct far_block *block,
                            uint32_t argument)
{
    uint8_t *start = room_take(room, bytes);
    size_t total = round_up(bytes, room->page);
    size_t from = (size_t)argument * SHIFT_PAGES % PERIOD_PAGES * room->page;
    for (size_t at = 0; at < total; from = 0) {
        size_t left = block->bytes - from, part = left < total - at ? left : total - at;
        /* mremap with an old size of 0 maps the same shared pages a second time. */
        if (mremap(block->map + from, 0, part, MREMAP_MAYMOVE | MREMAP_FIXED, start + at) ==
            MAP_FAILED)
            return NULL;
        at += part;
    }
    return start;
}

/* A result and its memory. */
struct far_result {
    size_t bytes, item; /* size of the result, of one element */
    uint8_t *data;
    uint8_t *resident;          /* by page: whether it is allocated */
    int64_t points[FAR_POINTS]; /* drawn elements */
    int64_t point_count;
};

/* One launch and its memory. */
struct far {
    const struct far_request *request;
    const struct launch_case *c;
    struct room room;
    struct far_result *results; /* by output */
    uint8_t **written;          /* by output, by element */
    void **reads;               /* by input */
    void *pointers[LIMIT_KERNEL_BUFFERS];
    int64_t extent; /* iterations */
    uint8_t *scratch;
};

static bool room_open(struct far *far, size_t scratch, struct outcome *outcome)
{
    const struct graph *g = far->c->graph;
    long page = sysconf(_SC_PAGESIZE);
    struct room *room = &far->room;
    room->page = page > 0 ? (size_t)page : 4096;
    room->used = room->page;
    room->bytes = 2 * room->page + round_up(scratch, room->page) + room->page;
    for (uint32_t i = 0; i < g->inputs.count; i++) {
        size_t bytes;
        if (!value_bytes(g, g->inputs.items[i], far->request->dims, &bytes))
            return outcome_fail(outcome, "an argument has no size");
        room->bytes += round_up(bytes, room->page) + room->page;
    }
    for (uint32_t o = 0; o < g->outputs.count; o++) {
        value_id value = g->outputs.items[o].value;
        struct far_result *result = &far->results[o];
        result->item = dtype_bytes((enum dtype)graph_node(g, value)->dtype);
        if (!value_bytes(g, value, far->request->dims, &result->bytes))
            return outcome_fail(outcome, "a result has no size");
        room->bytes += round_up(result->bytes, room->page);
        room->bytes += round_up(result->bytes / result->item, room->page) + 2 * room->page;
    }
    void *map =
        mmap(NULL, room->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    room->map = map == MAP_FAILED ? NULL : map;
    if (!room->map)
        child_no_memory();
    return true;
}

static bool place_arguments(struct far *far, struct arena *arena)
{
    const struct far_request *r = far->request;
    const struct launch_case *c = far->c;
    const struct graph *g = c->graph;
    int64_t *extents = index_extents(g, r->dims, arena);
    for (uint32_t i = 0; i < g->inputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->inputs.items[i])->dtype;
        size_t bytes = 0;
        value_bytes(g, g->inputs.items[i], r->dims, &bytes);
        const struct far_block *block =
            block_of(r->blocks, dtype, extents[i], r->seed, PERIOD_PAGES * far->room.page, bytes);
        if (!block || !(far->reads[i] = room_repeat(&far->room, bytes, block, i)))
            return false;
        for (uint32_t a = 0; a < c->launch->arg_count; a++)
            if (c->launch->args[a] == c->launch->args[c->reads[i]])
                far->pointers[a] = far->reads[i];
    }
    return true;
}

/* Chooses the elements of a result to be compared. */
static void draw(struct far *far, uint32_t output)
{
    const struct graph *g = far->c->graph;
    const struct node *node = graph_node(g, g->outputs.items[output].value);
    struct far_result *result = &far->results[output];
    int64_t shape[LIMIT_RANK];
    for (uint32_t d = 0; d < node->rank; d++)
        dim_eval(&g->dims, node->shape[d], far->request->dims, &shape[d]);
    result->point_count = draw_points(shape, node->rank, far->c->config, far->c->seed + output + 1,
                                      FAR_POINTS, result->points);
}

static bool place_results(struct far *far, struct arena *arena)
{
    for (uint32_t o = 0; o < far->c->graph->outputs.count; o++) {
        struct far_result *result = &far->results[o];
        size_t bytes = result->bytes;
        result->data = room_place(&far->room, bytes);
        far->written[o] = room_place(&far->room, bytes / result->item);
        result->resident = arena_raw(arena, bytes / far->room.page + 1, 1);
        if (!result->data || !far->written[o])
            return false;
        if (bytes > 0) /* a huge page would make neighbouring pages resident; fails on systems
                          without huge pages */
            madvise(result->data, round_up(bytes, far->room.page), MADV_NOHUGEPAGE);
        far->pointers[far->c->writes[o]] = result->data;
        draw(far, o);
    }
    return true;
}

/* The page that holds a drawn element, and how many of its bytes belong to the result. */
static uint8_t *page_of(const struct far_result *result, size_t page, int64_t point,
                        size_t *out_bytes)
{
    size_t at = (size_t)point * result->item / page * page, left = result->bytes - at;
    *out_bytes = left < page ? left : page;
    return result->data + at;
}

/* Empties all results before a piece runs, except for the marked pages. */
static void put_marks(struct far *far, uint8_t mark)
{
    for (uint32_t o = 0; o < far->c->graph->outputs.count; o++) {
        const struct far_result *result = &far->results[o];
        if (result->point_count > 0)
            madvise(result->data, round_up(result->bytes, far->room.page), MADV_DONTNEED);
        for (int64_t i = 0; i < result->point_count; i++) {
            size_t bytes;
            uint8_t *page = page_of(result, far->room.page, result->points[i], &bytes);
            memset(page, mark, bytes);
            far->written[o][result->points[i]] = false;
        }
    }
}

static bool is_gone(const struct far_result *result, int64_t element, uint8_t mark)
{
    const uint8_t *at = result->data + (size_t)element * result->item;
    bool gone = false;
    for (size_t i = 0; i < result->item; i++)
        gone |= at[i] != mark;
    return gone;
}

/* What a piece of a launch wrote. */
struct trail {
    bool any, first, last; /* anything; the first element, the last element of a result */
};

/* Whether a result has pages that were not there before, besides those with drawn elements. */
static bool has_new_page(const struct far *far, const struct far_result *result, bool *out,
                         struct outcome *outcome)
{
    size_t pages = (result->bytes + far->room.page - 1) / far->room.page;
    if (mincore(result->data, result->bytes, result->resident) != 0)
        return outcome_fail(outcome, "the system does not say which pages are there");
    for (int64_t i = 0; i < result->point_count; i++)
        result->resident[(size_t)result->points[i] * result->item / far->room.page] = 0;
    *out = false;
    for (size_t p = 0; p < pages; p++)
        *out |= result->resident[p] & 1;
    return true;
}

/* Fills *trail, and notes which drawn elements were written. */
static bool find_trail(struct far *far, uint8_t mark, struct trail *trail, struct outcome *outcome)
{
    for (uint32_t o = 0; o < far->c->graph->outputs.count; o++) {
        const struct far_result *result = &far->results[o];
        if (result->point_count == 0) {
            trail->any = trail->first = trail->last = true;
            continue;
        }
        for (int64_t i = 0; i < result->point_count; i++) {
            size_t size;
            const uint8_t *page = page_of(result, far->room.page, result->points[i], &size);
            trail->any = trail->any || page[0] != mark || memcmp(page, page + 1, size - 1) != 0;
            far->written[o][result->points[i]] = is_gone(result, result->points[i], mark);
        }
        /* before other elements are read, which makes their pages be there */
        if (!trail->any && !has_new_page(far, result, &trail->any, outcome))
            return false;
        trail->first |= is_gone(result, 0, mark);
        trail->last |= is_gone(result, (int64_t)(result->bytes / result->item) - 1, mark);
    }
    return true;
}

/* Whether the places of written elements depend on values. */
static bool is_sorting(const struct graph *g)
{
    for (value_id v = 1; v < g->nodes.count; v++)
        if (graph_node(g, v)->prim == PRIM_ARGSORT)
            return true;
    return false;
}

/* Runs iterations begin … end-1, which must write something. If nothing seems to be written, they
 * run again with the other mark. */
static bool run_piece(struct far *far, int64_t begin, int64_t end, struct outcome *outcome)
{
    bool sorting = is_sorting(far->c->graph);
    struct trail trail = {false, sorting || begin > 0, sorting || end < far->extent};
    for (size_t m = 0; m < sizeof MARKS && !(trail.any && trail.first && trail.last); m++) {
        put_marks(far, MARKS[m]);
        far->request->kernel(far->pointers, far->request->dims, far->scratch, begin, end);
        if (!find_trail(far, MARKS[m], &trail, outcome))
            return false;
    }
    if (!trail.any)
        return outcome_fail(outcome, "iteration %lld of %lld writes nothing", (long long)begin,
                            (long long)far->extent);
    return (trail.first && trail.last) ||
           outcome_fail(outcome, "its %s iteration does not write the %s element of a result",
                        trail.first ? "last" : "first", trail.first ? "last" : "first");
}

static bool run_pieces(struct far *far, const struct launch_memory *memory, struct verdict *out,
                       struct outcome *outcome)
{
    int64_t extent = far->extent;
    const struct {
        int64_t begin, end;
    } pieces[] = {{extent - 2, extent}, {extent / 2, extent / 2 + 1}, {0, 1}}, all = {0, extent};
    for (size_t i = 0; i < (extent > ITERATIONS ? sizeof pieces / sizeof pieces[0] : 1); i++) {
        int64_t begin = extent > ITERATIONS ? pieces[i].begin : all.begin;
        int64_t end = extent > ITERATIONS ? pieces[i].end : all.end;
        struct verdict verdict;
        if (!run_piece(far, begin, end, outcome) ||
            !judge_launch(far->c, memory, far->request->care, &verdict, outcome))
            return false;
        out->ratio = fmax(out->ratio, verdict.ratio);
        out->elements = verdict.elements > out->elements ? verdict.elements : out->elements;
        out->checked += verdict.checked;
    }
    return true;
}

bool far_launch(const struct far_request *request, struct verdict *out, struct outcome *outcome)
{
    const struct launch_case *c = request->launch;
    uint32_t outputs = c->graph->outputs.count;
    int64_t scratch_bytes = 0;
    struct arena arena;
    arena_init(&arena);
    struct far far = {.request = request,
                      .c = c,
                      .results = ARENA_ARRAY(&arena, struct far_result, outputs),
                      .written = ARENA_ARRAY(&arena, uint8_t *, outputs),
                      .reads = ARENA_ARRAY(&arena, void *, c->graph->inputs.count + 1)};
    void **writes = ARENA_ARRAY(&arena, void *, outputs);
    const struct launch_memory memory = {request->dims, far.reads, writes, far.written};
    const struct plan_code *code = plan_code_at(request->plan, c->launch, request->dims);
    dim_eval(request->plan->dims, code->extent, request->dims, &far.extent);
    dim_eval(request->plan->dims, code->scratch_bytes, request->dims, &scratch_bytes);
    bool ok = room_open(&far, (size_t)scratch_bytes, outcome);
    far.scratch = ok ? room_place(&far.room, (size_t)scratch_bytes) : NULL;
    if (ok && (!far.scratch || !place_arguments(&far, &arena) || !place_results(&far, &arena)))
        child_no_memory();
    for (uint32_t o = 0; o < outputs; o++)
        writes[o] = far.results[o].data;
    *out = (struct verdict){0};
    if (ok && far.extent > 0)
        ok = run_pieces(&far, &memory, out, outcome);
    if (far.room.map)
        munmap(far.room.map, far.room.bytes);
    arena_release(&arena);
    return ok;
}
