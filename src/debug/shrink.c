/* Makes a small blueprint that has the fault.
 *
 * For a pass: the smallest neighbourhood of a value, in the graph before the pass, that the pass
 * still gets wrong: the value and the nodes that it is computed from, up to a few steps away;
 * values beyond become inputs. For a kernel: the part of the graph that it computes. Params become
 * inputs, too, so their values may change; the blueprint is therefore compiled to see whether it
 * fails by itself. */
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "compiler/opt/opt.h"
#include "compiler/target/target.h"
#include "debug/debug_priv.h"

#define DISTANCE_MOST 6
#define SEARCH_NS 20000000000u

static void print_blueprint(struct bisect *b, const struct graph *graph)
{
    struct strbuf text, out;
    strbuf_init(&text, b->arena);
    strbuf_init(&out, b->arena);
    graph_print(graph, &text);
    strbuf_puts(&out, "{\"format\":\"urza.blueprint/1\",\"graph\":");
    json_write_string(text.data, text.size_bytes, &out);
    strbuf_puts(&out, "}\n");
    b->finding.blueprint = out.data;
}

/* The value and the nodes it is computed from, up to `distance` steps away. False if the value is a
 * source, or depends on no source. */
static bool neighbourhood(const struct graph *g, value_id root, uint32_t distance,
                          struct arena *arena, struct graph *out)
{
    uint32_t *near = ARENA_ARRAY(arena, uint32_t, g->nodes.count), leaf_count = 0;
    value_id *leaves = ARENA_ARRAY(arena, value_id, g->nodes.count);
    struct error err = {0};
    near[root] = distance + 1;
    for (value_id v = root; v > 0; v--) {
        const struct node *n = graph_node(g, v);
        bool source = n->prim == PRIM_INPUT || n->prim == PRIM_PARAM;
        if (near[v] == 0)
            continue;
        if (source || (near[v] == 1 && n->operand_count > 0)) {
            leaves[leaf_count++] = v;
            continue;
        }
        for (uint32_t i = 0; i < n->operand_count; i++) {
            uint32_t *at = &near[n->operands[i]], most = near[v] > 1 ? near[v] - 1 : 1;
            *at = *at > most ? *at : most;
        }
    }
    for (uint32_t i = 0; i < leaf_count; i++)
        if (leaves[i] == root)
            return false;
    const struct graph_part part = {&root, 1, leaves, leaf_count};
    return leaf_count > 0 && graph_extract(out, arena, g, &part, &err);
}

/* Whether the pass, followed by the planted fault, changes what this graph computes. */
static bool pass_fails(struct bisect *b, const struct graph *from, struct arena *arena)
{
    const struct compile_observer *fault = b->request->fault;
    const struct target *target = target_find(b->finding.target);
    struct graph to;
    struct error err = {0};
    char detail[DETAIL_BYTES];
    if (!pass_run(b->pass, &to, arena, from, &(struct pass_setting){target, false}, &err))
        return false;
    if (fault && fault->pass)
        fault->pass(fault->context, &(struct compile_view){.stage = STAGE_OPTIMISE,
                                                           .target = target,
                                                           .arena = arena,
                                                           .graph = &to,
                                                           .pass = b->pass});
    return !graphs_agree(from, &to, &b->draw, detail);
}

static void shrink_pass(struct bisect *b)
{
    uint64_t end = clock_ns() + SEARCH_NS;
    for (uint32_t distance = 1; distance <= DISTANCE_MOST; distance++)
        for (value_id v = 1; v < b->from->nodes.count && clock_ns() < end; v++) {
            struct arena arena;
            struct graph part;
            arena_init(&arena);
            bool fails =
                neighbourhood(b->from, v, distance, &arena, &part) && pass_fails(b, &part, &arena);
            if (fails)
                print_blueprint(b, &part);
            arena_release(&arena);
            b->finding.again = fails;
            if (fails)
                return;
        }
}

/* Whether this part of the graph, compiled and judged by itself, has the fault. */
static bool fails_alone(struct bisect *b, const struct graph *part)
{
    struct package_contents *contents = ARENA_NEW(b->arena, struct package_contents);
    struct bisect_request request = *b->request;
    struct bisect_finding finding;
    struct error err = {0};
    *contents = (struct package_contents){.name = "", .graph = *part};
    request.contents = contents;
    request.package = NULL;
    request.targets = b->finding.target;
    request.no_blueprint = true;
    return bisect_package(&request, b->arena, &finding, &err) && finding.place == b->finding.place;
}

void bisect_shrink(struct bisect *b)
{
    if (b->request->no_blueprint)
        return;
    if (b->finding.place == FAULT_PASS) {
        if (b->pass)
            shrink_pass(b);
        return;
    }
    if (b->finding.kernel[0] == 0)
        return;
    const struct suspects *s = NULL;
    for (uint32_t i = 0; i < b->target_count; i++)
        if (strcmp(b->targets[i].target->name, b->finding.target) == 0)
            s = &b->targets[i];
    const struct graph *part = s->items[b->suspect].launch.graph;
    print_blueprint(b, part);
    b->finding.again = fails_alone(b, part);
}
