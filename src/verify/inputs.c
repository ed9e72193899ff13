/* Random elements as a function of (seed, index): one key for choices and integers, a second one
 * for normals. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "verify/sample.h"
#include "verify/walk.h"

static void store_float(enum dtype dtype, void *data, int64_t at, double value)
{
    if (dtype == DTYPE_F64)
        ((double *)data)[at] = value;
    else if (dtype == DTYPE_F32)
        ((float *)data)[at] = (float)value;
    else
        ((uint16_t *)data)[at] =
            dtype == DTYPE_F16 ? f16_from_double(value) : bf16_from_double(value);
}

static void store_int(enum dtype dtype, void *data, int64_t at, int64_t value)
{
    switch (dtype_bytes(dtype)) {
    case 8: ((int64_t *)data)[at] = value; break;
    case 4: ((int32_t *)data)[at] = (int32_t)value; break;
    case 2: ((int16_t *)data)[at] = (int16_t)value; break;
    default: ((uint8_t *)data)[at] = (uint8_t)value; break;
    }
}

/* Extremes of a dtype and values that arithmetic treats specially, in turn by `kind`. */
static double special_value(enum dtype dtype, uint32_t random, uint32_t kind, bool finite)
{
    double sign = (random & 1) != 0 ? -1.0 : 1.0;
    uint32_t some = random >> 8 & 15;
    switch (kind % (finite ? 5 : 8)) {
    case 0: return sign * 0.0;
    case 1: return sign * dtype_min_subnormal(dtype) * (1 + some);
    case 2: return sign * dtype_min_normal(dtype) * (1 + some);
    case 3: return sign * (64 + (random >> 8 & 1023));
    case 4: return sign * (1 + some);
    case 5: return sign * (double)INFINITY;
    case 6: return (double)NAN;
    default: return sign * dtype_max(dtype);
    }
}

/* Where special values are put: in every fourth block of elements; in large tensors in about two of
 * a thousand elements, the first of a block always. A sum with a special term says little about its
 * other terms, so most sums must have none. */
struct specials {
    int64_t block;
    uint64_t first, every;
    uint32_t shift; /* one element in 2^(32 - shift) */
    uint32_t count; /* so far */
};

static struct specials specials_begin(int64_t count, uint64_t key)
{
    int64_t block = count / 16;
    return (struct specials){.block = block < 4      ? 4
                                      : block > 1024 ? 1024
                                                     : block,
                             .first = key >> 32,
                             .every = count > 4096 ? (uint64_t)(count / 1024 + 1) / 2 + 1 : 4,
                             .shift = count > 4096 ? 24 : 30,
                             .count = (uint32_t)(key >> 40)};
}

static bool is_special(const struct specials *s, uint32_t random, int64_t index)
{
    uint64_t block = (uint64_t)(index / s->block) + s->first;
    return block % s->every == 0 && (index % s->block == 0 || random >> s->shift == 0);
}

/* Approximately standard normal, within ±3.5: the sum of four uniform 16-bit numbers. */
static double bell(uint64_t key, int64_t i)
{
    uint32_t a = rng_u32(key, 2 * (uint64_t)i), b = rng_u32(key, 2 * (uint64_t)i + 1);
    int32_t sum = (int32_t)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 131070;
    /* √3 / 2^16 scales to variance 1; low bits are added. */
    return (double)sum * 2.6428e-5 + 1e-9 * (double)(a >> 12);
}

/* Magnitudes are uniform in their logarithm; those of f16 are within its normal range. */
static double wide_value(enum dtype dtype, uint32_t random)
{
    double least = dtype == DTYPE_F16 ? -14 : -30, most = dtype == DTYPE_F16 ? 15 : 30;
    double share = (double)(random >> 2) * 0x1p-30;
    double power = random & 1 ? -4 + 12 * share : least + (most - least) * share;
    return random & 2 ? exp2(power) : -exp2(power);
}

static double float_value(enum dtype dtype, uint64_t key, uint64_t normal_key, int64_t i,
                          struct specials *specials, enum fill fill)
{
    static const double exact[] = {-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2};
    uint32_t random = rng_u32(key, (uint64_t)i);
    if (fill == FILL_EXACT || fill == FILL_SMALL)
        return exact[random >> 29] * (fill == FILL_SMALL ? 0x1p-10 : 1);
    if (fill == FILL_WIDE)
        return wide_value(dtype, random);
    if ((fill == FILL_SPECIAL || fill == FILL_FINITE) && is_special(specials, random, i))
        return special_value(dtype, random, specials->count++, fill == FILL_FINITE);
    return bell(normal_key, i);
}

/* The terms of a long conjunction only matter where most are true, those of a disjunction where
 * most are false. So pieces of the elements are mostly true, mostly false, or fair. */
#define BOOL_PIECE 97
static bool bool_value(uint64_t key, uint32_t random, int64_t i, enum fill fill)
{
    uint32_t kind = fill == FILL_NORMAL ? 0 : rng_u32(~key, (uint64_t)(i / BOOL_PIECE)) % 3;
    return kind == 0 ? random >> 31 : (random >> 25 == 0) == (kind == 1);
}

/* Mostly small, some of them negative (large when unsigned); one in 64 has any size. FILL_EXACT has
 * mostly 1 and -1, so that each factor matters in a product of many. */
static int64_t int_value(uint32_t random, enum fill fill)
{
    static const int64_t exact[] = {1, -1, 1, 1, -1, 1, 3, 2};
    if (fill == FILL_EXACT)
        return exact[random >> 29];
    if ((random >> 4 & 63) == 63)
        return (int64_t)((uint64_t)random * 0x9e3779b97f4a7c15u);
    return (random & 15) == 0 ? -(int64_t)(random >> 29) - 1 : (int64_t)(random >> 29);
}

/* Indices over the whole extent, with its ends more often. One in eight is negative (-1 - at), just
 * beyond the end, or beyond 32 bits. The kinds take turns, so that few elements meet all. */
static int64_t index_value(uint32_t random, uint64_t turn, int64_t extent)
{
    int64_t at = (int64_t)((uint64_t)random % (uint64_t)extent);
    switch (turn % 16) {
    case 0: return -1 - at;
    case 1: return turn & 16 ? at + ((int64_t)1 << 32) : extent + (int64_t)(random & 3);
    case 2: return extent - 1;
    case 3: return 0;
    default: return at;
    }
}

static void draw(enum dtype dtype, int64_t count, uint64_t seed, enum fill fill,
                 int64_t index_extent, void *data)
{
    uint64_t key = rng_key(seed), normal_key = rng_key(~seed);
    struct specials specials = specials_begin(count, key);
    for (int64_t i = 0; i < count; i++) {
        if (dtype_is_float(dtype)) {
            store_float(dtype, data, i, float_value(dtype, key, normal_key, i, &specials, fill));
            continue;
        }
        uint32_t random = rng_u32(key, (uint64_t)i);
        if (dtype == DTYPE_BOOL)
            store_int(dtype, data, i, bool_value(key, random, i, fill));
        else
            store_int(dtype, data, i,
                      index_extent > 0 ? index_value(random, key + (uint64_t)i, index_extent)
                                       : int_value(random, fill));
    }
}

/* The period, a prime number of elements, after which large tensors repeat, so that no stride
 * divides it. In each period another element is replaced by a larger value, so that extremes may be
 * anywhere. */
#define PERIOD 32749

static void put_peak(enum dtype dtype, void *data, int64_t at, uint32_t random)
{
    double height = 3.5 + (double)(random >> 8 & 0xffff) * 0x1p-16;
    if (dtype_is_float(dtype))
        store_float(dtype, data, at, random & 1 ? height : -height);
    else if (dtype != DTYPE_BOOL)
        store_int(dtype, data, at, (int64_t)((uint64_t)random * 0x9e3779b97f4a7c15u));
}

void random_fill(enum dtype dtype, int64_t count, uint64_t seed, enum fill fill,
                 int64_t index_extent, void *data)
{
    int64_t drawn = count > 4 * PERIOD ? PERIOD : count;
    size_t bytes = (size_t)count * dtype_bytes(dtype), done = (size_t)drawn * dtype_bytes(dtype);
    uint64_t key = rng_key(seed ^ PERIOD);
    draw(dtype, drawn, seed, fill, index_extent, data);
    for (size_t period = done; done < bytes; done += period)
        memcpy((char *)data + done, data, bytes - done < period ? bytes - done : period);
    for (int64_t first = 0;
         drawn < count && fill == FILL_NORMAL && index_extent == 0 && first < count - PERIOD;
         first += PERIOD) {
        uint32_t random = rng_u32(key, (uint64_t)first);
        put_peak(dtype, data, first + random % PERIOD, random * 0x9e3779b1u);
    }
}

#define PIECE 32
#define FEW_ROWS 8
#define NEAR_END 16

void special_rows(enum dtype dtype, int64_t count, int64_t row, uint64_t seed, void *data)
{
    uint64_t key = rng_key(seed);
    if (!dtype_is_float(dtype) || count == 0)
        return;
    if (row < 1 || count / row < FEW_ROWS)
        row = PIECE;
    for (int64_t r = 0, start = 0; start < count; r++, start += row) {
        int64_t size = count - start < row ? count - start : row;
        uint32_t random = rng_u32(key, (uint64_t)r), some = random >> 4;
        int64_t tail = size < NEAR_END ? size : NEAR_END;
        int64_t at = random & 8 ? size - 1 - some % tail : (int64_t)(some % (uint64_t)size);
        switch (random & 7) {
        case 0:
        case 1:
        case 2: break;
        case 3:
        case 4:
        case 5: store_float(dtype, data, start + at, some & 1 ? (double)NAN : -(double)NAN); break;
        default:
            for (int64_t i = 0; i < size; i++) {
                uint32_t kind = rng_u32(~key, (uint64_t)(start + i));
                bool nan = (random & 7) == 7 && random & 8;
                if ((random & 7) == 7 || (kind & 7) == 0)
                    store_float(dtype, data, start + i,
                                nan ? (double)NAN
                                    : special_value(dtype, kind >> 8, kind >> 4 & 7, false));
            }
        }
    }
    store_float(dtype, data, count - 1, (double)NAN);
}

#define PEAKS 64
#define PEAKS_DENSE 16 /* at most one in so many elements */

void peaks_fill(enum dtype dtype, int64_t count, const struct peaks *peaks, uint64_t seed,
                void *data)
{
    uint64_t key = rng_key(seed), normal_key = rng_key(~seed);
    uint64_t spacing = (uint64_t)(peaks->terms / PEAKS);
    spacing = spacing < PEAKS_DENSE ? PEAKS_DENSE : spacing;
    for (int64_t i = 0; i < count; i++) {
        int64_t place = peaks->row > 0 ? i % peaks->row : i;
        bool high = rng_u32(key, (uint64_t)i) % spacing == 0 || place == 0 ||
                    (peaks->row > 0 && place == peaks->row - 1);
        store_float(dtype, data, i, (high ? peaks->high : peaks->low) + bell(normal_key, i) / 8);
    }
}

/* Prims whose result is still an index if an operand is one, perhaps moved by a little. */
static bool carries_index(enum prim prim)
{
    switch (prim) {
    case PRIM_RESHAPE:
    case PRIM_TRANSPOSE:
    case PRIM_BROADCAST:
    case PRIM_SLICE:
    case PRIM_REVERSE:
    case PRIM_PAD:
    case PRIM_CONCAT:
    case PRIM_COPY:
    case PRIM_CAST:
    case PRIM_SELECT:
    case PRIM_ADD:
    case PRIM_SUB:
    case PRIM_MIN:
    case PRIM_MAX: return true;
    default: return false;
    }
}

/* The size of the dim that operand 1 of a node indexes; 0: the node has no index operand. */
static int64_t indexed_dim(const struct graph *graph, const struct node *node, const int64_t *dims)
{
    int64_t extent = 0;
    bool indexes =
        node->prim == PRIM_TAKE || node->prim == PRIM_GATHER || node->prim == PRIM_SCATTER;
    if (!indexes)
        return 0;
    const struct node *data = graph_node(graph, node->operands[0]);
    return dim_eval(&graph->dims, data->shape[node->attrs->axis], dims, &extent) ? extent : 0;
}

int64_t *index_extents(const struct graph *graph, const int64_t *dims, struct arena *arena)
{
    int64_t *reach = ARENA_ARRAY(arena, int64_t, graph->nodes.count);
    int64_t *extents = ARENA_ARRAY(arena, int64_t, graph->inputs.count + 1);
    for (value_id v = graph->nodes.count; v-- > 1;) {
        const struct node *node = graph_node(graph, v);
        int64_t extent = indexed_dim(graph, node, dims);
        if (extent > 0 && extent > reach[node->operands[1]])
            reach[node->operands[1]] = extent;
        for (uint32_t i = 0;
             reach[v] > 0 && carries_index((enum prim)node->prim) && i < node->operand_count; i++)
            if (reach[node->operands[i]] < reach[v])
                reach[node->operands[i]] = reach[v];
    }
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        extents[i] = reach[graph->inputs.items[i]];
    return extents;
}

bool may_skip_keys(const struct graph *g, struct arena *arena)
{
    bool *index = ARENA_ARRAY(arena, bool, g->nodes.count), compares = false, weighs = false;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        index[v] = n->prim != PRIM_INPUT && n->prim != PRIM_PARAM;
        for (uint32_t i = 0; i < n->operand_count; i++)
            index[v] &= index[n->operands[i]];
        compares |= index[v] && (n->prim == PRIM_LE || n->prim == PRIM_LT);
        weighs |= n->prim == PRIM_EXP;
    }
    return compares && weighs;
}
