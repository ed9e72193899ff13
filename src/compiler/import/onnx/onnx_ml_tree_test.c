/* Ensembles of trees: random ones compared with their definition, cases with results computed
 * independently, and what is refused. */
#include "compiler/import/onnx/onnx_ml_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <onnx.pb-c.h>
/* cmocka defines a macro fail, so our headers come first. */
#include "base/rng.h"
#include <cmocka.h>

#define CHECK(cases) check_cases(*state, cases, sizeof cases / sizeof *cases)
#define CHECK_BAD(cases) check_bad(*state, cases, sizeof cases / sizeof *cases)
#define MAX_NODES 512
#define MAX_TARGETS 12
#define ROWS 40
#define MAX_FEATURES 4

static const char *const modes[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE", "BRANCH_GT",
                                    "BRANCH_EQ",  "BRANCH_NEQ", "LEAF"};
#define LEAF 6

/* Trees in the form of TreeEnsembleRegressor. */
struct trees {
    uint64_t key, drawn;
    int64_t tree[MAX_NODES], node[MAX_NODES], feature[MAX_NODES], yes[MAX_NODES], no[MAX_NODES],
        missing[MAX_NODES];
    float value[MAX_NODES];
    const char *mode[MAX_NODES];
    int kind[MAX_NODES];
    int64_t vote_tree[MAX_NODES * 3], vote_node[MAX_NODES * 3], vote_target[MAX_NODES * 3];
    float weight[MAX_NODES * 3];
    size_t count, votes;
    int trees, depth, features, targets, kinds;
    int voting; /* a leaf votes for 0: all targets, 1: that of its tree, 2: some */
};

static uint32_t draw(struct trees *t, uint32_t below)
{
    return (uint32_t)((uint64_t)rng_u32(t->key, t->drawn++) * below >> 32);
}

static float draw_number(struct trees *t)
{
    static const float special[] = {-1, -0.5F, 0, 0.5F, 1, -0.0F, INFINITY, -INFINITY};
    return draw(t, 2) == 0 ? special[draw(t, 8)] : (float)draw(t, 1000) / 250 - 2;
}

static void add_vote(struct trees *t, size_t at, int target)
{
    t->vote_tree[t->votes] = t->tree[at];
    t->vote_node[t->votes] = t->node[at];
    t->vote_target[t->votes] = target;
    t->weight[t->votes++] = (float)draw(t, 64) / 16 - 2;
}

/* Appends a random tree with nodes from number *next on; returns the number of its root. */
static int64_t grow(struct trees *t, int tree, int depth, int64_t *next)
{
    size_t at = t->count++;
    t->tree[at] = 3 * tree + 1;
    t->node[at] = (*next)++;
    t->yes[at] = t->no[at] = 0;
    t->kind[at] = LEAF;
    if (depth < t->depth && (depth == 0 || draw(t, 5) > 0)) {
        t->kind[at] = (int)draw(t, (uint32_t)t->kinds);
        t->feature[at] = draw(t, (uint32_t)t->features);
        t->missing[at] = draw(t, 2);
        t->value[at] = draw_number(t);
        t->yes[at] = grow(t, tree, depth + 1, next);
        t->no[at] = grow(t, tree, depth + 1, next);
    }
    t->mode[at] = modes[t->kind[at]];
    if (t->kind[at] == LEAF && t->voting == 1)
        add_vote(t, at, tree % t->targets);
    for (int k = 0; t->kind[at] == LEAF && t->voting != 1 && k < t->targets; k++)
        if (t->voting == 0 || draw(t, 4) == 0)
            add_vote(t, at, k);
    return t->node[at];
}

static void add_trees(struct model *m, Onnx__NodeProto *node, const struct trees *t)
{
    add_list(m, node, "nodes_treeids", t->tree, NULL, t->count);
    add_list(m, node, "nodes_nodeids", t->node, NULL, t->count);
    add_list(m, node, "nodes_featureids", t->feature, NULL, t->count);
    add_list(m, node, "nodes_truenodeids", t->yes, NULL, t->count);
    add_list(m, node, "nodes_falsenodeids", t->no, NULL, t->count);
    add_list(m, node, "nodes_missing_value_tracks_true", t->missing, NULL, t->count);
    add_list(m, node, "nodes_values", NULL, t->value, t->count);
    add_texts(m, node, "nodes_modes", t->mode, t->count);
    add_list(m, node, "target_treeids", t->vote_tree, NULL, t->votes);
    add_list(m, node, "target_nodeids", t->vote_node, NULL, t->votes);
    add_list(m, node, "target_ids", t->vote_target, NULL, t->votes);
    add_list(m, node, "target_weights", NULL, t->weight, t->votes);
}

static bool goes_yes(int kind, double x, double value, bool missing)
{
    const bool is[] = {x <= value, x<value, x >= value, x> value, x == value, x != value};
    return is[kind] || (isnan(x) && missing);
}

static size_t find_node(const struct trees *t, int64_t tree, int64_t node)
{
    size_t at = 0;
    while (t->tree[at] != tree || t->node[at] != node)
        at++;
    return at;
}

/* The result for one row by definition, for each target. */
static void definition(const struct trees *t, const double *x, const char *how, double *out)
{
    bool any[MAX_TARGETS] = {false};
    for (int k = 0; k < t->targets; k++)
        out[k] = 0;
    for (int tree = 0; tree < t->trees; tree++) {
        size_t at = find_node(t, 3 * tree + 1, 0);
        while (t->kind[at] != LEAF)
            at = find_node(
                t, t->tree[at],
                goes_yes(t->kind[at], x[t->feature[at]], (double)t->value[at], t->missing[at] != 0)
                    ? t->yes[at]
                    : t->no[at]);
        for (size_t i = 0; i < t->votes; i++) {
            double weight = (double)t->weight[i], *sum = &out[t->vote_target[i]];
            bool *is = &any[t->vote_target[i]];
            if (t->vote_tree[i] != t->tree[at] || t->vote_node[i] != t->node[at])
                continue;
            if (strcmp(how, "MIN") == 0)
                *sum = *is ? fmin(*sum, weight) : weight;
            else if (strcmp(how, "MAX") == 0)
                *sum = *is ? fmax(*sum, weight) : weight;
            else
                *sum += strcmp(how, "AVERAGE") == 0 ? weight / t->trees : weight;
            *is = true;
        }
    }
}

/* Draws rows with values at and around the thresholds. */
static char *draw_rows(struct trees *t, struct model *m, const char *dtype, double *x)
{
    struct strbuf text;
    bool integers = dtype[0] == 'i', f32 = strcmp(dtype, "f32") == 0;
    strbuf_init(&text, &m->arena);
    strbuf_printf(&text, "%s %dx%d", dtype, ROWS, t->features);
    for (int i = 0; i < ROWS * t->features; i++) {
        float threshold = t->value[draw(t, (uint32_t)t->count)];
        uint32_t kind = draw(t, 6);
        x[i] = kind == 0 ? (double)NAN : kind < 3 ? (double)threshold : (double)draw_number(t);
        if (kind == 3 && isfinite(threshold))
            x[i] = f32 ? (double)nextafterf(threshold, INFINITY) : nextafter(threshold, INFINITY);
        if (integers)
            x[i] = isfinite(x[i]) ? trunc(x[i]) : 3;
        strbuf_printf(&text, " %.17g", x[i]);
    }
    return text.data;
}

static void check_forest(struct model *m, struct trees *t, const char *how, const char *dtype)
{
    char what[160], attrs[120];
    double x[ROWS * MAX_FEATURES], right[MAX_TARGETS];
    t->count = t->votes = 0;
    for (int tree = 0; tree < t->trees; tree++) {
        int64_t next = 0;
        grow(t, tree, 0, &next);
    }
    snprintf(attrs, sizeof attrs, "aggregate_function s %s; n_targets i %d", how, t->targets);
    snprintf(what, sizeof what, "%s of %d trees %d deep, %d targets, voting %d, %s", how, t->trees,
             t->depth, t->targets, t->voting, dtype);
    add_trees(m, begin_case(m, "TreeEnsembleRegressor", 3, attrs), t);
    add_output(m, "y");
    const struct interp_tensor *y = run_text(m, draw_rows(t, m, dtype, x));
    assert_int_equal(y->dtype, DTYPE_F32);
    assert_int_equal(y->count, ROWS * t->targets);
    for (int row = 0; row < ROWS; row++) {
        definition(t, x + row * t->features, how, right);
        for (int k = 0; k < t->targets; k++) {
            double found = y->cells[row * t->targets + k].f;
            if (!(fabs(found - right[k]) <= 1e-6 * (1 + fabs(right[k]))))
                fail_msg("%s: row %d, target %d: %.9g, right %.9g", what, row, k, found, right[k]);
        }
    }
}

static void random_trees(void **state)
{
    static const char *const hows[] = {"SUM", "AVERAGE", "MIN", "MAX"};
    static const char *const dtypes[] = {"f32", "f64", "i64", "i32"};
    static const int targets[] = {1, 2, 3, 12};
    struct trees *t = ARENA_NEW(&((struct model *)*state)->arena, struct trees);
    t->key = rng_key(7);
    for (int i = 0; i < 120; i++) {
        t->trees = 1 + (int)draw(t, 6);
        t->depth = (int)draw(t, 5);
        t->features = 1 + (int)draw(t, MAX_FEATURES);
        t->kinds = draw(t, 2) == 0 ? 1 + (int)draw(t, 4) : 6;
        t->targets = targets[draw(t, 4)];
        t->voting = (int)draw(t, 3);
        check_forest(*state, t, hows[i % 4], dtypes[draw(t, 4)]);
    }
}

/* x0 <= 0.5 ? (x1 < 2 ? a : b) : c, and a second tree that is a leaf. */
#define NODES                                                          \
    "nodes_treeids ii 0 0 0 0 0 8; nodes_nodeids ii 0 1 2 3 4 0; "     \
    "nodes_modes ss BRANCH_LEQ BRANCH_LT LEAF LEAF LEAF LEAF; "        \
    "nodes_values ff 0.5 2 0 0 0 0; nodes_featureids ii 0 1 0 0 0 0; " \
    "nodes_truenodeids ii 1 2 0 0 0 0; nodes_falsenodeids ii 4 3 0 0 0 0; "
#define POINTS "f32 4x2 0 1 0.5 2 1 0 nan nan"
#define VOTES(kind) kind "_treeids ii 0 0 0 8; " kind "_nodeids ii 2 3 4 0; " kind "_weights ff "
#define ONE_CLASS(weights) \
    NODES VOTES("class") weights "; class_ids ii 0 0 0 0; classlabels_int64s ii 5 7; "
/* Votes for three classes: for 0 at the first leaf, 1 at the second, 2 at the third, and a small
 * one for 1. */
#define CLASSES NODES VOTES("class") "0.5 0.75 0.25 0.125; class_ids ii 0 1 2 1; "

static void classes_and_targets(void **state)
{
    static const struct ml_case cases[] = {
        {"TreeEnsembleRegressor", 1,
         NODES VOTES("target") "1 2 3 10; target_ids ii 0 0 0 0; n_targets i 1", POINTS,
         "f32 4x1 11 12 13 13", NULL},
        {"TreeEnsembleRegressor", 3,
         NODES VOTES("target") "1 2 3 10; target_ids ii 0 1 0 1; n_targets i 2; "
                               "base_values ff 0.5 -1; aggregate_function s AVERAGE",
         POINTS, "f32 4x2 1 4 0.5 5 2 4 2 4", NULL},
        {"TreeEnsembleRegressor", 1,
         NODES VOTES("target") "1 2 3 10; target_ids ii 0 1 0 1; n_targets i 2; "
                               "aggregate_function s MIN",
         POINTS, "f32 4x2 1 10 0 2 3 10 3 10", NULL},
        {"TreeEnsembleRegressor", 1,
         NODES VOTES("target") "0 0 1 0; target_ids ii 0 0 0 0; post_transform s LOGISTIC", POINTS,
         "f32 4x1 0.5 0.5 0.731058579 0.731058579", NULL},
        /* Votes that are probabilities of the second class, and votes that are not. */
        {"TreeEnsembleClassifier", 1, ONE_CLASS("0.25 0.5 0.75 0"), POINTS, "i64 4 5 5 7 7",
         "f32 4x2 0.75 0.25 0.5 0.5 0.25 0.75 0.25 0.75"},
        {"TreeEnsembleClassifier", 1, ONE_CLASS("-1 0 2 0.5"), POINTS, "i64 4 5 7 7 7",
         "f32 4x2 0.5 -0.5 -0.5 0.5 -2.5 2.5 -2.5 2.5"},
        {"TreeEnsembleClassifier", 3,
         ONE_CLASS("-1 0 2 0.5") "base_values ff -2; post_transform s LOGISTIC", POINTS,
         "i64 4 5 5 7 7",
         "f32 4x2 0.924141820 0.0758581800 0.817574476 0.182425524 0.377540669 0.622459331 "
         "0.377540669 0.622459331"},
        /* Votes for the second class only. */
        {"TreeEnsembleClassifier", 1,
         NODES VOTES("class") "0.25 0.5 0.75 0; class_ids ii 1 1 1 1; classlabels_int64s ii 5 7",
         POINTS, "i64 4 5 5 7 7", "f32 4x2 0 0.25 0 0.5 0 0.75 0 0.75"},
        {"TreeEnsembleClassifier", 1, CLASSES "classlabels_int64s ii 5 7 9", POINTS,
         "i64 4 5 7 9 9", "f32 4x3 0.5 0.125 0 0 0.875 0 0 0.125 0.25 0 0.125 0.25"},
        {"TreeEnsembleClassifier", 1,
         CLASSES "classlabels_int64s ii 5 7 9; post_transform s SOFTMAX_ZERO", "f32 1x2 1 0",
         "i64 1 9", "f32 1x3 0 0.468790627 0.531209373"},
        {"TreeEnsembleClassifier", 1,
         NODES VOTES("class") "0.5 0.75 0.25 0.125; class_ids ii 0 1 0 1; "
                              "classlabels_int64s ii 5 7; base_values ff 0.25 0",
         POINTS, "i64 4 5 7 5 5", "f32 4x2 0.75 0.125 0.25 0.875 0.5 0.125 0.5 0.125"},
        {"TreeEnsembleClassifier", 1,
         NODES VOTES("class") "-1 0 2 0.5; class_ids ii 0 0 0 0; classlabels_int64s ii 5", POINTS,
         "i64 4 0 1 1 1", "f32 4x1 -0.5 0.5 2.5 2.5"},
    };
    CHECK(cases);
}

/* A threshold in f64 that f32 cannot represent. */
static void wide_thresholds(void **state)
{
    static const struct ml_case cases[] = {
        {"TreeEnsembleRegressor", 3,
         "nodes_treeids ii 0 0 0; nodes_nodeids ii 0 1 2; nodes_featureids ii 0 0 0; nodes_modes "
         "ss BRANCH_LEQ LEAF LEAF; nodes_values_as_tensor f64 0.1 0 0; nodes_truenodeids ii 1 0 0; "
         "nodes_falsenodeids ii 2 0 0; target_treeids ii 0 0; target_nodeids ii 1 2; target_ids ii "
         "0 0; target_weights_as_tensor f64 1 2",
         "f64 2x1 0.1 0.10000000000000002", "f32 2x1 1 2", NULL},
    };
    CHECK(cases);
}

/* Node 0 tests whether x0 is 1, 3 or 7, node 1 whether x0 <= 2; leaves 0, 1 and 2. */
#define ENSEMBLE                                                                           \
    "tree_roots ii 0; nodes_featureids ii 0 0; nodes_modes u8 6 0; nodes_splits f32 0 2; " \
    "nodes_truenodeids ii 0 1; nodes_trueleafs ii 1 1; nodes_falsenodeids ii 1 2; "        \
    "nodes_falseleafs ii 0 1; leaf_targetids ii 0 1 0; leaf_weights f32 10 20 30; n_targets i 2"
#define MEMBERS "; membership_values f32 7 1 3 nan"

static void ensembles(void **state)
{
    static const struct ml_case cases[] = {
        {"TreeEnsemble", 5, ENSEMBLE MEMBERS, "f32 7x1 1 2 3 4 7 nan 0.99999994",
         "f32 7x2 10 0 0 20 10 0 30 0 10 0 30 0 0 20", NULL},
        {"TreeEnsemble", 5, ENSEMBLE MEMBERS "; nodes_missing_value_tracks_true ii 1 0",
         "f32 2x1 nan 5", "f32 2x2 10 0 30 0", NULL},
        {"TreeEnsemble", 5, ENSEMBLE MEMBERS "; aggregate_function i 0; post_transform i 2",
         "f32 1x1 2", "f32 1x2 0.5 1", NULL},
        /* Two trees with the same root. */
        {"TreeEnsemble", 5,
         "tree_roots ii 0 0; nodes_featureids ii 0; nodes_modes u8 0; nodes_splits f32 0; "
         "nodes_truenodeids ii 0; nodes_trueleafs ii 1; nodes_falsenodeids ii 1; nodes_falseleafs "
         "ii 1; leaf_targetids ii 1 1; leaf_weights f32 5 6; n_targets i 2",
         "f32 2x1 -1 1", "f32 2x2 0 10 0 12", NULL},
        /* A tree of one leaf is a node whose children are both that leaf. */
        {"TreeEnsemble", 5,
         "tree_roots ii 0; nodes_featureids ii 0; nodes_modes u8 0; nodes_splits f16 0; "
         "nodes_truenodeids ii 0; nodes_trueleafs ii 1; nodes_falsenodeids ii 0; nodes_falseleafs "
         "ii 1; leaf_targetids ii 0; leaf_weights f16 5; n_targets i 1",
         "f16 2x1 -1 nan", "f16 2x1 5 5", NULL},
    };
    static const struct ml_bad bad[] = {
        {"TreeEnsemble", 5, ENSEMBLE, "f32 1x1 1", ERR_BLUEPRINT,
         "'membership_values' has fewer sets"},
        {"TreeEnsemble", 5, ENSEMBLE "; membership_values f32 1 2", "f32 1x1 1", ERR_BLUEPRINT,
         "'membership_values' has fewer sets"},
        {"TreeEnsemble", 5, ENSEMBLE MEMBERS "; aggregate_function i 4", "f32 1x1 1", ERR_BLUEPRINT,
         "'aggregate_function' is 4"},
        {"TreeEnsemble", 5,
         "tree_roots ii 0; nodes_featureids ii 0 0; nodes_modes u8 0 0; nodes_splits f32 0 2; "
         "nodes_truenodeids ii 1 0; nodes_trueleafs ii 0 0; nodes_falsenodeids ii 0 0; "
         "nodes_falseleafs ii 1 1; leaf_targetids ii 0; leaf_weights f32 1; n_targets i 1",
         "f32 1x1 1", ERR_BLUEPRINT, "leads back to itself"},
        {"TreeEnsemble", 5,
         "tree_roots ii 1; nodes_featureids ii 0; nodes_modes u8 0; nodes_splits f32 0; "
         "nodes_truenodeids ii 0; nodes_trueleafs ii 1; nodes_falsenodeids ii 0; nodes_falseleafs "
         "ii 1; leaf_targetids ii 0; leaf_weights f32 1; n_targets i 1",
         "f32 1x1 1", ERR_BLUEPRINT, "'tree_roots': element 0 is 1, of 1 nodes"},
        {"TreeEnsemble", 5,
         "tree_roots ii 0; nodes_featureids ii 0; nodes_modes u8 0; nodes_splits f32 0; "
         "nodes_truenodeids ii 3; nodes_trueleafs ii 1; nodes_falsenodeids ii 0; nodes_falseleafs "
         "ii 1; leaf_targetids ii 0; leaf_weights f32 1; n_targets i 1",
         "f32 1x1 1", ERR_BLUEPRINT, "'nodes_truenodeids': element 0 is 3, of 1 leaves"},
    };
    CHECK(cases);
    CHECK_BAD(bad);
}

/* A tree with one split, which cases change. */
#define STUMP(ids, feature, modes, values, yes, no)                                     \
    "nodes_treeids ii 4 4 4; nodes_nodeids ii " ids "; nodes_featureids ii " feature    \
    "; nodes_modes ss " modes "; nodes_values ff " values "; nodes_truenodeids ii " yes \
    "; nodes_falsenodeids ii " no "; "
#define SPLIT "BRANCH_LEQ LEAF LEAF"
#define PLAIN STUMP("0 1 2", "0 0 0", SPLIT, "0 0 0", "1 0 0", "2 0 0")
#define TARGETS(trees, nodes, ids, weights)                                        \
    "target_treeids ii " trees "; target_nodeids ii " nodes "; target_ids ii " ids \
    "; target_weights ff " weights
#define LEAVES TARGETS("4 4", "1 2", "0 0", "1 2")

static void bad_trees(void **state)
{
    static const struct {
        const char *attrs, *x;
        int code;
        const char *part;
    } rows[] = {
        {LEAVES, "f32 1x1 0", ERR_BLUEPRINT, "'nodes_treeids' has no elements"},
        {STUMP("0 1", "0 0 0", SPLIT, "0 0 0", "1 0 0", "2 0 0") LEAVES, "f32 1x1 0", ERR_BLUEPRINT,
         "'nodes_nodeids' has 2 elements, and 'nodes_treeids' 3"},
        {STUMP("0 1 2", "0 0 0", SPLIT, "0 0", "1 0 0", "2 0 0") LEAVES, "f32 1x1 0", ERR_BLUEPRINT,
         "'nodes_values' has 2 elements"},
        {STUMP("0 1 2", "0 0 0", "BRANCH LEAF LEAF", "0 0 0", "1 0 0", "2 0 0") LEAVES, "f32 1x1 0",
         ERR_BLUEPRINT, "'nodes_modes': element 0 is 'BRANCH'"},
        {STUMP("0 1 1", "0 0 0", SPLIT, "0 0 0", "1 0 0", "2 0 0") LEAVES, "f32 1x1 0",
         ERR_BLUEPRINT, "tree 4 has two nodes of the number 1"},
        {STUMP("0 1 2", "0 0 0", SPLIT, "0 0 0", "1 0 0", "9 0 0") LEAVES, "f32 1x1 0",
         ERR_BLUEPRINT, "'nodes_falsenodeids': element 0 is 9, and tree 4 has no node"},
        {STUMP("0 1 2", "0 0 0", SPLIT, "0 0 0", "0 0 0", "2 0 0") LEAVES, "f32 1x1 0",
         ERR_BLUEPRINT, "leads back to itself"},
        {STUMP("0 1 2", "0 0 0", "BRANCH_LEQ BRANCH_LEQ LEAF", "0 0 0", "1 0 0", "2 2 0") LEAVES,
         "f32 1x1 0", ERR_BLUEPRINT, "tree 4 has no root"},
        {STUMP("0 1 2", "0 0 0", "BRANCH_LEQ BRANCH_LEQ LEAF", "0 0 0", "1 1 0", "2 2 0") LEAVES,
         "f32 1x1 0", ERR_BLUEPRINT, "leads back to itself"},
        {STUMP("0 1 2", "0 0 0", SPLIT, "0 0 0", "1 0 0", "1 0 0") LEAVES, "f32 1x1 0",
         ERR_BLUEPRINT, "tree 4 has 2 roots"},
        {STUMP("0 1 2", "-1 0 0", SPLIT, "0 0 0", "1 0 0", "2 0 0") LEAVES, "f32 1x1 0",
         ERR_BLUEPRINT, "there is no feature -1"},
        {STUMP("0 1 2", "3 0 0", SPLIT, "0 0 0", "1 0 0", "2 0 0") LEAVES, "f32 1x2 0 0", ERR_SHAPE,
         "rows of 2 features, the attributes speak of 4 at least"},
        {PLAIN TARGETS("4 4", "1", "0 0", "1 2"), "f32 1x1 0", ERR_BLUEPRINT,
         "'target_nodeids' has 1 elements, and 'target_treeids' 2"},
        {PLAIN TARGETS("4 5", "1 2", "0 0", "1 2"), "f32 1x1 0", ERR_BLUEPRINT,
         "'target_nodeids': element 1 is 2, and tree 5 has no node"},
        {PLAIN TARGETS("4 4", "1 2", "0 1", "1 2"), "f32 1x1 0", ERR_BLUEPRINT,
         "'target_ids': element 1 is 1, of 1"},
        {PLAIN LEAVES "; base_values ff 1 2", "f32 1x1 0", ERR_BLUEPRINT,
         "'base_values' has 2 elements"},
        {PLAIN LEAVES "; n_targets i 0", "f32 1x1 0", ERR_BLUEPRINT, "'n_targets' is 0"},
        {PLAIN LEAVES "; nodes_values_as_tensor f64 1 2 3", "f32 1x1 0", ERR_BLUEPRINT,
         "'nodes_values' and 'nodes_values_as_tensor' are both given"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_bad(*state,
                  &(struct ml_bad){"TreeEnsembleRegressor", 3, rows[i].attrs, rows[i].x,
                                   rows[i].code, rows[i].part},
                  1);
}

/* Reads a chain of `depth` nodes, each with a leaf. */
static bool read_chain(struct model *m, int64_t depth)
{
    size_t count = 2 * (size_t)depth + 1;
    int64_t *ids = ARENA_ARRAY(&m->arena, int64_t, count),
            *zeros = ARENA_ARRAY(&m->arena, int64_t, count);
    int64_t *yes = ARENA_ARRAY(&m->arena, int64_t, count),
            *no = ARENA_ARRAY(&m->arena, int64_t, count);
    float *values = ARENA_ARRAY(&m->arena, float, count);
    const char **kinds = ARENA_ARRAY(&m->arena, const char *, count);
    for (int64_t i = 0; i < (int64_t)count; i++) {
        ids[i] = i;
        kinds[i] = modes[i < depth ? 0 : LEAF];
        values[i] = (float)-i;
        yes[i] = i < depth ? i + 1 : 0;
        no[i] = i < depth ? i + 1 + depth : 0;
    }
    no[depth - 1] = (int64_t)count - 1;
    Onnx__NodeProto *node = begin_case(m, "TreeEnsembleRegressor", 3, "");
    add_list(m, node, "nodes_treeids", zeros, NULL, count);
    add_list(m, node, "nodes_nodeids", ids, NULL, count);
    add_list(m, node, "nodes_featureids", zeros, NULL, count);
    add_list(m, node, "nodes_truenodeids", yes, NULL, count);
    add_list(m, node, "nodes_falsenodeids", no, NULL, count);
    add_list(m, node, "nodes_values", NULL, values, count);
    add_texts(m, node, "nodes_modes", kinds, count);
    add_list(m, node, "target_treeids", zeros, NULL, (size_t)depth);
    add_list(m, node, "target_nodeids", ids + depth, NULL, (size_t)depth);
    add_list(m, node, "target_ids", zeros, NULL, (size_t)depth);
    add_list(m, node, "target_weights", NULL, values, (size_t)depth);
    add_input(m, "x", 1, (const char *const[]){"3", "1", NULL});
    add_output(m, "y");
    return read_model(m);
}

static void depth_is_limited(void **state)
{
    struct model *m = *state;
    if (!read_chain(m, 1024))
        fail_msg("%s %s", m->err.place, m->err.message);
    assert_false(read_chain(m, 1025));
    assert_int_equal(m->err.code, ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_trees, begin, end),
        cmocka_unit_test_setup_teardown(classes_and_targets, begin, end),
        cmocka_unit_test_setup_teardown(wide_thresholds, begin, end),
        cmocka_unit_test_setup_teardown(ensembles, begin, end),
        cmocka_unit_test_setup_teardown(bad_trees, begin, end),
        cmocka_unit_test_setup_teardown(depth_is_limited, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
