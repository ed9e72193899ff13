/* Ensembles of decision trees, from the attributes of a node to tables.
 *
 * forest   what the attributes describe, the same for all ops: splits, leaves with votes, roots
 * tests    the same trees with one kind of split, x <= threshold ? left : right
 *
 * A reference to a node is the index of a split or test, or ~ the index of a leaf. Everything is
 * allocated in the arena of the import. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_TREE_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_TREE_PRIV_H

#include "compiler/import/onnx/onnx_ml_priv.h"

/* In the order of TreeEnsemble's numbers for them; in the older ops number 6 is a leaf. */
enum ml_mode { ML_LEQ, ML_LT, ML_GTE, ML_GT, ML_EQ, ML_NEQ, ML_MEMBER };

struct ml_split {
    enum ml_mode mode;
    bool missing_true; /* a NaN goes to yes */
    int64_t feature;
    double value;          /* not for ML_MEMBER */
    const double *members; /* for ML_MEMBER; no NaN among them */
    uint32_t member_count;
    int64_t yes, no; /* references */
};

struct ml_vote {
    uint32_t target;
    double weight;
};

struct ml_forest {
    struct ml_split *splits;
    uint32_t split_count;
    uint32_t leaf_count;
    const uint32_t *vote_starts; /* leaf_count + 1 of them; the votes of a leaf are consecutive */
    const struct ml_vote *votes;
    const int64_t *roots; /* references */
    uint32_t root_count;
    uint32_t targets;
    bool wide;     /* values or weights are f64 */
    bool one_root; /* every node except the roots is a child of some node, so a node that no root
                      leads to is part of a cycle */
};

/* Reads the attributes of TreeEnsembleRegressor and TreeEnsembleClassifier: nodes_… and
 * kind_treeids, kind_nodeids, kind_ids, kind_weights, where kind is "target" or "class".
 * ERR_BLUEPRINT if lengths differ or a number refers to nothing. */
bool ml_forest_by_ids(struct onnx_call *c, const char *kind, uint32_t targets,
                      struct ml_forest *out);
/* Reads the attributes of TreeEnsemble. */
bool ml_forest_by_places(struct onnx_call *c, uint32_t targets, struct ml_forest *out);

struct ml_test {
    int64_t feature;
    double threshold;    /* representable in the dtype of comparisons; not NaN */
    bool nan_right;      /* whether a NaN goes right; otherwise left */
    int64_t left, right; /* references */
};
struct ml_tests {
    struct ml_test *items;
    uint32_t count;
    int64_t *roots;   /* references, one for each tree of the forest */
    uint32_t depth;   /* tests on the longest path to a leaf */
    int64_t features; /* the least number of features in a row */
};
/* dtype: f32 or f64, in which rows are compared. ERR_BLUEPRINT if there is a cycle. */
bool ml_forest_tests(struct onnx_call *c, const struct ml_forest *forest, enum dtype dtype,
                     struct ml_tests *out);

#endif
