/* Fences, isolation, random elements. */
#include "verify/test_util.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "verify/fenced.h"
#include <sys/mman.h>

#include "verify/jobs.h"
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

/* What a child does to a block; in memory shared with the child. */
struct attempt {
    struct touch touch;
    int answer;
    char died[160];
};

static void touch(void *context, uint32_t index)
{
    struct attempt *attempt = context;
    volatile uint8_t *byte = attempt->touch.block->data + attempt->touch.at;
    uint8_t found = *byte;
    (void)index;
    if (attempt->touch.write)
        *byte = found;
    attempt->answer = 7;
}

/* Whether a child survives it; if not, it must die of SIGSEGV. */
static bool lives(struct touch what)
{
    struct error err;
    struct attempt *attempt =
        mmap(NULL, sizeof *attempt, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(attempt != MAP_FAILED);
    attempt->touch = what;
    struct job_row row = {.run = touch,
                          .context = attempt,
                          .died = attempt->died,
                          .died_bytes = sizeof attempt->died};
    assert_true(jobs_run(&row, 1, 1, 10, 0, &err));
    bool lived = attempt->answer == 7;
    assert_int_equal(attempt->died[0] == 0, lived);
    assert_true(lived || strstr(attempt->died, "SIGSEGV"));
    munmap(attempt, sizeof *attempt);
    return lived;
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
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(lives(cases[i].touch), cases[i].lives);
    assert_true(fenced_seal(&end, &err));
    assert_true(lives((struct touch){&end, 5, false}));
    assert_false(lives((struct touch){&end, 5, true}));
    fenced_close(&end);
    fenced_close(&start);
}

/* A pool gives a closed block's mapping to the next block of its size; canaries are written anew,
 * and other sizes are mapped anew. */
static void pools_keep_mappings(void **state)
{
    (void)state;
    struct fence_pool pool = {0};
    struct fenced block, other;
    struct error err;
    ptrdiff_t at;
    assert_true(fenced_place(&block, &pool, 5000, FENCE_END, 3, &err));
    struct fenced closed = block;
    uint8_t *map = block.map;
    memset(map + block.page_bytes, 0, block.map_bytes - 2 * block.page_bytes);
    fenced_close(&block);
    assert_int_equal(pool.count, 1);
    assert_false(lives((struct touch){&closed, 0, false}));
    assert_true(fenced_place(&other, &pool, 100, FENCE_END, 3, &err));
    assert_ptr_not_equal(other.map, map);
    assert_true(fenced_place(&block, &pool, 6000, FENCE_START, 5, &err));
    assert_ptr_equal(block.map, map);
    assert_int_equal(pool.count, 0);
    assert_true(fenced_intact(&block, &at));
    memset(block.data, 1, 6000);
    assert_true(fenced_seal(&block, &err));
    fenced_close(&block);
    fenced_close(&other);
    for (size_t i = 0; i < 2 * FENCE_POOL_MOST; i++) {
        assert_true(fenced_place(&block, &pool, 4096 * (i + 3), FENCE_END, 0, &err));
        fenced_close(&block);
        assert_true(pool.count <= FENCE_POOL_MOST);
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < pool.count; i++)
        bytes += pool.spares[i].map_bytes;
    assert_int_equal(pool.bytes, bytes);
    fence_pool_release(&pool);
    assert_int_equal(pool.count + pool.bytes, 0);
}

static void random_elements(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    static float floats[COUNT], again[COUNT];
    static int64_t ints[COUNT];
    static uint8_t bytes[COUNT];
    random_fill(DTYPE_F32, COUNT, 5, FILL_NORMAL, 0, floats);
    random_fill(DTYPE_F32, COUNT, 5, FILL_NORMAL, 0, again);
    assert_memory_equal(floats, again, sizeof floats);
    double sum = 0, squares = 0;
    for (int i = 0; i < COUNT; i++) {
        sum += (double)floats[i];
        squares += (double)floats[i] * (double)floats[i];
    }
    assert_true(fabs(sum / COUNT) < 0.1 && fabs(squares / COUNT - 1) < 0.1);
    random_fill(DTYPE_F32, COUNT, 6, FILL_NORMAL, 0, again);
    assert_memory_not_equal(floats, again, sizeof floats);

    random_fill(DTYPE_F32, COUNT, 5, FILL_SPECIAL, 0, floats);
    int kinds[7] = {0};
    for (int i = 0; i < COUNT; i++) {
        kinds[0] += floats[i] == 0 && !signbit(floats[i]);
        kinds[1] += floats[i] == 0 && signbit(floats[i]);
        kinds[2] += fpclassify(floats[i]) == FP_SUBNORMAL;
        kinds[3] += isnan(floats[i]);
        kinds[4] += floats[i] == INFINITY;
        kinds[5] += floats[i] == -INFINITY;
        kinds[6] += fabsf(floats[i]) == FLT_MAX;
    }
    for (int k = 0; k < 7; k++)
        assert_in_range(kinds[k], 2, COUNT / 16);

    random_fill(DTYPE_F32, COUNT, 5, FILL_EXACT, 0, floats);
    for (int i = 0; i < COUNT; i++)
        assert_true(floats[i] != 0 && fabsf(floats[i]) <= 2 &&
                    2 * floats[i] == rintf(2 * floats[i]));

    random_fill(DTYPE_I64, COUNT, 5, FILL_NORMAL, 0, ints);
    int negative = 0, far = 0;
    for (int i = 0; i < COUNT; i++) {
        negative += ints[i] < 0 && ints[i] >= -8;
        far += ints[i] < -8 || ints[i] > 7;
    }
    assert_in_range(negative, COUNT / 32, COUNT / 8);
    assert_in_range(far, 16, COUNT / 32);
    random_fill(DTYPE_U8, COUNT, 5, FILL_NORMAL, 0, bytes);
    int great = 0;
    for (int i = 0; i < COUNT; i++)
        great += bytes[i] >= 248;
    assert_in_range(great, COUNT / 32, COUNT / 8);

    random_fill(DTYPE_I64, COUNT, 5, FILL_NORMAL, 1000, ints);
    int inside = 0, last = 0, beyond = 0, below = 0;
    for (int i = 0; i < COUNT; i++) {
        inside += ints[i] >= 500 && ints[i] < 1000;
        last += ints[i] == 999;
        beyond += ints[i] >= 1000;
        below += ints[i] < 0;
    }
    assert_true(inside > COUNT / 3 && last > COUNT / 32 && beyond > COUNT / 32);
    assert_in_range(below, COUNT / 32, COUNT / 8);
    random_fill(DTYPE_BOOL, COUNT, 5, FILL_NORMAL, 0, bytes);
    int set = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(bytes[i], 0, 1);
        set += bytes[i];
    }
    assert_in_range(set, COUNT * 2 / 5, COUNT * 3 / 5);
}

static void wide_elements(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    static float floats[COUNT];
    random_fill(DTYPE_F32, COUNT, 5, FILL_WIDE, 0, floats);
    int magnitudes[4] = {0};
    for (int i = 0; i < COUNT; i++) {
        float size = fabsf(floats[i]);
        assert_true(size >= 0x1p-30f && size <= 0x1p30f);
        magnitudes[size < 0x1p-4f ? 0 : size < 1 ? 1 : size < 0x1p8f ? 2 : 3]++;
    }
    for (int k = 0; k < 4; k++)
        assert_in_range(magnitudes[k], COUNT / 8, COUNT / 2);
}

/* Rows without NaN, with one anywhere or near the end, and with nothing but special values. */
static void special_elements(void **state)
{
    (void)state;
    enum { ROWS = 67, ROW = 67 };
    static float floats[ROWS * ROW];
    int none = 0, one = 0, all = 0, late = 0, infinite = 0;
    random_fill(DTYPE_F32, ROWS * ROW, 5, FILL_WIDE, 0, floats);
    special_rows(DTYPE_F32, ROWS * ROW, ROW, 5, floats);
    for (int r = 0; r < ROWS; r++) {
        int count = 0;
        for (int i = 0; i < ROW; i++) {
            float value = floats[r * ROW + i];
            count += isnan(value);
            late += isnan(value) && i >= ROW / 16 * 16;
            infinite += isinf(value) != 0;
        }
        none += count == 0;
        one += count == 1;
        all += count == ROW;
    }
    assert_true(none >= ROWS / 8 && one >= ROWS / 8 && all >= 1 && late >= 2 && infinite >= 8);
    assert_true(isnan(floats[ROWS * ROW - 1]));
}

static void elements_with_peaks(void **state)
{
    (void)state;
    enum { ROWS = 4, ROW = 8192 };
    static float floats[ROWS * ROW];
    const struct peaks peaks = {.row = ROW, .terms = ROW, .low = -8, .high = 4};
    peaks_fill(DTYPE_F32, ROWS * ROW, &peaks, 5, floats);
    for (int r = 0; r < ROWS; r++) {
        int high = 0;
        for (int i = 0; i < ROW; i++) {
            float value = floats[r * ROW + i];
            assert_true(fabsf(value - 4) < 1 || fabsf(value + 8) < 1);
            high += value > 0;
        }
        assert_in_range(high, 32, 128);
        assert_true(floats[r * ROW] > 0 && floats[r * ROW + ROW - 1] > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_hold_their_bytes),
        cmocka_unit_test(pools_keep_mappings),
        cmocka_unit_test(refuses_more_than_there_is),
        cmocka_unit_test(fences_kill),
        cmocka_unit_test(random_elements),
        cmocka_unit_test(wide_elements),
        cmocka_unit_test(special_elements),
        cmocka_unit_test(elements_with_peaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
