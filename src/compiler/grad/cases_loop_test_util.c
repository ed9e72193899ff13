/* Drawn recurrences: states of several dtypes, values from outside that are read by take, by
 * products and otherwise, and rows. */
#include "compiler/grad/cases_test_util.h"

#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/rng.h"
#include "compiler/grad/grad_test_util.h"
#include "graph/build.h"
#include "graph/interp_test_util.h"
#include "graph/loops.h"

#define POOL_MOST 40
#define STATES_MOST 3

/* All floats of the body are [2, 3] or become that. */
struct recurrence {
    struct bed *bed;
    struct graph graph;
    struct builder b;
    uint64_t key, next;
    int64_t trips;
    dim_id steps, shape[2];
    uint32_t loop, sources;
    value_id pool[POOL_MOST], state[STATES_MOST + 1], after[STATES_MOST + 1];
    value_id rows[3], outside[POOL_MOST];
    uint32_t count, states, row_count, outside_count;
};

static uint32_t roll(struct recurrence *r, uint32_t below)
{
    return rng_u32(r->key, r->next++) % below;
}

static enum dtype roll_float(struct recurrence *r)
{
    static const enum dtype floats[] = {DTYPE_F64, DTYPE_F64, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    return floats[roll(r, 5)];
}

static value_id source(struct recurrence *r, const dim_id *shape, uint32_t rank)
{
    char name[16];
    snprintf(name, sizeof name, "x%u", r->sources++);
    enum dtype dtype = roll_float(r);
    return roll(r, 2) ? graph_input(&r->graph, name, dtype, shape, rank, &r->bed->err)
                      : graph_param(&r->graph, name, dtype, shape, rank, &r->bed->err);
}

/* What the body works with is of f64. */
static void put(struct recurrence *r, value_id x)
{
    x = b_cast(&r->b, x, DTYPE_F64);
    if (r->count < POOL_MOST)
        r->pool[r->count++] = x;
}

static value_id any(struct recurrence *r)
{
    uint32_t a = roll(r, r->count), b = roll(r, r->count);
    return r->pool[a > b ? a : b];
}

static value_id outside(struct recurrence *r, const dim_id *shape, uint32_t rank)
{
    value_id x = source(r, shape, rank);
    if (roll(r, 3) == 0)
        x = b_unary(&r->b, PRIM_SIN, x); /* something that is computed before the loop */
    if (rank == 2 && shape[0] == r->shape[0] && r->outside_count < POOL_MOST)
        r->outside[r->outside_count++] = x;
    return x;
}

static dim_id of(struct recurrence *r, int64_t size)
{
    return dim_const(&r->graph.dims, size);
}

/* Two rows at once, at places that hang on the trip. */
static void add_take_of_two(struct recurrence *r)
{
    struct builder *b = &r->b;
    dim_id shape[] = {of(r, 4), r->shape[1]};
    value_id at = b_iota(b, DTYPE_I64, r->shape, 1, 0);
    at = b_add(b, at, b_iter(b, r->loop));
    put(r, b_take(b, outside(r, shape, 2), at, 0)); /* it clamps */
}

/* x[t], x[T-1-t], x[2t mod 4] or by a state, along some axis. */
static void add_take(struct recurrence *r)
{
    struct builder *b = &r->b;
    value_id at = b_iter(b, r->loop);
    uint32_t kind = roll(r, 4);
    if (kind == 1)
        at = b_sub(b, b_sub(b, b_size(b, r->steps), b_const(b, DTYPE_I64, 1)), at);
    if (kind == 2)
        at =
            b_binary(b, PRIM_REM, b_mul(b, at, b_const(b, DTYPE_I64, 2)), b_const(b, DTYPE_I64, 4));
    if (kind == 3)
        at = b_cast(b, r->state[r->states], DTYPE_I64); /* the state that counts; it clamps */
    dim_id many = kind < 2 && r->trips > 0 && roll(r, 2) ? r->steps : of(r, 5);
    int64_t least, most;
    dim_range(&r->graph.dims, many, &least, &most);
    if (least == 0)
        many = of(r, 5);
    uint32_t axis = roll(r, 3);
    dim_id shape[] = {r->shape[0], r->shape[0], r->shape[1]};
    if (axis == 2)
        shape[1] = r->shape[1];
    shape[axis] = many;
    put(r, b_take(b, outside(r, shape, 3), at, axis));
}

/* A product with something from outside, or with another value of the body. */
static void add_product(struct recurrence *r)
{
    struct builder *b = &r->b;
    dim_id square[] = {r->shape[1], r->shape[1]};
    uint32_t kind = roll(r, 4);
    if (kind == 3) {
        value_id p = b_contract(b, any(r), any(r), 0, 1); /* [2, 2] */
        value_id w = b_swap(b, b_cast(b, outside(r, r->shape, 2), DTYPE_F64), 0, 1);
        put(r, b_contract(b, p, w, 0, 1));
        return;
    }
    value_id w = outside(r, square, 2);
    w = kind == 2 || roll(r, 2) ? b_cast(b, w, DTYPE_F64) : w;
    value_id x = b_cast(b, any(r), (enum dtype)b_node(b, w)->dtype);
    if (kind == 0)
        put(r, b_contract(b, x, w, 0, 1));
    else
        put(r, b_swap(b, b_contract(b, w, x, 0, 1), 0, 1));
}

static void add_other(struct recurrence *r)
{
    static const enum prim unary[] = {PRIM_SIN, PRIM_TANH, PRIM_ABS, PRIM_ERF, PRIM_NEG, PRIM_ATAN};
    static const enum prim binary[] = {PRIM_ADD, PRIM_MUL, PRIM_MAX, PRIM_MIN, PRIM_SUB};
    struct builder *b = &r->b;
    value_id x = any(r), y = any(r);
    int64_t rows = 0;
    switch (roll(r, 8)) {
    case 0: put(r, b_unary(b, unary[roll(r, 6)], x)); return;
    case 1:
    case 2: put(r, b_binary(b, binary[roll(r, 5)], x, y)); return;
    case 3:
        put(r, b_binary(b, binary[roll(r, 5)], x, b_cast(b, outside(r, r->shape, 2), DTYPE_F64)));
        return;
    case 4: put(r, b_select(b, b_binary(b, PRIM_LT, x, y), x, b_unary(b, PRIM_COS, y))); return;
    case 5:
        x = b_reduce(b, roll(r, 2) ? PRIM_REDUCE_SUM : PRIM_REDUCE_MAX, x, &rows, 1, true);
        put(r, b_broadcast_to(b, x, r->shape, 2));
        return;
    case 6: put(r, b_reverse(b, x, roll(r, 2))); return;
    case 7:
        if (r->outside_count > 0) /* what products or takes read, too */
            put(r, b_mul(b, x, b_cast(b, r->outside[roll(r, r->outside_count)], DTYPE_F64)));
        return;
    }
}

static void begin_states(struct recurrence *r)
{
    struct builder *b = &r->b;
    for (uint32_t i = 0; i < r->states; i++) {
        value_id init = source(r, r->shape, 2);
        if (roll(r, 4) == 0)
            init = b_broadcast_to(b, b_const(b, roll_float(r), 0.5), r->shape, 2);
        r->state[i] = b_state(b, r->loop, i, b_loop_value(b, init));
        put(r, r->state[i]);
    }
    value_id none = b_const(b, DTYPE_I32, 0);
    r->state[r->states] = b_state(b, r->loop, r->states, b_loop_value(b, none));
}

static void build(struct recurrence *r)
{
    struct builder *b = &r->b;
    struct dim_name name = {
        .name = "T", .min = roll(r, 2), .max = 9, .multiple_of = 1, .typical = 4};
    uint32_t index, work = 3 + roll(r, 10);
    assert_true(dim_declare(&r->graph.dims, &name, &index, b->err));
    r->trips = name.min + roll(r, 5);
    r->steps = roll(r, 3) == 0 ? of(r, r->trips) : dim_named(&r->graph.dims, index);
    r->shape[0] = of(r, 2);
    r->shape[1] = of(r, 3);
    r->loop = b_loop_begin(b);
    r->states = 1 + roll(r, STATES_MOST);
    begin_states(r);
    for (uint32_t i = 0; i < work; i++) {
        uint32_t kind = roll(r, 4);
        if (kind == 0 && roll(r, 4) == 0)
            add_take_of_two(r);
        else if (kind == 0)
            add_take(r);
        else if (kind == 1)
            add_product(r);
        else
            add_other(r);
    }
    for (uint32_t i = 0; i < r->states; i++) {
        value_id next = roll(r, 10) == 0 && r->outside_count > 0 ? r->outside[0] : any(r);
        enum dtype dtype = (enum dtype)b_node(b, r->state[i])->dtype;
        next = b_cast(b,
                      roll(r, 3) ? b_unary(b, PRIM_TANH, next)
                                 : b_scale(b, b_cast(b, next, DTYPE_F64), 0.5),
                      dtype);
        r->after[i] = roll(r, 2) ? b_loop_value(b, next) : next;
    }
    r->after[r->states] = b_add(b, r->state[r->states], b_const(b, DTYPE_I32, 1));
    r->row_count = roll(r, 3);
    for (uint32_t i = 0; i < r->row_count; i++)
        r->rows[i] = any(r);
    if (r->row_count > 0 && roll(r, 2))
        r->rows[0] = r->after[0];
}

static void end(struct recurrence *r)
{
    struct builder *b = &r->b;
    value_id results[STATES_MOST + 4];
    const struct loop_spec spec = {.loop = r->loop,
                                   .trips = r->steps,
                                   .state = r->state,
                                   .next = r->after,
                                   .row = r->rows,
                                   .states = r->states + 1,
                                   .rows = r->row_count};
    if (!b_loop_end(b, &spec, results))
        fail_msg("%s: %s\n%s", b->err->place, b->err->message,
                 grad_text(&r->graph, &r->bed->arena));
    for (uint32_t i = 0; i < r->states + 1 + r->row_count; i++) {
        char text[16];
        snprintf(text, sizeof text, "y%u", i);
        if (i == 0 || roll(r, 3) > 0)
            assert_true(graph_output(
                &r->graph, text,
                roll(r, 4) || i == r->states ? results[i] : b_mul(b, results[i], results[i]),
                b->err));
    }
}

bool grad_case_loop(struct bed *bed, uint64_t seed, uint32_t *moving)
{
    arena_release(&bed->arena);
    struct recurrence *r = ARENA_NEW(&bed->arena, struct recurrence);
    *r = (struct recurrence){.bed = bed, .key = rng_key(seed)};
    graph_init(&r->graph, &bed->arena);
    r->b = (struct builder){&r->graph, &bed->err};
    build(r);
    end(r);
    struct point p = {&bed->arena, &r->graph, &r->trips, NULL, 0, seed, false, NULL};
    grad_point_init(&p);
    for (uint32_t i = 0; i < p.source_count; i++)
        for (int64_t e = 0; e < p.sources[i].count; e++)
            p.sources[i].cells[e].f = grad_drawn(rng_key(seed * 100 + i), e);
    bool moves = false;
    if (!grad_compare(&p, &moves, &bed->err))
        return fail_at(&bed->err, "recurrence, seed %llu", (unsigned long long)seed);
    *moving += moves;
    return true;
}
