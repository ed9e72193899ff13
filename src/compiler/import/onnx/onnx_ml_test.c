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
#define NO_STRINGS "there are no tensors of strings"

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

static void categories(void **state)
{
    static const struct ml_case cases[] = {
        {"OneHotEncoder", 1, "cats_int64s ii 5 1 3", "i64 1x2 1 5", "f32 1x2x3 0 1 0 1 0 0", NULL},
        {"OneHotEncoder", 1, "cats_int64s ii 5 1 -3; zeros i 1", "f32 3 1.9 -3 4",
         "f32 3x3 0 1 0 0 0 1 0 0 0", NULL},
        {"LabelEncoder", 2, "keys_int64s ii 5 1 7; values_floats ff 0.5 1.5 2.5", "i64 4 1 5 9 5",
         "f32 4 1.5 0.5 -0 0.5", NULL},
        {"LabelEncoder", 2, "keys_floats ff 0.5 nan 0; values_int64s ii 1 2 3; default_int64 i -7",
         "f32 5 0.5 nan 2 -0 inf", "i64 5 1 2 -7 3 -7", NULL},
        {"LabelEncoder", 4, "keys_int64s ii 5 5; values_int64s ii 1 2", "i64 2x1 5 6",
         "i64 2x1 2 -1", NULL},
        {"LabelEncoder", 2, "keys_floats ff nan; values_floats ff 2", "f32 2 nan 1", "f32 2 2 0",
         NULL},
        {"LabelEncoder", 4,
         "keys_tensor i16 3 -1 9 4; values_tensor f64 0.5 1.5 2.5 3.5; "
         "default_tensor f64 -4",
         "i16 6 -1 3 4 9 5 -32768", "f64 6 1.5 0.5 3.5 2.5 -4 -4", NULL},
        {"LabelEncoder", 2,
         "keys_int64s ii -9223372036854775808 9223372036854775807 9007199254740993; "
         "values_int64s ii 1 2 9007199254740993",
         "i64 4 9223372036854775807 -9223372036854775808 9007199254740992 9007199254740993",
         "i64 4 2 1 -1 9007199254740993", NULL},
    };
    static const struct ml_bad bad[] = {
        {"OneHotEncoder", 1, "cats_strings ss a b", "i64 1 1", ERR_UNSUPPORTED, NO_STRINGS},
        {"OneHotEncoder", 1, "", "i64 1 1", ERR_BLUEPRINT, "'cats_int64s' has no elements"},
        {"OneHotEncoder", 1, "cats_int64s ii 1 2 1", "i64 1 1", ERR_BLUEPRINT, "has 1 twice"},
        {"LabelEncoder", 1, "classes_strings ss a b", "i64 1 1", ERR_UNSUPPORTED, NO_STRINGS},
        {"LabelEncoder", 2, "keys_strings ss a; values_int64s ii 1", "i64 1 1", ERR_UNSUPPORTED,
         "attribute 'keys_strings': " NO_STRINGS},
        {"LabelEncoder", 2, "keys_int64s ii 1; values_strings ss a", "i64 1 1", ERR_UNSUPPORTED,
         "attribute 'values_strings': " NO_STRINGS},
        {"LabelEncoder", 2, "keys_int64s ii 1 2; values_int64s ii 1", "i64 1 1", ERR_BLUEPRINT,
         "2 keys and 1 values"},
        {"LabelEncoder", 2, "keys_floats ff 1; values_int64s ii 1", "i64 1 1", ERR_BLUEPRINT,
         "keys are f32, and the input is i64"},
        {"LabelEncoder", 2, "values_int64s ii 1", "i64 1 1", ERR_BLUEPRINT,
         "just one of the attributes 'keys_int64s', 'keys_floats' and 'keys_tensor'"},
        {"LabelEncoder", 4, "keys_int64s ii 1; values_tensor i16 1; default_tensor i64 3",
         "i64 1 1", ERR_BLUEPRINT, "'default_tensor' is no single i16"},
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

    begin_case(m, "OneHotEncoder", 1, "cats_int64s ii 1 2; zeros i 0");
    add_output(m, "y");
    run_text(m, "i64 1 3");
    assert_non_null(strstr(m->blueprint.warnings, "gives zeros, though 'zeros' is 0"));

    begin_case(m, "OneHotEncoder", 1, "cats_int64s ii 1 2");
    add_output(m, "y");
    run_text(m, "i64 1 3");
    assert_int_equal(m->blueprint.warnings_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(features, begin, end),
        cmocka_unit_test_setup_teardown(categories, begin, end),
        cmocka_unit_test_setup_teardown(what_is_read_otherwise_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
