#include "runtime/test_util.h"

#include "base/rng.h"

static bool live_together(const struct layout_item *a, const struct layout_item *b)
{
    return a->first <= a->last && b->first <= b->last && a->first <= b->last && b->first <= a->last;
}

static void check(const struct layout_item *items, uint32_t count, int64_t total)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct layout_item *a = &items[i];
        assert_true(a->offset >= 0 && a->offset % 64 == 0);
        if (a->first <= a->last)
            assert_true(a->offset + a->size_bytes <= total);
        for (uint32_t k = 0; k < i; k++) {
            const struct layout_item *b = &items[k];
            bool apart = a->offset + a->size_bytes <= b->offset ||
                         b->offset + b->size_bytes <= a->offset || a->size_bytes == 0 ||
                         b->size_bytes == 0;
            assert_true(apart || !live_together(a, b));
        }
    }
}

/* The largest sum of (rounded) sizes alive at one time: a lower bound for every layout. */
static int64_t peak(const struct layout_item *items, uint32_t count, uint32_t times)
{
    int64_t most = 0;
    for (uint32_t t = 0; t < times; t++) {
        int64_t now = 0;
        for (uint32_t i = 0; i < count; i++)
            if (items[i].first <= t && t <= items[i].last)
                now += (items[i].size_bytes + 63) / 64 * 64;
        most = now > most ? now : most;
    }
    return most;
}

static void never_overlaps(void **state)
{
    (void)state;
    enum { MAX = 60, TIMES = 40 };
    struct layout_item items[MAX], again[MAX], *work[2 * MAX];
    uint64_t key = rng_key(7), n = 0;
    for (int round = 0; round < 2000; round++) {
        uint32_t count = rng_u32(key, n++) % (MAX + 1);
        int64_t sum = 0, total = -1, second = -2;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t first = rng_u32(key, n++) % TIMES, length = rng_u32(key, n++) % 8;
            uint32_t kind = rng_u32(key, n++) % 8;
            items[i] = (struct layout_item){
                .size_bytes = kind == 0 ? 0 : rng_u32(key, n++) % (kind < 4 ? 200 : 100000),
                .first = kind == 1 ? TIMES : first,
                .last = kind == 1 ? 0 : first + length,
                .offset = 12345,
            };
            sum += items[i].first <= items[i].last ? (items[i].size_bytes + 63) / 64 * 64 : 0;
        }
        memcpy(again, items, sizeof items);
        assert_true(layout_place(items, count, work, &total));
        check(items, count, total);
        assert_true(total >= peak(items, count, TIMES + 8) && total <= sum);
        assert_true(layout_place(again, count, work, &second));
        assert_int_equal(total, second);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(items[i].offset, again[i].offset);
    }
}

static void a_chain_takes_two_places(void **state)
{
    (void)state;
    struct layout_item items[10], *work[20];
    for (uint32_t i = 0; i < 10; i++)
        items[i] = (struct layout_item){.size_bytes = 4096, .first = i, .last = i + 1};
    int64_t total;
    assert_true(layout_place(items, 10, work, &total));
    assert_int_equal(total, 2 * 4096);
}

static void takes_the_smallest_gap(void **state)
{
    (void)state;
    /* At time 1 there are two gaps: 640 bytes at 0, and 128 bytes after the first item that spans
     * both times. */
    struct layout_item items[] = {
        {.size_bytes = 640, .first = 0, .last = 0},  {.size_bytes = 1024, .first = 0, .last = 1},
        {.size_bytes = 128, .first = 0, .last = 0},  {.size_bytes = 100, .first = 1, .last = 1},
        {.size_bytes = 2048, .first = 0, .last = 1},
    };
    struct layout_item *work[10];
    int64_t total;
    assert_true(layout_place(items, 5, work, &total));
    check(items, 5, total);
    assert_int_equal(total, 2048 + 1024 + 640 + 128);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct layout_item items[] = {{.size_bytes = INT64_MAX / 2, .first = 0, .last = 1},
                                  {.size_bytes = INT64_MAX / 2, .first = 0, .last = 1},
                                  {.size_bytes = 128, .first = 1, .last = 1}};
    struct layout_item *work[6];
    int64_t total = 17;
    assert_false(layout_place(items, 3, work, &total));
    items[0].size_bytes = INT64_MAX;
    assert_false(layout_place(items, 1, work, &total));
    assert_int_equal(total, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_overlaps),
        cmocka_unit_test(a_chain_takes_two_places),
        cmocka_unit_test(takes_the_smallest_gap),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
