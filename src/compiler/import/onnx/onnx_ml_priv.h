/* What the translators of the domain ai.onnx.ml share: its attributes, which are long lists of
 * numbers, its rows of features, and what becomes of scores. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

/* Lists of an attribute. count 0 and given false where it is absent, and after a failure. */
struct ml_ints {
    const int64_t *at;
    uint32_t count;
    bool given;
};
struct ml_reals {
    const double *at;
    uint32_t count;
    bool given;
    enum dtype dtype; /* f32 of floats; a tensor's own */
};
struct ml_texts {
    const char *const *at;
    uint32_t count;
    bool given;
};
struct ml_ints ml_ints(struct onnx_call *c, const char *name);
struct ml_texts ml_texts(struct onnx_call *c, const char *name);
/* Of the attribute name, or of a tensor in the attribute name_as_tensor. */
struct ml_reals ml_reals(struct onnx_call *c, const char *name);
/* Of a tensor; integers that are no f64 lose digits. */
struct ml_reals ml_tensor(struct onnx_call *c, const char *name);
/* The place of a text attribute among words that NULL ends; fails the builder, and gives 0, where
 * it is none of them. absent: the word that stands for an attribute that is not there. */
uint32_t ml_word(struct onnx_call *c, const char *name, const char *const *words, uint32_t absent);
/* A list beside another has as many numbers: fails the builder otherwise. */
bool ml_same_length(struct onnx_call *c, const char *name, uint32_t count, const char *of,
                    uint32_t expected);

/* Constants made of such lists: numbers in dtype, dense in the shape given. what names a table that
 * becomes a param. */
value_id ml_table(struct onnx_call *c, const char *what, enum dtype dtype, const int64_t *shape,
                  uint32_t rank, const void *data);
value_id ml_constant(struct onnx_call *c, const char *what, enum dtype dtype, const double *values,
                     const int64_t *shape, uint32_t rank);

/* The same of integers, which must fit into dtype: the attribute of the name fails otherwise. */
value_id ml_integers(struct onnx_call *c, const char *name, enum dtype dtype, const int64_t *values,
                     const int64_t *shape, uint32_t rank);

/* f64 of f64 and integers, which are exact in it but for some of i64, f32 of other floats. */
enum dtype ml_wide(const struct onnx_call *c, value_id x);
/* Rows of features: [N, F] in dtype of [N, F] or [F]. features: how many there must be at least, or
 * just so many; fails the builder where the shape does not say that there are. */
value_id ml_rows(struct onnx_call *c, value_id x, enum dtype dtype, int64_t features, bool exactly);
/* One number a feature, or one for all of them, for the last dim of x. VALUE_NONE where the list is
 * not given. */
value_id ml_per_feature(struct onnx_call *c, const char *name, const struct ml_reals *list,
                        value_id x);

enum ml_transform { ML_NONE, ML_SOFTMAX, ML_LOGISTIC, ML_SOFTMAX_ZERO, ML_PROBIT };
enum ml_transform ml_transform_of(struct onnx_call *c); /* the text attribute post_transform */
value_id ml_transform(struct onnx_call *c, value_id scores, enum ml_transform transform);

/* What a classifier calls its classes. */
struct ml_labels {
    uint32_t count;
    const int64_t *ints; /* NULL: they are strings */
    const char *strings; /* the attribute that has the strings */
};
bool ml_labels(struct onnx_call *c, const char *ints, const char *strings, struct ml_labels *out);
/* Both results of a classifier: labels by index, i64 [N], which must be < count; scores as f32.
 * Labels that are strings are no result: whoever needs them is told so. */
bool ml_classified(struct onnx_call *c, const struct ml_labels *labels, value_id index,
                   value_id scores);
value_id ml_argmax(struct onnx_call *c, value_id scores); /* of each row; the first of equals */
/* Two classes by one score s, [N, 1]: the second one where s is above the border. The classes score
 * 1 - s and s, or -s and s where negated says so, and LOGISTIC makes its values of -s and s. Other
 * transforms are refused: implementations differ on what they are of two classes by one score. */
bool ml_classified_by_one(struct onnx_call *c, const struct ml_labels *labels, value_id score,
                          double border, bool negated, enum ml_transform transform);

#endif
