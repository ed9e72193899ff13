/* Random operations on the catalogue in memory and on that of SQLite, which must return and hold
 * the same. The seed is printed; --seed sets it. */
#include "registry/test_util.h"

#include <time.h>

#include "base/rng.h"

static uint64_t seed;

struct draw {
    uint64_t key, counter;
};

static uint32_t below(struct draw *draw, uint32_t bound)
{
    return rng_u32(draw->key, draw->counter++) % bound;
}

static const char *const words[] = {"", "a", "b", "B", "'", "ab"};
static const char *const lists[] = {"", ",a,", ",b,", ",a,b,", ",ab,", ",B,a,"};

/* A random kernel: the id and fields are chosen from a few values. */
static struct kernel_record *drawn_kernel(struct draw *draw, struct arena *arena)
{
    static const char *const ids[] = {"p", "q", "r", "s", "7", "12"};
    struct kernel_record *k = record_new(RECORD_kernel, arena);
    k->head.id = ids[below(draw, 6)];
    k->status = words[below(draw, 6)];
    k->targets = lists[below(draw, 6)];
    k->latency_us = below(draw, 4) * 0.5;
    k->memory_bytes = below(draw, 4);
    return k;
}

static struct filter drawn_filter(struct draw *draw)
{
    struct filter filter = {.text = words[below(draw, 6)], .number = below(draw, 8) * 0.5};
    switch (below(draw, 4)) {
    case 0: filter.field = "status"; break;
    case 1: filter.field = "targets"; break;
    case 2: filter.field = "latency_us"; break;
    default: filter.field = "memory_bytes"; break;
    }
    bool list = strcmp(filter.field, "targets") == 0, real = filter.field[0] == 'l';
    bool text = strcmp(filter.field, "status") == 0;
    filter.op = list   ? FILTER_HAS
                : text ? FILTER_IS + below(draw, 2)
                : real ? FILTER_AT_LEAST + below(draw, 2)
                       : (enum filter_op[]){FILTER_IS, FILTER_IS_NOT, FILTER_AT_LEAST,
                                            FILTER_AT_MOST}[below(draw, 4)];
    return filter;
}

/* Makes the same commit in both. Revisions are equal, since both assign them in the same order. */
static void same_commit(struct bed *bed, struct draw *draw, struct catalogue *a,
                        struct catalogue *b)
{
    struct change changes[4];
    uint32_t count = 1 + below(draw, 4);
    for (uint32_t i = 0; i < count; i++) {
        struct kernel_record *k = drawn_kernel(draw, &bed->arena);
        void *there = NULL;
        changes[i] = (struct change){RECORD_kernel, below(draw, 3), below(draw, 5) == 0, k};
        ASSERT_OK(bed, catalogue_get(a, RECORD_kernel, k->head.id, &bed->arena, &there, &bed->err));
        if (there)
            k->head.revision = ((struct record *)there)->revision - (below(draw, 8) == 0);
        if (changes[i].remove && changes[i].expect == EXPECT_NEW)
            changes[i].expect = EXPECT_ANY;
        if (changes[i].expect == EXPECT_NEW && below(draw, 3) == 0)
            k->head.id = "";
    }
    struct error err_a = {.code = ERR_NONE}, err_b = {.code = ERR_NONE};
    bool ok_a = catalogue_commit(a, changes, count, &err_a);
    bool ok_b = catalogue_commit(b, changes, count, &err_b);
    assert_int_equal(ok_a, ok_b);
    assert_string_equal(err_a.message, err_b.message);
}

static void same_list(struct bed *bed, struct draw *draw, struct catalogue *a, struct catalogue *b)
{
    struct filter filters_[3];
    struct query query = {RECORD_kernel,       filters_,        below(draw, 4),
                          below(draw, 2) == 0, below(draw, 20), 1 + below(draw, 9)};
    struct records found_a, found_b;
    struct totals totals_a, totals_b;
    for (uint32_t i = 0; i < query.filter_count; i++)
        filters_[i] = drawn_filter(draw);
    ASSERT_OK(bed, catalogue_list(a, &query, &bed->arena, &found_a, &bed->err));
    ASSERT_OK(bed, catalogue_list(b, &query, &bed->arena, &found_b, &bed->err));
    assert_int_equal(found_a.count, found_b.count);
    for (uint32_t i = 0; i < found_a.count; i++) {
        const struct record *x = found_a.items[i], *y = found_b.items[i];
        assert_same_fields(RECORD_kernel, x, y);
        assert_int_equal(x->serial, y->serial);
        assert_int_equal(x->revision, y->revision);
    }
    const char *field = below(draw, 2) ? "latency_us" : NULL;
    ASSERT_OK(bed, catalogue_total(a, &query, field, &totals_a, &bed->err));
    ASSERT_OK(bed, catalogue_total(b, &query, field, &totals_b, &bed->err));
    assert_int_equal(totals_a.count, totals_b.count);
    assert_true(totals_a.sum == totals_b.sum); /* exact in any order: multiples of a half */
}

static void drivers_agree(void **state)
{
    struct bed *bed = *state;
    struct draw draw = {.key = rng_key(seed)};
    struct catalogue *a, *b;
    char url[128];
    print_message("# seed %llu\n", (unsigned long long)seed);
    snprintf(url, sizeof url, "sqlite:%s/model.db", bed->folder);
    ASSERT_OK(bed, catalogue_open("memory:", &a, &bed->err));
    ASSERT_OK(bed, catalogue_open(url, &b, &bed->err));
    for (int i = 0; i < 1500; i++) {
        same_commit(bed, &draw, a, b);
        same_list(bed, &draw, a, b);
        if (below(&draw, 200) == 0) {
            catalogue_close(b);
            ASSERT_OK(bed, catalogue_open(url, &b, &bed->err));
        }
        if (i % 100 == 0)
            arena_release(&bed->arena);
    }
    ASSERT_OK(bed, catalogue_check(b, &bed->err));
    catalogue_close(a);
    catalogue_close(b);
}

int main(int argc, char **argv)
{
    seed = argc == 3 && strcmp(argv[1], "--seed") == 0 ? strtoull(argv[2], NULL, 10)
                                                       : (uint64_t)time(NULL);
    const struct CMUnitTest tests[] = {TEST(drivers_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
