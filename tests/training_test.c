/* Training steps through the whole compiler and the runtime: gradients are what the float64
 * interpreter gives, within its bounds, and have the same bits however they are computed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "support/trained.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* y = tanh(x wᵀ), n = k, z = x x. */
#define SMALL_TEXT(dtype)                                            \
    "graph \"small\"\n"                                              \
    "dim B 0..64 multiple 1 typical 8\n"                             \
    "%1 = input \"x\" : " dtype "[B, 6]\n"                           \
    "%2 = input \"k\" : i32[B]\n"                                    \
    "%3 = param \"w\" : " dtype "[5, 6]\n"                           \
    "%4 = contract %1, %3 {batch 0, contract 1} : " dtype "[B, 5]\n" \
    "%5 = tanh %4 : " dtype "[B, 5]\n"                               \
    "%6 = copy %2 : i32[B]\n"                                        \
    "%7 = mul %1, %1 : " dtype "[B, 6]\n"                            \
    "output \"y\" %5\noutput \"n\" %6\noutput \"z\" %7\n"

/* h = tanh(x[t] + h wᵀ), and its rows. */
static const char loop_text[] =
    "graph \"loop\"\n"
    "dim T 1..200 multiple 1 typical 9\n"
    "%1 = input \"x\" : f32[T, 8]\n"
    "%2 = input \"h0\" : f32[8]\n"
    "%3 = param \"w\" : f32[8, 8]\n"
    "%4 = state %2 {loop 1, index 0} : f32[8]\n"
    "%5 = iter {loop 1} : i64[]\n"
    "%6 = take %1, %5 {axis 0} : f32[8]\n"
    "%7 = contract %4, %3 {batch 0, contract 1} : f32[8]\n"
    "%8 = add %6, %7 : f32[8]\n"
    "%9 = tanh %8 : f32[8]\n"
    "%10 = copy %9 : f32[8]\n"
    "%11 = loop %4, %10, %10 {loop 1, index 0, states 1, dim [T]} : f32[8]\n"
    "%12 = loop %4, %10, %10 {loop 1, index 1, states 1, dim [T]} : f32[T, 8]\n"
    "output \"h\" %11\noutput \"hs\" %12\n";

struct example {
    const char *name;
    int64_t sizes[2][2]; /* of the named dims, in order */
};

/* The results of one step have these bits. */
static void must_repeat(struct trained *t, const urza_load_options *options, const void *bits,
                        size_t bytes, const char *how)
{
    urza_module *module = trained_load(t, options);
    size_t size;
    trained_step(t, module, 0);
    const void *again = trained_copy(t, &size);
    assert_int_equal(size, bytes);
    if (memcmp(bits, again, bytes) != 0)
        TEST_FAILED("%s: other bits", how);
    urza_unload(module);
}

/* Through several softmaxes bounds do not pass: whether an element is the maximum is not determined
 * within them. Then the norm of the differences is compared with that of the results, of all such
 * outputs together, since some gradients cancel to zero: hundreds of roundings of 2^-24, some of
 * them one after the other, stay below 2^-16. */
static void judge_roughly(const struct trained *t, const bool *open)
{
    double all = 0, off = 0;
    for (uint32_t output = 0; output < t->sample.output_count; output++) {
        const struct interp_tensor *expected = &t->sample.expected[output];
        const float *found = t->results[output];
        assert_true(!open[output] || expected->dtype == DTYPE_F32);
        for (int64_t i = 0; open[output] && i < expected->count; i++) {
            double difference = expected->cells[i].f - (double)found[i];
            all += expected->cells[i].f * expected->cells[i].f;
            off += difference * difference;
        }
    }
    if (!(sqrt(off) <= ldexp(sqrt(all), -16)))
        TEST_FAILED("gradients are off by %g of %g", sqrt(off), sqrt(all));
}

/* One size: within bounds natively and in the interpreter, and the same bits on threads, in chunks
 * and again. */
static void check_size(struct trained *t, const int64_t *dims)
{
    static const enum fill fills[] = {FILL_NORMAL, FILL_EXACT};
    bool open[LIMIT_OPERANDS];
    assert_true(t->step->outputs.count <= LIMIT_OPERANDS);
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        trained_size(t, dims, 7 + i, fills[i]);
        urza_module *module = trained_load(t, NULL);
        trained_step(t, module, 0);
        void *bits = trained_copy(t, &bytes);
        trained_judge(t, open);
        judge_roughly(t, open);
        trained_step(t, module, 0); /* with the memory of the first step */
        assert_memory_equal(trained_copy(t, &bytes), bits, bytes);
        assert_int_equal(urza_has_backward(module), 1);
        urza_unload(module);
        must_repeat(t, &(urza_load_options){.threads = 2}, bits, bytes, "2 threads");
        must_repeat(t, &(urza_load_options){.threads = 2, .chunks = 3}, bits, bytes, "3 chunks");
        must_repeat(t, &(urza_load_options){.chunks = 16}, bits, bytes, "16 chunks");
        module = trained_load(t, &(urza_load_options){.target = "interpreter"});
        trained_step(t, module, 0);
        trained_judge(t, NULL);
        urza_unload(module);
    }
}

static void gradients_of_examples(void **state)
{
    const struct example *example = *state;
    struct trained t;
    char path[128];
    snprintf(path, sizeof path, "examples/%s.json", example->name);
    trained_compile_file(&t, path);
    for (size_t i = 0; i < 2; i++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {example->sizes[i][0], example->sizes[i][1]};
        check_size(&t, dims);
    }
    trained_release(&t);
}

static void gradients_of_loops(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 20};
    struct trained t;
    trained_compile_text(&t, loop_text, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_size(&t, &sizes[i]);
    trained_release(&t);
}

static void gradients_of_dtypes(void **state)
{
    (void)state;
    static const char *const texts[] = {SMALL_TEXT("f32"), SMALL_TEXT("f16"), SMALL_TEXT("bf16"),
                                        SMALL_TEXT("f64")};
    static const int64_t sizes[] = {0, 1, 9, 64};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct trained t;
        trained_compile_text(&t, texts[i], NULL);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            check_size(&t, &sizes[k]);
        trained_release(&t);
    }
}

/* A dim that an element of an input tells; one value that is two outputs; an output that is an
 * input; sources that nothing hangs on; scalars. */
static const char told_text[] = "graph \"told\"\n"
                                "dim B 1..8 multiple 1\ndim K 1..8 multiple 1\n"
                                "%1 = input \"k\" : i64[2]\n"
                                "%2 = input \"x\" : f32[B]\n"
                                "%3 = input \"unused\" : f32[3]\n"
                                "%4 = broadcast %2 {axes [1]} : f32[K, B]\n"
                                "%5 = tanh %4 : f32[K, B]\n"
                                "element \"k\" 1 size 0 tells K\n"
                                "output \"y\" %5\n";
static const char shared_text[] = "graph \"shared\"\n"
                                  "%1 = input \"x\" : f32[5]\n"
                                  "%2 = param \"s\" : f32[]\n"
                                  "%3 = broadcast %2 {axes []} : f32[5]\n"
                                  "%4 = mul %1, %3 : f32[5]\n"
                                  "%5 = mul %2, %2 : f32[]\n"
                                  "output \"a\" %4\noutput \"b\" %4\noutput \"c\" %5\n"
                                  "output \"d\" %1\n";

static void gradients_of_odd_graphs(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wrt;
        int64_t dims[LIMIT_NAMED_DIMS];
    } rows[] = {
        {told_text, NULL, {1, 1}}, {told_text, "x", {5, 8}}, {told_text, "unused,x", {8, 3}},
        {shared_text, NULL, {0}},  {shared_text, "s", {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct trained t;
        trained_compile_text(&t, rows[i].text, rows[i].wrt);
        check_size(&t, rows[i].dims);
        trained_release(&t);
    }
}

int main(void)
{
    static struct example examples[] = {
        {"mlp", {{1}, {13}}},
        {"resnet_bottleneck", {{1}, {2}}},
        {"mobilenet_inverted_residual", {{1}, {2}}},
        {"transformer_block", {{1, 1}, {2, 13}}},
        {"gated_mlp_rmsnorm", {{1, 1}, {1, 5}}},
        {"attention_arch", {{1, 1}, {1, 17}}},
        {"conv_arch", {{1}, {2}}},
        {"custom_graph", {{1}, {7}}},
    };
    enum { EXAMPLES = sizeof examples / sizeof examples[0] };
    struct CMUnitTest of_examples[EXAMPLES];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_dtypes),
        cmocka_unit_test(gradients_of_loops),
        cmocka_unit_test(gradients_of_odd_graphs),
    };
    for (size_t i = 0; i < EXAMPLES; i++)
        of_examples[i] =
            (struct CMUnitTest){examples[i].name, gradients_of_examples, NULL, NULL, &examples[i]};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + cmocka_run_group_tests(of_examples, NULL, NULL);
}
