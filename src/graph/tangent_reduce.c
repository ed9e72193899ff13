/* Tangents of reductions and scans.
 *
 * A product grows factor by factor, with its tangent beside it: (p·x)' = p'·x + p·x'. Nothing is
 * divided by a factor, so zeros are right. */
#include "graph/tangent_priv.h"

/* The elements of the operand in row-major order, each at the index of its result. */
static struct walk results_of(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    int64_t stride[LIMIT_RANK];
    bool reduced[LIMIT_RANK] = {false};
    struct walk walk = {0};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < op->attrs->axis_count; i++)
        reduced[op->attrs->axes[i]] = true;
    row_strides(op->out->shape, op->out->rank, stride);
    for (uint32_t d = 0; d < x->rank; d++)
        walk_push(&walk, x->shape[d], reduced[d] ? 0 : stride[kept++]);
    return walk;
}

static void clear(const struct tangent_op *t)
{
    for (int64_t i = 0; i < t->op->out->count; i++)
        t->out[i] = 0;
}

void tangent_reduce_prod(const struct tangent_op *t)
{
    const struct op *op = t->op;
    const struct interp_tensor *x = op->in[0];
    double *product = tangent_scratch(t, op->out->count);
    struct walk walk = results_of(op);
    clear(t);
    for (int64_t i = 0; i < op->out->count; i++)
        product[i] = 1;
    for (int64_t i = 0; i < x->count; i++) {
        double factor = x->cells[i].f, *p = &product[walk.offset], *out = &t->out[walk.offset];
        *out = tangent_times(factor, *out) + tangent_times(*p, t->in[0][i]);
        *p *= factor;
        walk_next(&walk);
    }
}

void tangent_reduce_extremum(const struct tangent_op *t)
{
    const struct op *op = t->op;
    const struct interp_tensor *x = op->in[0];
    double *ties = tangent_scratch(t, op->out->count);
    struct walk walk = results_of(op);
    clear(t);
    for (int64_t i = 0; i < x->count; i++) {
        if (tangent_same(x->cells[i].f, op->out->cells[walk.offset].f)) {
            ties[walk.offset]++;
            t->out[walk.offset] += t->in[0][i];
        }
        walk_next(&walk);
    }
    for (int64_t i = 0; i < op->out->count; i++)
        if (ties[i] > 0)
            t->out[i] /= ties[i];
}

/* A running result and its tangent. */
struct running {
    double value, tangent;
};

/* grow takes one element more into the result. */
static void scan(const struct tangent_op *t, struct running start,
                 struct running (*grow)(struct running, double x, double tangent))
{
    const struct op *op = t->op;
    const struct interp_tensor *x = op->in[0];
    uint32_t axis = (uint32_t)op->attrs->axis;
    int64_t size = x->shape[axis], inner = shape_product(x->shape, axis + 1, x->rank);
    int64_t lines = x->count > 0 ? x->count / size : 0;
    for (int64_t line = 0; line < lines; line++) {
        struct running now = start;
        for (int64_t j = 0; j < size; j++) {
            int64_t place = op->attrs->reverse ? size - 1 - j : j;
            int64_t at = (line / inner * size + place) * inner + line % inner;
            struct running next = grow(now, x->cells[at].f, t->in[0][at]);
            t->out[at] = op->attrs->exclusive ? now.tangent : next.tangent;
            now = next;
        }
    }
}

static struct running grow_product(struct running p, double x, double tangent)
{
    return (struct running){p.value * x,
                            tangent_times(x, p.tangent) + tangent_times(p.value, tangent)};
}

void tangent_cum_prod(const struct tangent_op *t)
{
    scan(t, (struct running){1, 0}, grow_product);
}

/* The last of equal elements is taken. */
static struct running grow_maximum(struct running max, double x, double tangent)
{
    return x < max.value ? max : (struct running){x, tangent};
}

void tangent_cum_max(const struct tangent_op *t)
{
    scan(t, (struct running){-INFINITY, 0}, grow_maximum);
}
