/* Names and unions, what values come from, and what becomes of origins when a graph is rebuilt. */
#include "base/error.h"
#include "base/strbuf.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
    value_id x;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    *f = (struct fixture){0};
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    dim_id four = dim_const(&f->graph.dims, 4);
    f->x = graph_input(&f->graph, "x", DTYPE_F32, &four, 1, &f->err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

/* "a b" */
static const char *names_of(struct arena *arena, const struct graph *graph, origin_id origin)
{
    struct origin_set set;
    struct strbuf out;
    origin_set_init(&set, graph, arena);
    strbuf_init(&out, arena);
    origin_set_add(&set, origin);
    for (uint32_t i = 0; i < set.names.count; i++)
        strbuf_printf(&out, "%s%s", i > 0 ? " " : "", set.names.items[i]);
    return out.data;
}

static const char *names(struct fixture *f, value_id value)
{
    return names_of(&f->arena, &f->graph, graph_node(&f->graph, value)->origin);
}

static value_id unary(struct fixture *f, enum prim prim, value_id x, const char *node)
{
    f->graph.origin = node ? origin_of_node(&f->graph, node, ORIGIN_NONE) : ORIGIN_NONE;
    value_id value = graph_add(&f->graph, prim, &x, 1, NULL, &f->err);
    f->graph.origin = ORIGIN_NONE;
    return value;
}

static value_id binary(struct fixture *f, enum prim prim, value_id x, value_id y, const char *node)
{
    value_id both[2] = {x, y};
    f->graph.origin = node ? origin_of_node(&f->graph, node, ORIGIN_NONE) : ORIGIN_NONE;
    value_id value = graph_add(&f->graph, prim, both, 2, NULL, &f->err);
    f->graph.origin = ORIGIN_NONE;
    return value;
}

static void test_interning(void **state)
{
    struct fixture *f = *state;
    struct graph *g = &f->graph;
    origin_id a = origin_of_node(g, "a", ORIGIN_NONE), b = origin_of_node(g, "b", ORIGIN_NONE);
    assert_int_not_equal(a, b);
    assert_int_equal(origin_of_node(g, "a", ORIGIN_NONE), a);
    assert_int_not_equal(origin_both(g, a, b), origin_either(g, a, b));
    origin_id (*const joins[])(struct graph *, origin_id, origin_id) = {origin_both, origin_either};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(joins[i](g, ORIGIN_NONE, ORIGIN_NONE), ORIGIN_NONE);
        assert_int_equal(joins[i](g, a, ORIGIN_NONE), a);
        assert_int_equal(joins[i](g, ORIGIN_NONE, a), a);
        origin_id ab = joins[i](g, a, b), c = origin_of_node(g, "c", ORIGIN_NONE);
        assert_int_equal(joins[i](g, b, a), ab);
        assert_int_equal(joins[i](g, ab, a), ab);
        assert_int_equal(joins[i](g, b, ab), ab);
        assert_string_equal(names_of(&f->arena, g, joins[i](g, c, ab)), "a b c");
        assert_string_equal(names_of(&f->arena, g, joins[i](g, joins[i](g, c, ab), a)), "a b c");
    }
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    struct graph *g = &f->graph;
    char text[LIMIT_NAME + 8];
    origin_id a = origin_of_node(g, "a", ORIGIN_NONE);
    assert_string_equal(names_of(&f->arena, g, origin_of_node(g, "b", a)), "a/b");
    assert_int_equal(origin_of_node(g, "", a), a);
    assert_int_equal(origin_of_node(g, "", ORIGIN_NONE), ORIGIN_NONE);
    memset(text, 'n', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(strlen(names_of(&f->arena, g, origin_of_node(g, text, a))), LIMIT_NAME);
    memcpy(text + LIMIT_NAME - 2, "\xe2\x82\xac", 3); /* the last byte would not fit */
    assert_int_equal(strlen(names_of(&f->arena, g, origin_of_node(g, text, ORIGIN_NONE))),
                     LIMIT_NAME - 2);
    memcpy(text + LIMIT_NAME - 3, "\xe2\x82\xac", 3);
    text[LIMIT_NAME] = '\0';
    assert_int_equal(strlen(names_of(&f->arena, g, origin_of_node(g, text, ORIGIN_NONE))),
                     LIMIT_NAME);
}

/* The names of a set, with ";" where another origin was added. */
static const char *names_of_all(struct fixture *f, const origin_id *origins, uint32_t count)
{
    struct origin_set set;
    struct strbuf out;
    origin_set_init(&set, &f->graph, &f->arena);
    strbuf_init(&out, &f->arena);
    for (uint32_t i = 0, k = 0; i < count; i++) {
        origin_set_add(&set, origins[i]);
        strbuf_puts(&out, i > 0 ? ";" : "");
        for (; k < set.names.count; k++)
            strbuf_puts(&out, set.names.items[k]);
    }
    return out.data;
}

static void test_sets(void **state)
{
    struct fixture *f = *state;
    struct graph *g = &f->graph;
    struct origin_set set;
    origin_set_init(&set, g, &f->arena); /* before there is anything */
    origin_set_add(&set, ORIGIN_NONE);
    assert_int_equal(set.names.count, 0);
    origin_id z = origin_of_node(g, "z", ORIGIN_NONE), a = origin_of_node(g, "a", ORIGIN_NONE);
    origin_id m = origin_of_node(g, "m", ORIGIN_NONE), b = origin_of_node(g, "b", ORIGIN_NONE);
    origin_id za = origin_either(g, z, a), zam = origin_either(g, za, m);
    const struct {
        origin_id origins[3];
        const char *names;
    } rows[] = {
        {{origin_both(g, z, a), a, origin_both(g, b, m)}, "az;;bm"}, /* sorted, each time */
        {{zam, b}, "amz;b;"},                                        /* nothing tells which */
        {{a, zam, m}, "a;;m"},
        {{m, zam, za}, "m;;az"},
        {{origin_both(g, za, a)}, "a;;"}, /* also where both stand in one origin */
        {{b, origin_both(g, zam, m)}, "b;m;"},
        {{b, origin_both(g, za, m), z}, "b;amz;"},
        {{a, origin_either(g, origin_both(g, a, b), m), m}, "a;b;m"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(names_of_all(f, rows[i].origins, 3), rows[i].names);
    origin_set_add(&set, a);
    origin_set_clear(&set);
    origin_set_add(&set, za);
    assert_int_equal(set.names.count, 2);
}

/* As deep as there are nodes, each part below many others. */
static void test_deep_origins(void **state)
{
    struct fixture *f = *state;
    struct graph *g = &f->graph;
    struct origin_set set;
    origin_id some = ORIGIN_NONE, all = ORIGIN_NONE;
    for (int i = 0; i < LIMIT_NODES; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        some = origin_either(g, some, origin_of_node(g, name, ORIGIN_NONE));
        all = i % 2 ? origin_either(g, all, some) : origin_both(g, all, some);
    }
    origin_set_init(&set, g, &f->arena);
    origin_set_add(&set, some);
    assert_int_equal(set.names.count, LIMIT_NODES);
    origin_set_clear(&set);
    origin_set_add(&set, all);
    assert_in_range(set.names.count, 1, LIMIT_NODES);
}

static void test_values(void **state)
{
    struct fixture *f = *state;
    struct graph *g = &f->graph;
    value_id e = unary(f, PRIM_EXP, f->x, "a");
    assert_string_equal(names(f, e), "a");
    assert_int_equal(unary(f, PRIM_EXP, f->x, "b"), e); /* two nodes ask for the same */
    assert_string_equal(names(f, e), "a b");
    assert_string_equal(names(f, unary(f, PRIM_NEG, e, NULL)), "a b"); /* as its operand */
    value_id n = unary(f, PRIM_NEG, f->x, "c");
    assert_string_equal(names(f, binary(f, PRIM_ADD, e, n, NULL)), "a b c");
    assert_string_equal(names(f, f->x), "");
    struct attrs one = {.dtype = DTYPE_F32, .value = 1}, spread = {.rank = 1};
    spread.shape[0] = dim_const(&g->dims, 4);
    g->origin = origin_of_node(g, "d", ORIGIN_NONE);
    value_id constant = graph_add(g, PRIM_CONST, NULL, 0, &one, &f->err);
    value_id ones = graph_add(g, PRIM_BROADCAST, &constant, 1, &spread, &f->err);
    g->origin = ORIGIN_NONE;
    assert_string_equal(names(f, constant), "");
    assert_string_equal(names(f, ones), "d");
    assert_true(graph_node(g, ones)->constant && !graph_node(g, e)->constant);
    assert_string_equal(names(f, binary(f, PRIM_MUL, e, ones, NULL)), "a b"); /* constants aside */
    assert_true(graph_verify(g, &f->err));
    g->nodes.items[e].origin = g->origins.items.count;
    assert_false(graph_verify(g, &f->err));
    assert_non_null(strstr(f->err.message, "origin"));
}

/* f(neg(v)) becomes sqrt(f(v)) for exp and log, neg(neg(v)) becomes v. */
static value_id replace(struct graph *to, value_id copy, const struct graph *from, value_id old,
                        void *context, struct error *err)
{
    const struct node *node = graph_node(to, copy), *operand;
    (void)context, (void)from, (void)old;
    if (node->operand_count == 0)
        return copy;
    operand = graph_node(to, node->operands[0]);
    if (operand->prim != PRIM_NEG)
        return copy;
    value_id inner = operand->operands[0];
    if (node->prim == PRIM_NEG)
        return inner;
    if (node->prim != PRIM_EXP && node->prim != PRIM_LOG)
        return copy;
    value_id made = graph_add(to, (enum prim)node->prim, &inner, 1, NULL, err);
    return graph_add(to, PRIM_SQRT, &made, 1, NULL, err);
}

/* What the value of output i comes from, in the graph as rebuilt by the rule above. */
static const char *rebuilt(struct fixture *f, struct graph *to, uint32_t i)
{
    graph_init(to, &f->arena);
    assert_true(graph_rewrite(to, &f->arena, &f->graph, replace, NULL, &f->err));
    assert_true(graph_verify(to, &f->err));
    assert_int_equal(to->origin, ORIGIN_NONE);
    value_id value = to->outputs.items[i].value;
    return names_of(&f->arena, to, graph_node(to, value)->origin);
}

static void test_rewriting(void **state)
{
    struct fixture *f = *state;
    struct graph to;
    value_id e = unary(f, PRIM_EXP, unary(f, PRIM_NEG, f->x, "lost"), "built");
    assert_true(graph_output(&f->graph, "y", unary(f, PRIM_SIN, e, "last"), &f->err));
    assert_string_equal(rebuilt(f, &to, 0), "last");
    const struct node *node = graph_node(&to, to.outputs.items[0].value);
    for (int i = 0; i < 2; i++) { /* the two that are new come from both */
        node = graph_node(&to, node->operands[0]);
        assert_string_equal(names_of(&f->arena, &to, node->origin), "built lost");
    }
}

/* A value that goes leaves its origin to what stands for it, and what was lost on the way. */
static void test_what_is_taken_away(void **state)
{
    struct fixture *f = *state;
    struct graph to;
    value_id s = unary(f, PRIM_SIN, f->x, "kept");
    value_id back = unary(f, PRIM_NEG, unary(f, PRIM_NEG, s, "there"), "back");
    assert_true(graph_output(&f->graph, "y", back, &f->err));
    assert_string_equal(rebuilt(f, &to, 0), "back kept there");
    /* Where that is a source, the users get it. */
    back = unary(f, PRIM_NEG, unary(f, PRIM_NEG, f->x, "there"), "back");
    assert_true(graph_output(&f->graph, "z", unary(f, PRIM_COS, back, "user"), &f->err));
    assert_string_equal(rebuilt(f, &to, 1), "back there user");
}

/* What several nodes share and a pass takes away is no part of each of them. */
static void test_shared_values(void **state)
{
    struct fixture *f = *state;
    struct graph to;
    value_id n = unary(f, PRIM_NEG, f->x, "a");
    assert_int_equal(unary(f, PRIM_NEG, f->x, "b"), n);
    assert_string_equal(names(f, n), "a b");
    assert_true(graph_output(&f->graph, "y", unary(f, PRIM_EXP, n, "a"), &f->err));
    assert_true(graph_output(&f->graph, "z", unary(f, PRIM_LOG, n, "b"), &f->err));
    assert_string_equal(rebuilt(f, &to, 0), "a");
    assert_string_equal(rebuilt(f, &to, 1), "b");
}

/* A copy keeps names without the memory of the old graph, and of what is live only. */
static void test_copies(void **state)
{
    struct fixture *f = *state;
    struct arena arena;
    struct graph live;
    unary(f, PRIM_COS, f->x, "dead");
    value_id e = unary(f, PRIM_EXP, f->x, "a");
    unary(f, PRIM_EXP, f->x, "b");
    assert_true(graph_output(&f->graph, "y", e, &f->err));
    arena_init(&arena);
    assert_true(graph_copy_live(&live, &arena, &f->graph, &f->err));
    teardown(state);
    const struct node *node = graph_node(&live, live.outputs.items[0].value);
    assert_string_equal(names_of(&arena, &live, node->origin), "a b");
    assert_int_equal(live.origins.items.count, 4); /* none, a, b, both */
    arena_release(&arena);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_interning),          TEST(test_names),         TEST(test_sets),
        TEST(test_deep_origins),       TEST(test_values),        TEST(test_rewriting),
        TEST(test_what_is_taken_away), TEST(test_shared_values), TEST(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
