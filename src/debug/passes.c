/* Compares graphs in float64.
 *
 * The graph before all passes is interpreted on a few samples. Each graph that a pass makes is
 * interpreted on the same samples, with the bounds of float64 arithmetic, and must agree with the
 * last graph within both bounds. A graph with the same text as the last one is not interpreted.
 * Where interpreting everything costs too much, elements of the outputs are drawn. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "graph/loops.h"
#include "compiler/opt/opt.h"
#include "compiler/target/target.h"
#include "debug/debug_priv.h"
#include "verify/sizes.h"
#include "verify/verify.h"

#define WHOLE_COST 2e7 /* limit on one whole interpretation; above it elements are drawn */
#define WHOLE_CELLS 1e7
#define LOST 0.01 /* share of elements that a pass may leave undetermined, or so many */
#define LOST_FEW 4
#define BUDGET 2e7

static const struct interp_options WIDE = {.mode = INTERP_REFERENCE,
                                           .wide = true,
                                           .memory_limit = REFERENCE_BYTES,
                                           .most_trips = LOOP_TRIED_TRIPS};

static bool interpret(const struct graph *g, const struct interp_options *options,
                      const struct probe *probe, struct arena *arena, struct interp_tensor *out,
                      struct error *err)
{
    if (!probe->sources)
        return draw_outputs(g, options, &probe->sample, arena, out, err);
    const struct interp_arguments arguments = {probe->sample.dims, probe->sources,
                                               g->inputs.count + g->params.count};
    return interp_run(g, options, &arguments, arena, out, err);
}

/* Prints "[3, 5]" for an element of an output. If elements were drawn, draws them again to find its
 * index. */
static void print_place(const struct probe *probe, uint32_t output, int64_t at, char *out,
                        size_t size)
{
    const struct tensor *t = &probe->sample.outputs[output];
    int64_t points[OUTPUT_DRAWN], index[LIMIT_RANK] = {0};
    if (!probe->sources) {
        draw_points(t->shape, t->rank, NULL, output + 1, OUTPUT_DRAWN, points);
        at = points[at];
    }
    for (uint32_t i = t->rank; i-- > 0;) {
        index[i] = at % (t->shape[i] > 0 ? t->shape[i] : 1);
        at /= t->shape[i] > 0 ? t->shape[i] : 1;
    }
    int used = snprintf(out, size, "[");
    for (uint32_t i = 0; i < t->rank; i++)
        used += snprintf(out + used, size - (size_t)used, "%s%lld", i > 0 ? ", " : "",
                         (long long)index[i]);
    snprintf(out + used, size - (size_t)used, "]");
}

static bool element_agrees(const struct interp_tensor *a, const struct interp_tensor *b, int64_t i,
                           int64_t *lost)
{
    double reach = a->bounds ? a->bounds[i] : 0, more = b->bounds ? b->bounds[i] : 0;
    if (!(reach < INFINITY))
        return true;
    if (!(more < INFINITY)) {
        ++*lost;
        return true;
    }
    if (!dtype_is_float(a->dtype) && a->cells[i].i == b->cells[i].i)
        return true;
    double x = dtype_is_float(a->dtype) ? a->cells[i].f : (double)a->cells[i].i;
    double y = dtype_is_float(a->dtype) ? b->cells[i].f : (double)b->cells[i].i;
    return (dtype_is_float(a->dtype) && (x == y || (isnan(x) && isnan(y)))) ||
           fabs(x - y) <= reach + more;
}

/* Whether the outputs after the pass equal those before, within both bounds. */
static bool agree(const struct graph *g, const struct probe *probe,
                  const struct interp_tensor *before, const struct interp_tensor *after,
                  char detail[DETAIL_BYTES])
{
    for (uint32_t o = 0; o < g->outputs.count; o++) {
        const struct interp_tensor *a = &before[o], *b = &after[o];
        int64_t lost = 0, count = a->count < b->count ? a->count : b->count;
        for (int64_t i = 0; i < count; i++) {
            char place[160];
            if (element_agrees(a, b, i, &lost))
                continue;
            bool is_float = dtype_is_float(a->dtype);
            print_place(probe, o, i, place, sizeof place);
            snprintf(detail, DETAIL_BYTES, "output '%s' at %s: %.9g before, %.9g after",
                     g->outputs.items[o].name, place,
                     is_float ? a->cells[i].f : (double)a->cells[i].i,
                     is_float ? b->cells[i].f : (double)b->cells[i].i);
            return false;
        }
        if ((double)lost > LOST * (double)count && lost > LOST_FEW) {
            snprintf(detail, DETAIL_BYTES, "output '%s': %lld elements are no longer determined",
                     g->outputs.items[o].name, (long long)lost);
            return false;
        }
    }
    return true;
}

/* Copies tensors that must outlive the arena of an interpretation. */
static void keep(struct arena *arena, const struct interp_tensor *from, uint32_t count,
                 struct interp_tensor *to)
{
    for (uint32_t i = 0; i < count; i++) {
        to[i] = from[i];
        size_t elements = (size_t)from[i].count;
        to[i].cells = arena_memdup(arena, from[i].cells, elements * sizeof *from[i].cells);
        if (from[i].bounds)
            to[i].bounds = arena_memdup(arena, from[i].bounds, elements * sizeof(double));
    }
}

static bool make_probe(struct bisect *b, const int64_t *dims, enum fill fill, struct error *err)
{
    const struct package_contents *contents = b->request->contents;
    const struct graph *g = &contents->graph;
    struct probe *p = &b->probes[b->probe_count];
    struct arena scratch;
    *p = (struct probe){.draw = {.fill = fill, .seed = b->request->seed + b->probe_count}};
    memcpy(p->draw.dims, dims, sizeof p->draw.dims);
    const struct sample_request wanted = {g, contents->params, dims, p->draw.seed, fill, NULL};
    if (!sample_make(&p->sample, &wanted, b->arena, err))
        return false;
    if (graph_cost(g, dims) <= WHOLE_COST && graph_cells(g, dims) <= WHOLE_CELLS) {
        p->sources =
            ARENA_ARRAY(b->arena, struct interp_tensor, g->inputs.count + g->params.count + 1);
        const struct interp_tensor *params = NULL;
        for (uint32_t i = 0; i < b->probe_count && !params; i++)
            params = b->probes[i].sources ? b->probes[i].sources + g->inputs.count : NULL;
        if (!sample_sources(&p->sample, params, p->sources, b->arena, err))
            return false;
    }
    arena_init(&scratch);
    struct error why = {0};
    struct interp_tensor *out = ARENA_ARRAY(&scratch, struct interp_tensor, g->outputs.count + 1);
    p->before = ARENA_ARRAY(b->arena, struct interp_tensor, g->outputs.count + 1);
    p->first = ARENA_ARRAY(b->arena, struct interp_tensor, g->outputs.count + 1);
    if (interpret(g, &WIDE, p, &scratch, out, &why)) {
        keep(b->arena, out, g->outputs.count, p->first);
        b->probe_count++;
    } /* else the probe is dropped: its elements cannot be drawn, and computing all costs too much
       */
    arena_release(&scratch);
    return true;
}

static bool any_exponentials(const struct graph *g)
{
    for (value_id v = 1; v < g->nodes.count; v++)
        if (graph_node(g, v)->prim == PRIM_EXP || graph_node(g, v)->prim == PRIM_EXP2)
            return true;
    return false;
}

bool probes_make(struct bisect *b, struct error *err)
{
    const struct package_contents *contents = b->request->contents;
    const struct graph *g = &contents->graph;
    const struct verify_options options = {.dims = b->request->dims, .seed = b->request->seed};
    struct sizes *sizes = ARENA_NEW(b->arena, struct sizes);
    const struct size_wish wish = {contents, NULL, &options, BUDGET};
    if (!sizes_choose(&wish, b->arena, sizes, err))
        return false;
    const struct size *odd = &sizes->items[0], *least = odd;
    for (uint32_t i = 0; i < sizes->count; i++) {
        odd = strcmp(sizes->items[i].why, "odd") == 0 ? &sizes->items[i] : odd;
        least = sizes->items[i].cost < least->cost ? &sizes->items[i] : least;
    }
    const struct {
        const struct size *size;
        enum fill fill;
        bool wanted;
    } rows[] = {{least, FILL_NORMAL, true},
                {odd, FILL_NORMAL, odd != least},
                {odd, FILL_SPECIAL, true},
                {odd, FILL_EXACT, any_jumps(g)},
                {odd, FILL_FINITE, any_exponentials(g)},
                {&sizes->items[0], FILL_NORMAL, odd != &sizes->items[0]}};
    uint32_t count = sizeof rows / sizeof rows[0];
    b->probes = ARENA_ARRAY(b->arena, struct probe, count);
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].wanted && !make_probe(b, rows[i].size->dims, rows[i].fill, err))
            return false;
    return true;
}

static bool same_text(const struct graph *a, const struct graph *b)
{
    struct strbuf x, y;
    struct arena arena;
    arena_init(&arena);
    strbuf_init(&x, &arena);
    strbuf_init(&y, &arena);
    graph_print(a, &x);
    graph_print(b, &y);
    bool same = x.size_bytes == y.size_bytes && memcmp(x.data, y.data, x.size_bytes) == 0;
    arena_release(&arena);
    return same;
}

/* First with constants taken as exact, then with the error that folding in the pass may have
 * caused. */
static bool still_agrees(const struct bisect *b, struct probe *probe, const struct graph *graph,
                         char detail[DETAIL_BYTES])
{
    bool ok = false;
    for (int folded = 0; !ok && folded < 2; folded++) {
        struct interp_options options = WIDE;
        struct arena scratch;
        struct error err = {0};
        arena_init(&scratch);
        options.constants = folded ? b->from : NULL;
        struct interp_tensor *after =
            ARENA_ARRAY(&scratch, struct interp_tensor, graph->outputs.count + 1);
        if (!interpret(graph, &options, probe, &scratch, after, &err))
            snprintf(detail, DETAIL_BYTES, "it cannot be interpreted: %.400s", err.message);
        else
            ok = agree(graph, probe, probe->before, after, detail);
        if (ok)
            keep(b->arena, after, graph->outputs.count, probe->before);
        arena_release(&scratch);
    }
    return ok;
}

void probes_restart(struct bisect *b)
{
    const struct graph *g = &b->request->contents->graph;
    b->from = g;
    for (uint32_t i = 0; i < b->probe_count; i++)
        memcpy(b->probes[i].before, b->probes[i].first,
               g->outputs.count * sizeof b->probes[i].first[0]);
}

void probes_judge(struct bisect *b, const struct target *target, struct graph *graph,
                  const struct pass_row *pass, const char *name)
{
    if (b->finding.place != FAULT_NONE)
        return;
    b->finding.passes += pass != NULL;
    if (same_text(b->from, graph))
        return;
    for (uint32_t i = 0; i < b->probe_count; i++) {
        char detail[DETAIL_BYTES];
        if (still_agrees(b, &b->probes[i], graph, detail))
            continue;
        b->draw = b->probes[i].draw;
        b->pass = pass;
        bisect_note(b, FAULT_PASS, target, name, "", detail);
        return;
    }
    struct graph *right = ARENA_NEW(b->arena, struct graph);
    *right = *graph; /* copied: the observed graph may be on the compiler's stack */
    b->from = right;
}

bool graphs_agree(const struct graph *a, const struct graph *b, const struct draw *draw,
                  char detail[DETAIL_BYTES])
{
    struct arena arena;
    struct error err = {0};
    struct probe probe = {.draw = *draw};
    arena_init(&arena);
    struct interp_tensor *x = ARENA_ARRAY(&arena, struct interp_tensor, a->outputs.count + 1);
    struct interp_tensor *y = ARENA_ARRAY(&arena, struct interp_tensor, a->outputs.count + 1);
    struct interp_options folded = WIDE;
    folded.constants = a;
    probe.sources = ARENA_ARRAY(&arena, struct interp_tensor, a->inputs.count + 1);
    const struct sample_request wanted = {a, NULL, draw->dims, draw->seed, draw->fill, NULL};
    bool ok = graph_cost(a, draw->dims) > WHOLE_COST ||
              !sample_make(&probe.sample, &wanted, &arena, &err) ||
              !sample_sources(&probe.sample, NULL, probe.sources, &arena, &err) ||
              !interpret(a, &WIDE, &probe, &arena, x, &err) ||
              !interpret(b, &WIDE, &probe, &arena, y, &err) || agree(a, &probe, x, y, detail) ||
              !interpret(b, &folded, &probe, &arena, y, &err) || agree(a, &probe, x, y, detail);
    arena_release(&arena);
    return ok;
}
