/* Ops of ai.onnx.ml except trees: results compared with numbers computed independently, and what is
 * refused. */
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

#define TWO "coefficients ff 1 0.5 0.25 2; intercepts ff 0.1 0.2; targets i 2; post_transform s "
#define THREE                                                                                     \
    "coefficients ff 1 0.5 0.25 2 -1 0.5; intercepts ff 0.1 0.2 0.3; classlabels_ints ii 4 2 9; " \
    "post_transform s "
#define ROWS "f32 2x2 0.1 0.2 0.3 0.1"

/* The scores 0, 0 and 0.5, with one row of coefficients for each. */
#define ZEROS "coefficients ff 0 0 0.5; classlabels_ints ii 0 1 2; post_transform s "

static void linear(void **state)
{
    static const struct ml_case cases[] = {
        {"LinearRegressor", 1, TWO "NONE", ROWS, "f32 2x2 0.3 0.625 0.45 0.475", NULL},
        {"LinearRegressor", 1, "coefficients ff 1 2", "i64 1x2 3 4", "f32 1x1 11", NULL},
        {"LinearRegressor", 1, TWO "LOGISTIC", ROWS,
         "f32 2x2 0.574442506 0.651354849 0.610639215 0.616566479", NULL},
        {"LinearRegressor", 1, TWO "PROBIT", ROWS,
         "f32 2x2 -0.524445652 0.318650733 -0.125662083 -0.0627068702", NULL},
        {"LinearClassifier", 1, THREE "NONE", ROWS, "i64 2 2 2",
         "f32 2x3 0.3 0.625 0.3 0.45 0.475 0.05"},
        {"LinearClassifier", 1, THREE "LOGISTIC", ROWS, "i64 2 2 2",
         "f32 2x3 0.574442506 0.651354849 0.574442506 0.610639215 0.616566479 0.512497425"},
        {"LinearClassifier", 1, THREE "SOFTMAX", ROWS, "i64 2 2 2",
         "f32 2x3 0.295505613 0.408988804 0.295505613 0.3709701 0.380361259 0.2486687"},
        {"LinearClassifier", 1, THREE "SOFTMAX_ZERO", ROWS, "i64 2 2 2",
         "f32 2x3 0.295505613 0.408988804 0.295505613 0.3709701 0.380361259 0.2486687"},
        {"LinearClassifier", 1, ZEROS "SOFTMAX_ZERO", "f32 1 1", "i64 1 2", "f32 1x3 0 0 1"},
        {"LinearClassifier", 1, ZEROS "SOFTMAX_ZERO", "f32 1 0", "i64 1 0", "f32 1x3 0.5 0.5 0.5"},
        {"LinearClassifier", 1, THREE "PROBIT", ROWS, "i64 2 2 2",
         "f32 2x3 -0.524445652 0.318650733 -0.524445652 -0.125662083 -0.0627068702 -1.64466987"},
        {"LinearClassifier", 1, "coefficients ff 1; intercepts ff 0; classlabels_ints ii 4 2",
         "f64 2x1 0.3 -0.05", "i64 2 2 4", "f32 2x2 0.7 0.3 1.05 -0.05"},
        {"LinearClassifier", 1,
         "coefficients ff 1 0.5; intercepts ff 0.1; classlabels_ints ii 4 2; "
         "post_transform s LOGISTIC",
         "f32 2x2 0.1 0.2 0.3 -0.9", "i64 2 2 4",
         "f32 2x2 0.425557494 0.574442506 0.512497365 0.487502635"},
    };
    static const struct ml_bad bad[] = {
        {"LinearRegressor", 1, "coefficients ff 1 2 3; targets i 2", "f32 1x2 1 2", ERR_BLUEPRINT,
         "do not divide into 2 rows"},
        {"LinearRegressor", 1, "coefficients ff 1 2; intercepts ff 1 2", "f32 1x2 1 2",
         ERR_BLUEPRINT, "'intercepts' has 2 elements, expected 1"},
        {"LinearRegressor", 1, "coefficients ff 1 2 3", "f32 1x2 1 2", ERR_SHAPE,
         "rows of 2 features, the attributes speak of 3"},
        {"LinearRegressor", 1, "coefficients ff 1 2; targets i 0", "f32 1x2 1 2", ERR_BLUEPRINT,
         "'targets' is 0"},
        {"LinearRegressor", 1, "coefficients ff 1 2", "f32 1x1x2 1 2", ERR_SHAPE, "rank 3"},
        {"LinearClassifier", 1, "coefficients ff 1 2", "f32 1x2 1 2", ERR_BLUEPRINT,
         "one of the attributes 'classlabels_ints' and 'classlabels_strings'"},
        {"LinearClassifier", 1, "coefficients ff 1 2; classlabels_ints ii 1 2 3", "f32 1x2 1 2",
         ERR_BLUEPRINT, "coefficients for 1 scores, and labels of 3 classes"},
        {"LinearClassifier", 1,
         "coefficients ff 1 2; classlabels_ints ii 1 2; post_transform s SOFTMAX", "f32 1x2 1 2",
         ERR_UNSUPPORTED, "SOFTMAX of two classes by one score"},
        {"LinearClassifier", 1, "coefficients ff 1 2 3 4; classlabels_strings ss a b",
         "f32 1x2 1 2", ERR_UNSUPPORTED,
         "output: 'y': the labels of ai.onnx.ml.LinearClassifier are strings"},
    };
    CHECK(cases);
    CHECK_BAD(bad);
}

#define KERNEL(kind) "; kernel_params ff 0.5 0.25 3; kernel_type s " kind
#define SVR                                                                        \
    "support_vectors ff 1 0 0 1 -1 0.5; coefficients ff 0.5 -1 0.75; rho ff 0.1; " \
    "n_supports i 3"
#define SVC                                                                                    \
    "support_vectors ff 1 0 0 1 -1 0.5 0.5 0.5; coefficients ff 0.5 -1 0.75 0.3 0.2 0.6 -0.4 " \
    "0.8; rho ff 0.1 -0.2 0.05; vectors_per_class ii 1 2 1; classlabels_ints ii 3 5 7"
#define PLATT "; prob_a ff -1 -2 -0.5; prob_b ff 0.1 0 -0.1"
#define SVC2                                                           \
    "support_vectors ff 1 0 0 1; coefficients ff 0.5 -1; rho ff 0.1; " \
    "vectors_per_class ii 1 1; classlabels_ints ii 3 5"
#define POINTS "f32 3x2 0.1 0.2 0.3 -0.9 2 1"

static void support_vectors(void **state)
{
    static const struct ml_case cases[] = {
        {"SVMRegressor", 1, SVR, POINTS, "f32 3x1 -0.05 0.5875 -1.025", NULL},
        {"SVMRegressor", 1, SVR KERNEL("POLY"), "f32 2x2 0.1 0.2 0.3 -0.9",
         "f32 2x1 0.0823437572 0.138535157", NULL},
        {"SVMRegressor", 1, SVR KERNEL("RBF"), "f32 2x2 0.1 0.2 0.3 -0.9",
         "f32 2x1 0.0958918706 0.324698955", NULL},
        {"SVMRegressor", 1, SVR KERNEL("SIGMOID"), "f32 2x2 0.1 0.2 0.3 -0.9",
         "f32 2x1 0.0929697603 0.39408502", NULL},
        {"SVMRegressor", 1, SVR "; one_class i 1", POINTS, "f32 3x1 -1 1 -1", NULL},
        {"SVMRegressor", 1, "coefficients ff 0.5 -1; rho ff 0.1", POINTS, "f32 3x1 -0.05 1.15 0.1",
         NULL},
        {"SVMClassifier", 1, SVC, POINTS, "i64 3 5 7 5",
         "f32 3x3 -0.05 -0.135 0.29 0.5875 -0.23 -0.43 -1.025 0.65 2.45"},
        {"SVMClassifier", 1, SVC PLATT, POINTS, "i64 3 5 7 5",
         "f32 3x3 0.290251493 0.379351109 0.330397397 0.318766147 0.276430696 0.404803276 "
         "0.232974365 0.645954847 0.121070743"},
        {"SVMClassifier", 1, SVC PLATT KERNEL("RBF"), POINTS, "i64 3 3 3 3",
         "f32 3x3 0.373454928 0.392436683 0.234108448 0.364406228 0.335295796 0.300297886 "
         "0.332887322 0.356520176 0.310592413"},
        {"SVMClassifier", 1, SVC2, POINTS, "i64 3 5 3 3", "f32 3x2 0.05 -0.05 -1.15 1.15 -0.1 0.1"},
        {"SVMClassifier", 1,
         "coefficients ff 1 0.5 0.25 2 -1 0.5; rho ff 0.1; classlabels_ints ii 3 5 7", POINTS,
         "i64 3 5 3 3", "f32 3x3 0.3 0.525 0.1 -0.05 -1.625 -0.65 2.6 2.6 -1.4"},
    };
    static const struct ml_bad bad[] = {
        {"SVMRegressor", 1, "coefficients ff 1; rho ff 0; n_supports i 2; support_vectors ff 1 2",
         "f32 1x1 1", ERR_BLUEPRINT, "'coefficients' has 1 elements, and 'n_supports' 2"},
        {"SVMRegressor", 1, "coefficients ff 1; rho ff 0; n_supports i 2; support_vectors ff 1 2 3",
         "f32 1x1 1", ERR_BLUEPRINT, "'support_vectors' has 3 elements"},
        {"SVMRegressor", 1, "coefficients ff 1; n_supports i 0", "f32 1x1 1", ERR_BLUEPRINT,
         "'rho' has no elements"},
        {"SVMRegressor", 1, SVR "; kernel_params ff 1 2", POINTS, ERR_BLUEPRINT,
         "'kernel_params' has 2 elements"},
        {"SVMRegressor", 1, SVR "; kernel_type s CUBIC", POINTS, ERR_BLUEPRINT,
         "'kernel_type' is 'CUBIC', expected one of LINEAR, POLY, RBF, SIGMOID"},
        {"SVMClassifier", 1, SVC2 "; prob_a ff 1", POINTS, ERR_BLUEPRINT,
         "'prob_b' has 0 elements, and 'prob_a' 1"},
        {"SVMClassifier", 1, SVC2 "; prob_a ff 1 2; prob_b ff 1 2", POINTS, ERR_BLUEPRINT,
         "'prob_a' has 2 elements, and 'pairs of classes' 1"},
        {"SVMClassifier", 1,
         "support_vectors ff 1 2; coefficients ff 1 2 3; rho ff 0; vectors_per_class ii 1 1; "
         "classlabels_ints ii 0 1",
         "f32 1x1 1", ERR_BLUEPRINT, "'coefficients' has 3 elements, expected 1 rows of 2"},
        {"SVMClassifier", 1,
         "support_vectors ff 1 2; coefficients ff 1 2; rho ff 0; vectors_per_class ii -1 1; "
         "classlabels_ints ii 0 1",
         "f32 1x1 1", ERR_BLUEPRINT, "'vectors_per_class': element 0 is -1"},
    };
    CHECK(cases);
    CHECK_BAD(bad);
}

/* Labels that are strings are refused only if they are an output. */
static void scores_without_labels(void **state)
{
    struct model *m = *state;
    static const char attrs[] = "coefficients ff 1 2 3 4; classlabels_strings ss a b";
    Onnx__NodeProto *node = begin_case(m, "LinearClassifier", 1, attrs);
    node->n_output = 2;
    add_output(m, "z");
    assert_tensor("scores", run_text(m, "f32 1x2 1 1"), "f32 1x2 3 7");

    /* A result of a node that uses the labels is refused too, with the name of the output. */
    node = begin_case(m, "LinearClassifier", 1, attrs);
    node->n_output = 2;
    add_node(m, "Identity", "y", NULL, "copy");
    add_input(m, "x", 1, (const char *const[]){"1", "2", NULL});
    add_output(m, "copy");
    add_output(m, "z");
    assert_refused(m, ERR_UNSUPPORTED, "output: 'copy': the labels of ");
}

static void number_of_features_must_be_known(void **state)
{
    struct model *m = *state;
    begin_case(m, "LinearRegressor", 1, "coefficients ff 1 2");
    add_input(m, "x", 1, (const char *const[]){"N", "F", NULL});
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "the number of features is F, which is not known");

    /* The number of rows need not be known. */
    begin_case(m, "LinearRegressor", 1, "coefficients ff 1 2");
    add_input(m, "x", 1, (const char *const[]){"N", "2", NULL});
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "N,1");
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
        cmocka_unit_test_setup_teardown(linear, begin, end),
        cmocka_unit_test_setup_teardown(support_vectors, begin, end),
        cmocka_unit_test_setup_teardown(scores_without_labels, begin, end),
        cmocka_unit_test_setup_teardown(number_of_features_must_be_known, begin, end),
        cmocka_unit_test_setup_teardown(what_is_read_otherwise_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
