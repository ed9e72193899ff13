/* Stacked graphs beside runs of the graph itself, one for each copy: all prims alone, random
 * programs of them, inputs side by side along any dim; and what is refused. */
#include <string.h>

#include "base/strbuf.h"
#include "graph/build.h"
#include "graph/prims_test_util.h"
#include "graph/stack.h"
#include "graph/text.h"

enum { COPIES = 3 };

static void begin(struct program *p, struct bed *bed, uint64_t seed)
{
    arena_release(&bed->arena);
    *p = (struct program){.bed = bed, .key = rng_key(seed)};
    p->excluded[PRIM_RANDOM] = true; /* each copy has its own numbers */
    graph_init(&p->graph, &bed->arena);
}

static void end_with(struct program *p, value_id y)
{
    struct builder b = {&p->graph, &p->bed->err};
    const dim_id row[] = {b_dim_const(&b, 1), graph_elements(&p->graph, y)};
    assert_true(graph_output(&p->graph, "y", b_reshape(&b, y, row, 2), &p->bed->err));
}

/* The graph with params in the place of its float inputs, which may have any shape. */
static void without_inputs(struct program *p, struct graph *out)
{
    struct strbuf text, changed;
    struct arena *arena = &p->bed->arena;
    strbuf_init(&text, arena);
    strbuf_init(&changed, arena);
    graph_print(&p->graph, &text);
    for (char *line = text.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        char *input = strstr(line, " = input "), *type = strstr(line, "\" : ");
        if (input && type && (type[4] == 'f' || strncmp(type + 4, "bf", 2) == 0))
            memcpy(input + 3, "param", 5);
        strbuf_printf(&changed, "%s\n", line);
    }
    if (!graph_parse(out, arena, changed.data, changed.size_bytes, &p->bed->err))
        fail_msg("%s: %s", p->bed->err.place, p->bed->err.message);
}

static void run(struct program *p, const struct graph *graph, const struct interp_tensor *sources,
                struct interp_tensor *out)
{
    const struct interp_arguments arguments = {p->dims, sources,
                                               graph->inputs.count + graph->params.count};
    const struct interp_options options = {.mode = INTERP_NATIVE};
    if (!interp_run(graph, &options, &arguments, &p->bed->arena, out, &p->bed->err))
        fail_msg("%s: %s", p->bed->err.place, p->bed->err.message);
}

/* Tensors of the copies, one behind another. */
static struct interp_tensor joined(struct bed *bed, const struct interp_tensor *parts)
{
    struct interp_tensor t = parts[0];
    assert_true(t.rank < LIMIT_RANK);
    memmove(t.shape + 1, t.shape, t.rank * sizeof *t.shape);
    t.shape[0] = COPIES;
    t.rank++;
    t.count *= COPIES;
    t.cells = ARENA_ARRAY(&bed->arena, union cell, t.count);
    for (int c = 0; c < COPIES && t.count > 0; c++)
        memcpy(t.cells + c * parts[c].count, parts[c].cells,
               (size_t)parts[c].count * sizeof *t.cells);
    return t;
}

static void must_be_equal(const struct interp_tensor *a, const union cell *b, uint64_t seed)
{
    for (int64_t i = 0; i < a->count; i++) {
        bool nan = dtype_is_float(a->dtype) && isnan(a->cells[i].f) && isnan(b[i].f);
        if (!nan && a->cells[i].i != b[i].i)
            fail_msg("seed %llu: element %lld is %g (%lld), and alone %g (%lld)",
                     (unsigned long long)seed, (long long)i, b[i].f, (long long)b[i].i,
                     a->cells[i].f, (long long)a->cells[i].i);
    }
}

/* False: the graph is one that cannot be stacked. */
static bool compare(struct program *p, uint64_t seed)
{
    struct graph base, stack;
    struct bed *bed = p->bed;
    without_inputs(p, &base);
    uint32_t inputs = base.inputs.count, count = inputs + base.params.count;
    bool ok = graph_stack(&stack, &bed->arena, &base, COPIES, 0, &bed->err);
    if (!ok) {
        assert_true(bed->err.code == ERR_UNSUPPORTED || bed->err.code == ERR_LIMIT);
        bed->err = (struct error){0};
        return false;
    }
    if (!graph_verify(&stack, &bed->err))
        fail_msg("%s: %s", bed->err.place, bed->err.message);
    struct interp_tensor parts[SOURCES_MOST][COPIES], wide[SOURCES_MOST], y, each[COPIES];
    p->graph = base; /* for program_tensor */
    for (uint32_t i = 0; i < count; i++) {
        value_id id = i < inputs ? base.inputs.items[i] : base.params.items[i - inputs];
        for (int c = 0; c < COPIES; c++)
            parts[i][c] = i < inputs && c > 0 ? parts[i][0] : program_tensor(p, id);
        wide[i] = i < inputs ? parts[i][0] : joined(bed, parts[i]);
    }
    run(p, &stack, wide, &y);
    for (int c = 0; c < COPIES; c++) {
        struct interp_tensor sources[SOURCES_MOST];
        for (uint32_t i = 0; i < count; i++)
            sources[i] = parts[i][c];
        run(p, &base, sources, &each[c]);
        assert_int_equal(y.count, COPIES * each[c].count);
        must_be_equal(&each[c], y.cells + c * each[c].count, seed);
    }
    return true;
}

static void test_prims(void **state)
{
    for (int prim = PRIM_CONST; prim < PRIM_LOOP; prim++) {
        int compared = 0;
        if (prim == PRIM_RANDOM || prim == PRIM_ITER || prim == PRIM_STATE)
            continue;
        for (uint64_t seed = 0; seed < 60; seed++) {
            struct program p;
            begin(&p, *state, seed * PRIM_COUNT + (uint64_t)prim);
            p.special = seed % 2 == 0;
            program_grow(&p, 2);
            value_id y = program_make(&p, (enum prim)prim,
                                      program_roll_source(&p, seed % 3 ? DTYPE_F32 : DTYPE_I32));
            if (y == VALUE_NONE || program_elements(&p, y) > ELEMENTS_MOST)
                continue;
            end_with(&p, y);
            compared += compare(&p, seed);
        }
        if (compared < 10)
            fail_msg("%s: %d graphs compared", prim_info((enum prim)prim)->name, compared);
    }
}

static void test_programs(void **state)
{
    int compared = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct program p;
        begin(&p, *state, seed);
        program_grow(&p, 12);
        value_id y = p.values[p.count - 1];
        if (program_elements(&p, y) > ELEMENTS_MOST)
            continue;
        end_with(&p, y);
        compared += compare(&p, seed);
    }
    assert_true(compared > 150);
}

static bool stack_text(struct bed *bed, const char *text, uint32_t axis, struct graph *from,
                       struct graph *to)
{
    if (!graph_parse(from, &bed->arena, text, strlen(text), &bed->err))
        fail_msg("%s: %s", bed->err.place, bed->err.message);
    return graph_stack(to, &bed->arena, from, COPIES, axis, &bed->err);
}

/* x [2, 4, 5] from x [2, 12, 5] and so on, along each dim. */
static void test_axes(void **state)
{
    static const char text[] = "graph \"g\"\n%1 = input \"x\" : f32[2, 4, 5]\n"
                               "%2 = param \"w\" : f32[2, 4, 5]\n%3 = mul %1, %2 : f32[2, 4, 5]\n"
                               "%4 = reverse %3 {axes [0, 1, 2]} : f32[2, 4, 5]\noutput \"y\" %4\n";
    struct bed *bed = *state;
    for (uint32_t axis = 0; axis < 3; axis++) {
        struct graph from, to;
        struct program p = {.bed = bed, .key = rng_key(axis)};
        arena_release(&bed->arena);
        assert_true(stack_text(bed, text, axis, &from, &to) && graph_verify(&to, &bed->err));
        p.graph = to;
        struct interp_tensor wide[2] = {program_tensor(&p, to.inputs.items[0]),
                                        program_tensor(&p, to.params.items[0])};
        struct interp_tensor y, z, one[2] = {wide[0], wide[1]};
        assert_int_equal(wide[0].count, COPIES * 40);
        run(&p, &to, wide, &y);
        int64_t size[3] = {2, 4, 5}, inner = axis == 0 ? 20 : axis == 1 ? 5 : 1;
        for (int64_t c = 0; c < COPIES; c++) {
            one[0].cells = ARENA_ARRAY(&bed->arena, union cell, 40);
            one[0].count = one[1].count = 40;
            one[1].rank = 3;
            memcpy(one[0].shape, size, sizeof size);
            memcpy(one[1].shape, size, sizeof size);
            one[1].cells = wide[1].cells + c * 40;
            for (int64_t i = 0; i < 40; i++) {
                int64_t outer = i / (inner * size[axis]), rest = i % (inner * size[axis]);
                one[0].cells[i] = wide[0].cells[(outer * COPIES + c) * inner * size[axis] + rest];
            }
            run(&p, &from, one, &z);
            for (int64_t i = 0; i < 40; i++) {
                int64_t outer = i / (inner * size[axis]), rest = i % (inner * size[axis]);
                assert_true(y.cells[(outer * COPIES + c) * inner * size[axis] + rest].f ==
                            z.cells[i].f);
            }
        }
    }
}

/* Each copy draws its own numbers by the same seed; what no input decides is computed once. */
static void test_shared(void **state)
{
    static const char text[] = "graph \"g\"\n%1 = input \"x\" : f32[3]\n"
                               "%2 = input \"seed\" : i64[]\n%3 = random %2 : i64[3]\n"
                               "%4 = cast %3 : f32[3]\n%5 = add %1, %4 : f32[3]\n"
                               "output \"y\" %5\n";
    struct bed *bed = *state;
    struct graph from, to;
    struct program p = {.bed = bed, .key = rng_key(1)};
    struct interp_tensor y, sources[2];
    assert_true(stack_text(bed, text, 0, &from, &to) && graph_verify(&to, &bed->err));
    p.graph = to;
    sources[0] = tensor_of(bed, DTYPE_F32, SHAPE(9), NULL);
    sources[1] = tensor_of(bed, DTYPE_I64, SCALAR, VALUES(4));
    run(&p, &to, sources, &y);
    for (int i = 0; i < 9; i++)
        assert_true(y.cells[i].f == (double)(float)rng_u32(rng_key(4), (uint64_t)i));
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *message;
        uint32_t axis;
        enum error_code code;
    } rows[] = {
        {"graph \"g\"\n%1 = input \"x\" : f32[3]\noutput \"y\" %1\n", "'x' cannot stand", 1,
         ERR_SHAPE},
        {"graph \"g\"\ndim B 1..4 multiple 1\n%1 = input \"x\" : f32[B, 3]\noutput \"y\" %1\n",
         "no number", 0, ERR_SHAPE},
        {"graph \"g\"\n%1 = input \"x\" : f32[3]\n%2 = reduce_sum %1 {axes [0]} : f32[]\n"
         "output \"y\" %2\n",
         "output 'y' has no dim 0", 0, ERR_SHAPE},
        {"graph \"g\"\n%1 = input \"x\" : f32[3]\n%2 = param \"t\" : f32[5]\n"
         "%3 = cast %1 : i64[3]\n%4 = take %2, %3 {axis 0} : f32[3]\noutput \"y\" %4\n",
         "'take' cannot stand", 0, ERR_UNSUPPORTED},
    };
    struct bed *bed = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct graph from, to;
        arena_release(&bed->arena);
        assert_false(stack_text(bed, rows[i].text, rows[i].axis, &from, &to));
        if (bed->err.code != rows[i].code || !strstr(bed->err.message, rows[i].message))
            fail_msg("%zu: %s", i, bed->err.message);
        bed->err = (struct error){0};
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prims, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_programs, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_axes, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_shared, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_refused, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
