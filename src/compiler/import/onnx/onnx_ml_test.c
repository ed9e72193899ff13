/* Ops of ai.onnx.ml but trees: what they compute, on numbers worked out apart, and what they
 * refuse. */
#include "compiler/import/onnx/onnx_ml_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <onnx.pb-c.h>
#include <cmocka.h>

#define CHECK(cases) check_cases(*state, cases, sizeof cases / sizeof *cases)
#define CHECK_BAD(cases) check_bad(*state, cases, sizeof cases / sizeof *cases)

static void features(void **state)
{
    static const struct ml_case cases[] = {
        {"Scaler", 1, "offset ff 1 2; scale ff 0.5 4", "f32 2x2 1 2 3 4", "f32 2x2 0 0 1 8", NULL},
        {"Scaler", 1, "offset ff 1; scale ff 3", "i64 3 1 2 3", "f32 3 0 3 6", NULL},
        {"Scaler", 1, "offset ff 1 2 3", "f64 1x3 1 2 3.5", "f32 1x3 0 0 0.5", NULL},
        {"Normalizer", 1, "", "f32 2x3 3 -4 1 0 0 0", "f32 2x3 1 -1.33333337 0.333333343 0 0 0",
         NULL},
        {"Normalizer", 1, "norm s L1", "f32 2x3 3 -4 1 0 0 0", "f32 2x3 0.375 -0.5 0.125 0 0 0",
         NULL},
        {"Normalizer", 1, "norm s L2", "i64 3 3 -4 12",
         "f32 3 0.230769232 -0.307692319 0.923076928", NULL},
        {"Normalizer", 1, "norm s L2", "f32 2 3e-30 4e-30", "f32 2 0.6 0.8", NULL},
        {"Imputer", 1, "imputed_value_floats ff 7 8; replaced_value_float f nan",
         "f32 2x2 nan 2 3 nan", "f32 2x2 7 2 3 8", NULL},
        {"Imputer", 1, "imputed_value_floats ff 7; replaced_value_float f -1", "f64 2x2 -1 2 3 nan",
         "f64 2x2 7 2 3 nan", NULL},
        {"Imputer", 1, "imputed_value_int64s ii 7", "i64 2x2 0 2 3 0", "i64 2x2 7 2 3 7", NULL},
        {"Imputer", 1, "imputed_value_int64s ii 9007199254740993 5; replaced_value_int64 i -1",
         "i64 1x2 -1 -1", "i64 1x2 9007199254740993 5", NULL},
        {"FeatureVectorizer", 1, "", "i64 2x2 1 2 3 -4", "f32 2x2 1 2 3 -4", NULL},
        {"FeatureVectorizer", 1, "inputdimensions ii 3", "f32 2x2 1 2 3 -4", "f32 2x3 1 2 0 3 -4 0",
         NULL},
        {"FeatureVectorizer", 1, "inputdimensions ii 1", "f32 2x2 1 2 3 -4", "f32 2x1 1 3", NULL},
        {"FeatureVectorizer", 1, "", "f32 2 1 2", "f32 1x2 1 2", NULL},
        {"ZipMap", 1, "classlabels_int64s ii 0 1", "f32 1x2 0.25 0.75", "f32 1x2 0.25 0.75", NULL},
    };
    static const struct ml_bad bad[] = {
        {"Scaler", 1, "offset ff 1 2; scale ff 1", "f32 1x2 1 2", ERR_BLUEPRINT,
         "attribute 'offset' has 2 elements, and 'scale' 1"},
        {"Scaler", 1, "offset ff 1 2 3", "f32 1x2 1 2", ERR_BLUEPRINT,
         "'offset' has 3 elements, expected 1 or one for each of 2 features"},
        {"Scaler", 1, "offset ii 1 2", "f32 1x2 1 2", ERR_BLUEPRINT, "'offset' is of another type"},
        {"Normalizer", 1, "norm s L3", "f32 1x2 1 2", ERR_BLUEPRINT,
         "'norm' is 'L3', expected one of MAX, L1, L2"},
        {"Imputer", 1, "imputed_value_int64s ii 1", "f32 1x2 1 2", ERR_BLUEPRINT,
         "no attribute 'imputed_value_floats'"},
        {"Imputer", 1, "imputed_value_floats ff 1", "i64 1x2 1 2", ERR_BLUEPRINT,
         "no attribute 'imputed_value_int64s'"},
        {"Imputer", 1, "imputed_value_int64s ii 3000000000", "i32 1x2 1 2", ERR_BLUEPRINT,
         "3000000000 is no i32"},
        {"Imputer", 1, "imputed_value_floats ff 1 2 3", "f32 1x2 1 2", ERR_BLUEPRINT,
         "'imputed_value_floats' has 3 elements"},
        {"FeatureVectorizer", 1, "inputdimensions ii 1 2", "f32 1x2 1 2", ERR_BLUEPRINT,
         "'inputdimensions' has 2 elements"},
    };
    CHECK(cases);
    CHECK_BAD(bad);
}

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
        cmocka_unit_test_setup_teardown(features, begin, end),
        cmocka_unit_test_setup_teardown(what_is_read_otherwise_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
