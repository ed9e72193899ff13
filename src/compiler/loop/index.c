/* Index arithmetic in polynomial normal form.
 *
 * An i64 sum is a left-associated tree of terms in a fixed order; a term is the product of its
 * atoms in ascending order of id, times a constant. An atom is any i64 expression that is not a
 * sum, a product or a constant: a variable, dim, quotient, remainder, minimum, load. So two indices
 * that are equal as polynomials have the same id, and the stride of a variable can be read off the
 * terms.
 *
 * Coefficients wrap as int64 does, which is exact for i64 data; indices never get that large,
 * because dims are bounded. A sum of more than MAX_TERMS terms or a product of more than MAX_ATOMS
 * atoms becomes an opaque atom: correct, but not simplified further. */
#include "base/hash.h"
#include "compiler/loop/loop_priv.h"

#define MAX_TERMS 48
#define MAX_ATOMS 8

struct term {
    int64_t coefficient;
    uint32_t atom_count;
    expr_id atoms[MAX_ATOMS]; /* ascending; a power repeats its atom */
};

struct poly {
    uint32_t count;
    bool overflow; /* there were more than MAX_TERMS: the polynomial is incomplete */
    struct term terms[MAX_TERMS];
};

static int compare_atoms(const struct term *a, const struct term *b)
{
    if (a->atom_count != b->atom_count)
        return a->atom_count > b->atom_count ? -1 : 1; /* the constant comes last */
    for (uint32_t i = 0; i < a->atom_count; i++)
        if (a->atoms[i] != b->atoms[i])
            return a->atoms[i] < b->atoms[i] ? -1 : 1;
    return 0;
}

static void poly_add_term(struct poly *p, const struct term *term)
{
    uint32_t at = 0;
    int order = 1;
    while (at < p->count && (order = compare_atoms(&p->terms[at], term)) < 0)
        at++;
    if (at < p->count && order == 0) {
        struct term *same = &p->terms[at];
        same->coefficient = (int64_t)((uint64_t)same->coefficient + (uint64_t)term->coefficient);
        if (same->coefficient == 0)
            memmove(same, same + 1, (--p->count - at) * sizeof *same);
        return;
    }
    if (term->coefficient == 0)
        return;
    if (p->count == MAX_TERMS) {
        p->overflow = true;
        return;
    }
    memmove(&p->terms[at + 1], &p->terms[at], (p->count++ - at) * sizeof *term);
    p->terms[at] = *term;
}

/* Reads a product, as build_term makes it. */
static void read_term(const struct nest *nest, expr_id e, struct term *out)
{
    const struct expr *x = expr_at(nest, e);
    if (x->op == EXPR_CONST) {
        out->coefficient = (int64_t)((uint64_t)out->coefficient * (uint64_t)x->integer);
    } else if (x->op == EXPR_MUL && x->index != EXPR_OPAQUE) {
        read_term(nest, x->operand[0], out);
        read_term(nest, x->operand[1], out);
    } else {
        uint32_t at = out->atom_count++;
        assert(at < MAX_ATOMS);
        while (at > 0 && out->atoms[at - 1] > e) {
            out->atoms[at] = out->atoms[at - 1];
            at--;
        }
        out->atoms[at] = e;
    }
}

static void poly_read(const struct nest *nest, expr_id e, int64_t factor, struct poly *out)
{
    const struct expr *x = expr_at(nest, e);
    while (x->op == EXPR_ADD && x->index != EXPR_OPAQUE) {
        poly_read(nest, x->operand[1], factor, out);
        e = x->operand[0];
        x = expr_at(nest, e);
    }
    struct term term = {.coefficient = factor};
    read_term(nest, e, &term);
    poly_add_term(out, &term);
}

static expr_id raw_binary(struct nest *nest, enum expr_op op, expr_id a, expr_id b)
{
    return expr_intern(nest,
                       (struct expr){.op = (uint8_t)op, .dtype = DTYPE_I64, .operand = {a, b}});
}

static expr_id opaque(struct nest *nest, enum expr_op op, expr_id a, expr_id b)
{
    return expr_intern(
        nest, (struct expr){
                  .op = (uint8_t)op, .dtype = DTYPE_I64, .index = EXPR_OPAQUE, .operand = {a, b}});
}

static expr_id build_term(struct nest *nest, const struct term *term)
{
    if (term->atom_count == 0)
        return index_const(nest, term->coefficient);
    expr_id e = term->atoms[0];
    for (uint32_t i = 1; i < term->atom_count; i++)
        e = raw_binary(nest, EXPR_MUL, e, term->atoms[i]);
    return term->coefficient == 1
               ? e
               : raw_binary(nest, EXPR_MUL, e, index_const(nest, term->coefficient));
}

static int find_term(const struct poly *p, const struct term *wanted)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (compare_atoms(&p->terms[i], wanted) == 0)
            return (int)i;
    return -1;
}

static bool term_times(struct term *a, const struct term *b)
{
    if (a->atom_count + b->atom_count > MAX_ATOMS)
        return false;
    struct term out = {.coefficient =
                           (int64_t)((uint64_t)a->coefficient * (uint64_t)b->coefficient)};
    uint32_t i = 0, j = 0;
    while (i < a->atom_count || j < b->atom_count) {
        bool left = j == b->atom_count || (i < a->atom_count && a->atoms[i] <= b->atoms[j]);
        out.atoms[out.atom_count++] = left ? a->atoms[i++] : b->atoms[j++];
    }
    *a = out;
    return true;
}

/* Rewrites one pair of terms: c·D·(x div D) + c·(x mod D) = c·x. True if there was such a pair. */
static bool join_division(struct nest *nest, struct poly *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        for (uint32_t a = 0; a < p->terms[i].atom_count; a++) {
            struct expr mod = *expr_at(nest, p->terms[i].atoms[a]);
            if (mod.op != EXPR_FLOORMOD)
                continue;
            struct term rest = p->terms[i], wanted;
            memmove(&rest.atoms[a], &rest.atoms[a + 1], (--rest.atom_count - a) * sizeof(expr_id));
            struct term quotient = {
                .coefficient = 1,
                .atom_count = 1,
                .atoms = {raw_binary(nest, EXPR_FLOORDIV, mod.operand[0], mod.operand[1])}};
            struct term divisor = {.coefficient = 1};
            if (expr_at(nest, mod.operand[1])->op == EXPR_ADD)
                continue; /* a sum as D would need a product of polynomials */
            read_term(nest, mod.operand[1], &divisor);
            wanted = rest;
            if (!term_times(&wanted, &divisor) || !term_times(&wanted, &quotient))
                continue;
            int j = find_term(p, &wanted);
            if (j < 0 || p->terms[j].coefficient != wanted.coefficient)
                continue;
            struct poly out = {0}, x = {0};
            for (uint32_t t = 0; t < p->count; t++)
                if (t != i && t != (uint32_t)j)
                    poly_add_term(&out, &p->terms[t]);
            poly_read(nest, mod.operand[0], 1, &x);
            for (uint32_t t = 0; t < x.count; t++) {
                if (!term_times(&x.terms[t], &rest))
                    return false;
                poly_add_term(&out, &x.terms[t]);
            }
            if (out.overflow || x.overflow)
                return false;
            *p = out;
            return true;
        }
    }
    return false;
}

static expr_id poly_build(struct nest *nest, struct poly *p)
{
    while (join_division(nest, p))
        ;
    if (p->count == 0)
        return index_const(nest, 0);
    expr_id e = build_term(nest, &p->terms[0]);
    for (uint32_t i = 1; i < p->count; i++)
        e = raw_binary(nest, EXPR_ADD, e, build_term(nest, &p->terms[i]));
    return e;
}

expr_id index_const(struct nest *nest, int64_t value)
{
    return expr_int(nest, DTYPE_I64, value);
}

bool index_is_const(const struct nest *nest, expr_id e, int64_t *out_value)
{
    const struct expr *x = expr_at(nest, e);
    if (x->op != EXPR_CONST)
        return false;
    if (out_value)
        *out_value = x->integer;
    return true;
}

static expr_id sum(struct nest *nest, expr_id a, expr_id b, int64_t factor_b)
{
    struct poly p = {0};
    poly_read(nest, a, 1, &p);
    poly_read(nest, b, factor_b, &p);
    if (!p.overflow)
        return poly_build(nest, &p);
    if (factor_b != 1)
        b = index_mul(nest, b, index_const(nest, factor_b));
    return opaque(nest, EXPR_ADD, a, b);
}

expr_id index_add(struct nest *nest, expr_id a, expr_id b)
{
    return sum(nest, a, b, 1);
}

expr_id index_sub(struct nest *nest, expr_id a, expr_id b)
{
    return sum(nest, a, b, -1);
}

expr_id index_mul(struct nest *nest, expr_id a, expr_id b)
{
    struct poly p = {0}, q = {0}, out = {0};
    poly_read(nest, a, 1, &p);
    poly_read(nest, b, 1, &q);
    bool ok = !p.overflow && !q.overflow;
    for (uint32_t i = 0; ok && i < p.count; i++) {
        for (uint32_t j = 0; ok && j < q.count; j++) {
            struct term t = p.terms[i];
            ok = term_times(&t, &q.terms[j]);
            if (ok)
                poly_add_term(&out, &t);
        }
    }
    if (ok && !out.overflow)
        return poly_build(nest, &out);
    return opaque(nest, EXPR_MUL, a, b);
}

/* Whether divisor divides t; the quotient goes to *out. */
static bool term_divides(const struct term *t, const struct term *divisor, struct term *out)
{
    struct term q = {0};
    uint32_t j = 0;
    if (divisor->coefficient == 0 || t->coefficient % divisor->coefficient != 0)
        return false;
    for (uint32_t i = 0; i < t->atom_count; i++) {
        if (j < divisor->atom_count && t->atoms[i] == divisor->atoms[j])
            j++;
        else
            q.atoms[q.atom_count++] = t->atoms[i];
    }
    q.coefficient = t->coefficient / divisor->coefficient;
    *out = q;
    return j == divisor->atom_count;
}

/* a = b·quotient + rest for a single term b; the quotient is made of the terms of a that b
 * divides. */
static bool split_by(struct nest *nest, expr_id a, expr_id b, struct poly *quotient,
                     struct poly *rest)
{
    struct poly p = {0};
    struct term divisor = {.coefficient = 1};
    if (expr_at(nest, b)->op == EXPR_ADD)
        return false;
    read_term(nest, b, &divisor);
    poly_read(nest, a, 1, &p);
    if (p.overflow)
        return false;
    for (uint32_t i = 0; i < p.count; i++) {
        struct term q;
        if (term_divides(&p.terms[i], &divisor, &q))
            poly_add_term(quotient, &q);
        else if (divisor.atom_count == 0 && p.terms[i].atom_count == 0) {
            int64_t c = p.terms[i].coefficient, d = divisor.coefficient, m = ((c % d) + d) % d;
            poly_add_term(quotient, &(struct term){.coefficient = (c - m) / d});
            poly_add_term(rest, &(struct term){.coefficient = m});
        } else
            poly_add_term(rest, &p.terms[i]);
    }
    return true;
}

static bool in_interval(struct nest *nest, expr_id e, expr_id bound)
{
    return index_le(nest, index_const(nest, 0), e) &&
           index_le(nest, index_add(nest, e, index_const(nest, 1)), bound);
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

/* The candidate for a common factor of a term and b: the term's atoms that are sizes, and the
 * greatest common divisor of the coefficients. */
static expr_id factor_of(struct nest *nest, const struct term *t, int64_t shared)
{
    struct term g = {.coefficient = gcd(t->coefficient, shared)};
    for (uint32_t i = 0; i < t->atom_count; i++) {
        const struct expr *x = expr_at(nest, t->atoms[i]);
        if (!x->vars && !x->locals && !x->loads)
            g.atoms[g.atom_count++] = t->atoms[i];
    }
    return build_term(nest, &g);
}

/* With a = factor·u + rest, b = factor·v and 0 ≤ rest < factor: a div b = u div v, and a mod b =
 * factor·(u mod v) + rest. */
struct common {
    expr_id factor, u, v, rest;
};

static bool find_common(struct nest *nest, expr_id a, expr_id b, struct common *out)
{
    struct poly p = {0}, q = {0};
    int64_t shared = 0;
    poly_read(nest, a, 1, &p);
    poly_read(nest, b, 1, &q);
    for (uint32_t i = 0; i < q.count; i++)
        shared = gcd(shared, q.terms[i].coefficient);
    for (uint32_t i = 0; !p.overflow && !q.overflow && i < p.count; i++) {
        struct poly u = {0}, v = {0}, rest = {0}, none = {0};
        expr_id g = p.terms[i].atom_count ? factor_of(nest, &p.terms[i], shared) : EXPR_NONE;
        if (g == EXPR_NONE || g == b || g == index_const(nest, 1))
            continue;
        if (!split_by(nest, b, g, &v, &none) || none.count > 0 ||
            !split_by(nest, a, g, &u, &rest) || u.count == 0)
            continue;
        *out = (struct common){.factor = g, .rest = poly_build(nest, &rest)};
        if (!in_interval(nest, out->rest, g))
            continue;
        out->u = poly_build(nest, &u);
        out->v = poly_build(nest, &v);
        return true;
    }
    return false;
}

/* (b·q + r) div b = q + (r div b) is used only for r ≥ 0, because generated code divides with
 * rounding toward zero. */
expr_id index_div(struct nest *nest, expr_id a, expr_id b)
{
    int64_t x, y;
    struct poly quotient = {0}, rest = {0};
    struct common common;
    if (index_is_const(nest, b, &y) && y == 1)
        return a;
    if (index_is_const(nest, a, &x) && index_is_const(nest, b, &y) && y > 0 && x >= 0)
        return index_const(nest, x / y);
    if (a == b && index_le(nest, index_const(nest, 1), b))
        return index_const(nest, 1);
    if (split_by(nest, a, b, &quotient, &rest)) {
        expr_id q = poly_build(nest, &quotient), r = poly_build(nest, &rest);
        if (in_interval(nest, r, b))
            return q;
        if (quotient.count > 0 && index_le(nest, index_const(nest, 0), r) &&
            index_le(nest, index_const(nest, 1), b))
            return index_add(nest, q, index_div(nest, r, b));
    }
    if (find_common(nest, a, b, &common))
        return index_div(nest, common.u, common.v);
    return raw_binary(nest, EXPR_FLOORDIV, a, b);
}

expr_id index_mod(struct nest *nest, expr_id a, expr_id b)
{
    int64_t x, y;
    struct poly quotient = {0}, rest = {0};
    struct common common;
    if (index_is_const(nest, b, &y) && y == 1)
        return index_const(nest, 0);
    if (index_is_const(nest, a, &x) && index_is_const(nest, b, &y) && y > 0 && x >= 0)
        return index_const(nest, x % y);
    if (split_by(nest, a, b, &quotient, &rest)) {
        expr_id r = poly_build(nest, &rest);
        if (in_interval(nest, r, b))
            return r;
        if (quotient.count > 0 && index_le(nest, index_const(nest, 0), r) &&
            index_le(nest, index_const(nest, 1), b))
            a = r;
    }
    if (find_common(nest, a, b, &common))
        return index_add(nest, index_mul(nest, common.factor, index_mod(nest, common.u, common.v)),
                         common.rest);
    return raw_binary(nest, EXPR_FLOORMOD, a, b);
}

expr_id index_min(struct nest *nest, expr_id a, expr_id b)
{
    if (index_le(nest, a, b))
        return a;
    if (index_le(nest, b, a))
        return b;
    return a < b ? raw_binary(nest, EXPR_MIN, a, b) : raw_binary(nest, EXPR_MIN, b, a);
}

expr_id index_max(struct nest *nest, expr_id a, expr_id b)
{
    if (index_le(nest, a, b))
        return b;
    if (index_le(nest, b, a))
        return a;
    return a < b ? raw_binary(nest, EXPR_MAX, a, b) : raw_binary(nest, EXPR_MAX, b, a);
}

expr_id index_stride(struct nest *nest, expr_id e, uint32_t var)
{
    struct poly p = {0}, stride = {0};
    poly_read(nest, e, 1, &p);
    expr_id v = expr_var(nest, var);
    for (uint32_t i = 0; i < p.count; i++) {
        struct term t = p.terms[i];
        uint32_t hits = 0, at = 0;
        for (uint32_t a = 0; a < t.atom_count; a++) {
            if (t.atoms[a] == v) {
                hits++;
                at = a;
            } else if (expr_at(nest, t.atoms[a])->vars >> var & 1)
                return EXPR_NONE;
        }
        if (hits > 1)
            return EXPR_NONE;
        if (hits == 1) {
            memmove(&t.atoms[at], &t.atoms[at + 1], (--t.atom_count - at) * sizeof(expr_id));
            poly_add_term(&stride, &t);
        }
    }
    return poly_build(nest, &stride);
}

uint32_t index_terms(const struct nest *nest, expr_id e, expr_id *out, uint32_t max)
{
    uint32_t count = 0;
    for (; expr_at(nest, e)->op == EXPR_ADD; e = expr_at(nest, e)->operand[0]) {
        if (count + 1 >= max)
            return 0;
        out[count++] = expr_at(nest, e)->operand[1];
    }
    out[count++] = e;
    return count;
}
