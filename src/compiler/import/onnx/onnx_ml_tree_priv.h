/* Ensembles of decision trees, from the attributes of a node to tables that a graph walks.
 *
 * forest   what the attributes say, whichever op has them: splits, leaves with votes, roots
 * tests    the same trees with splits of one kind only, x <= threshold ? left : right
 *
 * A reference to a node is the index of a split or test, or ~ the index of a leaf. Everything lives
 * in the arena of the import. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_TREE_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_TREE_PRIV_H

#include "compiler/import/onnx/onnx_ml_priv.h"

/* In the order of the numbers that TreeEnsemble has for them; a leaf stands for 6 in older ops. */
enum ml_mode { ML_LEQ, ML_LT, ML_GTE, ML_GT, ML_EQ, ML_NEQ, ML_MEMBER };

struct ml_split {
    enum ml_mode mode;
    bool missing_true; /* where a NaN goes */
    int64_t feature;
    double value;          /* but of ML_MEMBER */
    const double *members; /* of ML_MEMBER: no NaN among them */
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
    const uint32_t *vote_starts; /* leaf_count + 1: a leaf's votes lie behind one another */
    const struct ml_vote *votes;
    const int64_t *roots; /* references */
    uint32_t root_count;
    uint32_t targets;
    bool wide;     /* values or weights are f64 */
    bool one_root; /* every node but the roots is some node's child: one that no root leads to lies
                      behind a node that leads to itself */
};

/* Of TreeEnsembleRegressor and TreeEnsembleClassifier: the attributes nodes_… and kind_treeids,
 * kind_nodeids, kind_ids, kind_weights, where kind is "target" or "class". ERR_BLUEPRINT where
 * lengths differ, or a number points nowhere. */
bool ml_forest_by_ids(struct onnx_call *c, const char *kind, uint32_t targets,
                      struct ml_forest *out);
/* Of TreeEnsemble. */
bool ml_forest_by_places(struct onnx_call *c, uint32_t targets, struct ml_forest *out);

struct ml_test {
    int64_t feature;
    double threshold;    /* a number of the dtype that rows are compared in; no NaN */
    bool nan_right;      /* a NaN goes left otherwise */
    int64_t left, right; /* references */
};
struct ml_tests {
    struct ml_test *items;
    uint32_t count;
    int64_t *roots;   /* references, one a tree of the forest */
    uint32_t depth;   /* tests on the longest way to a leaf */
    int64_t features; /* how many there must be at least */
};
/* dtype: f32 or f64, that rows are compared in. ERR_BLUEPRINT where a node leads to itself. */
bool ml_forest_tests(struct onnx_call *c, const struct ml_forest *forest, enum dtype dtype,
                     struct ml_tests *out);

#endif
