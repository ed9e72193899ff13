/* Gradients of convolutions with large windows, and with windows side by side: beside forward mode,
 * at odd sizes, of one group and of several, with strides, dilations, padding and zeros between
 * elements; and how many products there are of them. */
#include "base/error.h"
#include "compiler/grad/grad_test_util.h"
#include "graph/build.h"
#include "graph/interp_test_util.h"

static const struct row {
    const char *name;
    uint32_t count; /* of dims */
    int64_t groups, inputs, outputs;
    int64_t size[3];
    struct window windows[3];
    uint32_t products; /* of the training graph, at most */
} rows[] = {
    {"patches", 2, 1, 3, 5, {12, 8}, {{4, 4, 0, 0, 1, 1}, {4, 4, 0, 0, 1, 1}}, 2},
    {"patches, with a rest", 2, 1, 2, 3, {13, 11}, {{3, 3, 0, 0, 1, 1}, {5, 5, 0, 0, 1, 1}}, 2},
    {"patches of groups", 2, 3, 2, 2, {9, 7}, {{2, 2, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, 1},
    {"patches with padding", 2, 1, 2, 3, {7, 8}, {{3, 3, 1, 2, 1, 1}, {4, 4, 3, 0, 1, 1}}, 1},
    {"patches of spread images", 2, 1, 2, 2, {4, 5}, {{3, 3, 0, 0, 1, 2}, {2, 2, 1, 0, 1, 3}}, 1},
    {"one row", 1, 1, 3, 4, {23}, {{5, 5, 0, 0, 1, 1}}, 2},
    {"volumes",
     3,
     1,
     2,
     3,
     {5, 6, 7},
     {{2, 2, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}, {2, 2, 0, 0, 1, 1}},
     2},
    {"volumes of groups",
     3,
     2,
     1,
     2,
     {4, 3, 5},
     {{2, 2, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}, {2, 2, 0, 0, 1, 1}},
     1},
    {"many rows and columns", 2, 1, 300, 300, {4, 3}, {{2, 2, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, 2},
    {"11 by 11", 2, 1, 2, 3, {27, 25}, {{11, 4, 2, 2, 1, 1}, {11, 3, 1, 3, 1, 1}}, 1},
    {"11 by 11 of groups", 2, 2, 2, 2, {19, 25}, {{11, 4, 2, 2, 1, 1}, {11, 3, 0, 0, 1, 1}}, 1},
    {"far apart", 2, 1, 2, 3, {31, 29}, {{8, 3, 2, 5, 3, 1}, {9, 2, 4, 1, 2, 1}}, 1},
    {"spread, far apart", 2, 2, 1, 3, {9, 11}, {{8, 3, 2, 5, 2, 2}, {9, 2, 4, 1, 2, 3}}, 1},
    {"a long filter", 1, 1, 2, 3, {331}, {{100, 7, 3, 0, 1, 1}}, 1},
    {"dense", 2, 1, 1, 2, {6, 7}, {{33, 1, 16, 16, 1, 1}, {33, 1, 16, 16, 1, 1}}, 33},
    {"dense, by channels", 2, 3, 1, 1, {8, 6}, {{33, 1, 16, 16, 1, 1}, {35, 1, 17, 17, 1, 1}}, 33},
    {"dense, far apart", 2, 1, 2, 1, {5, 9}, {{33, 2, 33, 32, 2, 1}, {33, 1, 32, 32, 2, 1}}, 33},
};

/* y[B, …] of a row's convolution; `named`: the last dim of images is S. */
static void build(struct bed *bed, const struct row *row, bool named, struct graph *graph)
{
    struct builder b = {graph, &bed->err};
    uint32_t batch = 0, last = 0;
    graph_init(graph, &bed->arena);
    const struct dim_name names[] = {{.name = "B", .min = 1, .max = 9, .multiple_of = 1},
                                     {.name = "S", .min = 1, .max = 999, .multiple_of = 1}};
    assert_true(dim_declare(&graph->dims, &names[0], &batch, &bed->err));
    assert_true(!named || dim_declare(&graph->dims, &names[1], &last, &bed->err));
    struct window windows[3];
    dim_id x[LIMIT_RANK] = {dim_named(&graph->dims, batch),
                            b_dim_const(&b, row->groups * row->inputs)};
    dim_id w[LIMIT_RANK] = {b_dim_const(&b, row->groups * row->outputs),
                            b_dim_const(&b, row->inputs)};
    for (uint32_t i = 0; i < row->count; i++) {
        windows[i] = row->windows[i];
        x[2 + i] = b_dim_const(&b, row->size[i]);
        w[2 + i] = b_dim_const(&b, windows[i].size);
    }
    if (named) /* at least as many elements as a window reaches over */
        x[1 + row->count] = b_dim_add(&b, dim_named(&graph->dims, last),
                                      b_dim_const(&b, row->size[row->count - 1] - 1));
    value_id image = graph_input(graph, "image", DTYPE_F64, x, row->count + 2, &bed->err);
    value_id weight = graph_param(graph, "w", DTYPE_F64, w, row->count + 2, &bed->err);
    value_id y = b_conv(&b, image, weight, windows, row->count, row->groups);
    if (y == VALUE_NONE || !graph_output(graph, "y", y, &bed->err))
        fail_msg("%s: %s", row->name, bed->err.message);
}

static void expect_identity(struct bed *bed, const struct graph *graph, const int64_t *dims,
                            const char *name)
{
    struct point p = {.arena = &bed->arena, .graph = graph, .dims = dims, .seed = 3};
    bool moving = false;
    grad_point_init(&p);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < p.sources[s].count; e++)
            p.sources[s].cells[e].f = grad_drawn(s + 1, e);
    if (!grad_compare(&p, &moving, &bed->err))
        fail_msg("%s: %s: %s", name, bed->err.place, bed->err.message);
    assert_true(moving);
}

static uint32_t count_products(struct bed *bed, const struct graph *graph)
{
    struct graph training;
    uint32_t count = 0;
    if (!grad_training_graph(&training, &bed->arena, graph, &(struct grad_training){0}, &bed->err))
        fail_msg("%s", bed->err.message);
    for (value_id v = 1; v < training.nodes.count; v++)
        count += graph_node(&training, v)->prim == PRIM_CONTRACT;
    return count;
}

static void test_rows(void **state)
{
    struct bed *bed = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int64_t named = 0; named < 2; named++)
            for (int64_t batch = 1; batch < 4; batch += 2) {
                struct graph graph;
                const int64_t dims[LIMIT_NAMED_DIMS] = {batch, batch};
                arena_release(&bed->arena);
                bed->err = (struct error){0};
                build(bed, &rows[i], named > 0, &graph);
                expect_identity(bed, &graph, dims, rows[i].name);
                uint32_t products = count_products(bed, &graph);
                if (products > rows[i].products)
                    fail_msg("%s: %u products, expected %u", rows[i].name, products,
                             rows[i].products);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
