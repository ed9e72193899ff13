/* Random graphs of all prims; each value is computed at points and compared with the result of
 * interp_run.
 *
 * What must hold of an element, where bounds are finite:
 * 1. Without a sum on the way the cell has the same bits (a NaN any), and the bound is the same.
 * 2. A sum may add its terms in another order. In float64 that moves a value by less than the bound
 *    / 64, which counts roundings of f32 or less; where an f64 takes part, by less than the bound.
 * 3. A bound is at most 1 % larger than interp_run's: sums of bounds have an order, too. It may be
 *    smaller only behind a float sum, whose terms are sometimes exact while others of the tensor
 * are not; that is rare. Native results, rounded after each sum or after each term, lie within it.
 *    What padding does to infinities has nothing to do with terms that are exact.
 * 4. With infinities among the inputs, maxima may be found one by one here and side by side there,
 *    with bounds that differ; 3 is then only that native results lie within them. */
#include <string.h>

#include "graph/interp_points.h"
#include "graph/prims_test_util.h"

/* Counts over all cases. */
struct tally {
    int64_t by_prim[PRIM_COUNT], elements, determined, smaller;
};

/* Kinds of prims that a value depends on. */
struct kin {
    bool sums, maxima, wide;
    bool is_conv; /* of floats */
};

static void find_kin(struct program *p, struct kin *kin)
{
    for (value_id id = 1; id < p->graph.nodes.count; id++) {
        const struct node *node = program_node(p, id);
        int prim = node->prim;
        bool is_float = dtype_is_float((enum dtype)node->dtype);
        kin[id].wide = node->dtype == DTYPE_F64;
        kin[id].is_conv = is_float && prim == PRIM_CONV;
        kin[id].sums =
            is_float && (prim == PRIM_REDUCE_SUM || prim == PRIM_CUM_SUM || prim == PRIM_CONTRACT ||
                         prim == PRIM_CONV || prim == PRIM_WINDOW_SUM);
        kin[id].maxima = is_float && (prim == PRIM_REDUCE_MAX || prim == PRIM_REDUCE_MIN ||
                                      prim == PRIM_WINDOW_MAX);
        for (uint32_t i = 0; i < node->operand_count; i++) {
            const struct kin *operand = &kin[node->operands[i]];
            kin[id].sums |= operand->sums;
            kin[id].maxima |= operand->maxima;
            kin[id].wide |= operand->wide;
        }
    }
}

static double difference(enum dtype dtype, union cell a, union cell b)
{
    if (!dtype_is_float(dtype))
        return fabs(dtype_int_value(dtype, a.i) - dtype_int_value(dtype, b.i));
    if (isnan(a.f) || isnan(b.f))
        return isnan(a.f) && isnan(b.f) ? 0 : INFINITY;
    return a.f == b.f ? 0 : fabs(a.f - b.f);
}

static bool same_bits(enum dtype dtype, union cell a, union cell b)
{
    return a.i == b.i || (dtype_is_float(dtype) && isnan(a.f) && isnan(b.f));
}

/* One element: by points, from the whole result, and from native programs. */
struct element {
    enum dtype dtype;
    union cell cell, whole, native, plain;
    double bound, whole_bound;
};

static bool is_right(const struct element *e, const struct kin *kin, bool special)
{
    double moved = difference(e->dtype, e->cell, e->whole);
    if (!kin->sums && !(kin->maxima ? moved == 0 : same_bits(e->dtype, e->cell, e->whole)))
        return false;
    if (!(kin->maxima && special)) {
        if (!kin->sums && e->bound != e->whole_bound)
            return false;
        if (!(e->bound <= e->whole_bound * 1.01))
            return false;
    }
    if (!(e->bound < INFINITY))
        return true;
    if (kin->is_conv && !isfinite(e->cell.f) && !(e->whole_bound < INFINITY))
        return false;
    if (e->whole_bound < INFINITY && moved > e->whole_bound / (kin->wide ? 1 : 64))
        return false;
    return difference(e->dtype, e->cell, e->native) <= e->bound &&
           difference(e->dtype, e->cell, e->plain) <= e->bound;
}

static bool is_of_loops(enum prim prim)
{
    return prim == PRIM_ITER || prim == PRIM_STATE || prim == PRIM_LOOP;
}

static void check_value(struct program *p, value_id id, const struct kin *kin,
                        const struct interp_tensor whole[3], const struct points_source *sources,
                        struct tally *tally)
{
    int64_t points[600], count = whole[0].count > 0 ? program_roll(p, 1, 12) : 0;
    bool all = whole[0].count <= 600 && program_roll(p, 0, 2) == 0;
    union cell cells[600];
    double bounds[600];
    count = all ? whole[0].count : count;
    for (int64_t i = 0; i < count; i++)
        points[i] = all ? count - 1 - i : program_roll(p, 0, whole[0].count - 1);
    const struct points_request request = {p->dims, sources, id, points, count, 10000000};
    if (!interp_points(&p->graph, &(struct interp_options){.mode = INTERP_REFERENCE}, &request,
                       &p->bed->arena, (struct points_result){cells, bounds}, &p->bed->err))
        fail_msg("value %u: %s", id, p->bed->err.message);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = points[i];
        struct element e = {whole[0].dtype,         cells[i],           whole[0].cells[at],
                            whole[1].cells[at],     whole[2].cells[at], bounds[i],
                            bound_of(&whole[0], at)};
        if (!is_right(&e, kin, p->special))
            fail_msg("seed key %llx, value %u (%s %s), element %lld: %.17g ± %g, whole %.17g ± %g, "
                     "native %.9g, plain %.9g (integers %lld, %lld)",
                     (unsigned long long)p->key, id,
                     prim_info((enum prim)program_node(p, id)->prim)->name, dtype_name(e.dtype),
                     (long long)at, e.cell.f, e.bound, e.whole.f, e.whole_bound, e.native.f,
                     e.plain.f, (long long)e.cell.i, (long long)e.whole.i);
        tally->elements++;
        tally->determined += e.bound < INFINITY;
        tally->smaller += !p->special && e.bound < 0.99 * e.whole_bound;
    }
    tally->by_prim[program_node(p, id)->prim] += count;
}

static void check_program(struct bed *bed, uint64_t seed, bool special, struct tally *tally)
{
    static const enum interp_mode modes[3] = {INTERP_REFERENCE, INTERP_NATIVE, INTERP_PLAIN};
    struct interp_tensor tensors[SOURCES_MOST], out[3][VALUES_MOST];
    struct points_source sources[SOURCES_MOST];
    arena_release(&bed->arena);
    struct program *p = ARENA_NEW(&bed->arena, struct program);
    *p = (struct program){.bed = bed, .key = rng_key(seed), .special = special};
    p->excluded[PRIM_SCATTER] = true; /* it is not computed at points */
    graph_init(&p->graph, &bed->arena);
    program_grow(p, VALUES_MOST - 1);
    uint32_t inputs = p->graph.inputs.count, count = inputs + p->graph.params.count;
    for (uint32_t i = 0; i < count; i++) {
        value_id id = i < inputs ? p->graph.inputs.items[i] : p->graph.params.items[i - inputs];
        tensors[i] = program_tensor(p, id);
        void *data = arena_array(&bed->arena, (size_t)tensors[i].count, 8);
        interp_store(&tensors[i], data);
        /* Points and whole runs each borrow what the other has converted before. */
        struct interp_tensor borrowed;
        const struct native_tensor native = {tensors[i].dtype, tensors[i].rank, tensors[i].shape,
                                             data};
        assert_true(interp_borrow(&borrowed, &bed->arena, &native, &bed->err));
        sources[i] = (struct points_source){.data = data};
        if (i % 2 > 0)
            tensors[i] = borrowed;
        else
            sources[i] = (struct points_source){.lazy = borrowed.lazy};
    }
    for (uint32_t i = 0; i < p->count; i++) {
        char name[8];
        snprintf(name, sizeof name, "y%u", i);
        assert_true(graph_output(&p->graph, name, p->values[i], &bed->err));
    }
    for (int m = 0; m < 3; m++)
        if (!interp_run(&p->graph, &(struct interp_options){.mode = modes[m]},
                        &(struct interp_arguments){p->dims, tensors, count}, &bed->arena, out[m],
                        &bed->err))
            fail_msg("seed %llu: %s", (unsigned long long)seed, bed->err.message);
    struct kin *kin = ARENA_ARRAY(&bed->arena, struct kin, p->graph.nodes.count);
    find_kin(p, kin);
    for (uint32_t i = 0; i < p->count; i++) {
        struct interp_tensor whole[3] = {out[0][i], out[1][i], out[2][i]};
        check_value(p, p->values[i], &kin[p->values[i]], whole, sources, tally);
    }
}

static void test_random_graphs(void **state)
{
    struct tally tally = {0};
    for (uint64_t seed = 0; seed < 1000; seed++)
        check_program(*state, seed, seed % 4 == 3, &tally);
    for (int prim = PRIM_CONST; prim < PRIM_COUNT; prim++)
        if (prim != PRIM_SCATTER && !is_of_loops(prim) && tally.by_prim[prim] < 50)
            fail_msg("%s: %lld elements were seen", prim_info((enum prim)prim)->name,
                     (long long)tally.by_prim[prim]);
    print_message("%lld elements, %lld determined, %lld with smaller bounds\n",
                  (long long)tally.elements, (long long)tally.determined, (long long)tally.smaller);
    assert_true(tally.determined > tally.elements / 2);
    assert_true(tally.smaller < tally.elements / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_graphs, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
