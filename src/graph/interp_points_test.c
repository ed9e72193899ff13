/* The cost of points, and the cases that they refuse. */
#include <string.h>
#include <sys/mman.h>

#include "graph/interp_points.h"
#include "graph/interp_test_util.h"

/* A graph in text form, at points of its first output; data is a list with one entry per source. */
struct ask {
    const char *text;
    const void *data[3];
    int64_t limit;
    enum interp_mode mode; /* 0: REFERENCE */
};

static bool answer(struct bed *bed, const struct ask *ask, const int64_t *points, int64_t count,
                   union cell *cells, double *bounds)
{
    struct graph graph;
    struct points_source sources[3] = {
        {.data = ask->data[0]}, {.data = ask->data[1]}, {.data = ask->data[2]}};
    arena_release(&bed->arena);
    if (!graph_parse(&graph, &bed->arena, ask->text, strlen(ask->text), &bed->err))
        fail_msg("%s: %s", bed->err.place, bed->err.message);
    struct interp_options options = {.mode = ask->mode ? ask->mode : INTERP_REFERENCE};
    const struct points_request request = {.sources = sources,
                                           .value = graph.outputs.items[0].value,
                                           .points = points,
                                           .count = count,
                                           .element_limit = ask->limit};
    return interp_points(&graph, &options, &request, &bed->arena,
                         (struct points_result){cells, bounds}, &bed->err);
}

static void expect_failure(struct bed *bed, const struct ask *ask, int64_t point,
                           enum error_code code)
{
    union cell cell;
    double bound;
    assert_false(answer(bed, ask, &point, 1, &cell, &bound));
    assert_int_equal(bed->err.code, code);
}

/* Two gigabytes of elements that are never stored. */
static void test_huge(void **state)
{
    enum { COUNT = 100, ROWS = 65536, COLUMNS = 32768 };
    struct bed *bed = *state;
    int64_t points[COUNT];
    union cell cells[COUNT];
    double bounds[COUNT];
    float *x = calloc(COLUMNS, sizeof *x);
    struct ask ask = {.text = "graph \"\"\n"
                              "%1 = input \"x\" : f32[32768]\n"
                              "%2 = broadcast %1 {axes [1]} : f32[65536, 32768]\n"
                              "%3 = iota {axis 0} : f32[65536, 32768]\n"
                              "%4 = add %2, %3 : f32[65536, 32768]\n"
                              "%5 = transpose %4 {axes [1, 0]} : f32[32768, 65536]\n"
                              "output \"y\" %5\n",
                      .data = {x},
                      .limit = 6 * COUNT};
    for (int i = 0; i < COLUMNS; i++)
        x[i] = (float)(i % 7);
    for (int i = 0; i < COUNT; i++)
        points[i] = (int64_t)(rng_u32(rng_key(5), (uint64_t)i) % (1u << 31));
    points[1] = ((int64_t)1 << 31) - 1;
    if (!answer(bed, &ask, points, COUNT, cells, bounds))
        fail_msg("%s", bed->err.message);
    for (int i = 0; i < COUNT; i++) {
        double expected = (double)(points[i] / ROWS % 7 + points[i] % ROWS);
        assert_same(cells[i].f, expected);
        assert_same(bounds[i], 0); /* whole numbers of 17 bits */
    }
    assert_true(bed->arena.used_bytes < 1 << 17);
    expect_failure(bed, &ask, (int64_t)1 << 31, ERR_INPUT);
    ask.text = "graph \"\"\n"
               "%1 = iota {axis 0} : i32[65536, 32768]\n"
               "%2 = reduce_sum %1 {axes [0, 1]} : i32[]\n"
               "output \"y\" %2\n";
    expect_failure(bed, &ask, 0, ERR_LIMIT);
    assert_true(bed->arena.used_bytes < 1 << 17);
    free(x);
}

/* Zeros in memory that is mapped when read, and one row of numbers in each operand. */
static void test_product(void **state)
{
    enum { COUNT = 64, SIZE = 4096 };
    struct bed *bed = *state;
    int64_t points[COUNT];
    union cell cells[COUNT];
    double bounds[COUNT], sum = 0, magnitude = 0;
    float *in[2];
    for (int i = 0; i < 2; i++) {
        in[i] = mmap(NULL, sizeof(float) * SIZE * SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_true(in[i] != MAP_FAILED);
        for (int k = 0; k < SIZE; k++)
            in[i][(i == 0 ? 17 : 4095) * SIZE + k] =
                (float)rng_normal(rng_key((uint64_t)i), (uint64_t)k);
    }
    struct ask ask = {.text = "graph \"\"\n"
                              "%1 = input \"a\" : f32[4096, 4096]\n"
                              "%2 = input \"b\" : f32[4096, 4096]\n"
                              "%3 = contract %1, %2 {batch 0, contract 1} : f32[4096, 4096]\n"
                              "output \"y\" %3\n",
                      .data = {in[0], in[1]},
                      .limit = COUNT * (2 * SIZE + 1)};
    for (int i = 0; i < COUNT; i++)
        points[i] = (int64_t)(rng_u32(rng_key(9), (uint64_t)i) % (SIZE * SIZE));
    points[7] = 17 * SIZE + 4095;
    for (int k = 0; k < SIZE; k++) {
        double term = (double)in[0][17 * SIZE + k] * (double)in[1][4095 * SIZE + k];
        sum += term;
        magnitude += fabs(term);
    }
    if (!answer(bed, &ask, points, COUNT, cells, bounds))
        fail_msg("%s", bed->err.message);
    for (int i = 0; i < COUNT; i++) {
        bool full = points[i] == points[7];
        assert_true(fabs(cells[i].f - (full ? sum : 0)) <= 1e-12 * magnitude);
        /* 4096 roundings of f32; for zeros, as many times the smallest f32. */
        double bound = full ? SIZE * 0x1p-24 * magnitude : SIZE * 0x1p-149;
        assert_true(bounds[i] >= bound && bounds[i] <= 1.02 * bound);
    }
    assert_true(bed->arena.used_bytes < 48 << 20);
    ask.limit--;
    assert_false(answer(bed, &ask, points, COUNT, cells, bounds));
    assert_int_equal(bed->err.code, ERR_LIMIT);
    for (int i = 0; i < 2; i++)
        munmap(in[i], sizeof(float) * SIZE * SIZE);
}

/* Infinities beside padding, also in modes without bounds. */
static void test_padding(void **state)
{
    static const enum interp_mode modes[] = {INTERP_REFERENCE, INTERP_NATIVE, INTERP_PLAIN};
    struct bed *bed = *state;
    int64_t points[] = {0, 1, 2, 3};
    union cell cells[4];
    double bounds[4];
    float x[4] = {INFINITY, 1, 2, 3}, w[3] = {1, 2, 4};
    struct ask ask = {
        .text = "graph \"\"\n"
                "%1 = input \"x\" : f32[1, 1, 4]\n"
                "%2 = input \"w\" : f32[1, 1, 3]\n"
                "%3 = conv %1, %2 {window [size 3 stride 1 low 1 high 1 dilation 1 base 1], "
                "groups 1} : f32[1, 1, 4]\n"
                "output \"y\" %3\n",
        .data = {x, w},
        .limit = 100};
    for (int m = 0; m < 3; m++) {
        ask.mode = modes[m];
        if (!answer(bed, &ask, points, 4, cells, bounds))
            fail_msg("%s", bed->err.message);
        assert_true(isinf(cells[0].f) && isinf(cells[1].f));
        assert_same(cells[2].f, 1 + 2 * 2 + 4 * 3);
        assert_same(cells[3].f, 2 + 2 * 3);
        assert_true(m > 0 || (isinf(bounds[0]) && bounds[1] == 0));
    }
}

/* A line is needed once, however many of its elements are asked for. */
static void test_lines(void **state)
{
    enum { COUNT = 2000 };
    int64_t points[COUNT];
    union cell cells[COUNT];
    double bounds[COUNT];
    int32_t x[COUNT];
    struct ask ask = {.text = "graph \"\"\n"
                              "%1 = input \"x\" : i32[1000, 2]\n"
                              "%2 = cum_sum %1 {axis 0, exclusive false, reverse false} : "
                              "i32[1000, 2]\n"
                              "output \"y\" %2\n",
                      .data = {x},
                      .limit = 2 * COUNT};
    for (int i = 0; i < COUNT; i++) {
        points[i] = COUNT - 1 - i;
        x[i] = i % 2 == 0 ? 1 : i;
    }
    if (!answer(*state, &ask, points, COUNT, cells, bounds))
        fail_msg("%s", ((struct bed *)*state)->err.message);
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t rows = points[i] / 2 + 1;
        assert_int_equal(cells[i].i, points[i] % 2 == 0 ? rows : rows * rows);
    }
}

/* Indices looked up by indices, nested `depth` times: a power of a permutation. */
static bool nested_lookups(struct bed *bed, int depth, int64_t point, union cell *cell)
{
    static const int64_t next[5] = {2, 3, 4, 0, 1};
    char text[4096];
    double bound;
    int size = snprintf(text, sizeof text, "graph \"\"\n%%1 = input \"x\" : i64[5]\n");
    for (int i = 0; i < depth; i++)
        size += snprintf(text + size, sizeof text - (size_t)size,
                         "%%%d = take %%1, %%%d {axis 0} : i64[5]\n", i + 2, i + 1);
    snprintf(text + size, sizeof text - (size_t)size, "output \"y\" %%%d\n", depth + 1);
    struct ask ask = {.text = text, .data = {next}, .limit = 1000};
    return answer(bed, &ask, &point, 1, cell, &bound);
}

static void test_lookups(void **state)
{
    struct bed *bed = *state;
    union cell cell;
    for (int64_t i = 0; i < 5; i++) {
        assert_true(nested_lookups(bed, 14, i, &cell));
        assert_int_equal(cell.i, i); /* the permutation (0 2 4 1 3) has order 5, and is applied 15
                                        times */
    }
    assert_false(nested_lookups(bed, 16, 0, &cell));
    assert_int_equal(bed->err.code, ERR_LIMIT);
}

static void test_refusals(void **state)
{
    static const float x[4] = {1, 2, 3, 4};
    static const int64_t index[4] = {0, 1, 2, 3};
    struct bed *bed = *state;
    int64_t point = 2;
    union cell cell;
    double bound;
    struct ask ask = {.text = "graph \"\"\n"
                              "%1 = input \"x\" : f32[4]\n"
                              "%2 = input \"i\" : i64[4]\n"
                              "%3 = scatter %1, %2, %1 {axis 0, mode add} : f32[4]\n"
                              "%4 = concat %1, %3 {axis 0} : f32[8]\n"
                              "output \"y\" %4\n",
                      .data = {x, index},
                      .limit = 100};
    expect_failure(bed, &ask, 5, ERR_UNSUPPORTED);
    assert_true(answer(bed, &ask, &point, 1, &cell, &bound)); /* the scatter is not needed */
    assert_same(cell.f, 3);
    assert_same(bound, 0);
    expect_failure(bed, &ask, 8, ERR_INPUT);
    expect_failure(bed, &ask, -1, ERR_INPUT);
    ask.data[0] = NULL;
    expect_failure(bed, &ask, 2, ERR_INPUT);
    assert_true(answer(bed, &ask, &point, 0, &cell, &bound));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_huge, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_product, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_padding, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_lines, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_lookups, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
