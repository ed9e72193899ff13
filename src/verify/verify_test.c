/* Packages with handwritten machine code: a correct one, and one for every kind of fault. */
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

/* The same, with a typical size that costs too much to be judged whole. */
static const char long_text[] = "graph \"twice\"\n"
                                "dim B 1..1000000 multiple 1 typical 900000\n"
                                "%1 = input \"x\" : f32[B, 3]\n"
                                "%2 = add %1, %1 : f32[B, 3]\n"
                                "output \"y\" %2\n";

static const char plan_text[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\",\"value\":2}],"
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
/* as TWICE, with 3x instead of 2x */
#define THRICE                                                                                     \
    "\xeb\x16\xf3\x0f\x10\x04\x8e\xf3\x0f\x58\xc0\xf3\x0f\x58\x04\x8e\xf3\x0f\x11\x04\x8f\x48\xff" \
    "\xc1\x4c\x39\xc1\x7c\xe5\xc3"

/* as TWICE, but 0 where 17 <= |x| <= 63 */
#define GAP                                                                                    \
    "\xeb\x28\x8b\x04\x8e\x25\xff\xff\xff\x7f\xf3\x0f\x10\x04\x8e\xf3\x0f\x58\xc0\x2d\x00\x00" \
    "\x88\x41\x3d\x00\x00\xf4\x00\x77\x03\x0f\x57\xc0\xf3\x0f\x11\x04\x8f\x48\xff\xc1\x4c\x39" \
    "\xc1\x7c\xd3\xc3"

#define CODE(text) (const uint8_t *)(text), sizeof(text) - 1

static const struct kernel {
    const char *name;
    const uint8_t *code;
    size_t bytes;
    const char *detail; /* of the failure; NULL: it must pass */
} kernels[] = {
    {"right", CODE(HEAD TWICE), NULL},
    {"wrong values", CODE(HEAD THRICE), "is off by"},
    {"wrong between 17 and 63", CODE(HEAD GAP), "is off by"},
    {"writes past the end", /* inc r8 */ CODE(HEAD "\x49\xff\xc0" TWICE), "SIGSEGV"},
    {"writes before the start", /* mov byte [rdi-1], 0 */ CODE(HEAD "\xc6\x47\xff\x00" TWICE),
     "a byte was written -1 bytes"},
    {"reads past the end", /* mov eax, [rsi+r8*4] */ CODE(HEAD "\x42\x8b\x04\x86" TWICE),
     "SIGSEGV"},
    {"writes its input", /* mov eax, [rsi]; mov [rsi], eax */
     CODE(HEAD "\x8b\x06\x89\x06" TWICE), "SIGSEGV"},
    {"dies", /* ud2 */ CODE("\x0f\x0b"), "SIGILL"},
    {"traps", /* int3 */ CODE("\xcc"), "SIGTRAP"},
    {"tells the time", /* rdtsc; and eax, 0x3fffffff; or eax, 1 */
     CODE(HEAD "\x0f\x31\x25\xff\xff\xff\x3f\x83\xc8\x01" STORE), "in chunks"},
    {"knows its share", /* mov rax, rcx */ CODE(HEAD "\x48\x89\xc8" STORE), "in chunks"},
    {"writes nothing", CODE("\xc3"), "is not written"},
    {"does the first chunk only", /* test rcx, rcx; jz +1; ret */
     CODE("\x48\x85\xc9\x74\x01\xc3" HEAD TWICE), "is not written"},
    {"does nothing from 24 on", /* cmp qword [rsi], 24; jl +1; ret */
     CODE("\x48\x83\x3e\x18\x7c\x01\xc3" HEAD TWICE), "is not written"},
};

/* Zeros from B = 700000 on: cmp qword [rsi], 700000; jl +23; xor eax, eax */
static const struct kernel wrong_when_large = {
    "zeros from 700000 on",
    CODE("\x48\x81\x3e\x60\xae\x0a\x00\x7c\x17" HEAD "\x31\xc0" STORE HEAD TWICE), "is off by"};

struct fixture {
    const char *text;
    struct arena arena;
    struct error err;
    struct package_contents contents;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.text = graph_text,
                         .contents = {.name = "twice",
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

/* A package with one kernel, whose plan says that it is expensive if `dear`; kernel NULL: without
 * kernels. */
static struct strbuf write_package(struct fixture *f, const struct kernel *kernel, bool dear)
{
    static const uint32_t offset = 0;
    static const char *const name = "twice", *const config = "";
    char id[KERNEL_ID_BYTES];
    struct strbuf out;
    if (kernel) {
        f->contents.target_count = 1;
        f->contents.targets[0] = (struct package_target){.name = "x86-64-v2",
                                                         .optimised = f->text,
                                                         .optimised_bytes = strlen(f->text),
                                                         .code = kernel->code,
                                                         .code_bytes = kernel->bytes,
                                                         .kernel_count = 1,
                                                         .kernel_offsets = &offset,
                                                         .kernel_names = &name,
                                                         .kernel_configs = &config};
        struct strbuf plan;
        const char *zeros = strstr(plan_text, "000*B");
        strbuf_init(&plan, &f->arena);
        strbuf_printf(&plan, "%.*s%s%s", (int)(zeros - plan_text), plan_text, dear ? "000000" : "",
                      zeros);
        must(plan_parse(&f->contents.targets[0].plan, &f->arena, &f->contents.graph.dims, plan.data,
                        plan.size_bytes, &f->err),
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

static void kernels_are_judged(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        const struct kernel *kernel = &kernels[i];
        struct verify_report report;
        struct strbuf package = write_package(f, kernel, false);
        verify(f, &package, NULL, &report);
        const struct verify_check *first = NULL;
        for (uint32_t c = 0; c < report.count && !first; c++)
            if (!report.checks[c].pass)
                first = &report.checks[c];
        assert_int_equal(report.pass, !first);
        if (!first && kernel->detail)
            TEST_FAILED("'%s' passes", kernel->name);
        if (first && (!kernel->detail || !strstr(first->detail, kernel->detail)))
            TEST_FAILED("'%s': %s: %s", kernel->name, first->name, first->detail);
        if (first)
            assert_string_equal(first->name, "kernels x86-64-v2");
    }
}

/* Of launches that would take too long, a share of the iterations is judged. */
static void shares_are_judged(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        struct verify_report report;
        if (kernels[i].detail && strcmp(kernels[i].name, "wrong values") != 0 &&
            strcmp(kernels[i].name, "writes nothing") != 0)
            continue;
        struct strbuf package = write_package(f, &kernels[i], true);
        verify(f, &package, "B=100", &report);
        assert_int_equal(report.pass, !kernels[i].detail);
        assert_non_null(strstr(report.checks[0].detail,
                               kernels[i].detail ? kernels[i].detail : "a share of each"));
        assert_true(!report.pass || report.kernels[0].checked < report.kernels[0].elements);
    }
}

/* At sizes that cost too much to compare whole, drawn elements are compared. */
static void large_sizes_are_compared(void **state)
{
    struct fixture *f = *state;
    f->text = long_text;
    must(graph_parse(&f->contents.graph, &f->arena, f->text, strlen(f->text), &f->err), &f->err);
    for (int right = 0; right < 2; right++) {
        struct verify_report report;
        struct strbuf package = write_package(f, right ? &kernels[0] : &wrong_when_large, false);
        verify(f, &package, NULL, &report);
        if (!right)
            assert_non_null(strstr(report.checks[0].detail, "kernels at B=900000"));
        assert_int_equal(report.pass, right);
        for (uint32_t i = 0; right && i < report.size_count; i++)
            if (strcmp(report.sizes[i].dims, "B=900000") == 0)
                assert_in_range(report.sizes[i].checked, 16, 1000);
        assert_true(!right || report.size_count > 4);
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
    struct strbuf package = write_package(f, &kernels[0], false);
    verify(f, &package, NULL, &report);
    static const char *const names[] = {
        "kernels x86-64-v2", "runtime x86-64-v2", "threads x86-64-v2", "bounds x86-64-v2",
        "passes x86-64-v2",  "quality x86-64-v2", "interpreter",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!has_check(&report, names[i]))
            TEST_FAILED("no check '%s'", names[i]);
    assert_int_equal(report.count, sizeof names / sizeof names[0]);
    assert_int_equal(report.kernel_count, 1);
    assert_int_equal(report.output_count, 1);
    assert_true(report.kernels[0].samples >= 4);
    assert_true(report.outputs[0].not_checked == 0 && report.outputs[0].quality == 0);
}

static void interpreter_only(void **state)
{
    struct fixture *f = *state;
    struct verify_report report;
    struct strbuf package = write_package(f, NULL, false);
    verify(f, &package, "B=5", &report);
    assert_true(report.pass);
    assert_true(has_check(&report, "interpreter"));
}

static void what_cannot_be_checked(void **state)
{
    struct fixture *f = *state;
    struct verify_report report;
    struct verify_options options = {.allow_unsigned = false};
    struct strbuf package = write_package(f, NULL, false);
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
        {"kernels v4", true, 0.25, 1, ""},
        {"bounds v4", false, HUGE_VAL, 0, "a \"quoted\" \xc3\xa4"},
        {"cut", false, 1, 0, "half a letter \xc3"},
    };
    struct verify_kernel kernel = {"v4", "add", 3, 0.25, 0, 24, 24};
    struct verify_output output = {"y", "v4", 0, 1.5};
    struct verify_size size = {"v4", "B=4", "typical", 100, 25, false};
    struct verify_report report = {rows, &kernel, &output, 3, 1, 1, false, &size, 1};
    struct strbuf out, table;
    strbuf_init(&out, &f->arena);
    strbuf_init(&table, &f->arena);
    verify_print(&report, &out);
    assert_string_equal(
        out.data,
        "{\"checks\":["
        "{\"bound\":1,\"detail\":\"\",\"figure\":0.25,\"name\":\"kernels v4\",\"pass\":true},"
        "{\"bound\":0,\"detail\":\"a \\\"quoted\\\" \xc3\xa4\",\"figure\":null,"
        "\"name\":\"bounds v4\",\"pass\":false},"
        "{\"bound\":0,\"detail\":\"half a letter ?\",\"figure\":1,\"name\":\"cut\","
        "\"pass\":false}],\"format\":\"urza.evidence/2\",\"kernels\":["
        "{\"checked\":24,\"elements\":24,\"label\":\"add\",\"not_checked\":0,\"ratio\":0.25,"
        "\"samples\":3,\"target\":\"v4\"}],\"outputs\":["
        "{\"name\":\"y\",\"not_checked\":0,\"quality\":1.5,\"target\":\"v4\"}],\"pass\":false,"
        "\"sizes\":[{\"checked\":25,\"dims\":\"B=4\",\"elements\":100,\"runtime\":false,"
        "\"target\":\"v4\",\"why\":\"typical\"}]}");
    assert_true(evidence_describe(out.data, out.size_bytes, true, &table));
    assert_non_null(strstr(table.data, "FAIL  bounds v4"));
    assert_non_null(strstr(table.data, "error 1.5 times a plain loop's"));
    assert_non_null(strstr(table.data, "v4 in part: B=4 25 % compared, not called"));
    assert_false(evidence_describe("{}", 2, true, &table));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kernels_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(shares_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(large_sizes_are_compared, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_and_checks, setup, teardown),
        cmocka_unit_test_setup_teardown(interpreter_only, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(prints_evidence, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
