/* Tangents of scatters that keep the largest or smallest: the mean over all that are equal to the
 * result, the base included. */
#include "graph/tangent_priv.h"

void tangent_scatter_extremum(const struct tangent_op *t)
{
    const struct op *op = t->op;
    const struct interp_tensor *base = op->in[0], *index = op->in[1], *updates = op->in[2];
    const struct interp_tensor *out = op->out;
    uint32_t axis = (uint32_t)op->attrs->axis;
    double *ties = tangent_scratch(t, out->count);
    int64_t stride[LIMIT_RANK];
    struct walk walk = {0}; /* over the updates: where the line of each begins */
    row_strides(out->shape, out->rank, stride);
    for (uint32_t d = 0; d < index->rank; d++)
        walk_push(&walk, index->shape[d], d == axis ? 0 : stride[d]);
    for (int64_t i = 0; i < out->count; i++) {
        bool same = tangent_same(base->cells[i].f, out->cells[i].f);
        ties[i] = same ? 1 : 0;
        t->out[i] = same ? t->in[0][i] : 0;
    }
    for (int64_t i = 0; i < index->count; i++) {
        int64_t j = index->cells[i].i;
        bool inside = j >= 0 && j < out->shape[axis];
        int64_t to = walk.offset + (inside ? j * stride[axis] : 0);
        if (inside && tangent_same(updates->cells[i].f, out->cells[to].f)) {
            ties[to]++;
            t->out[to] += t->in[2][i];
        }
        walk_next(&walk);
    }
    for (int64_t i = 0; i < out->count; i++)
        if (ties[i] > 0)
            t->out[i] /= ties[i];
}
