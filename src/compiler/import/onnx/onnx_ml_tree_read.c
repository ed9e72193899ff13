/* Reading the trees in a node's attributes. Older ops identify nodes by tree and number, and leaves
 * are nodes too; TreeEnsemble identifies them by their indices in its lists. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import/onnx/onnx_ml_tree_priv.h"

#define LEAF ML_MEMBER /* the index of the word LEAF */

/* The tree and number of a node, and its index in the lists. */
struct named {
    int64_t tree, node;
    uint32_t place;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    if (x->tree != y->tree)
        return x->tree < y->tree ? -1 : 1;
    return x->node < y->node ? -1 : x->node > y->node;
}

struct by_ids {
    struct ml_ints trees, nodes, features, yes, no, missing;
    struct ml_reals values;
    uint8_t *modes;
    uint32_t count;
    struct named *names; /* sorted */
    int64_t *refs;       /* by index in the lists */
};

static bool read_modes(struct onnx_call *c, struct by_ids *in)
{
    static const char *const words[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE", "BRANCH_GT",
                                        "BRANCH_EQ",  "BRANCH_NEQ", "LEAF"};
    struct ml_texts texts = ml_texts(c, "nodes_modes");
    if (!ml_same_length(c, "nodes_modes", texts.count, "nodes_treeids", in->count))
        return false;
    in->modes = ARENA_ARRAY(c->o->arena, uint8_t, in->count);
    for (uint32_t i = 0; i < in->count; i++) {
        while (in->modes[i] <= LEAF && strcmp(texts.at[i], words[in->modes[i]]) != 0)
            in->modes[i]++;
        if (in->modes[i] > LEAF)
            return b_fail(c->b, ERR_BLUEPRINT, "attribute 'nodes_modes': element %u is '%.40s'", i,
                          texts.at[i]);
    }
    return true;
}

static bool read_lists(struct onnx_call *c, struct by_ids *in)
{
    static const char first[] = "nodes_treeids";
    in->trees = ml_ints(c, first);
    in->nodes = ml_ints(c, "nodes_nodeids");
    in->features = ml_ints(c, "nodes_featureids");
    in->yes = ml_ints(c, "nodes_truenodeids");
    in->no = ml_ints(c, "nodes_falsenodeids");
    in->missing = ml_ints(c, "nodes_missing_value_tracks_true");
    in->values = ml_reals(c, "nodes_values");
    in->count = in->trees.count;
    if (onnx_failed(c))
        return false;
    if (in->count == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' has no elements", first);
    return ml_same_length(c, "nodes_nodeids", in->nodes.count, first, in->count) &&
           ml_same_length(c, "nodes_featureids", in->features.count, first, in->count) &&
           ml_same_length(c, "nodes_truenodeids", in->yes.count, first, in->count) &&
           ml_same_length(c, "nodes_falsenodeids", in->no.count, first, in->count) &&
           ml_same_length(c, "nodes_values", in->values.count, first, in->count) &&
           (in->missing.count == 0 || ml_same_length(c, "nodes_missing_value_tracks_true",
                                                     in->missing.count, first, in->count)) &&
           read_modes(c, in);
}

static const struct named *find(const struct by_ids *in, int64_t tree, int64_t node)
{
    struct named key = {tree, node, 0};
    return bsearch(&key, in->names, in->count, sizeof key, by_name);
}

/* Numbers splits and leaves, in the order of the lists. */
static bool name_nodes(struct onnx_call *c, struct by_ids *in, struct ml_forest *out)
{
    in->names = ARENA_ARRAY(c->o->arena, struct named, in->count);
    in->refs = ARENA_ARRAY(c->o->arena, int64_t, in->count);
    for (uint32_t i = 0; i < in->count; i++) {
        in->names[i] = (struct named){in->trees.at[i], in->nodes.at[i], i};
        in->refs[i] =
            in->modes[i] == LEAF ? ~(int64_t)out->leaf_count++ : (int64_t)out->split_count++;
    }
    qsort(in->names, in->count, sizeof *in->names, by_name);
    for (uint32_t i = 1; i < in->count; i++)
        if (by_name(&in->names[i - 1], &in->names[i]) == 0)
            return b_fail(c->b, ERR_BLUEPRINT,
                          "attribute 'nodes_nodeids': tree %lld has two nodes "
                          "of the number %lld",
                          (long long)in->names[i].tree, (long long)in->names[i].node);
    return true;
}

static bool child(struct onnx_call *c, const struct by_ids *in, uint32_t place, bool yes,
                  bool *is_child, int64_t *out)
{
    int64_t tree = in->trees.at[place], node = yes ? in->yes.at[place] : in->no.at[place];
    const struct named *found = find(in, tree, node);
    if (!found)
        return b_fail(
            c->b, ERR_BLUEPRINT,
            "attribute '%s': element %u is %lld, and tree %lld has no node of that number",
            yes ? "nodes_truenodeids" : "nodes_falsenodeids", place, (long long)node,
            (long long)tree);
    is_child[found->place] = true;
    *out = in->refs[found->place];
    return true;
}

static bool read_splits(struct onnx_call *c, const struct by_ids *in, bool *is_child,
                        struct ml_forest *out)
{
    out->splits = ARENA_ARRAY(c->o->arena, struct ml_split, out->split_count);
    for (uint32_t i = 0; i < in->count; i++) {
        if (in->modes[i] == LEAF)
            continue;
        struct ml_split *split = &out->splits[in->refs[i]];
        *split = (struct ml_split){.mode = (enum ml_mode)in->modes[i],
                                   .missing_true = in->missing.count > 0 && in->missing.at[i] != 0,
                                   .feature = in->features.at[i],
                                   .value = in->values.at[i]};
        if (!child(c, in, i, true, is_child, &split->yes) ||
            !child(c, in, i, false, is_child, &split->no))
            return false;
    }
    return true;
}

/* The root of a tree is the node that is no child. */
static bool find_roots(struct onnx_call *c, const struct by_ids *in, const bool *is_child,
                       struct ml_forest *out)
{
    int64_t *roots = ARENA_ARRAY(c->o->arena, int64_t, in->count);
    for (uint32_t i = 0, end = 0; i < in->count; i = end) {
        int64_t tree = in->names[i].tree;
        uint32_t found = 0;
        for (end = i; end < in->count && in->names[end].tree == tree; end++)
            if (!is_child[in->names[end].place]) {
                roots[out->root_count] = in->refs[in->names[end].place];
                found++;
            }
        if (found == 0)
            return b_fail(c->b, ERR_BLUEPRINT,
                          "tree %lld has no root: each of its nodes is the "
                          "child of one",
                          (long long)tree);
        if (found > 1)
            return b_fail(c->b, ERR_BLUEPRINT,
                          "tree %lld has %u roots: nodes that are no node's "
                          "child",
                          (long long)tree, found);
        out->root_count++;
    }
    out->roots = roots;
    return true;
}

/* The lists of votes, for kind "class" or "target". */
struct vote_lists {
    char names[4][32];
    struct ml_ints trees, nodes, ids;
    struct ml_reals weights;
};

static bool read_vote_lists(struct onnx_call *c, const char *kind, struct vote_lists *v)
{
    static const char *const endings[] = {"treeids", "nodeids", "ids", "weights"};
    for (uint32_t i = 0; i < 4; i++)
        snprintf(v->names[i], sizeof v->names[i], "%s_%s", kind, endings[i]);
    v->trees = ml_ints(c, v->names[0]);
    v->nodes = ml_ints(c, v->names[1]);
    v->ids = ml_ints(c, v->names[2]);
    v->weights = ml_reals(c, v->names[3]);
    return ml_same_length(c, v->names[1], v->nodes.count, v->names[0], v->trees.count) &&
           ml_same_length(c, v->names[2], v->ids.count, v->names[0], v->trees.count) &&
           ml_same_length(c, v->names[3], v->weights.count, v->names[0], v->trees.count);
}

/* A vote at a split is ignored: no row ends there. */
static bool leaf_of_vote(struct onnx_call *c, const struct by_ids *in, const struct vote_lists *v,
                         uint32_t i, uint32_t targets, int64_t *out)
{
    const struct named *node = find(in, v->trees.at[i], v->nodes.at[i]);
    if (!node)
        return b_fail(
            c->b, ERR_BLUEPRINT,
            "attribute '%s': element %u is %lld, and tree %lld has no node of that number",
            v->names[1], i, (long long)v->nodes.at[i], (long long)v->trees.at[i]);
    if (v->ids.at[i] < 0 || v->ids.at[i] >= targets)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute '%s': element %u is %lld, of %u", v->names[2],
                      i, (long long)v->ids.at[i], targets);
    *out = ~in->refs[node->place];
    return true;
}

static bool read_votes(struct onnx_call *c, const char *kind, const struct by_ids *in,
                       struct ml_forest *out)
{
    struct vote_lists v;
    int64_t leaf = 0;
    if (!read_vote_lists(c, kind, &v))
        return false;
    uint32_t *starts = ARENA_ARRAY(c->o->arena, uint32_t, out->leaf_count + 2);
    struct ml_vote *votes = ARENA_ARRAY(c->o->arena, struct ml_vote, v.trees.count + 1);
    for (uint32_t i = 0; i < v.trees.count; i++) {
        if (!leaf_of_vote(c, in, &v, i, out->targets, &leaf))
            return false;
        if (leaf >= 0)
            starts[leaf + 2]++;
    }
    for (uint32_t i = 2; i < out->leaf_count + 2; i++)
        starts[i] += starts[i - 1];
    for (uint32_t i = 0; i < v.trees.count; i++) { /* starts[leaf + 1] ends as the end of the leaf's
                                                      votes */
        leaf_of_vote(c, in, &v, i, out->targets, &leaf);
        if (leaf >= 0)
            votes[starts[leaf + 1]++] = (struct ml_vote){(uint32_t)v.ids.at[i], v.weights.at[i]};
    }
    out->vote_starts = starts;
    out->votes = votes;
    out->wide = in->values.dtype == DTYPE_F64 || v.weights.dtype == DTYPE_F64;
    return true;
}

bool ml_forest_by_ids(struct onnx_call *c, const char *kind, uint32_t targets,
                      struct ml_forest *out)
{
    struct by_ids in = {.count = 0};
    *out = (struct ml_forest){.targets = targets, .one_root = true};
    if (!read_lists(c, &in) || !name_nodes(c, &in, out))
        return false;
    bool *is_child = ARENA_ARRAY(c->o->arena, bool, in.count);
    return read_splits(c, &in, is_child, out) && find_roots(c, &in, is_child, out) &&
           read_votes(c, kind, &in, out);
}

struct by_places {
    struct ml_ints features, yes, no, yes_leaf, no_leaf, missing, targets, roots;
    struct ml_reals modes, values, weights, members;
};

static bool read_place_lists(struct onnx_call *c, struct by_places *in)
{
    static const char first[] = "nodes_featureids";
    in->features = ml_ints(c, first);
    in->yes = ml_ints(c, "nodes_truenodeids");
    in->no = ml_ints(c, "nodes_falsenodeids");
    in->yes_leaf = ml_ints(c, "nodes_trueleafs");
    in->no_leaf = ml_ints(c, "nodes_falseleafs");
    in->missing = ml_ints(c, "nodes_missing_value_tracks_true");
    in->targets = ml_ints(c, "leaf_targetids");
    in->roots = ml_ints(c, "tree_roots");
    in->modes = ml_tensor(c, "nodes_modes");
    in->values = ml_tensor(c, "nodes_splits");
    in->weights = ml_tensor(c, "leaf_weights");
    in->members = ml_tensor(c, "membership_values");
    uint32_t count = in->features.count;
    if (!onnx_failed(c) && in->roots.count == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'tree_roots' has no elements");
    return ml_same_length(c, "nodes_truenodeids", in->yes.count, first, count) &&
           ml_same_length(c, "nodes_falsenodeids", in->no.count, first, count) &&
           ml_same_length(c, "nodes_trueleafs", in->yes_leaf.count, first, count) &&
           ml_same_length(c, "nodes_falseleafs", in->no_leaf.count, first, count) &&
           ml_same_length(c, "nodes_modes", in->modes.count, first, count) &&
           ml_same_length(c, "nodes_splits", in->values.count, first, count) &&
           ml_same_length(c, "leaf_weights", in->weights.count, "leaf_targetids",
                          in->targets.count) &&
           (in->missing.count == 0 ||
            ml_same_length(c, "nodes_missing_value_tracks_true", in->missing.count, first, count));
}

/* The set of the next node with ML_MEMBER: the attribute has the sets in order, each terminated by
 * a NaN. */
static bool take_members(struct onnx_call *c, const struct by_places *in, uint32_t *at,
                         struct ml_split *split)
{
    if (in->members.count > 0)
        split->members = in->members.at + *at;
    while (*at + split->member_count < in->members.count &&
           !isnan(split->members[split->member_count]))
        split->member_count++;
    if (*at + split->member_count >= in->members.count)
        return b_fail(c->b, ERR_BLUEPRINT,
                      "attribute 'membership_values' has fewer sets, with a NaN "
                      "behind each, than there are nodes BRANCH_MEMBER");
    *at += split->member_count + 1;
    return true;
}

static bool check_place(struct onnx_call *c, const char *name, uint32_t i, int64_t place, bool leaf,
                        const struct ml_forest *forest)
{
    uint32_t count = leaf ? forest->leaf_count : forest->split_count;
    return (place >= 0 && place < count) ||
           b_fail(c->b, ERR_BLUEPRINT, "attribute '%s': element %u is %lld, of %u %s", name, i,
                  (long long)place, count, leaf ? "leaves" : "nodes");
}

static bool read_place_splits(struct onnx_call *c, const struct by_places *in,
                              struct ml_forest *out)
{
    uint32_t member = 0;
    out->splits = ARENA_ARRAY(c->o->arena, struct ml_split, out->split_count);
    for (uint32_t i = 0; i < out->split_count; i++) {
        struct ml_split *split = &out->splits[i];
        double mode = in->modes.at[i];
        bool yes_leaf = in->yes_leaf.at[i] != 0, no_leaf = in->no_leaf.at[i] != 0;
        if (!(mode >= 0 && mode <= ML_MEMBER))
            return b_fail(c->b, ERR_BLUEPRINT, "attribute 'nodes_modes': element %u is %g", i,
                          mode);
        *split = (struct ml_split){.mode = (enum ml_mode)mode,
                                   .missing_true = in->missing.count > 0 && in->missing.at[i] != 0,
                                   .feature = in->features.at[i],
                                   .value = in->values.at[i]};
        if ((split->mode == ML_MEMBER && !take_members(c, in, &member, split)) ||
            !check_place(c, "nodes_truenodeids", i, in->yes.at[i], yes_leaf, out) ||
            !check_place(c, "nodes_falsenodeids", i, in->no.at[i], no_leaf, out))
            return false;
        split->yes = yes_leaf ? ~in->yes.at[i] : in->yes.at[i];
        split->no = no_leaf ? ~in->no.at[i] : in->no.at[i];
    }
    return true;
}

bool ml_forest_by_places(struct onnx_call *c, uint32_t targets, struct ml_forest *out)
{
    struct by_places in;
    if (!read_place_lists(c, &in))
        return false;
    *out =
        (struct ml_forest){.split_count = in.features.count,
                           .leaf_count = in.targets.count,
                           .root_count = in.roots.count,
                           .targets = targets,
                           .wide = in.values.dtype == DTYPE_F64 || in.weights.dtype == DTYPE_F64};
    uint32_t *starts = ARENA_ARRAY(c->o->arena, uint32_t, out->leaf_count + 1);
    struct ml_vote *votes = ARENA_ARRAY(c->o->arena, struct ml_vote, out->leaf_count);
    for (uint32_t i = 0; i < out->leaf_count; i++) {
        if (in.targets.at[i] < 0 || in.targets.at[i] >= targets)
            return b_fail(c->b, ERR_BLUEPRINT,
                          "attribute 'leaf_targetids': element %u is %lld, of "
                          "%u",
                          i, (long long)in.targets.at[i], targets);
        votes[i] = (struct ml_vote){(uint32_t)in.targets.at[i], in.weights.at[i]};
        starts[i + 1] = i + 1;
    }
    for (uint32_t i = 0; i < out->root_count; i++)
        if (!check_place(c, "tree_roots", i, in.roots.at[i], false, out))
            return false;
    out->vote_starts = starts;
    out->votes = votes;
    out->roots = in.roots.at;
    return read_place_splits(c, &in, out);
}
