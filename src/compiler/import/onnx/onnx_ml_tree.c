/* Ensembles of trees as gathers from tables.
 *
 * A test has a record in the tables: the column of x that is compared, the threshold, and the index
 * of its left child; the right child is the next record. So one step down all trees is
 *
 *   at' = base[at] + (threshold[at] < x[column[at]])
 *
 * The records of the roots come first. A leaf is its own child: its threshold is +inf, which no
 * number exceeds. After as many steps as the deepest tree has tests, every position is a leaf, and
 * the weights of the leaves are summed. Tables have two records for each test and one for each
 * tree, whatever the depth. The leaves are stored before the sum, so that a vector's lanes walk
 * different trees, even for a single row.
 *
 * A NaN is not greater than anything, so it goes left. For tests where it goes right there are more
 * columns: x with NaN replaced by +inf, and, for thresholds of +inf, 1 where x is NaN. */
#include <math.h>

#include "compiler/import/onnx/onnx_ml_tree_priv.h"

#define MAX_RECORDS ((size_t)1 << 26)

enum ml_aggregate {
    ML_AVERAGE,
    ML_SUM,
    ML_MIN,
    ML_MAX
}; /* in the order of TreeEnsemble's numbers */

/* The blocks of columns that tests compare: x, x with +inf for NaN, and 1 for NaN. */
enum block { AS_IS, HIGH_NAN, IS_NAN, BLOCK_COUNT };

struct walk {
    struct onnx_call *c;
    const struct ml_forest *forest;
    enum ml_aggregate aggregate;
    enum dtype dtype; /* in which rows are compared and weights summed */
    struct ml_tests tests;
    const int64_t *roots; /* references to tests: one for each tree, and leaves without votes as
                             padding */
    uint32_t root_count;
    uint32_t group; /* number of trees for each target, if trees are grouped by target; 0: they are
                       not */
    uint32_t records;
    int32_t *columns, *bases, *leaves;
    double *thresholds;
    int64_t features;       /* number of features of a row */
    bool used[BLOCK_COUNT]; /* which blocks of columns are used */
    value_id rows;          /* [N, columns] */
};

static enum block block_of(const struct ml_test *test)
{
    if (!test->nan_right)
        return AS_IS;
    return test->threshold == (double)INFINITY ? IS_NAN : HIGH_NAN;
}

static value_id rows_with_blocks(struct walk *w, value_id x)
{
    struct builder *b = w->c->b;
    value_id parts[BLOCK_COUNT], nan = b_unary(b, PRIM_IS_NAN, x);
    uint32_t count = 0;
    if (w->used[AS_IS])
        parts[count++] = x;
    if (w->used[HIGH_NAN])
        parts[count++] = b_select(b, nan, b_const_like(b, x, INFINITY), x);
    if (w->used[IS_NAN])
        parts[count++] = b_cast(b, nan, w->dtype);
    return count == 1 ? parts[0] : b_concat(b, parts, count, 1);
}

static int32_t column_of(const struct walk *w, const struct ml_test *test)
{
    int64_t column = test->feature;
    for (enum block i = AS_IS; i < block_of(test); i++)
        column += w->used[i] ? w->features : 0;
    return (int32_t)column;
}

static void put_record(struct walk *w, uint32_t at, int64_t ref)
{
    if (ref < 0) {
        w->bases[at] = (int32_t)at;
        w->thresholds[at] = INFINITY;
        w->leaves[at] = (int32_t)~ref;
        return;
    }
    const struct ml_test *test = &w->tests.items[ref];
    bool is_nan = block_of(test) == IS_NAN;
    w->bases[at] = (int32_t)(w->root_count + 2 * (uint32_t)ref);
    w->columns[at] = column_of(w, test);
    w->thresholds[at] = is_nan ? 0.5 : test->threshold;
}

static bool make_records(struct walk *w)
{
    struct arena *arena = w->c->o->arena;
    size_t count = w->root_count + 2 * (size_t)w->tests.count;
    if (count > MAX_RECORDS)
        return b_fail(w->c->b, ERR_LIMIT, "%zu tests", (size_t)w->tests.count);
    w->records = (uint32_t)count;
    w->columns = ARENA_ARRAY(arena, int32_t, count);
    w->bases = ARENA_ARRAY(arena, int32_t, count);
    w->leaves = ARENA_ARRAY(arena, int32_t, count);
    w->thresholds = ARENA_ARRAY(arena, double, count);
    for (uint32_t i = 0; i < w->root_count; i++)
        put_record(w, i, w->roots[i]);
    for (uint32_t i = 0; i < w->tests.count; i++) {
        put_record(w, w->root_count + 2 * i, w->tests.items[i].left);
        put_record(w, w->root_count + 2 * i + 1, w->tests.items[i].right);
    }
    return true;
}

/* Whether a leaf votes for at most one target, and for which; UINT32_MAX: none. */
static bool one_target(const struct ml_forest *f, int64_t leaf, uint32_t *out)
{
    *out = UINT32_MAX;
    for (uint32_t i = f->vote_starts[leaf]; i < f->vote_starts[leaf + 1]; i++) {
        if (*out != UINT32_MAX && *out != f->votes[i].target)
            return false;
        *out = f->votes[i].target;
    }
    return true;
}

/* The only target of the leaves of a tree; false if they have several. seen: by test, 1 + the last
 * tree in which it was visited. */
static bool tree_target(struct walk *w, uint32_t tree, uint32_t *seen, uint32_t *out)
{
    VEC(int64_t) stack = {0};
    *out = UINT32_MAX;
    VEC_PUSH(w->c->o->arena, &stack, w->tests.roots[tree]);
    while (stack.count > 0) {
        int64_t ref = stack.items[--stack.count];
        uint32_t target;
        if (ref >= 0) {
            if (seen[ref] != tree + 1) {
                VEC_PUSH(w->c->o->arena, &stack, w->tests.items[ref].left);
                VEC_PUSH(w->c->o->arena, &stack, w->tests.items[ref].right);
            }
            seen[ref] = tree + 1;
            continue;
        }
        if (!one_target(w->forest, ~ref, &target) ||
            (target != UINT32_MAX && *out != UINT32_MAX && target != *out))
            return false;
        *out = target != UINT32_MAX ? target : *out;
    }
    return true;
}

/* If the leaves of each tree vote for one target only, as after boosting, groups the trees by
 * target; smaller groups are padded with leaves without votes. */
static void group_trees(struct walk *w)
{
    const struct ml_forest *f = w->forest;
    struct arena *arena = w->c->o->arena;
    uint32_t *targets = ARENA_ARRAY(arena, uint32_t, f->root_count), most = 0;
    uint32_t *counts = ARENA_ARRAY(arena, uint32_t, f->targets);
    uint32_t *seen = ARENA_ARRAY(arena, uint32_t, w->tests.count);
    w->roots = w->tests.roots;
    w->root_count = f->root_count;
    for (uint32_t i = 0; i < f->root_count; i++) {
        if (!tree_target(w, i, seen, &targets[i]))
            return;
        targets[i] = targets[i] == UINT32_MAX ? 0 : targets[i];
        counts[targets[i]]++;
        most = counts[targets[i]] > most ? counts[targets[i]] : most;
    }
    if ((uint64_t)most * f->targets > 2 * (uint64_t)f->root_count + 16)
        return;
    int64_t *roots = ARENA_ARRAY(arena, int64_t, most * f->targets);
    for (uint32_t i = 0; i < most * f->targets; i++)
        roots[i] = ~(int64_t)f->leaf_count; /* the leaf without votes, after the last leaf */
    memset(counts, 0, f->targets * sizeof *counts);
    for (uint32_t i = 0; i < f->root_count; i++)
        roots[targets[i] * most + counts[targets[i]]++] = w->tests.roots[i];
    w->group = most;
    w->roots = roots;
    w->root_count = most * f->targets;
}

/* One step down all trees of each row: the next records. */
static value_id step(struct walk *w, value_id value, value_id threshold, value_id base)
{
    struct builder *b = w->c->b;
    value_id right = b_binary(b, PRIM_LT, threshold, value);
    return b_add(b, base, b_cast(b, right, DTYPE_I32));
}

/* The records at which the trees of each row end: i32 [N, trees]. */
static value_id descend(struct walk *w)
{
    struct builder *b = w->c->b;
    int64_t all = w->records, roots = w->root_count;
    dim_id shape[2] = {b_dim(b, w->rows, 0), b_dim_const(b, roots)};
    if (onnx_failed(w->c))
        return VALUE_NONE;
    if (w->tests.depth == 0)
        return b_iota(b, DTYPE_I32, shape, 2, 1);
    value_id column = ml_table(w->c, "root_columns", DTYPE_I32, &roots, 1, w->columns);
    value_id threshold = ml_constant(w->c, "root_thresholds", w->dtype, w->thresholds, &roots, 1);
    value_id base = ml_table(w->c, "root_children", DTYPE_I32, &roots, 1, w->bases);
    value_id at = step(w, b_take(b, w->rows, column, 1), threshold, base);
    if (w->tests.depth == 1)
        return at;
    value_id columns = ml_table(w->c, "columns", DTYPE_I32, &all, 1, w->columns);
    value_id bases = ml_table(w->c, "children", DTYPE_I32, &all, 1, w->bases);
    value_id thresholds = ml_constant(w->c, "thresholds", w->dtype, w->thresholds, &all, 1);
    for (uint32_t i = 1; i < w->tests.depth; i++)
        at = step(w, b_gather(b, w->rows, b_take(b, columns, at, 0), 1),
                  b_take(b, thresholds, at, 0), b_take(b, bases, at, 0));
    return at;
}

static double neutral(const struct walk *w)
{
    return w->aggregate == ML_MIN   ? (double)INFINITY
           : w->aggregate == ML_MAX ? (double)-INFINITY
                                    : 0;
}

static double join(const struct walk *w, double x, double y)
{
    if (w->aggregate == ML_MIN)
        return fmin(x, y);
    return w->aggregate == ML_MAX ? fmax(x, y) : x + y;
}

static value_id aggregate(struct walk *w, value_id x, const int64_t *axes, uint32_t count)
{
    enum prim prim = w->aggregate == ML_MIN   ? PRIM_REDUCE_MIN
                     : w->aggregate == ML_MAX ? PRIM_REDUCE_MAX
                                              : PRIM_REDUCE_SUM;
    return b_reduce(w->c->b, prim, x, axes, count, false);
}

/* The weights of each leaf and of one more leaf without votes, `width` for each. slots NULL: one
 * place for each target, where its votes are added; otherwise slots gets the target of each place,
 * -1: none. */
static double *leaf_weights(const struct walk *w, size_t width, int32_t *slots)
{
    const struct ml_forest *f = w->forest;
    size_t count = ((size_t)f->leaf_count + 1) * width;
    double *weights = ARENA_ARRAY(w->c->o->arena, double, count);
    for (size_t i = 0; i < count; i++) {
        weights[i] = neutral(w);
        if (slots)
            slots[i] = -1;
    }
    for (uint32_t leaf = 0; leaf < f->leaf_count; leaf++)
        for (uint32_t i = f->vote_starts[leaf]; i < f->vote_starts[leaf + 1]; i++) {
            size_t at = leaf * width + (slots ? i - f->vote_starts[leaf] : f->votes[i].target);
            weights[at] = join(w, weights[at], f->votes[i].weight);
            if (slots)
                slots[at] = (int32_t)f->votes[i].target;
        }
    return weights;
}

/* Grouped trees: one weight for each record, summed over the trees of a group. */
static value_id sum_groups(struct walk *w, value_id at)
{
    struct builder *b = w->c->b;
    const struct ml_forest *f = w->forest;
    int64_t records = w->records, axis = 2;
    double *weights = ARENA_ARRAY(w->c->o->arena, double, w->records);
    for (uint32_t i = 0; i < w->records; i++) {
        uint32_t leaf = (uint32_t)w->leaves[i];
        weights[i] = neutral(w);
        for (uint32_t k = f->vote_starts[leaf];
             w->bases[i] == (int32_t)i && leaf < f->leaf_count && k < f->vote_starts[leaf + 1]; k++)
            weights[i] = join(w, weights[i], f->votes[k].weight);
    }
    value_id table = ml_constant(w->c, "weights", w->dtype, weights, &records, 1);
    value_id each = b_unary(b, PRIM_COPY, b_take(b, table, at, 0));
    dim_id shape[3] = {b_dim(b, each, 0), b_dim_const(b, f->targets), b_dim_const(b, w->group)};
    return aggregate(w, b_reshape(b, each, shape, 3), &axis, 1);
}

/* A row of weights for each leaf, one for each target. */
static value_id sum_rows(struct walk *w, value_id leaf)
{
    int64_t shape[2] = {(int64_t)w->forest->leaf_count + 1, w->forest->targets}, axis = 1;
    double *weights = leaf_weights(w, w->forest->targets, NULL);
    value_id table = ml_constant(w->c, "weights", w->dtype, weights, shape, 2);
    return aggregate(w, b_take(w->c->b, table, leaf, 0), &axis, 1);
}

/* A few pairs of target and weight for each leaf. */
static value_id sum_slots(struct walk *w, value_id leaf, uint32_t width)
{
    struct builder *b = w->c->b;
    int64_t shape[2] = {(int64_t)w->forest->leaf_count + 1, width}, axes[2] = {1, 2};
    int32_t *slots = ARENA_ARRAY(w->c->o->arena, int32_t, (size_t)(shape[0] * shape[1]));
    double *weights = leaf_weights(w, width, slots);
    value_id targets = b_take(b, ml_table(w->c, "targets", DTYPE_I32, shape, 2, slots), leaf, 0);
    value_id each = b_take(b, ml_constant(w->c, "weights", w->dtype, weights, shape, 2), leaf, 0);
    dim_id count = b_dim_const(b, w->forest->targets);
    value_id is =
        b_binary(b, PRIM_EQ, b_unsqueeze(b, targets, -1), b_iota(b, DTYPE_I32, &count, 1, 0));
    value_id by_target =
        b_select(b, is, b_unsqueeze(b, each, -1), b_const(b, w->dtype, neutral(w)));
    return aggregate(w, by_target, axes, 2);
}

/* Sums the weights of the leaves at which rows end: [N, targets]. */
static value_id sum_votes(struct walk *w, value_id at)
{
    const struct ml_forest *f = w->forest;
    uint32_t width = 1;
    int64_t records = w->records;
    if (w->group > 0)
        return sum_groups(w, at);
    for (uint32_t i = 0; i < f->leaf_count; i++) {
        uint32_t votes = f->vote_starts[i + 1] - f->vote_starts[i];
        width = votes > width ? votes : width;
    }
    bool rows = f->targets <= 2 * (uint64_t)width || f->targets <= 8;
    if (((uint64_t)f->leaf_count + 1) * (rows ? f->targets : width) > MAX_RECORDS)
        return b_fail(w->c->b, ERR_LIMIT, "%u leaves with up to %u votes", f->leaf_count, width);
    value_id table = ml_table(w->c, "leaves", DTYPE_I32, &records, 1, w->leaves);
    value_id leaf = b_unary(w->c->b, PRIM_COPY, b_take(w->c->b, table, at, 0));
    return rows ? sum_rows(w, leaf) : sum_slots(w, leaf, width);
}

/* Finishes the aggregate (sum, mean, minimum or maximum) and adds base values. A target without
 * votes has 0. */
static value_id finish(struct walk *w, value_id scores)
{
    struct builder *b = w->c->b;
    struct ml_reals base = ml_reals(w->c, "base_values");
    int64_t targets = w->forest->targets;
    if (w->aggregate == ML_MIN || w->aggregate == ML_MAX) {
        value_id none = b_const(b, w->dtype, neutral(w));
        scores = b_select(b, b_binary(b, PRIM_EQ, scores, none), b_const(b, w->dtype, 0), scores);
    } else if (w->aggregate == ML_AVERAGE) {
        scores = b_div(b, scores, b_const(b, w->dtype, w->forest->root_count));
    }
    if (base.count == 0)
        return scores;
    if (base.count != w->forest->targets)
        return b_fail(b, ERR_BLUEPRINT,
                      "attribute 'base_values' has %u elements, expected one for "
                      "each of %u scores",
                      base.count, w->forest->targets);
    return b_add(b, scores, ml_constant(w->c, "base_values", w->dtype, base.at, &targets, 1));
}

/* The scores of each row: [N, targets] in the dtype in which weights are summed. */
static value_id scores_of(struct onnx_call *c, const struct ml_forest *forest,
                          enum ml_aggregate how)
{
    value_id x = c->in[0];
    bool floats = dtype_is_float(onnx_type(c, x));
    struct walk w = {.c = c, .forest = forest, .aggregate = how};
    w.dtype = forest->wide ? DTYPE_F64 : ml_wide(c, x);
    if (!ml_forest_tests(c, forest, w.dtype, &w.tests))
        return VALUE_NONE;
    x = ml_rows(c, x, w.dtype, w.tests.features, false);
    if (x == VALUE_NONE)
        return VALUE_NONE;
    dim_is_const(&c->o->graph->dims, b_dim(c->b, x, 1), &w.features);
    w.used[AS_IS] = w.tests.count == 0;
    for (uint32_t i = 0; i < w.tests.count; i++) {
        w.tests.items[i].nan_right &= floats; /* integers have no NaN */
        w.used[block_of(&w.tests.items[i])] = true;
    }
    group_trees(&w);
    if (!make_records(&w))
        return VALUE_NONE;
    w.rows = rows_with_blocks(&w, x);
    return finish(&w, sum_votes(&w, descend(&w)));
}

bool onnx_ml_tree_regressor(struct onnx_call *c)
{
    static const char *const words[] = {"AVERAGE", "SUM", "MIN", "MAX", NULL};
    enum ml_aggregate how = (enum ml_aggregate)ml_word(c, "aggregate_function", words, ML_SUM);
    enum ml_transform transform = ml_transform_of(c);
    int64_t targets = onnx_int(c, "n_targets", 1);
    struct ml_forest forest;
    if (targets < 1 || targets > LIMIT_NODES)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'n_targets' is %lld", (long long)targets);
    if (onnx_failed(c) || !ml_forest_by_ids(c, "target", (uint32_t)targets, &forest))
        return false;
    value_id y = ml_transform(c, scores_of(c, &forest, how), transform);
    return onnx_return(c, b_cast(c->b, y, DTYPE_F32));
}

bool onnx_ml_tree_ensemble(struct onnx_call *c)
{
    int64_t how = onnx_int(c, "aggregate_function", ML_SUM);
    int64_t transform = onnx_int(c, "post_transform", ML_NONE);
    int64_t targets = onnx_int(c, "n_targets", 1);
    struct ml_forest forest;
    if (how < ML_AVERAGE || how > ML_MAX)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'aggregate_function' is %lld",
                      (long long)how);
    if (transform < ML_NONE || transform > ML_PROBIT)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'post_transform' is %lld",
                      (long long)transform);
    if (targets < 1 || targets > LIMIT_NODES)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'n_targets' is %lld", (long long)targets);
    if (onnx_failed(c) || !ml_forest_by_places(c, (uint32_t)targets, &forest))
        return false;
    value_id y = scores_of(c, &forest, (enum ml_aggregate)how);
    y = ml_transform(c, y, (enum ml_transform)transform);
    return onnx_return(c, b_cast(c->b, y, onnx_type(c, c->in[0])));
}

/* Whether all votes are for the same one of two classes, and whether none is negative. */
static bool votes_for_one(const struct ml_forest *f, uint32_t *out_class, bool *out_positive)
{
    uint32_t count = f->vote_starts[f->leaf_count];
    *out_positive = true;
    for (uint32_t i = 0; i < count; i++) {
        if (f->votes[i].target != f->votes[0].target)
            return false;
        *out_positive = *out_positive && f->votes[i].weight >= 0;
    }
    *out_class = count > 0 ? f->votes[0].target : 0;
    return count > 0 && f->targets <= 2;
}

/* If all votes are for one of two classes, the second class is chosen above this score. */
static double border_of(bool positive)
{
    return positive ? 0.5 : 0; /* probabilities, otherwise log-odds */
}

/* Votes for the first of two classes alone count as votes for the second, as converters mean
 * them. */
static bool classify_two(struct onnx_call *c, const struct ml_labels *labels,
                         struct ml_forest *forest, bool positive, enum ml_transform transform)
{
    forest->targets = 1;
    value_id score = scores_of(c, forest, ML_SUM);
    return ml_classified_by_one(c, labels, score, border_of(positive), !positive, transform);
}

/* The label of a single class is 1 if its score is above 0, otherwise 0, whatever its label in the
 * node. */
static bool classify_one(struct onnx_call *c, const struct ml_forest *forest,
                         enum ml_transform transform)
{
    static const int64_t ints[] = {0, 1};
    struct builder *b = c->b;
    value_id score = scores_of(c, forest, ML_SUM);
    if (transform != ML_NONE && transform != ML_PROBIT)
        return onnx_refuse(c, "post_transform %s of a single class",
                           onnx_text(c, "post_transform", ""));
    value_id above = b_binary(b, PRIM_LT, b_const_like(b, score, 0), score);
    return ml_classified(c, &(struct ml_labels){2, ints, ""},
                         b_squeeze(b, b_cast(b, above, DTYPE_I64), 1),
                         ml_transform(c, score, transform));
}

/* Whether the second score of [N, 2] is above the border: i64 [N]. */
static value_id is_second(struct onnx_call *c, value_id scores, double border)
{
    struct builder *b = c->b;
    value_id score = b_slice(b, scores, 1, b_dim_const(b, 1), b_dim_const(b, 1), 1);
    value_id above = b_binary(b, PRIM_LT, b_const_like(b, scores, border), score);
    return b_squeeze(b, b_cast(b, above, DTYPE_I64), 1);
}

bool onnx_ml_tree_classifier(struct onnx_call *c)
{
    enum ml_transform transform = ml_transform_of(c);
    struct ml_labels labels;
    struct ml_forest forest;
    uint32_t class = 0;
    bool positive;
    if (!ml_labels(c, "classlabels_int64s", "classlabels_strings", &labels) ||
        !ml_forest_by_ids(c, "class", labels.count, &forest))
        return false;
    if (labels.count == 1)
        return labels.ints ? classify_one(c, &forest, transform)
                           : onnx_refuse(c, "a single class whose label is a string");
    bool one = votes_for_one(&forest, &class, &positive);
    if (one && class == 0)
        return classify_two(c, &labels, &forest, positive, transform);
    value_id scores = scores_of(c, &forest, ML_SUM);
    value_id index = one ? is_second(c, scores, border_of(positive)) : ml_argmax(c, scores);
    return ml_classified(c, &labels, index, ml_transform(c, scores, transform));
}
