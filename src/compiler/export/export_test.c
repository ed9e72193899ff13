/* Round trips: each primitive is written as a model and read back by the importer, and both graphs
 * are run in the reference on the same inputs; results must agree within the two bounds. */
#include "compiler/export/export.h"

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/import/import.h"
#include "graph/build.h"
#include "graph/interp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SOURCES 16
#define DIM_VALUE 5 /* of every named dim */

struct trip {
    struct arena arena;
    struct graph graph;
    struct blueprint back;
    struct package_param params[SOURCES];
    struct interp_tensor tensors[SOURCES]; /* inputs, then params */
    struct error err;
    struct strbuf refused;
    struct onnx_file model;
};

/* Graphs of the primitives that are not elementwise; with one or several outputs. */
static const char *const texts[] = {
    /* Constants. */
    "%1 = const 1.5 : f32[]\n%2 = broadcast %1 {axes []} : f32[N, 3]\n"
    "%3 = literal 0x0000803f00000040 : f32[2]\n%4 = const -3 : i8[]\n%5 = const 1 : bool[]\n"
    "output \"a\" %2\noutput \"b\" %3\noutput \"c\" %4\noutput \"d\" %5\n",
    "%1 = iota {axis 0} : i64[N, 3]\n%2 = iota {axis 1} : f32[2, N]\n%3 = iota {axis 0} : i32[7]\n"
    "%4 = size {dim [2*N + 1]} : i64[]\n"
    "output \"a\" %1\noutput \"b\" %2\noutput \"c\" %3\noutput \"d\" %4\n",
    /* Reductions and running reductions. */
    "%1 = input \"x\" : f32[2, N, 3]\n%2 = reduce_sum %1 {axes [1]} : f32[2, 3]\n"
    "%3 = reduce_max %1 {axes [0, 2]} : f32[N]\n%4 = reduce_min %1 {axes [2]} : f32[2, N]\n"
    "%5 = reduce_prod %1 {axes [1, 2]} : f32[2]\n%6 = argmax %1 {axis 1} : i64[2, 3]\n"
    "%7 = argmin %1 {axis 2} : i64[2, N]\n"
    "output \"a\" %2\noutput \"b\" %3\noutput \"c\" %4\noutput \"d\" %5\noutput \"e\" %6\n"
    "output \"f\" %7\n",
    "%1 = input \"x\" : bool[4, N]\n%2 = reduce_max %1 {axes [1]} : bool[4]\n"
    "%3 = reduce_min %1 {axes [0]} : bool[N]\n%4 = input \"y\" : i8[4, N]\n"
    "%5 = reduce_sum %4 {axes [0]} : i8[N]\n%6 = reduce_max %4 {axes [1]} : i8[4]\n"
    "output \"a\" %2\noutput \"b\" %3\noutput \"c\" %5\noutput \"d\" %6\n",
    "%1 = input \"x\" : i32[3, N, 6]\n%2 = reduce_prod %1 {axes [0, 2]} : i32[N]\n"
    "%3 = reduce_prod %1 {axes [1]} : i32[3, 6]\noutput \"a\" %2\noutput \"b\" %3\n",
    "%1 = input \"x\" : f32[3, 0]\n%2 = reduce_max %1 {axes [1]} : f32[3]\n"
    "%3 = reduce_prod %1 {axes [0, 1]} : f32[]\n%4 = argmin %1 {axis 1} : i64[3]\n"
    "%5 = input \"y\" : u8[3, 0]\n%6 = reduce_min %5 {axes [1]} : u8[3]\n"
    "%7 = cast %5 : i32[3, 0]\n%8 = reduce_prod %7 {axes [1]} : i32[3]\n"
    "%9 = const 1 : i32[]\n%10 = broadcast %9 {axes []} : i32[3, 0]\n"
    "output \"a\" %2\noutput \"b\" %3\noutput \"c\" %4\noutput \"d\" %6\noutput \"e\" %8\n"
    "output \"f\" %10\n",
    "%1 = input \"x\" : i32[3, 6]\n%2 = argsort %1 {axis 1, reverse false} : i64[3, 6]\n"
    "%3 = argsort %1 {axis 0, reverse true} : i64[3, 6]\noutput \"a\" %2\noutput \"b\" %3\n",
    "%1 = input \"x\" : f32[3, N]\n"
    "%2 = cum_sum %1 {axis 1, exclusive false, reverse true} : f32[3, N]\n"
    "%3 = cum_sum %1 {axis 0, exclusive true, reverse false} : f32[3, N]\n"
    "%4 = cum_prod %1 {axis 1, exclusive true, reverse false} : f32[3, N]\n"
    "%5 = cum_max %1 {axis 0, exclusive false, reverse true} : f32[3, N]\n"
    "output \"a\" %2\noutput \"b\" %3\noutput \"c\" %4\noutput \"d\" %5\n",
    "%1 = input \"x\" : u8[9]\n%2 = cum_max %1 {axis 0, exclusive true, reverse true} : u8[9]\n"
    "%3 = cum_prod %1 {axis 0, exclusive false, reverse false} : u8[9]\n"
    "output \"a\" %2\noutput \"b\" %3\n",
    /* Products. */
    "%1 = input \"x\" : f32[N, 6]\n%2 = param \"w\" : f32[4, 6]\n"
    "%3 = contract %1, %2 {batch 0, contract 1} : f32[N, 4]\noutput \"y\" %3\n",
    "%1 = input \"x\" : f32[2, N, 3, 4, 5]\n%2 = input \"z\" : f32[2, N, 6, 4, 5]\n"
    "%3 = contract %1, %2 {batch 2, contract 2} : f32[2, N, 3, 6]\noutput \"y\" %3\n",
    "%1 = input \"x\" : i32[3, 4]\n%2 = input \"z\" : i32[4]\n"
    "%3 = contract %1, %2 {batch 0, contract 1} : i32[3]\n"
    "%4 = contract %2, %2 {batch 0, contract 0} : i32[4, 4]\n"
    "%5 = contract %2, %2 {batch 1, contract 0} : i32[4]\n"
    "output \"a\" %3\noutput \"b\" %4\noutput \"c\" %5\n",
    "%1 = input \"x\" : f32[N, 4, 6, 5]\n%2 = param \"w\" : f32[6, 2, 3, 2]\n"
    "%3 = conv %1, %2 {window [size 3 stride 2 low 1 high 2 dilation 1 base 1, "
    "size 2 stride 1 low 0 high 1 dilation 2 base 3], groups 2} : f32[N, 6, 4, 12]\n"
    "output \"y\" %3\n",
    /* Windows, as pools and as slices. */
    "%1 = input \"x\" : f32[2, 3, N, 7]\n"
    "%2 = window_sum %1 {window [size 3 stride 1 low 1 high 1 dilation 1 base 1, "
    "size 2 stride 2 low 0 high 1 dilation 1 base 1]} : f32[2, 3, N, 4]\n"
    "%3 = window_max %1 {window [size 3 stride 1 low 1 high 1 dilation 1 base 1, "
    "size 2 stride 2 low 0 high 1 dilation 1 base 1]} : f32[2, 3, N, 4]\n"
    "%4 = window_max %1 {window [size 2 stride 1 low 2 high 2 dilation 2 base 3]} : "
    "f32[2, 3, N, 21]\noutput \"a\" %2\noutput \"b\" %3\noutput \"c\" %4\n",
    "%1 = input \"x\" : i8[N, 7]\n"
    "%2 = window_sum %1 {window [size 3 stride 2 low 1 high 1 dilation 1 base 1]} : i8[N, 4]\n"
    "%3 = window_max %1 {window [size 3 stride 2 low 1 high 1 dilation 1 base 1]} : i8[N, 4]\n"
    "output \"a\" %2\noutput \"b\" %3\n",
    /* Views. */
    "%1 = input \"x\" : f32[2, N, 6]\n%2 = reshape %1 : f32[2*N, 6]\n"
    "%3 = transpose %1 {axes [2, 0, 1]} : f32[6, 2, N]\n"
    "%4 = broadcast %1 {axes [0, 2, 3]} : f32[2, 4, N, 6]\n"
    "%5 = slice %1 {start [0, 0, 1], step [1, 1, 2]} : f32[1, N, 3]\n"
    "%6 = reverse %1 {axes [0, 2]} : f32[2, N, 6]\n%7 = copy %6 : f32[2, N, 6]\n"
    "%8 = concat %1, %7, %1 {axis 1} : f32[2, 3*N, 6]\n%9 = const 2 : f32[]\n"
    "%10 = pad %1, %9 {low [0, 1, 0], high [3, 0, 0]} : f32[5, N + 1, 6]\n"
    "output \"a\" %2\noutput \"b\" %3\noutput \"c\" %4\noutput \"d\" %5\noutput \"e\" %6\n"
    "output \"f\" %7\noutput \"g\" %8\noutput \"h\" %10\n",
    "%1 = input \"x\" : f32[2, N]\n%2 = slice %1 {start [0, 0], step [1, 2]} : f32[2, (N + 1)//2]\n"
    "%3 = input \"y\" : f32[2*M + 3]\n%4 = iota {axis 0} : i64[M]\n"
    "output \"a\" %2\noutput \"b\" %4\n",
    /* Moves by index, with some indices out of range. */
    "%1 = input \"x\" : f32[4, N]\n%2 = input \"i\" : i64[2, 3]\n%3 = input \"j\" : i32[3, 2]\n"
    "%4 = take %1, %2 {axis 0} : f32[2, 3, N]\n%5 = gather %1, %3 {axis 1} : f32[3, 2]\n"
    "%6 = input \"u\" : f32[3, 2]\n%7 = scatter %1, %3, %6 {axis 1, mode set} : f32[4, N]\n"
    "%8 = scatter %1, %3, %6 {axis 1, mode add} : f32[4, N]\n"
    "%9 = scatter %1, %3, %6 {axis 1, mode max} : f32[4, N]\n"
    "%10 = scatter %1, %3, %6 {axis 1, mode min} : f32[4, N]\n"
    "output \"a\" %4\noutput \"b\" %5\noutput \"c\" %7\noutput \"d\" %8\noutput \"e\" %9\n"
    "output \"f\" %10\n",
};

static int begin(void **state)
{
    struct trip *t = calloc(1, sizeof *t);
    arena_init(&t->arena);
    strbuf_init(&t->refused, &t->arena);
    *state = t;
    return 0;
}

static int end(void **state)
{
    struct trip *t = *state;
    arena_release(&t->arena);
    free(t);
    return 0;
}

/* Whole numbers from -3 to 7, and floats in eighths: also as indices out of range, zeros and
 * negative numbers. */
static void fill(struct trip *t, value_id value, uint64_t seed, struct interp_tensor *out)
{
    const struct node *node = graph_node(&t->graph, value);
    const int64_t dims[2] = {DIM_VALUE, DIM_VALUE};
    *out = (struct interp_tensor){.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t d = 0; d < node->rank; d++) {
        assert_true(dim_eval(&t->graph.dims, node->shape[d], dims, &out->shape[d]));
        out->count *= out->shape[d];
    }
    out->cells = ARENA_ARRAY(&t->arena, union cell, out->count);
    for (int64_t i = 0; i < out->count; i++) {
        uint32_t random = rng_u32(rng_key(seed), (uint64_t)i);
        if (dtype_is_float(out->dtype))
            out->cells[i].f = (double)(random % 57) / 8 - 2.5;
        else if (out->dtype == DTYPE_BOOL)
            out->cells[i].i = random & 1;
        else
            out->cells[i].i = dtype_wrap(out->dtype, (int64_t)(random % 11) - 3);
    }
}

static void make_sources(struct trip *t)
{
    uint32_t inputs = t->graph.inputs.count;
    for (uint32_t i = 0; i < inputs; i++)
        fill(t, t->graph.inputs.items[i], i + 1, &t->tensors[i]);
    for (uint32_t i = 0; i < t->graph.params.count; i++) {
        struct interp_tensor *tensor = &t->tensors[inputs + i];
        fill(t, t->graph.params.items[i], 100 + i, tensor);
        size_t bytes = (size_t)tensor->count * dtype_bytes(tensor->dtype);
        void *data = arena_alloc(&t->arena, bytes, 64);
        interp_store(tensor, data);
        t->params[i] = (struct package_param){tensor->dtype, data, bytes};
    }
}

static bool write_model(struct trip *t)
{
    return onnx_write(&t->graph, t->params, &t->arena, &t->refused, &t->model, &t->err);
}

static struct interp_tensor *run(struct trip *t, const struct graph *graph)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    struct interp_tensor *out = ARENA_ARRAY(&t->arena, struct interp_tensor, graph->outputs.count);
    for (uint32_t n = 0; n < graph->dims.names.count; n++) /* 2*M + 3 is a name of its own */
        dims[n] =
            strcmp(graph->dims.names.items[n].name, "d1") == 0 ? 2 * DIM_VALUE + 3 : DIM_VALUE;
    uint32_t count = graph->inputs.count + graph->params.count;
    if (!interp_run(graph, &(struct interp_options){.mode = INTERP_REFERENCE},
                    &(struct interp_arguments){dims, t->tensors, count}, &t->arena, out, &t->err))
        fail_msg("run: %s: %s", t->err.place, t->err.message);
    return out;
}

static void compare(const char *what, const struct interp_tensor *a, const struct interp_tensor *b)
{
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        double bound = (a->bounds ? a->bounds[i] : 0) + (b->bounds ? b->bounds[i] : 0);
        if (!dtype_is_float(a->dtype)) {
            if (bound == 0 && a->cells[i].i != b->cells[i].i)
                fail_msg("%s: element %d is %d, then %d", what, (int)i, (int)a->cells[i].i,
                         (int)b->cells[i].i);
            continue;
        }
        double x = a->cells[i].f, y = b->cells[i].f;
        bool same = x == y || (isnan(x) && isnan(y)) || isinf(bound) || fabs(x - y) <= bound;
        if (!same)
            fail_msg("%s: element %d is %.17g, then %.17g, bound %.3g", what, (int)i, x, y, bound);
    }
}

/* Writes t->graph and reads it back. */
static void go(struct trip *t, const char *what)
{
    /* For a dim_param without a range in the metadata, the reader has no range. */
    const struct dim_name range = {"d1", 5, 131, 1, 0, NULL};
    struct import_options options = {.dims = &range, .dim_count = strstr(what, "*M") ? 1 : 0};
    make_sources(t);
    if (!write_model(t))
        fail_msg("%s: export: %s", what, t->err.message);
    if (!onnx_read(t->model.data, t->model.size_bytes, &options, &t->arena, &t->back, &t->err))
        fail_msg("%s: read: %s: %s", what, t->err.place, t->err.message);
    struct interp_tensor *expected = run(t, &t->graph), *got = run(t, &t->back.graph);
    assert_int_equal(t->graph.outputs.count, t->back.graph.outputs.count);
    for (uint32_t i = 0; i < t->graph.outputs.count; i++)
        compare(what, &expected[i], &got[i]);
}

static void parse(struct trip *t, const char *text)
{
    struct strbuf whole;
    strbuf_init(&whole, &t->arena);
    strbuf_printf(&whole, "graph \"g\"\n%s%s%s",
                  strstr(text, "N") ? "dim N 1..64 multiple 1 typical 5\n" : "",
                  strstr(text, "M") ? "dim M 1..64 multiple 1 typical 5\n" : "", text);
    if (!graph_parse(&t->graph, &t->arena, whole.data, whole.size_bytes, &t->err))
        fail_msg("%s: %s\n%s", t->err.place, t->err.message, whole.data);
    bool told = !strstr(text, "N");
    for (uint32_t i = 0; i < t->graph.inputs.count; i++) {
        const struct node *input = graph_node(&t->graph, t->graph.inputs.items[i]);
        for (uint32_t d = 0; d < input->rank; d++)
            told = told || input->shape[d] == dim_named(&t->graph.dims, 0);
    }
    if (!told) { /* graphs of constants have no input that gives N */
        dim_id n = dim_named(&t->graph.dims, 0);
        graph_input(&t->graph, "tells_n", DTYPE_U8, &n, 1, &t->err);
    }
}

static void test_other_prims(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct trip *t;
        begin((void **)&t);
        parse(t, texts[i]);
        go(t, texts[i]);
        end((void **)&t);
    }
}

/* One elementwise primitive in one dtype: operands of full shape, and one that is broadcast. False
 * when the primitive does not take the dtype. */
static bool elementwise(struct trip *t, enum prim prim, enum dtype dtype)
{
    uint32_t count = (uint32_t)prim_info(prim)->operands;
    value_id in[3];
    uint32_t n;
    graph_init(&t->graph, &t->arena);
    struct builder b = {.graph = &t->graph, .err = &t->err};
    dim_declare(&t->graph.dims, &(struct dim_name){"N", 1, 64, 1, 0, NULL}, &n, &t->err);
    dim_id shape[2] = {dim_named(&t->graph.dims, 0), dim_const(&t->graph.dims, 40)};
    for (uint32_t i = 0; i < count; i++) {
        const char *name = (const char *[]){"a", "b", "c"}[i];
        enum dtype type = prim == PRIM_SELECT && i == 0 ? DTYPE_BOOL : dtype;
        bool thin = i == 1;
        in[i] = graph_input(&t->graph, name, type, shape + thin, 2 - thin, &t->err);
        in[i] = thin ? b_broadcast_to(&b, in[i], shape, 2) : in[i];
    }
    value_id y = graph_add(&t->graph, prim, in, count, NULL, &t->err);
    return y != VALUE_NONE && graph_output(&t->graph, "y", y, &t->err);
}

static void test_elementwise(void **state)
{
    (void)state;
    uint32_t done = 0;
    for (int prim = PRIM_NEG; prim <= PRIM_SELECT; prim++)
        for (int dtype = 1; dtype < DTYPE_COUNT; dtype++) {
            struct trip *t;
            char what[64];
            begin((void **)&t);
            snprintf(what, sizeof what, "%s of %s", prim_info((enum prim)prim)->name,
                     dtype_name((enum dtype)dtype));
            bool refused = (prim == PRIM_ERFC && dtype == DTYPE_F64) || dtype == DTYPE_U64;
            if (elementwise(t, (enum prim)prim, (enum dtype)dtype) && !refused) {
                go(t, what);
                done++;
            }
            end((void **)&t);
        }
    assert_true(done > 200);
}

static void test_casts(void **state)
{
    (void)state;
    for (int from = 1; from < DTYPE_COUNT; from++)
        for (int to = 1; to < DTYPE_COUNT; to++) {
            struct trip *t;
            char text[200];
            const char *a = dtype_name((enum dtype)from), *b = dtype_name((enum dtype)to);
            begin((void **)&t);
            snprintf(text, sizeof text,
                     "%%1 = input \"x\" : %s[99]\n%%2 = mul %%1, %%1 : %s[99]\n"
                     "%%3 = mul %%2, %%2 : %s[99]\n%%4 = cast %%%d : %s[99]\noutput \"y\" %%4\n",
                     a, a, a, 3, b);
            if (from == DTYPE_BOOL || from == DTYPE_U64)
                snprintf(text, sizeof text,
                         "%%1 = input \"x\" : %s[99]\n%%2 = cast %%1 : %s[99]\n"
                         "output \"y\" %%2\n",
                         a, b);
            if (to != DTYPE_U64 || !dtype_is_float((enum dtype)from)) {
                parse(t, text);
                go(t, text);
            }
            end((void **)&t);
        }
}

/* Every primitive is in the table above, is elementwise, or is refused. */
static void test_all_prims_are_there(void **state)
{
    (void)state;
    for (int prim = 1; prim < PRIM_COUNT; prim++) {
        char word[40];
        bool found = prim_is_elementwise(prim) || prim == PRIM_RANDOM || prim == PRIM_ITER ||
                     prim == PRIM_STATE || prim == PRIM_LOOP;
        snprintf(word, sizeof word, "= %s ", prim_info((enum prim)prim)->name);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            found = found || strstr(texts[i], word);
        if (!found)
            fail_msg("no round trip of %s", prim_info((enum prim)prim)->name);
    }
}

static void test_refusals(void **state)
{
    struct trip *t = *state;
    parse(t, "%1 = input \"s\" : i64[]\n%2 = random %1 : i64[4]\n%3 = random %1 : i64[5]\n"
             "%4 = input \"x\" : i32[1, 1, 9]\n%5 = input \"w\" : i32[1, 1, 3]\n"
             "%6 = conv %4, %5 {window [size 3 stride 1 low 0 high 0 dilation 1 base 1], "
             "groups 1} : i32[1, 1, 7]\noutput \"a\" %2\noutput \"b\" %3\noutput \"c\" %6\n");
    assert_false(write_model(t));
    assert_int_equal(t->err.code, ERR_UNSUPPORTED);
    assert_string_equal(t->err.message,
                        "not in ONNX: random (ONNX leaves the numbers to the runtime) 2 times, "
                        "conv (Conv takes floats)");
    assert_string_equal(t->refused.data, t->err.message);
}

static void test_a_dim_that_no_input_tells(void **state)
{
    struct trip *t = *state;
    static const char text[] = "graph \"g\"\ndim N 1..9 multiple 1 typical 5\n"
                               "%1 = iota {axis 0} : i64[N]\noutput \"y\" %1\n";
    assert_true(graph_parse(&t->graph, &t->arena, text, strlen(text), &t->err));
    assert_false(write_model(t));
    assert_int_equal(t->err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(t->err.message, "no input's shape tells the dim 'N'"));
}

/* Outputs that are inputs, or have the names of inputs, and names that look like generated ones. */
static void test_names(void **state)
{
    struct trip *t = *state;
    parse(t, "%1 = input \"v1\" : f32[N]\n%2 = input \"y\" : f32[N]\n%3 = add %1, %2 : f32[N]\n"
             "output \"y\" %3\noutput \"v_\" %1\noutput \"again\" %3\n");
    go(t, "names");
    assert_string_equal(t->back.graph.outputs.items[0].name, "y_");
    assert_string_equal(t->back.graph.outputs.items[1].name, "v_");
    const struct dim_name *n = &t->back.graph.dims.names.items[0];
    assert_string_equal(n->name, "N");
    assert_true(n->min == 1 && n->max == 64 && n->multiple_of == 1 && n->typical == 5);
    assert_string_equal(graph_node(&t->back.graph, t->back.graph.inputs.items[1])->attrs->name,
                        "y");
}

/* A dim's range in the metadata is parsed strictly. */
static void test_ranges_that_lie(void **state)
{
    static const char *const ranges[] = {"1..64 multiple x", "9..64 multiple 0", "-..64 multiple 1",
                                         "9..-4 multiple 1"};
    struct trip *t = *state;
    struct import_options options = {.seed = 0};
    parse(t, "%1 = input \"x\" : f32[N]\noutput \"y\" %1\n");
    assert_true(write_model(t));
    char *range = memmem(t->model.data, t->model.size_bytes, "1..64 multiple 1", 16);
    assert_non_null(range);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        memcpy(range, ranges[i], 16);
        assert_false(
            onnx_read(t->model.data, t->model.size_bytes, &options, &t->arena, &t->back, &t->err));
        assert_true(t->err.code == ERR_PARSE || t->err.code == ERR_BLUEPRINT);
    }
}

static void test_same_bytes(void **state)
{
    struct trip *t = *state;
    parse(t, "%1 = input \"x\" : f16[N, 6]\n%2 = param \"w\" : f16[4, 6]\n"
             "%3 = contract %1, %2 {batch 0, contract 1} : f16[N, 4]\noutput \"y\" %3\n");
    make_sources(t);
    assert_true(write_model(t));
    const struct onnx_file first = t->model;
    assert_true(write_model(t));
    assert_int_equal(first.size_bytes, t->model.size_bytes);
    assert_memory_equal(first.data, t->model.data, first.size_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_casts),
        cmocka_unit_test(test_other_prims),
        cmocka_unit_test(test_all_prims_are_there),
        cmocka_unit_test_setup_teardown(test_refusals, begin, end),
        cmocka_unit_test_setup_teardown(test_a_dim_that_no_input_tells, begin, end),
        cmocka_unit_test_setup_teardown(test_names, begin, end),
        cmocka_unit_test_setup_teardown(test_ranges_that_lie, begin, end),
        cmocka_unit_test_setup_teardown(test_same_bytes, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
