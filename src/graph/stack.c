#include "graph/stack.h"

#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/build.h"
#include "graph/graph_priv.h"

struct stacking {
    struct builder b;
    int64_t count;
    dim_id copies; /* count, as a dim */
    uint32_t axis;
    bool *stacked; /* by value of the new graph: the copies lie along its first dim */
    uint32_t room;
};

/* Values are marked when they are added; *to grows as we go. */
static void mark(struct stacking *s, value_id value)
{
    if (value >= s->room) {
        uint32_t room = 2 * value + 64;
        bool *wide = ARENA_ARRAY(s->b.graph->arena, bool, room);
        if (s->room > 0)
            memcpy(wide, s->stacked, s->room * sizeof *wide);
        s->stacked = wide;
        s->room = room;
    }
    s->stacked[value] = true;
}

static bool is_stacked(const struct stacking *s, value_id value)
{
    return value < s->room && s->stacked[value];
}

static value_id refuse(struct stacking *s, const struct node *n, const char *why)
{
    return b_fail(&s->b, ERR_UNSUPPORTED, "'%s' cannot stand several times side by side: %s",
                  prim_info((enum prim)n->prim)->name, why);
}

/* The value with the copies along its first dim; all the same where there is only one. */
static value_id stacked(struct stacking *s, value_id x)
{
    if (x == VALUE_NONE || is_stacked(s, x))
        return x;
    struct builder *b = &s->b;
    uint32_t rank = b_node(b, x)->rank;
    dim_id shape[LIMIT_RANK + 1] = {s->copies};
    if (rank >= LIMIT_RANK)
        return b_fail(b, ERR_LIMIT, "a value has more dims than %d", LIMIT_RANK - 1);
    memcpy(shape + 1, b_node(b, x)->shape, rank * sizeof *shape);
    return b_broadcast_to(b, x, shape, rank + 1);
}

/* Moves a dim to another place. */
static value_id move(struct builder *b, value_id x, uint32_t from, uint32_t to)
{
    uint8_t axes[LIMIT_RANK];
    uint32_t rank, count = 0;
    if (x == VALUE_NONE)
        return VALUE_NONE;
    rank = b_node(b, x)->rank;
    for (uint32_t i = 0, next = 0; i < rank; i++) {
        next += next == from;
        axes[count++] = (uint8_t)(i == to ? from : next++);
    }
    return b_transpose(b, x, axes);
}

/* [n, …, d, …] becomes [.., n·d, …], with the dim at place axis of the result. */
static value_id side_by_side(struct stacking *s, value_id x, uint32_t axis)
{
    x = move(&s->b, x, 0, axis);
    return b_flatten(&s->b, x, axis, (int64_t)axis + 1);
}

/* The reverse of it. */
static value_id apart(struct stacking *s, value_id x, uint32_t axis)
{
    dim_id shape[LIMIT_RANK + 1];
    int64_t size;
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *n = b_node(&s->b, x);
    uint32_t rank = n->rank;
    if (rank >= LIMIT_RANK)
        return b_fail(&s->b, ERR_LIMIT, "a value has more dims than %d", LIMIT_RANK - 1);
    if (!dim_is_const(&s->b.graph->dims, n->shape[axis], &size))
        return b_fail(&s->b, ERR_SHAPE, "dim %u is not constant", axis);
    memcpy(shape, n->shape, axis * sizeof *shape);
    memcpy(shape + axis + 2, n->shape + axis + 1, (rank - axis - 1) * sizeof *shape);
    shape[axis] = s->copies;
    shape[axis + 1] = b_dim_const(&s->b, size / s->count);
    return move(&s->b, b_reshape(&s->b, x, shape, rank + 1), axis, 0);
}

/* Adds an input or param whose type is that of the old one, but for a dim. */
static value_id add_source(struct stacking *s, const struct node *old, struct attrs *attrs)
{
    struct graph *to = s->b.graph;
    uint32_t rank = old->rank;
    const char *name = old->attrs->name;
    int64_t size;
    if (old->prim == PRIM_PARAM) {
        if (rank >= LIMIT_RANK)
            return b_fail(&s->b, ERR_LIMIT, "'%.100s' has more dims than %d", name, LIMIT_RANK - 1);
        memmove(attrs->shape + 1, attrs->shape, rank * sizeof *attrs->shape);
        attrs->shape[0] = s->copies;
        return graph_param(to, name, (enum dtype)old->dtype, attrs->shape, rank + 1, s->b.err);
    }
    if (!dtype_is_float((enum dtype)old->dtype))
        return graph_input(to, name, (enum dtype)old->dtype, attrs->shape, rank, s->b.err);
    if (s->axis >= rank || !dim_is_const(&to->dims, attrs->shape[s->axis], &size))
        return b_fail(&s->b, ERR_SHAPE,
                      "'%.100s' cannot stand several times side by side along its dim %u: it is %s",
                      name, s->axis, s->axis >= rank ? "not there" : "no number");
    attrs->shape[s->axis] = b_dim_mul(&s->b, attrs->shape[s->axis], s->copies);
    if (attrs->shape[s->axis] == DIM_NONE)
        return VALUE_NONE;
    value_id input = graph_input(to, name, (enum dtype)old->dtype, attrs->shape, rank, s->b.err);
    return apart(s, input, s->axis);
}

/* Groups of one convolution. */
static value_id add_conv(struct stacking *s, const struct node *old, value_id x, value_id w)
{
    struct builder *b = &s->b;
    const struct attrs *a = old->attrs;
    if (a->groups > INT64_MAX / s->count)
        return b_fail(b, ERR_LIMIT, "a convolution has too many groups");
    x = side_by_side(s, x, 1);
    w = b_flatten(b, w, 0, 1);
    return apart(s, b_conv(b, x, w, a->window, a->window_count, a->groups * s->count), 1);
}

/* The attributes as they are with one more dim at the front of all operands and of the result. */
static bool widen(struct stacking *s, const struct node *old, struct attrs *a)
{
    uint32_t bits = prim_info((enum prim)old->prim)->attrs;
    a->axis += (bits & ATTR_AXIS) != 0;
    a->batch = (uint8_t)(a->batch + ((bits & ATTR_BATCH) != 0));
    for (uint32_t i = 0; i < a->axis_count; i++)
        a->axes[i]++;
    if (old->prim == PRIM_TRANSPOSE || old->prim == PRIM_BROADCAST) {
        if (a->axis_count >= LIMIT_RANK)
            return fail(s->b.err, ERR_LIMIT, "a value has more dims than %d", LIMIT_RANK - 1);
        memmove(a->axes + 1, a->axes, a->axis_count * sizeof *a->axes);
        a->axes[0] = 0;
        a->axis_count++;
    }
    if (!(bits & (ATTR_SHAPE | ATTR_START | ATTR_LOW)))
        return true;
    if (a->rank >= LIMIT_RANK)
        return fail(s->b.err, ERR_LIMIT, "a value has more dims than %d", LIMIT_RANK - 1);
    size_t bytes = a->rank * sizeof *a->shape;
    dim_id zero = b_dim_const(&s->b, 0);
    memmove(a->shape + 1, a->shape, bytes);
    memmove(a->start + 1, a->start, bytes);
    memmove(a->low + 1, a->low, bytes);
    memmove(a->high + 1, a->high, bytes);
    memmove(a->step + 1, a->step, a->rank * sizeof *a->step);
    a->shape[0] = s->copies;
    a->start[0] = a->low[0] = a->high[0] = zero;
    a->step[0] = 1;
    a->rank++;
    return true;
}

/* Operand `index` of a prim stays as it is: pad's number, the indices of take. */
static bool is_shared(const struct node *n, uint32_t index)
{
    return (n->prim == PRIM_PAD || n->prim == PRIM_TAKE) && index == 1;
}

static value_id add_node(struct stacking *s, const struct node *old, struct attrs *attrs,
                         const value_id *copies)
{
    value_id operands[LIMIT_OPERANDS];
    bool any = old->prim == PRIM_RANDOM;
    for (uint32_t i = 0; i < old->operand_count; i++) {
        operands[i] = copies[old->operands[i]];
        any |= is_stacked(s, operands[i]);
    }
    if (!any)
        return graph_add(s->b.graph, (enum prim)old->prim, operands, old->operand_count, attrs,
                         s->b.err);
    if (old->prim == PRIM_STATE || old->prim == PRIM_LOOP)
        return refuse(s, old, "it is a loop");
    for (uint32_t i = 0; i < old->operand_count; i++) {
        if (is_shared(old, i) || old->prim == PRIM_RANDOM) {
            if (is_stacked(s, operands[i]))
                return refuse(s, old,
                              "an operand that all have in common depends on a float input "
                              "or a parameter");
        } else {
            operands[i] = stacked(s, operands[i]);
        }
    }
    value_id made = old->prim == PRIM_CONV  ? add_conv(s, old, operands[0], operands[1])
                    : !widen(s, old, attrs) ? VALUE_NONE
                                            : graph_add(s->b.graph, (enum prim)old->prim, operands,
                                                        old->operand_count, attrs, s->b.err);
    if (made != VALUE_NONE)
        mark(s, made);
    return made;
}

static value_id add(struct graph *to, const struct graph *from, value_id old,
                    const value_id *copies, void *context, struct error *err)
{
    struct stacking *s = context;
    const struct node *n = graph_node(from, old);
    struct attrs attrs;
    if (s->copies == DIM_NONE)
        s->copies = b_dim_const(&s->b, s->count);
    if (s->copies == DIM_NONE || !graph_copy_attrs(to, from, n, &attrs, err))
        return VALUE_NONE;
    bool param = n->prim == PRIM_PARAM, input = n->prim == PRIM_INPUT;
    if (!param && !input)
        return add_node(s, n, &attrs, copies);
    value_id source = add_source(s, n, &attrs);
    if (source != VALUE_NONE && (param || dtype_is_float((enum dtype)n->dtype)))
        mark(s, source);
    return source;
}

bool graph_stack(struct graph *to, struct arena *arena, const struct graph *from, int64_t count,
                 uint32_t axis, struct error *err)
{
    struct error none = {0};
    struct stacking s = {.b = {to, &none}, .count = count, .axis = axis};
    if (count < 1 || count > INT32_MAX)
        return fail(err, ERR_LIMIT, "%lld copies of a graph", (long long)count);
    if (!graph_rebuild(to, arena, from, &(struct graph_copying){add, &s}, &none)) {
        *err = none;
        return false;
    }
    for (uint32_t i = 0; i < to->outputs.count; i++) {
        value_id *value = &to->outputs.items[i].value;
        value_id v = stacked(&s, *value);
        if (v != VALUE_NONE && axis + 1u >= graph_node(to, v)->rank)
            v = b_fail(&s.b, ERR_SHAPE, "output '%.100s' has no dim %u", to->outputs.items[i].name,
                       axis);
        *value = side_by_side(&s, v, axis);
        if (*value == VALUE_NONE) {
            *err = none;
            return false;
        }
    }
    return true;
}
