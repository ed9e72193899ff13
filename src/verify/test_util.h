/* What the tests of this folder share. */
#ifndef URZA_VERIFY_TEST_UTIL_H
#define URZA_VERIFY_TEST_UTIL_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/error.h"

/* What cmocka's fail_msg does. */
#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* Shows the error of a call that must not fail. */
static inline void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

#endif
