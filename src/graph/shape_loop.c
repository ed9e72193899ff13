/* Shape rules of loops. What several nodes have to agree on is checked by graph_find_loops. */
#include "graph/shape_priv.h"

#include "base/error.h"

static bool expect_number(struct shape_query *q)
{
    return (q->attrs->loop > 0 && q->attrs->loop <= LIMIT_NODES) ||
           shape_bad(q, "loop %u, expected 1 … %d", q->attrs->loop, LIMIT_NODES);
}

bool shape_iter(struct shape_query *q)
{
    q->dtype = DTYPE_I64;
    return expect_number(q);
}

bool shape_state(struct shape_query *q)
{
    return expect_number(q) && shape_like(q, shape_operand(q, 0));
}

/* State i is a state node with this number and index, and has its shape and dtype after a trip. */
static bool expect_state(struct shape_query *q, uint32_t i)
{
    const struct node *state = shape_operand(q, i);
    if (state->prim != PRIM_STATE || state->attrs->loop != q->attrs->loop ||
        state->attrs->index != i)
        return shape_bad(q, "operand %u is not state %u of loop %u", i, i, q->attrs->loop);
    return shape_expect_dtype(q, q->attrs->states + i, (enum dtype)state->dtype) &&
           shape_expect_shape(q, q->attrs->states + i, state);
}

/* The state that is looked at before each trip, if there is one, is a 0-d bool. */
static bool expect_condition(struct shape_query *q)
{
    uint32_t condition = q->attrs->condition;
    if (condition == 0)
        return true;
    if (condition > q->attrs->states)
        return shape_bad(q, "while %u of %u states", condition - 1, q->attrs->states);
    const struct node *state = shape_operand(q, condition - 1);
    return (state->dtype == DTYPE_BOOL && state->rank == 0) ||
           shape_bad(q, "state %u is the condition, expected a 0-d bool", condition - 1);
}

bool shape_loop(struct shape_query *q)
{
    const struct attrs *attrs = q->attrs;
    uint32_t states = attrs->states, index = attrs->index;
    int64_t trips = 0;
    if (!expect_number(q))
        return false;
    if (2 * (uint64_t)states > q->operand_count || index >= q->operand_count - states)
        return shape_bad(q, "index %u of %u states and %u operands", index, states,
                         q->operand_count);
    if (attrs->rank != 1)
        return shape_bad(q, "%u dims, expected one", attrs->rank);
    if (!shape_at_least(q, attrs->shape[0], 0))
        return shape_bad(q, "%s trips, expected at least 0", shape_dim_text(q, attrs->shape[0]));
    if (dim_is_const(&q->graph->dims, attrs->shape[0], &trips) && trips > LIMIT_DIM_VALUE)
        return shape_bad(q, "%s trips, at most %lld", shape_dim_text(q, attrs->shape[0]),
                         (long long)LIMIT_DIM_VALUE);
    for (uint32_t i = 0; i < states; i++)
        if (!expect_state(q, i))
            return false;
    if (!expect_condition(q))
        return false;
    if (index < states)
        return shape_like(q, shape_operand(q, index));
    const struct node *row = shape_operand(q, states + index);
    q->dtype = (enum dtype)row->dtype;
    return shape_push(q, attrs->shape[0]) && shape_push_range(q, row, 0, row->rank);
}
