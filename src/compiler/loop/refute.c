/* Values of variables and dims at which an index is negative.
 *
 * Most questions of index_le have the answer no: the minimum of a block and of what is left over,
 * at a size where either may be less. Showing that no proof works takes a search. One legal point
 * at which the index is negative says the same, and an evaluation is cheap.
 *
 * A point gives every dim a value in its range, and every variable the first or the last one of its
 * loop, where the loop runs at all. Points at which a division has a negative operand, or which
 * overflow, say nothing. */
#include "base/checked.h"
#include "compiler/loop/loop_priv.h"

#define DIM_SMALL 67 /* larger than most blocks */
#define DIM_LARGE 4099

struct point {
    const struct nest *nest;
    int64_t dim;    /* of every named dim, as far as its range allows */
    bool last;      /* variables have the last value, not the first */
    uint64_t known; /* variables whose values are in `vars`: a bit each */
    int64_t vars[NEST_MAX_VARS];
};

static bool evaluate(struct point *p, expr_id e, int64_t *out);

static bool variable(struct point *p, uint32_t var, int64_t *out)
{
    expr_id bound = nest_var_bound(p->nest, var);
    int64_t extent = 1;
    if (!(p->known >> var & 1)) {
        if (bound != EXPR_NONE && (!evaluate(p, bound, &extent) || extent < 1))
            return false;
        p->vars[var] = p->last ? extent - 1 : 0;
        p->known |= (uint64_t)1 << var;
    }
    *out = p->vars[var];
    return true;
}

static bool divide(const struct expr *x, int64_t a, int64_t b, int64_t *out)
{
    if (a < 0 || b <= 0)
        return false;
    *out = x->op == EXPR_FLOORDIV ? a / b : a % b;
    return true;
}

/* False: the point is not legal, or says nothing. */
static bool evaluate(struct point *p, expr_id e, int64_t *out)
{
    const struct expr *x = expr_at(p->nest, e);
    const struct dim_name *dim;
    int64_t a = 0, b = 0;
    switch ((enum expr_op)x->op) {
    case EXPR_CONST: *out = x->integer; return true;
    case EXPR_VAR: return variable(p, x->index, out);
    case EXPR_DIM:
        dim = &p->nest->dims->names.items[x->index];
        *out = p->dim < dim->min ? dim->min : p->dim > dim->max ? dim->max : p->dim;
        return true;
    case EXPR_ADD:
    case EXPR_MUL:
    case EXPR_MIN:
    case EXPR_MAX:
    case EXPR_FLOORDIV:
    case EXPR_FLOORMOD: break;
    default: return false;
    }
    if (!evaluate(p, x->operand[0], &a) || !evaluate(p, x->operand[1], &b))
        return false;
    switch ((enum expr_op)x->op) {
    case EXPR_ADD: return checked_add_i64(a, b, out);
    case EXPR_MUL: return checked_mul_i64(a, b, out);
    case EXPR_MIN: *out = a < b ? a : b; return true;
    case EXPR_MAX: *out = a > b ? a : b; return true;
    default: return divide(x, a, b, out);
    }
}

bool index_refuted(const struct nest *nest, expr_id e)
{
    static const struct {
        int64_t dim;
        bool last;
    } points[] = {
        {0, false}, {DIM_LARGE, false}, {DIM_SMALL, true}, {DIM_LARGE, true}, {INT64_MAX, false}};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct point p;
        int64_t value;
        p.nest = nest;
        p.dim = points[i].dim;
        p.last = points[i].last;
        p.known = 0;
        if (evaluate(&p, e, &value) && value < 0)
            return true;
    }
    return false;
}
