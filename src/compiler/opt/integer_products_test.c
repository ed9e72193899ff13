/* Products of small integers in f32: the same bits as in i32, at the largest numbers that operands
 * can hold; which products are changed, and into how many blocks they are cut. */
#include <stdio.h>

#include "compiler/opt/opt_test_util.h"

#define EXACT 16777216.0 /* 2^24 */

/* Elements from the whole range of the type; how: 0: at random; 1: the least and the greatest; 2:
 * the greatest only; 3: the least only. */
static void fill(struct interp_tensor *tensor, int how, uint64_t key)
{
    enum dtype dtype = tensor->dtype;
    for (int64_t i = 0; i < tensor->count; i++) {
        uint64_t bits = (uint64_t)rng_u32(key, (uint64_t)i) << 32 | rng_u32(~key, (uint64_t)i);
        bool great = how == 2 || (how == 1 && bits % 3 == 0);
        int64_t edge = great ? dtype_greatest(dtype) : dtype_least(dtype);
        tensor->cells[i].i = how == 0 ? dtype_wrap(dtype, (int64_t)bits) : edge;
    }
}

static struct interp_tensor *run(const struct graph *graph, int how, uint64_t seed,
                                 struct arena *arena)
{
    uint32_t count = graph->inputs.count + graph->params.count;
    struct interp_tensor *sources = ARENA_ARRAY(arena, struct interp_tensor, count + 1);
    struct interp_tensor *out = ARENA_ARRAY(arena, struct interp_tensor, graph->outputs.count + 1);
    const int64_t dims[] = {3};
    struct error err = {0};
    for (uint32_t i = 0; i < count; i++) {
        bool input = i < graph->inputs.count;
        value_id id = input ? graph->inputs.items[i] : graph->params.items[i - graph->inputs.count];
        make_source(graph, id, dims, arena, &sources[i]);
        fill(&sources[i], i == 0 || how < 2 ? how : 5 - how, rng_key(seed + i));
    }
    if (!interp_run(graph, &(struct interp_options){.mode = INTERP_NATIVE},
                    &(struct interp_arguments){dims, sources, count}, arena, out, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, graph_text(graph, arena));
    return out;
}

static void expect_same_results(const struct graph *a, const struct graph *b, struct arena *arena)
{
    for (int how = 0; how < 4; how++)
        expect_same_bits(run(a, how, 7, arena), run(b, how, 7, arena), graph_text(b, arena));
}

static uint32_t count_products(const struct graph *g, enum dtype dtype)
{
    uint32_t count = 0;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        count += (n->prim == PRIM_CONTRACT || n->prim == PRIM_CONV) && n->dtype == dtype;
    }
    return count;
}

/* x [B, K] less a zero point, times w [5, K] less one. */
struct product {
    enum dtype x, w; /* types of the operands … */
    int64_t x_zero;  /* … the first one's zero point, -1: an input … */
    bool w_zero;     /* … whether the second one has one, a parameter */
    int64_t depth;
    uint32_t blocks; /* in f32; 0: it stays in i32 */
    double largest;  /* product of two elements */
};

static value_id centred(struct builder *b, value_id v, value_id zero)
{
    return b_sub(b, b_cast(b, v, DTYPE_I32), b_cast(b, zero, DTYPE_I32));
}

static void make_product(struct graph *g, struct arena *arena, const struct product *p)
{
    static const struct dim_name name = {"B", 1, 9, 1, 0, NULL};
    struct error err = {0};
    struct builder b = {g, &err};
    uint32_t index;
    graph_init(g, arena);
    assert_true(dim_declare(&g->dims, &name, &index, &err));
    dim_id rows = dim_named(&g->dims, index);
    dim_id depth = p->depth > 0 ? dim_const(&g->dims, p->depth) : rows;
    const dim_id x_shape[] = {rows, depth}, w_shape[] = {dim_const(&g->dims, 5), depth};
    value_id x = graph_input(g, "x", p->x, x_shape, 2, &err);
    value_id w = graph_param(g, "w", p->w, w_shape, 2, &err);
    value_id zero = p->x_zero < 0 ? graph_input(g, "z", p->x, NULL, 0, &err)
                                  : b_const(&b, p->x, (double)p->x_zero);
    x = centred(&b, x, zero);
    w = p->w_zero ? centred(&b, w, graph_param(g, "wz", p->w, NULL, 0, &err))
                  : b_cast(&b, w, DTYPE_I32);
    assert_true(graph_output(g, "y", b_contract(&b, x, w, 0, 1), &err));
}

static void products_are_cut_where_sums_end_to_be_exact(void **state)
{
    (void)state;
    static const struct product products[] = {
        {DTYPE_U8, DTYPE_I8, -1, false, 1, 1, 255 * 128},
        {DTYPE_U8, DTYPE_I8, -1, false, 514, 1, 255 * 128}, /* 514 · 255 · 128 < 2^24 */
        {DTYPE_U8, DTYPE_I8, -1, false, 515, 2, 255 * 128},
        {DTYPE_U8, DTYPE_U8, -1, true, 258, 1, 255 * 255},
        {DTYPE_U8, DTYPE_U8, -1, true, 259, 2, 255 * 255},
        {DTYPE_U8, DTYPE_U8, -1, true, 1000, 4, 255 * 255},
        {DTYPE_U8, DTYPE_I8, 128, false, 1024, 1, 128 * 128},
        {DTYPE_I8, DTYPE_I8, 0, false, 1025, 2, 128 * 128},
        {DTYPE_U8, DTYPE_U8, -1, true, 2048, 8, 255 * 255},
        {DTYPE_U8, DTYPE_U8, -1, true, 2049, 0, 255 * 255}, /* too many blocks */
        {DTYPE_U16, DTYPE_U8, -1, true, 64, 0, 0},          /* blocks of one term */
        {DTYPE_U8, DTYPE_I8, -1, false, 0, 0, 0},           /* depth B */
        {DTYPE_U32, DTYPE_I8, 0, false, 8, 0, 0},
        {DTYPE_U64, DTYPE_I8, 0, false, 8, 0, 0},
        {DTYPE_I64, DTYPE_I64, 0, false, 8, 0, 0},
    };
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        const struct product *p = &products[i];
        struct arena arena;
        struct graph from, to;
        arena_init(&arena);
        make_product(&from, &arena, p);
        run_pass(pass_integer_products, &to, &arena, &from);
        if (count_products(&to, DTYPE_F32) != p->blocks ||
            count_products(&to, DTYPE_I32) != (p->blocks == 0))
            fail_msg("row %zu:\n%s", i, graph_text(&to, &arena));
        for (value_id v = 1; v < to.nodes.count; v++) {
            const struct node *n = graph_node(&to, v);
            int64_t terms;
            if (n->prim != PRIM_CONTRACT || n->dtype != DTYPE_F32)
                continue;
            assert_true(dim_is_const(&to.dims, graph_node(&to, n->operands[1])->shape[1], &terms));
            assert_true((double)terms * p->largest <= EXACT);
        }
        expect_same_results(&from, &to, &arena);
        arena_release(&arena);
    }
}

/* Channels are cut, and windows are not; groups are left as they are where one is too large. */
static void convolutions_are_cut_by_channels(void **state)
{
    (void)state;
    static const struct {
        int64_t channels, groups, window;
        uint32_t blocks;
    } rows[] = {{8, 1, 3, 1},  {28, 1, 3, 1},  {29, 1, 3, 2},  {64, 1, 3, 3},
                {64, 8, 3, 1}, {128, 2, 3, 0}, {16, 16, 5, 1}, {2, 1, 17, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct graph from, to;
        struct error err = {0};
        struct builder b = {&from, &err};
        arena_init(&arena);
        graph_init(&from, &arena);
        struct dim_table *d = &from.dims;
        dim_id size = dim_const(d, rows[i].window);
        const dim_id x_shape[] = {dim_const(d, 2), dim_const(d, rows[i].channels), dim_const(d, 17),
                                  dim_const(d, 18)};
        const dim_id w_shape[] = {dim_const(d, 16), dim_const(d, rows[i].channels / rows[i].groups),
                                  size, size};
        struct window window = {
            .size = rows[i].window, .stride = 2, .low = 1, .dilation = 1, .base_dilation = 1};
        const struct window windows[] = {window, window};
        value_id x = graph_input(&from, "x", DTYPE_U8, x_shape, 4, &err);
        value_id z = graph_input(&from, "z", DTYPE_U8, NULL, 0, &err);
        value_id w = graph_param(&from, "w", DTYPE_U8, w_shape, 4, &err);
        value_id wz = graph_param(&from, "wz", DTYPE_U8, NULL, 0, &err);
        value_id y = b_conv(&b, centred(&b, x, z), centred(&b, w, wz), windows, 2, rows[i].groups);
        if (!graph_output(&from, "y", y, &err))
            fail_msg("%s: %s", err.place, err.message);
        run_pass(pass_integer_products, &to, &arena, &from);
        if (count_products(&to, DTYPE_F32) != rows[i].blocks ||
            count_products(&to, DTYPE_I32) != (rows[i].blocks == 0))
            fail_msg("row %zu:\n%s", i, graph_text(&to, &arena));
        expect_same_results(&from, &to, &arena);
        arena_release(&arena);
    }
}

/* An integer [3, K] from sources of small types by some random operations. */
static value_id random_value(struct builder *b, const dim_id *shape, uint64_t *key, int depth)
{
    static const enum dtype types[] = {DTYPE_I8,  DTYPE_U8,  DTYPE_I16, DTYPE_U16, DTYPE_I32,
                                       DTYPE_U32, DTYPE_I64, DTYPE_U64, DTYPE_BOOL};
    static const enum prim binary[] = {PRIM_ADD, PRIM_SUB, PRIM_MIN, PRIM_MAX, PRIM_MUL};
    uint32_t pick = rng_u32(rng_key((*key)++), 0);
    enum dtype type = types[pick / 64 % (sizeof types / sizeof *types)];
    if (depth == 0) {
        char name[16];
        snprintf(name, sizeof name, "s%u", b->graph->inputs.count);
        type = types[pick / 64 % 2];
        return pick % 5 == 0 ? b_broadcast_to(b, b_const(b, type, (double)(pick % 128)), shape, 2)
                             : graph_input(b->graph, name, type, shape, 2, b->err);
    }
    value_id x = random_value(b, shape, key, depth - 1);
    enum dtype own = (enum dtype)graph_node(b->graph, x)->dtype;
    bool is_bool = own == DTYPE_BOOL;
    switch (pick % 8) {
    case 0: return is_bool ? x : b_neg(b, x);
    case 1: return b_reverse(b, x, 1);
    case 2: {
        value_id y = b_cast(b, random_value(b, shape, key, depth - 1), own);
        value_id c = b_binary(b, PRIM_LT, b_cast(b, x, DTYPE_I32), b_cast(b, y, DTYPE_I32));
        return b_select(b, c, x, y);
    }
    case 3:
    case 4: {
        value_id y = b_cast(b, random_value(b, shape, key, depth - 1), own);
        return is_bool ? y : b_binary(b, binary[pick / 8 % 5], x, y);
    }
    case 5: return b_cast(b, b_scale(b, b_cast(b, x, DTYPE_F32), 3), types[pick / 8 % 4]);
    default: return b_cast(b, x, type);
    }
}

static void bounds_hold_for_what_operations_make(void **state)
{
    (void)state;
    uint32_t changed = 0;
    for (uint64_t round = 0; round < 400; round++) {
        struct arena arena;
        struct graph from, to;
        struct error err = {0};
        struct builder b = {&from, &err};
        uint64_t key = round * 1000;
        arena_init(&arena);
        graph_init(&from, &arena);
        const dim_id shape[] = {dim_const(&from.dims, 3),
                                dim_const(&from.dims, (int64_t)(33 + round % 7 * 97))};
        value_id x = b_cast(&b, random_value(&b, shape, &key, 1 + (int)(round % 3)), DTYPE_I32);
        value_id w = b_cast(&b, random_value(&b, shape, &key, 1), DTYPE_I32);
        if (!graph_output(&from, "y", b_contract(&b, x, w, 0, 1), &err))
            fail_msg("%s: %s", err.place, err.message);
        run_pass(pass_integer_products, &to, &arena, &from);
        changed += count_products(&to, DTYPE_I32) == 0;
        expect_same_results(&from, &to, &arena);
        arena_release(&arena);
    }
    assert_in_range(changed, 100, 390); /* some of both kinds */
}

/* Of what joins a small value and one of 16 bits, in either order, the larger bound counts. */
static void joined_values_have_the_larger_bound(void **state)
{
    (void)state;
    enum { SELECT, MIN, MAX, CONCAT, PAD, WAYS };
    for (int i = 0; i < 4 * WAYS; i++) {
        struct arena arena;
        struct graph from, to;
        struct error err = {0};
        struct builder b = {&from, &err};
        bool large = i & 1, turned = i & 2; /* without a large one all is small */
        arena_init(&arena);
        graph_init(&from, &arena);
        dim_id zero = b_dim_const(&b, 0), pad = b_dim_const(&b, 512);
        const dim_id shape[] = {dim_const(&from.dims, 3), dim_const(&from.dims, 512)};
        enum dtype type = large ? DTYPE_I16 : DTYPE_I8;
        value_id c = graph_input(&from, "c", DTYPE_BOOL, shape, 2, &err);
        value_id x = graph_input(&from, "x", type, shape, 2, &err);
        value_id small = b_broadcast_to(&b, b_const(&b, type, 1), shape, 2);
        value_id in[2] = {turned ? small : x, turned ? x : small};
        switch (i / 4) {
        case SELECT: x = b_select(&b, c, in[0], in[1]); break;
        case MIN:
        case MAX: x = b_binary(&b, i / 4 == MIN ? PRIM_MIN : PRIM_MAX, in[0], in[1]); break;
        case CONCAT: x = b_concat(&b, in, 2, 1); break;
        default: { /* by a large number, or a large value by a small one */
            double by = large && turned ? 30000 : 1;
            x = b_pad(&b, turned ? small : x, (dim_id[]){zero, zero}, (dim_id[]){zero, pad}, by);
        }
        }
        const dim_id w_shape[] = {shape[0], b_dim(&b, x, 1)};
        value_id w = graph_param(&from, "w", DTYPE_I8, w_shape, 2, &err);
        x = b_contract(&b, b_cast(&b, x, DTYPE_I32), b_cast(&b, w, DTYPE_I32), 0, 1);
        assert_true(graph_output(&from, "y", x, &err));
        run_pass(pass_integer_products, &to, &arena, &from);
        if (count_products(&to, DTYPE_I32) != large)
            fail_msg("way %d:\n%s", i, graph_text(&to, &arena));
        expect_same_results(&from, &to, &arena);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_cut_where_sums_end_to_be_exact),
        cmocka_unit_test(convolutions_are_cut_by_channels),
        cmocka_unit_test(bounds_hold_for_what_operations_make),
        cmocka_unit_test(joined_values_have_the_larger_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
