/* Random programs of all prims but those of loops. */
#include "graph/prims_test_util.h"

#include <string.h>

int64_t program_roll(struct program *p, int64_t least, int64_t most)
{
    return least + (int64_t)(rng_u32(p->key, p->next++) % (uint32_t)(most - least + 1));
}

const struct node *program_node(struct program *p, value_id id)
{
    return graph_node(&p->graph, id);
}

int64_t program_size(struct program *p, dim_id dim)
{
    int64_t size;
    assert_true(dim_eval(&p->graph.dims, dim, p->dims, &size));
    return size;
}

static dim_id constant(struct program *p, int64_t size)
{
    return dim_const(&p->graph.dims, size);
}

static enum dtype program_float(const struct program *p, enum dtype dtype)
{
    return p->floats != DTYPE_NONE ? p->floats : dtype;
}

static dim_id roll_dim(struct program *p)
{
    static const int64_t sizes[] = {1, 1, 2, 3, 5, 9, 17, 0};
    int64_t side = program_roll(p, 0, 31);
    return side >= 26 ? p->n : constant(p, sizes[side == 0 ? 7 : side % 7]);
}

static enum dtype roll_dtype(struct program *p)
{
    enum dtype dtype =
        program_roll(p, 0, 2) > 0 ? DTYPE_F32 : (enum dtype)program_roll(p, 1, DTYPE_COUNT - 1);
    return dtype_is_float(dtype) ? program_float(p, dtype) : dtype;
}

static value_id source(struct program *p, enum dtype dtype, const dim_id *shape, uint32_t rank)
{
    char name[16];
    snprintf(name, sizeof name, "x%u", p->graph.inputs.count + p->graph.params.count);
    value_id id = program_roll(p, 0, 3) == 0
                      ? graph_param(&p->graph, name, dtype, shape, rank, &p->bed->err)
                      : graph_input(&p->graph, name, dtype, shape, rank, &p->bed->err);
    assert_true(id != VALUE_NONE);
    return id;
}

value_id program_roll_source(struct program *p, enum dtype dtype)
{
    dim_id shape[4];
    uint32_t rank = (uint32_t)program_roll(p, 0, 4);
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = roll_dim(p);
    return source(p, dtype, shape, rank);
}

static value_id roll_value(struct program *p)
{
    int64_t a = program_roll(p, 0, p->count - 1), b = program_roll(p, 0, p->count - 1);
    return p->values[a > b ? a : b];
}

/* Another value of this dtype and shape. */
static value_id alike(struct program *p, value_id x, enum dtype dtype)
{
    const struct node *like = program_node(p, x);
    for (int tries = 0; tries < 12; tries++) {
        value_id y = roll_value(p);
        const struct node *node = program_node(p, y);
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
    return (struct window){.size = program_roll(p, 1, 4),
                           .stride = program_roll(p, 1, 3),
                           .low = program_roll(p, 0, 3),
                           .high = program_roll(p, 0, 3),
                           .dilation = program_roll(p, 1, 2),
                           .base_dilation = program_roll(p, 0, 3) == 0 ? 2 : 1};
}

static value_id make_generator(struct program *p, enum prim prim)
{
    static const int64_t data[6] = {3, -1, 4, 1, -5, 9};
    struct attrs attrs = {.dtype = (uint8_t)roll_dtype(p), .value = 1.5, .integer = 3};
    value_id seed = VALUE_NONE;
    attrs.rank = prim == PRIM_CONST ? 0 : prim == PRIM_SIZE ? 1 : (uint8_t)program_roll(p, 1, 3);
    for (uint32_t d = 0; d < attrs.rank; d++)
        attrs.shape[d] = roll_dim(p);
    attrs.axis = prim == PRIM_IOTA ? (int32_t)program_roll(p, 0, attrs.rank - 1) : 0;
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
    const struct node *a = program_node(p, x);
    struct attrs attrs = {.batch = (uint8_t)program_roll(p, 0, a->rank)};
    attrs.contract = (uint8_t)program_roll(p, 0, a->rank - attrs.batch);
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    for (uint32_t d = 0; d < attrs.batch; d++)
        shape[rank++] = a->shape[d];
    for (int64_t free = program_roll(p, 0, 2); free-- > 0;)
        shape[rank++] = roll_dim(p);
    for (uint32_t d = a->rank - attrs.contract; d < a->rank; d++)
        shape[rank++] = a->shape[d];
    value_id in[2] = {x, source(p, (enum dtype)a->dtype, shape, rank)};
    return add(p, PRIM_CONTRACT, in, 2, &attrs);
}

static value_id make_conv(struct program *p, enum dtype dtype)
{
    int64_t groups = program_roll(p, 1, 2), channels = program_roll(p, 1, 3);
    struct attrs attrs = {.window_count = (uint8_t)program_roll(p, 1, 2), .groups = groups};
    dim_id x[4] = {program_roll(p, 0, 1) == 0 ? p->n : constant(p, 2),
                   constant(p, groups * channels)};
    dim_id w[4] = {constant(p, groups * program_roll(p, 1, 3)), constant(p, channels)};
    for (uint32_t d = 0; d < attrs.window_count; d++) {
        attrs.window[d] = roll_window(p);
        x[2 + d] = constant(p, program_roll(p, 5, 9));
        w[2 + d] = constant(p, attrs.window[d].size);
    }
    value_id in[2] = {source(p, dtype, x, 2u + attrs.window_count),
                      source(p, dtype, w, 2u + attrs.window_count)};
    if (dtype_is_float(dtype) && program_roll(p, 0, 1) == 0)
        in[0] = add(p, PRIM_SIN, in, 1, NULL);
    return add(p, PRIM_CONV, in, 2, &attrs);
}

static value_id make_lookup(struct program *p, enum prim prim, value_id data)
{
    const struct node *x = program_node(p, data);
    value_id in[2] = {data, VALUE_NONE};
    dim_id shape[LIMIT_RANK];
    if (x->rank == 0)
        return VALUE_NONE;
    struct attrs attrs = {.axis = (int32_t)program_roll(p, 0, x->rank - 1)};
    for (int tries = 0; tries < 8 && prim == PRIM_TAKE; tries++) {
        in[1] = roll_value(p);
        if (dtype_is_int((enum dtype)program_node(p, in[1])->dtype) && x->rank < 4)
            return add(p, prim, in, 2, &attrs);
    }
    memcpy(shape, x->shape, x->rank * sizeof *shape);
    shape[attrs.axis] = roll_dim(p);
    in[1] = source(p, DTYPE_I64, shape, x->rank);
    if (program_roll(p, 0, 2) == 0) { /* 2^i, inexact: an index whose error may reach another one */
        value_id inexact = add(p, PRIM_CAST, &in[1], 1,
                               &(struct attrs){.dtype = (uint8_t)program_float(p, DTYPE_F32)});
        inexact = add(p, PRIM_EXP2, &inexact, 1, NULL);
        in[1] = add(p, PRIM_CAST, &inexact, 1, &(struct attrs){.dtype = DTYPE_I32});
    }
    return add(p, prim, in, 2, &attrs);
}

static value_id make_reshape(struct program *p, value_id x)
{
    const struct node *node = program_node(p, x);
    struct attrs attrs = {0};
    int64_t merged = node->rank > 1 ? program_roll(p, 0, node->rank - 2) : -1,
            one = program_roll(p, 0, 4);
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
        int64_t size = program_size(p, x->shape[d]);
        bool whole = size == 0 || x->shape[d] == p->n;
        int64_t start = whole ? 0 : program_roll(p, 0, size - 1);
        attrs.step[d] = whole ? 1 : program_roll(p, 1, 3);
        attrs.start[d] = constant(p, start);
        int64_t most = (size - start + attrs.step[d] - 1) / attrs.step[d];
        attrs.shape[d] = whole ? x->shape[d] : constant(p, program_roll(p, 0, most));
        attrs.low[d] = constant(p, program_roll(p, 0, 2));
        attrs.high[d] = constant(p, program_roll(p, 0, 2));
        attrs.axes[d] = (uint8_t)d;
    }
    attrs.axis_count = x->rank;
    for (uint32_t d = 1; prim == PRIM_TRANSPOSE && d < x->rank; d++) {
        int64_t other = program_roll(p, 0, d);
        uint8_t axis = attrs.axes[d];
        attrs.axes[d] = attrs.axes[other];
        attrs.axes[other] = axis;
    }
    if (prim == PRIM_BROADCAST) {
        int64_t new_dim = program_roll(p, 0, x->rank);
        attrs.rank++;
        for (uint32_t d = 0, to = 0; d < attrs.rank; d++) {
            bool is_new = d == new_dim, one = !is_new && program_size(p, x->shape[to]) == 1;
            attrs.shape[d] = is_new || one ? roll_dim(p) : x->shape[to];
            attrs.axes[to] = (uint8_t)d;
            to += !is_new;
        }
    }
    return attrs;
}

static value_id make_move(struct program *p, enum prim prim, value_id x)
{
    const struct node *node = program_node(p, x);
    struct attrs attrs = roll_move(p, prim, node);
    value_id in[4] = {x};
    uint32_t count = 1;
    if (prim == PRIM_PAD)
        in[count++] = source(p, (enum dtype)node->dtype, NULL, 0);
    if (prim == PRIM_REVERSE && node->rank > 0)
        attrs.axis_count = 1, attrs.axes[0] = (uint8_t)program_roll(p, 0, node->rank - 1);
    if (prim == PRIM_CONCAT && node->rank > 0) {
        attrs.axis = (int32_t)program_roll(p, 0, node->rank - 1);
        for (int64_t more = program_roll(p, 0, 3); more-- > 0;)
            in[count++] = alike(p, x, (enum dtype)program_node(p, x)->dtype);
    }
    return add(p, prim, in, count, &attrs);
}

static value_id make_along(struct program *p, enum prim prim, value_id x)
{
    const struct node *node = program_node(p, x);
    struct attrs attrs = {.reverse = program_roll(p, 0, 1), .exclusive = program_roll(p, 0, 1)};
    if (node->rank == 0)
        return VALUE_NONE;
    attrs.axis = (int32_t)program_roll(p, 0, node->rank - 1);
    int64_t reduced = program_roll(p, 1, (1 << node->rank) - 1);
    for (uint8_t d = 0; d < node->rank; d++)
        if (reduced >> d & 1)
            attrs.axes[attrs.axis_count++] = d;
    attrs.window_count = (uint8_t)program_roll(p, 1, node->rank);
    for (uint32_t d = 0; d < attrs.window_count; d++)
        attrs.window[d] = roll_window(p);
    return add(p, prim, &x, 1, &attrs);
}

static value_id make_scatter(struct program *p, value_id x)
{
    const struct node *node = program_node(p, x);
    enum dtype dtype = (enum dtype)node->dtype;
    struct attrs attrs = {.mode = (uint8_t)program_roll(p, SCATTER_SET, SCATTER_MIN)};
    dim_id shape[LIMIT_RANK];
    uint32_t rank = node->rank;
    if (rank == 0)
        return VALUE_NONE;
    memcpy(shape, node->shape, rank * sizeof *shape);
    attrs.axis = (int32_t)program_roll(p, 0, rank - 1);
    shape[attrs.axis] = roll_dim(p);
    value_id index = source(p, DTYPE_I64, shape, rank);
    value_id in[3] = {x, index, source(p, dtype, shape, rank)};
    return add(p, PRIM_SCATTER, in, 3, &attrs);
}

value_id program_make(struct program *p, enum prim prim, value_id x)
{
    const struct node *node = program_node(p, x);
    enum dtype dtype = (enum dtype)node->dtype;
    struct attrs attrs = {.dtype = (uint8_t)roll_dtype(p)};
    value_id in[3] = {x};
    switch ((int)prim) {
    case PRIM_CONTRACT: return make_contract(p, x);
    case PRIM_CONV: return make_conv(p, dtype);
    case PRIM_TAKE:
    case PRIM_GATHER: return make_lookup(p, prim, x);
    case PRIM_RESHAPE: return make_reshape(p, x);
    case PRIM_SCATTER: return make_scatter(p, x);
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

int64_t program_elements(struct program *p, value_id id)
{
    const struct node *node = program_node(p, id);
    int64_t count = 1;
    for (uint32_t d = 0; d < node->rank; d++)
        count *= program_size(p, node->shape[d]);
    return count;
}

void program_grow(struct program *p, uint32_t values)
{
    struct dim_name name = {.name = "N", .min = 1, .max = 64, .multiple_of = 1, .typical = 4};
    uint32_t index;
    assert_true(dim_declare(&p->graph.dims, &name, &index, &p->bed->err));
    p->n = dim_named(&p->graph.dims, index);
    p->dims[index] = program_roll(p, 1, 7);
    p->values[p->count++] = program_roll_source(p, program_float(p, DTYPE_F32));
    p->values[p->count++] = program_roll_source(p, DTYPE_I64);
    while (p->count < values && p->graph.inputs.count + p->graph.params.count < SOURCES_MOST - 8) {
        int64_t row = program_roll(p, PRIM_CONST, PRIM_COUNT - 4); /* loops are not computed at
                                                                      points */
        enum prim prim = row < PRIM_ITER ? (enum prim)row : PRIM_COPY;
        if (program_roll(p, 0, 5) == 0)
            p->values[p->count++] = program_roll_source(p, roll_dtype(p));
        value_id id = p->excluded[prim] ? VALUE_NONE : program_make(p, prim, roll_value(p));
        if (id != VALUE_NONE && program_elements(p, id) <= ELEMENTS_MOST &&
            program_node(p, id)->rank <= 5)
            p->values[p->count++] = id;
    }
}

struct interp_tensor program_tensor(struct program *p, value_id id)
{
    static const double specials[] = {INFINITY, -INFINITY, NAN, 0, -0.0, 3e38};
    const struct node *node = program_node(p, id);
    int64_t shape[LIMIT_RANK];
    for (uint32_t d = 0; d < node->rank; d++)
        shape[d] = program_size(p, node->shape[d]);
    enum dtype dtype = (enum dtype)node->dtype;
    struct interp_tensor t =
        random_of(p->bed, dtype, shape, node->rank, rng_u32(p->key, p->next++));
    for (int64_t i = 0; i < t.count; i++) {
        if (!dtype_is_float(dtype))
            t.cells[i].i = dtype_wrap(dtype, t.cells[i].i - (dtype == DTYPE_BOOL ? 2 : 1));
        else if (p->special && program_roll(p, 0, 20) == 0)
            t.cells[i].f = dtype_round(dtype, specials[program_roll(p, 0, 5)]);
    }
    return t;
}
