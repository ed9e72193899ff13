/* Schedules as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/sched/sched.h"
#include <cmocka.h>

static void bad_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "splat i 4",
        "split",
        "split i",
        "split i x",
        "split i 4x",
        "split i 99999999999999999999",
        "fuse i",
        "swap i",
        "vector i 4 4",
        "parallel p q",
        "parallel",
        ";",
        "split i 4;; parallel i",
        "split i 4, parallel i",
        "none i",
        "split a_name_that_is_far_longer_than_any_loop 4",
        "split i 4; ",
        " ",
    };
    struct arena arena;
    arena_init(&arena);
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        struct schedule schedule;
        if (sched_parse(&schedule, &arena, bad[i], &err))
            fail_msg("'%s' was read", bad[i]);
        assert_int_equal(err.code, ERR_PARSE);
    }
    struct error err = {0};
    struct schedule schedule;
    assert_true(sched_parse(&schedule, &arena, "", &err));
    assert_int_equal(schedule.steps.count, 0);
    assert_true(sched_parse(&schedule, &arena, "  split  i   -4 ;swap a b;parallel p", &err));
    struct strbuf text;
    strbuf_init(&text, &arena);
    sched_print(&schedule, &text);
    assert_string_equal(text.data, "split i -4; swap a b; parallel p");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
