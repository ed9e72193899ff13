/* Runs with a memo give the same bits as runs without, and find exactly the nodes that were
 * computed before. */
#include "graph/interp_memo.h"

#include <string.h>

#include "graph/interp_test_util.h"

#define MUCH ((size_t)1 << 20)

static const char plain[] = "graph \"p\"\n"
                            "%1 = input \"x\" : f32[3, 4]\n"
                            "%2 = param \"w\" : f32[6, 4]\n"
                            "%3 = contract %1, %2 {batch 0, contract 1} : f32[3, 6]\n"
                            "%4 = exp %3 : f32[3, 6]\n"
                            "output \"y\" %4\n";
/* As the first graph, with the weight packed and unpacked again; then one more node. */
static const char packed[] = "graph \"p\"\n"
                             "%1 = input \"x\" : f32[3, 4]\n"
                             "%2 = param \"w\" : f32[6, 4]\n"
                             "%3 = transpose %2 {axes [1, 0]} : f32[4, 6]\n"
                             "%4 = copy %3 : f32[4, 6]\n"
                             "%5 = transpose %4 {axes [1, 0]} : f32[6, 4]\n"
                             "%6 = contract %1, %5 {batch 0, contract 1} : f32[3, 6]\n"
                             "%7 = exp %6 : f32[3, 6]\n"
                             "output \"y\" %7\n";
/* As the second one, packed in another way behind it. */
static const char twice[] = "graph \"p\"\n"
                            "%1 = input \"x\" : f32[3, 4]\n"
                            "%2 = param \"w\" : f32[6, 4]\n"
                            "%3 = transpose %2 {axes [1, 0]} : f32[4, 6]\n"
                            "%4 = copy %3 : f32[4, 6]\n"
                            "%5 = reverse %4 {axes [1]} : f32[4, 6]\n"
                            "%6 = copy %5 : f32[4, 6]\n"
                            "%7 = reverse %6 {axes [1]} : f32[4, 6]\n"
                            "%8 = transpose %7 {axes [1, 0]} : f32[6, 4]\n"
                            "%9 = contract %1, %8 {batch 0, contract 1} : f32[3, 6]\n"
                            "%10 = exp %9 : f32[3, 6]\n"
                            "output \"y\" %10\n";
/* As the first one, with a node more. */
static const char longer[] = "graph \"p\"\n"
                             "%1 = input \"x\" : f32[3, 4]\n"
                             "%2 = param \"w\" : f32[6, 4]\n"
                             "%3 = contract %1, %2 {batch 0, contract 1} : f32[3, 6]\n"
                             "%4 = exp %3 : f32[3, 6]\n"
                             "%5 = neg %4 : f32[3, 6]\n"
                             "output \"y\" %5\n";
/* Nearly the same: different terms of the same shape. */
static const char reversed[] = "graph \"p\"\n"
                               "%1 = input \"x\" : f32[3, 4]\n"
                               "%2 = param \"w\" : f32[6, 4]\n"
                               "%3 = reverse %2 {axes [1]} : f32[6, 4]\n"
                               "%4 = contract %1, %3 {batch 0, contract 1} : f32[3, 6]\n"
                               "%5 = exp %4 : f32[3, 6]\n"
                               "output \"y\" %5\n";
static const char slices[] = "graph \"s\"\n"
                             "%1 = input \"x\" : f32[3, 4]\n"
                             "%2 = param \"w\" : f32[6, 4]\n"
                             "%3 = slice %2 {start [0, 0], step [1, 1]} : f32[3, 4]\n"
                             "%4 = slice %2 {start [3, 0], step [1, 1]} : f32[3, 4]\n"
                             "%5 = slice %2 {start [0, 0], step [2, 1]} : f32[3, 4]\n"
                             "%6 = sub %1, %3 : f32[3, 4]\n"
                             "%7 = sub %1, %4 : f32[3, 4]\n"
                             "%8 = sub %1, %5 : f32[3, 4]\n"
                             "%9 = sub %3, %1 : f32[3, 4]\n"
                             "output \"a\" %6\n"
                             "output \"b\" %7\n"
                             "output \"c\" %8\n"
                             "output \"d\" %9\n";
/* A source, a view of it, and a value that is read again after its reshape. */
static const char shared[] = "graph \"v\"\n"
                             "%1 = input \"x\" : f32[3, 4]\n"
                             "%2 = param \"w\" : f32[6, 4]\n"
                             "%3 = reshape %1 : f32[12]\n"
                             "%4 = exp %2 : f32[6, 4]\n"
                             "%5 = reshape %4 : f32[24]\n"
                             "%6 = neg %5 : f32[24]\n"
                             "%7 = add %4, %2 : f32[6, 4]\n"
                             "output \"a\" %1\n"
                             "output \"b\" %3\n"
                             "output \"c\" %6\n"
                             "output \"d\" %7\n";

static void run(struct bed *bed, const char *text, struct interp_memo *memo,
                const struct interp_tensor *sources, struct interp_tensor *out)
{
    struct graph graph;
    struct interp_options options = {.mode = INTERP_REFERENCE, .memo = memo};
    assert_true(graph_parse(&graph, &bed->arena, text, strlen(text), &bed->err));
    assert_true(interp_run(&graph, &options, &(struct interp_arguments){NULL, sources, 2},
                           &bed->arena, out, &bed->err));
}

static void assert_same_tensors(const struct interp_tensor *a, const struct interp_tensor *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->cells, b->cells, (size_t)a->count * sizeof *a->cells);
    assert_int_equal(a->bounds != NULL, b->bounds != NULL);
    if (a->bounds)
        assert_memory_equal(a->bounds, b->bounds, (size_t)a->count * sizeof *a->bounds);
}

static void sources_of(struct bed *bed, struct interp_tensor *sources)
{
    sources[0] = random_of(bed, DTYPE_F32, SHAPE(3, 4), 1);
    sources[1] = random_of(bed, DTYPE_F32, SHAPE(6, 4), 2);
}

/* The same elements, converted when they are needed. */
static void borrow(struct bed *bed, const struct interp_tensor *sources, struct interp_tensor *out)
{
    for (uint32_t i = 0; i < 2; i++) {
        float *data = ARENA_ARRAY(&bed->arena, float, sources[i].count);
        interp_store(&sources[i], data);
        const struct native_tensor native = {DTYPE_F32, 2, sources[i].shape, data};
        assert_true(interp_borrow(&out[i], &bed->arena, &native, &bed->err));
    }
}

static void test_same_bits(void **state)
{
    struct bed *bed = *state;
    const char *const texts[] = {plain, packed, reversed, slices, shared,
                                 plain, twice,  longer,   shared};
    struct interp_tensor sources[2], borrowed[2], with[4], without[4];
    sources_of(bed, sources);
    borrow(bed, sources, borrowed);
    for (size_t bytes = 0; bytes <= MUCH; bytes = bytes * 4 + 100) {
        struct interp_memo *memo = interp_memo_new(&bed->arena, bytes);
        struct interp_memo *other = interp_memo_new(&bed->arena, bytes);
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
            uint32_t outputs = texts[t] == slices || texts[t] == shared ? 4 : 1;
            run(bed, texts[t], NULL, sources, without);
            for (uint32_t way = 0; way < 3; way++) {
                run(bed, texts[t],
                    way == 0   ? NULL
                    : way == 1 ? memo
                               : other,
                    way == 1 ? sources : borrowed, with);
                for (uint32_t i = 0; i < outputs; i++) {
                    assert_same_tensors(&with[i], &without[i]);
                    assert_null(with[i].lazy);
                }
            }
        }
        assert_int_equal(interp_memo_found(other), interp_memo_found(memo));
    }
}

static void found(struct bed *bed, const struct interp_tensor *sources)
{
    struct interp_tensor out[4];
    struct interp_memo *memo = interp_memo_new(&bed->arena, MUCH);
    run(bed, plain, memo, sources, out);
    assert_int_equal(interp_memo_found(memo), 0);
    run(bed, packed, memo, sources, out); /* contract, exp */
    assert_int_equal(interp_memo_found(memo), 2);
    run(bed, reversed, memo, sources, out); /* reverse: it was needed to number contract */
    assert_int_equal(interp_memo_found(memo), 2 + 1);
    run(bed, packed, memo, sources, out); /* everything */
    assert_int_equal(interp_memo_found(memo), 2 + 1 + 5);
    run(bed, slices, memo, sources, out); /* slices of w, likewise */
    assert_int_equal(interp_memo_found(memo), 2 + 1 + 5 + 3);
}

static void test_found(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor sources[2], borrowed[2];
    sources_of(bed, sources);
    borrow(bed, sources, borrowed);
    found(bed, sources);
    found(bed, borrowed);
}

/* Other sources are other values; equal sources at another address are the same value. */
static void test_sources(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor sources[2], other[2], out[4];
    sources_of(bed, sources);
    struct interp_memo *memo = interp_memo_new(&bed->arena, MUCH);
    run(bed, plain, memo, sources, out);
    sources_of(bed, other);
    assert_ptr_not_equal(other[0].cells, sources[0].cells);
    run(bed, plain, memo, other, out);
    assert_int_equal(interp_memo_found(memo), 2);
    borrow(bed, sources, other);
    run(bed, plain, memo, other, out);
    assert_int_equal(interp_memo_found(memo), 2 + 2);
    struct interp_tensor changed[2] = {sources[0], random_of(bed, DTYPE_F32, SHAPE(6, 4), 2)};
    changed[1].cells[7].f = 7;
    run(bed, plain, memo, changed, out);
    assert_int_equal(interp_memo_found(memo), 2 + 2);
    borrow(bed, changed, other);
    run(bed, plain, memo, other, out);
    assert_int_equal(interp_memo_found(memo), 2 + 2 + 2);
    changed[0].cells[0].f = 7;
    borrow(bed, changed, other);
    run(bed, plain, memo, other, out);
    assert_int_equal(interp_memo_found(memo), 2 + 2 + 2);
}

/* Where no memory may be used, nothing is found but the results of runs. */
static void test_full(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor sources[2], out[4];
    sources_of(bed, sources);
    struct interp_memo *memo = interp_memo_new(&bed->arena, 0);
    run(bed, plain, memo, sources, out);
    assert_int_equal(interp_memo_found(memo), 0);
    run(bed, longer, memo, sources, out); /* exp was a result */
    assert_int_equal(interp_memo_found(memo), 1);
    run(bed, plain, memo, sources, out);
    assert_int_equal(interp_memo_found(memo), 1 + 2);
}

/* A graph that differs only in how its weight is laid out is not run, though nothing between was
 * kept; one in which a single element of the weight, or a node, is another is. */
static void test_known(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor sources[2], borrowed[2], plainly[4], out[4];
    sources_of(bed, sources);
    for (int way = 0; way < 2; way++) {
        struct interp_memo *memo = interp_memo_new(&bed->arena, 0);
        borrow(bed, sources, borrowed);
        const struct interp_tensor *from = way ? borrowed : sources;
        run(bed, plain, memo, from, plainly);
        run(bed, packed, memo, from, out);
        assert_int_equal(interp_memo_found(memo), 2);
        assert_same_tensors(&out[0], &plainly[0]);
        run(bed, twice, memo, from, out); /* what it packs was packed before, and was not kept */
        assert_int_equal(interp_memo_found(memo), 2 + 5);
        assert_same_tensors(&out[0], &plainly[0]);
        run(bed, reversed, memo, from, out);
        assert_int_equal(interp_memo_found(memo), 2 + 5);
        assert_true(out[0].cells[0].f != plainly[0].cells[0].f);
        struct interp_tensor changed[2] = {sources[0], random_of(bed, DTYPE_F32, SHAPE(6, 4), 2)};
        changed[1].cells[23].f += 1;
        run(bed, packed, memo, changed, out); /* the last transpose gives the source again */
        assert_int_equal(interp_memo_found(memo), 2 + 5 + 1);
        assert_true(out[0].cells[17].f != plainly[0].cells[17].f);
        assert_same(out[0].cells[0].f, plainly[0].cells[0].f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_bits, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_found, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_sources, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_known, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_full, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
