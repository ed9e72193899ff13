/* Tangents of each prim alone, of random programs of all prims, and of loops, beside differences
 * (tangent_test_util.h); and that a program in f16 has the values and tangents of the same program
 * in f64. */
#include <string.h>

#include "graph/prims_test_util.h"
#include "graph/tangent_test_util.h"
#include "graph/text.h"

static void begin(struct program *p, struct bed *bed, uint64_t seed, enum dtype floats)
{
    arena_release(&bed->arena);
    *p = (struct program){.bed = bed, .key = rng_key(seed), .floats = floats};
    graph_init(&p->graph, &bed->arena);
}

static struct interp_arguments arguments_of(struct program *p)
{
    uint32_t inputs = p->graph.inputs.count, count = inputs + p->graph.params.count;
    struct interp_tensor *tensors = ARENA_ARRAY(&p->bed->arena, struct interp_tensor, count);
    for (uint32_t i = 0; i < count; i++)
        tensors[i] = program_tensor(p, i < inputs ? p->graph.inputs.items[i]
                                                  : p->graph.params.items[i - inputs]);
    return (struct interp_arguments){p->dims, tensors, count};
}

static void compare(struct program *p, uint64_t seed, struct tangent_tally *tally)
{
    const struct interp_arguments arguments = arguments_of(p);
    if (!tangent_compare(&p->graph, &arguments, seed, &p->bed->arena, tally, &p->bed->err))
        fail_msg("seed %llu: %s", (unsigned long long)seed, p->bed->err.message);
}

static bool is_of_loops(enum prim prim)
{
    return prim == PRIM_ITER || prim == PRIM_STATE || prim == PRIM_LOOP;
}

static void check_prim(struct bed *bed, enum prim prim, struct tangent_tally *tally)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct program p;
        begin(&p, bed, seed * PRIM_COUNT + prim, DTYPE_F64);
        program_grow(&p, 2);
        value_id y = VALUE_NONE;
        for (int tries = 0; y == VALUE_NONE && tries < 20; tries++)
            y = program_make(&p, prim, program_roll_source(&p, DTYPE_F64));
        if (y == VALUE_NONE || program_elements(&p, y) > ELEMENTS_MOST)
            continue; /* VALUE_NONE: prims of integers */
        assert_true(graph_output(&p.graph, "y", y, &bed->err));
        compare(&p, seed, tally);
    }
}

/* Whether results are floats and may depend on floats. */
static bool has_tangents(enum prim prim)
{
    bool source = prim <= PRIM_RANDOM;
    bool whole = (prim >= PRIM_AND && prim <= PRIM_LE) || prim == PRIM_NOT || prim == PRIM_IS_NAN ||
                 (prim >= PRIM_ARGMAX && prim <= PRIM_ARGSORT);
    return !source && !whole && !is_of_loops(prim);
}

static bool is_step(enum prim prim)
{
    return prim == PRIM_SIGN || (prim >= PRIM_FLOOR && prim <= PRIM_TRUNC);
}

/* Of sqrt, logarithms and pow half of the numbers are out of the domain, and do not count. Where
 * take and gather have an index that was computed from floats, bounds are infinite. */
static void test_prims(void **state)
{
    for (int prim = PRIM_CONST; prim < PRIM_COUNT; prim++) {
        struct tangent_tally tally = {0};
        if (is_of_loops(prim) || prim == PRIM_BITCAST || prim == PRIM_DETACH)
            continue;
        check_prim(*state, prim, &tally);
        int64_t tenths = prim == PRIM_TAKE || prim == PRIM_GATHER ? 4 : 9;
        bool moves = tally.moving >= 100 || is_step(prim);
        if (has_tangents(prim) &&
            (tally.sharp < 300 || 10 * tally.sharp < tenths * tally.elements || !moves))
            fail_msg("%s: of %lld elements %lld were compared, %lld with a tangent",
                     prim_info((enum prim)prim)->name, (long long)tally.elements,
                     (long long)tally.sharp, (long long)tally.moving);
    }
}

static void test_programs(void **state)
{
    struct bed *bed = *state;
    struct tangent_tally all = {0};
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct program p;
        struct tangent_tally tally[VALUES_MOST] = {0};
        begin(&p, bed, seed, seed % 4 == 0 ? DTYPE_NONE : DTYPE_F64);
        p.excluded[PRIM_BITCAST] = true;
        p.excluded[PRIM_DETACH] = true; /* its tangent is not that of its value */
        program_grow(&p, VALUES_MOST - 1);
        for (uint32_t i = 0; i < p.count; i++) {
            char name[8];
            snprintf(name, sizeof name, "y%u", i);
            assert_true(graph_output(&p.graph, name, p.values[i], &bed->err));
        }
        compare(&p, seed, tally);
        for (uint32_t i = 0; i < p.count; i++) {
            all.elements += tally[i].elements;
            all.sharp += tally[i].sharp;
            all.moving += tally[i].moving;
        }
    }
    print_message("%lld elements, %lld sharp, %lld moving\n", (long long)all.elements,
                  (long long)all.sharp, (long long)all.moving);
    assert_true(10 * all.sharp > 9 * all.elements && 10 * all.moving > 3 * all.elements);
}

/* All values of a program, whose floats have this dtype, on sources and directions that are the
 * same for all dtypes. */
static uint32_t run_floats(struct program *p, uint64_t seed, enum dtype floats,
                           struct tangent_tensor *out)
{
    struct bed *bed = p->bed;
    *p = (struct program){.bed = bed, .key = rng_key(seed), .floats = floats};
    graph_init(&p->graph, &bed->arena);
    p->excluded[PRIM_BITCAST] = true;
    program_grow(p, VALUES_MOST - 1);
    for (uint32_t i = 0; i < p->count; i++) {
        char name[8];
        snprintf(name, sizeof name, "y%u", i);
        assert_true(graph_output(&p->graph, name, p->values[i], &bed->err));
    }
    struct interp_arguments point = arguments_of(p);
    struct interp_tensor *sources =
        ARENA_ARRAY(&bed->arena, struct interp_tensor, point.source_count);
    const double **directions = ARENA_ARRAY(&bed->arena, const double *, point.source_count);
    for (uint32_t s = 0; s < point.source_count; s++) {
        struct interp_tensor normal = random_of(bed, DTYPE_F64, SHAPE(point.sources[s].count), s),
                             direction = random_of(bed, DTYPE_F64, SHAPE(normal.count), 1000 + s);
        sources[s] = point.sources[s];
        if (dtype_is_float(sources[s].dtype))
            sources[s].cells = normal.cells;
        directions[s] = &direction.cells->f;
    }
    point.sources = sources;
    if (!tangent_run(&p->graph, &(struct interp_options){.threads = 1},
                     &(struct tangent_arguments){point, directions}, &bed->arena, out, &bed->err))
        fail_msg("seed %llu: %s", (unsigned long long)seed, bed->err.message);
    return p->count;
}

/* Nothing is rounded to a dtype: the same bits, whatever the dtype of all floats. */
static void test_not_rounded(void **state)
{
    static const enum dtype narrow[] = {DTYPE_F16, DTYPE_BF16, DTYPE_F32};
    struct bed *bed = *state;
    int64_t floats = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        static struct tangent_tensor out[2][VALUES_MOST];
        struct program *p = NULL;
        arena_release(&bed->arena);
        p = ARENA_NEW(&bed->arena, struct program);
        p->bed = bed;
        uint32_t count = run_floats(p, seed, DTYPE_F64, out[0]);
        assert_int_equal(run_floats(p, seed, narrow[seed % 3], out[1]), count);
        for (uint32_t o = 0; o < count; o++) {
            size_t bytes = (size_t)out[0][o].value.count * 8;
            assert_int_equal(out[1][o].value.count, out[0][o].value.count);
            if (bytes == 0)
                continue;
            assert_memory_equal(out[0][o].value.cells, out[1][o].value.cells, bytes);
            assert_true(!out[0][o].tangent == !out[1][o].tangent);
            if (!out[0][o].tangent)
                continue;
            assert_memory_equal(out[0][o].tangent, out[1][o].tangent, bytes);
            floats += out[0][o].value.count;
        }
    }
    assert_true(floats > 100000);
}

/* h, c = tanh(h·w + x[t]), c·exp(-h) + x[t]; rows of c. With a condition: while the sum of h is
 * below a limit. */
static const char BODY[] =
    "dim T 0..9 multiple 1 typical 4\n"
    "%1 = input \"x\" : f64[9, 3]\n%2 = input \"w\" : f64[3, 3]\n%3 = input \"limit\" : f64[]\n"
    "%4 = input \"h\" : f64[3]\n%5 = input \"c\" : f64[3]\n%6 = const 1 : bool[]\n"
    "%7 = copy %6 : bool[]\n%8 = copy %4 : f64[3]\n%9 = copy %5 : f64[3]\n"
    "%10 = state %8 {loop 1, index 0} : f64[3]\n%11 = state %9 {loop 1, index 1} : f64[3]\n"
    "%12 = state %7 {loop 1, index 2} : bool[]\n%13 = iter {loop 1} : i64[]\n"
    "%14 = take %1, %13 {axis 0} : f64[3]\n"
    "%15 = contract %10, %2 {batch 0, contract 1} : f64[3]\n%16 = add %15, %14 : f64[3]\n"
    "%17 = tanh %16 : f64[3]\n%18 = copy %17 : f64[3]\n%19 = neg %10 : f64[3]\n"
    "%20 = exp %19 : f64[3]\n%21 = mul %11, %20 : f64[3]\n%22 = add %21, %14 : f64[3]\n"
    "%23 = copy %22 : f64[3]\n%24 = reduce_sum %18 {axes [0]} : f64[]\n"
    "%25 = lt %24, %3 : bool[]\n%26 = copy %25 : bool[]\n";

static void test_loops(void **state)
{
    struct bed *bed = *state;
    struct tangent_tally tally[3] = {0};
    for (uint64_t seed = 0; seed < 80; seed++) {
        char text[2500], attrs[80];
        struct graph graph;
        struct interp_tensor in[5];
        static const int64_t shapes[5][2] = {{9, 3}, {3, 3}, {0}, {3}, {3}};
        static const uint32_t ranks[5] = {2, 2, 0, 1, 1};
        int64_t trips = (int64_t)(seed % 10);
        arena_release(&bed->arena);
        snprintf(attrs, sizeof attrs, "states 3, dim [T]%s", seed % 2 == 0 ? ", while 2" : "");
        int size = snprintf(text, sizeof text, "graph \"\"\n%s", BODY);
        static const int index[3] = {0, 1, 3};
        for (int o = 0; o < 3; o++)
            size += snprintf(text + size, sizeof text - (size_t)size,
                             "%%%d = loop %%10, %%11, %%12, %%18, %%23, %%26, %%23 "
                             "{loop 1, index %d, %s} : f64[%s3]\n",
                             27 + o, index[o], attrs, o == 2 ? "T, " : "");
        snprintf(text + size, sizeof text - (size_t)size,
                 "output \"h\" %%27\noutput \"c\" %%28\noutput \"cs\" %%29\n");
        if (!graph_parse(&graph, &bed->arena, text, strlen(text), &bed->err))
            fail_msg("%s: %s in\n%s", bed->err.place, bed->err.message, text);
        for (uint32_t i = 0; i < 5; i++)
            in[i] = random_of(bed, DTYPE_F64, shapes[i], ranks[i], 10 * seed + i);
        if (!tangent_compare(&graph, &(struct interp_arguments){&trips, in, 5}, seed, &bed->arena,
                             tally, &bed->err))
            fail_msg("seed %llu: %s", (unsigned long long)seed, bed->err.message);
    }
    for (int o = 0; o < 3; o++)
        assert_true(tally[o].elements >= 240 && 10 * tally[o].sharp > 9 * tally[o].elements &&
                    10 * tally[o].moving > 5 * tally[o].elements);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prims, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_programs, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_not_rounded, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_loops, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
