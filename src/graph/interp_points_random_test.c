/* Random graphs of all prims; each value is computed at points and compared with the result of
 * interp_run.
 *
 * What must hold of an element, where bounds are finite:
 * 1. Without a sum on the way the cell has the same bits (a NaN any), and the bound is the same.
 * 2. A sum may add its terms in another order. In float64 that moves a value by less than the bound
 *    / 64, which counts roundings of f32 or less; where an f64 takes part, by less than the bound.
 * 3. A bound is at most 1 % larger than interp_run's: sums of bounds have an order, too. It may be
 *    smaller only behind a float sum, whose terms are sometimes exact while others of the tensor
 * are not; that is rare. Native results, rounded after each sum or after each term, lie within it.
 *    What padding does to infinities has nothing to do with terms that are exact.
 * 4. With infinities among the inputs, maxima may be found one by one here and side by side there,
 *    with bounds that differ; 3 is then only that native results lie within them. */
#include <string.h>

#include "graph/interp_points.h"
#include "graph/interp_test_util.h"

#define VALUES_MOST 40
#define SOURCES_MOST 64
#define ELEMENTS_MOST 3000

struct program {
    struct bed *bed;
    struct graph graph;
    uint64_t key, next;
    bool special;
    value_id values[VALUES_MOST];
    uint32_t count;
    int64_t dims[LIMIT_NAMED_DIMS];
    dim_id n;
};

/* Counts over all cases. */
struct tally {
    int64_t by_prim[PRIM_COUNT], elements, determined, smaller;
};

static int64_t roll(struct program *p, int64_t least, int64_t most)
{
    return least + (int64_t)(rng_u32(p->key, p->next++) % (uint32_t)(most - least + 1));
}

static const struct node *node_of(struct program *p, value_id id)
{
    return graph_node(&p->graph, id);
}

static int64_t size_of(struct program *p, dim_id dim)
{
    int64_t size;
    assert_true(dim_eval(&p->graph.dims, dim, p->dims, &size));
    return size;
}

static dim_id constant(struct program *p, int64_t size)
{
    return dim_const(&p->graph.dims, size);
}

static dim_id roll_dim(struct program *p)
{
    static const int64_t sizes[] = {1, 1, 2, 3, 5, 9, 17, 0};
    int64_t side = roll(p, 0, 31);
    return side >= 26 ? p->n : constant(p, sizes[side == 0 ? 7 : side % 7]);
}

static enum dtype roll_dtype(struct program *p)
{
    return roll(p, 0, 2) > 0 ? DTYPE_F32 : (enum dtype)roll(p, 1, DTYPE_COUNT - 1);
}

static value_id source(struct program *p, enum dtype dtype, const dim_id *shape, uint32_t rank)
{
    char name[16];
    snprintf(name, sizeof name, "x%u", p->graph.inputs.count + p->graph.params.count);
    value_id id = roll(p, 0, 3) == 0
                      ? graph_param(&p->graph, name, dtype, shape, rank, &p->bed->err)
                      : graph_input(&p->graph, name, dtype, shape, rank, &p->bed->err);
    assert_true(id != VALUE_NONE);
    return id;
}

static value_id roll_source(struct program *p, enum dtype dtype)
{
    dim_id shape[4];
    uint32_t rank = (uint32_t)roll(p, 0, 4);
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = roll_dim(p);
    return source(p, dtype, shape, rank);
}

static value_id roll_value(struct program *p)
{
    int64_t a = roll(p, 0, p->count - 1), b = roll(p, 0, p->count - 1);
    return p->values[a > b ? a : b];
}

/* Another value of this dtype and shape. */
static value_id alike(struct program *p, value_id x, enum dtype dtype)
{
    const struct node *like = node_of(p, x);
    for (int tries = 0; tries < 12; tries++) {
        value_id y = roll_value(p);
        const struct node *node = node_of(p, y);
        if (y != x && node->dtype == dtype && node->rank == like->rank &&
            memcmp(node->shape, like->shape, like->rank * sizeof *like->shape) == 0)
            return y;
    }
    return source(p, dtype, like->shape, like->rank);
}

static value_id add(struct program *p, enum prim prim, const value_id *in, uint32_t count,
                    const struct attrs *attrs)
{
    struct error err;
    return graph_add(&p->graph, prim, in, count, attrs, &err);
}

static struct window roll_window(struct program *p)
{
    return (struct window){.size = roll(p, 1, 4),
                           .stride = roll(p, 1, 3),
                           .low = roll(p, 0, 3),
                           .high = roll(p, 0, 3),
                           .dilation = roll(p, 1, 2),
                           .base_dilation = roll(p, 0, 3) == 0 ? 2 : 1};
}

static value_id make_generator(struct program *p, enum prim prim)
{
    static const int64_t data[6] = {3, -1, 4, 1, -5, 9};
    struct attrs attrs = {.dtype = (uint8_t)roll_dtype(p), .value = 1.5, .integer = 3};
    value_id seed = VALUE_NONE;
    attrs.rank = prim == PRIM_CONST ? 0 : prim == PRIM_SIZE ? 1 : (uint8_t)roll(p, 1, 3);
    for (uint32_t d = 0; d < attrs.rank; d++)
        attrs.shape[d] = roll_dim(p);
    attrs.axis = prim == PRIM_IOTA ? (int32_t)roll(p, 0, attrs.rank - 1) : 0;
    if (prim == PRIM_LITERAL) {
        attrs.dtype = DTYPE_I64;
        attrs.rank = 2, attrs.shape[0] = constant(p, 2), attrs.shape[1] = constant(p, 3);
        attrs.data = data, attrs.data_bytes = sizeof data;
    }
    if (prim == PRIM_RANDOM)
        seed = add(p, PRIM_CONST, NULL, 0, &(struct attrs){.dtype = DTYPE_I64, .integer = 7});
    return add(p, prim, &seed, prim == PRIM_RANDOM ? 1 : 0, &attrs);
}

static value_id make_contract(struct program *p, value_id x)
{
    const struct node *a = node_of(p, x);
    struct attrs attrs = {.batch = (uint8_t)roll(p, 0, a->rank)};
    attrs.contract = (uint8_t)roll(p, 0, a->rank - attrs.batch);
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    for (uint32_t d = 0; d < attrs.batch; d++)
        shape[rank++] = a->shape[d];
    for (int64_t free = roll(p, 0, 2); free-- > 0;)
        shape[rank++] = roll_dim(p);
    for (uint32_t d = a->rank - attrs.contract; d < a->rank; d++)
        shape[rank++] = a->shape[d];
    value_id in[2] = {x, source(p, (enum dtype)a->dtype, shape, rank)};
    return add(p, PRIM_CONTRACT, in, 2, &attrs);
}

static value_id make_conv(struct program *p, enum dtype dtype)
{
    int64_t groups = roll(p, 1, 2), channels = roll(p, 1, 3);
    struct attrs attrs = {.window_count = (uint8_t)roll(p, 1, 2), .groups = groups};
    dim_id x[4] = {roll(p, 0, 1) == 0 ? p->n : constant(p, 2), constant(p, groups * channels)};
    dim_id w[4] = {constant(p, groups * roll(p, 1, 3)), constant(p, channels)};
    for (uint32_t d = 0; d < attrs.window_count; d++) {
        attrs.window[d] = roll_window(p);
        x[2 + d] = constant(p, roll(p, 5, 9));
        w[2 + d] = constant(p, attrs.window[d].size);
    }
    value_id in[2] = {source(p, dtype, x, 2u + attrs.window_count),
                      source(p, dtype, w, 2u + attrs.window_count)};
    if (dtype_is_float(dtype) && roll(p, 0, 1) == 0)
        in[0] = add(p, PRIM_SIN, in, 1, NULL);
    return add(p, PRIM_CONV, in, 2, &attrs);
}

static value_id make_lookup(struct program *p, enum prim prim, value_id data)
{
    const struct node *x = node_of(p, data);
    value_id in[2] = {data, VALUE_NONE};
    dim_id shape[LIMIT_RANK];
    if (x->rank == 0)
        return VALUE_NONE;
    struct attrs attrs = {.axis = (int32_t)roll(p, 0, x->rank - 1)};
    for (int tries = 0; tries < 8 && prim == PRIM_TAKE; tries++) {
        in[1] = roll_value(p);
        if (dtype_is_int((enum dtype)node_of(p, in[1])->dtype) && x->rank < 4)
            return add(p, prim, in, 2, &attrs);
    }
    memcpy(shape, x->shape, x->rank * sizeof *shape);
    shape[attrs.axis] = roll_dim(p);
    in[1] = source(p, DTYPE_I64, shape, x->rank);
    if (roll(p, 0, 2) == 0) { /* 2^i, inexact: an index whose error may reach another one */
        value_id inexact = add(p, PRIM_CAST, &in[1], 1, &(struct attrs){.dtype = DTYPE_F32});
        inexact = add(p, PRIM_EXP2, &inexact, 1, NULL);
        in[1] = add(p, PRIM_CAST, &inexact, 1, &(struct attrs){.dtype = DTYPE_I32});
    }
    return add(p, prim, in, 2, &attrs);
}

static value_id make_reshape(struct program *p, value_id x)
{
    const struct node *node = node_of(p, x);
    struct attrs attrs = {0};
    int64_t merged = node->rank > 1 ? roll(p, 0, node->rank - 2) : -1, one = roll(p, 0, 4);
    for (uint32_t d = 0; d < node->rank; d++) {
        if (d == one)
            attrs.shape[attrs.rank++] = constant(p, 1);
        if (d == merged + 1 && merged >= 0)
            attrs.shape[attrs.rank - 1] =
                dim_mul(&p->graph.dims, attrs.shape[attrs.rank - 1], node->shape[d]);
        else
            attrs.shape[attrs.rank++] = node->shape[d];
    }
    return add(p, PRIM_RESHAPE, &x, 1, &attrs);
}

/* Random shapes and offsets for a move of x. */
static struct attrs roll_move(struct program *p, enum prim prim, const struct node *x)
{
    struct attrs attrs = {.rank = x->rank};
    for (uint32_t d = 0; d < x->rank; d++) {
        int64_t size = size_of(p, x->shape[d]);
        bool whole = size == 0 || x->shape[d] == p->n;
        int64_t start = whole ? 0 : roll(p, 0, size - 1);
        attrs.step[d] = whole ? 1 : roll(p, 1, 3);
        attrs.start[d] = constant(p, start);
        int64_t most = (size - start + attrs.step[d] - 1) / attrs.step[d];
        attrs.shape[d] = whole ? x->shape[d] : constant(p, roll(p, 0, most));
        attrs.low[d] = constant(p, roll(p, 0, 2));
        attrs.high[d] = constant(p, roll(p, 0, 2));
        attrs.axes[d] = (uint8_t)d;
    }
    attrs.axis_count = x->rank;
    for (uint32_t d = 1; prim == PRIM_TRANSPOSE && d < x->rank; d++) {
        int64_t other = roll(p, 0, d);
        uint8_t axis = attrs.axes[d];
        attrs.axes[d] = attrs.axes[other];
        attrs.axes[other] = axis;
    }
    if (prim == PRIM_BROADCAST) {
        int64_t new_dim = roll(p, 0, x->rank);
        attrs.rank++;
        for (uint32_t d = 0, to = 0; d < attrs.rank; d++) {
            bool is_new = d == new_dim, one = !is_new && size_of(p, x->shape[to]) == 1;
            attrs.shape[d] = is_new || one ? roll_dim(p) : x->shape[to];
            attrs.axes[to] = (uint8_t)d;
            to += !is_new;
        }
    }
    return attrs;
}

static value_id make_move(struct program *p, enum prim prim, value_id x)
{
    const struct node *node = node_of(p, x);
    struct attrs attrs = roll_move(p, prim, node);
    value_id in[4] = {x};
    uint32_t count = 1;
    if (prim == PRIM_PAD)
        in[count++] = source(p, (enum dtype)node->dtype, NULL, 0);
    if (prim == PRIM_REVERSE && node->rank > 0)
        attrs.axis_count = 1, attrs.axes[0] = (uint8_t)roll(p, 0, node->rank - 1);
    if (prim == PRIM_CONCAT && node->rank > 0) {
        attrs.axis = (int32_t)roll(p, 0, node->rank - 1);
        for (int64_t more = roll(p, 0, 3); more-- > 0;)
            in[count++] = alike(p, x, (enum dtype)node_of(p, x)->dtype);
    }
    return add(p, prim, in, count, &attrs);
}

static value_id make_along(struct program *p, enum prim prim, value_id x)
{
    const struct node *node = node_of(p, x);
    struct attrs attrs = {.reverse = roll(p, 0, 1), .exclusive = roll(p, 0, 1)};
    if (node->rank == 0)
        return VALUE_NONE;
    attrs.axis = (int32_t)roll(p, 0, node->rank - 1);
    int64_t reduced = roll(p, 1, (1 << node->rank) - 1);
    for (uint8_t d = 0; d < node->rank; d++)
        if (reduced >> d & 1)
            attrs.axes[attrs.axis_count++] = d;
    attrs.window_count = (uint8_t)roll(p, 1, node->rank);
    for (uint32_t d = 0; d < attrs.window_count; d++)
        attrs.window[d] = roll_window(p);
    return add(p, prim, &x, 1, &attrs);
}

/* VALUE_NONE where no attributes fit. */
static value_id make(struct program *p, enum prim prim, value_id x)
{
    const struct node *node = node_of(p, x);
    enum dtype dtype = (enum dtype)node->dtype;
    struct attrs attrs = {.dtype = (uint8_t)roll_dtype(p)};
    value_id in[3] = {x};
    switch ((int)prim) {
    case PRIM_CONTRACT: return make_contract(p, x);
    case PRIM_CONV: return make_conv(p, dtype);
    case PRIM_TAKE:
    case PRIM_GATHER: return make_lookup(p, prim, x);
    case PRIM_RESHAPE: return make_reshape(p, x);
    case PRIM_SELECT:
        in[0] = alike(p, x, DTYPE_BOOL), in[1] = x, in[2] = alike(p, x, dtype);
        return add(p, prim, in, 3, NULL);
    }
    if (prim <= PRIM_RANDOM)
        return make_generator(p, prim);
    if (prim >= PRIM_ADD && prim <= PRIM_LE) {
        in[1] = alike(p, x, dtype);
        return add(p, prim, in, 2, NULL);
    }
    if (prim >= PRIM_TRANSPOSE && prim <= PRIM_REVERSE)
        return make_move(p, prim, x);
    bool along = (prim >= PRIM_REDUCE_SUM && prim <= PRIM_CUM_MAX) || prim == PRIM_WINDOW_SUM ||
                 prim == PRIM_WINDOW_MAX;
    return along ? make_along(p, prim, x) : add(p, prim, in, 1, &attrs);
}

static void grow(struct program *p, uint32_t values)
{
    struct dim_name name = {.name = "N", .min = 1, .max = 64, .multiple_of = 1, .typical = 4};
    uint32_t index;
    assert_true(dim_declare(&p->graph.dims, &name, &index, &p->bed->err));
    p->n = dim_named(&p->graph.dims, index);
    p->dims[index] = roll(p, 1, 7);
    p->values[p->count++] = roll_source(p, DTYPE_F32);
    p->values[p->count++] = roll_source(p, DTYPE_I64);
    while (p->count < values && p->graph.inputs.count + p->graph.params.count < SOURCES_MOST - 8) {
        int64_t row = roll(p, PRIM_CONST, PRIM_COUNT - 4); /* loops are not computed at points */
        enum prim prim = row < PRIM_ITER ? (enum prim)row : PRIM_COPY;
        if (roll(p, 0, 5) == 0)
            p->values[p->count++] = roll_source(p, roll_dtype(p));
        value_id id = prim == PRIM_SCATTER ? VALUE_NONE : make(p, prim, roll_value(p));
        int64_t count = 1;
        for (uint32_t d = 0; id != VALUE_NONE && d < node_of(p, id)->rank; d++)
            count *= size_of(p, node_of(p, id)->shape[d]);
        if (id != VALUE_NONE && count <= ELEMENTS_MOST && node_of(p, id)->rank <= 5)
            p->values[p->count++] = id;
    }
}

static struct interp_tensor tensor_for(struct program *p, value_id id)
{
    static const double specials[] = {INFINITY, -INFINITY, NAN, 0, -0.0, 3e38};
    const struct node *node = node_of(p, id);
    int64_t shape[LIMIT_RANK];
    for (uint32_t d = 0; d < node->rank; d++)
        shape[d] = size_of(p, node->shape[d]);
    enum dtype dtype = (enum dtype)node->dtype;
    struct interp_tensor t =
        random_of(p->bed, dtype, shape, node->rank, rng_u32(p->key, p->next++));
    for (int64_t i = 0; i < t.count; i++) {
        if (!dtype_is_float(dtype))
            t.cells[i].i = dtype_wrap(dtype, t.cells[i].i - (dtype == DTYPE_BOOL ? 2 : 1));
        else if (p->special && roll(p, 0, 20) == 0)
            t.cells[i].f = dtype_round(dtype, specials[roll(p, 0, 5)]);
    }
    return t;
}

/* Kinds of prims that a value depends on. */
struct kin {
    bool sums, maxima, wide;
    bool is_conv; /* of floats */
};

static void find_kin(struct program *p, struct kin *kin)
{
    for (value_id id = 1; id < p->graph.nodes.count; id++) {
        const struct node *node = node_of(p, id);
        int prim = node->prim;
        bool is_float = dtype_is_float((enum dtype)node->dtype);
        kin[id].wide = node->dtype == DTYPE_F64;
        kin[id].is_conv = is_float && prim == PRIM_CONV;
        kin[id].sums =
            is_float && (prim == PRIM_REDUCE_SUM || prim == PRIM_CUM_SUM || prim == PRIM_CONTRACT ||
                         prim == PRIM_CONV || prim == PRIM_WINDOW_SUM);
        kin[id].maxima = is_float && (prim == PRIM_REDUCE_MAX || prim == PRIM_REDUCE_MIN ||
                                      prim == PRIM_WINDOW_MAX);
        for (uint32_t i = 0; i < node->operand_count; i++) {
            const struct kin *operand = &kin[node->operands[i]];
            kin[id].sums |= operand->sums;
            kin[id].maxima |= operand->maxima;
            kin[id].wide |= operand->wide;
        }
    }
}

static double difference(enum dtype dtype, union cell a, union cell b)
{
    if (!dtype_is_float(dtype))
        return fabs(dtype_int_value(dtype, a.i) - dtype_int_value(dtype, b.i));
    if (isnan(a.f) || isnan(b.f))
        return isnan(a.f) && isnan(b.f) ? 0 : INFINITY;
    return a.f == b.f ? 0 : fabs(a.f - b.f);
}

static bool same_bits(enum dtype dtype, union cell a, union cell b)
{
    return a.i == b.i || (dtype_is_float(dtype) && isnan(a.f) && isnan(b.f));
}

/* One element: by points, from the whole result, and from native programs. */
struct element {
    enum dtype dtype;
    union cell cell, whole, native, plain;
    double bound, whole_bound;
};

static bool is_right(const struct element *e, const struct kin *kin, bool special)
{
    double moved = difference(e->dtype, e->cell, e->whole);
    if (!kin->sums && !(kin->maxima ? moved == 0 : same_bits(e->dtype, e->cell, e->whole)))
        return false;
    if (!(kin->maxima && special)) {
        if (!kin->sums && e->bound != e->whole_bound)
            return false;
        if (!(e->bound <= e->whole_bound * 1.01))
            return false;
    }
    if (!(e->bound < INFINITY))
        return true;
    if (kin->is_conv && !isfinite(e->cell.f) && !(e->whole_bound < INFINITY))
        return false;
    if (e->whole_bound < INFINITY && moved > e->whole_bound / (kin->wide ? 1 : 64))
        return false;
    return difference(e->dtype, e->cell, e->native) <= e->bound &&
           difference(e->dtype, e->cell, e->plain) <= e->bound;
}

static bool is_of_loops(enum prim prim)
{
    return prim == PRIM_ITER || prim == PRIM_STATE || prim == PRIM_LOOP;
}

static void check_value(struct program *p, value_id id, const struct kin *kin,
                        const struct interp_tensor whole[3], const struct points_source *sources,
                        struct tally *tally)
{
    int64_t points[600], count = whole[0].count > 0 ? roll(p, 1, 12) : 0;
    bool all = whole[0].count <= 600 && roll(p, 0, 2) == 0;
    union cell cells[600];
    double bounds[600];
    count = all ? whole[0].count : count;
    for (int64_t i = 0; i < count; i++)
        points[i] = all ? count - 1 - i : roll(p, 0, whole[0].count - 1);
    const struct points_request request = {p->dims, sources, id, points, count, 10000000};
    if (!interp_points(&p->graph, &(struct interp_options){.mode = INTERP_REFERENCE}, &request,
                       &p->bed->arena, (struct points_result){cells, bounds}, &p->bed->err))
        fail_msg("value %u: %s", id, p->bed->err.message);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = points[i];
        struct element e = {whole[0].dtype,         cells[i],           whole[0].cells[at],
                            whole[1].cells[at],     whole[2].cells[at], bounds[i],
                            bound_of(&whole[0], at)};
        if (!is_right(&e, kin, p->special))
            fail_msg("seed key %llx, value %u (%s %s), element %lld: %.17g ± %g, whole %.17g ± %g, "
                     "native %.9g, plain %.9g (integers %lld, %lld)",
                     (unsigned long long)p->key, id,
                     prim_info((enum prim)node_of(p, id)->prim)->name, dtype_name(e.dtype),
                     (long long)at, e.cell.f, e.bound, e.whole.f, e.whole_bound, e.native.f,
                     e.plain.f, (long long)e.cell.i, (long long)e.whole.i);
        tally->elements++;
        tally->determined += e.bound < INFINITY;
        tally->smaller += !p->special && e.bound < 0.99 * e.whole_bound;
    }
    tally->by_prim[node_of(p, id)->prim] += count;
}

static void check_program(struct bed *bed, uint64_t seed, bool special, struct tally *tally)
{
    static const enum interp_mode modes[3] = {INTERP_REFERENCE, INTERP_NATIVE, INTERP_PLAIN};
    struct interp_tensor tensors[SOURCES_MOST], out[3][VALUES_MOST];
    struct points_source sources[SOURCES_MOST];
    arena_release(&bed->arena);
    struct program *p = ARENA_NEW(&bed->arena, struct program);
    *p = (struct program){.bed = bed, .key = rng_key(seed), .special = special};
    graph_init(&p->graph, &bed->arena);
    grow(p, VALUES_MOST - 1);
    uint32_t inputs = p->graph.inputs.count, count = inputs + p->graph.params.count;
    for (uint32_t i = 0; i < count; i++) {
        value_id id = i < inputs ? p->graph.inputs.items[i] : p->graph.params.items[i - inputs];
        tensors[i] = tensor_for(p, id);
        void *data = arena_array(&bed->arena, (size_t)tensors[i].count, 8);
        interp_store(&tensors[i], data);
        sources[i].data = data;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        char name[8];
        snprintf(name, sizeof name, "y%u", i);
        assert_true(graph_output(&p->graph, name, p->values[i], &bed->err));
    }
    for (int m = 0; m < 3; m++)
        if (!interp_run(&p->graph, &(struct interp_options){.mode = modes[m]},
                        &(struct interp_arguments){p->dims, tensors, count}, &bed->arena, out[m],
                        &bed->err))
            fail_msg("seed %llu: %s", (unsigned long long)seed, bed->err.message);
    struct kin *kin = ARENA_ARRAY(&bed->arena, struct kin, p->graph.nodes.count);
    find_kin(p, kin);
    for (uint32_t i = 0; i < p->count; i++) {
        struct interp_tensor whole[3] = {out[0][i], out[1][i], out[2][i]};
        check_value(p, p->values[i], &kin[p->values[i]], whole, sources, tally);
    }
}

static void test_random_graphs(void **state)
{
    struct tally tally = {0};
    for (uint64_t seed = 0; seed < 1000; seed++)
        check_program(*state, seed, seed % 4 == 3, &tally);
    for (int prim = PRIM_CONST; prim < PRIM_COUNT; prim++)
        if (prim != PRIM_SCATTER && !is_of_loops(prim) && tally.by_prim[prim] < 50)
            fail_msg("%s: %lld elements were seen", prim_info((enum prim)prim)->name,
                     (long long)tally.by_prim[prim]);
    print_message("%lld elements, %lld determined, %lld with smaller bounds\n",
                  (long long)tally.elements, (long long)tally.determined, (long long)tally.smaller);
    assert_true(tally.determined > tally.elements / 2);
    assert_true(tally.smaller < tally.elements / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_graphs, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
