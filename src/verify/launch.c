/* Derives what each launch of a plan must compute, from the plan and the optimised graph only.
 *
 * A buffer holds one value of the graph. A launch must compute the values of the buffers it writes
 * from those of the buffers it reads, so its graph is the part between these values. The buffers of
 * inputs, params and outputs must hold the package's own inputs, params and outputs. By induction
 * over the launches, if each computes its values from its arguments, the outputs are those of the
 * optimised graph. */
#include <string.h>

#include "base/error.h"
#include "base/map.h"
#include "base/strbuf.h"
#include "verify/verify_priv.h"

static bool same_tensor(const struct graph *a, value_id x, const struct graph *b, value_id y,
                        struct arena *arena)
{
    const struct node *n = graph_node(a, x), *m = graph_node(b, y);
    if (n->dtype != m->dtype || n->rank != m->rank)
        return false;
    for (uint32_t i = 0; i < n->rank; i++) {
        struct strbuf left, right;
        strbuf_init(&left, arena);
        strbuf_init(&right, arena);
        dim_print(&a->dims, n->shape[i], &left);
        dim_print(&b->dims, m->shape[i], &right);
        if (strcmp(left.data, right.data) != 0)
            return false;
    }
    return true;
}

/* The inputs or the params of a graph. */
struct sources {
    const struct graph *graph;
    const value_id *ids;
    uint32_t count;
};

static bool same_sources(struct sources a, struct sources b, struct arena *arena, struct error *err)
{
    if (a.count != b.count)
        return fail(err, ERR_VERIFY, "%u inputs or params, the package has %u", b.count, a.count);
    for (uint32_t i = 0; i < a.count; i++) {
        const char *name = graph_node(b.graph, b.ids[i])->attrs->name;
        if (strcmp(graph_node(a.graph, a.ids[i])->attrs->name, name) != 0 ||
            !same_tensor(a.graph, a.ids[i], b.graph, b.ids[i], arena))
            return fail(err, ERR_VERIFY, "'%s' is not the package's", name);
    }
    return true;
}

static struct sources inputs_of(const struct graph *graph)
{
    return (struct sources){graph, graph->inputs.items, graph->inputs.count};
}

static struct sources params_of(const struct graph *graph)
{
    return (struct sources){graph, graph->params.items, graph->params.count};
}

/* Checks that the optimised graph has the same dims, inputs, params and outputs as the
 * package's. */
static bool check_graph(const struct graph *graph, const struct graph *optimised,
                        struct arena *arena, struct error *err)
{
    if (graph->dims.names.count != optimised->dims.names.count)
        return fail(err, ERR_VERIFY, "its dims are not the package's");
    for (uint32_t i = 0; i < graph->dims.names.count; i++) {
        const struct dim_name *a = &graph->dims.names.items[i];
        const struct dim_name *b = &optimised->dims.names.items[i];
        if (strcmp(a->name, b->name) != 0 || a->min != b->min || a->max != b->max ||
            a->multiple_of != b->multiple_of)
            return fail(err, ERR_VERIFY, "dim '%s' is not the package's", b->name);
    }
    if (!same_sources(inputs_of(graph), inputs_of(optimised), arena, err) ||
        !same_sources(params_of(graph), params_of(optimised), arena, err))
        return false;
    if (graph->outputs.count != optimised->outputs.count)
        return fail(err, ERR_VERIFY, "it has %u outputs, the package %u", optimised->outputs.count,
                    graph->outputs.count);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (!same_tensor(graph, graph->outputs.items[i].value, optimised,
                         optimised->outputs.items[i].value, arena))
            return fail(err, ERR_VERIFY, "output %u is not the package's", i);
    return true;
}

static bool check_buffer(const struct target_case *t, const struct plan_buffer *buffer,
                         struct arena *arena, struct error *err)
{
    struct graph *g = (struct graph *)&t->optimised;
    value_id bound = VALUE_NONE;
    if (buffer->value == VALUE_NONE || buffer->value >= g->nodes.count)
        return fail(err, ERR_VERIFY, "it holds no value of the graph");
    if (buffer->kind == BUFFER_INPUT)
        bound = g->inputs.items[buffer->index];
    else if (buffer->kind == BUFFER_PARAM)
        bound = g->params.items[buffer->index];
    else if (buffer->kind == BUFFER_OUTPUT)
        bound = g->outputs.items[buffer->index].value;
    if (bound != VALUE_NONE && bound != buffer->value)
        return fail(err, ERR_VERIFY, "it holds value %u, expected %u", buffer->value, bound);
    if (graph_node(g, buffer->value)->dtype != buffer->dtype)
        return fail(err, ERR_VERIFY, "its dtype is not its value's");
    struct strbuf given, right;
    strbuf_init(&given, arena);
    strbuf_init(&right, arena);
    dim_print(t->target->plan.dims, buffer->elements, &given);
    dim_print(&g->dims, graph_elements(g, buffer->value), &right);
    return strcmp(given.data, right.data) == 0 ||
           fail(err, ERR_VERIFY, "it has %s elements, its value %s", given.data, right.data);
}

static uint32_t leaf_number(const char *name)
{
    uint32_t number = 0;
    for (name++; *name; name++)
        number = number * 10 + (uint32_t)(*name - '0');
    return number;
}

static bool make_launch(const struct target_case *t, const struct plan_launch *launch,
                        struct launch_case *out, struct arena *arena, struct error *err)
{
    uint32_t read_count = 0, write_count = 0;
    value_id leaves[LIMIT_KERNEL_BUFFERS], roots[LIMIT_KERNEL_BUFFERS];
    uint32_t read_args[LIMIT_KERNEL_BUFFERS];
    out->launch = launch;
    out->graph = ARENA_NEW(arena, struct graph);
    out->config = t->target->kernel_configs[launch->code.kernel];
    out->writes = ARENA_ARRAY(arena, uint32_t, launch->arg_count + 1);
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        value_id value = t->target->plan.buffers.items[launch->args[i]].value;
        bool writes = launch_writes(launch, i), known = false;
        for (uint32_t k = 0; k < read_count; k++)
            known |= leaves[k] == value; /* the same buffer is read twice */
        if (writes) {
            out->writes[write_count] = i;
            roots[write_count++] = value;
        } else if (!known) {
            read_args[read_count] = i;
            leaves[read_count++] = value;
        }
    }
    const struct graph_part part = {roots, write_count, leaves, read_count};
    if (!graph_extract(out->graph, arena, &t->optimised, &part, err))
        return false;
    out->reads = ARENA_ARRAY(arena, uint32_t, read_count + 1);
    for (uint32_t i = 0; i < out->graph->inputs.count; i++) {
        const struct node *input = graph_node(out->graph, out->graph->inputs.items[i]);
        out->reads[i] = read_args[leaf_number(input->attrs->name)];
    }
    return true;
}

/* For finding launches that do the same: the distinct ones so far. */
struct twins {
    struct map map;                /* by the start of their keys */
    uint8_t (*keys)[SHA256_BYTES]; /* of all launches */
    struct arena *scratch;
};

/* The key is a digest of the graph (with inputs named by their place among the reads), of the order
 * of the arguments, and of the kernels. */
static void make_key(const struct launch_case *c, struct arena *arena, uint8_t key[SHA256_BYTES])
{
    struct strbuf text;
    strbuf_init(&text, arena);
    graph_print(c->graph, &text);
    strbuf_printf(&text, "%u %u", c->launch->code.kernel, c->launch->written);
    for (uint32_t i = 0; i < c->launch->variant_count; i++)
        strbuf_printf(&text, " at %u %u", c->launch->variants[i].special,
                      c->launch->variants[i].code.kernel);
    for (uint32_t i = 0; i < c->graph->inputs.count; i++)
        strbuf_printf(&text, " %u", c->reads[i]);
    sha256(text.data, text.size_bytes, key);
}

/* Makes launch i, or finds that an earlier one does the same. Most launches of a deep network do,
 * and their graphs would take more memory than the network's. */
static bool add_launch(struct target_case *t, const struct plan_launch *launch, uint32_t i,
                       struct twins *twins, struct arena *arena, struct error *err)
{
    struct launch_case *out = &t->launches[i], tried = *out;
    uint64_t hash;
    uint32_t cursor = 0, known;
    arena_release(twins->scratch);
    if (!make_launch(t, launch, &tried, twins->scratch, err))
        return false;
    make_key(&tried, twins->scratch, twins->keys[i]);
    memcpy(&hash, twins->keys[i], sizeof hash);
    while (map_next(&twins->map, hash, &cursor, &known))
        if (memcmp(twins->keys[known], twins->keys[i], SHA256_BYTES) == 0) {
            bool prepare = out->prepare;
            *out = t->launches[known];
            out->launch = launch;
            out->prepare = prepare;
            return true;
        }
    out->first = i;
    map_add(&twins->map, arena, hash, i);
    return make_launch(t, launch, out, arena, err);
}

bool target_case_make(struct target_case *out, const struct package_contents *contents,
                      const struct package_target *target, struct arena *arena, struct error *err)
{
    const struct plan *plan = &target->plan;
    *out = (struct target_case){.contents = contents,
                                .target = target,
                                .prepare_count = plan->prepare.count,
                                .count = plan->prepare.count + plan->forward.count};
    if (!graph_parse(&out->optimised, arena, target->optimised, target->optimised_bytes, err) ||
        !check_graph(&contents->graph, &out->optimised, arena, err))
        return fail_at(err, "optimised/%s", target->name);
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (!check_buffer(out, &plan->buffers.items[i], arena, err))
            return fail_at(err, "plan/%s, buffer %u", target->name, i);
    out->launches = ARENA_ARRAY(arena, struct launch_case, out->count);
    struct twins twins = {.keys = arena_array(arena, out->count, SHA256_BYTES),
                          .scratch = arena_inside(arena)};
    for (uint32_t i = 0; i < out->count; i++) {
        bool prepare = i < out->prepare_count;
        const struct plan_launch *launch =
            prepare ? &plan->prepare.items[i] : &plan->forward.items[i - out->prepare_count];
        out->launches[i].prepare = prepare;
        if (!add_launch(out, launch, i, &twins, arena, err))
            return fail_at(err, "plan/%s, launch %u (%s)", target->name, i, launch->label);
    }
    arena_release(twins.scratch);
    return loops_check(out, arena, err) || fail_at(err, "plan/%s", target->name);
}
