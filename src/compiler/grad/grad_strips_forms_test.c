/* Forms of attention whose backward pass is computed in strips: masks that are operands, grouped
 * key heads, gradients of one operand alone, several products, products whose operands stand
 * otherwise. Each is compared with forward mode, and with the backward pass of the same form whose
 * rows are typically few, which has no strips. */
#include "compiler/grad/grad_test_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "compiler/ops/ops.h"
#include "graph/build.h"
#include "graph/tangent.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define BATCH 2
#define HEADS 4
#define KEY_HEADS 2
#define DEPTH 3
#define LAYERS 2 /* of `module` and `shared_bias` */
#define TABLE 40 /* distances that a relative bias tells apart */

/* What is stored with rows and keys: nothing; [rows, keys] of one head; of all of them. */
enum stored { NOTHING, HEAD, SCORES };

struct form;
struct building {
    struct builder b;
    const struct form *form;
    enum dtype dtype;
    dim_id batch, heads, rows, keys, depth;
};

struct form {
    const char *what;
    value_id (*build)(struct building *g);
    const char *mask; /* dims of the mask of `operator`: A, H, T, U, 1; NULL: none */
    enum dtype mask_dtype;
    bool causal, grouped;
    const char *wrt;    /* NULL: all */
    enum stored stored; /* the most that gradients need */
};

static value_id input(struct building *g, const char *name, enum dtype dtype, const dim_id *shape,
                      uint32_t rank)
{
    return graph_input(g->b.graph, name, dtype, shape, rank, g->b.err);
}

static value_id operand(struct building *g, const char *name, dim_id heads, dim_id rows)
{
    return input(g, name, g->dtype, (const dim_id[]){g->batch, heads, rows, g->depth}, 4);
}

static value_id softmax(struct builder *b, value_id s, int64_t axis)
{
    value_id e = b_exp(b, b_sub(b, s, b_reduce(b, PRIM_REDUCE_MAX, s, &axis, 1, true)));
    return b_div(b, e, b_reduce(b, PRIM_REDUCE_SUM, e, &axis, 1, true));
}

/* The operation scaled_dot_product_attention. */
static value_id operator(struct building *g)
{
    const struct form *form = g->form;
    dim_id key_heads = form->grouped ? b_dim_const(&g->b, KEY_HEADS) : g->heads, shape[4];
    uint32_t rank = form->mask ? (uint32_t)strlen(form->mask) : 0, count;
    value_id in[4] = {operand(g, "q", g->heads, g->rows), operand(g, "k", key_heads, g->keys),
                      operand(g, "v", key_heads, g->keys)};
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = form->mask[d] == 'A'   ? g->batch
                   : form->mask[d] == 'H' ? g->heads
                   : form->mask[d] == 'T' ? g->rows
                   : form->mask[d] == 'U' ? g->keys
                                          : b_dim_const(&g->b, 1);
    if (rank)
        in[3] = input(g, "mask", form->mask_dtype, shape, rank);
    const struct op_value attrs[] = {{.name = "is_causal", .kind = OP_BOOL, .i = form->causal},
                                     {.name = "enable_gqa", .kind = OP_BOOL, .i = form->grouped}};
    const struct op_arguments arguments = {in, rank ? 4 : 3, attrs, 2, false};
    value_id out[OP_MAX_OUTPUTS] = {VALUE_NONE};
    op_expand(&g->b, op_find("scaled_dot_product_attention"), &arguments, out, &count, g->b.err);
    return out[0];
}

/* p·v for weights [batch, heads, rows, keys]. */
static value_id weighted(struct building *g, value_id p)
{
    struct builder *b = &g->b;
    return b_contract(b, p, b_swap(b, operand(g, "v", g->heads, g->keys), 2, 3), 2, 1);
}

static value_id scores(struct building *g, const char *q, const char *k)
{
    return b_contract(&g->b, operand(g, q, g->heads, g->rows), operand(g, k, g->heads, g->keys), 2,
                      1);
}

static value_id two_products(struct building *g)
{
    struct builder *b = &g->b;
    value_id s = b_add(b, scores(g, "q", "k"), b_scale(b, scores(g, "q1", "k1"), 0.5));
    return weighted(g, softmax(b, s, 3));
}

/* The second product is the same for all heads. */
static value_id shared_product(struct building *g)
{
    struct builder *b = &g->b;
    dim_id one = b_dim_const(b, 1);
    value_id s =
        b_contract(b, operand(g, "q1", one, g->rows), operand(g, "k1", one, g->keys), 2, 1);
    return weighted(g, softmax(b, b_add(b, scores(g, "q", "k"), s), 3));
}

static value_id number_of(struct building *g, int64_t axis)
{
    return b_iota(&g->b, DTYPE_I64, (const dim_id[]){g->rows, g->keys}, 2, axis);
}

/* A slope of each head, by the distance of row and key. */
static value_id alibi(struct building *g)
{
    struct builder *b = &g->b;
    value_id slope = input(g, "slope", g->dtype, &g->heads, 1);
    value_id apart = b_cast(b, b_sub(b, number_of(g, 1), number_of(g, 0)), g->dtype);
    slope = b_unsqueeze(b, b_unsqueeze(b, slope, 1), 2);
    value_id s = b_add(b, scores(g, "q", "k"), b_mul(b, slope, b_scale(b, apart, 0.01)));
    return weighted(g, softmax(b, s, 3));
}

/* A number of a table for each head and distance. */
static value_id relative(struct building *g)
{
    struct builder *b = &g->b;
    const dim_id shape[] = {b_dim_const(b, TABLE), g->heads};
    value_id apart = b_shift(b, b_sub(b, number_of(g, 1), number_of(g, 0)), TABLE / 2);
    apart = b_min_const(b, b_max_const(b, apart, 0), TABLE - 1);
    value_id bias = b_take(b, input(g, "table", g->dtype, shape, 2), apart, 0);
    bias = b_transpose(b, bias, (const uint8_t[]){2, 0, 1});
    return weighted(g, softmax(b, b_add(b, scores(g, "q", "k"), bias), 3));
}

/* The first rows and keys of a mask of the greatest size. */
static value_id buffer(struct building *g)
{
    struct builder *b = &g->b;
    dim_id zero = b_dim_const(b, 0), whole = b_dim_const(b, 512);
    value_id mask = input(g, "mask", DTYPE_BOOL, (const dim_id[]){whole, whole}, 2);
    mask = b_slice(b, b_slice(b, mask, 0, zero, g->rows, 1), 1, zero, g->keys, 1);
    value_id s = b_select(b, mask, scores(g, "q", "k"), b_const(b, g->dtype, -1e9));
    return weighted(g, softmax(b, s, 3));
}

/* yᵀ = vᵀ·pᵀ */
static value_id values_first(struct building *g)
{
    struct builder *b = &g->b;
    value_id p = softmax(b, scores(g, "q", "k"), 3);
    return b_contract(b, b_swap(b, operand(g, "v", g->heads, g->keys), 2, 3), p, 2, 1);
}

/* sᵀ = k·qᵀ, [keys, rows]. */
static value_id keys_first(struct building *g)
{
    struct builder *b = &g->b;
    value_id k = operand(g, "k", g->heads, g->keys), q = operand(g, "q", g->heads, g->rows);
    value_id p = softmax(b, b_scale(b, b_contract(b, k, q, 2, 1), 0.5), 2);
    return weighted(g, b_swap(b, p, 2, 3));
}

/* Products in f16, weights in f32 in between. */
static value_id narrow(struct building *g)
{
    struct builder *b = &g->b;
    g->dtype = DTYPE_F16;
    value_id p = softmax(b, b_cast(b, scores(g, "q", "k"), DTYPE_F32), 3);
    return weighted(g, b_cast(b, p, DTYPE_F16));
}

/* Queries, keys and values are parts of one projection, and the result is added to its operand. */
static value_id module(struct building *g)
{
    struct builder *b = &g->b;
    const dim_id width = b_dim_const(b, HEADS * DEPTH), three = b_dim_const(b, 3 * HEADS * DEPTH);
    value_id x = input(g, "x", g->dtype, (const dim_id[]){g->batch, g->rows, width}, 3);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        char names[2][8] = {{'i', 'n', (char)('0' + layer)}, {'o', 'u', 't', (char)('0' + layer)}};
        const value_id in[8] = {
            x,          VALUE_NONE,
            VALUE_NONE, input(g, names[0], g->dtype, (const dim_id[]){three, width}, 2),
            VALUE_NONE, input(g, names[1], g->dtype, (const dim_id[]){width, width}, 2)};
        const struct op_value attrs[] = {{.name = "num_heads", .kind = OP_INT, .i = HEADS},
                                         {.name = "is_causal", .kind = OP_BOOL, .i = true}};
        value_id out[OP_MAX_OUTPUTS] = {VALUE_NONE};
        const struct op_arguments arguments = {in, 6, attrs, 2, false};
        uint32_t count;
        op_expand(b, op_find("multi_head_attention"), &arguments, out, &count, b->err);
        x = b_add(b, x, out[0]);
    }
    return x;
}

static value_id biased_layers(struct building *g, value_id bias)
{
    struct builder *b = &g->b;
    value_id k = operand(g, "k", g->heads, g->keys), v = operand(g, "v", g->heads, g->keys);
    value_id y = operand(g, "q", g->heads, g->rows);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        value_id s = b_add(b, b_contract(b, y, k, 2, 1), b_scale(b, bias, layer + 0.5));
        y = b_contract(b, softmax(b, s, 3), b_swap(b, v, 2, 3), 2, 1);
    }
    return y;
}

/* One bias for all layers: its gradient is the sum of what they give. */
static value_id shared_bias(struct building *g)
{
    const dim_id shape[] = {g->heads, g->rows, g->keys};
    return biased_layers(g, input(g, "bias", g->dtype, shape, 3));
}

/* As large as the scores: what layers give is added in none of their loops. */
static value_id shared_scores(struct building *g)
{
    const dim_id shape[] = {g->batch, g->heads, g->rows, g->keys};
    return biased_layers(g, input(g, "bias", g->dtype, shape, 4));
}

static value_id no_batch(struct building *g)
{
    struct builder *b = &g->b;
    value_id q = input(g, "q", g->dtype, (const dim_id[]){g->rows, g->depth}, 2);
    value_id k = input(g, "k", g->dtype, (const dim_id[]){g->keys, g->depth}, 2);
    value_id v = input(g, "v", g->dtype, (const dim_id[]){g->depth, g->keys}, 2);
    return b_contract(b, softmax(b, b_contract(b, q, k, 0, 1), 1), v, 0, 1);
}

#define F64 DTYPE_F64
#define BOOL DTYPE_BOOL
static const struct form forms[] = {
    {"no mask", operator, NULL, 0, false, false, NULL, NOTHING},
    {"causal", operator, NULL, 0, true, false, NULL, NOTHING},
    {"a bool mask", operator, "TU", BOOL, false, false, NULL, NOTHING},
    {"a bool mask of each example", operator, "A1TU", BOOL, false, false, NULL, NOTHING},
    {"a bool mask of each head", operator, "AHTU", BOOL, false, false, NULL, NOTHING},
    {"a bool mask for all", operator, "11TU", BOOL, true, false, NULL, NOTHING},
    {"a bool mask of keys", operator, "A11U", BOOL, false, false, NULL, NOTHING},
    {"a float mask", operator, "TU", F64, false, false, NULL, HEAD},
    {"a float mask of each example", operator, "A1TU", F64, true, false, NULL, HEAD},
    {"a float mask of keys", operator, "A11U", F64, false, false, NULL, NOTHING},
    {"a float mask of each head", operator, "AHTU", F64, false, false, NULL, SCORES},
    {"the gradient of a mask alone", operator, "TU", F64, false, false, "mask", HEAD},
    {"the gradient of queries alone", operator, "A1TU", F64, false, false, "q", NOTHING},
    {"the gradient of keys alone", operator, "A1TU", BOOL, false, false, "k", NOTHING},
    {"the gradient of values alone", operator, "A1TU", BOOL, false, false, "v", NOTHING},
    {"queries alone, no mask", operator, NULL, 0, true, false, "q", NOTHING},
    {"values alone, no mask", operator, NULL, 0, false, false, "v", NOTHING},
    {"grouped heads", operator, NULL, 0, false, true, NULL, NOTHING},
    {"grouped heads, causal", operator, NULL, 0, true, true, NULL, NOTHING},
    {"grouped heads, a bool mask", operator, "A1TU", BOOL, false, true, NULL, NOTHING},
    {"grouped heads, a bool mask of each head", operator, "AHTU", BOOL, true, true, NULL, NOTHING},
    {"grouped heads, a float mask", operator, "TU", F64, false, true, NULL, HEAD},
    {"grouped heads, queries alone", operator, NULL, 0, false, true, "q", NOTHING},
    {"grouped heads, keys alone", operator, "TU", BOOL, false, true, "k", NOTHING},
    {"two products", two_products, NULL, 0, false, false, NULL, NOTHING},
    {"two products, one key alone", two_products, NULL, 0, false, false, "k1", NOTHING},
    {"a product that is the same for all heads", shared_product, NULL, 0, false, false, NULL,
     NOTHING},
    {"a slope of each head", alibi, NULL, 0, false, false, NULL, NOTHING},
    {"a table of distances", relative, NULL, 0, false, false, NULL, HEAD},
    {"part of a mask", buffer, NULL, 0, false, false, NULL, HEAD},
    {"values are the first operand", values_first, NULL, 0, false, false, NULL, NOTHING},
    {"keys are the first operand", keys_first, NULL, 0, false, false, NULL, NOTHING},
    {"f16", narrow, NULL, 0, false, false, NULL, NOTHING},
    {"two modules", module, NULL, 0, false, false, NULL, NOTHING},
    {"one bias for two layers", shared_bias, NULL, 0, false, false, NULL, HEAD},
    {"one bias as large as scores", shared_scores, NULL, 0, false, false, NULL, SCORES},
    {"no batch", no_batch, NULL, 0, false, false, NULL, NOTHING},
};

static const int64_t sizes[] = {0, 1, 2, 33, 64, 65, 129};

/* typical: of the rows; 0: not declared. */
static void build(struct building *g, int64_t least, int64_t typical)
{
    struct builder *b = &g->b;
    uint32_t name = 0;
    const struct dim_name rows = {
        .name = "T", .min = least, .max = 512, .multiple_of = 1, .typical = typical};
    dim_declare(&b->graph->dims, &rows, &name, b->err);
    g->dtype = DTYPE_F64;
    g->batch = b_dim_const(b, BATCH);
    g->heads = b_dim_const(b, HEADS);
    g->depth = b_dim_const(b, DEPTH);
    g->rows = g->keys = dim_named(&b->graph->dims, name);
    graph_output(b->graph, "y", g->form->build(g), b->err);
    if (b->err->code != 0)
        fail_msg("%s: %s", g->form->what, b->err->message);
}

/* Masks close half of the keys, and all keys of some rows; the first and the last row are open. */
static void draw(struct point *p)
{
    grad_point_init(p);
    for (uint32_t s = 0; s < p->source_count; s++) {
        struct interp_tensor *t = &p->sources[s];
        const char *name = graph_node(p->graph, grad_source(p->graph, s))->attrs->name;
        int64_t keys = t->shape[t->rank - 1];
        for (int64_t e = 0; e < t->count; e++) {
            int64_t row = e / keys % 7;
            double drawn = grad_drawn(rng_key(7 + s), e);
            bool closed = row == 3 || (row != 0 && drawn < 0);
            if (t->dtype == DTYPE_BOOL)
                t->cells[e].i = !closed;
            else
                t->cells[e].f = strcmp(name, "mask") == 0 && closed ? (double)-INFINITY : 2 * drawn;
        }
    }
}

/* Loops of the training graph, and the most that is stored. */
static uint32_t look(struct arena *arena, const struct building *g, enum stored *out)
{
    struct graph training, gradients;
    struct error err = {0};
    const struct grad_training asked = {.wrt = g->form->wrt ? &g->form->wrt : NULL,
                                        .wrt_count = g->form->wrt ? 1 : 0};
    if (!grad_training_graph(&training, arena, g->b.graph, &asked, &err) ||
        !graph_verify(&training, &err))
        fail_msg("%s: %s: %s", g->form->what, err.place, err.message);
    training.outputs.items++;
    training.outputs.count--;
    assert_true(graph_copy_live(&gradients, arena, &training, &err));
    struct dim_table *dims = &gradients.dims;
    dim_id head = dim_mul(dims, dim_import(dims, &g->b.graph->dims, g->rows),
                          dim_import(dims, &g->b.graph->dims, g->keys));
    int64_t heads = g->form->build == no_batch ? 1 : BATCH * HEADS, times;
    *out = NOTHING;
    for (value_id v = 1; v < gradients.nodes.count; v++) {
        dim_id factor = dim_div_exact(dims, graph_elements(&gradients, v), head);
        if (factor == DIM_NONE || !dim_is_const(dims, factor, &times) ||
            graph_node(&gradients, v)->prim == PRIM_INPUT)
            continue;
        *out = times >= heads ? SCORES : *out == NOTHING ? HEAD : *out;
    }
    return gradients.loops;
}

static void same(const struct form *form, int64_t size, const struct interp_tensor *a,
                 const struct interp_tensor *b)
{
    assert_int_equal(a->count, b->count);
    double largest = 1;
    for (int64_t e = 0; e < a->count; e++)
        largest = fmax(largest, fabs(b->cells[e].f));
    for (int64_t e = 0; e < a->count; e++) {
        double x = a->cells[e].f, y = b->cells[e].f;
        if (!(isnan(x) && isnan(y)) && !(fabs(x - y) <= GRAD_TOLERANCE * largest))
            fail_msg("%s, T = %d: %.15g in strips, else %.15g", form->what, (int)size, x, y);
    }
}

static void compare(struct arena *arena, const struct building *strips,
                    const struct building *whole, int64_t size)
{
    const struct building *both[] = {strips, whole};
    struct interp_tensor gradients[2][8] = {{{0}}};
    struct sides sides = {0};
    const char *what = strips->form->what;
    for (uint32_t i = 0; i < 2; i++) {
        struct error err = {0};
        struct point p = {arena, both[i]->b.graph, &size, NULL,
                          0,     (uint64_t)size,   false, both[i]->form->wrt};
        draw(&p);
        sides = (struct sides){0};
        if (!grad_backward(&p, &sides, gradients[i], &err) || !grad_forward(&p, &sides, &err))
            fail_msg("%s, T = %d: %s: %s", what, (int)size, err.place, err.message);
        if (!(fabs(sides.forward - sides.backward) <= GRAD_TOLERANCE * sides.magnitude))
            fail_msg("%s, T = %d: %g forward, %g backward", what, (int)size, sides.forward,
                     sides.backward);
    }
    assert_true(size < 2 || sides.forward != 0);
    for (uint32_t s = 0; s < 8; s++)
        same(strips->form, size, &gradients[0][s], &gradients[1][s]);
}

/* The loops of a form. */
static uint32_t loops_of(const struct form *form)
{
    if (form->build == shared_scores)
        return 0;
    return form->build == module || form->build == shared_bias ? LAYERS : 1;
}

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct arena arena;
        struct graph graphs[3];
        struct error err = {0};
        struct building g[3]; /* in strips, with no rows, too; whole */
        enum stored stored;
        uint32_t expected = loops_of(&forms[i]);
        arena_init(&arena);
        for (uint32_t k = 0; k < 3; k++) {
            graph_init(&graphs[k], &arena);
            g[k] = (struct building){.b = {&graphs[k], &err}, .form = &forms[i]};
            build(&g[k], k == 0, k == 2 ? 16 : 0);
            uint32_t loops = look(&arena, &g[k], &stored);
            /* Of two layers the first one's result is needed. */
            bool judged = k < 2 && expected == 1;
            if (loops != (k < 2) * expected || (judged && stored != forms[i].stored))
                fail_msg("%s: %u loops, stores %d", forms[i].what, loops, (int)stored);
        }
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            compare(&arena, &g[k % 2 || sizes[k] == 0], &g[2], sizes[k]);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};
    return cmocka_run_group_tests_name("strips_forms", tests, NULL, NULL);
}
