/* Draws elements of a result where a whole reference costs too much: which elements, and their
 * reference values.
 *
 * An element's indices are drawn dim by dim. Half of them are uniform; the others are where the
 * kernel's code path may change: at the ends of the dim, and on both sides of multiples of the
 * numbers in the kernel's schedule, which are its tiles, blocks and lanes. The corners are always
 * drawn first, beginning with the last element. Whether elements were left unwritten is checked for
 * all elements, not only drawn ones (run.c).
 *
 * The interpreter limits the number of other elements that drawn ones may depend on. Where all
 * drawn elements together pass the limit, they are computed in portions, so that memory holds the
 * elements of one portion only. */
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "verify/verify_priv.h"

#define BLOCKS_MOST 32
/* Stop after portions with so many elements, even if fewer than `least` points are done. */
#define DEAR_ELEMENTS 8000000

struct blocks {
    int64_t size[BLOCKS_MOST];
    uint32_t count;
};

/* Numbers above 1 in the text of a schedule, and products of successive ones. */
static struct blocks blocks_of(const char *config)
{
    struct blocks blocks = {{0}, 0};
    int64_t before = 0;
    for (const char *at = config; at && *at;) {
        char *end;
        bool number = *at >= '0' && *at <= '9' && at > config && at[-1] == ' ';
        long long value = number ? strtoll(at, &end, 10) : 0;
        at = number ? end : at + 1;
        if (value < 2 || value > 1 << 20)
            continue;
        if (blocks.count < BLOCKS_MOST)
            blocks.size[blocks.count++] = value;
        if (before > 0 && blocks.count < BLOCKS_MOST)
            blocks.size[blocks.count++] = before * value;
        before = value;
    }
    return blocks;
}

static int64_t draw_index(const struct blocks *blocks, uint64_t key, uint64_t *counter,
                          int64_t extent)
{
    uint64_t r = rng_u32(key, (*counter)++), s = rng_u32(key, (*counter)++);
    int64_t at = (int64_t)(((r >> 4) << 32 | s) % (uint64_t)extent);
    if (r & 1)
        return at;
    if ((r & 14) == 0 || blocks->count == 0)
        return r & 16 ? extent - 1 - at % (extent < 4 ? extent : 4)
                      : at % (extent < 4 ? extent : 4);
    int64_t block = blocks->size[s % blocks->count];
    int64_t edge = at / block * block + (int64_t)(r >> 5) % 3 - 1;
    return edge < 0 ? 0 : edge >= extent ? extent - 1 : edge;
}

int64_t draw_points(const int64_t *shape, uint32_t rank, const char *config, uint64_t seed,
                    int64_t count, int64_t *out_points)
{
    struct blocks blocks = blocks_of(config);
    uint64_t key = rng_key(seed), counter = 0;
    int64_t all = 1;
    for (uint32_t d = 0; d < rank; d++)
        all = shape[d] == 0 || all <= count ? all * shape[d] : all;
    if (all <= count) {
        for (int64_t p = 0; p < all; p++)
            out_points[p] = all - 1 - p;
        return all;
    }
    for (int64_t p = 0; p < count; p++) {
        int64_t flat = 0;
        for (uint32_t d = 0; d < rank; d++) {
            int64_t corner = p >> (d % 8) & 1 ? 0 : shape[d] - 1;
            bool is_corner = p < ((int64_t)1 << (rank < 6 ? rank : 6));
            flat = flat * shape[d] +
                   (is_corner ? corner : draw_index(&blocks, key, &counter, shape[d]));
        }
        out_points[p] = flat;
    }
    return count;
}

bool draw_interpret(const struct drawing *d, const int64_t *points, int64_t *count, int64_t least,
                    struct points_result out, struct error *err)
{
    int64_t portion = *count, limit = d->elements, done = 0;
    double spent = 0;
    while (done < *count) {
        struct arena arena;
        int64_t now = portion < *count - done ? portion : *count - done;
        arena_init(&arena);
        const struct points_request request = {d->dims,       d->sources, d->value,
                                               points + done, now,        limit};
        bool ok = interp_points(d->graph, d->options, &request, &arena,
                                (struct points_result){out.cells + done, out.bounds + done}, err);
        arena_release(&arena);
        if (ok) {
            done += now;
            spent += (double)limit;
            if (done >= least || spent >= DEAR_ELEMENTS)
                break;
        } else if (err->code != ERR_LIMIT || (portion == 1 && limit >= d->most)) {
            return false;
        } else if (portion > 1) {
            portion = portion < 4 ? 1 : portion / 4;
        } else {
            limit = limit < d->most / 4 ? limit * 4 : d->most;
        }
    }
    *count = done;
    return true;
}

#define OUTPUT_LEAST 4
/* Limit on elements of all values that a portion of drawn elements may depend on. */
#define OUTPUT_ELEMENTS 1000000

void draw_from_whole(const struct sample *sample, const struct interp_tensor *whole,
                     uint32_t output_count, struct arena *arena, struct interp_tensor *out)
{
    for (uint32_t o = 0; o < output_count; o++) {
        const struct tensor *t = &sample->outputs[o];
        int64_t points[OUTPUT_DRAWN];
        out[o] = (struct interp_tensor){.dtype = t->dtype, .rank = 1};
        out[o].cells = ARENA_ARRAY(arena, union cell, OUTPUT_DRAWN);
        out[o].bounds = ARENA_ARRAY(arena, double, OUTPUT_DRAWN);
        out[o].count = draw_points(t->shape, t->rank, NULL, o + 1, OUTPUT_DRAWN, points);
        out[o].shape[0] = out[o].count;
        for (int64_t i = 0; i < out[o].count; i++) {
            out[o].cells[i] = whole[o].cells[points[i]];
            out[o].bounds[i] = whole[o].bounds ? whole[o].bounds[points[i]] : 0;
        }
    }
}

bool draw_outputs(const struct graph *graph, const struct interp_options *options,
                  const struct sample *sample, struct arena *arena, struct interp_tensor *out,
                  struct error *err)
{
    uint32_t inputs = graph->inputs.count;
    struct points_source *sources =
        ARENA_ARRAY(arena, struct points_source, inputs + graph->params.count + 1);
    for (uint32_t i = 0; i < inputs + graph->params.count; i++) {
        sources[i].data = i < inputs ? sample->inputs[i].data : sample->params[i - inputs].data;
        if (i >= inputs && sample->other_params)
            sources[i].lazy = sample->other_params[i - inputs];
    }
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        const struct tensor *t = &sample->outputs[o];
        const struct drawing drawing = {
            graph,           options,       sample->dims, sources, graph->outputs.items[o].value,
            OUTPUT_ELEMENTS, POINT_ELEMENTS};
        int64_t points[OUTPUT_DRAWN];
        out[o] = (struct interp_tensor){.dtype = t->dtype, .rank = 1};
        out[o].cells = ARENA_ARRAY(arena, union cell, OUTPUT_DRAWN);
        out[o].bounds = ARENA_ARRAY(arena, double, OUTPUT_DRAWN);
        out[o].count = draw_points(t->shape, t->rank, NULL, o + 1, OUTPUT_DRAWN, points);
        if (!draw_interpret(&drawing, points, &out[o].count, OUTPUT_LEAST,
                            (struct points_result){out[o].cells, out[o].bounds}, err))
            return false;
        out[o].shape[0] = out[o].count;
    }
    return true;
}
