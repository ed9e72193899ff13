/* Every prim with operands that fit, and with every kind that does not. Cases are lines of the text
 * form after a common set of inputs, since the parser passes attributes to the rules unchanged;
 * cases that the text form cannot express call graph_add. */
#include "base/error.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const char prelude[] = "graph \"shapes\"\n"
                              "dim B 1..64 multiple 1\n"
                              "dim S 2..128 multiple 2\n"
                              "dim Z 0..8 multiple 1\n"
                              "dim K 1..9 multiple 1\n"
                              "%1 = input \"x\" : f32[B, 64]\n"
                              "%2 = input \"y\" : f32[B, 64]\n"
                              "%3 = input \"i\" : i32[B, 64]\n"
                              "%4 = input \"b\" : bool[B, 64]\n"
                              "%5 = input \"w\" : f32[10, 64]\n"
                              "%6 = input \"image\" : f32[B, 6, 9, S]\n"
                              "%7 = input \"kernel\" : f32[4, 3, 3, 2]\n"
                              "%8 = input \"seed\" : i64[]\n"
                              "%9 = input \"zero\" : f32[]\n"
                              "%10 = input \"empty\" : f32[Z, 4]\n"
                              "%11 = input \"index\" : i64[3, 5]\n"
                              "%12 = input \"wide\" : f64[B, 64]\n"
                              "%13 = input \"deep\" : f32[1, 1, 1, 1, 1, 1, 1, 1]\n"
                              "%14 = input \"key\" : f32[B, K]\n"
                              "%15 = input \"channels\" : f32[B, K, 9, 9]\n"
                              "%16 = input \"sources\" : f32[3, 5]\n";

struct shape_case {
    const char *line;  /* the text after "%17 = " */
    const char *error; /* part of the message; NULL: no error */
};

static const struct shape_case sources[] = {
    {"input \"q\" : f32[B, 2*B + 1]", NULL},
    {"param \"q\" : u8[]", NULL},
    {"input \"x\" : f32[]", "taken by another input"},
    {"param \"x\" : f32[]", "taken by another input"},
    {"input \"\" : f32[]", "no name"},
    {"input \"q\" : f32[Z - 1]", "may be negative"},
    {"input \"q\" : f32[2199023255552]", "too large"},
    {"input \"q\" : f64[1048576, 1048576]", "more than"},
    {"const 1.5 : f32[]", NULL},
    {"const -0 : f64[]", NULL},
    {"const nan : f16[]", NULL},
    {"const -7 : i8[]", NULL},
    {"const 300 : u8[]", "does not fit u8"},
    {"const 1.5 : i32[]", "end of the number"},
    {"const 2 : f32[3]", "expected the type f32[]"},
    {"literal 0x0102 : u8[2]", NULL},
    {"literal 0x : f32[0]", NULL},
    {"literal 0x01 : u8[2]", "1 bytes of data, expected 2"},
    {"literal 0x02 : bool[1]", "expected 0 or 1"},
    {"literal 0x01 : u8[B]", "expected a constant"},
    {"literal 0x01 : u8[64, 65]", "more than 4096 elements"},
    {"iota {axis 1} : i64[B, 4]", NULL},
    {"iota {axis 2} : i64[B, 4]", "axis 2"},
    {"iota {axis 0} : bool[4]", "dtype is bool"},
    {"size {dim [B]} : i64[]", NULL},
    {"size {dim []} : i64[]", "0 dims"},
    {"size {dim [B, 4]} : i64[]", "2 dims"},
    {"size {dim [B - 2]} : i64[]", "at least 0"},
    {"random %8 : i64[B, 3]", NULL},
    {"random %9 : i64[B, 3]", "operand 0 is f32, expected i64"},
    {"random %11 : i64[B, 3]", "rank 2, expected 0"},
    {"random : i64[B, 3]", "0 operands, expected 1"},
};

static const struct shape_case elementwise[] = {
    {"neg %1 : f32[B, 64]", NULL},
    {"abs %3 : i32[B, 64]", NULL},
    {"sign %1 : f32[B, 64]", NULL},
    {"neg %4 : bool[B, 64]", "expected a float or integer dtype"},
    {"neg %1, %2 : f32[B, 64]", "2 operands, expected 1"},
    {"neg %1 : f64[B, 64]", "expected the type f32[B, 64]"},
    {"not %4 : bool[B, 64]", NULL},
    {"not %1 : f32[B, 64]", "expected bool or an integer dtype"},
    {"exp %3 : i32[B, 64]", "operand 0 is i32, expected a float dtype"},
    {"is_nan %1 : bool[B, 64]", NULL},
    {"is_nan %3 : bool[B, 64]", "expected a float dtype"},
    {"add %1, %2 : f32[B, 64]", NULL},
    {"add %1, %12 : f32[B, 64]", "operand 1 is f64, expected f32"},
    {"add %1, %5 : f32[B, 64]", "dim 0 of operand 1 is 10, expected B"},
    {"add %1, %9 : f32[B, 64]", "operand 1 has rank 0, expected 2"},
    {"add %4, %4 : bool[B, 64]", "expected a float or integer dtype"},
    {"pow %1, %2 : f32[B, 64]", NULL},
    {"pow %3, %3 : i32[B, 64]", "expected a float dtype"},
    {"and %3, %3 : i32[B, 64]", NULL},
    {"xor %1, %1 : f32[B, 64]", "expected bool or an integer dtype"},
    {"shl %3, %3 : i32[B, 64]", NULL},
    {"shr %4, %4 : bool[B, 64]", "expected an integer dtype"},
    {"lt %4, %4 : bool[B, 64]", NULL},
    {"eq %1, %3 : bool[B, 64]", "operand 1 is i32, expected f32"},
    {"select %4, %1, %2 : f32[B, 64]", NULL},
    {"select %1, %1, %2 : f32[B, 64]", "operand 0 is f32, expected bool"},
    {"select %4, %5, %5 : f32[10, 64]", "dim 0 of operand 0 is B, expected 10"},
    {"select %4, %1, %12 : f32[B, 64]", "operand 2 is f64, expected f32"},
    {"cast %1 : bool[B, 64]", NULL},
    {"copy %4 : bool[B, 64]", NULL},
};

static const struct shape_case reductions[] = {
    {"reduce_sum %6 {axes [1, 3]} : f32[B, 9]", NULL},
    {"reduce_max %4 {axes [0]} : bool[64]", NULL},
    {"reduce_prod %4 {axes [0]} : bool[64]", "expected a float or integer dtype"},
    {"reduce_sum %1 {axes []} : f32[B, 64]", "no axes"},
    {"reduce_sum %1 {axes [1, 0]} : f32[]", "ascending"},
    {"reduce_sum %1 {axes [0, 0]} : f32[64]", "ascending"},
    {"reduce_min %1 {axes [2]} : f32[B]", "axes[0] is 2"},
    {"argmax %1 {axis 0} : i64[64]", NULL},
    {"argmin %4 {axis 0} : i64[64]", "expected a float or integer dtype"},
    {"argmax %1 {axis 2} : i64[64]", "axis 2"},
    {"argsort %1 {axis 1, reverse true} : i64[B, 64]", NULL},
    {"argsort %9 {axis 0, reverse true} : i64[]", "axis 0"},
    {"cum_sum %1 {axis 1, exclusive true, reverse false} : f32[B, 64]", NULL},
    {"cum_max %4 {axis 1, exclusive true, reverse false} : bool[B, 64]", "expected a float or"},
    {"contract %1, %5 {batch 0, contract 1} : f32[B, 10]", NULL},
    {"contract %1, %2 {batch 1, contract 1} : f32[B]", NULL},
    {"contract %9, %9 {batch 0, contract 0} : f32[]", NULL},
    {"contract %1, %14 {batch 0, contract 1} : f32[B, B]", "contract: dim 1 of operand 1 is K, "
                                                           "expected 64"},
    {"contract %1, %5 {batch 1, contract 1} : f32[B]", "dim 0 of operand 1 is 10, expected B"},
    {"contract %1, %9 {batch 0, contract 1} : f32[B]", "operand 1 has rank 0, expected at least"},
    {"contract %1, %12 {batch 0, contract 1} : f32[B, B]", "operand 1 is f64"},
    {"contract %4, %4 {batch 0, contract 1} : bool[B, B]", "expected a float or integer"},
    {"contract %6, %13 {batch 0, contract 0} : f32[B]", "more than 8 dims"},
};

#define WINDOW(size, stride, low, high, dilation, base)                                 \
    "size " #size " stride " #stride " low " #low " high " #high " dilation " #dilation \
    " base " #base

static const struct shape_case windows[] = {
    {"conv %6, %7 {window [" WINDOW(3, 2, 1, 1, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 2} : "
                                                                     "f32[B, 4, 5, S - 1]",
     NULL},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 4, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  3) "], groups 2} : "
                                                                     "f32[B, 4, 1, 3*S - 3]",
     NULL},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 5, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 2} : "
                                                                     "f32[B, 4, 1, S - 1]",
     "window 0 reaches over"},
    {"conv %6, %7 {window [" WINDOW(2, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 2} : "
                                                                     "f32[B]",
     "dim 2 of operand 1 is 3, expected 2"},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 1} : "
                                                                     "f32[B]",
     "dim 1 of operand 1 is 3, expected 6"},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 0} : "
                                                                     "f32[B]",
     "groups is 0"},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 4} : "
                                                                     "f32[B]",
     "dim 1 of operand 0 is 6, expected a multiple of 4"},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                  1) "], groups 3} : "
                                                                     "f32[B]",
     "dim 0 of operand 1 is 4, expected a multiple of 3"},
    {"conv %15, %7 {window [" WINDOW(3, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                   1) "], groups 1} : "
                                                                      "f32[B]",
     "dim 1 of operand 0 is K, expected a constant"},
    {"conv %6, %15 {window [" WINDOW(3, 1, 0, 0, 1, 1) ", " WINDOW(2, 1, 0, 0, 1,
                                                                   1) "], groups 1} : "
                                                                      "f32[B]",
     "dim 0 of operand 1 is B, expected a constant"},
    {"conv %6, %7 {window [" WINDOW(3, 1, 0, 0, 1, 1) "], groups 1} : f32[B]",
     "rank 4, expected 3"},
    {"conv %1, %5 {window [], groups 1} : f32[B, 10]", "no windows"},
    {"conv %6, %12 {window [" WINDOW(3, 1, 0, 0, 1, 1) "], groups 1} : f32[B]", "operand 1 is f64"},
    {"window_sum %6 {window [" WINDOW(2, 2, 0, 0, 1, 1) "]} : f32[B, 6, 9, (S - 2)//2 + 1]", NULL},
    {"window_max %1 {window [" WINDOW(1, 1, 0, 2, 1, 1) ", " WINDOW(64, 1, 0, 0, 1,
                                                                    1) "]} : "
                                                                       "f32[B + 2, 1]",
     NULL},
    {"window_max %1 {window [" WINDOW(65, 1, 0, 0, 1, 1) "]} : f32[B, 0]", "window 0 reaches"},
    {"window_max %1 {window [" WINDOW(2, 1, 0, 0, 1, 1) ", " WINDOW(1, 1, 0, 0, 1,
                                                                    1) "]} : "
                                                                       "f32[B - 1, 64]",
     "window 0 reaches"},
    {"window_sum %10 {window [" WINDOW(1, 1, 1, 0, 1, 1) ", " WINDOW(1, 1, 0, 0, 1,
                                                                     1) "]} : "
                                                                        "f32[Z + 1, 4]",
     "dim 0 of operand 0 is Z, expected at least 1"},
    {"window_sum %1 {window [" WINDOW(0, 1, 0, 0, 1, 1) "]} : f32[B, 64]", "size of window 0 is 0"},
    {"window_sum %1 {window [" WINDOW(1, 0, 0, 0, 1, 1) "]} : f32[B, 64]",
     "stride of window 0 is 0"},
    {"window_sum %1 {window [" WINDOW(1, 1, 0, 0, 0, 1) "]} : f32[B, 64]", "dilation of window 0"},
    {"window_sum %1 {window [" WINDOW(1, 1, 0, 0, 1, 0) "]} : f32[B, 64]",
     "base_dilation of window"},
    {"window_sum %1 {window [" WINDOW(1, 1, 9000000000000, 0, 1, 1) "]} : f32[B, 64]", "at most"},
    {"window_sum %1 {window []} : f32[B, 64]", "0 windows"},
    {"window_sum %9 {window [" WINDOW(1, 1, 0, 0, 1, 1) "]} : f32[]", "1 windows"},
    {"window_max %4 {window [" WINDOW(1, 1, 0, 0, 1, 1) "]} : bool[B, 64]", "expected a float or"},
};

static const struct shape_case moves[] = {
    {"reshape %6 : f32[9*B, 6*S]", NULL},
    {"reshape %1 : f32[B, 8, 8]", NULL},
    {"reshape %1 : f32[B, 8]", "64*B elements, expected 8*B"},
    {"transpose %6 {axes [3, 0, 1, 2]} : f32[S, B, 6, 9]", NULL},
    {"transpose %9 {axes []} : f32[]", NULL},
    {"transpose %1 {axes [0]} : f32[B]", "1 axes, expected 2"},
    {"transpose %1 {axes [0, 0]} : f32[B, B]", "permutation"},
    {"transpose %1 {axes [0, 2]} : f32[B, B]", "permutation"},
    {"broadcast %1 {axes [1, 2]} : f32[7, B, 64]", NULL},
    {"broadcast %13 {axes [0, 1, 2, 3, 4, 5, 6, 7]} : f32[B, 1, 1, 1, 1, 1, 1, 9]", NULL},
    {"broadcast %9 {axes []} : f32[B]", NULL},
    {"broadcast %1 {axes [0, 1]} : f32[B, 65]", "dim 1 of operand 0 is 64, expected 65"},
    {"broadcast %1 {axes [1, 0]} : f32[64, B]", "ascending"},
    {"broadcast %1 {axes [0, 2]} : f32[B, 64]", "axes[1] is 2"},
    {"broadcast %1 {axes [0]} : f32[B]", "1 axes, expected 2"},
    {"slice %1 {start [0, 3], step [1, 2]} : f32[B, 31]", NULL},
    {"slice %1 {start [0, 3], step [1, 2]} : f32[B, 32]", "end inside dim 1"},
    {"slice %6 {start [0, 0, 0, 1], step [1, 1, 1, 1]} : f32[B, 6, 9, S - 1]", NULL},
    {"slice %6 {start [0, 0, 0, 1], step [1, 1, 1, 2]} : f32[B, 6, 9, S//2]", NULL},
    {"slice %6 {start [0, 0, 0, 0], step [1, 1, 1, 3]} : f32[B, 6, 9, (S + 2)//3]", NULL},
    {"slice %6 {start [0, 0, 0, 0], step [1, 1, 1, 1]} : f32[B, 6, 9, S + 1]", "end inside dim 3"},
    {"slice %6 {start [0, 0, 0, 0], step [1, 1, 1, 1]} : f32[B, 6, 9, 3]", "end inside dim 3"},
    {"slice %10 {start [0, 0], step [1, 1]} : f32[0, 4]", NULL},
    {"slice %1 {start [0, 0], step [1, 0]} : f32[B, 1]", "step[1] is 0"},
    {"slice %1 {start [0, Z - 1], step [1, 1]} : f32[B, 1]", "start[1] is Z - 1"},
    {"slice %1 {start [0], step [1]} : f32[B]", "operand 0 has rank 2, expected 1"},
    {"slice %1 {start [0, 0], step [1]} : f32[B]", "1 entries after a list of 2"},
    {"slice %1 {start [0, 0], step [1, 1]} : f32[B]", "expected a type of rank 2"},
    {"pad %1, %9 {low [0, Z], high [1, 2]} : f32[B + 1, Z + 66]", NULL},
    {"pad %1, %9 {low [0, Z - 1], high [1, 2]} : f32[B, 64]", "low[1] is Z - 1"},
    {"pad %1, %9 {low [0, 0], high [0 - 1, 2]} : f32[B, 64]", "high[0] is -1"},
    {"pad %1, %9 {low [0], high [1]} : f32[B]", "operand 0 has rank 2, expected 1"},
    {"pad %1, %5 {low [0, 0], high [1, 2]} : f32[B, 64]", "operand 1 has rank 2, expected 0"},
    {"pad %1, %8 {low [0, 0], high [1, 2]} : f32[B, 64]", "operand 1 is i64, expected f32"},
    {"concat %1, %5, %2 {axis 0} : f32[2*B + 10, 64]", NULL},
    {"concat %4 {axis 1} : bool[B, 64]", NULL},
    {"concat {axis 1} : bool[B, 64]", "no operands"},
    {"concat %1, %5 {axis 1} : f32[B, 128]", "dim 0 of operand 1 is 10, expected B"},
    {"concat %1, %12 {axis 1} : f32[B, 128]", "operand 1 is f64"},
    {"concat %1, %6 {axis 1} : f32[B, 128]", "operand 1 has rank 4"},
    {"concat %9 {axis 0} : f32[]", "axis 0"},
    {"reverse %1 {axes [0, 1]} : f32[B, 64]", NULL},
    {"reverse %1 {axes []} : f32[B, 64]", "no axes"},
    {"reverse %1 {axes [2]} : f32[B, 64]", "axes[0] is 2"},
};

static const struct shape_case indexing[] = {
    {"take %1, %11 {axis 1} : f32[B, 3, 5]", NULL},
    {"take %6, %8 {axis 0} : f32[6, 9, S]", NULL},
    {"take %1, %2 {axis 1} : f32[B, B, 64]", "expected an integer dtype"},
    {"take %1, %11 {axis 2} : f32[B]", "axis 2"},
    {"take %10, %8 {axis 0} : f32[4]", "dim 0 of operand 0 is Z, expected at least 1"},
    {"take %13, %11 {axis 0} : f32[3]", "more than 8 dims"},
    {"gather %16, %11 {axis 1} : f32[3, 5]", NULL},
    {"gather %5, %11 {axis 0} : f32[3, 5]", NULL},
    {"gather %1, %11 {axis 1} : f32[3, 5]", "dim 0 of operand 1 is 3, expected at most B"},
    {"gather %6, %11 {axis 1} : f32[3, 5]", "operand 1 has rank 2, expected 4"},
    {"gather %5, %5 {axis 0} : f32[10, 64]", "expected an integer dtype"},
    {"scatter %5, %11, %16 {axis 0, mode add} : f32[10, 64]", NULL},
    {"scatter %4, %3, %4 {axis 0, mode set} : bool[B, 64]", NULL},
    {"scatter %4, %3, %4 {axis 0, mode max} : bool[B, 64]", "expected a float or integer dtype"},
    {"scatter %5, %16, %16 {axis 0, mode add} : f32[10, 64]", "operand 1 is f32"},
    {"scatter %5, %11, %5 {axis 0, mode add} : f32[10, 64]",
     "dim 0 of operand 2 is 10, expected 3"},
    {"scatter %12, %3, %1 {axis 0, mode add} : f64[B, 64]", "operand 2 is f32, expected f64"},
    {"scatter %5, %11, %16 {axis 2, mode add} : f32[10, 64]", "axis 2"},
    {"scatter %1, %11, %16 {axis 1, mode min} : f32[B, 64]", "dim 0 of operand 1 is 3"},
};

static void check(const struct shape_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct arena arena;
        struct graph graph;
        struct error err = {0};
        char text[4096];
        arena_init(&arena);
        int size = snprintf(text, sizeof text, "%s%%17 = %s\n", prelude, cases[i].line);
        bool parsed = graph_parse(&graph, &arena, text, (size_t)size, &err);
        bool good = parsed ? graph_verify(&graph, &err) : false;
        if (good != !cases[i].error)
            fail_msg("%s: %s %s", cases[i].line, err.place, err.message);
        if (cases[i].error && !strstr(err.message, cases[i].error))
            fail_msg("%s: '%s', expected '%s'", cases[i].line, err.message, cases[i].error);
        if (cases[i].error && strncmp(err.place, "line 22, column ", 16) != 0)
            fail_msg("%s: place '%s'", cases[i].line, err.place);
        arena_release(&arena);
    }
}

#define CASES(name)                              \
    static void test_##name(void **state)        \
    {                                            \
        (void)state;                             \
        check(name, sizeof name / sizeof *name); \
    }
CASES(sources)
CASES(elementwise)
CASES(reductions)
CASES(windows)
CASES(moves)
CASES(indexing)

/* The prims of one class share one rule; here each is at least built once. */
static void test_every_elementwise_prim(void **state)
{
    (void)state;
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    dim_id two = dim_const(&graph.dims, 2);
    value_id f = graph_input(&graph, "f", DTYPE_BF16, &two, 1, &err);
    value_id i = graph_input(&graph, "i", DTYPE_I16, &two, 1, &err);
    for (enum prim prim = PRIM_NEG; prim <= PRIM_LE; prim++) {
        uint32_t count = (uint32_t)prim_info(prim)->operands;
        value_id of_float = graph_add(&graph, prim, (value_id[]){f, f}, count, NULL, &err);
        value_id of_int = graph_add(&graph, prim, (value_id[]){i, i}, count, NULL, &err);
        if (of_float == VALUE_NONE && of_int == VALUE_NONE)
            fail_msg("%s: %s", prim_info(prim)->name, err.message);
        assert_true(prim_info(prim)->attrs == 0);
        assert_int_equal(prim_from_name(prim_info(prim)->name), prim);
    }
    assert_true(graph_verify(&graph, &err));
    arena_release(&arena);
}

/* Counts, axes and dtypes that the text form cannot express. */
static void test_attributes_out_of_bounds(void **state)
{
    (void)state;
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    dim_id shape[2] = {dim_const(&graph.dims, 2), dim_const(&graph.dims, 3)};
    value_id x = graph_input(&graph, "x", DTYPE_F32, shape, 2, &err);
    const struct {
        enum prim prim;
        struct attrs attrs;
        enum error_code code;
    } cases[] = {
        {PRIM_RESHAPE, {.rank = 9}, ERR_LIMIT},
        {PRIM_RESHAPE, {.rank = 1}, ERR_LIMIT}, /* DIM_NONE */
        {PRIM_SLICE, {.rank = 2, .shape = {shape[0], shape[1]}, .step = {1, 1}}, ERR_LIMIT},
        {PRIM_REDUCE_SUM, {.axis_count = 9}, ERR_LIMIT},
        {PRIM_TRANSPOSE, {.axis_count = 2, .axes = {0, 200}}, ERR_SHAPE},
        {PRIM_WINDOW_SUM, {.window_count = 9}, ERR_LIMIT},
        {PRIM_WINDOW_SUM, {.window_count = 1, .window = {{1, 1, -1, 0, 1, 1}}}, ERR_SHAPE},
        {PRIM_ARGMAX, {.axis = -1}, ERR_SHAPE},
        {PRIM_CAST, {.dtype = 0}, ERR_SHAPE},
        {PRIM_CAST, {.dtype = DTYPE_COUNT}, ERR_SHAPE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err = (struct error){0};
        assert_int_equal(graph_add(&graph, cases[i].prim, &x, 1, &cases[i].attrs, &err),
                         VALUE_NONE);
        if (err.code != cases[i].code)
            fail_msg("case %zu: %s", i, err.message);
    }
    struct attrs mode = {.mode = 9};
    assert_int_equal(graph_add(&graph, PRIM_SCATTER, (value_id[]){x, x, x}, 3, &mode, &err), 0);
    assert_non_null(strstr(err.message, "mode is 9"));
    struct attrs data = {.dtype = DTYPE_F32, .data_bytes = 1u << 30};
    assert_int_equal(graph_add(&graph, PRIM_LITERAL, NULL, 0, &data, &err), 0);
    assert_int_equal(err.code, ERR_LIMIT);
    value_id many[LIMIT_OPERANDS + 1];
    for (size_t i = 0; i <= LIMIT_OPERANDS; i++)
        many[i] = x;
    assert_int_equal(graph_add(&graph, PRIM_CONCAT, many, LIMIT_OPERANDS + 1, NULL, &err), 0);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_not_equal(graph_add(&graph, PRIM_CONCAT, many, LIMIT_OPERANDS, NULL, &err), 0);
    assert_int_equal(graph_input(&graph, "r", DTYPE_F32, shape, 9, &err), 0);
    assert_int_equal(err.code, ERR_LIMIT);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_indexing),
        cmocka_unit_test(test_every_elementwise_prim),
        cmocka_unit_test(test_attributes_out_of_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
