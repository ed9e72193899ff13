/* Every example blueprint: compiled for all targets, with every schedule step taken that was
 * wanted, and verified, with tensors against protected pages at every alignment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "compiler/compile.h"
#include "verify/verify.h"

#include "support/work.h"

#include <cmocka.h>

struct example {
    const char *name, *dims; /* sizes that keep the reference quick, none a multiple of a tile */
};

static void compiles_and_verifies(void **state)
{
    const struct example *example = *state;
    char path[128], *text;
    size_t size;
    struct arena arena;
    struct error err = {0};
    struct compile_options options = {
        .strategy = STRATEGY_STANDARD, .folder = "examples", .dump = "schedule"};
    struct compile_result result = {0};
    struct verify_report report = {0};
    struct verify_options verify = {
        .dims = example->dims, .allow_unsigned = true, .all_alignments = true, .seed = 5};
    snprintf(path, sizeof path, "examples/%s.json", example->name);
    arena_init(&arena);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &size, &err))
        fail_msg("%s: %s", path, err.message);
    if (!compile_blueprint(text, size, &options, &arena, &result, &err))
        fail_msg("%s: %s: %s", example->name, err.place, err.message);
    const char *refused = strstr(result.dump, "refused ");
    if (refused || !strstr(result.dump, "parallel "))
        fail_msg("%s: %.200s", example->name, refused ? refused : "no schedules");
    if (!work_is_bounded(result.package, result.package_bytes, &err))
        fail_msg("%s: %s: %s", example->name, err.place, err.message);
    if (!verify_package(result.package, result.package_bytes, &verify, &arena, &report, &err))
        fail_msg("%s: %s: %s", example->name, err.place, err.message);
    for (uint32_t i = 0; i < report.count; i++)
        if (!report.checks[i].pass)
            fail_msg("%s: %s: %s", example->name, report.checks[i].name, report.checks[i].detail);
    assert_true(report.pass && report.count > 0);
    arena_release(&arena);
    free(text);
}

int main(void)
{
    static struct example examples[] = {
        {"mlp", "B=13"},
        {"resnet_bottleneck", "B=1"},
        {"mobilenet_inverted_residual", "B=1"},
        {"transformer_block", "B=2,S=13"},
        {"gated_mlp_rmsnorm", "B=1,S=5"},
        {"attention_arch", "B=1,S=17"},
        {"conv_arch", "B=1"},
        {"custom_graph", "B=7"},
        {"char_transformer", "B=1,T=5"},
        {"digits_conv", "B=3"},
    };
    struct CMUnitTest tests[sizeof examples / sizeof examples[0]];
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
        tests[i] =
            (struct CMUnitTest){examples[i].name, compiles_and_verifies, NULL, NULL, &examples[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
