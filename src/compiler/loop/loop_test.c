/* Index arithmetic is compared with plain int64 arithmetic; the verifier must refuse broken
 * nests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/loop/loop_priv.h"
#include "compiler/loop/text.h"
#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct dim_table dims;
    struct nest nest;
    uint32_t s_name;
    dim_id S;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {0};
    arena_init(&f->arena);
    dim_table_init(&f->dims, &f->arena);
    assert_true(dim_declare(&f->dims,
                            &(struct dim_name){.name = "S", .min = 1, .max = 100, .multiple_of = 1},
                            &f->s_name, &err));
    f->S = dim_named(&f->dims, f->s_name);
    nest_init(&f->nest, &f->arena, &f->dims, "test");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    free(f);
    return 0;
}

static int64_t eval(const struct nest *nest, expr_id e, const int64_t *vars, int64_t S)
{
    const struct expr *x = expr_at(nest, e);
    int64_t a = x->operand[0] ? eval(nest, x->operand[0], vars, S) : 0;
    int64_t b = x->operand[1] ? eval(nest, x->operand[1], vars, S) : 0;
    switch ((enum expr_op)x->op) {
    case EXPR_CONST: return x->integer;
    case EXPR_VAR: return vars[x->index];
    case EXPR_DIM: return S;
    case EXPR_ADD: return a + b;
    case EXPR_MUL: return a * b;
    case EXPR_FLOORDIV: return a / b;
    case EXPR_FLOORMOD: return a % b;
    case EXPR_MIN: return a < b ? a : b;
    case EXPR_MAX: return a > b ? a : b;
    default: assert_true(0); return 0;
    }
}

static void splitting_and_joining_an_index_is_the_identity(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    expr_id S = expr_dim(n, f->S), c64 = index_const(n, 64);
    uint32_t v = nest_var(n, "e", OVER_NONE, index_mul(n, S, c64));
    expr_id e = expr_var(n, v);
    expr_id q = index_div(n, e, c64), r = index_mod(n, e, c64);
    assert_int_equal(index_add(n, index_mul(n, q, c64), r), e);
    /* three levels: (e / 64 / S', …) */
    expr_id c8 = index_const(n, 8), q8 = index_div(n, q, c8), r8 = index_mod(n, q, c8);
    expr_id back = index_add(n, index_mul(n, index_add(n, index_mul(n, q8, c8), r8), c64), r);
    assert_int_equal(back, e);
}

static void merged_symbolic_indices_come_apart_again(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    expr_id S = expr_dim(n, f->S);
    uint32_t b = nest_var(n, "b", OVER_NONE, index_const(n, 7)), s = nest_var(n, "s", OVER_NONE, S);
    expr_id flat = index_add(n, index_mul(n, expr_var(n, b), S), expr_var(n, s));
    assert_int_equal(index_div(n, flat, S), expr_var(n, b));
    assert_int_equal(index_mod(n, flat, S), expr_var(n, s));
    assert_int_equal(index_stride(n, flat, b), S);
    int64_t one;
    assert_true(index_is_const(n, index_stride(n, flat, s), &one) && one == 1);
}

static void a_shifted_tile_stays_inside(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    expr_id M = index_const(n, 100), c12 = index_const(n, 12);
    uint32_t mo = nest_var(n, "mo", OVER_NONE, index_const(n, 9)),
             mi = nest_var(n, "mi", OVER_NONE, c12);
    expr_id start = index_min(n, index_mul(n, expr_var(n, mo), c12), index_sub(n, M, c12));
    expr_id m = index_add(n, start, expr_var(n, mi));
    assert_true(index_le(n, index_add(n, m, index_const(n, 1)), M));
    assert_true(index_le(n, index_const(n, 0), m));
    assert_false(index_le(n, index_add(n, m, index_const(n, 2)), M));
}

/* Windows of stride 2, in one layer and in the next, and of stride 3. Whether it is proven is
 * compared with all sizes, so nothing false may be proven either. */
static void quotients_are_compared(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    static const struct {
        const char *less, *more;
        bool proven;
    } cases[] = {
        {"2*((S + 1)//2)", "S + 1", true},
        {"2*((S + 1)//2)", "S", false},
        {"S", "2*((S + 1)//2)", true},
        {"S + 1", "2*((S + 1)//2)", false},
        {"2*((S + 3)//4)", "(S + 1)//2 + 1", true},
        {"2*((S + 3)//4)", "(S + 1)//2", false},
        {"2*((S + 7)//8)", "(S + 3)//4 + 1", true},
        {"4*((S + 7)//8)", "(S + 1)//2 + 3", true},
        {"4*((S + 7)//8)", "(S + 1)//2 + 2", false},
        {"S//2", "S//3", false},
        {"S*((S + 2)//3)*3", "S*(S + 2)", true},
        {"5*(S//5) + 4", "S", false},
        {"S", "5*(S//5) + 4", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dim_id less, more;
        struct error err;
        const char *a = cases[i].less, *b = cases[i].more;
        assert_true(dim_parse(&f->dims, &a, &less, &err) && dim_parse(&f->dims, &b, &more, &err));
        bool holds = true;
        for (int64_t S = 1, x, y; S <= 200; S++) {
            assert_true(dim_eval(&f->dims, less, &S, &x) && dim_eval(&f->dims, more, &S, &y));
            holds &= x <= y;
        }
        bool proven = index_le(n, expr_dim(n, less), expr_dim(n, more));
        if (proven != cases[i].proven || holds != cases[i].proven)
            print_error("%s <= %s: %d, proven %d\n", cases[i].less, cases[i].more, holds, proven);
        assert_int_equal(holds, cases[i].proven);
        assert_int_equal(proven, cases[i].proven);
    }
}

/* Of what may be negative, too. */
static void dims_divide_downwards(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"(S - 9)//2",  "(3*S - 200)//7", "max(0, (7 - S)//3)",
                                        "(S - 40)//S", "(40 - 3*S)//S",  "(S*S - 99*S)//(S + 1)"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *at = texts[i];
        struct error err;
        dim_id dim;
        assert_true(dim_parse(&f->dims, &at, &dim, &err));
        expr_id e = expr_dim(&f->nest, dim);
        for (int64_t S = 1; S <= 100; S++) {
            int64_t expected;
            assert_true(dim_eval(&f->dims, dim, &S, &expected));
            assert_int_equal(eval(&f->nest, e, NULL, S), expected);
        }
    }
}

/* Draws random index expressions of three variables and a dim, each with its value for given values
 * of these. */
struct indices {
    struct nest *nest;
    uint64_t key, counter;
    const int64_t *vars;
    int64_t S;
    dim_id dim_S;
};

static uint32_t draw(struct indices *r)
{
    return rng_u32(r->key, r->counter++);
}

static expr_id random_leaf(struct indices *r, uint32_t kind, int64_t constant, int64_t *value)
{
    if (kind == 0) {
        *value = constant;
        return index_const(r->nest, constant);
    }
    if (kind == 1) {
        *value = r->S;
        return expr_dim(r->nest, r->dim_S);
    }
    uint32_t v = draw(r) % 3;
    *value = r->vars[v];
    return expr_var(r->nest, v);
}

static expr_id random_index(struct indices *r, int depth, int64_t *value)
{
    struct nest *n = r->nest;
    uint32_t kind = draw(r) % (depth == 0 ? 3 : 8);
    int64_t a, b, c = 1 + draw(r) % 9;
    if (kind < 3)
        return random_leaf(r, kind, c, value);
    expr_id x = random_index(r, depth - 1, &a), y = random_index(r, depth - 1, &b);
    switch (kind) {
    case 3: *value = a + b; return index_add(n, x, y);
    case 4: *value = a * c; return index_mul(n, x, index_const(n, c));
    case 5: *value = a / c; return index_div(n, x, index_const(n, c));
    case 6: *value = a % c; return index_mod(n, x, index_const(n, c));
    default: *value = a < b ? a : b; return index_min(n, x, y);
    }
}

/* A group of 8 channels of images: pixel numbers divided by the pixels of a group. */
static void common_factors_leave_a_quotient(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    expr_id sizes[] = {index_const(n, 28), expr_dim(n, f->S)}, eight = index_const(n, 8);
    expr_id c = expr_var(n, nest_var(n, "c", OVER_NONE, index_const(n, 256)));
    for (int k = 0; k < 2; k++) {
        expr_id y = expr_var(n, nest_var(n, "y", OVER_NONE, sizes[k])),
                x = expr_var(n, nest_var(n, "x", OVER_NONE, sizes[0]));
        expr_id pixels = index_mul(n, sizes[k], sizes[0]);
        expr_id pixel = index_add(n, index_mul(n, y, sizes[0]), x);
        expr_id at = index_add(n, index_mul(n, c, pixels), pixel);
        expr_id group = index_mul(n, eight, pixels);
        assert_int_equal(index_div(n, at, group), index_div(n, c, eight));
        expr_id rest = index_add(n, index_mul(n, index_mod(n, c, eight), pixels), pixel);
        assert_int_equal(index_mod(n, at, group), rest);
        expr_id far = index_add(n, at, pixels); /* the rest is not below the factor, but has it as a
                                                   term */
        assert_int_equal(index_div(n, far, group),
                         index_div(n, index_add(n, c, index_const(n, 1)), eight));
        expr_id odd = index_add(n, at, index_const(n, 1)); /* may be the next channel's first
                                                              pixel */
        assert_int_equal(expr_at(n, index_div(n, odd, group))->op, EXPR_FLOORDIV);
        assert_int_not_equal(index_div(n, odd, group), index_div(n, c, eight));
    }
}

static void simplified_indices_keep_their_values(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    nest_var(n, "i", OVER_NONE, index_const(n, 5));
    nest_var(n, "j", OVER_NONE, expr_dim(n, f->S));
    nest_var(n, "k", OVER_NONE, index_const(n, 1000));
    struct indices r = {.nest = n, .key = rng_key(11), .dim_S = f->S};
    for (int round = 0; round < 3000; round++) {
        int64_t S = 1 + draw(&r) % 100;
        int64_t vars[3] = {draw(&r) % 5, draw(&r) % (uint32_t)S, draw(&r) % 1000};
        int64_t value, lo, hi;
        r.vars = vars;
        r.S = S;
        expr_id e = random_index(&r, 4, &value);
        assert_int_equal(eval(n, e, vars, S), value);
        index_range(n, e, &lo, &hi);
        assert_true(lo <= value && value <= hi);
    }
}

/* Whether e is negative with every variable at the first value of its loop, or at the last. */
static bool negative_at(const struct nest *n, expr_id e, int64_t S, bool last)
{
    const int64_t first_vars[3] = {0}, last_vars[3] = {4, S - 1, 999};
    return eval(n, e, last ? last_vars : first_vars, S) < 0;
}

/* Differences of random indices, against evaluation at the ends of ranges. */
static void a_refuted_index_is_negative_somewhere(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    nest_var(n, "i", OVER_NONE, index_const(n, 5));
    nest_var(n, "j", OVER_NONE, expr_dim(n, f->S));
    nest_var(n, "k", OVER_NONE, index_const(n, 1000));
    const int64_t vars[3] = {0};
    struct indices r = {.nest = n, .key = rng_key(12), .dim_S = f->S, .vars = vars, .S = 1};
    int refuted = 0, proven = 0;
    for (int round = 0; round < 3000; round++) {
        int64_t ignored;
        expr_id a = random_index(&r, 3, &ignored), b = random_index(&r, 3, &ignored);
        expr_id e = index_sub(n, b, a);
        bool negative = negative_at(n, e, 1, false) || negative_at(n, e, 100, false) ||
                        negative_at(n, e, 67, true) || negative_at(n, e, 100, true);
        assert_int_equal(index_refuted(n, e), negative);
        assert_false(negative && index_le(n, a, b));
        refuted += negative;
        proven += index_le(n, a, b);
    }
    assert_in_range(refuted, 500, 2500);
    assert_in_range(proven, 100, 2500);
}

/* Neither a loop that does not run nor a quotient of a negative number refutes anything; a loop
 * that may run further has its further values, too. */
static void only_legal_points_refute(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    expr_id S = expr_dim(n, f->S), two = index_const(n, 2), nine = index_const(n, 9);
    expr_id beyond = expr_var(n, nest_var(n, "i", OVER_NONE, index_sub(n, S, S)));
    assert_false(index_refuted(n, index_sub(n, beyond, nine)));
    expr_id below = index_sub(n, S, index_const(n, 101));
    expr_id quotient = expr_intern(
        n, (struct expr){.op = EXPR_FLOORDIV, .dtype = DTYPE_I64, .operand = {below, two}});
    assert_false(index_refuted(n, quotient));
    uint32_t var = nest_var(n, "j", OVER_NONE, two);
    expr_id left = index_sub(n, nine, expr_var(n, var));
    assert_false(index_refuted(n, left));
    n->vars.items[var].full = index_const(n, 11);
    assert_true(index_refuted(n, left));
}

static void the_verifier_refuses_broken_nests(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    struct error err = {0};
    expr_id S = expr_dim(n, f->S);
    uint32_t out = nest_buffer(
        n, &(struct nest_buffer){.name = "y", .dtype = DTYPE_F32, .role = ROLE_OUT, .elements = S});
    uint32_t in = nest_buffer(
        n, &(struct nest_buffer){.name = "x", .dtype = DTYPE_F32, .role = ROLE_IN, .elements = S});
    uint32_t v = nest_var(n, "i", OVER_NONE, S);
    expr_id i = expr_var(n, v);
    struct stmt *loop = stmt_for(n, v, true);
    struct stmt *store = stmt_store(n, out, i, expr_load(n, in, i, EXPR_NONE), EXPR_NONE);
    block_add(n, &loop->body, store);
    block_add(n, &n->body, loop);
    assert_true(nest_verify(n, &err));
    loop->loop_kind = LOOP_JAM; /* extent not constant */
    assert_false(nest_verify(n, &err));
    assert_int_equal(err.code, ERR_BUG);
    loop->loop_kind = LOOP_SERIAL;
    store->buffer = in;
    assert_false(nest_verify(n, &err));
    store->buffer = out;
    block_add(n, &n->body, store); /* i outside its loop */
    assert_false(nest_verify(n, &err));
}

static void a_prefetch_is_printed_and_verified(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    struct error err = {0};
    struct strbuf text;
    expr_id S = expr_dim(n, f->S);
    uint32_t x = nest_buffer(
        n, &(struct nest_buffer){.name = "x", .dtype = DTYPE_I64, .role = ROLE_IN, .elements = S});
    uint32_t j = nest_var(n, "j", OVER_NONE, index_const(n, 3)), k = nest_var(n, "k", OVER_NONE, S);
    expr_id at = index_add(n, expr_var(n, k), index_const(n, 8));
    struct stmt *rows = stmt_for(n, j, true), *loop = stmt_for(n, k, true);
    struct stmt *ahead = stmt_prefetch(n, x, at);
    rows->loop_kind = LOOP_JAM;
    block_add(n, &loop->body, ahead);
    block_add(n, &rows->body, loop);
    block_add(n, &n->body, rows);
    assert_true(nest_verify(n, &err));
    strbuf_init(&text, &f->arena);
    nest_print(n, &text);
    assert_non_null(strstr(text.data, "prefetch x["));
    ahead->buffer = 7;
    assert_false(nest_verify(n, &err));
    ahead->buffer = x;
    ahead->index = expr_load(n, x, expr_var(n, k), EXPR_NONE); /* a load that may read outside of
                                                                  its buffer */
    assert_false(nest_verify(n, &err));
    ahead->index = expr_const(n, DTYPE_F32, 1);
    assert_false(nest_verify(n, &err));
    ahead->index = at;
    nest_expand_jam(n); /* one for all rows, because the address is the same */
    assert_int_equal(n->body.stmts.items[0]->body.stmts.count, 1);
    ahead->index = index_add(n, at, expr_var(n, j));
    struct block one = {0};
    block_add(n, &one, rows);
    n->body = one;
    nest_expand_jam(n);
    assert_int_equal(n->body.stmts.items[0]->body.stmts.count, 3);
}

static void a_copy_renames_what_it_declares(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    struct error err = {0};
    expr_id S = expr_dim(n, f->S);
    uint32_t out = nest_buffer(
        n, &(struct nest_buffer){.name = "y", .dtype = DTYPE_F32, .role = ROLE_OUT, .elements = S});
    uint32_t in = nest_buffer(
        n, &(struct nest_buffer){.name = "x", .dtype = DTYPE_F32, .role = ROLE_IN, .elements = S});
    uint32_t v = nest_var(n, "i", OVER_NONE, S), k = nest_var(n, "k", OVER_NONE, S),
             l = nest_local(n, "acc", DTYPE_F32);
    struct stmt *loop = stmt_for(n, v, true), *inner = stmt_for(n, k, false);
    block_add(n, &loop->body, stmt_local(n, l, expr_const(n, DTYPE_F32, 0)));
    block_add(n, &inner->body,
              stmt_update(n, l, COMBINE_SUM, expr_load(n, in, expr_var(n, k), EXPR_NONE)));
    block_add(n, &loop->body, inner);
    block_add(n, &loop->body, stmt_store(n, out, expr_var(n, v), expr_local(n, l), EXPR_NONE));
    struct block copy = {0};
    block_copy(n, &loop->body, &copy, v, index_const(n, 3));
    for (uint32_t i = 0; i < copy.stmts.count; i++)
        block_add(n, &n->body, copy.stmts.items[i]);
    block_add(n, &n->body, loop);
    assert_true(nest_verify(n, &err));
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    nest_print(n, &text);
    assert_non_null(strstr(text.data, "y[3] = acc@1\n"));
    assert_non_null(strstr(text.data, "for k2 in S reduce"));
}

/* The nest y[i] = x[i] * t[0], and what each row of digest_sees_what_decides changes in it. */
struct change {
    const char *name;
    int64_t max;
    float table;
    double factor;
    enum loop_kind kind;
    bool stream;
};

static void digest_of(const struct change *c, uint8_t out[32])
{
    struct arena arena;
    struct dim_table dims;
    struct nest n;
    struct error err = {0};
    uint32_t s;
    float table[1] = {c->table};
    struct dim_name S = {.name = c->name, .min = 1, .max = c->max, .multiple_of = 1};
    arena_init(&arena);
    dim_table_init(&dims, &arena);
    assert_true(dim_declare(&dims, &S, &s, &err));
    nest_init(&n, &arena, &dims, c->name);
    expr_id extent = expr_dim(&n, dim_named(&dims, s));
    expr_id always = expr_int(&n, DTYPE_BOOL, 1);
    struct nest_buffer buffer = {.name = c->name,
                                 .dtype = DTYPE_F32,
                                 .role = ROLE_OUT,
                                 .elements = extent,
                                 .stream = c->stream ? always : EXPR_NONE};
    uint32_t y = nest_buffer(&n, &buffer);
    buffer.role = ROLE_IN;
    buffer.stream = EXPR_NONE;
    uint32_t x = nest_buffer(&n, &buffer);
    buffer = (struct nest_buffer){.name = c->name,
                                  .dtype = DTYPE_F32,
                                  .role = ROLE_TABLE,
                                  .elements = index_const(&n, 1),
                                  .table = table,
                                  .table_bytes = sizeof table};
    uint32_t t = nest_buffer(&n, &buffer), var = nest_var(&n, c->name, OVER_NONE, extent);
    struct stmt *loop = stmt_for(&n, var, true);
    loop->loop_kind = (uint8_t)c->kind;
    expr_id i = expr_var(&n, var), v = expr_load(&n, x, i, EXPR_NONE);
    v = expr_binary(&n, EXPR_MUL, v, expr_load(&n, t, index_const(&n, 0), EXPR_NONE));
    v = expr_binary(&n, EXPR_MUL, v, expr_const(&n, DTYPE_F32, c->factor));
    block_add(&n, &loop->body, stmt_store(&n, y, i, v, EXPR_NONE));
    block_add(&n, &n.body, loop);
    nest_digest(&n, out);
    arena_release(&arena);
}

/* A value that is exact in the dtype is not rounded again; a store rounds once. */
static void narrow_floats_round_once(void **state)
{
    struct fixture *f = *state;
    struct nest *n = &f->nest;
    expr_id zero = index_const(n, 0), one = index_const(n, 1);
    uint32_t in[2],
        out = nest_buffer(n,
                          &(struct nest_buffer){
                              .name = "y", .dtype = DTYPE_BF16, .role = ROLE_OUT, .elements = one});
    for (int i = 0; i < 2; i++)
        in[i] = nest_buffer(n, &(struct nest_buffer){.name = "x",
                                                     .dtype = i ? DTYPE_F32 : DTYPE_BF16,
                                                     .role = ROLE_IN,
                                                     .elements = one});
    expr_id x = expr_load(n, in[0], zero, EXPR_NONE), w = expr_load(n, in[1], zero, EXPR_NONE);
    expr_id sum = expr_binary(n, EXPR_ADD, x, x), r = expr_round(n, sum, DTYPE_BF16);
    expr_id choice = expr_select(n, expr_binary(n, EXPR_LT, x, r), expr_unary(n, EXPR_NEG, r),
                                 expr_const(n, DTYPE_F32, 0.5));
    assert_int_equal(expr_round(n, x, DTYPE_BF16), x);
    assert_int_equal(expr_round(n, choice, DTYPE_BF16), choice);
    assert_int_equal(expr_round(n, r, DTYPE_BF16), r);
    assert_true(r != sum && expr_at(n, r)->dtype == DTYPE_F32);
    assert_false(expr_is_rounded(n, w, DTYPE_BF16));
    assert_false(expr_is_rounded(n, r, DTYPE_F16)); /* f16 has a smaller range than bf16 */
    assert_false(expr_is_rounded(n, expr_const(n, DTYPE_F32, 1.001), DTYPE_BF16));
    assert_true(
        expr_is_rounded(n, expr_cast(n, expr_int(n, DTYPE_U8, 255), DTYPE_F32), DTYPE_BF16));
    assert_false(expr_is_rounded(n, x, DTYPE_F32));
    assert_int_equal(stmt_store(n, out, zero, r, EXPR_NONE)->value, sum);
    expr_id f16 = expr_round(n, sum, DTYPE_F16); /* a rounding to another dtype stays */
    assert_int_equal(stmt_store(n, out, zero, f16, EXPR_NONE)->value, f16);
}

static void digest_sees_what_decides(void **state)
{
    (void)state;
    static const struct change rows[] = {
        {"S", 100, 1, 3, LOOP_SERIAL, false},   {"S", 101, 1, 3, LOOP_SERIAL, false},
        {"S", 100, 2, 3, LOOP_SERIAL, false},   {"S", 100, 1, 4, LOOP_SERIAL, false},
        {"S", 100, 1, 3, LOOP_PARALLEL, false}, {"S", 100, 1, 3, LOOP_SERIAL, true},
    };
    enum { COUNT = sizeof rows / sizeof rows[0] };
    uint8_t digests[COUNT][32], other[32];
    for (int i = 0; i < COUNT; i++) {
        struct change renamed = rows[i];
        renamed.name = "T";
        digest_of(&rows[i], digests[i]);
        digest_of(&renamed, other);
        assert_memory_equal(digests[i], other, 32);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(digests[i], digests[j], 32);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(quotients_are_compared),
        T(dims_divide_downwards),
        T(splitting_and_joining_an_index_is_the_identity),
        T(merged_symbolic_indices_come_apart_again),
        T(a_shifted_tile_stays_inside),
        T(common_factors_leave_a_quotient),
        T(simplified_indices_keep_their_values),
        T(a_refuted_index_is_negative_somewhere),
        T(only_legal_points_refute),
        T(the_verifier_refuses_broken_nests),
        T(a_prefetch_is_printed_and_verified),
        T(a_copy_renames_what_it_declares),
        T(narrow_floats_round_once),
        cmocka_unit_test(digest_sees_what_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
