/* Layouts of drawn items, beside what a search of all orders finds. */
#include "package/layout.h"

#include <stdlib.h>

#include "base/rng.h"
#include "package/test_util.h"

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

enum { MAX = 60, TIMES = 40 };

static void draw(struct layout_item *items, uint32_t count, uint64_t key, uint64_t *n)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = rng_u32(key, (*n)++) % TIMES, length = rng_u32(key, (*n)++) % 8;
        uint32_t kind = rng_u32(key, (*n)++) % 8;
        if (kind == 2) /* saved for a backward pass */
            length = rng_u32(key, (*n)++) % TIMES;
        items[i] = (struct layout_item){
            .size_bytes = kind == 0 ? 0 : rng_u32(key, (*n)++) % (kind < 4 ? 200 : 100000),
            .first = kind == 1 ? TIMES : first,
            .last = kind == 1 ? 0 : first + length,
            .offset = 12345,
        };
    }
}

static void never_overlaps(void **state)
{
    (void)state;
    struct layout_item items[MAX], again[MAX], *work[2 * MAX];
    uint64_t key = rng_key(7), n = 0;
    for (int round = 0; round < 2000; round++) {
        uint32_t count = rng_u32(key, n++) % (MAX + 1);
        int64_t sum = 0;
        struct layout layout = {.bytes = -1}, second = {.bytes = -2};
        draw(items, count, key, &n);
        for (uint32_t i = 0; i < count; i++)
            sum += items[i].first <= items[i].last ? (items[i].size_bytes + 63) / 64 * 64 : 0;
        memcpy(again, items, sizeof items);
        assert_true(layout_place(items, count, work, &layout));
        check(items, count, layout.bytes);
        assert_int_equal(layout.bound, peak(items, count, 2 * TIMES));
        assert_true(layout.bytes >= layout.bound && layout.bytes <= sum);
        assert_true(layout_place(again, count, work, &second));
        assert_int_equal(layout.bytes, second.bytes);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(items[i].offset, again[i].offset);
    }
}

/* The least total of all layouts. If the items of a best one are taken in the order of their places
 * and each moved down as far as it goes, none moves up. So one of all orders, with each item at the
 * lowest place that is free, is a best one, too. */
struct search {
    const struct layout_item *items;
    uint32_t count;
    bool placed[7];
    int64_t at[7], least;
};

static int64_t lowest(const struct search *s, uint32_t item)
{
    int64_t at = 0, size = (s->items[item].size_bytes + 63) / 64 * 64;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t i = 0; i < s->count; i++) {
            int64_t end = s->at[i] + (s->items[i].size_bytes + 63) / 64 * 64;
            if (s->placed[i] && live_together(&s->items[i], &s->items[item]) &&
                s->at[i] < at + size && at < end) {
                at = end;
                moved = true;
            }
        }
    }
    return at;
}

static void try_orders(struct search *s, uint32_t placed, int64_t total)
{
    if (total >= s->least)
        return;
    if (placed == s->count)
        s->least = total;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->placed[i])
            continue;
        s->at[i] = lowest(s, i);
        s->placed[i] = true;
        int64_t end = s->at[i] + (s->items[i].size_bytes + 63) / 64 * 64;
        try_orders(s, placed + 1, end > total ? end : total);
        s->placed[i] = false;
    }
}

/* Seven items over twelve launches: where orders differ most. Of 2000 layouts at least 99 % are the
 * best there is, and none takes 5/4 of it. */
static void is_near_the_optimum(void **state)
{
    (void)state;
    uint64_t key = rng_key(11), n = 0;
    uint32_t best = 0, rounds = 2000;
    for (uint32_t round = 0; round < rounds; round++) {
        struct layout_item items[7], *work[14];
        struct layout layout;
        uint32_t count = 2 + rng_u32(key, n++) % 6;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t first = rng_u32(key, n++) % 12, length = rng_u32(key, n++) % 6;
            items[i] = (struct layout_item){
                .size_bytes = 1 + rng_u32(key, n++) % 1000, .first = first, .last = first + length};
        }
        struct search s = {.items = items, .count = count, .least = INT64_MAX};
        try_orders(&s, 0, 0);
        assert_true(layout_place(items, count, work, &layout));
        check(items, count, layout.bytes);
        assert_true(layout.bound <= s.least && s.least <= layout.bytes);
        if (layout.bytes * 4 >= s.least * 5)
            TEST_FAILED("round %u: %lld bytes, %lld are enough", round, (long long)layout.bytes,
                        (long long)s.least);
        best += layout.bytes == s.least;
    }
    print_message("%u of %u are optimal\n", best, rounds);
    assert_true(best * 100 >= rounds * 99);
}

/* By size alone the first item comes first and lies at 0; the last one, which overlaps it in launch
 * 2, lies above it, and those beside the last one above that: 11 kB. Long ones first, 9 kB do. */
static void long_items_may_come_first(void **state)
{
    (void)state;
    struct layout_item items[] = {
        {.size_bytes = 5 * 1024, .first = 1, .last = 2},
        {.size_bytes = 3 * 1024, .first = 3, .last = 6},
        {.size_bytes = 3 * 1024, .first = 3, .last = 3},
        {.size_bytes = 3 * 1024, .first = 2, .last = 7},
    };
    struct layout_item *work[8];
    struct layout layout;
    assert_true(layout_place(items, 4, work, &layout));
    check(items, 4, layout.bytes);
    assert_int_equal(layout.bound, 9 * 1024);
    assert_int_equal(layout.at, 3);
    assert_int_equal(layout.bytes, layout.bound);
}

/* More items than are tried in several orders, all of one launch and the next. */
static void places_very_many(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct layout_item *items = calloc(MANY, sizeof *items);
    struct layout_item **work = calloc(2 * MANY, sizeof(struct layout_item *));
    struct layout layout;
    assert_non_null(items);
    assert_non_null(work);
    for (uint32_t i = 0; i < MANY; i++)
        items[i] = (struct layout_item){.size_bytes = 64 + i % 7 * 64, .first = i, .last = i + 1};
    assert_true(layout_place(items, MANY, work, &layout));
    check(items, MANY, layout.bytes);
    assert_true(layout.bytes >= layout.bound && layout.bytes * 2 <= layout.bound * 3);
    free(items);
    free(work);
}

static void a_chain_takes_two_places(void **state)
{
    (void)state;
    struct layout_item items[10], *work[20];
    for (uint32_t i = 0; i < 10; i++)
        items[i] = (struct layout_item){.size_bytes = 4096, .first = i, .last = i + 1};
    struct layout layout;
    assert_true(layout_place(items, 10, work, &layout));
    assert_int_equal(layout.bytes, 2 * 4096);
    assert_int_equal(layout.bound, 2 * 4096);
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
    struct layout layout;
    assert_true(layout_place(items, 5, work, &layout));
    check(items, 5, layout.bytes);
    assert_int_equal(layout.bytes, 2048 + 1024 + 640 + 128);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct layout_item items[] = {{.size_bytes = INT64_MAX / 2, .first = 0, .last = 1},
                                  {.size_bytes = INT64_MAX / 2, .first = 0, .last = 1},
                                  {.size_bytes = 128, .first = 1, .last = 1}};
    struct layout_item *work[6];
    struct layout layout = {.bytes = 17};
    assert_false(layout_place(items, 3, work, &layout));
    items[0].size_bytes = INT64_MAX;
    assert_false(layout_place(items, 1, work, &layout));
    assert_int_equal(layout.bytes, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_overlaps),
        cmocka_unit_test(is_near_the_optimum),
        cmocka_unit_test(long_items_may_come_first),
        cmocka_unit_test(places_very_many),
        cmocka_unit_test(a_chain_takes_two_places),
        cmocka_unit_test(takes_the_smallest_gap),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
