/* Shared by the tests of this folder. */
#ifndef URZA_VERIFY_TEST_UTIL_H
#define URZA_VERIFY_TEST_UTIL_H

/* cmocka.h needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/error.h"

/* As cmocka's fail_msg. */
#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* Fails the test with the error of a call that must succeed. */
static inline void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

#endif
