/* Kernels at sizes of gigabytes, of which four iterations run: right ones, and ones that are wrong
 * from some size on. */
#include "verify/test_util.h"

#include "base/arena.h"
#include "verify/launch.h"

#define COLUMNS 1024
#define ROWS ((int64_t)1 << 18) /* a result of 1 GiB */

static const char TEXT[] = "graph \"\"\n"
                           "dim S 1..16777216 multiple 1\n"
                           "%1 = input \"x\" : f32[S, 1024]\n"
                           "%2 = neg %1 : f32[S, 1024]\n"
                           "output \"y\" %2\n";

static void negate(void *const *buffers, int64_t begin, int64_t end, int64_t first, int64_t last)
{
    float *y = buffers[0];
    const float *x = buffers[1];
    for (int64_t i = begin; i < end; i++)
        for (int64_t k = first; k < last; k++)
            y[i * COLUMNS + k] = -x[i * COLUMNS + k];
}

static void right(void *const *buffers, const int64_t *dims, void *scratch, int64_t begin,
                  int64_t end)
{
    (void)dims, (void)scratch;
    negate(buffers, begin, end, 0, COLUMNS);
}

static void idle_if_large(void *const *buffers, const int64_t *dims, void *scratch, int64_t begin,
                          int64_t end)
{
    (void)scratch;
    if (dims[0] < 100000)
        negate(buffers, begin, end, 0, COLUMNS);
}

static void without_the_middle(void *const *buffers, const int64_t *dims, void *scratch,
                               int64_t begin, int64_t end)
{
    (void)scratch;
    if (begin == 0 || end == dims[0])
        negate(buffers, begin, end, 0, COLUMNS);
}

static void without_the_last(void *const *buffers, const int64_t *dims, void *scratch,
                             int64_t begin, int64_t end)
{
    (void)scratch;
    negate(buffers, begin, end < dims[0] ? end : end - 1, 0, COLUMNS);
}

static void without_the_first_columns(void *const *buffers, const int64_t *dims, void *scratch,
                                      int64_t begin, int64_t end)
{
    (void)dims, (void)scratch;
    negate(buffers, begin, end, 4, COLUMNS);
}

/* Reads what 32 bits of the place leave. */
static void from_the_start(void *const *buffers, const int64_t *dims, void *scratch, int64_t begin,
                           int64_t end)
{
    (void)dims, (void)scratch;
    float *y = buffers[0];
    const float *x = buffers[1];
    for (int64_t i = begin; i < end; i++)
        for (int64_t k = 0; k < COLUMNS; k++)
            y[i * COLUMNS + k] = -x[(uint16_t)(i * COLUMNS + k)];
}

static bool judge(urza_kernel_fn *kernel, int64_t rows, struct verdict *verdict,
                  struct outcome *outcome)
{
    static const uint32_t args[] = {0, 1};
    uint32_t reads[] = {1}, writes[] = {0};
    const struct care care = {0, 4, 1, 100000, 100000, true, FAR_POINTS};
    struct far_blocks blocks = {0};
    struct graph graph;
    struct error err;
    struct arena arena;
    arena_init(&arena);
    must(graph_parse(&graph, &arena, TEXT, sizeof TEXT - 1, &err), &err);
    struct plan_launch launch = {
        .arg_count = 2,
        .args = args,
        .written = 1,
        .code = {.extent = dim_named(&graph.dims, 0), .scratch_bytes = dim_const(&graph.dims, 0)},
        .label = "neg"};
    const struct plan plan = {.arena = &arena, .dims = &graph.dims};
    const struct launch_case c = {
        .launch = &launch, .graph = &graph, .reads = reads, .writes = writes, .config = ""};
    const struct far_request request = {&c, &plan, kernel, &rows, 1, &blocks, &care};
    *outcome = (struct outcome){0};
    bool ok = far_launch(&request, verdict, outcome);
    far_blocks_close(&blocks);
    arena_release(&arena);
    return ok;
}

static void right_kernels_pass(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 4, 5, 300, 3000, ROWS};
    struct verdict verdict;
    struct outcome outcome;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (!judge(right, sizes[i], &verdict, &outcome))
            TEST_FAILED("%lld rows: %s", (long long)sizes[i], outcome.detail);
        assert_int_equal(verdict.elements, sizes[i] * COLUMNS);
        assert_in_range(verdict.checked, 4, 12);
    }
}

static void wrong_kernels_are_found(void **state)
{
    (void)state;
    static const struct {
        urza_kernel_fn *kernel;
        const char *says;
    } cases[] = {{idle_if_large, "iteration 262142 of 262144 writes nothing"},
                 {without_the_middle, "iteration 131072 of 262144 writes nothing"},
                 {without_the_last, "its last iteration does not write the last element"},
                 {without_the_first_columns, "its first iteration does not write the first"},
                 {from_the_start, "is off by"}};
    struct verdict verdict;
    struct outcome outcome;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(judge(cases[i].kernel, ROWS, &verdict, &outcome));
        if (!strstr(outcome.detail, cases[i].says))
            TEST_FAILED("case %zu: %s", i, outcome.detail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(right_kernels_pass),
                                       cmocka_unit_test(wrong_kernels_are_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
