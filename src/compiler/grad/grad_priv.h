/* Shared by the rules: one node whose cotangent is known. */
#ifndef URZA_COMPILER_GRAD_GRAD_PRIV_H
#define URZA_COMPILER_GRAD_GRAD_PRIV_H

#include "compiler/grad/grad.h"
#include "graph/build.h"
#include "graph/loops.h"

struct grad {
    struct builder *b;
    struct arena *arena;
    value_id first, end; /* rules run for values in between; others have cotangents only if asked */
    bool *active;        /* by value: hangs on one of wrt */
    bool *asked;         /* by value: is one of wrt */
    bool *guarded;       /* by value: a select may not take it (grad_give_slope) */
    value_id *cotangents; /* by value: the sum so far; VALUE_NONE: nothing yet */
    struct graph_loops loops;
    bool in_body; /* the values are those of a trip: rules make no loops */
};

/* A node with the cotangent of its value. */
struct grad_call {
    struct grad *grad;
    struct builder *b;
    struct node node; /* a copy: nodes move while some are added */
    const value_id *x;
    value_id y, g;
};

typedef bool grad_rule(struct grad_call *call);
#define GRAD(id, rule, doc) grad_rule grad_##rule;
#include "compiler/grad/grads.def"
#undef GRAD

/* The sweep, over the values from grad->first on; grad->end is the next value. As grad_add. */
bool grad_run(struct grad *grad, const struct grad_request *request, value_id *out);

/* shift.c: whether a broadcast gives each row of its result the element of that row: its operand
 * has the other axes in their order, and perhaps the reduced ones with the size 1. */
bool grad_along_rows(const struct graph *g, const struct node *broadcast,
                     const struct attrs *reduce);
/* Makes inactive what leads to maxima that softmax subtracts: their cotangents are 0. */
void grad_leave_shifts(struct grad *grad, const struct grad_request *request);

/* Whether an operand's cotangent is asked for. */
static inline bool grad_wants(const struct grad_call *call, uint32_t operand)
{
    return call->grad->active[call->x[operand]];
}
/* Adds to a value's cotangent, if it is asked for; false for VALUE_NONE. */
bool grad_give_to(struct grad *grad, value_id to, value_id cotangent);
static inline bool grad_give(const struct grad_call *call, uint32_t operand, value_id cotangent)
{
    return grad_give_to(call->grad, call->x[operand], cotangent);
}

/* Whether a value is the first node of a loop one of whose results has a cotangent: then all have
 * theirs. */
bool grad_loop_is_due(const struct grad *grad, value_id v);

/* softmax.c: the x of a softmax whose last node, a division, the call is of; VALUE_NONE: it is of
 * none, or not to be taken as a whole. Then x gets its cotangent at once. */
value_id grad_softmax_source(const struct grad_call *call);
bool grad_softmax(const struct grad_call *call, value_id source);

/* strips.c: what the backward pass of attention would hold whole, [rows, keys], is computed in
 * strips of rows. `values` hang on it; they are replaced. The backward pass begins at `first`. */
bool grad_in_strips(struct builder *b, value_id first, value_id *values, uint32_t count,
                    struct arena *arena);

/* Zeros of a value's shape and dtype. */
value_id grad_zeros_like(struct builder *b, value_id x);
/* x of y's shape without the axes over which y was reduced, as y's shape. */
value_id grad_expand(struct builder *b, value_id x, value_id like, const uint8_t *axes,
                     uint32_t axis_count);
/* x[…, start + j*step, …] = part[…, j, …] along an axis of `size`; elsewhere 0. */
struct grad_place {
    uint32_t axis;
    dim_id start, size;
    int64_t step;
};
value_id grad_place(struct builder *b, value_id part, const struct grad_place *place);
/* Drops `drop` elements at the beginning of an axis and then takes `count`. */
value_id grad_trim(struct builder *b, value_id x, uint32_t axis, int64_t drop, dim_id count);
/* x, with one more element at the end of an axis that may be empty: take and gather refuse to read
 * from nothing, also where they read no element. */
value_id grad_readable(struct builder *b, value_id x, uint32_t axis);
/* The cotangents of the operands of contract, see grad_contract. a: [batch…, m…, k…]; b: [batch…,
 * n…, k…]; g: [batch…, m…, n…]. */
struct grad_product {
    uint32_t batch, contract;
    value_id g, other;
};
value_id grad_product_first(struct builder *b, const struct grad_product *product);
value_id grad_product_second(struct builder *b, const struct grad_product *product);
/* Zeros of data's shape, to which g is added by index along an axis: in f32 or wider, where many
 * that are small do not get lost beside one that is large. */
value_id grad_scatter_add(struct builder *b, value_id data, value_id index, value_id g,
                          uint32_t axis);
/* The cotangent of data in take(data, index) along axis. */
value_id grad_take_data(struct builder *b, value_id data, value_id index, value_id g,
                        uint32_t axis);

#endif
