/* The text of nests (loop/text.h), for a kernel of each example of each op, naive and scheduled: a
 * nest that was parsed back prints the same, computes the same bits, and becomes the same under a
 * schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/loop/text.h"
#include "compiler/lower/lowered.h"
#include "compiler/sched/sched.h"
#include "compiler/target/target.h"
#include <cmocka.h>

static struct strbuf print(const struct nest *nest, struct arena *arena)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    nest_print(nest, &out);
    return out;
}

static void read_back(const struct nest *nest, struct arena *arena, struct nest *out)
{
    struct error err = {0};
    struct dim_table *dims = ARENA_NEW(arena, struct dim_table);
    struct strbuf text = print(nest, arena);
    if (!nest_parse(out, dims, arena, text.data, text.size_bytes, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, text.data);
    assert_string_equal(print(out, arena).data, text.data);
    assert_true(nest_verify(out, &err));
}

/* Expects that both nests write the same bits. */
static void expect_same_bits(struct lowered *l, uint32_t kernel, const struct nest *nest,
                             const struct nest *read)
{
    void *arguments[LIMIT_KERNEL_BUFFERS];
    struct error err = {0};
    size_t bytes = l->bytes[nest_argument(nest, 0)->value];
    lowered_arguments(l, kernel, arguments);
    memset(arguments[0], 0xa5, bytes);
    if (!nest_eval(nest, arguments, l->example.dim_values, true, &err))
        fail_msg("%s: %s", err.place, err.message);
    void *before = arena_memdup(&l->arena, arguments[0], bytes);
    memset(arguments[0], 0x5a, bytes);
    if (!nest_eval(read, arguments, l->example.dim_values, true, &err))
        fail_msg("read back: %s: %s", err.place, err.message);
    assert_memory_equal(arguments[0], before, bytes);
}

static void try_schedule(struct lowered *l, uint32_t kernel, const struct target *target)
{
    const struct sched_hint hint = {0};
    struct schedule schedule;
    struct nest chosen, replayed, naive, read, again;
    struct error err = {0};
    assert_true(lowered_again(l, kernel, &chosen, &err));
    sched_heuristic(&chosen, &hint, target, &schedule);
    assert_true(lowered_again(l, kernel, &replayed, &err));
    assert_true(sched_replay(&replayed, &schedule, &err));
    read_back(&chosen, &l->arena, &again);
    read_back(&replayed, &l->arena, &again);
    expect_same_bits(l, kernel, &replayed, &again);

    assert_true(lowered_again(l, kernel, &naive, &err));
    read_back(&naive, &l->arena, &read);
    if (!sched_replay(&read, &schedule, &err))
        fail_msg("%s: %s: %s\n%s", l->example.row->name, err.place, err.message,
                 print(&naive, &l->arena).data);
    assert_string_equal(print(&read, &l->arena).data, print(&replayed, &l->arena).data);
}

static void try_example(const struct op_row *row, uint32_t index, enum dtype dtype, uint64_t seed)
{
    struct lowered l;
    struct error err = {0};
    if (!lowered_build(&l, row, &(struct op_example_request){index, seed, 7, dtype, seed % 2},
                       target_at(2), &err) ||
        !lowered_evaluate(&l, &err))
        fail_msg("%s: %s: %s", row->name, err.place, err.message);
    for (uint32_t k = 0; k < l.kernel_count; k++) {
        struct nest read;
        read_back(&l.kernels[k].nest, &l.arena, &read);
        expect_same_bits(&l, k, &l.kernels[k].nest, &read);
        for (uint32_t t = 0; target_at(t); t++)
            try_schedule(&l, k, target_at(t));
    }
    lowered_release(&l);
}

static void every_kernel_is_read_back(void **state)
{
    (void)state;
    const struct op_row *row;
    uint64_t seed = 0;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t index = 0; index < op_example_count(row); index++) {
            static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F32, DTYPE_BF16, DTYPE_F64};
            try_example(row, index, dtypes[seed / 2 % 4], seed);
            try_example(row, index, DTYPE_F32, seed + 1);
            seed++;
        }
    }
}

/* Accepted text gives a verified nest that prints as text which prints as itself; an error has a
 * place. */
static bool try_text(const char *text, size_t size)
{
    struct arena arena;
    struct dim_table dims;
    struct nest nest, again;
    struct error err = {0};
    arena_init(&arena);
    bool ok = nest_parse(&nest, &dims, &arena, text, size, &err);
    if (ok) {
        assert_true(nest_verify(&nest, &err));
        read_back(&nest, &arena, &again);
    } else {
        assert_true(err.code == ERR_PARSE || err.code == ERR_LIMIT);
        assert_true(err.message[0] != '\0' && strncmp(err.place, "line ", 5) == 0);
    }
    arena_release(&arena);
    return ok;
}

static uint32_t mutate(const struct strbuf *text, uint64_t key)
{
    static const char spice[] = "%[](),:\"\n -.0123456789efinort+*/<=&|@#\x80\x01";
    uint64_t counter = 0;
    uint32_t accepted = 0;
    char *copy = malloc(text->size_bytes);
    assert_non_null(copy);
    for (int round = 0; round < 800; round++) {
        uint32_t size = (uint32_t)text->size_bytes, edits = 1 + rng_u32(key, counter++) % 3;
        memcpy(copy, text->data, size);
        for (uint32_t i = 0; i < edits; i++) {
            uint32_t at = rng_u32(key, counter++) % size, to = rng_u32(key, counter++) % size;
            switch (rng_u32(key, counter++) % 3) {
            case 0: copy[at] = spice[rng_u32(key, counter++) % sizeof spice]; break;
            case 1: copy[at] = copy[to]; break;
            default: memmove(copy + at, copy + at + 1, size-- - at - 1); break;
            }
        }
        accepted += try_text(copy, size);
    }
    free(copy);
    return accepted;
}

/* A few large kernels, and their schedules for vectors. */
static void garbage_does_no_harm(void **state)
{
    (void)state;
    static const char *const names[] = {"multi_head_attention", "sort", "conv2d", "gelu"};
    uint32_t accepted = 0, tried = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lowered l;
        struct error err = {0};
        const struct sched_hint hint = {0};
        struct schedule schedule;
        const struct op_row *row = op_find(names[i]);
        assert_non_null(row);
        assert_true(lowered_build(&l, row, &(struct op_example_request){0, i, 7, DTYPE_F32, true},
                                  target_at(2), &err));
        struct nest *nest = &l.kernels[l.kernel_count - 1].nest;
        for (int scheduled = 0; scheduled < 2; scheduled++) {
            struct strbuf text = print(nest, &l.arena);
            for (size_t size = 0; size < text.size_bytes; size += 1 + size / 1024)
                try_text(text.data, size);
            accepted += mutate(&text, rng_key(i));
            tried += 800;
            sched_heuristic(nest, &hint, target_at(2), &schedule);
        }
        lowered_release(&l);
    }
    assert_in_range(accepted, tried / 50, tried / 2); /* some texts were accepted, some refused */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_read_back),
        cmocka_unit_test(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
