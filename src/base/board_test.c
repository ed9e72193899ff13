/* What a child writes is what its parent reads and shows. */
#include "base/board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void children_write(void **state)
{
    (void)state;
    struct board *board = board_new();
    assert_non_null(board);
    assert_int_equal(board_get(board).stage, BOARD_NONE);
    pid_t child = fork();
    if (child == 0) {
        board_put(board, BOARD_GENERATE, 12, 80);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    struct board_state found = board_get(board);
    assert_int_equal(found.stage, BOARD_GENERATE);
    assert_int_equal(found.done, 12);
    assert_int_equal(found.total, 80);
    board_put(board, BOARD_VERIFY, UINT32_MAX, 1u << 24);
    assert_int_equal(board_get(board).stage, BOARD_VERIFY);
    assert_int_equal(board_get(board).done, (1u << 24) - 1);
    assert_int_equal(board_get(board).total, (1u << 24) - 1);
    board_free(board);
    board_put(NULL, BOARD_READ, 0, 0);
    assert_int_equal(board_get(NULL).stage, BOARD_NONE);
    board_free(NULL);
}

static void shown(void **state)
{
    (void)state;
    static const struct {
        struct board_state state;
        const char *text;
    } rows[] = {{{BOARD_NONE, 0, 0}, ""},
                {{BOARD_READ, 0, 0}, "reading"},
                {{BOARD_OPTIMISE, 0, 0}, "optimising"},
                {{BOARD_TUNE, 2, 9}, "tuning kernel 2 of 9"},
                {{BOARD_GENERATE, 12, 80}, "kernel 12 of 80"},
                {{BOARD_VERIFY, 0, 0}, "verifying"},
                {{BOARD_VERIFY, 3, 80}, "verifying kernel 3 of 80"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        board_describe(rows[i].state, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(children_write), cmocka_unit_test(shown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
