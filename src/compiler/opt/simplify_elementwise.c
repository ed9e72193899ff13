/* Rules for elementwise prims: constants, neutral operands, pairs that cancel. */
#include <math.h>
#include <string.h>

#include "compiler/opt/simplify_priv.h"
#include "graph/interp.h"

/* Evaluates a prim on constants, in the interpreter, which defines the meaning of prims. */
static value_id evaluate(struct simplifier *s, enum prim prim, const struct attrs *const *constants,
                         uint32_t count, const struct attrs *attrs)
{
    struct arena *arena = s->graph->arena;
    struct graph graph;
    struct interp_tensor result;
    value_id operands[LIMIT_OPERANDS];
    graph_init(&graph, arena);
    for (uint32_t i = 0; i < count; i++)
        operands[i] = graph_add(&graph, PRIM_CONST, NULL, 0, constants[i], s->err);
    value_id y = graph_add(&graph, prim, operands, count, attrs, s->err);
    if (!graph_output(&graph, "y", y, s->err) ||
        !interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                    &(struct interp_arguments){NULL, NULL, 0}, arena, &result, s->err))
        return VALUE_NONE;
    struct attrs out = {.dtype = (uint8_t)result.dtype};
    if (dtype_is_float(result.dtype))
        out.value = result.cells[0].f;
    else
        out.integer = result.cells[0].i;
    return simplify_add(s, PRIM_CONST, NULL, 0, &out);
}

value_id fold_constants(struct simplifier *s, const struct subject *x)
{
    const struct attrs *constants[3];
    for (uint32_t i = 0; i < x->node.operand_count; i++) {
        const struct node *operand = operand_node(s, x, i);
        if (operand->prim != PRIM_CONST)
            return x->id;
        constants[i] = operand->attrs;
    }
    return evaluate(s, (enum prim)x->node.prim, constants, x->node.operand_count, x->node.attrs);
}

value_id literal_splat(struct simplifier *s, const struct subject *x)
{
    const struct attrs *attrs = x->node.attrs;
    uint32_t size = (uint32_t)dtype_bytes((enum dtype)x->node.dtype);
    const char *data = attrs->data;
    if (attrs->data_bytes == 0)
        return x->id;
    for (uint32_t at = size; at < attrs->data_bytes; at += size)
        if (memcmp(data, data + at, size) != 0)
            return x->id;
    struct attrs element = {.dtype = x->node.dtype, .data = data, .data_bytes = size};
    value_id scalar = evaluate(s, PRIM_LITERAL, NULL, 0, &element);
    return simplify_splat(s, scalar, x->node.shape, x->node.rank);
}

value_id size_of_constant(struct simplifier *s, const struct subject *x)
{
    struct attrs attrs = {.dtype = DTYPE_I64};
    if (!dim_is_const(&s->graph->dims, x->node.attrs->shape[0], &attrs.integer))
        return x->id;
    return simplify_add(s, PRIM_CONST, NULL, 0, &attrs);
}

/* Whether every value of `from` is representable in `to`. */
static bool has_all_values(enum dtype from, enum dtype to)
{
    if (from == to)
        return true;
    if (dtype_is_float(from))
        return dtype_is_float(to) && dtype_unit_roundoff(to) <= dtype_unit_roundoff(from) &&
               dtype_max(to) >= dtype_max(from) &&
               dtype_min_subnormal(to) <= dtype_min_subnormal(from);
    double from_max = dtype_int_value(from, dtype_greatest(from));
    if (dtype_is_float(to))
        return from_max * dtype_unit_roundoff(to) <= 1; /* integers up to 2^precision are
                                                           representable */
    /* Different bounds of integer dtypes are different as float64, too. */
    return dtype_least(to) <= dtype_least(from) &&
           from_max <= dtype_int_value(to, dtype_greatest(to));
}

value_id cast_chain(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    enum dtype to = (enum dtype)x->node.dtype, between = (enum dtype)inner->dtype;
    if (to == between)
        return x->node.operands[0];
    if (inner->prim != PRIM_CAST)
        return x->id;
    enum dtype from = (enum dtype)simplify_node(s, inner->operands[0])->dtype;
    /* A value that does not fit wraps if it was an integer, but saturates if it was a float. */
    bool wraps = !dtype_is_float(from) && dtype_is_float(between) && dtype_is_int(to) &&
                 !has_all_values(from, to);
    if (!has_all_values(from, between) || wraps)
        return x->id;
    return from == to ? inner->operands[0]
                      : simplify_add(s, PRIM_CAST, inner->operands, 1, x->node.attrs);
}

value_id without_detach(struct simplifier *s, const struct subject *x)
{
    (void)s;
    return x->node.operands[0];
}

value_id involution(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    return inner->prim == x->node.prim ? inner->operands[0] : x->id;
}

value_id idempotent(struct simplifier *s, const struct subject *x)
{
    return operand_node(s, x, 0)->prim == x->node.prim ? x->node.operands[0] : x->id;
}

value_id absolute(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    if (inner->prim == PRIM_NEG && !dtype_is_unsigned((enum dtype)inner->dtype))
        return simplify_add(s, PRIM_ABS, inner->operands, 1, NULL);
    return idempotent(s, x);
}

value_id whole(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    bool known = (inner->prim >= PRIM_FLOOR && inner->prim <= PRIM_TRUNC) ||
                 inner->prim == PRIM_SIGN ||
                 (inner->prim == PRIM_CAST &&
                  !dtype_is_float((enum dtype)simplify_node(s, inner->operands[0])->dtype));
    return known ? x->node.operands[0] : x->id;
}

value_id add_negated(struct simplifier *s, const struct subject *x)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct node *operand = operand_node(s, x, 1 - i);
        if (operand->prim == PRIM_NEG)
            return simplify_add(s, PRIM_SUB,
                                (value_id[]){x->node.operands[i], operand->operands[0]}, 2, NULL);
    }
    return x->id;
}

value_id subtract_negated(struct simplifier *s, const struct subject *x)
{
    const struct node *operand = operand_node(s, x, 1);
    if (operand->prim != PRIM_NEG)
        return x->id;
    return simplify_add(s, PRIM_ADD, (value_id[]){x->node.operands[0], operand->operands[0]}, 2,
                        NULL);
}

/* Constants that are neutral or absorbing, as floats and as integers; NAN: there is none. */
struct special_operand {
    enum prim prim;
    bool left; /* also as the first operand */
    double value;
    int64_t integer;
};

static bool is_special(const struct simplifier *s, value_id operand,
                       const struct special_operand *special)
{
    const struct attrs *constant = constant_of(s, operand);
    if (!constant)
        return false;
    if (!dtype_is_float((enum dtype)constant->dtype))
        return constant->integer == dtype_wrap((enum dtype)constant->dtype, special->integer);
    return constant->value == special->value && signbit(constant->value) == signbit(special->value);
}

/* The index of the operand that is special, or -1. */
static int find_special(const struct simplifier *s, const struct subject *x,
                        const struct special_operand *special)
{
    if (x->node.prim != special->prim)
        return -1;
    if (is_special(s, x->node.operands[1], special))
        return 1;
    return special->left && is_special(s, x->node.operands[0], special) ? 0 : -1;
}

value_id neutral_operand(struct simplifier *s, const struct subject *x)
{
    static const struct special_operand neutral[] = {
        {PRIM_ADD, true, -0.0, 0},
        {PRIM_SUB, false, 0.0, 0},
        {PRIM_MUL, true, 1, 1},
        {PRIM_DIV, false, 1, 1},
        {PRIM_AND, true, NAN, -1},
        {PRIM_OR, true, NAN, 0},
        {PRIM_XOR, true, NAN, 0},
        {PRIM_SHL, false, NAN, 0},
        {PRIM_SHR, false, NAN, 0},
        {PRIM_MAX, true, -INFINITY, INT64_MIN},
        {PRIM_MIN, true, INFINITY, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        /* Wrapping INT64_MIN and INT64_MAX does not give the bounds of narrower integers. */
        bool order = neutral[i].prim == PRIM_MAX || neutral[i].prim == PRIM_MIN;
        if (order && !dtype_is_float((enum dtype)x->node.dtype) && x->node.dtype != DTYPE_I64)
            continue;
        int at = find_special(s, x, &neutral[i]);
        if (at >= 0)
            return x->node.operands[1 - at];
    }
    return x->id;
}

value_id absorbing_operand(struct simplifier *s, const struct subject *x)
{
    static const struct special_operand absorbing[] = {
        {PRIM_MUL, true, NAN, 0},
        {PRIM_AND, true, NAN, 0},
        {PRIM_OR, true, NAN, -1},
    };
    for (size_t i = 0; i < sizeof absorbing / sizeof *absorbing; i++) {
        int at = find_special(s, x, &absorbing[i]);
        if (at >= 0)
            return x->node.operands[at];
    }
    return x->id;
}

/* Quotient and product round the same number once, because the factor is exact. */
value_id divide_by_power(struct simplifier *s, const struct subject *x)
{
    enum dtype dtype = (enum dtype)x->node.dtype;
    const struct attrs *divisor = constant_of(s, x->node.operands[1]);
    int exponent;
    if (!divisor || !dtype_is_float(dtype) || !isfinite(divisor->value) ||
        fabs(frexp(divisor->value, &exponent)) != 0.5)
        return x->id;
    double factor = 1 / divisor->value;
    if (fabs(factor) < dtype_min_normal(dtype) || fabs(factor) > dtype_max(dtype))
        return x->id;
    value_id by = simplify_fill(s, &x->node, factor);
    if (by == VALUE_NONE)
        return VALUE_NONE;
    return simplify_add(s, PRIM_MUL, (value_id[]){x->node.operands[0], by}, 2, NULL);
}

value_id small_power(struct simplifier *s, const struct subject *x)
{
    const struct attrs *exponent = constant_of(s, x->node.operands[1]);
    value_id base = x->node.operands[0];
    if (exponent && exponent->value == 0)
        return simplify_fill(s, &x->node, 1);
    if (exponent && exponent->value == 1)
        return base;
    if (exponent && exponent->value == 2)
        return simplify_add(s, PRIM_MUL, (value_id[]){base, base}, 2, NULL);
    return x->id;
}

value_id same_operands(struct simplifier *s, const struct subject *x)
{
    if (x->node.operand_count != 2 || x->node.operands[0] != x->node.operands[1])
        return x->id;
    bool is_float = dtype_is_float((enum dtype)operand_node(s, x, 0)->dtype); /* NaN ≠ NaN */
    switch ((int)x->node.prim) {
    case PRIM_MIN:
    case PRIM_MAX:
    case PRIM_AND:
    case PRIM_OR: return x->node.operands[0];
    case PRIM_LT:
    case PRIM_XOR: return simplify_fill(s, &x->node, 0);
    case PRIM_SUB:
    case PRIM_NE: return is_float ? x->id : simplify_fill(s, &x->node, 0);
    case PRIM_EQ:
    case PRIM_LE: return is_float ? x->id : simplify_fill(s, &x->node, 1);
    }
    return x->id;
}

value_id select_known(struct simplifier *s, const struct subject *x)
{
    const value_id *operands = x->node.operands;
    const struct attrs *known = constant_of(s, operands[0]);
    const struct node *condition = operand_node(s, x, 0);
    if (operands[1] == operands[2])
        return operands[1];
    if (known)
        return known->integer ? operands[1] : operands[2];
    if (condition->prim != PRIM_NOT)
        return x->id;
    value_id turned[3] = {condition->operands[0], operands[2], operands[1]};
    return simplify_add(s, PRIM_SELECT, turned, 3, NULL);
}

/* All operands must be broadcasts from one shape by the same axes, or of 0-d values, which fit any
 * shape. */
value_id before_broadcast(struct simplifier *s, const struct subject *x)
{
    const struct node *like = NULL;
    value_id sources[3];
    for (uint32_t i = 0; i < x->node.operand_count; i++) {
        const struct node *operand = operand_node(s, x, i);
        if (operand->prim != PRIM_BROADCAST)
            return x->id;
        sources[i] = operand->operands[0];
        if (simplify_node(s, sources[i])->rank == 0)
            continue;
        if (like &&
            (memcmp(like->attrs->axes, operand->attrs->axes, sizeof like->attrs->axes) != 0 ||
             !same_shape(simplify_node(s, like->operands[0]), simplify_node(s, sources[i]))))
            return x->id;
        like = operand;
    }
    struct attrs attrs = like ? *like->attrs : *operand_node(s, x, 0)->attrs;
    const struct node shape = like ? *simplify_node(s, like->operands[0]) : (struct node){0};
    for (uint32_t i = 0; i < x->node.operand_count; i++) {
        if (simplify_node(s, sources[i])->rank == 0)
            sources[i] = simplify_splat(s, sources[i], shape.shape, shape.rank);
        if (sources[i] == VALUE_NONE)
            return VALUE_NONE;
    }
    value_id value =
        simplify_add(s, (enum prim)x->node.prim, sources, x->node.operand_count, x->node.attrs);
    return value == VALUE_NONE ? VALUE_NONE : simplify_add(s, PRIM_BROADCAST, &value, 1, &attrs);
}
