/* Models built with the schema's own packer. */
#include "base/error.h"
/* cmocka defines a macro fail, so our headers come first. */
#include "compiler/import/onnx/onnx_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void reads_nothing(void **state)
{
    struct import_options options = {.seed = 0};
    struct arena arena;
    struct blueprint blueprint;
    struct error err;
    (void)state;
    arena_init(&arena);
    assert_false(onnx_read("", 0, &options, &arena, &blueprint, &err));
    assert_int_equal(err.code, ERR_PARSE);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
