#include "verify/test_util.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/text.h"
#include "verify/launch.h"
#include "verify/scene.h"

/* The answer for three elements of which the middle one has these bits. */
static void expect(enum dtype dtype, uint64_t a, uint64_t b, bool differs)
{
    uint8_t x[24] = {0}, y[24] = {0};
    size_t step = dtype_bytes(dtype), at = 0;
    memcpy(x + step, &a, step);
    memcpy(y + step, &b, step);
    if (elements_differ(dtype, x, y, 3 * step, &at) != differs || at != differs)
        TEST_FAILED("%s: %llx and %llx", dtype_name(dtype), (unsigned long long)a,
                    (unsigned long long)b);
}

/* Where two tiles overlap, the later one's result is stored, and infinity times 0 may give a NaN of
 * either sign. */
static void only_the_sign_of_a_nan_is_free(void **state)
{
    (void)state;
    expect(DTYPE_F32, 0x3f800000, 0x3f800000, false);
    expect(DTYPE_F32, 0x3f800000, 0xbf800000, true);
    expect(DTYPE_F32, 0, 0x80000000, true);
    expect(DTYPE_F32, 0x7f800000, 0xff800000, true);
    expect(DTYPE_F32, 0x7fc00000, 0xffc00000, false);
    expect(DTYPE_F32, 0x7fe5a123, 0xfff35a45, true); /* the content of memory before the run, as a
                                                        quiet NaN */
    expect(DTYPE_F64, 0x7ff8000000000000, 0xfff8000000000000, false);
    expect(DTYPE_F64, 0x7ff0000000000000, 0xfff0000000000000, true);
    expect(DTYPE_F16, 0x7e00, 0xfe00, false);
    expect(DTYPE_F16, 0x7c00, 0xfc00, true);
    expect(DTYPE_BF16, 0x7fc0, 0xffc0, false);
    expect(DTYPE_BF16, 0x7f80, 0xff80, true);
    expect(DTYPE_I32, 0x7fc00000, 0xffc00000, true);
    expect(DTYPE_U8, 0x7f, 0xff, true);
}

/* Elements that are drawn are those that are taken of whole outputs, of more elements and of
 * fewer than are drawn. */
static void drawn_elements_are_those_of_the_whole(void **state)
{
    static const char text[] = "graph \"g\"\n%1 = input \"x\" : f32[40, 30]\n"
                               "%2 = exp %1 : f32[40, 30]\n"
                               "%3 = reduce_sum %2 {axes [1]} : f32[40]\n"
                               "output \"y\" %2\noutput \"z\" %3\n";
    const struct interp_options options = {.mode = INTERP_REFERENCE};
    struct arena arena;
    struct graph graph;
    struct sample sample;
    struct error err;
    struct interp_tensor sources[1], whole[2], taken[2], drawn[2];
    (void)state;
    arena_init(&arena);
    assert_true(graph_parse(&graph, &arena, text, strlen(text), &err));
    const struct sample_request request = {.graph = &graph, .seed = 3, .fill = FILL_NORMAL};
    assert_true(sample_make(&sample, &request, &arena, &err));
    assert_true(sample_sources(&sample, NULL, sources, &arena, &err));
    assert_true(interp_run(&graph, &options, &(struct interp_arguments){NULL, sources, 1}, &arena,
                           whole, &err));
    draw_from_whole(&sample, whole, 2, &arena, taken);
    assert_true(draw_outputs(&graph, &options, &sample, &arena, drawn, &err));
    assert_int_equal(taken[0].count, OUTPUT_DRAWN);
    assert_int_equal(taken[1].count, 40);
    for (int o = 0; o < 2; o++) {
        assert_in_range(drawn[o].count, 1, taken[o].count);
        for (int64_t i = 0; i < drawn[o].count; i++) {
            assert_true(drawn[o].cells[i].f == taken[o].cells[i].f);
            assert_true(taken[o].bounds[i] > 0);
        }
    }
    arena_release(&arena);
}

#define NUDGED 1000

/* The elements of a param, as a whole and in pieces of all sizes: the same ones. */
static void load_whole(const struct interp_lazy *lazy, union cell *out)
{
    lazy->load(lazy, 0, NUDGED, out);
    for (int64_t size = 1; size < NUDGED; size = 3 * size + 1) {
        union cell pieces[NUDGED];
        for (int64_t at = 0; at < NUDGED; at += size)
            lazy->load(lazy, at, size < NUDGED - at ? size : NUDGED - at, pieces + at);
        assert_memory_equal(pieces, out, sizeof pieces);
    }
}

/* Floats move to a neighbour or stay, whatever is loaded of a param at a time; integers, zeros,
 * infinities and NaNs stay. The original is not changed. */
static void nudges_move_by_one(void **state)
{
    (void)state;
    static const char text[] = "graph \"n\"\n"
                               "%1 = param \"w\" : f32[1000]\n"
                               "%2 = param \"i\" : i32[1000]\n"
                               "%3 = exp %1 : f32[1000]\n"
                               "output \"y\" %3\n";
    struct arena arena;
    struct error err;
    struct graph graph;
    float w[NUDGED], kept[NUDGED];
    int32_t n[NUDGED];
    union cell cells[NUDGED];
    int down = 0, up = 0;
    arena_init(&arena);
    assert_true(graph_parse(&graph, &arena, text, strlen(text), &err));
    random_fill(DTYPE_F32, NUDGED, 1, FILL_SPECIAL, 0, w);
    random_fill(DTYPE_I32, NUDGED, 2, FILL_NORMAL, 0, n);
    memcpy(kept, w, sizeof w);
    const struct package_param params[2] = {{DTYPE_F32, w, sizeof w}, {DTYPE_I32, n, sizeof n}};
    struct tensor no_inputs[1] = {{0}};
    struct whole whole = {.graph = &graph, .arena = &arena};
    struct scene moved, from = {.whole = &whole,
                                .sample = {.graph = &graph, .inputs = no_inputs, .params = params},
                                .drawn = true};
    assert_true(scene_nudge(&moved, &from, 3, &err));
    load_whole(moved.sample.other_params[0], cells);
    for (int i = 0; i < NUDGED; i++) {
        float x = (float)cells[i].f;
        if (isnan(w[i]) || isinf(w[i]) || w[i] == 0) {
            assert_true(isnan(w[i]) ? isnan(x) : x == w[i]);
            continue;
        }
        assert_true(x == w[i] || x == nextafterf(w[i], INFINITY) ||
                    x == nextafterf(w[i], -INFINITY));
        down += x < w[i];
        up += x > w[i];
    }
    assert_true(down > NUDGED / 5 && up > NUDGED / 5);
    load_whole(moved.sample.other_params[1], cells);
    for (int i = 0; i < NUDGED; i++)
        assert_int_equal(cells[i].i, n[i]);
    assert_memory_equal(w, kept, sizeof w);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_sign_of_a_nan_is_free),
        cmocka_unit_test(drawn_elements_are_those_of_the_whole),
        cmocka_unit_test(nudges_move_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
