/* Plans that say wrongly that an output may be written over its input: verification refuses them,
 * and plans that say it rightly pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/strbuf.h"
#include "support/updated.h"
#include "verify/verify.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

#define DIM "dim N 1..5000 multiple 1 typical 64\n"

static const struct {
    const char *name, *text;
} WRONG[] = {
    {"reverse",
     DIM "%1 = input \"w\" : f32[N]\n%2 = reverse %1 {axes [0]} : f32[N]\noutput \"w2\" %2\n"
         "update \"w\" by \"w2\"\n"},
    {"transpose", DIM "%1 = input \"w\" : f32[N, N]\n%2 = transpose %1 {axes [1, 0]} : f32[N, N]\n"
                      "output \"w2\" %2\nupdate \"w\" by \"w2\"\n"},
    {"gathered",
     DIM "%1 = input \"w\" : f32[N]\n%2 = input \"at\" : i64[N]\n"
         "%3 = take %1, %2 {axis 0} : f32[N]\noutput \"w2\" %3\nupdate \"w\" by \"w2\"\n"},
    /* towards the end; the other way is right while chunks run in their order */
    {"a cache that moves on",
     DIM "%1 = input \"w\" : f32[N, 3]\n%2 = input \"x\" : f32[1, 3]\n"
         "%3 = slice %1 {start [0, 0], step [1, 1]} : f32[N - 1, 3]\n"
         "%4 = concat %2, %3 {axis 0} : f32[N, 3]\noutput \"w2\" %4\nupdate \"w\" by \"w2\"\n"},
    {"product of itself",
     DIM "%1 = input \"w\" : f32[N, N]\n%2 = contract %1, %1 {batch 0, contract 1} : f32[N, N]\n"
         "output \"w2\" %2\nupdate \"w\" by \"w2\"\n"},
    /* the last block of a product's rows begins earlier, and takes from some elements twice */
    {"overlapping blocks",
     DIM "%1 = input \"w\" : f32[N, N]\n%2 = input \"g\" : f32[N, 16]\n"
         "%3 = input \"x\" : f32[N, 16]\n%4 = contract %2, %3 {batch 0, contract 1} : f32[N, N]\n"
         "%5 = sub %1, %4 : f32[N, N]\noutput \"w2\" %5\nupdate \"w\" by \"w2\"\n"},
};

static void compile(struct updated *u, const char *text)
{
    char whole[2048];
    snprintf(whole, sizeof whole, "graph \"g\"\n%s", text);
    updated_compile(u, whole, NULL);
}

static struct plan_buffer *buffer_of(struct updated *u, struct package_contents *contents,
                                     uint32_t output)
{
    struct error err;
    const struct trust any = {TRUST_ALLOW_UNSIGNED, NULL};
    char *copy = arena_memdup(&u->arena, u->package, u->package_bytes);
    if (!package_read(copy, u->package_bytes, &any, &u->arena, contents, &err))
        TEST_FAILED("%s", err.message);
    struct plan *plan = &contents->targets[0].plan;
    uint32_t at = plan_bound_buffer(plan, BUFFER_OUTPUT, output);
    assert_true(at != PLAN_NONE);
    return &plan->buffers.items[at];
}

/* What failed checks say, without those that were not run; "" where the package passes. */
static const char *faults_of(const struct package_contents *contents, struct arena *arena)
{
    struct verify_report report;
    struct strbuf package, said;
    struct error err;
    char id[KERNEL_ID_BYTES];
    const struct verify_options options = {.seed = 4, .allow_unsigned = true};
    strbuf_init(&package, arena);
    strbuf_init(&said, arena);
    if (!package_write(contents, NULL, &package, id, &err) ||
        !verify_package(package.data, package.size_bytes, &options, arena, &report, &err))
        return arena_strdup(arena, err.message);
    for (uint32_t i = 0; i < report.count; i++)
        if (!report.checks[i].pass && !strstr(report.checks[i].detail, "not run"))
            strbuf_printf(&said, "%s: %s; ", report.checks[i].name, report.checks[i].detail);
    return said.size_bytes > 0 ? said.data : "";
}

static void wrong_claims_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        struct updated u;
        struct package_contents contents;
        compile(&u, WRONG[i].text);
        struct plan_buffer *buffer = buffer_of(&u, &contents, 0);
        if (buffer->in_place)
            TEST_FAILED("%s is in place", WRONG[i].name);
        const char *fault = faults_of(&contents, &u.arena);
        if (fault[0] != '\0')
            TEST_FAILED("%s, undamaged: %s", WRONG[i].name, fault);
        buffer->in_place = true;
        fault = faults_of(&contents, &u.arena);
        if (!strstr(fault, "where inputs are updated in place"))
            TEST_FAILED("%s: %s", WRONG[i].name, fault[0] ? fault : "passes");
        updated_release(&u);
    }
}

/* What the order of launches shows is refused before anything runs. */
static void claims_against_the_order_are_refused(void **state)
{
    (void)state;
    struct updated u;
    struct package_contents contents;
    compile(&u, DIM "%1 = input \"a\" : f32[N]\n%2 = input \"b\" : f32[N]\noutput \"a2\" %2\n"
                    "output \"b2\" %1\nupdate \"a\" by \"a2\"\nupdate \"b\" by \"b2\"\n");
    buffer_of(&u, &contents, 0)->in_place = true;
    const char *fault = faults_of(&contents, &u.arena);
    if (!strstr(fault, "output 0 cannot be written in place"))
        TEST_FAILED("swap: %s", fault[0] ? fault : "passes");
    updated_release(&u);
}

static void right_claims_pass(void **state)
{
    (void)state;
    struct updated u;
    struct package_contents contents;
    compile(&u, DIM "%1 = input \"w\" : f32[N, 24]\n%2 = input \"g\" : f32[N, 24]\n"
                    "%3 = sub %1, %2 : f32[N, 24]\noutput \"w2\" %3\nupdate \"w\" by \"w2\"\n");
    assert_true(buffer_of(&u, &contents, 0)->in_place);
    const char *fault = faults_of(&contents, &u.arena);
    if (fault[0] != '\0')
        TEST_FAILED("%s", fault);
    updated_release(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_claims_are_refused),
        cmocka_unit_test(claims_against_the_order_are_refused),
        cmocka_unit_test(right_claims_pass),
    };
    if (!target_best_here()) {
        print_message("no native code here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
