#include "verify/quality.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/loops.h"

#define TRIMMED 0.01 /* share of the largest errors that is left out where single elements jump */
#define TRIMMED_FROM 100 /* elements, from which on they are left out */
#define WEIGHTY 1000 /* elements from which on a root mean square is hardly affected by chance */
#define NUDGES 3
/* The error from all roundings may be so many times that from rounding inputs and params. */
#define NUDGE_TIMES 4

bool prim_jumps(enum prim prim)
{
    switch (prim) {
    case PRIM_SIGN:
    case PRIM_FLOOR:
    case PRIM_CEIL:
    case PRIM_ROUND:
    case PRIM_TRUNC:
    case PRIM_REM:
    case PRIM_EQ:
    case PRIM_NE:
    case PRIM_LT:
    case PRIM_LE:
    case PRIM_BITCAST:
    case PRIM_ARGMAX:
    case PRIM_ARGMIN:
    case PRIM_ARGSORT: return true;
    default: return false;
    }
}

static bool jumps(const struct graph *graph, const struct node *node)
{
    bool from_float =
        node->operand_count > 0 && dtype_is_float(graph_node(graph, node->operands[0])->dtype);
    bool to_whole = node->prim == PRIM_CAST && !dtype_is_float(node->dtype);
    return from_float && (to_whole || prim_jumps((enum prim)node->prim));
}

bool any_jumps(const struct graph *graph)
{
    bool any = false;
    for (value_id v = 1; v < graph->nodes.count; v++)
        any |= jumps(graph, graph_node(graph, v));
    return any;
}

/* Whether a loop ends by a condition. */
static bool waits(const struct graph *graph, const struct node *node)
{
    (void)graph;
    return node->prim == PRIM_LOOP && node->attrs->condition > 0;
}

/* Whether a loop without a condition makes so many trips that bounds do not pass through it. */
static bool any_long_loop(const struct graph *graph, const int64_t *dims, struct arena *arena)
{
    struct graph_loops loops;
    struct error err;
    bool any = false;
    if (!graph_has_loops(graph) || !graph_find_loops(graph, arena, &loops, &err))
        return false;
    for (uint32_t i = 0; i < loops.items.count; i++) {
        const struct graph_loop *loop = &loops.items.items[i];
        int64_t trips = 0;
        any |= loop->condition == 0 && dim_eval(&graph->dims, loop->trips, dims, &trips) &&
               trips > LOOP_TRIED_TRIPS;
    }
    return any;
}

/* Whether an output depends on such a node. */
static bool output_needs(const struct graph *graph, uint32_t output,
                         bool (*such)(const struct graph *graph, const struct node *node))
{
    value_id value = graph->outputs.items[output].value;
    bool *needed = calloc(graph->nodes.count, sizeof *needed), any = !needed;
    if (needed)
        needed[value] = true;
    for (value_id v = value + 1; needed && v-- > 1;) {
        const struct node *node = graph_node(graph, v);
        if (!needed[v])
            continue;
        any |= such(graph, node);
        for (uint32_t i = 0; i < node->operand_count; i++)
            needed[node->operands[i]] = true;
    }
    free(needed);
    return any;
}

bool output_jumps(const struct verification *v, uint32_t output)
{
    return output_needs(&v->contents->graph, output, jumps);
}

/* Stores floats of all outputs one after the other; zeros for other dtypes. counts: how many of
 * each output there are. */
static void keep(const struct sample *sample, const struct interp_tensor *tensors, double *to,
                 int64_t *counts)
{
    for (uint32_t o = 0; o < sample->output_count; o++) {
        for (int64_t i = 0; i < tensors[o].count; i++)
            to[i] = dtype_is_float(tensors[o].dtype) ? tensors[o].cells[i].f : 0;
        to += sample->outputs[o].count;
        counts[o] = tensors[o].count < counts[o] ? tensors[o].count : counts[o];
    }
}

/* How far results move when inputs and params are moved by one rounding each, in so many tries: by
 * output and element; INFINITY where it is not known. */
static void find_spread(struct scene *scene, uint64_t tries, double *spread)
{
    const struct verification *v = scene->whole->v;
    const struct graph *graph = &v->contents->graph;
    const struct interp_options wide = {.mode = INTERP_REFERENCE,
                                        .memory_limit = REFERENCE_BYTES,
                                        .threads = v->threads,
                                        .wide = true};
    for (uint64_t n = 0; n < tries; n++) {
        struct scene nudged;
        struct interp_tensor *tensors;
        struct error err;
        struct arena arena;
        arena_init(&arena);
        bool known = scene_nudge(&nudged, scene, v->options->seed + n, &err) &&
                     interpret(graph, &wide, &nudged, &arena, &tensors, &err);
        const double *reference = v->result.reference;
        double *to = spread;
        for (uint32_t o = 0; o < graph->outputs.count; o++) {
            for (int64_t i = 0; i < v->result.drawn[o]; i++) {
                bool is = known && i < tensors[o].count && dtype_is_float(tensors[o].dtype);
                double moved = is ? fabs(tensors[o].cells[i].f - reference[i]) : INFINITY;
                to[i] = moved >= to[i] ? moved : moved < INFINITY ? to[i] : INFINITY;
            }
            to += scene->sample.outputs[o].count;
            reference += scene->sample.outputs[o].count;
        }
        arena_release(&arena);
    }
}

/* Where roundings may decide when a loop ends, results may be those of another trip. Then nothing
 * is said of what depends on it. */
static void judge_waits(struct scene *scene, struct arena *arena)
{
    struct verification *v = scene->whole->v;
    const struct graph *graph = &v->contents->graph;
    bool unsure = false, any = false;
    const struct interp_options bounded = {.mode = INTERP_REFERENCE,
                                           .memory_limit = REFERENCE_BYTES,
                                           .threads = v->threads,
                                           .unsure = &unsure};
    struct interp_tensor *tensors;
    struct error err;
    double *reference = v->result.reference;
    for (uint32_t o = 0; o < graph->outputs.count; o++)
        any |= output_needs(graph, o, waits);
    if (!any || (interpret(graph, &bounded, scene, arena, &tensors, &err) && !unsure))
        return;
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        for (int64_t i = 0; i < v->result.drawn[o] && output_needs(graph, o, waits); i++)
            reference[i] = (double)NAN;
        reference += scene->sample.outputs[o].count;
    }
}

bool quality_is_chance(const struct verification *v, uint32_t output)
{
    return v->result.drawn[output] < TRIMMED_FROM &&
           output_needs(&v->contents->graph, output, jumps);
}

/* The plain error is taken to be at least that of its roundings adding up as a random walk: their
 * bound over the root of their number. Where the bound is infinite, because of depth or since a
 * comparison may go either way, it is taken from the effect of one rounding of each input and param
 * instead. Behind long loops it is so from the start, and moved once: each time is as many trips as
 * the reference makes, and one says as well how large the effect is. */
void quality_floor(struct scene *scene)
{
    struct verification *v = scene->whole->v;
    struct arena *arena = scene->whole->arena;
    const struct graph *graph = &v->contents->graph;
    const struct interp_options bounded = {
        .mode = INTERP_REFERENCE, .memory_limit = REFERENCE_BYTES, .threads = v->threads};
    double *reference = v->result.reference, *plain = v->result.plain, *spread = NULL;
    double roundings = (double)(graph->nodes.count + graph_terms(graph, scene->sample.dims));
    bool is_long = any_long_loop(graph, scene->sample.dims, arena);
    struct interp_tensor *tensors;
    struct error err;
    int64_t elements = 0, first = 0;
    for (uint32_t o = 0; o < graph->outputs.count; o++)
        elements += scene->sample.outputs[o].count;
    bool known = !is_long && interpret(graph, &bounded, scene, arena, &tensors, &err);
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        for (int64_t i = 0; quality_is_chance(v, o) && i < v->result.drawn[o]; i++) {
            double bound = known && i < tensors[o].count ? 0 : INFINITY;
            if (bound == 0 && tensors[o].bounds)
                bound = tensors[o].bounds[i];
            double error = bound / sqrt(roundings);
            if (!(bound < INFINITY)) {
                if (!spread) {
                    spread = ARENA_ARRAY(arena, double, elements + 1);
                    find_spread(scene, is_long ? 1 : NUDGES, spread);
                }
                error = NUDGE_TIMES * spread[first + i];
            }
            plain[i] = reference[i] + fmax(fabs(plain[i] - reference[i]), error);
            if (!(error < INFINITY))
                reference[i] = (double)NAN;
        }
        first += scene->sample.outputs[o].count;
        reference += scene->sample.outputs[o].count;
        plain += scene->sample.outputs[o].count;
    }
}

void quality_keep(struct scene *scene, const struct interp_tensor *reference,
                  const struct interp_tensor *plain)
{
    struct verification *v = scene->whole->v;
    for (uint32_t o = 0; o < scene->sample.output_count; o++)
        v->result.drawn[o] = reference[o].count;
    keep(&scene->sample, reference, v->result.reference, v->result.drawn);
    keep(&scene->sample, plain, v->result.plain, v->result.drawn);
    judge_waits(scene, scene->whole->arena);
    v->result.referenced = true;
}

static double element(enum dtype dtype, const uint8_t *data, int64_t i)
{
    switch (dtype) {
    case DTYPE_F64: return ((const double *)(const void *)data)[i];
    case DTYPE_F32: return (double)((const float *)(const void *)data)[i];
    case DTYPE_F16: return f16_to_double(((const uint16_t *)(const void *)data)[i]);
    default: return bf16_to_double(((const uint16_t *)(const void *)data)[i]);
    }
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Moves the `most` largest elements to the front, in any order. Each turn halves what is left on
 * average, so this takes a few passes where sorting takes many. */
static void move_largest(double *items, int64_t count, int64_t most)
{
    int64_t low = 0, high = count - 1;
    while (low < high && most > low && most <= high) {
        double pivot = items[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (items[i] > pivot)
                i++;
            while (items[j] < pivot)
                j--;
            if (i <= j) {
                double other = items[i];
                items[i++] = items[j];
                items[j--] = other;
            }
        }
        if (most <= j)
            high = j;
        else if (most >= i)
            low = i;
        else
            break;
    }
}

/* Root mean square and maximum of errors; with trim, without the largest ones. */
static void summarise(double *errors, int64_t count, bool trim, double *out_rms, double *out_most)
{
    int64_t skip = trim ? (int64_t)ceil(TRIMMED * (double)count) : 0;
    double sum = 0, most = 0;
    move_largest(errors, count, skip);
    for (int64_t i = skip; i < count; i++) {
        sum += errors[i] * errors[i];
        most = fmax(most, errors[i]);
    }
    *out_rms = count > skip ? sqrt(sum / (double)(count - skip)) : 0;
    *out_most = most;
}

/* The effective number of elements in a root mean square, if errors are proportional to the
 * elements. Equal elements count once, since they may be copies of one value (broadcast or
 * gathered), and small elements beside large ones hardly count. Sorts the sizes. */
static double count_weighty(double *sizes, int64_t count)
{
    double squares = 0, fourths = 0;
    qsort(sizes, (size_t)count, sizeof *sizes, descending);
    for (int64_t i = 0; i < count && sizes[0] > 0; i++) {
        double share = sizes[i] / sizes[0], square = share * share;
        if (i > 0 && sizes[i] == sizes[i - 1])
            continue;
        squares += square;
        fourths += square * square;
    }
    return fourths > 0 ? squares * squares / fourths : (double)count;
}

/* As count_weighty, up to WEIGHTY; for very many elements a sample is mostly enough. */
static double enough_weighty(double *sizes, int64_t count)
{
    double some[8 * WEIGHTY];
    int64_t most = sizeof some / sizeof some[0];
    if (count > most)
        for (int64_t i = 0; i < most; i++)
            some[i] = sizes[i * (count / most)];
    if (count > most && count_weighty(some, most) >= WEIGHTY)
        return WEIGHTY;
    return count_weighty(sizes, count);
}

/* The index of an output's first element in the arrays of all outputs, its count, shape and
 * dtype. */
static int64_t output_place(const struct verification *v, uint32_t output, int64_t *out_count,
                            int64_t *out_shape, enum dtype *out_dtype, size_t *out_byte)
{
    const struct graph *graph = &v->contents->graph;
    int64_t first = 0, count = 0;
    size_t byte = 0;
    for (uint32_t o = 0; o <= output; o++) {
        const struct node *node = graph_node(graph, graph->outputs.items[o].value);
        first += count;
        byte += (size_t)count * (o > 0 ? dtype_bytes(*out_dtype) : 0);
        count = 1;
        for (uint32_t i = 0; i < node->rank; i++) {
            int64_t dim = 0;
            dim_eval(&graph->dims, node->shape[i], v->whole.dims, &dim);
            out_shape[i] = dim;
            count *= dim;
        }
        *out_dtype = (enum dtype)node->dtype;
    }
    *out_count = count;
    *out_byte = byte;
    return first;
}

bool whole_quality(const struct verification *v, uint32_t target, uint32_t output,
                   double *out_quality, double *out_limit, double *out_excess)
{
    const struct graph *graph = &v->contents->graph;
    int64_t count, used = 0;
    enum dtype dtype = DTYPE_NONE;
    size_t byte;
    int64_t shape[LIMIT_RANK], points[OUTPUT_DRAWN];
    int64_t first = output_place(v, output, &count, shape, &dtype, &byte);
    if (!dtype_is_float(dtype) || dtype == DTYPE_F64 || count == 0)
        return false; /* for f64 the reference's own errors are as large */
    bool drawn = v->result.is_drawn;
    if (drawn) {
        count = v->result.drawn[output];
        draw_points(shape, graph_node(graph, graph->outputs.items[output].value)->rank, NULL,
                    output + 1, OUTPUT_DRAWN, points);
    }
    bool trim = count >= TRIMMED_FROM && output_needs(graph, output, jumps);
    double *ours = malloc((size_t)count * sizeof *ours),
           *plain = malloc((size_t)count * sizeof *plain),
           *sizes = malloc((size_t)count * sizeof *sizes);
    double size = 0, largest = 0;
    for (int64_t i = 0; ours && plain && sizes && i < count; i++) {
        double right = v->result.reference[first + i], other = v->result.plain[first + i];
        double mine = element(dtype, v->targets[target][0].outputs + byte, drawn ? points[i] : i);
        if (!isfinite(right) || !isfinite(other) || !isfinite(mine))
            continue; /* non-finite results are checked kernel by kernel only */
        sizes[used] = fabs(right);
        ours[used] = fabs(mine - right);
        plain[used++] = fabs(other - right);
        size += right * right;
        largest = fmax(largest, fabs(right));
    }
    double rms, most, plain_rms, plain_most, unit = dtype_unit_roundoff(dtype);
    if (used > 0) {
        summarise(ours, used, trim, &rms, &most);
        summarise(plain, used, trim, &plain_rms, &plain_most);
        /* The plain result may be right by luck; an error of about one rounding of each element is
         * acceptable. */
        double floor_rms = unit * sqrt(size / (double)used) + dtype_min_subnormal(dtype);
        *out_quality = rms / fmax(plain_rms, floor_rms / 2);
        *out_excess =
            trim ? 0 : most / fmax(plain_most, unit * largest + dtype_min_subnormal(dtype));
        /* With few elements either error is subject to chance, so the limit is higher. Counting
         * takes a sort, so it is only done where it may matter. */
        bool worse = *out_quality > 1 || *out_excess > 1;
        double weighty = worse ? enough_weighty(sizes, used) : (double)used;
        *out_limit = weighty >= WEIGHTY ? 1 : 1 + 30 / weighty;
    }
    free(ours);
    free(plain);
    free(sizes);
    return used > 0;
}
