/* Drawn cases: prims, programs, recurrences. */
#include "compiler/grad/cases_test_util.h"

#include <string.h>

#include "compiler/grad/grad_test_util.h"
#include "graph/build.h"
#include "graph/loops.h"
#include "graph/prims_test_util.h"
#include "graph/tangent.h"

#define MAGNITUDE_MOST 1e4

static struct program *begin(struct bed *bed, uint64_t seed)
{
    static const enum dtype floats[] = {DTYPE_F64, DTYPE_NONE, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    arena_release(&bed->arena);
    struct program *p = ARENA_NEW(&bed->arena, struct program);
    *p = (struct program){.bed = bed, .key = rng_key(seed), .floats = floats[seed % 5]};
    graph_init(&p->graph, &bed->arena);
    return p;
}

/* Every third point has positive floats only, for logarithms and roots; every fourth one has
 * equal numbers. */
static void draw_point(struct program *p, uint64_t seed, struct point *point)
{
    *point = (struct point){&p->bed->arena, &p->graph, p->dims, NULL, 0, seed, false, NULL};
    grad_point_init(point);
    for (uint32_t i = 0; i < point->source_count; i++) {
        struct interp_tensor *t = &point->sources[i];
        *t = program_tensor(p, grad_source(&p->graph, i));
        for (int64_t e = 0; dtype_is_float(t->dtype) && e < t->count; e++) {
            double x = t->cells[e].f;
            x = seed % 4 == 0 ? nearbyint(x) : x;
            t->cells[e].f = seed % 3 == 0 ? fabs(x) + 0.25 : x;
        }
    }
}

static bool judge(const struct point *point, uint32_t *moving, struct error *err)
{
    bool moves = false;
    if (!grad_compare(point, &moves, err))
        return false;
    *moving += moves;
    return true;
}

bool grad_case_prim(struct bed *bed, enum prim prim, uint64_t seed, uint32_t *moving)
{
    struct program *p = begin(bed, seed * PRIM_COUNT + prim);
    struct point point;
    program_grow(p, 2);
    value_id y = VALUE_NONE;
    for (int tries = 0; y == VALUE_NONE && tries < 20; tries++) {
        enum dtype dtype = p->floats != DTYPE_NONE ? p->floats : DTYPE_F32;
        y = program_make(p, prim, program_roll_source(p, dtype));
    }
    if (y == VALUE_NONE || program_elements(p, y) > ELEMENTS_MOST)
        return true;
    assert_true(graph_output(&p->graph, "y", y, &bed->err));
    draw_point(p, seed, &point);
    return judge(&point, moving, &bed->err) ||
           fail_at(&bed->err, "%s, seed %llu", prim_info(prim)->name, (unsigned long long)seed);
}

/* Whether a value and its tangent are numbers of moderate size. */
static bool is_moderate(const struct tangent_tensor *t)
{
    for (int64_t e = 0; dtype_is_float(t->value.dtype) && e < t->value.count; e++)
        if (!(fabs(t->value.cells[e].f) < MAGNITUDE_MOST) ||
            !(fabs(t->tangent[e]) < MAGNITUDE_MOST))
            return false;
    return true;
}

static bool has_zero(const struct interp_tensor *t)
{
    bool any = false;
    for (int64_t e = 0; dtype_is_float(t->dtype) && e < t->count; e++)
        any |= t->cells[e].f == 0;
    return any;
}

/* The outputs of a program become those values that hang on moderate numbers only: beside
 * infinities and NaN, and in the rounding of great numbers, the identity says nothing; nor does it
 * where a slope is infinite. */
static bool keep_moderate(struct program *p, const struct point *point)
{
    struct graph *g = &p->graph;
    uint32_t count = g->nodes.count;
    bool *good = ARENA_ARRAY(&p->bed->arena, bool, count);
    struct tangent_tensor *out = ARENA_ARRAY(&p->bed->arena, struct tangent_tensor, count);
    const double **directions = ARENA_ARRAY(&p->bed->arena, const double *, point->source_count);
    for (uint32_t s = 0; s < point->source_count; s++) {
        double *own = ARENA_ARRAY(&p->bed->arena, double, point->sources[s].count + 1);
        for (int64_t e = 0; e < point->sources[s].count; e++)
            own[e] = grad_drawn(rng_key(s), e);
        directions[s] = own;
    }
    for (value_id v = 1; v < count; v++) {
        char name[16];
        snprintf(name, sizeof name, "v%u", v);
        assert_true(graph_output(g, name, v, &p->bed->err));
    }
    const struct tangent_arguments arguments = {{p->dims, point->sources, point->source_count},
                                                directions};
    if (!tangent_run(g, &(struct interp_options){.threads = 1}, &arguments, &p->bed->arena, out,
                     &p->bed->err))
        return false;
    g->outputs.count = 0;
    for (value_id v = 1; v < count; v++) {
        const struct node *n = graph_node(g, v);
        good[v] = is_moderate(&out[v - 1]);
        for (uint32_t i = 0; i < n->operand_count; i++)
            good[v] &= good[n->operands[i]] && !((n->prim == PRIM_SQRT || n->prim == PRIM_POW) &&
                                                 has_zero(&out[n->operands[i] - 1].value));
        char name[16];
        snprintf(name, sizeof name, "v%u", v);
        if (good[v] && dtype_is_float((enum dtype)n->dtype))
            assert_true(graph_output(g, name, v, &p->bed->err));
    }
    return true;
}

bool grad_case_program(struct bed *bed, uint64_t seed, uint32_t *moving)
{
    struct program *p = begin(bed, seed);
    struct point point;
    program_grow(p, VALUES_MOST - 1);
    draw_point(p, seed, &point);
    return (keep_moderate(p, &point) && judge(&point, moving, &bed->err)) ||
           fail_at(&bed->err, "program, seed %llu", (unsigned long long)seed);
}
