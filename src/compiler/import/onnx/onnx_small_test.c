/* Types of at most 8 bits: every code of every float, rounding, packed integers; and BitCast. */
#include "compiler/import/onnx/onnx_kit_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <onnx.pb-c.h>
#include <cmocka.h>

/* Casts x from one type to another, and possibly to a third. */
struct casts {
    int32_t from, to, then; /* ONNX data types; then 0: one cast only */
};

static struct interp_tensor run_casts(struct model *m, struct casts casts, enum dtype dtype,
                                      int64_t count, const void *data)
{
    char size[16];
    snprintf(size, sizeof size, "%lld", (long long)count);
    start_over(m);
    add_input(m, "x", casts.from, (const char *const[]){size, NULL});
    add_int(m, add_node(m, "Cast", "x", NULL, "y"), "to", casts.to);
    add_int(m, add_node(m, "Cast", "y", NULL, "z"), "to", casts.then);
    add_output(m, casts.then ? "z" : "y");
    m->graph->n_node = casts.then ? 2 : 1;
    return run_model(m, dtype, count, data);
}

/* Every code represents another number, and encoding that number gives the code; what is not a
 * number gives the code of NaN. */
static void small_floats_come_back(void **state)
{
    struct model *m = *state;
    static const struct {
        int32_t type;
        int codes, nans;
        uint8_t nan;
    } types[] = {{17, 256, 2, 0x7f}, {18, 256, 1, 0x80}, {19, 256, 6, 0x7e},
                 {20, 256, 1, 0x80}, {23, 16, 0, 0},     {24, 256, 1, 0xff}};
    uint8_t codes[256];
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        int64_t count = types[t].codes, nans = 0;
        for (int wide = 0; wide < 2; wide++) {
            int32_t between = wide ? 11 : 1;
            struct interp_tensor numbers =
                run_casts(m, (struct casts){types[t].type, between, 0}, DTYPE_U8, count, codes);
            struct interp_tensor back = run_casts(
                m, (struct casts){types[t].type, between, types[t].type}, DTYPE_U8, count, codes);
            for (int64_t i = 0; i < count; i++) {
                bool nan = numbers.cells[i].f != numbers.cells[i].f;
                /* e5m2 has a code for infinity, but a saturating cast does not give it. */
                bool infinite = numbers.cells[i].f - numbers.cells[i].f != 0 && !nan;
                nans += nan;
                /* 2^-127 is subnormal in f32, and ONNX rounds all subnormal numbers up. */
                bool lifted = types[t].type == 24 && i == 0;
                assert_int_equal(back.cells[i].i, nan        ? types[t].nan
                                                  : infinite ? codes[i] - 1
                                                  : lifted   ? 1
                                                             : codes[i]);
            }
        }
        assert_int_equal(nans, 2 * types[t].nans);
    }
}

/* Greatest numbers, ties, subnormal numbers, and numbers out of range. */
static void small_floats_round(void **state)
{
    struct model *m = *state;
    static const struct {
        int32_t type;
        float x;
        uint8_t code;
    } rows[] = {
        {17, 448, 0x7e},     {17, 1e9f, 0x7e},    {17, -1e9f, 0xfe},   {17, 1, 0x38},
        {17, 1.0625f, 0x38}, {17, 1.0626f, 0x39}, {17, 1.1875f, 0x3a}, {17, 0x1p-9f, 1},
        {17, 0x1p-10f, 0},   {17, 0x1.8p-9f, 2},  {17, -0.0f, 0x80},   {17, 0x1p-6f, 8},
        {18, 240, 0x7f},     {18, -0.0f, 0},      {18, -0x1p-20f, 0},  {18, 1, 0x40},
        {19, 57344, 0x7b},   {19, 61440, 0x7b},   {19, 1, 0x3c},       {19, 0x1p-16f, 1},
        {20, 57344, 0x7f},   {20, 1, 0x40},       {20, 0x1p-17f, 1},   {23, 6, 7},
        {23, 100, 7},        {23, -0.25f, 8},     {23, 2.5f, 4},       {23, 3.5f, 6},
        {24, 1, 127},        {24, 1.1f, 128},     {24, 0, 0},          {24, -4, 129},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double wide = (double)rows[i].x;
        struct interp_tensor y =
            run_casts(m, (struct casts){1, rows[i].type, 0}, DTYPE_F32, 1, &rows[i].x);
        assert_int_equal(y.cells[0].i, rows[i].code);
        y = run_casts(m, (struct casts){11, rows[i].type, 0}, DTYPE_F64, 1, &wide);
        assert_int_equal(y.cells[0].i, rows[i].code);
    }
    /* Rounded once: if the number were first rounded to f32, it would be a tie. */
    double above = 1.0625 + 0x1p-40;
    assert_int_equal(run_casts(m, (struct casts){11, 17, 0}, DTYPE_F64, 1, &above).cells[0].i,
                     0x39);
}

static void small_integers_are_unpacked(void **state)
{
    struct model *m = *state;
    static const uint8_t packed[] = {0x8f, 0x71, 0x05}, zeros[5] = {0};
    static const int8_t int4[] = {-1, -8, 1, 7, 5}, int2[] = {-1, -1, 0, -2, 1};
    for (int narrow = 0; narrow < 2; narrow++) {
        start_over(m);
        int32_t type = narrow ? 26 : 22;
        add_input(m, "x", 3, (const char *const[]){"5", NULL});
        add_initializer(m, "w", type, 5, packed, narrow ? 2 : 3);
        add_int(m, add_node(m, "Cast", "w", NULL, "v"), "to", 3);
        add_node(m, "Add", "x", "v", "y");
        add_output(m, "y");
        struct interp_tensor y = run_model(m, DTYPE_I8, 5, zeros);
        for (int i = 0; i < 5; i++)
            assert_int_equal(y.cells[i].i, (narrow ? int2 : int4)[i]);
        m->initializers[0]->raw_data.len = 1;
        assert_refused(m, ERR_PARSE, "the data has 1 bytes");
        m->initializers[0]->raw_data.len = narrow ? 2 : 3;
        m->nodes[1]->input[1] = (char *)"w";
        assert_refused(m, ERR_UNSUPPORTED, narrow ? "input 1 is int2" : "input 1 is int4");
    }
    static const float wide[] = {-9, 8, 17.9f};
    struct interp_tensor y = run_casts(m, (struct casts){1, 22, 0}, DTYPE_F32, 3, wide);
    assert_int_equal(y.cells[0].i, 7);
    assert_int_equal(y.cells[1].i, -8);
    assert_int_equal(y.cells[2].i, 1);
}

static void casts_bits(void **state)
{
    struct model *m = *state;
    static const float x[] = {1, -0.0f};
    m->opset->version = 26;
    add_input(m, "x", 1, (const char *const[]){"2", NULL});
    Onnx__NodeProto *node = add_node(m, "BitCast", "x", NULL, "y");
    add_int(m, node, "to", 12);
    add_output(m, "y");
    struct interp_tensor y = run_model(m, DTYPE_F32, 2, x);
    assert_int_equal(y.cells[0].i, 0x3f800000);
    assert_int_equal(y.cells[1].i, 0x80000000);
    node->attribute[0]->i = 11;
    assert_refused(m, ERR_SHAPE, "another width");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(small_floats_come_back),
        TEST(small_floats_round),
        TEST(small_integers_are_unpacked),
        TEST(casts_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
