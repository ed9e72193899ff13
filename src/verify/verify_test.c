/* Packages of hand-written machine code: one that is right, and one for every way to be wrong. */
#include "verify/test_util.h"

#include <math.h>

#include "base/strbuf.h"
#include "package/package.h"
#include "verify/verify.h"

static const char graph_text[] = "graph \"twice\"\n"
                                 "dim B 1..100 multiple 1 typical 24\n"
                                 "%1 = input \"x\" : f32[B, 3]\n"
                                 "%2 = add %1, %1 : f32[B, 3]\n"
                                 "output \"y\" %2\n";

static const char plan_text[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\",\"value\":1}],"
    "\"format\":\"urza.plan/2\",\"forward\":["
    "{\"args\":[1,0],\"edges\":[],\"extent\":\"3*B\",\"kernel\":0,\"label\":\"twice\","
    "\"scratch_bytes\":\"0\",\"work\":\"1000000*B\",\"written\":1}],"
    "\"kernels\":1,\"prepare\":[]}";

/* rsi = x and rdi = y, from buffers [1] and [0]; rcx = begin, r8 = end */
#define HEAD "\x48\x8b\x77\x08\x48\x8b\x3f"
/* while (rcx < r8) { y[rcx] = x[rcx] + x[rcx]; rcx++; } return */
#define TWICE                                                                                  \
    "\xeb\x11\xf3\x0f\x10\x04\x8e\xf3\x0f\x58\xc0\xf3\x0f\x11\x04\x8f\x48\xff\xc1\x4c\x39\xc1" \
    "\x7c\xea\xc3"
/* while (rcx < r8) y[rcx++] = eax; return */
#define STORE "\xeb\x06\x89\x04\x8f\x48\xff\xc1\x4c\x39\xc1\x7c\xf5\xc3"
/* the same as TWICE with 3x instead of 2x */
#define THRICE                                                                                     \
    "\xeb\x16\xf3\x0f\x10\x04\x8e\xf3\x0f\x58\xc0\xf3\x0f\x58\x04\x8e\xf3\x0f\x11\x04\x8f\x48\xff" \
    "\xc1\x4c\x39\xc1\x7c\xe5\xc3"

#define CODE(text) (const uint8_t *)(text), sizeof(text) - 1

/* bit i of fails: check i of checks[] has a row that fails */
enum { FUNCTION = 1, BOUNDS = 2, REPEATABLE = 4, THREADS = 8, ALL = 15 };
static const char *const checks[] = {"function", "bounds", "repeatable", "threads"};

static const struct kernel {
    const char *name;
    const uint8_t *code;
    size_t bytes;
    unsigned fails; /* these and no others */
    const char *detail;
} kernels[] = {
    {"right", CODE(HEAD TWICE), 0, ""},
    {"wrong values", CODE(HEAD THRICE), FUNCTION, "worst at y["},
    {"writes past the end", /* inc r8 */ CODE(HEAD "\x49\xff\xc0" TWICE), BOUNDS, "SIGSEGV"},
    {"writes before the start", /* mov byte [rdi-1], 0 */ CODE(HEAD "\xc6\x47\xff\x00" TWICE),
     BOUNDS, "a byte was written -1 bytes"},
    {"reads past the end", /* mov eax, [rsi+r8*4] */ CODE(HEAD "\x42\x8b\x04\x86" TWICE), BOUNDS,
     "SIGSEGV"},
    {"writes its input", /* mov eax, [rsi]; mov [rsi], eax */
     CODE(HEAD "\x8b\x06\x89\x06" TWICE), BOUNDS, "SIGSEGV"},
    {"dies", /* ud2 */ CODE("\x0f\x0b"), ALL, "SIGILL"},
    {"traps", /* int3 */ CODE("\xcc"), ALL, "SIGTRAP"},
    {"tells the time", /* rdtsc; and eax, 0x3fffffff; or eax, 1 */
     CODE(HEAD "\x0f\x31\x25\xff\xff\xff\x3f\x83\xc8\x01" STORE), ALL, "another call"},
    {"knows its share", /* mov rax, rcx */ CODE(HEAD "\x48\x89\xc8" STORE), FUNCTION | THREADS,
     "more threads"},
    {"writes nothing", CODE("\xc3"), FUNCTION, "worst at y["},
};

struct fixture {
    struct arena arena;
    struct error err;
    struct package_contents contents;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.contents = {.name = "twice",
                                      .compiler = "by hand",
                                      .strategy = "fast",
                                      .blueprint_json = "{}",
                                      .blueprint_bytes = 2,
                                      .evidence_json = "{}",
                                      .evidence_bytes = 2}};
    arena_init(&f.arena);
    must(graph_parse(&f.contents.graph, &f.arena, graph_text, strlen(graph_text), &f.err), &f.err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

/* A package of one kernel; NULL: of none. */
static struct strbuf write_package(struct fixture *f, const struct kernel *kernel)
{
    static const uint32_t offset = 0;
    static const char *const name = "twice", *const config = "";
    char id[KERNEL_ID_BYTES];
    struct strbuf out;
    if (kernel) {
        f->contents.target_count = 1;
        f->contents.targets[0] = (struct package_target){.name = "x86-64-v2",
                                                         .code = kernel->code,
                                                         .code_bytes = kernel->bytes,
                                                         .kernel_count = 1,
                                                         .kernel_offsets = &offset,
                                                         .kernel_names = &name,
                                                         .kernel_configs = &config};
        must(plan_parse(&f->contents.targets[0].plan, &f->arena, &f->contents.graph.dims, plan_text,
                        strlen(plan_text), &f->err),
             &f->err);
    }
    strbuf_init(&out, &f->arena);
    must(package_write(&f->contents, NULL, &out, id, &f->err), &f->err);
    return out;
}

static void verify(struct fixture *f, const struct strbuf *package, const char *dims,
                   struct verify_report *report)
{
    struct verify_options options = {.seed = 14, .dims = dims, .allow_unsigned = true};
    must(verify_package(package->data, package->size_bytes, &options, &f->arena, report, &f->err),
         &f->err);
}

/* Which checks of the package's own code failed; none of the interpreter's may. */
static unsigned failures(const struct verify_report *report, const char *detail, bool *out_found)
{
    unsigned fails = 0;
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *check = &report->checks[i];
        if (check->pass) {
            assert_true(check->figure <= check->bound);
            continue;
        }
        if (strstr(check->name, "interpreter"))
            TEST_FAILED("%s: %s", check->name, check->detail);
        assert_true(check->figure > check->bound);
        *out_found = *out_found || strstr(check->detail, detail);
        for (uint32_t kind = 0; kind < 4; kind++)
            if (strncmp(check->name, checks[kind], strlen(checks[kind])) == 0)
                fails |= 1u << kind;
    }
    return fails;
}

static void kernels_are_judged(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        const struct kernel *kernel = &kernels[i];
        struct verify_report report;
        struct strbuf package = write_package(f, kernel);
        bool found = kernel->fails == 0;
        verify(f, &package, kernel->fails == 0 ? NULL : "B=20", &report);
        unsigned fails = failures(&report, kernel->detail, &found);
        unsigned expected = kernel->fails;
        for (uint32_t c = 0; c < report.count && fails != expected; c++)
            print_error("%s: %s: %s\n", report.checks[c].name,
                        report.checks[c].pass ? "pass" : "FAIL", report.checks[c].detail);
        if (fails != expected || !found)
            TEST_FAILED("'%s': failed %#x, expected %#x with '%s'", kernel->name, fails, expected,
                        kernel->detail);
        assert_int_equal(report.pass, kernel->fails == 0);
    }
}

static bool has_check(const struct verify_report *report, const char *name)
{
    for (uint32_t i = 0; i < report->count; i++)
        if (strcmp(report->checks[i].name, name) == 0)
            return true;
    return false;
}

static void sizes_and_checks(void **state)
{
    struct fixture *f = *state;
    struct verify_report report;
    struct strbuf package = write_package(f, &kernels[0]);
    verify(f, &package, NULL, &report);
    static const char *const names[] = {
        "function x86-64-v2 B=24", "function x86-64-v2 B=1",
        "function x86-64-v2 B=13", "function x86-64-v2 B=13 special",
        "bounds x86-64-v2 B=24",   "bounds x86-64-v2 B=13 special",
        "repeatable x86-64-v2",    "threads x86-64-v2",
        "resizing x86-64-v2",      "function interpreter B=1",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!has_check(&report, names[i]))
            TEST_FAILED("no check '%s'", names[i]);
    assert_int_equal(report.count, 6 * 2 + 3 + 1); /* four sizes, one with specials, two random
                                                      ones; the interpreter once */
    verify(f, &package, "B=77", &report);
    assert_true(has_check(&report, "function x86-64-v2 B=77"));
    assert_false(has_check(&report, "resizing x86-64-v2")); /* there is but one size */
    assert_int_equal(report.count, 2 * 2 + 2 + 1);
}

static void interpreter_only(void **state)
{
    struct fixture *f = *state;
    struct verify_report report;
    struct strbuf package = write_package(f, NULL);
    verify(f, &package, "B=5", &report);
    assert_true(report.pass);
    assert_true(has_check(&report, "function interpreter B=5"));
}

static void what_cannot_be_checked(void **state)
{
    struct fixture *f = *state;
    struct verify_report report;
    struct verify_options options = {.allow_unsigned = false};
    struct strbuf package = write_package(f, NULL);
    assert_false(
        verify_package(package.data, package.size_bytes, &options, &f->arena, &report, &f->err));
    assert_int_equal(f->err.code, ERR_SIGNATURE);
    options.allow_unsigned = true;
    options.dims = "B=101";
    assert_false(
        verify_package(package.data, package.size_bytes, &options, &f->arena, &report, &f->err));
    assert_int_equal(f->err.code, ERR_USAGE);
    assert_false(verify_package(package.data, package.size_bytes - 1, &options, &f->arena, &report,
                                &f->err));
    assert_int_equal(f->err.code, ERR_PACKAGE);
}

static void prints_evidence(void **state)
{
    struct fixture *f = *state;
    struct verify_check rows[] = {
        {"function v4 B=8", true, 0.25, 1, ""},
        {"bounds v4", false, HUGE_VAL, 0, "a \"quoted\" \xc3\xa4"},
        {"cut", false, 1, 0, "half a letter \xc3"},
    };
    struct verify_report report = {rows, 3, false};
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    verify_print(&report, &out);
    assert_string_equal(
        out.data,
        "{\"checks\":["
        "{\"bound\":1,\"detail\":\"\",\"figure\":0.25,\"name\":\"function v4 B=8\",\"pass\":true},"
        "{\"bound\":0,\"detail\":\"a \\\"quoted\\\" \xc3\xa4\",\"figure\":null,"
        "\"name\":\"bounds v4\",\"pass\":false},"
        "{\"bound\":0,\"detail\":\"half a letter ?\",\"figure\":1,\"name\":\"cut\","
        "\"pass\":false}],\"format\":\"urza.evidence/1\",\"pass\":false}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kernels_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_and_checks, setup, teardown),
        cmocka_unit_test_setup_teardown(interpreter_only, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(prints_evidence, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
