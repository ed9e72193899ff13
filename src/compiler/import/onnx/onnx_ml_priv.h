/* What the translators of the domain ai.onnx.ml share: attributes with long lists of numbers, rows
 * of features, and transforms of scores. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

/* The list of an attribute. If the attribute is absent, and after a failure, count is 0 and given
 * is false. */
struct ml_ints {
    const int64_t *at;
    uint32_t count;
    bool given;
};
struct ml_reals {
    const double *at;
    uint32_t count;
    bool given;
    enum dtype dtype; /* f32 for a list of floats; for a tensor its dtype */
};
struct ml_texts {
    const char *const *at;
    uint32_t count;
    bool given;
};
struct ml_ints ml_ints(struct onnx_call *c, const char *name);
struct ml_texts ml_texts(struct onnx_call *c, const char *name);
/* From the attribute `name`, or from the tensor in the attribute <name>_as_tensor. */
struct ml_reals ml_reals(struct onnx_call *c, const char *name);
/* From a tensor; integers that f64 cannot represent are rounded. */
struct ml_reals ml_tensor(struct onnx_call *c, const char *name);
/* The index of a string attribute among words that NULL terminates; if it is none of them, fails
 * the builder and returns 0. absent: the result if there is no such attribute. */
uint32_t ml_word(struct onnx_call *c, const char *name, const char *const *words, uint32_t absent);
/* Whether a list is as long as the list `of`; otherwise fails the builder. */
bool ml_same_length(struct onnx_call *c, const char *name, uint32_t count, const char *of,
                    uint32_t expected);

/* Constants from such lists: numbers in dtype, dense, of the given shape. what: the name of a table
 * that becomes a param. */
value_id ml_table(struct onnx_call *c, const char *what, enum dtype dtype, const int64_t *shape,
                  uint32_t rank, const void *data);
value_id ml_constant(struct onnx_call *c, const char *what, enum dtype dtype, const double *values,
                     const int64_t *shape, uint32_t rank);

/* As ml_constant, of integers, which must fit in dtype; otherwise fails with the name of the
 * attribute. */
value_id ml_integers(struct onnx_call *c, const char *name, enum dtype dtype, const int64_t *values,
                     const int64_t *shape, uint32_t rank);

/* The dtype to compute in: f64 for f64 and for integers, which it represents exactly except large
 * i64; f32 for other floats. */
enum dtype ml_wide(const struct onnx_call *c, value_id x);
/* Rows of features: casts x, [N, F] or [F], to [N, F] in dtype. features: the least number of
 * features, or with `exactly` the number; fails the builder if the shape does not guarantee it. */
value_id ml_rows(struct onnx_call *c, value_id x, enum dtype dtype, int64_t features, bool exactly);
/* A list with one number for each feature, or one for all, as an operand for x, whose last dim has
 * the features. VALUE_NONE if the list is not given. */
value_id ml_per_feature(struct onnx_call *c, const char *name, const struct ml_reals *list,
                        value_id x);

enum ml_transform { ML_NONE, ML_SOFTMAX, ML_LOGISTIC, ML_SOFTMAX_ZERO, ML_PROBIT };
enum ml_transform ml_transform_of(struct onnx_call *c); /* the attribute post_transform */
value_id ml_transform(struct onnx_call *c, value_id scores, enum ml_transform transform);

/* The labels of a classifier's classes. */
struct ml_labels {
    uint32_t count;
    const int64_t *ints; /* NULL: the labels are strings */
    const char *strings; /* the name of the attribute with the strings */
};
bool ml_labels(struct onnx_call *c, const char *ints, const char *strings, struct ml_labels *out);
/* Sets both results of a classifier: the labels, by index, i64 [N], each < count; and the scores as
 * f32. Labels that are strings are no result; the model is refused only if it uses them. */
bool ml_classified(struct onnx_call *c, const struct ml_labels *labels, value_id index,
                   value_id scores);
value_id ml_argmax(struct onnx_call *c, value_id scores); /* index of the maximum of each row, the
                                                             first one of several */
/* Two classes from one score s, [N, 1]: the second class if s > border. The classes' scores are 1 -
 * s and s, or -s and s if negated, and LOGISTIC is applied to -s and s. Other transforms are
 * refused: implementations disagree about them in this case. */
bool ml_classified_by_one(struct onnx_call *c, const struct ml_labels *labels, value_id score,
                          double border, bool negated, enum ml_transform transform);

#endif
