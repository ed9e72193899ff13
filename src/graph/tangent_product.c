/* Tangents of products of tensors, which are linear in each operand: f(a', b) + f(a, b'). They are
 * added up here term by term, not by the interpreter's products of a tangent and an operand: terms
 * whose tangent is 0 count for nothing, infinities beside them too. */
#include "graph/tangent_priv.h"

/* Σ s·t over `count` slopes and tangents. */
static double dot(const union cell *slopes, const double *tangents, int64_t count)
{
    double sum = 0;
    for (int64_t k = 0; k < count; k++)
        sum += tangent_times(slopes[k].f, tangents[k]);
    return sum;
}

/* a is [batches, rows, depth] and b is [batches, columns, depth]. */
void tangent_contract(const struct tangent_op *t)
{
    const struct op *op = t->op;
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    uint32_t batch = op->attrs->batch, contract = op->attrs->contract;
    int64_t rows = shape_product(a->shape, batch, a->rank - contract);
    int64_t columns = shape_product(b->shape, batch, b->rank - contract);
    int64_t depth = shape_product(a->shape, a->rank - contract, a->rank);
    for (int64_t i = 0; i < op->out->count; i++) {
        int64_t row = i / columns * depth;
        int64_t column = (i / columns / rows * columns + i % columns) * depth;
        t->out[i] = dot(b->cells + column, t->in[0] + row, depth) +
                    dot(a->cells + row, t->in[1] + column, depth);
    }
}
