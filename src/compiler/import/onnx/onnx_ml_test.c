/* Ops of ai.onnx.ml but trees: what they compute, on numbers worked out apart, and what they
 * refuse. */
#include "compiler/import/onnx/onnx_ml_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <onnx.pb-c.h>
#include <cmocka.h>

static void what_is_read_otherwise_is_said(void **state)
{
    struct model *m = *state;
    begin_case(m, "ZipMap", 1, "classlabels_strings ss a b");
    add_output(m, "y");
    run_text(m, "f32 1x2 0.25 0.75");
    assert_non_null(strstr(m->blueprint.warnings, "ZipMap 'y': there are no maps: output 'y' is "));
    assert_int_equal(m->blueprint.warnings_bytes, strlen(m->blueprint.warnings) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_read_otherwise_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
