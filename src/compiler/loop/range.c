/* Proofs about indices over all values of variables and dims: interval analysis, and a ≤ b.
 *
 * index_le shows b - a ≥ 0. Intervals alone would not do where bounds are symbolic (s < S), so it
 * eliminates atoms first: one that occurs in b - a with one sign only is replaced by the end of its
 * range that minimises b - a. Quotients by constants come last: they are bounded by what they
 * divide. What remains is bounded by intervals. "No" means "not proven". */
#include "base/checked.h"
#include "compiler/loop/loop_priv.h"

#define UNBOUNDED INT64_MAX
#define SCALED_MOST ((int64_t)1 << 60) /* far enough from 2^63 for what is added after scaling */

expr_id nest_var_bound(const struct nest *nest, uint32_t var)
{
    const struct nest_var *v = &nest->vars.items[var];
    return v->full != EXPR_NONE ? v->full : v->extent;
}

static int64_t sat_add(int64_t a, int64_t b)
{
    int64_t r;
    if (a == UNBOUNDED || b == UNBOUNDED || a == -UNBOUNDED || b == -UNBOUNDED)
        return a == UNBOUNDED || b == UNBOUNDED ? UNBOUNDED : -UNBOUNDED;
    if (URZA_ADD_OVERFLOW(a, b, &r))
        return a > 0 ? UNBOUNDED : -UNBOUNDED;
    return r;
}

static int64_t sat_mul(int64_t a, int64_t b)
{
    int64_t r;
    if (a == 0 || b == 0)
        return 0;
    if (a == UNBOUNDED || b == UNBOUNDED || a == -UNBOUNDED || b == -UNBOUNDED ||
        URZA_MUL_OVERFLOW(a, b, &r) || r == INT64_MIN)
        return (a > 0) == (b > 0) ? UNBOUNDED : -UNBOUNDED;
    return r;
}

static void range_mul(int64_t alo, int64_t ahi, int64_t blo, int64_t bhi, int64_t *lo, int64_t *hi)
{
    int64_t c[4] = {sat_mul(alo, blo), sat_mul(alo, bhi), sat_mul(ahi, blo), sat_mul(ahi, bhi)};
    *lo = *hi = c[0];
    for (int i = 1; i < 4; i++) {
        *lo = c[i] < *lo ? c[i] : *lo;
        *hi = c[i] > *hi ? c[i] : *hi;
    }
}

static void range_div(const struct nest *nest, const struct expr *x, int64_t *lo, int64_t *hi)
{
    int64_t alo, ahi, blo, bhi;
    index_range(nest, x->operand[0], &alo, &ahi);
    index_range(nest, x->operand[1], &blo, &bhi);
    *lo = alo >= 0 && bhi > 0 && bhi != UNBOUNDED ? alo / bhi : 0;
    *hi = ahi == UNBOUNDED ? UNBOUNDED : blo > 0 && ahi >= 0 ? ahi / blo : UNBOUNDED;
}

void index_range(const struct nest *nest, expr_id e, int64_t *lo, int64_t *hi)
{
    const struct expr *x = expr_at(nest, e);
    int64_t alo = -UNBOUNDED, ahi = UNBOUNDED, blo = -UNBOUNDED, bhi = UNBOUNDED;
    *lo = -UNBOUNDED;
    *hi = UNBOUNDED;
    if (x->op == EXPR_ADD || x->op == EXPR_MUL || x->op == EXPR_MIN || x->op == EXPR_MAX) {
        index_range(nest, x->operand[0], &alo, &ahi);
        index_range(nest, x->operand[1], &blo, &bhi);
    }
    switch ((enum expr_op)x->op) {
    case EXPR_CONST: *lo = *hi = x->integer; break;
    case EXPR_DIM:
        *lo = nest->dims->names.items[x->index].min, *hi = nest->dims->names.items[x->index].max;
        break;
    case EXPR_VAR:
        *lo = 0;
        if (nest_var_bound(nest, x->index) != EXPR_NONE) {
            index_range(nest, nest_var_bound(nest, x->index), &alo, &ahi);
            *hi = ahi == UNBOUNDED ? UNBOUNDED : ahi > 0 ? ahi - 1 : 0;
        }
        break;
    case EXPR_ADD: *lo = sat_add(alo, blo), *hi = sat_add(ahi, bhi); break;
    case EXPR_MUL: range_mul(alo, ahi, blo, bhi, lo, hi); break;
    case EXPR_MIN: *lo = alo < blo ? alo : blo, *hi = ahi < bhi ? ahi : bhi; break;
    case EXPR_MAX: *lo = alo > blo ? alo : blo, *hi = ahi > bhi ? ahi : bhi; break;
    case EXPR_FLOORDIV: range_div(nest, x, lo, hi); break;
    case EXPR_FLOORMOD:
        index_range(nest, x->operand[1], &blo, &bhi);
        *lo = 0;
        *hi = bhi == UNBOUNDED ? UNBOUNDED : bhi - 1;
        break;
    default: break;
    }
}

static bool expr_nonnegative(const struct nest *nest, expr_id e)
{
    int64_t lo, hi;
    index_range(nest, e, &lo, &hi);
    return lo >= 0;
}

/* The sign of atom's coefficients in e: 1 or -1; 0 if they are mixed, not known, not linear, or if
 * it is absent. */
static int atom_sign(const struct nest *nest, expr_id e, expr_id atom)
{
    expr_id terms[64];
    uint32_t count = index_terms(nest, e, terms, 64);
    int sign = 0;
    for (uint32_t i = 0; i < count; i++) {
        int hits = 0, term_sign = 1;
        bool odd = false;
        expr_id t = terms[i];
        for (bool more = true; more;) {
            const struct expr *x = expr_at(nest, t);
            expr_id factor = x->op == EXPR_MUL ? x->operand[1] : t;
            more = x->op == EXPR_MUL;
            t = more ? x->operand[0] : t;
            const struct expr *f = expr_at(nest, factor);
            if (f->op == EXPR_CONST)
                term_sign = f->integer < 0 ? -term_sign : term_sign;
            else if (factor == atom)
                hits++;
            else
                odd |= !expr_nonnegative(nest, factor);
        }
        if (hits == 0)
            continue;
        if (hits > 1 || odd || (sign != 0 && sign != term_sign))
            return 0;
        sign = term_sign;
    }
    return sign;
}

static void atoms_of(const struct nest *nest, expr_id e, expr_id *out, uint32_t *count,
                     uint32_t max)
{
    const struct expr *x = expr_at(nest, e);
    if (x->op == EXPR_ADD || x->op == EXPR_MUL) {
        atoms_of(nest, x->operand[0], out, count, max);
        atoms_of(nest, x->operand[1], out, count, max);
        return;
    }
    for (uint32_t i = 0; i < *count; i++)
        if (out[i] == e)
            return;
    if (x->op != EXPR_CONST && *count < max)
        out[(*count)++] = e;
}

/* e with an atom replaced where it is a factor of a term, not where it is inside another atom. */
static expr_id replace_atom(struct nest *nest, expr_id e, expr_id atom, expr_id value)
{
    struct expr x = *expr_at(nest, e);
    if (e == atom)
        return value;
    if (x.op != EXPR_ADD && x.op != EXPR_MUL)
        return e;
    expr_id a = replace_atom(nest, x.operand[0], atom, value),
            b = replace_atom(nest, x.operand[1], atom, value);
    return x.op == EXPR_ADD ? index_add(nest, a, b) : index_mul(nest, a, b);
}

/* A bound of atom that minimises sign·atom, in terms of other atoms; EXPR_NONE if none is known.
 * *second: min and max have two such bounds, and either one alone suffices for a proof. */
static expr_id extreme(struct nest *nest, expr_id atom, int sign, expr_id *second)
{
    struct expr x = *expr_at(nest, atom);
    *second = EXPR_NONE;
    if (x.op == EXPR_VAR && nest_var_bound(nest, x.index) != EXPR_NONE)
        return sign > 0 ? index_const(nest, 0)
                        : index_sub(nest, nest_var_bound(nest, x.index), index_const(nest, 1));
    if (x.op == EXPR_FLOORMOD)
        return sign > 0 ? index_const(nest, 0)
                        : index_sub(nest, x.operand[1], index_const(nest, 1));
    if ((x.op == EXPR_MIN && sign < 0) || (x.op == EXPR_MAX && sign > 0)) {
        *second = x.operand[1];
        return x.operand[0];
    }
    return EXPR_NONE;
}

static bool nonnegative(struct nest *nest, expr_id e, int depth);

/* Whether atom is a quotient by a constant of at least 2. */
static bool constant_quotient(const struct nest *nest, expr_id atom, int64_t *out_divisor)
{
    const struct expr *x = expr_at(nest, atom);
    return x->op == EXPR_FLOORDIV && index_is_const(nest, x->operand[1], out_divisor) &&
           *out_divisor >= 2;
}

/* Whether m·e does not overflow: coefficients wrap, and then what is shown of them is not so. */
static bool may_scale(const struct nest *nest, expr_id e, int64_t m)
{
    int64_t lo, hi;
    index_range(nest, e, &lo, &hi);
    return lo >= -(SCALED_MOST / m) && hi <= SCALED_MOST / m;
}

/* e = rest + factor·a//n, where the factor has the sign given. With n = d·m, a//n is (a//d)//m, so
 * m·(a//n) is at most a//d and at least a//d - (m - 1); and e ≥ 0 if m·e is. */
static bool nonnegative_by_quotient(struct nest *nest, expr_id e, expr_id atom, int sign, int64_t d,
                                    int depth)
{
    struct expr x = *expr_at(nest, atom);
    int64_t n = 1;
    constant_quotient(nest, atom, &n);
    if (!may_scale(nest, e, n / d))
        return false;
    expr_id m = index_const(nest, n / d), rest = replace_atom(nest, e, atom, index_const(nest, 0)),
            one = index_const(nest, 1);
    expr_id factor = index_sub(nest, replace_atom(nest, e, atom, one), rest);
    expr_id bound = d == 1 ? x.operand[0] : index_div(nest, x.operand[0], index_const(nest, d));
    if (sign > 0)
        bound = index_sub(nest, bound, index_sub(nest, m, one));
    rest = index_add(nest, index_mul(nest, rest, m), index_mul(nest, factor, bound));
    return nonnegative(nest, rest, depth - 1);
}

/* Where only quotients are left: replaces the one with the largest divisor by what it divides, or
 * by a quotient of another atom's divisor, which may be that atom and a constant: (S + 3)//4 is
 * ((S + 1)//2 + 1)//2. */
static bool nonnegative_by_quotients(struct nest *nest, expr_id e, const expr_id *atoms,
                                     uint32_t count, int depth)
{
    int64_t most = 1, n, d;
    int sign = 0;
    expr_id atom = EXPR_NONE;
    for (uint32_t i = 0; i < count; i++) {
        int s =
            constant_quotient(nest, atoms[i], &n) && n > most ? atom_sign(nest, e, atoms[i]) : 0;
        if (s == 0)
            continue;
        most = n;
        sign = s;
        atom = atoms[i];
    }
    for (uint32_t i = 0; atom != EXPR_NONE && i < count; i++)
        if (constant_quotient(nest, atoms[i], &d) && d < most && most % d == 0 &&
            nonnegative_by_quotient(nest, e, atom, sign, d, depth))
            return true;
    return atom != EXPR_NONE && nonnegative_by_quotient(nest, e, atom, sign, 1, depth);
}

static bool nonnegative(struct nest *nest, expr_id e, int depth)
{
    if (expr_nonnegative(nest, e))
        return true;
    if (depth == 0 || index_refuted(nest, e))
        return false;
    expr_id atoms[32];
    uint32_t count = 0;
    atoms_of(nest, e, atoms, &count, 32);
    for (uint32_t i = count; i-- > 0;) { /* later ids first: these are inner variables, whose
                                            extents may contain outer ones */
        int sign = atom_sign(nest, e, atoms[i]);
        expr_id second, first = sign ? extreme(nest, atoms[i], sign, &second) : EXPR_NONE;
        if (first == EXPR_NONE)
            continue;
        if (nonnegative(nest, replace_atom(nest, e, atoms[i], first), depth - 1))
            return true;
        return second != EXPR_NONE &&
               nonnegative(nest, replace_atom(nest, e, atoms[i], second), depth - 1);
    }
    return nonnegative_by_quotients(nest, e, atoms, count, depth);
}

bool index_le(struct nest *nest, expr_id a, expr_id b)
{
    int64_t x, y;
    if (a == b)
        return true;
    if (index_is_const(nest, a, &x) && index_is_const(nest, b, &y))
        return x <= y;
    return nonnegative(nest, index_sub(nest, b, a), 12);
}
