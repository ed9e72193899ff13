/* Integer arithmetic where ONNX leaves cases undefined or has no operation: division by 0 and by
 * -1, shifts of signed numbers. */
#include "compiler/export/export_priv.h"

/* Whether an operand is a single known number other than 0 and -1. */
static bool is_plain(const struct export *e, value_id value)
{
    const struct node *node = graph_node(e->graph, value);
    while (node->prim == PRIM_BROADCAST || node->prim == PRIM_RESHAPE || node->prim == PRIM_COPY)
        node = graph_node(e->graph, node->operands[0]);
    return node->prim == PRIM_CONST && node->attrs->integer != 0 && node->attrs->integer != -1;
}

/* x / 0 and x rem 0 are 0, and the lowest number / -1 wraps: these operands never reach Div. */
const char *export_divide(struct export *e, const struct node *node, const char *a, const char *b)
{
    enum dtype carrier = export_carrier((enum dtype)node->dtype);
    const char *op = node->prim == PRIM_DIV ? "Div" : "Mod";
    if (is_plain(e, node->operands[1]))
        return export_node(e, op, (const char *const[]){a, b}, 2);
    const char *zero = export_whole(e, carrier, 0);
    const char *is_zero = NODE(e, "Equal", b, zero);
    const char *is_minus = NODE(e, "Equal", b, export_whole(e, carrier, -1));
    const char *either = NODE(e, "Or", is_zero, is_minus);
    const char *safe = NODE(e, "Where", either, export_whole(e, carrier, 1), b);
    const char *result = export_node(e, op, (const char *const[]){a, safe}, 2);
    if (node->prim == PRIM_REM)
        return NODE(e, "Where", either, zero, result);
    const char *negated = NODE(e, "Sub", zero, a);
    result = NODE(e, "Where", is_minus, negated, result);
    return NODE(e, "Where", is_zero, zero, result);
}

/* 2^0 … 2^62, by index. */
static const char *power(struct export *e, const char *index)
{
    int64_t table[63];
    for (int i = 0; i < 63; i++)
        table[i] = (int64_t)1 << i;
    return NODE(e, "Gather", export_list(e, table, 63), index);
}

/* ONNX only shifts unsigned numbers. In i64 a left shift by b is two multiplications by powers of
 * two, which wrap; a right shift is two divisions, of the complement if x is negative. */
const char *export_shift(struct export *e, const struct node *node, const char *a, const char *b)
{
    enum dtype dtype = (enum dtype)node->dtype;
    bool left = node->prim == PRIM_SHL;
    const char *zero = export_whole(e, DTYPE_I64, 0), *one = export_whole(e, DTYPE_I64, 1);
    a = export_cast(e, a, DTYPE_I64);
    b = export_cast(e, b, DTYPE_I64);
    const char *width = export_whole(e, DTYPE_I64, 8 * (int64_t)dtype_bytes(dtype));
    const char *below = NODE(e, "Less", b, zero);
    const char *outside = NODE(e, "Or", below, NODE(e, "LessOrEqual", width, b));
    const char *by = NODE(e, "Where", outside, export_whole(e, DTYPE_I64, 63), b);
    const char *last = NODE(e, "Min", by, one), *first = NODE(e, "Sub", by, last);
    if (left) {
        const char *product = NODE(e, "Mul", a, power(e, first));
        product = NODE(e, "Mul", product, power(e, last));
        product = NODE(e, "Where", outside, zero, product);
        return export_cast(e, product, export_carrier(dtype));
    }
    const char *minus = export_whole(e, DTYPE_I64, -1), *negative = NODE(e, "Less", a, zero);
    const char *x = NODE(e, "Where", negative, NODE(e, "Sub", minus, a), a);
    x = NODE(e, "Div", x, power(e, first));
    x = NODE(e, "Div", x, power(e, last));
    x = NODE(e, "Where", negative, NODE(e, "Sub", minus, x), x);
    return export_cast(e, x, export_carrier(dtype));
}
