/* Finding by hash and by string, colliding hashes, growth. */
#include "base/map.h"
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_empty(void **state)
{
    (void)state;
    struct map map = {0};
    struct strmap names = {0};
    uint32_t cursor = 0, id = 7;
    assert_false(map_next(&map, 0, &cursor, &id));
    assert_false(strmap_find(&names, "", &id));
    assert_int_equal(id, 7);
}

static void test_same_hash_keeps_all_ids(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct map map = {0};
    for (uint32_t id = 0; id < 100; id++)
        map_add(&map, &arena, id % 3, id);
    for (uint64_t hash = 0; hash < 4; hash++) {
        bool seen[100] = {0};
        uint32_t cursor = 0, id, found = 0;
        while (map_next(&map, hash, &cursor, &id)) {
            assert_int_equal(id % 3, hash);
            assert_false(seen[id]);
            seen[id] = true;
            found++;
        }
        assert_int_equal(found, hash == 0 ? 34 : hash == 3 ? 0 : 33);
    }
    arena_release(&arena);
}

static void test_many_weak_hashes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct map map = {0};
    for (uint32_t id = 0; id < 50000; id++)
        map_add(&map, &arena, (uint64_t)id << 40, id); /* low bits all zero */
    uint32_t longest = 0;
    for (uint32_t id = 0; id < 50000; id++) {
        uint32_t cursor = 0, found;
        assert_true(map_next(&map, (uint64_t)id << 40, &cursor, &found));
        assert_int_equal(found, id);
        longest = cursor > longest ? cursor : longest;
    }
    assert_true(longest < 200); /* probes: weak hashes are spread as well */
    assert_int_equal(map.count, 50000);
    arena_release(&arena);
}

static void test_strmap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strmap map = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "name%u", i);
        assert_true(strmap_add(&map, &arena, arena_strdup(&arena, name), i * 2));
        assert_false(strmap_add(&map, &arena, name, 77));
    }
    assert_true(strmap_add(&map, &arena, "", 5));
    assert_int_equal(map.count, 1001);
    assert_string_equal(map.keys[17], "name17");
    uint32_t value = 0;
    assert_true(strmap_find(&map, "name999", &value));
    assert_int_equal(value, 1998);
    assert_true(strmap_find(&map, "", &value));
    assert_int_equal(value, 5);
    assert_false(strmap_find(&map, "name1000", &value));
    assert_int_equal(value, 5);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_same_hash_keeps_all_ids),
        cmocka_unit_test(test_many_weak_hashes),
        cmocka_unit_test(test_strmap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
