/* Dividing memory: a total, of which one client never gets everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "server/shares.h"

#include <cmocka.h>

static void nobody_has_all(void **state)
{
    struct shares *shares = shares_new(1000);
    struct error err;
    (void)state;
    assert_true(shares_take(shares, "a", 750, &err));
    assert_false(shares_take(shares, "a", 1, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(shares_take(shares, "b", 250, &err));
    assert_false(shares_take(shares, "c", 1, &err));
    shares_give(shares, "a", 50);
    assert_true(shares_take(shares, "a", 50, &err));
    shares_give(shares, "b", 250);
    shares_give(shares, "a", 750);
    assert_true(shares_take(shares, "c", 750, &err));
    assert_false(shares_take(shares, "d", UINT64_MAX, &err));
    shares_give(shares, "c", 750);
    shares_give(shares, "nobody", 0);
    shares_free(shares);
    shares_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_has_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
