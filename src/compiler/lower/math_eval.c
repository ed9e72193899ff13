/* Expressions become operations on registers. Operands have smaller ids than their users, so
 * ascending ids are an evaluation order; a register is free again after its last use. */
#include "compiler/lower/math_eval.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sets last_use[e] to e for every expression below root. */
static void mark(const struct nest *nest, expr_id root, uint32_t *last_use)
{
    bool seen = last_use[root] != 0;
    last_use[root] = root;
    for (int i = 0; !seen && i < 3; i++)
        if (expr_at(nest, root)->operand[i] != EXPR_NONE)
            mark(nest, expr_at(nest, root)->operand[i], last_use);
}

void program_init(struct program *p, const struct nest *nest, expr_id root)
{
    uint32_t *last_use = calloc(root + 1, sizeof *last_use);
    uint32_t *home = calloc(root + 1, sizeof *home);
    bool busy[MAX_REGISTERS] = {0};
    assert(last_use != NULL && home != NULL);
    mark(nest, root, last_use);
    for (expr_id e = 1; e <= root; e++)
        for (int i = 0; i < 3 && last_use[e] != 0; i++)
            if (expr_at(nest, e)->operand[i] != EXPR_NONE)
                last_use[expr_at(nest, e)->operand[i]] = e;
    p->count = p->registers = 0;
    for (expr_id e = 1; e <= root; e++) {
        if (last_use[e] == 0)
            continue;
        const struct expr *x = expr_at(nest, e);
        assert(p->count < MAX_STEPS);
        struct step *s = &p->steps[p->count++];
        *s = (struct step){.op = x->op, .dtype = x->dtype, .from = x->dtype, .expr = *x};
        for (int i = 0; i < 3; i++)
            if (x->operand[i] != EXPR_NONE)
                s->in[i] = home[x->operand[i]];
        if (x->operand[0] != EXPR_NONE)
            s->from = expr_at(nest, x->operand[0])->dtype;
        uint32_t r = 0;
        while (r < MAX_REGISTERS && busy[r])
            r++;
        assert(r < MAX_REGISTERS);
        busy[r] = true;
        home[e] = s->out = r;
        p->registers = r >= p->registers ? r + 1 : p->registers;
        for (int i = 0; i < 3; i++)
            if (x->operand[i] != EXPR_NONE && last_use[x->operand[i]] == e)
                busy[home[x->operand[i]]] = false;
    }
    p->result = home[root];
    free(last_use);
    free(home);
}

#define EACH(statement)                  \
    for (uint32_t i = 0; i < BLOCK; i++) \
        statement;                       \
    break

static void run_f32(const struct step *s, float *restrict r, const union value_block *ra,
                    const union value_block *rb, const union value_block *rc, bool fused)
{
    const float *a = ra->f32, *b = rb->f32, *c = rc->f32;
    switch ((enum expr_op)s->op) {
    case EXPR_CONST: EACH(r[i] = (float)s->expr.value);
    case EXPR_NEG: EACH(r[i] = -a[i]);
    case EXPR_ABS: EACH(r[i] = fabsf(a[i]));
    case EXPR_ROUND: EACH(r[i] = rintf(a[i]));
    case EXPR_TRUNC: EACH(r[i] = truncf(a[i]));
    case EXPR_SQRT: EACH(r[i] = sqrtf(a[i]));
    case EXPR_ADD: EACH(r[i] = a[i] + b[i]);
    case EXPR_SUB: EACH(r[i] = a[i] - b[i]);
    case EXPR_MUL: EACH(r[i] = a[i] * b[i]);
    case EXPR_DIV: EACH(r[i] = a[i] / b[i]);
    case EXPR_MIN: EACH(r[i] = a[i] < b[i] ? a[i] : b[i]);
    case EXPR_MAX: EACH(r[i] = a[i] > b[i] ? a[i] : b[i]);
    case EXPR_SELECT: EACH(r[i] = ra->b[i] ? b[i] : c[i]);
    case EXPR_CAST: EACH(r[i] = (float)ra->f64[i]);
    case EXPR_BITCAST: memcpy(r, a, sizeof ra->f32); break;
    case EXPR_FMA:
        if (fused) {
            EACH(r[i] = fmaf(a[i], b[i], c[i]));
        } else {
            EACH(r[i] = a[i] * b[i] + c[i]);
        }
        break;
    default: assert(false);
    }
}

static void run_f64(const struct step *s, double *restrict r, const union value_block *ra,
                    const union value_block *rb, const union value_block *rc, bool fused)
{
    const double *a = ra->f64, *b = rb->f64, *c = rc->f64;
    switch ((enum expr_op)s->op) {
    case EXPR_CONST: EACH(r[i] = s->expr.value);
    case EXPR_NEG: EACH(r[i] = -a[i]);
    case EXPR_ABS: EACH(r[i] = fabs(a[i]));
    case EXPR_ROUND: EACH(r[i] = rint(a[i]));
    case EXPR_TRUNC: EACH(r[i] = trunc(a[i]));
    case EXPR_SQRT: EACH(r[i] = sqrt(a[i]));
    case EXPR_ADD: EACH(r[i] = a[i] + b[i]);
    case EXPR_SUB: EACH(r[i] = a[i] - b[i]);
    case EXPR_MUL: EACH(r[i] = a[i] * b[i]);
    case EXPR_DIV: EACH(r[i] = a[i] / b[i]);
    case EXPR_MIN: EACH(r[i] = a[i] < b[i] ? a[i] : b[i]);
    case EXPR_MAX: EACH(r[i] = a[i] > b[i] ? a[i] : b[i]);
    case EXPR_SELECT: EACH(r[i] = ra->b[i] ? b[i] : c[i]);
    case EXPR_APPLY: memcpy(r, b, sizeof rb->f64); break;
    case EXPR_CAST: EACH(r[i] = (double)ra->f32[i]);
    case EXPR_BITCAST: memcpy(r, a, sizeof ra->f64); break;
    case EXPR_FMA:
        if (fused) {
            EACH(r[i] = fma(a[i], b[i], c[i]));
        } else {
            EACH(r[i] = a[i] * b[i] + c[i]);
        }
        break;
    default: assert(false);
    }
}

static void run_i32(const struct step *s, int32_t *restrict r, const union value_block *ra,
                    const union value_block *rb, const union value_block *rc)
{
    const int32_t *a = ra->i32, *b = rb->i32, *c = rc->i32;
    switch ((enum expr_op)s->op) {
    case EXPR_CONST: EACH(r[i] = (int32_t)s->expr.integer);
    case EXPR_ADD: EACH(r[i] = (int32_t)((uint32_t)a[i] + (uint32_t)b[i]));
    case EXPR_SUB: EACH(r[i] = (int32_t)((uint32_t)a[i] - (uint32_t)b[i]));
    case EXPR_AND: EACH(r[i] = a[i] & b[i]);
    case EXPR_OR: EACH(r[i] = a[i] | b[i]);
    case EXPR_XOR: EACH(r[i] = a[i] ^ b[i]);
    case EXPR_SHL: EACH(r[i] = (int32_t)((uint32_t)a[i] << b[i]));
    case EXPR_LSHR: EACH(r[i] = (int32_t)((uint32_t)a[i] >> b[i]));
    case EXPR_SELECT: EACH(r[i] = ra->b[i] ? b[i] : c[i]);
    case EXPR_BITCAST: memcpy(r, a, sizeof ra->i32); break;
    default: assert(false);
    }
}

static void run_i64(const struct step *s, int64_t *restrict r, const union value_block *ra,
                    const union value_block *rb, const union value_block *rc)
{
    const int64_t *a = ra->i64, *b = rb->i64, *c = rc->i64;
    switch ((enum expr_op)s->op) {
    case EXPR_CONST: EACH(r[i] = s->expr.integer);
    case EXPR_ADD: EACH(r[i] = (int64_t)((uint64_t)a[i] + (uint64_t)b[i]));
    case EXPR_SUB: EACH(r[i] = (int64_t)((uint64_t)a[i] - (uint64_t)b[i]));
    case EXPR_MUL: EACH(r[i] = (int64_t)((uint64_t)a[i] * (uint64_t)b[i]));
    case EXPR_AND: EACH(r[i] = a[i] & b[i]);
    case EXPR_OR: EACH(r[i] = a[i] | b[i]);
    case EXPR_XOR: EACH(r[i] = a[i] ^ b[i]);
    case EXPR_SHL: EACH(r[i] = (int64_t)((uint64_t)a[i] << b[i]));
    case EXPR_LSHR: EACH(r[i] = (int64_t)((uint64_t)a[i] >> b[i]));
    case EXPR_SELECT: EACH(r[i] = ra->b[i] ? b[i] : c[i]);
    case EXPR_BITCAST: memcpy(r, a, sizeof ra->i64); break;
    default: assert(false);
    }
}

static void run_compare(const struct step *s, uint8_t *restrict r, const union value_block *ra,
                        const union value_block *rb)
{
    switch ((enum expr_op)s->op) {
    case EXPR_EQ:
        if (s->from == DTYPE_F32) {
            EACH(r[i] = ra->f32[i] == rb->f32[i]);
        } else {
            EACH(r[i] = ra->f64[i] == rb->f64[i]);
        }
        break;
    case EXPR_NE:
        if (s->from == DTYPE_I64 || s->from == DTYPE_U64) {
            EACH(r[i] = ra->i64[i] != rb->i64[i]);
        } else if (s->from == DTYPE_F32) {
            EACH(r[i] = ra->f32[i] != rb->f32[i]);
        } else {
            EACH(r[i] = ra->f64[i] != rb->f64[i]);
        }
        break;
    case EXPR_LT:
        if (s->from == DTYPE_F32) {
            EACH(r[i] = ra->f32[i] < rb->f32[i]);
        } else {
            EACH(r[i] = ra->f64[i] < rb->f64[i]);
        }
        break;
    case EXPR_LE:
        if (s->from == DTYPE_F32) {
            EACH(r[i] = ra->f32[i] <= rb->f32[i]);
        } else {
            EACH(r[i] = ra->f64[i] <= rb->f64[i]);
        }
        break;
    case EXPR_AND: EACH(r[i] = ra->b[i] & rb->b[i]);
    case EXPR_OR: EACH(r[i] = ra->b[i] | rb->b[i]);
    case EXPR_NOT: EACH(r[i] = !ra->b[i]);
    default: assert(false);
    }
}

const union value_block *program_run(const struct program *p, union value_block *registers,
                                     const union value_block *x, const union value_block *y,
                                     bool fused)
{
    for (uint32_t at = 0; at < p->count; at++) {
        const struct step *s = &p->steps[at];
        union value_block *r = &registers[s->out];
        const union value_block *a = &registers[s->in[0]], *b = &registers[s->in[1]];
        const union value_block *c = &registers[s->in[2]];
        if (s->op == EXPR_LOCAL)
            *r = s->expr.index == 0 ? *x : *y;
        else if (s->op == EXPR_PARAM) /* a function is tested with x as its argument */
            *r = *x;
        else if (s->dtype == DTYPE_F32)
            run_f32(s, r->f32, a, b, c, fused);
        else if (s->dtype == DTYPE_F64)
            run_f64(s, r->f64, a, b, c, fused);
        else if (s->dtype == DTYPE_I32)
            run_i32(s, r->i32, a, b, c);
        else if (s->dtype == DTYPE_I64 || s->dtype == DTYPE_U64)
            run_i64(s, r->i64, a, b, c);
        else
            run_compare(s, r->b, a, b);
    }
    return &registers[p->result];
}
