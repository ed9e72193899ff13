/* Converts splits of all kinds to one kind of test: x <= threshold goes left, otherwise right; each
 * test says where a NaN goes.
 *
 *   x <  v      x <= the next lower number
 *   x >= v      x <  v with its children exchanged; x > v in the same way
 *   x in a set  thresholds at each member and just below it, in order; a balanced tree of tests
 * finds the interval of x, and every second interval is a member. x = v is a set of one
 *
 * The numbers are those of the dtype, so the next lower number is exact. */
#include <math.h>
#include <stdlib.h>

#include "compiler/import/onnx/onnx_ml_tree_priv.h"

#define MAX_DEPTH 1024

struct making {
    struct onnx_call *c;
    const struct ml_forest *forest;
    enum dtype dtype;
    uint32_t *depths; /* by split: 0 not visited, ON_THE_WAY on the stack, otherwise 1 + tests down
                         to a leaf */
    uint32_t *first;  /* by split: its first test */
    struct ml_tests *out;
    uint32_t made;
};

#define ON_THE_WAY UINT32_MAX

static double below(enum dtype dtype, double value)
{
    return dtype == DTYPE_F32 ? (double)nextafterf((float)value, -INFINITY)
                              : nextafter(value, -INFINITY);
}

static bool is_set(const struct ml_split *split)
{
    return split->mode == ML_EQ || split->mode == ML_NEQ || split->mode == ML_MEMBER;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The thresholds of a set, in order; *out_first: the interval before the first one is a member.
 * NULL: the set has no numbers. */
static const double *thresholds_of(const struct making *m, const struct ml_split *split,
                                   uint32_t *out_count, bool *out_first)
{
    const double *members = split->mode == ML_MEMBER ? split->members : &split->value;
    uint32_t given = split->mode == ML_MEMBER ? split->member_count : 1, count = 0;
    double *sorted = ARENA_ARRAY(m->c->o->arena, double, 2 * (size_t)given);
    for (uint32_t i = 0; i < given; i++)
        if (!isnan(members[i]))
            sorted[count++] = dtype_round(m->dtype, members[i]) + 0.0; /* -0 becomes 0 */
    qsort(sorted, count, sizeof *sorted, by_value);
    double *out = ARENA_ARRAY(m->c->o->arena, double, 2 * (size_t)count);
    *out_count = 0;
    *out_first = count > 0 && sorted[0] == (double)-INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && sorted[i] == sorted[i - 1])
            continue;
        if (sorted[i] != (double)-INFINITY)
            out[(*out_count)++] = below(m->dtype, sorted[i]);
        out[(*out_count)++] = sorted[i];
    }
    return *out_count > 0 ? out : NULL;
}

static int64_t reference(const struct making *m, int64_t ref)
{
    return ref < 0 ? ref : (int64_t)m->first[ref];
}

/* Builds a balanced tree over the thresholds first … last - 1, which separate last - first + 1
 * intervals. */
struct set_search {
    const double *thresholds;
    bool first_in, nan_in;
    uint32_t nan_interval;
    int64_t feature, in, out;
};

static int64_t search_set(struct making *m, const struct set_search *s, uint32_t first,
                          uint32_t last)
{
    if (first == last)
        return ((first & 1) == 0) == s->first_in ? s->in : s->out;
    uint32_t middle = first + (last - first) / 2, at = m->made++;
    struct ml_test test = {.feature = s->feature,
                           .threshold = s->thresholds[middle],
                           .nan_right = s->nan_interval > middle};
    test.left = search_set(m, s, first, middle);
    test.right = search_set(m, s, middle + 1, last);
    m->out->items[at] = test;
    return at;
}

static void put_set(struct making *m, const struct ml_split *split)
{
    bool not_equal = split->mode == ML_NEQ;
    uint32_t count;
    struct set_search s = {.feature = split->feature,
                           .in = reference(m, not_equal ? split->no : split->yes),
                           .out = reference(m, not_equal ? split->yes : split->no)};
    s.thresholds = thresholds_of(m, split, &count, &s.first_in);
    /* A NaN is in no set, and x != v is true for it. Of intervals 0 and 1, one is inside and one
     * outside. */
    s.nan_in = split->missing_true && !not_equal;
    s.nan_interval = s.nan_in == s.first_in ? 0 : 1;
    if (s.thresholds)
        search_set(m, &s, 0, count);
    else
        m->out->items[m->made++] = (struct ml_test){.feature = split->feature,
                                                    .threshold = INFINITY,
                                                    .left = s.out,
                                                    .right = s.nan_in ? s.in : s.out,
                                                    .nan_right = true};
}

static void put_split(struct making *m, const struct ml_split *split)
{
    int64_t yes = reference(m, split->yes), no = reference(m, split->no);
    bool upward = split->mode == ML_GTE || split->mode == ML_GT;
    bool strict = split->mode == ML_LT || split->mode == ML_GTE; /* the threshold is the next lower
                                                                    number */
    double value = dtype_round(m->dtype, split->value);
    int64_t nan = split->missing_true ? yes : no;
    struct ml_test test = {.feature = split->feature,
                           .threshold = strict ? below(m->dtype, value) : value,
                           .left = upward ? no : yes,
                           .right = upward ? yes : no,
                           .nan_right = split->missing_true == upward};
    /* No number is less than -inf, and no number compares with NaN: all numbers go the same way. */
    if (isnan(value) || (strict && value == (double)-INFINITY))
        test = (struct ml_test){.feature = split->feature,
                                .threshold = INFINITY,
                                .left = upward && !isnan(value) ? yes : no,
                                .right = nan,
                                .nan_right = true};
    m->out->items[m->made++] = test;
}

/* The depth of the tests of a split, and their number. */
static uint32_t split_tests(const struct making *m, const struct ml_split *split,
                            uint32_t *out_count)
{
    bool first;
    uint32_t depth = 0;
    *out_count = 1;
    if (!is_set(split) || !thresholds_of(m, split, out_count, &first)) {
        *out_count = 1;
        return 1;
    }
    while (depth < 32 && (*out_count >> depth) > 0)
        depth++;
    return depth;
}

static uint32_t depth_of(const struct making *m, int64_t ref)
{
    return ref < 0 ? 1 : m->depths[ref];
}

static bool leads_back(const struct making *m)
{
    return b_fail(m->c->b, ERR_BLUEPRINT,
                  "a tree is none: one of its nodes leads back to itself, through attributes "
                  "'nodes_truenodeids' and 'nodes_falsenodeids'");
}

/* Visits all splits below a root, children first. */
static bool visit(struct making *m, int64_t root)
{
    VEC(uint32_t) stack = {0};
    if (root < 0)
        return true;
    VEC_PUSH(m->c->o->arena, &stack, (uint32_t)root);
    while (stack.count > 0) {
        uint32_t top = stack.items[stack.count - 1], count;
        const struct ml_split *split = &m->forest->splits[top];
        int64_t children[2] = {split->yes, split->no};
        uint32_t before = stack.count;
        m->depths[top] = m->depths[top] == 0 ? ON_THE_WAY : m->depths[top];
        for (uint32_t i = 0; i < 2 && m->depths[top] == ON_THE_WAY; i++) {
            if (depth_of(m, children[i]) == ON_THE_WAY)
                return leads_back(m);
            if (depth_of(m, children[i]) == 0)
                VEC_PUSH(m->c->o->arena, &stack, (uint32_t)children[i]);
        }
        if (stack.count > before)
            continue;
        stack.count--;
        if (m->depths[top] != ON_THE_WAY)
            continue; /* it was visited through another parent */
        uint32_t yes = depth_of(m, split->yes), no = depth_of(m, split->no);
        m->depths[top] = (yes > no ? yes : no) + split_tests(m, split, &count);
        m->first[top] = m->out->count;
        m->out->count += count;
        if (m->depths[top] > MAX_DEPTH + 1)
            return b_fail(m->c->b, ERR_LIMIT, "a tree is more than %d tests deep", MAX_DEPTH);
    }
    return true;
}

static bool check_feature(struct making *m, const struct ml_split *split)
{
    if (split->feature < 0 || split->feature >= INT32_MAX / 4)
        return b_fail(m->c->b, ERR_BLUEPRINT,
                      "attribute 'nodes_featureids': there is no feature "
                      "%lld",
                      (long long)split->feature);
    if (split->feature >= m->out->features)
        m->out->features = split->feature + 1;
    return true;
}

bool ml_forest_tests(struct onnx_call *c, const struct ml_forest *forest, enum dtype dtype,
                     struct ml_tests *out)
{
    struct making m = {.c = c, .forest = forest, .dtype = dtype, .out = out};
    *out = (struct ml_tests){.count = 0};
    m.depths = ARENA_ARRAY(c->o->arena, uint32_t, forest->split_count);
    m.first = ARENA_ARRAY(c->o->arena, uint32_t, forest->split_count);
    out->roots = ARENA_ARRAY(c->o->arena, int64_t, forest->root_count);
    for (uint32_t i = 0; i < forest->root_count; i++) {
        if (!visit(&m, forest->roots[i]))
            return false;
        uint32_t depth = depth_of(&m, forest->roots[i]) - 1;
        out->depth = depth > out->depth ? depth : out->depth;
    }
    out->items = ARENA_ARRAY(c->o->arena, struct ml_test, out->count);
    for (uint32_t i = 0; i < forest->split_count; i++) {
        const struct ml_split *split = &forest->splits[i];
        if (m.depths[i] == 0 && forest->one_root)
            return leads_back(&m);
        if (m.depths[i] == 0)
            continue; /* no root leads to it */
        if (!check_feature(&m, split))
            return false;
        m.made = m.first[i];
        if (is_set(split))
            put_set(&m, split);
        else
            put_split(&m, split);
    }
    for (uint32_t i = 0; i < forest->root_count; i++)
        out->roots[i] = reference(&m, forest->roots[i]);
    return true;
}
