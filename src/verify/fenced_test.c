/* Fences, isolation, random elements. */
#include "verify/test_util.h"

#include <math.h>
#include <stdlib.h>

#include "verify/fenced.h"
#include "verify/isolate.h"
#include "verify/sample.h"

static void blocks_hold_their_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 64, 4095, 4096, 4097, 10000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t offset = 0; offset < 64; offset += 9) {
            for (int side = FENCE_END; side <= FENCE_START; side++) {
                struct fenced block;
                struct error err;
                ptrdiff_t at = 0;
                assert_true(fenced_open(&block, sizes[s], (enum fence_side)side, offset, &err));
                assert_true(fenced_intact(&block, &at));
                for (size_t i = 0; i < sizes[s]; i++)
                    assert_int_equal(block.data[i], FENCED_FILL);
                memset(block.data, 0, sizes[s]);
                assert_true(fenced_intact(&block, &at));
                if (offset > 0) {
                    ptrdiff_t touched = side == FENCE_END ? (ptrdiff_t)sizes[s] : -1;
                    block.data[touched] ^= 1;
                    assert_false(fenced_intact(&block, &at));
                    assert_int_equal(at, touched);
                }
                fenced_close(&block);
                assert_null(block.map);
            }
        }
    }
}

static void refuses_more_than_there_is(void **state)
{
    (void)state;
    struct fenced block = {0};
    struct error err;
    assert_false(fenced_open(&block, SIZE_MAX - 100, FENCE_END, 0, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    assert_false(fenced_open(&block, (size_t)1 << 60, FENCE_END, 0, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    fenced_close(&block);
}

struct touch {
    const struct fenced *block;
    ptrdiff_t at;
    bool write;
};

static void touch(const void *argument, void *out)
{
    const struct touch *touch = argument;
    volatile uint8_t *byte = touch->block->data + touch->at;
    uint8_t found = *byte;
    if (touch->write)
        *byte = found;
    *(int *)out = 7;
}

static void fences_kill(void **state)
{
    (void)state;
    struct fenced end, start;
    struct error err;
    assert_true(fenced_open(&end, 100, FENCE_END, 0, &err));
    assert_true(fenced_open(&start, 100, FENCE_START, 4, &err));
    const struct {
        struct touch touch;
        bool lives;
    } cases[] = {
        {{&end, 99, true}, true},   {{&end, 100, false}, false}, {{&end, -1, true}, true},
        {{&start, 0, true}, true},  {{&start, -4, true}, true},  {{&start, -5, false}, false},
        {{&start, 99, true}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int answer = 0;
        assert_int_equal(isolate(touch, &cases[i].touch, &answer, sizeof answer, 10, &err),
                         cases[i].lives);
        assert_int_equal(answer, cases[i].lives ? 7 : 0);
        if (!cases[i].lives) {
            assert_int_equal(err.code, ERR_VERIFY);
            assert_non_null(strstr(err.message, "SIGSEGV"));
        }
    }
    int answer = 0;
    assert_true(fenced_seal(&end, &err));
    assert_true(isolate(touch, &(struct touch){&end, 5, false}, &answer, sizeof answer, 10, &err));
    assert_false(isolate(touch, &(struct touch){&end, 5, true}, &answer, sizeof answer, 10, &err));
    fenced_close(&end);
    fenced_close(&start);
}

static void leaves(const void *argument, void *out)
{
    (void)out;
    while (*(const volatile int *)argument < 0)
        ;
    _Exit(*(const int *)argument);
}

static void answers_large(const void *argument, void *out)
{
    (void)argument;
    memset(out, 3, 60000);
}

static void isolates(void **state)
{
    (void)state;
    struct error err;
    char answer[60000];
    int status = 3, forever = -1;
    assert_false(isolate(leaves, &status, answer, sizeof answer, 10, &err));
    assert_non_null(strstr(err.message, "status 3"));
    status = 0; /* an end without an answer is none either */
    assert_false(isolate(leaves, &status, answer, sizeof answer, 10, &err));
    assert_false(isolate(leaves, &forever, answer, sizeof answer, 1, &err));
    assert_non_null(strstr(err.message, "still running after 1 s"));
    assert_true(isolate(answers_large, NULL, answer, sizeof answer, 10, &err));
    assert_int_equal(answer[0] + answer[59999], 6);
}

static void random_elements(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    static float floats[COUNT], again[COUNT];
    static int64_t ints[COUNT];
    static uint8_t bytes[COUNT];
    random_fill(DTYPE_F32, COUNT, 5, false, floats);
    random_fill(DTYPE_F32, COUNT, 5, false, again);
    assert_memory_equal(floats, again, sizeof floats);
    double sum = 0, squares = 0;
    for (int i = 0; i < COUNT; i++) {
        sum += (double)floats[i];
        squares += (double)floats[i] * (double)floats[i];
    }
    assert_true(fabs(sum / COUNT) < 0.1 && fabs(squares / COUNT - 1) < 0.1);
    random_fill(DTYPE_F32, COUNT, 6, false, again);
    assert_memory_not_equal(floats, again, sizeof floats);

    random_fill(DTYPE_F32, COUNT, 5, true, floats);
    int zeros = 0, negative_zeros = 0, subnormal = 0, large = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(isfinite(floats[i]));
        zeros += floats[i] == 0;
        negative_zeros += floats[i] == 0 && signbit(floats[i]);
        subnormal += fpclassify(floats[i]) == FP_SUBNORMAL;
        large += fabsf(floats[i]) >= 64;
    }
    assert_true(zeros > 50 && negative_zeros > 10 && negative_zeros < zeros);
    assert_true(subnormal > 50 && large > 50);

    random_fill(DTYPE_I64, COUNT, 5, false, ints);
    int negative = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(ints[i] + 8, 0, 15);
        negative += ints[i] < 0;
    }
    assert_in_range(negative, COUNT / 32, COUNT / 8);
    random_fill(DTYPE_U8, COUNT, 5, false, bytes);
    int great = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(bytes[i] < 8 || bytes[i] >= 248);
        great += bytes[i] >= 248;
    }
    assert_in_range(great, COUNT / 32, COUNT / 8);
    random_fill(DTYPE_BOOL, COUNT, 5, false, bytes);
    int set = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(bytes[i], 0, 1);
        set += bytes[i];
    }
    assert_in_range(set, COUNT * 2 / 5, COUNT * 3 / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_hold_their_bytes),
        cmocka_unit_test(refuses_more_than_there_is),
        cmocka_unit_test(fences_kill),
        cmocka_unit_test(isolates),
        cmocka_unit_test(random_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
