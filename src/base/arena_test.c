/* Alignment, zeroing, growth, limits and running out of memory. */
#include "base/arena.h"
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static bool all_zero(const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != 0)
            return false;
    return true;
}

static void test_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    char *last = NULL;
    size_t total = 0;
    for (size_t i = 1; i < 3000; i++) {
        size_t align = (size_t)1 << (i % 7), size = i % 257;
        char *at = arena_alloc(&arena, size, align);
        assert_non_null(at);
        assert_int_equal((uintptr_t)at % align, 0);
        assert_ptr_not_equal(at, last);
        assert_true(all_zero(at, size));
        memset(at, 0xff, size);
        last = at;
        total += size > 0 ? size : 1;
    }
    assert_int_equal(arena.used_bytes, total);
    arena_release(&arena);
    arena_release(&arena);
    arena_release(NULL);
    assert_int_equal(arena.used_bytes, 0);
    assert_true(all_zero(arena_alloc(&arena, 100, 1), 100));
    arena_release(&arena);
}

static void test_big_requests_leave_the_chunk(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    char *first_big = arena_alloc(&arena, 1 << 20, 64);
    char *small = arena_alloc(&arena, 16, 16);
    char *big = arena_alloc(&arena, 30 << 20, 64);
    char *next = arena_alloc(&arena, 16, 16);
    assert_ptr_equal(next, small + 16);
    assert_int_equal((uintptr_t)big % 64, 0);
    memset(first_big, 1, 1 << 20);
    memset(big, 1, 30 << 20);
    for (int i = 0; i < 3000; i++) /* through all chunk sizes up to the largest */
        memset(arena_alloc(&arena, 16000, 8), 1, 16000);
    assert_true(all_zero(small, 32));
    arena_release(&arena);
}

/* True when an allocation of count × size jumps to oom. */
static bool jumps(struct arena *arena, size_t count, size_t size)
{
    jmp_buf oom;
    arena->oom = &oom;
    if (setjmp(oom) != 0)
        return true;
    arena_array(arena, count, size);
    return false;
}

static void test_limit_and_overflow_jump(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    arena.limit_bytes = 1000;
    assert_false(jumps(&arena, 1, 600));
    assert_true(jumps(&arena, 1, 401));
    assert_int_equal(arena.used_bytes, 600);
    assert_false(jumps(&arena, 1, 400));
    assert_true(jumps(&arena, 1, 0));
    arena.limit_bytes = 0;
    assert_true(jumps(&arena, SIZE_MAX / 2, 3));
    assert_true(jumps(&arena, 1, SIZE_MAX - 1000));
    assert_true(jumps(&arena, 1, SIZE_MAX - 1010));
    arena_release(&arena);
}

static void test_without_oom_the_process_ends(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        struct arena arena;
        arena_init(&arena);
        arena.limit_bytes = 10;
        arena_alloc(&arena, 11, 1);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), error_exit(ERR_NOMEM));
}

static void test_copies(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_string_equal(arena_strdup(&arena, ""), "");
    assert_string_equal(arena_strdup(&arena, "abc"), "abc");
    assert_string_equal(arena_strndup(&arena, "abcdef", 3), "abc");
    assert_string_equal(arena_strndup(&arena, "ab", 100), "ab");
    assert_string_equal(arena_strndup(&arena, NULL, 0), "");
    const char bytes[] = {1, 0, 2};
    assert_memory_equal(arena_memdup(&arena, bytes, 3), bytes, 3);
    assert_non_null(arena_memdup(&arena, NULL, 0));
    arena_release(&arena);
}

static void test_vec(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    VEC(int) vec = {0};
    for (int i = 0; i < 10000; i++)
        VEC_PUSH(&arena, &vec, i * 3);
    assert_int_equal(vec.count, 10000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(vec.items[i], i * 3);
    jmp_buf oom;
    arena.oom = &oom;
    uint32_t capacity = UINT32_MAX - 5;
    if (setjmp(oom) == 0) {
        vec_grow(&arena, vec.items, &capacity, sizeof(int));
        fail_msg("a capacity beyond uint32_t was granted");
    }
    arena_release(&arena);
}

struct tale {
    struct arena *arena;
    char told[8]; /* who was released, in order */
    size_t size;  /* asked for in the end */
};
struct teller {
    struct tale *tale;
    char name;
};

static void tell(void *object)
{
    struct teller *teller = object;
    size_t used = strlen(teller->tale->told);
    assert_true(used + 1 < sizeof teller->tale->told);
    teller->tale->told[used] = teller->name;
}

static void own_and_allocate(void *context)
{
    struct tale *tale = context;
    struct arena *inner = arena_inside(tale->arena);
    for (const char *name = "abc"; *name != '\0'; name++) {
        struct arena *owner = *name == 'c' ? inner : tale->arena;
        struct teller *teller = ARENA_NEW(owner, struct teller);
        *teller = (struct teller){tale, *name};
        arena_own(owner, tell, teller);
    }
    arena_alloc(inner, 1 << 20, 16);
    arena_alloc(tale->size > 0 ? tale->arena : inner, tale->size, 16);
}

static void test_what_is_owned_is_given_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct tale tale = {.arena = &arena};
    assert_true(arena_catch(&arena, own_and_allocate, &tale));
    assert_string_equal(tale.told, "");
    arena_release(&arena);
    assert_string_equal(tale.told, "bac");
    arena.limit_bytes = 4096;
    tale = (struct tale){.arena = &arena, .size = 5000};
    assert_false(arena_catch(&arena, own_and_allocate, &tale));
    assert_null(arena.oom);
    assert_string_equal(tale.told, "");
    arena_release(&arena);
    assert_string_equal(tale.told, "bac");
}

static void own_without_room(void *context)
{
    struct teller *teller = context;
    arena_own(teller->tale->arena, tell, teller);
}

static void test_what_cannot_be_noted_is_released(void **state)
{
    (void)state;
    struct arena arena;
    struct tale tale = {.arena = &arena};
    struct teller teller = {&tale, 'x'};
    arena_init(&arena);
    arena.limit_bytes = 1;
    assert_false(arena_catch(&arena, own_without_room, &teller));
    assert_string_equal(tale.told, "x");
    arena_release(&arena);
    assert_string_equal(tale.told, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned_zeroed_and_apart),
        cmocka_unit_test(test_big_requests_leave_the_chunk),
        cmocka_unit_test(test_limit_and_overflow_jump),
        cmocka_unit_test(test_without_oom_the_process_ends),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_vec),
        cmocka_unit_test(test_what_is_owned_is_given_back),
        cmocka_unit_test(test_what_cannot_be_noted_is_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
