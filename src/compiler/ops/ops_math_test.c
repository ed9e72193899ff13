/* Products, rearrangement and reductions compared with direct loops; and every example, symbolic
 * compared with constant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "compiler/ops/ops_harness_priv.h"

#include <cmocka.h> /* last: it defines fail as a macro */

/* einsum by its definition: sums products over all values of all letters. terms: the letters of
 * each operand. */
static double einsum_at(const struct op_run *run, const char *const *terms, const char *result,
                        const int64_t *at)
{
    int64_t sizes[128] = {0}, value[128] = {0}, free_sizes[8], index[8] = {0};
    char free_letters[8];
    uint32_t free_count = 0;
    for (uint32_t o = 0; terms[o] != NULL; o++) {
        for (uint32_t d = 0; terms[o][d] != '\0'; d++) {
            sizes[(int)terms[o][d]] = run->in[o].shape[d];
        }
    }
    for (int c = 0; c < 128; c++) {
        const char *found = c == 0 ? NULL : strchr(result, c);
        if (found != NULL) {
            value[c] = at[found - result];
        } else if (sizes[c] > 0) {
            free_letters[free_count] = (char)c;
            free_sizes[free_count++] = sizes[c];
        }
    }
    double sum = 0;
    do {
        double product = 1;
        for (uint32_t i = 0; i < free_count; i++) {
            value[(int)free_letters[i]] = index[i];
        }
        for (uint32_t o = 0; terms[o] != NULL; o++) {
            int64_t place[LIMIT_RANK];
            for (uint32_t d = 0; terms[o][d] != '\0'; d++) {
                place[d] = value[(int)terms[o][d]];
            }
            product *= op_at_index(&run->in[o], place);
        }
        sum += product;
    } while (op_next_index(index, free_count, free_sizes));
    return sum;
}

static void test_einsum(void **state)
{
    (void)state;
    const struct {
        const char *text, *terms[4], *result;
    } cases[] = {
        {"x[3,4] x[4,5] equation=ij,jk->ik", {"ij", "jk"}, "ik"},
        {"x[3,4] x[4,5] equation=ij,jk", {"ij", "jk"}, "ik"},
        {"x[4,3] x[4,5] equation=ba,bc", {"ba", "bc"}, "ac"},
        {"x[2,3,4] x[2,5,4] equation=bmk,bnk->nbm", {"bmk", "bnk"}, "nbm"},
        {"x[3,4] equation=ij->ji", {"ij"}, "ji"},
        {"x[3,4] equation=ij->", {"ij"}, ""},
        {"x[4,4] equation=ii->i", {"ii"}, "i"},
        {"x[4,4] equation=ii", {"ii"}, ""},
        {"x[3,3,2,3] equation=iiji->j", {"iiji"}, "j"},
        {"x[3] x[4] equation=i,j->ji", {"i", "j"}, "ji"},
        {"x[3,4] x[3] equation=ij,i->i", {"ij", "i"}, "i"},
        {"x[3,4] x[5] equation=ij,k->i", {"ij", "k"}, "i"},
        {"x[2,3] x[3,4] x[4,5] equation=ab,bc,cd->da", {"ab", "bc", "cd"}, "da"},
        {"x[2,3] x[3] x[3,4] equation=ab,b,bc->ac", {"ab", "b", "bc"}, "ac"},
        {"x[2,3,4,5] x[5,6] equation=...k,kn->...n", {"pqrk", "kn"}, "pqrn"},
        {"x[2,3,4] x[3,5,4] equation=a...k,...nk->n...a", {"apk", "pnk"}, "npa"},
        {"x[2,3,4] equation=...k", {"pqk"}, "pqk"},
        {"x[2,3] x[2,3] equation=ij,ij->", {"ij", "ij"}, ""},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        op_run(&run, "einsum", cases[n].text);
        assert_int_equal(run.out[0].rank, strlen(cases[n].result));
        int64_t at[LIMIT_RANK] = {0};
        do {
            op_expect_near(cases[n].text, op_at_index(&run.out[0], at),
                           einsum_at(&run, cases[n].terms, cases[n].result, at));
        } while (op_next_index(at, run.out[0].rank, run.out[0].shape));
        op_run_release(&run);
    }
}

static void test_matmul(void **state)
{
    (void)state;
    const struct {
        const char *text, *terms[4], *result; /* without the dims of 1 */
    } cases[] = {
        {"x[3,4] y[4,5]", {"mk", "kn"}, "mn"},     {"x[4] y[4]", {"k", "k"}, ""},
        {"x[3,4] y[4]", {"mk", "k"}, "m"},         {"x[4] y[4,5]", {"k", "kn"}, "n"},
        {"x[4] y[2,4,5]", {"k", "bkn"}, "bn"},     {"x[2,3,4] y[4,5]", {"bmk", "kn"}, "bmn"},
        {"x[3,4] y[2,4,5]", {"mk", "bkn"}, "bmn"}, {"x[2,3,4] y[2,4,5]", {"bmk", "bkn"}, "bmn"},
        {"x[2,3,4] y[4]", {"bmk", "k"}, "bm"},
    };
    struct op_run run;
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        op_run(&run, "matmul", cases[n].text);
        assert_int_equal(run.out[0].rank, strlen(cases[n].result));
        int64_t at[LIMIT_RANK] = {0};
        do {
            op_expect_near(cases[n].text, op_at_index(&run.out[0], at),
                           einsum_at(&run, cases[n].terms, cases[n].result, at));
        } while (op_next_index(at, run.out[0].rank, run.out[0].shape));
        op_run_release(&run);
    }
    op_run(&run, "matmul", "x[2,1,3,4] y[5,4,2]");
    op_expect_shape(&run.out[0], 4, (int64_t[]){2, 5, 3, 2});
    double sum = 0;
    for (int64_t k = 0; k < 4; k++) {
        sum += GET(run.in[0], 1, 0, 2, k) * GET(run.in[1], 3, k, 1);
    }
    op_expect_near("broadcast", GET(run.out[0], 1, 3, 2, 1), sum);
    op_run_release(&run);
    op_run(&run, "addmm", "c[3,1] x[3,4] y[4,5] beta=0.5 alpha=2");
    sum = 0.5 * GET(run.in[0], 2, 0);
    for (int64_t k = 0; k < 4; k++) {
        sum += 2 * GET(run.in[1], 2, k) * GET(run.in[2], k, 3);
    }
    op_expect_near("addmm", GET(run.out[0], 2, 3), sum);
    op_run_release(&run);
}

/* The source of element i of a padded axis of n elements; -1: the constant. */
static int64_t pad_source(const char *mode, int64_t i, int64_t low, int64_t n)
{
    int64_t at = i - low;
    if (at >= 0 && at < n) {
        return at;
    }
    switch (mode[0]) {
    case 'r': /* reflect or replicate */
        return mode[2] == 'f' ? (at < 0 ? -at : 2 * n - 2 - at) : (at < 0 ? 0 : n - 1);
    case 'c': return mode[1] == 'i' ? (at + n) % n : -1;
    }
    return -1;
}

static void test_pad(void **state)
{
    (void)state;
    const struct {
        const char *text, *mode;
        int64_t low[2], size[2];
    } cases[] = {
        {"x[3,4] pad=[1,2,2,0] value=7", "constant", {2, 1}, {5, 7}},
        {"x[3,4] pad=[3,2] mode=reflect", "reflect", {0, 3}, {3, 9}},
        {"x[3,4] pad=[3,2,5,1] mode=replicate", "replicate", {5, 3}, {9, 9}},
        {"x[3,4] pad=[4,2,1,1] mode=circular", "circular", {1, 4}, {5, 10}},
        {"x[3,4] pad=[-1,2] value=7", "constant", {0, -1}, {3, 5}},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        op_run(&run, "pad", cases[n].text);
        op_expect_shape(&run.out[0], 2, cases[n].size);
        int64_t i[2] = {0};
        do {
            int64_t row = pad_source(cases[n].mode, i[0], cases[n].low[0], 3);
            int64_t column = pad_source(cases[n].mode, i[1], cases[n].low[1], 4);
            op_expect_near(cases[n].text, op_at_index(&run.out[0], i),
                           row < 0 || column < 0 ? 7 : GET(run.in[0], row, column));
        } while (op_next_index(i, 2, run.out[0].shape));
        op_run_release(&run);
    }
}

static void test_slice(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t start, step, count;
    } cases[] = {
        {"x[9] start=2 end=7 step=2", 2, 2, 3},
        {"x[9] start=-3", 6, 1, 3},
        {"x[9] end=-7", 0, 1, 2},
        {"x[9] start=-99 end=99 step=4", 0, 4, 3},
        {"x[9] start=5 end=5", 0, 1, 0},
        {"x[9] start=7 end=2", 0, 1, 0},
        {"x[9] start=99", 0, 1, 0},
        {"x[9] start=1 end=8 step=100", 1, 100, 1},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        op_run(&run, "slice", cases[n].text);
        op_expect_shape(&run.out[0], 1, &cases[n].count);
        for (int64_t i = 0; i < cases[n].count; i++) {
            op_expect_near(cases[n].text, GET(run.out[0], i),
                           GET(run.in[0], cases[n].start + i * cases[n].step));
        }
        op_run_release(&run);
    }
}

static void test_rearrange(void **state)
{
    (void)state;
    struct op_run run;
    op_run(&run, "pixel_shuffle", "x[2,12,3,4] upscale_factor=2");
    op_expect_shape(&run.out[0], 4, (int64_t[]){2, 3, 6, 8});
    int64_t i[4] = {0};
    do {
        int64_t channel = i[1] * 4 + i[2] % 2 * 2 + i[3] % 2;
        op_expect_near("pixel_shuffle", op_at_index(&run.out[0], i),
                       GET(run.in[0], i[0], channel, i[2] / 2, i[3] / 2));
    } while (op_next_index(i, 4, run.out[0].shape));
    op_run_release(&run);
    op_run(&run, "pixel_unshuffle", "x[2,6,8] downscale_factor=2");
    op_expect_shape(&run.out[0], 3, (int64_t[]){8, 3, 4});
    op_expect_near("pixel_unshuffle", GET(run.out[0], 6, 1, 2), GET(run.in[0], 1, 3, 4));
    op_run_release(&run);
    op_run(&run, "repeat", "x[2,3] repeats=[2,1,3]");
    op_expect_shape(&run.out[0], 3, (int64_t[]){2, 2, 9});
    op_expect_near("repeat", GET(run.out[0], 1, 1, 7), GET(run.in[0], 1, 1));
    op_run_release(&run);
    op_run(&run, "repeat_interleave", "x[2,3] repeats=3 dim=1");
    op_expect_near("repeat_interleave", GET(run.out[0], 1, 7), GET(run.in[0], 1, 2));
    op_run_release(&run);
    op_run(&run, "chunk", "x[7,2] chunks=3");
    assert_int_equal(run.example.out_count, 3);
    op_expect_shape(&run.out[2], 2, (int64_t[]){1, 2});
    op_expect_near("chunk", GET(run.out[1], 2, 1), GET(run.in[0], 5, 1));
    op_run_release(&run);
    op_run(&run, "stack", "x[2,3] x[2,3] dim=-1");
    op_expect_shape(&run.out[0], 3, (int64_t[]){2, 3, 2});
    op_expect_near("stack", GET(run.out[0], 1, 2, 1), GET(run.in[1], 1, 2));
    op_run_release(&run);
    op_run(&run, "tril", "x[4,5] diagonal=-1");
    for (int64_t at = 0; at < 20; at++) {
        op_expect_near("tril", op_at_flat(&run.out[0], at),
                       at % 5 <= at / 5 - 1 ? op_at_flat(&run.in[0], at) : 0);
    }
    op_run_release(&run);
    op_run(&run, "scatter", "x[3,4] index:i64<3>[5,4] src[5,4] dim=0 reduce=add");
    double sum = GET(run.in[0], 1, 2);
    for (int64_t row = 0; row < 5; row++) {
        sum += GET(run.in[1], row, 2) == 1 ? GET(run.in[2], row, 2) : 0;
    }
    op_expect_near("scatter", GET(run.out[0], 1, 2), sum);
    op_run_release(&run);
    op_run(&run, "one_hot", "x:i64<5>[4] num_classes=5");
    for (int64_t at = 0; at < 20; at++) {
        op_expect_near("one_hot", op_at_flat(&run.out[0], at),
                       GET(run.in[0], at / 5) == (double)(at % 5));
    }
    op_run_release(&run);
}

static void test_reductions(void **state)
{
    (void)state;
    const char *texts[] = {"x[4,6] dim=1", "x[4,6] dim=1 correction=0",
                           "x[4,6] dim=-1 correction=2.5"};
    const double corrections[] = {1, 0, 2.5};
    for (size_t n = 0; n < 3; n++) {
        struct op_run run;
        op_run(&run, "std", texts[n]);
        for (int64_t row = 0; row < 4; row++) {
            double mean = 0, square = 0;
            for (int64_t i = 0; i < 6; i++) {
                mean += GET(run.in[0], row, i) / 6;
            }
            for (int64_t i = 0; i < 6; i++) {
                square += pow(GET(run.in[0], row, i) - mean, 2);
            }
            op_expect_near("std", GET(run.out[0], row), sqrt(square / (6 - corrections[n])));
        }
        op_run_release(&run);
    }
    struct op_run run;
    op_run(&run, "logsumexp", "x<-1000,1000>[3,4] dim=1 keepdim=true");
    op_expect_shape(&run.out[0], 2, (int64_t[]){3, 1});
    for (int64_t row = 0; row < 3; row++) {
        double max = -INFINITY, sum = 0;
        for (int64_t i = 0; i < 4; i++) {
            max = fmax(max, GET(run.in[0], row, i));
        }
        for (int64_t i = 0; i < 4; i++) {
            sum += exp(GET(run.in[0], row, i) - max);
        }
        op_expect_near("logsumexp", GET(run.out[0], row, 0), max + log(sum));
    }
    op_run_release(&run);
    op_run(&run, "argmax", "x[3,4] keepdim=true");
    op_expect_shape(&run.out[0], 2, (int64_t[]){1, 1});
    int64_t best = (int64_t)op_at_flat(&run.out[0], 0);
    for (int64_t i = 0; i < 12; i++) {
        assert_true(op_at_flat(&run.in[0], i) <= op_at_flat(&run.in[0], best));
    }
    op_run_release(&run);
    op_run(&run, "topk", "x[6,2] k=3 dim=0 largest=false");
    for (int64_t i = 0; i < 3; i++) {
        int64_t less = 0;
        for (int64_t k = 0; k < 6; k++) {
            less += GET(run.in[0], k, 1) < GET(run.out[0], i, 1);
        }
        assert_int_equal(less, i);
        op_expect_near("topk", GET(run.out[0], i, 1),
                       GET(run.in[0], (int64_t)GET(run.out[1], i, 1), 1));
    }
    op_run_release(&run);
}

static void test_integer_division(void **state)
{
    (void)state;
    const char *texts[] = {"x:i32[100] y:i32<-9,-1>[100] rounding_mode=floor",
                           "x:i32[100] y:i32<1,9>[100] rounding_mode=floor",
                           "x:i32[100] y:i32<-9,-1>[100] rounding_mode=trunc",
                           "x:i32[100] y:i32<1,9>[100]"};
    for (size_t n = 0; n < 4; n++) {
        struct op_run run;
        op_run(&run, "div", texts[n]);
        for (int64_t i = 0; i < 100; i++) {
            double q = GET(run.in[0], i) / GET(run.in[1], i);
            op_expect_near(texts[n], GET(run.out[0], i), n < 2 ? floor(q) : n == 2 ? trunc(q) : q);
        }
        op_run_release(&run);
    }
}

/* One example gives the same elements, and no NaN, built with constants and with named dims. */
static void check_symbolic(const struct op_row *row, uint32_t index, uint64_t seed)
{
    struct arena arena;
    struct interp_tensor out[2][OP_MAX_OUTPUTS];
    struct op_example example = {0};
    struct error err = {0};
    arena_init(&arena);
    for (int symbolic = 0; symbolic < 2; symbolic++) {
        struct graph graph;
        struct interp_tensor in[LIMIT_OPERANDS];
        graph_init(&graph, &arena);
        bool ok = op_example_build(
            row, &(struct op_example_request){index, seed, 6, DTYPE_F64, symbolic != 0}, &graph,
            &example, &err);
        for (uint32_t i = 0; ok && i < example.operand_count; i++) {
            const struct op_example_operand *operand = &example.operands[i];
            void *data = arena_array(&arena, (size_t)operand->count, 8);
            op_example_fill(operand, seed + i, data);
            const struct native_tensor native = {operand->dtype, operand->rank, operand->shape,
                                                 data};
            ok = interp_load(&in[i], &arena, &native, &err);
        }
        ok = ok &&
             interp_run(&graph, &(struct interp_options){.mode = INTERP_REFERENCE},
                        &(struct interp_arguments){example.dim_values, in, example.operand_count},
                        &arena, out[symbolic], &err);
        if (!ok) {
            fail_msg("%s, example %u: %s: %s", row->name, index, err.place, err.message);
        }
    }
    for (uint32_t o = 0; o < example.out_count; o++) {
        op_expect_shape(&out[1][o], out[0][o].rank, out[0][o].shape);
        for (int64_t i = 0; i < out[0][o].count; i++) {
            op_expect_near(row->name, op_at_flat(&out[1][o], i), op_at_flat(&out[0][o], i));
            if (isnan(op_at_flat(&out[0][o], i))) {
                fail_msg("%s, example %u: NaN", row->name, index);
            }
        }
    }
    arena_release(&arena);
}

static void test_symbolic_results(void **state)
{
    (void)state;
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t index = 0; index < op_example_count(row); index++) {
            for (uint64_t seed = 1; seed < 4; seed++) {
                check_symbolic(row, index, seed);
            }
        }
    }
}

struct rounded {
    struct op_example example;
    struct interp_tensor out[OP_MAX_OUTPUTS];
};

/* Runs one example in a narrow dtype or in f64, on the same elements, which the narrow dtype can
 * represent.
 */
static void run_rounded(const struct op_row *row, uint32_t index, enum dtype narrow, bool wide,
                        struct arena *arena, struct rounded *rounded)
{
    struct op_example *example = &rounded->example;
    struct graph graph;
    struct interp_tensor in[LIMIT_OPERANDS];
    struct error err = {0};
    graph_init(&graph, arena);
    bool ok = op_example_build(
        row, &(struct op_example_request){index, 5, 8, wide ? DTYPE_F64 : narrow, false}, &graph,
        example, &err);
    for (uint32_t i = 0; ok && i < example->operand_count; i++) {
        const struct op_example_operand *operand = &example->operands[i];
        void *data = arena_array(arena, (size_t)operand->count, 8);
        op_example_fill(operand, i, data);
        double *elements = data;
        for (int64_t k = 0; operand->dtype == DTYPE_F64 && k < operand->count; k++) {
            elements[k] = dtype_round(narrow, elements[k]);
        }
        const struct native_tensor native = {operand->dtype, operand->rank, operand->shape, data};
        ok = interp_load(&in[i], arena, &native, &err);
    }
    const struct interp_arguments arguments = {example->dim_values, in, example->operand_count};
    ok = ok && interp_run(&graph,
                          &(struct interp_options){.mode = wide ? INTERP_REFERENCE : INTERP_NATIVE},
                          &arguments, arena, rounded->out, &err);
    if (!ok) {
        fail_msg("%s, example %u: %s: %s", row->name, index, err.place, err.message);
    }
}

/* An op on f16 or bf16 has the error of rounding its result and little more: 4 units of the element
 * plus a tenth of the largest element. Multi-head attention is three ops, each rounded, over sums
 * with cancellation. */
static void check_narrow(const struct op_row *row, uint32_t index, enum dtype narrow)
{
    struct arena arena;
    struct rounded wide, rounded;
    double units = strcmp(row->name, "multi_head_attention") == 0 ? 64 : 4;
    arena_init(&arena);
    run_rounded(row, index, narrow, true, &arena, &wide);
    run_rounded(row, index, narrow, false, &arena, &rounded);
    for (uint32_t o = 0; o < rounded.example.out_count; o++) {
        double largest = 0;
        for (int64_t i = 0; dtype_is_float(rounded.out[o].dtype) && i < wide.out[o].count; i++) {
            largest = fmax(largest, fabs(op_at_flat(&wide.out[o], i)));
        }
        for (int64_t i = 0; dtype_is_float(rounded.out[o].dtype) && i < wide.out[o].count; i++) {
            double expected = op_at_flat(&wide.out[o], i);
            double found = op_at_flat(&rounded.out[o], i);
            double bound = units * dtype_unit_roundoff(narrow) * (fabs(expected) + largest / 10);
            if (!(fabs(found - expected) <= bound)) {
                fail_msg("%s, example %u, %s: %.9g, expected %.9g within %.3g", row->name, index,
                         dtype_name(narrow), found, expected, bound);
            }
        }
    }
    arena_release(&arena);
}

static void test_narrow_results(void **state)
{
    (void)state;
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t index = 0; index < op_example_count(row); index++) {
            check_narrow(row, index, DTYPE_F16);
            check_narrow(row, index, DTYPE_BF16);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_einsum),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_pad),
        cmocka_unit_test(test_slice),
        cmocka_unit_test(test_rearrange),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_integer_division),
        cmocka_unit_test(test_symbolic_results),
        cmocka_unit_test(test_narrow_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
