/* The rules of the cut: for each row of cut_rules.def, when it applies. */
#include "compiler/opt/cut_priv.h"

#include <assert.h>

#define MAX_SCALAR_USERS 8      /* kernels that compute a number again, at most */
#define MAX_KERNEL_OPERANDS 150 /* bounds a kernel's code and buffers, and recursion over it */
/* most operations that several kernels repeat instead of reading a stored value */
#define MAX_CHEAP_DEPTH 2
#define MAX_KERNEL_LOOPS 24 /* of reductions: a nest has few loops and locals */
/* code grows with them: x + shifted x, applied n times, would have 2^n */
#define MAX_COPIES 32
#define MAX_REDUCTION_COPIES 8

static enum prim prim_of(const struct cut *c, value_id v)
{
    return (enum prim)cut_node(c, v)->prim;
}

/* The kernel of v, which is used by one root only. */
static const struct cut_value *kernel_of(const struct cut *c, value_id v)
{
    assert(c->values[v].owner != SEVERAL && c->values[v].owner != VALUE_NONE);
    return &c->values[c->values[v].owner];
}

static bool is_source(const struct cut *c, value_id v)
{
    switch (prim_of(c, v)) {
    case PRIM_INPUT:
    case PRIM_PARAM:
    case PRIM_ITER:
    case PRIM_STATE:
    case PRIM_LOOP: return true;
    default: return false;
    }
}

/* A reshape of something in memory. An output is none: it needs memory of its own, so a view of an
 * input, a parameter or another output is a kernel. */
static bool is_alias(const struct cut *c, value_id v)
{
    if (prim_of(c, v) != PRIM_RESHAPE || c->values[v].marked == CUT_OUTPUT)
        return false;
    value_id o = cut_node(c, v)->operands[0];
    return is_source(c, o) || c->values[o].marked;
}

static bool is_number(const struct cut *c, value_id v)
{
    return is_leaf(prim_of(c, v));
}

static bool is_row(const struct cut *c, value_id v)
{
    return c->p->values[v].in_rows && c->values[v].owner != SEVERAL;
}

/* The first user of v up to root. */
static value_id user_of(const struct cut *c, value_id v, value_id root)
{
    uint32_t count;
    const value_id *users = cut_users(c, v, &count);
    return count > 0 && users[0] <= root ? users[0] : VALUE_NONE;
}

/* Whether everything computed from v is elementwise and inside the kernel of root. Then all of it
 * needs v at the same index, however many uses there are (gelu(x) = x·φ(x)). */
static bool only_elementwise(const struct cut *c, value_id v, value_id root)
{
    uint32_t walk = ++c->met[0], to_see = 0;
    c->to_see[to_see++] = v;
    for (uint32_t at = 0; at < to_see; at++) {
        uint32_t count;
        const value_id *users = cut_users(c, c->to_see[at], &count);
        for (uint32_t i = 0; i < count; i++) {
            value_id u = users[i];
            if (u > root || !prim_is_elementwise(prim_of(c, u)) ||
                (u != root && c->values[u].owner != root))
                return false;
            if (c->met[u] == walk)
                continue;
            c->met[u] = walk;
            if (u != root)
                c->to_see[to_see++] = u;
        }
    }
    return c->met[root] == walk;
}

/* Whether v can be the anchor of its kernel: only elementwise prims, reshapes and transposes lead
 * from it to the root, and the kernel has neither an anchor nor a reduction. */
static bool may_anchor(const struct cut *c, value_id v)
{
    const struct cut_value *kernel = kernel_of(c, v);
    value_id root = c->values[v].owner;
    if (kernel->anchor != VALUE_NONE || kernel->loops > 0)
        return false;
    for (value_id at = v; at != root;) {
        if (c->values[at].users > 1)
            return only_elementwise(c, at, root);
        value_id user = user_of(c, at, root);
        enum prim prim = user == VALUE_NONE ? PRIM_NONE : prim_of(c, user);
        bool copied = prim == PRIM_COPY && user == root;
        if (!prim_is_elementwise(prim) && prim != PRIM_RESHAPE && prim != PRIM_TRANSPOSE && !copied)
            return false;
        at = user;
    }
    return true;
}

static bool is_moved_apart(const struct cut *c, value_id v)
{
    return cut_is_moved_result(c, v) && !c->p->values[v].in_rows &&
           (c->values[v].owner == SEVERAL || !may_anchor(c, v));
}

/* Whether a value is a view of what is stored in any case. */
static bool shows_stored(const struct cut *c, value_id v)
{
    bool view = is_view(prim_of(c, v));
    while (is_view(prim_of(c, v)))
        v = cut_node(c, v)->operands[0];
    return view && c->values[v].marked != CUT_NONE;
}

static bool is_shared_cheap(const struct cut *c, value_id v)
{
    bool cheap = (cut_is_cheap(prim_of(c, v)) || cut_is_trip_row(c, v)) &&
                 c->values[v].cheap_depth <= MAX_CHEAP_DEPTH;
    return c->values[v].owner == SEVERAL && !c->p->values[v].in_rows &&
           (cheap || shows_stored(c, v));
}

/* Of an input or a constant: code generation computes it outside of all loops, once in a chunk,
 * which takes less than a launch and a buffer. */
static bool is_shared_scalar(const struct cut *c, value_id v)
{
    const struct node *node = cut_node(c, v);
    bool scalar = node->rank == 0 && prim_is_elementwise((enum prim)node->prim) &&
                  c->values[v].owner == SEVERAL && c->values[v].users <= MAX_SCALAR_USERS;
    for (uint32_t i = 0; i < node->operand_count && scalar; i++) {
        const struct node *operand = cut_node(c, node->operands[i]);
        scalar = operand->rank == 0 && operand->operand_count == 0;
    }
    return scalar;
}

static bool is_shared(const struct cut *c, value_id v)
{
    return c->values[v].owner == SEVERAL;
}

static bool is_aside(const struct cut *c, value_id v)
{
    return is_special(prim_of(c, c->values[v].owner)) && !cut_is_cheap(prim_of(c, v));
}

static bool is_over_bound(const struct cut *c, value_id v)
{
    return kernel_of(c, v)->operands >= MAX_KERNEL_OPERANDS || c->values[v].copies > MAX_COPIES;
}

/* Values that depend on a reduction, such as the exponentials of softmax, are excluded: they are
 * kept for a row instead (placed.kept). */
static bool is_again(const struct cut *c, value_id v)
{
    const struct cut_value *x = &c->values[v];
    return kernel_of(c, v)->loops > 0 && x->users > 1 && x->costly && !x->behind_reduction;
}

static bool is_kernel_anchor(const struct cut *c, value_id v)
{
    return is_anchor(prim_of(c, v)) && may_anchor(c, v);
}

static bool is_anchor_apart(const struct cut *c, value_id v)
{
    return is_anchor(prim_of(c, v));
}

/* arg-max runs twice: for the maximum, then for its index. */
uint32_t cut_reduction_loops(const struct node *n)
{
    bool by_axes = prim_info((enum prim)n->prim)->attrs & ATTR_AXES;
    return by_axes ? n->attrs->axis_count + 1u : 2;
}

static bool is_reduction_here(const struct cut *c, value_id v)
{
    const struct cut_value *kernel = kernel_of(c, v);
    return is_reduction(prim_of(c, v)) && kernel->anchor == VALUE_NONE &&
           c->values[v].copies <= MAX_REDUCTION_COPIES &&
           kernel->loops + cut_reduction_loops(cut_node(c, v)) <= MAX_KERNEL_LOOPS &&
           !is_special(prim_of(c, c->values[v].owner));
}

static bool is_reduction_apart(const struct cut *c, value_id v)
{
    return is_reduction(prim_of(c, v));
}

static bool is_inside(const struct cut *c, value_id v)
{
    (void)c;
    (void)v;
    return true;
}

struct rule_row {
    bool (*applies)(const struct cut *c, value_id v);
    uint8_t place;
    const char *reason;
};

#define MARKED NULL
static const struct rule_row rows[CUT_COUNT] = {
#define CUT_RULE(id, applies, place, reason) [CUT_##id] = {applies, PLACE_##place, reason},
#include "compiler/opt/cut_rules.def"
#undef CUT_RULE
};

const char *cut_rule_reason(enum cut_rule rule)
{
    return rows[rule].reason;
}

enum placement cut_place(enum cut_rule rule)
{
    return (enum placement)rows[rule].place;
}

enum cut_rule cut_decide(const struct cut *c, value_id v)
{
    int rule = CUT_NONE + 1;
    while (rows[rule].applies ? !rows[rule].applies(c, v) : c->values[v].marked != rule)
        rule++; /* the last rule always applies */
    return (enum cut_rule)rule;
}
