/* Every prim of prims.def with every dtype it takes: at constant sizes, and compiled once for a
 * named dim N that then takes sizes around every vector width. A prim's graph has one output for
 * each variant of its attributes.
 *
 * test-prims [NAME|all [TARGET]]: all prims or one, on all targets or on one. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "graph/build.h"
#include "support/case.h"

/* One graph under construction. */
struct trial {
    struct graph graph;
    struct builder b;
    struct error err;
    enum prim prim;
    enum dtype dtype;
    dim_id n;
    uint32_t sources, outputs, refused;
};

static value_id source(struct trial *t, enum dtype dtype, uint32_t rank, const dim_id *shape)
{
    char name[] = {'x', (char)('0' + t->sources / 10), (char)('0' + t->sources % 10), '\0'};
    t->sources++;
    return graph_input(&t->graph, name, dtype, shape, rank, &t->err);
}

static dim_id constant(struct trial *t, int64_t value)
{
    return dim_const(&t->graph.dims, value);
}

/* [n], [3, n] or [n, 5] */
static value_id operand(struct trial *t, enum dtype dtype, uint32_t variant)
{
    dim_id shapes[3][2] = {{t->n}, {constant(t, 3), t->n}, {t->n, constant(t, 5)}};
    return source(t, dtype, variant == 0 ? 1 : 2, shapes[variant]);
}

/* What was made becomes an output; what shape rules refuse is counted. */
static void emit(struct trial *t, value_id value)
{
    char name[] = {'y', (char)('0' + t->outputs / 10), (char)('0' + t->outputs % 10), '\0'};
    if (value == VALUE_NONE || !graph_output(&t->graph, name, value, &t->err)) {
        t->err = (struct error){0};
        t->refused++;
        return;
    }
    t->outputs++;
}

static void emit_prim(struct trial *t, const value_id *operands, uint32_t count,
                      const struct attrs *attrs)
{
    emit(t, graph_add(&t->graph, t->prim, operands, count, attrs, &t->err));
}

typedef void rule_fn(struct trial *t);

static void elementwise(struct trial *t, uint32_t operands)
{
    for (uint32_t variant = 0; variant < 3; variant++) {
        value_id in[2] = {operand(t, t->dtype, variant)};
        if (operands == 2)
            in[1] = operand(t, t->dtype, variant);
        emit_prim(t, in, operands, NULL);
    }
}

static void rule_unary_num(struct trial *t)
{
    elementwise(t, 1);
}
#define rule_unary_bool rule_unary_num
#define rule_unary_float rule_unary_num
#define rule_unary_any rule_unary_num
#define rule_is_nan rule_unary_num

static void rule_binary_num(struct trial *t)
{
    elementwise(t, 2);
}
#define rule_binary_float rule_binary_num
#define rule_binary_bool rule_binary_num
#define rule_binary_int rule_binary_num
#define rule_compare rule_binary_num

static void rule_source(struct trial *t)
{
    const dim_id shape[2] = {constant(t, 3), constant(t, 5)};
    value_id param = graph_param(&t->graph, "p", t->dtype, shape, 2, &t->err);
    emit(t, t->prim == PRIM_PARAM ? param : operand(t, t->dtype, 1));
    emit(t, operand(t, t->dtype, 0));
}

static void rule_const(struct trial *t)
{
    for (int i = -1; i < 2; i++) {
        struct attrs attrs = {.dtype = (uint8_t)t->dtype, .value = 1.5 * i, .integer = 3 * i};
        value_id value = graph_add(&t->graph, PRIM_CONST, NULL, 0, &attrs, &t->err);
        emit(t, value);
        emit(t, b_broadcast_to(&t->b, value, &t->n, 1));
    }
}

static void rule_literal(struct trial *t)
{
    static const uint64_t words[8] = {0x0101000001000101u, 0x0000010100010001u};
    for (uint32_t rows = 1; rows < 3; rows++) {
        int64_t shape[2] = {rows, 4};
        value_id value = b_literal(&t->b, t->dtype, shape, 2, words);
        emit(t, value);
        emit(t, b_reshape(&t->b, value, (dim_id[]){constant(t, 4 * rows)}, 1));
    }
}

static void rule_iota(struct trial *t)
{
    dim_id shape[2] = {t->n, constant(t, 3)};
    for (int axis = 0; axis < 2; axis++)
        emit(t, b_iota(&t->b, t->dtype, shape, 2, axis));
}

static void rule_random(struct trial *t)
{
    if (t->dtype != DTYPE_I64)
        return;
    value_id seed = source(t, DTYPE_I64, 0, NULL);
    struct attrs attrs = {.rank = 2, .shape = {constant(t, 3), t->n}};
    emit_prim(t, &seed, 1, &attrs);
}

static void rule_size(struct trial *t)
{
    if (t->dtype != DTYPE_I64)
        return;
    struct attrs attrs = {.rank = 1, .shape = {t->n}};
    emit_prim(t, NULL, 0, &attrs);
    emit(t, operand(t, DTYPE_I64, 0));
}

static void rule_select(struct trial *t)
{
    for (uint32_t variant = 0; variant < 3; variant++) {
        value_id in[3] = {operand(t, DTYPE_BOOL, variant), operand(t, t->dtype, variant),
                          operand(t, t->dtype, variant)};
        emit_prim(t, in, 3, NULL);
    }
}

static void rule_cast(struct trial *t)
{
    value_id x = operand(t, t->dtype, 1);
    for (int to = DTYPE_NONE + 1; to < DTYPE_COUNT; to++) {
        struct attrs attrs = {.dtype = (uint8_t)to};
        emit_prim(t, &x, 1, &attrs);
    }
}

#define rule_bitcast rule_cast

static void rule_reduce(struct trial *t)
{
    dim_id shape[3] = {constant(t, 2), t->n, constant(t, 5)};
    value_id x = source(t, t->dtype, 3, shape);
    for (uint32_t set = 1; set < 8; set++) {
        struct attrs attrs = {0};
        for (uint8_t axis = 0; axis < 3; axis++)
            if (set >> axis & 1)
                attrs.axes[attrs.axis_count++] = axis;
        emit_prim(t, &x, 1, &attrs);
    }
    struct attrs attrs = {.axis_count = 1};
    x = operand(t, t->dtype, 0);
    emit_prim(t, &x, 1, &attrs);
}

/* Prims along one axis; flags says which of exclusive (1) and reverse (2) there are. */
static void along_axis(struct trial *t, unsigned flags)
{
    for (uint32_t variant = 0; variant < 3; variant++) {
        value_id x = operand(t, t->dtype, variant);
        for (int axis = 0; axis < (variant == 0 ? 1 : 2); axis++)
            for (unsigned set = 0; set < 4; set++)
                if ((set & ~flags) == 0)
                    emit_prim(t, &x, 1,
                              &(struct attrs){.axis = axis,
                                              .exclusive = (set & 1) != 0,
                                              .reverse = (set & 2) != 0});
    }
}

static void rule_arg_reduce(struct trial *t)
{
    along_axis(t, 0);
}

static void rule_arg_sort(struct trial *t)
{
    along_axis(t, 2);
}

static void rule_scan(struct trial *t)
{
    along_axis(t, 3);
}

static void rule_contract(struct trial *t)
{
    enum { N = -1 };
    static const struct {
        int8_t a[3], b[3];
        uint8_t a_rank, b_rank, batch, contract;
    } rows[] = {
        {{5, N}, {7, N}, 2, 2, 0, 1},
        {{N, 9}, {4, 9}, 2, 2, 0, 1},
        {{N}, {N}, 1, 1, 0, 1},
        {{6, 9}, {N, 9}, 2, 2, 0, 1},
        {{N, 3, 4}, {N, 5, 4}, 3, 3, 1, 1},
        {{2, N, 4}, {2, 17, 4}, 3, 3, 1, 1},
        {{3, 4, N}, {4, N}, 3, 2, 0, 2},
        {{N, 8}, {8}, 2, 1, 0, 1},
        {{2, N}, {2, 33}, 2, 2, 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dim_id a[3], b[3];
        for (int d = 0; d < 3; d++) {
            a[d] = rows[i].a[d] == N ? t->n : constant(t, rows[i].a[d]);
            b[d] = rows[i].b[d] == N ? t->n : constant(t, rows[i].b[d]);
        }
        value_id in[2] = {source(t, t->dtype, rows[i].a_rank, a),
                          source(t, t->dtype, rows[i].b_rank, b)};
        emit_prim(t, in, 2, &(struct attrs){.batch = rows[i].batch, .contract = rows[i].contract});
    }
}

/* {size, stride, low, high, dilation, base_dilation} */
static const struct window windows[] = {
    {1, 1, 0, 0, 1, 1}, {3, 1, 1, 1, 1, 1}, {2, 2, 0, 1, 1, 1},
    {3, 1, 2, 2, 2, 1}, {3, 2, 2, 3, 1, 2},
};
#define WINDOW_COUNT (sizeof windows / sizeof windows[0])

static void rule_conv(struct trial *t)
{
    for (size_t i = 0; i < WINDOW_COUNT; i++) {
        struct attrs attrs = {.window_count = 1, .window = {windows[i]}, .groups = 1 + i % 2};
        dim_id x[3] = {constant(t, 2), constant(t, 4), t->n};
        dim_id w[3] = {constant(t, 6), constant(t, 4 / attrs.groups), constant(t, windows[i].size)};
        value_id in[2] = {source(t, t->dtype, 3, x), source(t, t->dtype, 3, w)};
        emit_prim(t, in, 2, &attrs);
    }
    struct attrs attrs = {.window_count = 2, .window = {windows[1], windows[2]}, .groups = 3};
    dim_id x[4] = {t->n, constant(t, 3), constant(t, 5), constant(t, 6)};
    dim_id w[4] = {constant(t, 3), constant(t, 1), constant(t, 3), constant(t, 2)};
    value_id in[2] = {source(t, t->dtype, 4, x), source(t, t->dtype, 4, w)};
    emit_prim(t, in, 2, &attrs);
}

static void rule_window(struct trial *t)
{
    value_id line = operand(t, t->dtype, 1);
    dim_id shape[3] = {constant(t, 2), t->n, constant(t, 7)};
    value_id plane = source(t, t->dtype, 3, shape);
    for (size_t i = 0; i < WINDOW_COUNT; i++) {
        emit_prim(t, &line, 1, &(struct attrs){.window_count = 1, .window = {windows[i]}});
        emit_prim(t, &plane, 1,
                  &(struct attrs){.window_count = 2,
                                  .window = {windows[i], windows[(i + 1) % WINDOW_COUNT]}});
    }
}

static void rule_reshape(struct trial *t)
{
    struct dim_table *dims = &t->graph.dims;
    dim_id shape[3] = {constant(t, 2), t->n, constant(t, 6)};
    value_id x = source(t, t->dtype, 3, shape);
    dim_id all = dim_product(dims, shape, 3), pair = dim_mul(dims, t->n, constant(t, 2));
    emit(t, b_reshape(&t->b, x, &all, 1));
    emit(t, b_reshape(&t->b, x, (dim_id[]){pair, constant(t, 6)}, 2));
    emit(t, b_reshape(&t->b, x, (dim_id[]){constant(t, 3), pair, constant(t, 2)}, 3));
    emit(t, b_reshape(&t->b, x, (dim_id[]){constant(t, 4), constant(t, 3), t->n}, 3));
    emit(t, b_reshape(&t->b, x, (dim_id[]){constant(t, 1), all, constant(t, 1)}, 3));
}

static void rule_transpose(struct trial *t)
{
    static const uint8_t axes[5][3] = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    dim_id shape[3] = {constant(t, 3), t->n, constant(t, 18)};
    value_id x = source(t, t->dtype, 3, shape);
    for (int i = 0; i < 5; i++)
        emit(t, b_transpose(&t->b, x, axes[i]));
    emit(t, b_swap(&t->b, operand(t, t->dtype, 1), 0, 1));
}

static void rule_broadcast(struct trial *t)
{
    dim_id one = constant(t, 1), shape[3] = {constant(t, 4), t->n, constant(t, 3)};
    emit(t, b_broadcast_to(&t->b, source(t, t->dtype, 0, NULL), shape, 3));
    emit(t, b_broadcast_to(&t->b, source(t, t->dtype, 1, shape + 2), shape, 3));
    emit(t, b_broadcast_to(&t->b, source(t, t->dtype, 2, (dim_id[]){t->n, one}), shape, 3));
    emit(t,
         b_broadcast_to(&t->b, source(t, t->dtype, 3, (dim_id[]){shape[0], one, one}), shape, 3));
    struct attrs attrs = {.rank = 3, .axis_count = 1, .axes = {1}};
    memcpy(attrs.shape, shape, sizeof shape);
    value_id x = operand(t, t->dtype, 0);
    emit_prim(t, &x, 1, &attrs);
}

static void rule_slice(struct trial *t)
{
    struct dim_table *dims = &t->graph.dims;
    value_id x = operand(t, t->dtype, 1), y = operand(t, t->dtype, 2);
    dim_id zero = constant(t, 0), one = constant(t, 1), two = constant(t, 2);
    emit(t, b_slice(&t->b, x, 0, one, two, 1));
    emit(t, b_slice(&t->b, x, 0, zero, two, 2));
    emit(t, b_slice(&t->b, x, 0, two, zero, 1));
    emit(t, b_slice(&t->b, x, 1, zero, dim_ceildiv(dims, t->n, two), 2));
    emit(t, b_slice(&t->b, x, 1, one, dim_sub(dims, t->n, one), 1));
    emit(t, b_slice(&t->b, y, 1, one, two, 2));
    emit(t, b_slice(&t->b, y, 0, zero, dim_floordiv(dims, t->n, constant(t, 3)), 3));
}

static void rule_pad(struct trial *t)
{
    static const int64_t sides[4][4] = {{0, 1, 0, 0}, {0, 0, 2, 3}, {3, 0, 0, 9}, {0, 0, 0, 0}};
    for (int i = 0; i < 4; i++) {
        value_id x = operand(t, t->dtype, 1 + (uint32_t)i % 2);
        value_id value = source(t, t->dtype, 0, NULL), in[2] = {x, value};
        struct attrs attrs = {.rank = 2};
        for (int d = 0; d < 2; d++) {
            attrs.low[d] = constant(t, sides[i][2 * d]);
            attrs.high[d] = constant(t, sides[i][2 * d + 1]);
        }
        emit_prim(t, in, 2, &attrs);
    }
}

static void rule_concat(struct trial *t)
{
    value_id x = operand(t, t->dtype, 1), y = operand(t, t->dtype, 2), z = operand(t, t->dtype, 2);
    value_id many[5] = {x, x, operand(t, t->dtype, 1), x, x};
    emit(t, b_concat(&t->b, &x, 1, 0));
    emit(t, b_concat(&t->b, (value_id[]){y, z}, 2, 0));
    emit(t, b_concat(&t->b, (value_id[]){y, z}, 2, 1));
    emit(t, b_concat(&t->b, many, 5, 0));
    emit(t, b_concat(&t->b, many, 5, 1));
}

static void rule_reverse(struct trial *t)
{
    value_id x = operand(t, t->dtype, 1), line = operand(t, t->dtype, 0);
    emit_prim(t, &line, 1, &(struct attrs){.axis_count = 1});
    emit_prim(t, &x, 1, &(struct attrs){.axis_count = 1, .axes = {1}});
    emit_prim(t, &x, 1, &(struct attrs){.axis_count = 2, .axes = {0, 1}});
}

static const enum dtype index_dtypes[] = {DTYPE_I64, DTYPE_I32, DTYPE_I16, DTYPE_I8,
                                          DTYPE_U8,  DTYPE_U16, DTYPE_U32};

static void rule_take(struct trial *t)
{
    for (uint32_t i = 0; i < 5; i++) {
        value_id data = operand(t, t->dtype, i % 3), index = operand(t, index_dtypes[i], i % 2);
        emit(t, b_take(&t->b, data, index, i == 1 || i == 2));
    }
    emit(t, b_take(&t->b, operand(t, t->dtype, 2), source(t, DTYPE_I64, 0, NULL), 1));
}

static void rule_gather(struct trial *t)
{
    for (uint32_t i = 0; i < 5; i++) {
        dim_id like[2] = {i % 2 == 0 ? constant(t, 4) : constant(t, 3),
                          i % 2 == 0 ? t->n : constant(t, 6)};
        value_id data = operand(t, t->dtype, 1), index = source(t, index_dtypes[i], 2, like);
        emit(t, b_gather(&t->b, data, index, i % 2));
    }
}

static void rule_scatter(struct trial *t)
{
    for (uint32_t i = 0; i < 8; i++) {
        bool along_rows = i < 4;
        dim_id like[2] = {along_rows ? constant(t, 5) : constant(t, 3),
                          along_rows ? t->n : constant(t, 7)};
        value_id in[3] = {operand(t, t->dtype, 1), source(t, index_dtypes[i % 5], 2, like),
                          source(t, t->dtype, 2, like)};
        emit_prim(t, in, 3,
                  &(struct attrs){.axis = along_rows ? 0 : 1, .mode = (uint8_t)(1 + i % 4)});
    }
}

/* Values of loops have no kernels of their own: tests/recurrence_test.c compiles loops. */
static void rule_loop(struct trial *t)
{
    (void)t;
}
#define rule_iter rule_loop
#define rule_state rule_loop

static rule_fn *const rules[PRIM_COUNT] = {
#define PRIM(id, name, n, rule, attrs, ulp, doc) [PRIM_##id] = rule_##rule,
#include "graph/prims.def"
#undef PRIM
};

static const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 130};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])

static void begin(struct trial *t, struct arena *arena, enum prim prim, enum dtype dtype)
{
    *t = (struct trial){.prim = prim, .dtype = dtype};
    graph_init(&t->graph, arena);
    t->b = (struct builder){.graph = &t->graph, .err = &t->err};
}

static void run(struct trial *t, const int64_t *values, uint32_t count, const char *target,
                struct tally *tally)
{
    int64_t dims[SIZE_COUNT][LIMIT_NAMED_DIMS] = {0};
    char name[64];
    uint64_t seed = 1000u * t->prim + 10u * t->dtype;
    bool symbolic = t->graph.dims.names.count > 0;
    for (uint32_t i = 0; i < count; i++)
        dims[i][0] = values[i];
    snprintf(name, sizeof name, "%s %s N=%lld%s", prim_info(t->prim)->name, dtype_name(t->dtype),
             (long long)values[0], symbolic ? "…" : "");
    for (int special = 0; special < 2; special++) {
        struct test_case test = {.graph = &t->graph,
                                 .target = target,
                                 .seed = seed + (uint64_t)special,
                                 .special = special != 0,
                                 .size_count = symbolic ? count : 1,
                                 .sizes = dims};
        if (special == 0 || (symbolic && dtype_is_float(t->dtype)))
            tally_run(tally, &test, name);
    }
}

/* Compiled once for all sizes; from 1 on where the prim does not take empty dims. False when the
 * prim does not take the dtype. */
static bool run_named(enum prim prim, enum dtype dtype, const char *target, struct tally *tally)
{
    struct trial trial;
    struct arena arena;
    bool made = false;
    arena_init(&arena);
    for (int64_t least = 0; least < 2; least++) {
        uint32_t index;
        begin(&trial, &arena, prim, dtype);
        struct dim_name name = {"N", least, 200, 1, 0, NULL};
        if (!dim_declare(&trial.graph.dims, &name, &index, &trial.err))
            break;
        trial.n = dim_named(&trial.graph.dims, index);
        rules[prim](&trial);
        if (trial.outputs > 0 && guards_complete(&trial.graph, &trial.err)) {
            run(&trial, sizes + least, SIZE_COUNT - (uint32_t)least, target, tally);
            made = true;
        }
        if (trial.refused == 0)
            break;
    }
    made = made || trial.outputs > 0;
    arena_release(&arena);
    return made;
}

static void run_constant(enum prim prim, enum dtype dtype, int64_t n, const char *target,
                         struct tally *tally)
{
    struct trial trial;
    struct arena arena;
    arena_init(&arena);
    begin(&trial, &arena, prim, dtype);
    trial.n = dim_const(&trial.graph.dims, n);
    rules[prim](&trial);
    if (trial.outputs > 0)
        run(&trial, &n, 1, target, tally);
    arena_release(&arena);
}

int main(int argc, char **argv)
{
    const char *targets[CASE_TARGETS];
    uint32_t target_count = case_targets(targets);
    struct tally tally = {0};
    if (argc > 2) {
        targets[0] = argv[2];
        target_count = 1;
    }
    for (int p = PRIM_NONE + 1; p < PRIM_COUNT; p++) {
        enum prim prim = (enum prim)p;
        uint32_t dtypes = 0;
        if (argc > 1 && strcmp(argv[1], "all") != 0 && strcmp(argv[1], prim_info(prim)->name) != 0)
            continue;
        for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++) {
            for (uint32_t i = 0; i < target_count; i++) {
                dtypes += run_named(prim, (enum dtype)d, targets[i], &tally);
                int64_t n = sizes[(uint32_t)(p + d + (int)(5 * i)) % SIZE_COUNT];
                run_constant(prim, (enum dtype)d, n, targets[i], &tally);
            }
        }
        if (dtypes == 0 && rules[p] != rule_loop) {
            printf("FAIL %s: no graph was made of it\n", prim_info(prim)->name);
            tally.failures++;
        }
    }
    return tally_finish(&tally, "prims");
}
