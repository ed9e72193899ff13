/* Invocations: records of kernels, each taken out of its graph.
 *
 * Each value that the kernel reads from memory becomes an input, in the order of value ids, and the
 * kernel's root becomes the output; the text of that small graph determines the lowering. When the
 * text is read back, the compiler's cut must give one group with the same loops. If it does not,
 * because the cut depended on other parts of the original graph, the kernel has no record. */
#include <stdio.h>
#include <string.h>

#include "base/child.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "compiler/target/target.h"
#include "package/package.h"
#include "tuner/tuner_priv.h"

/* Which values the kernel computes (ROLE_INSIDE) and which it reads from memory. */
struct extract {
    const struct kernel_question *q;
    uint8_t *role; /* by value id */
};
enum { ROLE_NONE, ROLE_INSIDE, ROLE_READ };

static void find_roles(struct extract *x)
{
    const struct graph *g = x->q->graph;
    value_id root = x->q->group->root;
    x->role[root] = ROLE_INSIDE;
    for (value_id v = root; v > VALUE_NONE; v--) {
        const struct node *node = graph_node(g, v);
        if (x->role[v] == ROLE_NONE)
            continue;
        bool inlined = x->q->partition->values[v].place == PLACE_INLINE;
        x->role[v] = v == root || inlined ? ROLE_INSIDE : ROLE_READ;
        for (uint32_t i = 0; x->role[v] == ROLE_INSIDE && i < node->operand_count; i++)
            x->role[node->operands[i]] = ROLE_INSIDE;
    }
}

/* A copy of the graph in which the values that the kernel reads are inputs; everything else is
 * shared with the original. */
static struct graph view_of(struct extract *x, struct arena *arena)
{
    const struct graph *g = x->q->graph;
    struct graph view = *g;
    view.name = "";
    memset(&view.inputs, 0, sizeof view.inputs);
    memset(&view.params, 0, sizeof view.params);
    memset(&view.outputs, 0, sizeof view.outputs);
    view.nodes.items = arena_memdup(arena, g->nodes.items, g->nodes.count * sizeof(struct node));
    for (value_id v = 1; v <= x->q->group->root; v++) {
        struct node *node = &view.nodes.items[v];
        if (x->role[v] != ROLE_READ)
            continue;
        struct attrs *attrs = ARENA_NEW(arena, struct attrs);
        char name[16];
        snprintf(name, sizeof name, "a%u", view.inputs.count);
        attrs->name = arena_strdup(arena, name);
        attrs->dtype = node->dtype;
        attrs->rank = node->rank;
        memcpy(attrs->shape, node->shape, node->rank * sizeof node->shape[0]);
        node->prim = PRIM_INPUT;
        node->operand_count = 0;
        node->attrs = attrs;
        VEC_PUSH(arena, &view.inputs, v);
    }
    struct graph_output output = {"y", x->q->group->root};
    VEC_PUSH(arena, &view.outputs, output);
    return view;
}

/* Prints a type as a JSON string: "f32[B, 16]". */
static void print_type(const struct graph *graph, value_id value, struct arena *arena,
                       struct strbuf *out)
{
    const struct node *node = graph_node(graph, value);
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_puts(&text, dtype_name(node->dtype));
    strbuf_puts(&text, "[");
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&text, i > 0 ? ", " : "");
        dim_print(&graph->dims, node->shape[i], &text);
    }
    strbuf_puts(&text, "]");
    json_write_string(text.data, text.size_bytes, out);
}

/* Cuts a kernel's graph; fails unless the cut makes one group, which computes the output. */
static bool cut(struct kernel_case *k, struct arena *arena, struct error *err)
{
    partition_graph(&k->graph, arena, &k->partition);
    if (k->graph.outputs.count != 1 || k->partition.groups.count != 1 ||
        k->partition.groups.items[0].root != k->graph.outputs.items[0].value)
        return fail(err, ERR_UNSUPPORTED, "the kernel is not one by itself");
    k->group = &k->partition.groups.items[0];
    k->hint = kernel_hint(&k->graph, k->group);
    return true;
}

bool case_parse(const char *graph, const char *target, struct arena *arena, struct kernel_case *out,
                struct error *err)
{
    out->target = target_find(target);
    if (!out->target)
        return fail(err, ERR_TARGET, "no target is called '%.64s'", target);
    return graph_parse(&out->graph, arena, graph, strlen(graph), err) && cut(out, arena, err);
}

static bool is_utf8(const char *text, struct arena *arena)
{
    char *clean = arena_strdup(arena, text);
    child_clean(clean, true);
    return strcmp(clean, text) == 0;
}

static void print_field(const char *key, const char *value, struct strbuf *out)
{
    strbuf_printf(out, "\"%s\":", key);
    json_write_string(value, strlen(value), out);
}

bool invocation_of_case(const struct kernel_case *k, struct arena *arena, struct invocation *out,
                        struct error *err)
{
    struct strbuf graph, text;
    const char *features = target_features(k->target->name);
    strbuf_init(&graph, arena);
    strbuf_init(&text, arena);
    graph_print(&k->graph, &graph);
    if (!is_utf8(graph.data, arena) || !is_utf8(k->group->label, arena))
        return fail(err, ERR_UNSUPPORTED, "the kernel cannot be written as JSON");
    strbuf_puts(&text, "{");
    print_field("compiler", compiler_version(), &text);
    strbuf_puts(&text, ",");
    print_field("features", features ? features : "", &text);
    strbuf_puts(&text, ",");
    print_field("graph", graph.data, &text);
    strbuf_puts(&text, ",");
    print_field("op", k->group->label, &text);
    strbuf_puts(&text, ",\"operands\":[");
    for (uint32_t i = 0; i < k->graph.inputs.count; i++) {
        strbuf_puts(&text, i > 0 ? "," : "");
        print_type(&k->graph, k->graph.inputs.items[i], arena, &text);
    }
    strbuf_puts(&text, "],\"result\":");
    print_type(&k->graph, k->group->root, arena, &text);
    strbuf_puts(&text, ",");
    print_field("target", k->target->name, &text);
    strbuf_puts(&text, "}");
    *out = (struct invocation){.json = text.data, .op = k->group->label};
    sha256_hex(text.data, text.size_bytes, out->key);
    return true;
}

/* Removes each named dim without which the text of the graph still parses. A dim that the kernel
 * does not use, but its network does, must not change the kernel's record. */
static const char *without_idle_dims(const char *text, struct arena *arena)
{
    for (const char *at = text; (at = strstr(at, "\ndim ")) != NULL;) {
        const char *rest = strchr(at + 1, '\n');
        struct strbuf shorter;
        struct graph graph;
        struct error err;
        strbuf_init(&shorter, arena);
        strbuf_add(&shorter, text, (size_t)(at - text));
        strbuf_puts(&shorter, rest);
        if (graph_parse(&graph, arena, shorter.data, shorter.size_bytes, &err)) {
            at = shorter.data + (at - text);
            text = shorter.data;
        } else {
            at = rest;
        }
    }
    return text;
}

/* Whether both groups have the same loops. The extracted kernel's result is an output, and it
 * always belongs to calls, so other properties of the groups may differ. The loops follow from the
 * anchor and from whether a row is staged. */
static bool same_loops(const struct kernel_case *k, const struct kernel_question *question)
{
    const struct group *mine = k->group, *theirs = question->group;
    const struct node *a = graph_node(&k->graph, mine->anchor);
    const struct node *b = graph_node(question->graph, theirs->anchor);
    if ((mine->anchor == VALUE_NONE) != (theirs->anchor == VALUE_NONE) ||
        (mine->staged == VALUE_NONE) != (theirs->staged == VALUE_NONE))
        return false;
    if (mine->anchor == VALUE_NONE)
        return true;
    return a->prim == b->prim && a->rank == b->rank &&
           (a->prim != PRIM_CONTRACT || (a->attrs->batch == b->attrs->batch &&
                                         graph_node(&k->graph, a->operands[0])->rank ==
                                             graph_node(question->graph, b->operands[0])->rank));
}

bool invocation_make(const struct kernel_question *question, struct arena *arena,
                     struct invocation *out, struct error *err)
{
    struct extract x = {question, ARENA_ARRAY(arena, uint8_t, question->graph->nodes.count)};
    struct kernel_case *k = ARENA_NEW(arena, struct kernel_case);
    struct graph *alone = ARENA_NEW(arena, struct graph);
    struct strbuf text;
    find_roles(&x);
    struct graph view = view_of(&x, arena);
    strbuf_init(&text, arena);
    if (!graph_copy_live(alone, arena, &view, err))
        return false;
    graph_print(alone, &text);
    if (!case_parse(without_idle_dims(text.data, arena), question->target->name, arena, k, err))
        return false;
    if (!same_loops(k, question) || strcmp(k->group->label, question->group->label) != 0)
        return fail(err, ERR_UNSUPPORTED, "the kernel is another one by itself");
    return invocation_of_case(k, arena, out, err);
}

/* Reads the kernel of a record; op, target and types in the record must be those of its graph. */
static bool read_case(const json_t *record, const struct invocation *invocation,
                      struct arena *arena, struct kernel_case *k, struct error *err)
{
    const char *graph, *compiler, *target;
    struct invocation again;
    if (!json_get_string(record, "graph", &graph, err) ||
        !json_get_string(record, "compiler", &compiler, err) ||
        !json_get_string(record, "target", &target, err))
        return false;
    if (strcmp(compiler, compiler_version()) != 0)
        return fail(err, ERR_UNSUPPORTED, "recorded by '%.64s', this is '%s'", compiler,
                    compiler_version());
    if (!case_parse(graph, target, arena, k, err) || !invocation_of_case(k, arena, &again, err))
        return false;
    return strcmp(again.key, invocation->key) == 0 ||
           fail(err, ERR_JSON, "its graph is not what the other fields say");
}

static bool read_record(const json_t *record, struct arena *arena, struct invocation *out,
                        struct error *err)
{
    static const char *const keys[] = {"compiler", "features", "graph",  "op",
                                       "operands", "result",   "target", NULL};
    const char *text;
    json_t *operands;
    size_t i;
    json_t *operand;
    if (!json_only_keys(record, keys, err))
        return false;
    for (const char *const *key = keys; *key; key++)
        if (strcmp(*key, "operands") != 0 && !json_get_string(record, *key, &text, err))
            return false;
    if (!json_get_array(record, "operands", &operands, err))
        return false;
    json_array_foreach(operands, i, operand)
    {
        if (!json_is_string(operand))
            return fail(err, ERR_JSON, "field 'operands': expected strings");
    }
    struct strbuf canonical;
    strbuf_init(&canonical, arena);
    json_write_canonical(record, &canonical);
    *out = (struct invocation){.json = canonical.data};
    sha256_hex(canonical.data, canonical.size_bytes, out->key);
    json_get_string(record, "op", &text, err);
    out->op = arena_strdup(arena, text);
    return true;
}

bool invocation_read(const char *json, size_t size, struct arena *arena, struct invocation *out,
                     struct kernel_case *out_case, struct error *err)
{
    json_t *record = json_read_in(arena, json, size, err);
    struct invocation found;
    bool ok = record != NULL;
    if (ok && !json_is_object(record))
        ok = fail(err, ERR_JSON, "expected an object");
    ok = ok && read_record(record, arena, &found, err) &&
         (!out_case || read_case(record, &found, arena, out_case, err));
    if (!ok)
        return fail_at(err, "invocation");
    if (out)
        *out = found;
    return true;
}
