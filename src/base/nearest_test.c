/* The nearest of several names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/nearest.h"

#include <cmocka.h>

static const char *name_at(uint32_t index)
{
    static const char *const names[] = {"relu",        "gelu",       "softmax",
                                        "log_softmax", "layer_norm", NULL};
    return names[index];
}

static void finds_what_was_meant(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"relu", "relu"},
                                          {"geluu", "gelu"},
                                          {"glu", "gelu"},
                                          {"sofmax", "softmax"},
                                          {"logsoftmax", "log_softmax"},
                                          {"layernorm", "layer_norm"},
                                          {"log", "log_softmax"}, /* it begins so, though relu is
                                                                     fewer letters away */
                                          {"zzz", "relu"},        /* nothing is near: the first */
                                          {"", "relu"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(name_nearest(rows[i][0], name_at), rows[i][1]);
}

/* A name longer than any is as far from all. */
static void bears_long_names(void **state)
{
    (void)state;
    char name[4096];
    memset(name, 'g', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_string_equal(name_nearest(name, name_at), "relu");
    name[63] = '\0';
    assert_string_equal(name_nearest(name, name_at), "gelu"); /* one letter fits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_meant),
        cmocka_unit_test(bears_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
