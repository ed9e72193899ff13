/* Formulas that a select keeps from their poles, at infinities, zeros and great numbers: where it
 * does not take what was computed the gradient is 0, elsewhere that of forward mode. */
#include "compiler/grad/cases_test_util.h"

#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/rng.h"
#include "compiler/grad/grad_test_util.h"
#include "graph/build.h"
#include "graph/interp_test_util.h"
#include "graph/tangent.h"

#define POINTS 24
#define LINKS_MOST 4

struct guarded {
    struct bed *bed;
    struct graph graph;
    struct builder b;
    uint64_t key, next;
    value_id x, mask, link[LINKS_MOST];
    uint32_t links;
};

static uint32_t roll(struct guarded *r, uint32_t below)
{
    return rng_u32(r->key, r->next++) % below;
}

/* Another function of the last value, and perhaps of x. */
static value_id roll_link(struct guarded *r, value_id last)
{
    static const enum prim unary[] = {PRIM_SQRT, PRIM_RSQRT, PRIM_LOG,  PRIM_LOG2,  PRIM_LOG1P,
                                      PRIM_EXP,  PRIM_EXP2,  PRIM_TAN,  PRIM_EXPM1, PRIM_ABS,
                                      PRIM_SIN,  PRIM_TANH,  PRIM_ATAN, PRIM_ERF,   PRIM_NEG};
    static const enum prim binary[] = {PRIM_MUL, PRIM_DIV, PRIM_POW, PRIM_SUB, PRIM_REM};
    struct builder *b = &r->b;
    if (roll(r, 3) > 0)
        return b_unary(b, unary[roll(r, sizeof unary / sizeof *unary)], last);
    enum prim prim = binary[roll(r, 5)];
    if (prim == PRIM_POW) /* in a negative base it has no slope by its exponent */
        return b_binary(b, prim, last, b_const_like(b, last, 0.5 * roll(r, 5) - 1));
    return roll(r, 2) ? b_binary(b, prim, last, r->x) : b_binary(b, prim, r->x, last);
}

static void build(struct guarded *r)
{
    struct builder *b = &r->b;
    dim_id shape = b_dim_const(b, POINTS);
    r->x = graph_input(&r->graph, "x", DTYPE_F64, &shape, 1, b->err);
    r->mask = graph_input(&r->graph, "mask", DTYPE_BOOL, &shape, 1, b->err);
    r->links = 1 + roll(r, LINKS_MOST);
    for (uint32_t i = 0; i < r->links; i++) {
        char name[2] = {(char)('a' + i), 0};
        r->link[i] = roll_link(r, i == 0 ? r->x : r->link[i - 1]);
        assert_true(graph_output(&r->graph, name, r->link[i], b->err));
    }
}

/* The mask is false where a value of the chain or its tangent is no moderate number, and at some
 * other places. */
static bool draw(struct guarded *r, struct point *p)
{
    static const double special[] = {0, -0.0, INFINITY, -INFINITY, 1, -1, 1e200, -1e200, 1e-200};
    double ones[POINTS];
    const double *directions[2] = {ones, NULL};
    struct tangent_tensor out[LINKS_MOST];
    for (int e = 0; e < POINTS; e++) {
        ones[e] = 1;
        p->sources[0].cells[e].f = roll(r, 2) ? special[roll(r, 9)] : 3 * grad_drawn(r->key, e);
        p->sources[1].cells[e].i = roll(r, 5) > 0;
    }
    const struct tangent_arguments arguments = {{NULL, p->sources, 2}, directions};
    if (!tangent_run(&r->graph, &(struct interp_options){.threads = 1}, &arguments, p->arena, out,
                     &r->bed->err))
        return false;
    for (uint32_t i = 0; i < r->links; i++)
        for (int e = 0; e < POINTS; e++)
            if (!(fabs(out[i].value.cells[e].f) < 1e4 && fabs(out[i].tangent[e]) < 1e4 &&
                  fabs(out[i].value.cells[e].f) > 1e-4))
                p->sources[1].cells[e].i = 0;
    for (int e = 0; e < POINTS; e++)
        if (!(fabs(p->sources[0].cells[e].f) > 1e-4 && fabs(p->sources[0].cells[e].f) < 1e4))
            p->sources[1].cells[e].i = 0;
    return true;
}

bool grad_case_guard(struct bed *bed, uint64_t seed, uint32_t *moving)
{
    arena_release(&bed->arena);
    struct guarded *r = ARENA_NEW(&bed->arena, struct guarded);
    *r = (struct guarded){.bed = bed, .key = rng_key(seed)};
    graph_init(&r->graph, &bed->arena);
    r->b = (struct builder){&r->graph, &bed->err};
    build(r);
    struct point p = {&bed->arena, &r->graph, NULL, NULL, 0, seed, false, NULL};
    struct interp_tensor got[2] = {0};
    struct sides sides = {0};
    bool moves = false;
    grad_point_init(&p);
    bool right = draw(r, &p);
    r->graph.outputs.count = 0;
    value_id y = b_select(&r->b, r->mask, r->link[r->links - 1], b_const_like(&r->b, r->x, 0));
    right = right && graph_output(&r->graph, "y", y, &bed->err) &&
            grad_backward(&p, &sides, got, &bed->err);
    if (right && !(sides.magnitude < 1e-12)) /* else roundings of what cancels, as in x/x */
        right = grad_compare(&p, &moves, &bed->err);
    for (int e = 0; right && e < POINTS; e++)
        if (p.sources[1].cells[e].i == 0 && got[0].cells[e].f != 0) {
            bed->err = (struct error){.code = ERR_VERIFY};
            snprintf(bed->err.message, sizeof bed->err.message, "%g at %g, which is not taken",
                     got[0].cells[e].f, p.sources[0].cells[e].f);
            right = false;
        }
    *moving += moves;
    return right || fail_at(&bed->err, "guarded, seed %llu", (unsigned long long)seed);
}
