/* Shared by the tests of this folder. */
#ifndef URZA_PACKAGE_TEST_UTIL_H
#define URZA_PACKAGE_TEST_UTIL_H

/* cmocka.h needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/error.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

/* As cmocka's fail_msg. */
#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* Fails the test with the error of a call that must succeed. */
static inline void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

/* The call must have failed with this code, and message or place must contain text. */
static inline void must_fail(bool ok, const struct error *err, enum error_code code,
                             const char *text)
{
    if (ok || err->code != code || (!strstr(err->message, text) && !strstr(err->place, text)))
        TEST_FAILED("expected %s '%s', got %s: %s: %s", error_name(code), text,
                    ok ? "success" : error_name(err->code), ok ? "" : err->place,
                    ok ? "" : err->message);
}

/* Replaces the first `from` in text by `to`; from must occur. */
static inline struct strbuf replace(struct arena *arena, const char *text, const char *from,
                                    const char *to)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    const char *at = strstr(text, from);
    if (!at)
        TEST_FAILED("'%s' does not occur in %s", from, text);
    strbuf_add(&out, text, (size_t)(at - text));
    strbuf_puts(&out, to);
    strbuf_puts(&out, at + strlen(from));
    return out;
}

#endif
