/* Domain ai.onnx.ml: support vector machines. Computed in f64: their sums are small differences of
 * large terms, and the sign of a sum decides. */
#include "compiler/import/onnx/onnx_ml_svm_priv.h"

#include <math.h>

#define MAX_DEGREE 16 /* largest degree computed by multiplication */

struct svm {
    int64_t vectors, features;
    struct ml_reals support, coefficients, rho;
};

/* (gamma · s + coef0) ^ degree; integer degrees by multiplication. */
static value_id power(struct builder *b, value_id x, double degree)
{
    if (!(degree >= 1 && degree <= MAX_DEGREE && degree == floor(degree)))
        return b_binary(b, PRIM_POW, x, b_const_like(b, x, degree));
    value_id y = VALUE_NONE;
    for (uint32_t bits = (uint32_t)degree; bits > 0; bits >>= 1) {
        if (bits & 1)
            y = y == VALUE_NONE ? x : b_mul(b, y, x);
        if (bits > 1)
            x = b_mul(b, x, x);
    }
    return y;
}

/* Σ (x - v)², computed from differences: x² - 2xv + v² would cancel. */
static value_id distances(struct builder *b, value_id x, value_id vectors)
{
    int64_t last = -1;
    value_id gap = b_sub(b, b_unsqueeze(b, x, 1), b_unsqueeze(b, vectors, 0));
    return b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, gap, gap), &last, 1, false);
}

/* The kernel function of each row and each support vector: [N, vectors]. */
static value_id kernels(struct onnx_call *c, const struct svm *s, value_id x)
{
    static const char *const words[] = {"LINEAR", "POLY", "RBF", "SIGMOID", NULL};
    struct builder *b = c->b;
    struct ml_reals params = ml_reals(c, "kernel_params");
    uint32_t kind = ml_word(c, "kernel_type", words, 0);
    int64_t shape[2] = {s->vectors, s->features};
    double gamma = 0, coef0 = 0, degree = 0;
    if (params.count != 0 && params.count != 3)
        return b_fail(b, ERR_BLUEPRINT,
                      "attribute 'kernel_params' has %u elements, expected gamma, "
                      "coef0 and degree",
                      params.count);
    if (params.count == 3) {
        gamma = params.at[0];
        coef0 = params.at[1];
        degree = params.at[2];
    }
    value_id vectors = ml_constant(c, "support_vectors", DTYPE_F64, s->support.at, shape, 2);
    if (kind == 2)
        return b_exp(b, b_scale(b, distances(b, x, vectors), -gamma));
    value_id y = b_contract(b, x, vectors, 0, 1);
    if (kind == 0)
        return y;
    y = b_shift(b, b_scale(b, y, gamma), coef0);
    return kind == 1 ? power(b, y, degree) : b_unary(b, PRIM_TANH, y);
}

static bool read_common(struct onnx_call *c, struct svm *s)
{
    s->support = ml_reals(c, "support_vectors");
    s->coefficients = ml_reals(c, "coefficients");
    s->rho = ml_reals(c, "rho");
    if (onnx_failed(c))
        return false;
    if (s->coefficients.count == 0 || s->rho.count == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' has no elements",
                      s->rho.count == 0 ? "rho" : "coefficients");
    if (s->vectors > 0 && s->support.count % s->vectors == 0)
        s->features = s->support.count / s->vectors;
    if (s->vectors < 0 || (s->vectors > 0 && s->features == 0))
        return b_fail(c->b, ERR_BLUEPRINT,
                      "attribute 'support_vectors' has %u elements, which do "
                      "not divide into %lld vectors",
                      s->support.count, (long long)s->vectors);
    return true;
}

bool onnx_ml_svm_regressor(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct svm s = {.vectors = onnx_int(c, "n_supports", 0)};
    bool one_class = onnx_int(c, "one_class", 0) != 0;
    enum ml_transform transform = ml_transform_of(c);
    if (!read_common(c, &s))
        return false;
    if (s.vectors > 0 &&
        !ml_same_length(c, "coefficients", s.coefficients.count, "n_supports", (uint32_t)s.vectors))
        return false;
    if (one_class && transform != ML_NONE)
        return onnx_refuse(c, "post_transform of a machine of one class");
    int64_t shape[2] = {1, s.coefficients.count};
    value_id x = ml_rows(c, c->in[0], DTYPE_F64, s.vectors > 0 ? s.features : shape[1], true);
    value_id weights = ml_constant(c, "coefficients", DTYPE_F64, s.coefficients.at, shape, 2);
    value_id y = b_contract(b, s.vectors > 0 ? kernels(c, &s, x) : x, weights, 0, 1);
    y = b_shift(b, y, s.rho.at[0]);
    if (one_class) {
        value_id inside = b_binary(b, PRIM_LT, b_const_like(b, y, 0), y);
        y = b_select(b, inside, b_const_like(b, y, 1), b_const_like(b, y, -1));
    }
    return onnx_return(c, b_cast(b, ml_transform(c, y, transform), DTYPE_F32));
}

/* The decision function of each pair of classes i < j, in order; positive for i. It has a row of
 * weights for each pair: coefficients of row j - 1 for the vectors of i, of row i for the vectors
 * of j. */
static value_id decisions(struct onnx_call *c, const struct svm *s, const struct ml_ints *sizes,
                          value_id x)
{
    uint32_t classes = sizes->count, pairs = classes * (classes - 1) / 2;
    int64_t shape[2] = {pairs, s->vectors}, count = pairs;
    if (onnx_failed(c) || pairs * (uint64_t)s->vectors > (uint64_t)1 << 26)
        return b_fail(c->b, ERR_LIMIT, "%u pairs of classes, %lld vectors", pairs,
                      (long long)s->vectors);
    double *weights = ARENA_ARRAY(c->o->arena, double, (size_t)(pairs * s->vectors)),
           *row = weights;
    const double *given = s->coefficients.at;
    for (uint32_t i = 0, start_i = 0; i < classes; start_i += (uint32_t)sizes->at[i++]) {
        uint32_t start_j = start_i + (uint32_t)sizes->at[i];
        for (uint32_t j = i + 1; j < classes; start_j += (uint32_t)sizes->at[j++]) {
            for (uint32_t v = start_i; v < start_i + (uint32_t)sizes->at[i]; v++)
                row[v] = given[(j - 1) * s->vectors + v];
            for (uint32_t v = start_j; v < start_j + (uint32_t)sizes->at[j]; v++)
                row[v] = given[i * s->vectors + v];
            row += s->vectors;
        }
    }
    value_id y = b_contract(c->b, kernels(c, s, x),
                            ml_constant(c, "weights", DTYPE_F64, weights, shape, 2), 0, 1);
    return b_add(c->b, y, ml_constant(c, "rho", DTYPE_F64, s->rho.at, &count, 1));
}

/* The class that wins most pairs, the first of several: i64 [N]. */
static value_id most_votes(struct onnx_call *c, value_id decisions, uint32_t classes)
{
    struct builder *b = c->b;
    uint32_t pairs = classes * (classes - 1) / 2;
    int64_t shape[2] = {classes, pairs}, count = classes;
    double *wins = ARENA_ARRAY(c->o->arena, double, (size_t)classes *pairs);
    double *first = ARENA_ARRAY(c->o->arena, double, classes);
    for (uint32_t i = 0, at = 0; i < classes; i++)
        for (uint32_t j = i + 1; j < classes; j++, at++) {
            wins[(size_t)i * pairs + at] = 1;
            wins[(size_t)j * pairs + at] = -1;
            first[j]++; /* j wins the pairs that it does not lose */
        }
    value_id won =
        b_cast(b, b_binary(b, PRIM_LT, b_const_like(b, decisions, 0), decisions), DTYPE_F32);
    value_id votes = b_contract(b, won, ml_constant(c, "wins", DTYPE_F32, wins, shape, 2), 0, 1);
    return ml_argmax(c, b_add(b, votes, ml_constant(c, "losses", DTYPE_F32, first, &count, 1)));
}

/* Platt scaling: 1 / (1 + exp(a · decision + b)), limited to 1e-7 … 1 - 1e-7. */
static value_id probabilities(struct onnx_call *c, value_id decisions, const struct ml_reals *a,
                              const struct ml_reals *offset, uint32_t classes)
{
    struct builder *b = c->b;
    int64_t pairs = (int64_t)classes * (classes - 1) / 2;
    value_id x = b_mul(b, decisions, ml_constant(c, "prob_a", DTYPE_F64, a->at, &pairs, 1));
    x = b_neg(b, b_add(b, x, ml_constant(c, "prob_b", DTYPE_F64, offset->at, &pairs, 1)));
    value_id p = ml_transform(c, x, ML_LOGISTIC);
    p = b_min_const(b, b_max_const(b, p, 1e-7), 1 - 1e-7);
    return ml_couple(c, p, classes);
}

struct classifier {
    struct svm svm;
    struct ml_labels labels;
    struct ml_ints sizes; /* number of vectors of each class */
    struct ml_reals a, b;
    enum ml_transform transform;
};

static bool check_machines(struct onnx_call *c, const struct classifier *k)
{
    uint32_t classes = k->labels.count, pairs = classes * (classes - 1) / 2;
    if (classes < 2)
        return onnx_refuse(c, "a single class");
    if (classes > (k->a.count > 0 ? 32 : 256))
        return onnx_refuse(c, "%u classes: up to 256, with probabilities 32", classes);
    if (k->svm.coefficients.count != (classes - 1) * k->svm.vectors)
        return b_fail(c->b, ERR_BLUEPRINT,
                      "attribute 'coefficients' has %u elements, expected %u "
                      "rows of %lld",
                      k->svm.coefficients.count, classes - 1, (long long)k->svm.vectors);
    return ml_same_length(c, "vectors_per_class", k->sizes.count, "classlabels_ints", classes) &&
           ml_same_length(c, "rho", k->svm.rho.count, "pairs of classes", pairs) &&
           (k->a.count == 0 ||
            ml_same_length(c, "prob_a", k->a.count, "pairs of classes", pairs)) &&
           ml_same_length(c, "prob_b", k->b.count, "prob_a", k->a.count);
}

static bool classify_by_vectors(struct onnx_call *c, struct classifier *k)
{
    struct builder *b = c->b;
    uint32_t classes = k->labels.count;
    if (!check_machines(c, k))
        return false;
    value_id x = ml_rows(c, c->in[0], DTYPE_F64, k->svm.features, true);
    value_id all = decisions(c, &k->svm, &k->sizes, x);
    value_id index = most_votes(c, all, classes);
    if (k->a.count > 0) {
        value_id p = probabilities(c, all, &k->a, &k->b, classes);
        return ml_classified(c, &k->labels, index, ml_transform(c, p, k->transform));
    }
    if (classes > 2)
        return ml_classified(c, &k->labels, index, ml_transform(c, all, k->transform));
    if (k->transform != ML_NONE && k->transform != ML_LOGISTIC)
        return onnx_refuse(c, "post_transform %s of two classes by one score",
                           onnx_text(c, "post_transform", ""));
    value_id both = b_concat(b, (value_id[]){b_neg(b, all), all}, 2, 1);
    return ml_classified(c, &k->labels, index, ml_transform(c, both, k->transform));
}

/* Without support vectors: one row of coefficients for each class. */
static bool classify_by_rows(struct onnx_call *c, struct classifier *k)
{
    struct builder *b = c->b;
    int64_t shape[2] = {k->labels.count, k->svm.coefficients.count / k->labels.count};
    if (shape[0] * shape[1] != k->svm.coefficients.count)
        return b_fail(b, ERR_BLUEPRINT,
                      "attribute 'coefficients' has %u elements, which do not "
                      "divide among %u classes",
                      k->svm.coefficients.count, k->labels.count);
    if (k->labels.count < 3)
        return onnx_refuse(c, "fewer than three classes without support vectors");
    value_id x = ml_rows(c, c->in[0], DTYPE_F64, shape[1], true);
    value_id rows = ml_constant(c, "coefficients", DTYPE_F64, k->svm.coefficients.at, shape, 2);
    value_id y = b_shift(b, b_contract(b, x, rows, 0, 1), k->svm.rho.at[0]);
    return ml_classified(c, &k->labels, ml_argmax(c, y), ml_transform(c, y, k->transform));
}

bool onnx_ml_svm_classifier(struct onnx_call *c)
{
    struct classifier k = {.sizes = ml_ints(c, "vectors_per_class"),
                           .a = ml_reals(c, "prob_a"),
                           .b = ml_reals(c, "prob_b"),
                           .transform = ml_transform_of(c)};
    for (uint32_t i = 0; i < k.sizes.count; i++) {
        if (k.sizes.at[i] < 0 || k.sizes.at[i] > UINT32_MAX >> 6)
            return b_fail(c->b, ERR_BLUEPRINT, "attribute 'vectors_per_class': element %u is %lld",
                          i, (long long)k.sizes.at[i]);
        k.svm.vectors += k.sizes.at[i];
    }
    if (!ml_labels(c, "classlabels_ints", "classlabels_strings", &k.labels) ||
        !read_common(c, &k.svm))
        return false;
    return k.svm.vectors > 0 ? classify_by_vectors(c, &k) : classify_by_rows(c, &k);
}
