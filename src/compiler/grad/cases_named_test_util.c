/* Prims over named dims: what is proved of shapes where a value is made must be enough to prove its
 * gradient. */
#include "compiler/grad/cases_test_util.h"

#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/rng.h"
#include "compiler/grad/grad_test_util.h"
#include "graph/interp_test_util.h"

struct named {
    struct bed *bed;
    struct graph graph;
    uint64_t key, next;
    struct dim_name names[2];
    dim_id n, m;
    uint32_t sources;
};

static int64_t roll(struct named *r, int64_t least, int64_t most)
{
    return least + (int64_t)rng_u32(r->key, r->next++) % (most - least + 1);
}

static dim_id of(struct named *r, int64_t size)
{
    return dim_const(&r->graph.dims, size);
}

static dim_id roll_dim(struct named *r)
{
    struct dim_table *t = &r->graph.dims;
    switch (roll(r, 0, 8)) {
    case 0: return r->m;
    case 1: return dim_mul(t, of(r, 2), r->n);
    case 2: return dim_add(t, r->n, of(r, roll(r, 1, 5)));
    case 3: return dim_floordiv(t, dim_add(t, r->n, of(r, 3)), of(r, 2));
    case 4: return of(r, roll(r, 1, 6));
    case 5: return dim_max(t, r->n, r->m);
    default: return r->n;
    }
}

static value_id source(struct named *r, enum dtype dtype, const dim_id *shape, uint32_t rank)
{
    char name[16];
    snprintf(name, sizeof name, "x%u", r->sources++);
    return graph_input(&r->graph, name, dtype, shape, rank, &r->bed->err);
}

static value_id roll_source(struct named *r, dim_id *shape, uint32_t rank)
{
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = roll_dim(r);
    return source(r, DTYPE_F64, shape, rank);
}

static void roll_windows(struct named *r, struct attrs *attrs)
{
    attrs->window_count = (uint8_t)roll(r, 1, 2);
    for (uint32_t i = 0; i < attrs->window_count; i++)
        attrs->window[i] =
            (struct window){roll(r, 1, 5), roll(r, 1, 4), roll(r, 0, 6),
                            roll(r, 0, 6), roll(r, 1, 3), roll(r, 0, 2) ? 1 : roll(r, 2, 3)};
}

static value_id make_conv(struct named *r, struct attrs *attrs)
{
    dim_id x[4], w[4];
    int64_t channels = roll(r, 1, 2);
    roll_windows(r, attrs);
    attrs->groups = roll(r, 1, 2);
    x[0] = roll_dim(r);
    x[1] = of(r, attrs->groups * channels);
    w[0] = of(r, attrs->groups * roll(r, 1, 2));
    w[1] = of(r, channels);
    for (uint32_t i = 0; i < attrs->window_count; i++) {
        x[2 + i] = roll_dim(r);
        w[2 + i] = of(r, attrs->window[i].size);
    }
    uint32_t rank = 2u + attrs->window_count;
    value_id in[] = {source(r, DTYPE_F64, x, rank), source(r, DTYPE_F64, w, rank)};
    return graph_add(&r->graph, PRIM_CONV, in, 2, attrs, &(struct error){0});
}

/* From a start, which may be named, all that a step reaches, or a few. */
static value_id make_slice(struct named *r, struct attrs *attrs)
{
    struct dim_table *t = &r->graph.dims;
    dim_id shape[2];
    value_id x = roll_source(r, shape, 2);
    attrs->rank = 2;
    for (uint32_t d = 0; d < 2; d++) {
        attrs->step[d] = roll(r, 1, 4);
        attrs->start[d] =
            roll(r, 0, 2) ? of(r, roll(r, 0, 2)) : dim_floordiv(t, shape[d], of(r, 2));
        dim_id rest = dim_sub(t, shape[d], attrs->start[d]), step = of(r, attrs->step[d]);
        attrs->shape[d] = roll(r, 0, 3) == 0   ? of(r, roll(r, 0, 2))
                          : roll(r, 0, 1) == 0 ? dim_floordiv(t, rest, step)
                                               : dim_ceildiv(t, rest, step);
    }
    return graph_add(&r->graph, PRIM_SLICE, &x, 1, attrs, &(struct error){0});
}

static value_id make_lookup(struct named *r, enum prim prim, struct attrs *attrs)
{
    dim_id shape[3], at[3];
    value_id x = roll_source(r, shape, 3);
    attrs->axis = (int32_t)roll(r, 0, 2);
    attrs->mode = (uint8_t)(prim == PRIM_SCATTER ? roll(r, SCATTER_SET, SCATTER_MIN) : 0);
    for (uint32_t d = 0; d < 3; d++)
        at[d] = shape[d];
    at[attrs->axis] = roll_dim(r);
    uint32_t rank = prim == PRIM_TAKE ? (uint32_t)roll(r, 0, 2) : 3;
    value_id index = source(r, roll(r, 0, 1) ? DTYPE_I64 : DTYPE_I32, at, rank);
    value_id in[] = {x, index, prim == PRIM_SCATTER ? source(r, DTYPE_F64, at, 3) : VALUE_NONE};
    return graph_add(&r->graph, prim, in, prim == PRIM_SCATTER ? 3 : 2, attrs, &(struct error){0});
}

static value_id make_join(struct named *r, enum prim prim, struct attrs *attrs)
{
    dim_id shape[3];
    value_id in[3] = {roll_source(r, shape, 3)};
    uint32_t count = 1;
    if (prim == PRIM_PAD) {
        in[count++] = source(r, DTYPE_F64, NULL, 0);
        attrs->rank = 3;
        for (uint32_t d = 0; d < 3; d++) {
            attrs->low[d] = roll(r, 0, 1) ? roll_dim(r) : of(r, 0);
            attrs->high[d] = roll(r, 0, 1) ? roll_dim(r) : of(r, 1);
        }
        return graph_add(&r->graph, prim, in, count, attrs, &(struct error){0});
    }
    attrs->axis = (int32_t)roll(r, 0, 2);
    for (; count < 3; count++) {
        shape[attrs->axis] = roll_dim(r);
        in[count] = source(r, DTYPE_F64, shape, 3);
    }
    return graph_add(&r->graph, prim, in, count, attrs, &(struct error){0});
}

static value_id make(struct named *r)
{
    static const enum prim prims[] = {
        PRIM_CONV,       PRIM_WINDOW_SUM,  PRIM_WINDOW_MAX, PRIM_SLICE,    PRIM_CONV,
        PRIM_WINDOW_SUM, PRIM_WINDOW_MAX,  PRIM_SLICE,      PRIM_TAKE,     PRIM_GATHER,
        PRIM_SCATTER,    PRIM_PAD,         PRIM_CONCAT,     PRIM_CUM_PROD, PRIM_CUM_MAX,
        PRIM_CUM_SUM,    PRIM_REDUCE_PROD, PRIM_REDUCE_MAX, PRIM_REVERSE};
    enum prim prim = prims[roll(r, 0, sizeof prims / sizeof *prims - 1)];
    struct attrs attrs = {0};
    dim_id shape[3];
    switch ((int)prim) {
    case PRIM_CONV: return make_conv(r, &attrs);
    case PRIM_SLICE: return make_slice(r, &attrs);
    case PRIM_TAKE:
    case PRIM_GATHER:
    case PRIM_SCATTER: return make_lookup(r, prim, &attrs);
    case PRIM_PAD:
    case PRIM_CONCAT: return make_join(r, prim, &attrs);
    }
    value_id x = roll_source(r, shape, 3);
    if (prim == PRIM_WINDOW_SUM || prim == PRIM_WINDOW_MAX) {
        roll_windows(r, &attrs);
    } else if (prim == PRIM_CUM_PROD || prim == PRIM_CUM_MAX || prim == PRIM_CUM_SUM) {
        attrs.axis = (int32_t)roll(r, 0, 2);
        attrs.exclusive = roll(r, 0, 1), attrs.reverse = roll(r, 0, 1);
    } else {
        attrs.axes[attrs.axis_count++] = (uint8_t)roll(r, 0, 1);
        if (roll(r, 0, 1))
            attrs.axes[attrs.axis_count++] = 2;
    }
    return graph_add(&r->graph, prim, &x, 1, &attrs, &(struct error){0});
}

static void declare(struct named *r)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t index;
        r->names[i] = (struct dim_name){.name = i ? "M" : "N",
                                        .min = roll(r, 0, 2) ? roll(r, 0, 9) : 16,
                                        .max = 64,
                                        .multiple_of = roll(r, 1, 2) * roll(r, 1, 2)};
        r->names[i].typical = dim_legal(&r->names[i], 8);
        assert_true(dim_declare(&r->graph.dims, &r->names[i], &index, &r->bed->err));
        *(i ? &r->m : &r->n) = dim_named(&r->graph.dims, index);
    }
}

bool grad_case_named(struct bed *bed, uint64_t seed, uint32_t *moving)
{
    arena_release(&bed->arena);
    struct named *r = ARENA_NEW(&bed->arena, struct named);
    *r = (struct named){.bed = bed, .key = rng_key(seed)};
    graph_init(&r->graph, &bed->arena);
    declare(r);
    value_id y = VALUE_NONE;
    for (int tries = 0; y == VALUE_NONE && tries < 20; tries++)
        y = make(r);
    if (y == VALUE_NONE || !graph_output(&r->graph, "y", y, &bed->err))
        return true;
    for (int64_t wish = 0; wish < 6; wish++) {
        const int64_t dims[] = {dim_legal(&r->names[0], wish), dim_legal(&r->names[1], 9 - wish)};
        struct point p = {&bed->arena, &r->graph, dims, NULL, 0, seed, false, NULL};
        grad_point_init(&p);
        for (uint32_t i = 0; i < p.source_count; i++)
            for (int64_t e = 0; e < p.sources[i].count; e++)
                if (dtype_is_float(p.sources[i].dtype))
                    p.sources[i].cells[e].f =
                        nearbyint(9 * grad_drawn(rng_key(seed * 100 + i), e)) / 4;
                else
                    p.sources[i].cells[e].i =
                        (int64_t)rng_u32(rng_key(seed * 100 + i), (uint64_t)e) % 12 - 2;
        bool moves = false;
        if (!grad_compare(&p, &moves, &bed->err))
            return fail_at(&bed->err, "%s of named dims, seed %llu, N %d, M %d",
                           prim_info((enum prim)graph_node(&r->graph, y)->prim)->name,
                           (unsigned long long)seed, (int)dims[0], (int)dims[1]);
        *moving += moves;
    }
    return true;
}
