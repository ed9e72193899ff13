/* The manifest: describes the package for programs that decide about it before mapping anything.
 *
 * The printer itself writes the keys in the order of RFC 8785. Most of the manifest repeats what
 * the graph and the entries contain; the reader makes that part again from them and compares, so
 * the manifest cannot contradict them. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "graph/element.h"
#include "package/package_priv.h"

/* Prints "key":"text", with the text escaped. */
static void put_member(const char *key, const char *text, struct strbuf *out)
{
    strbuf_printf(out, "\"%s\":", key);
    json_write_string(text ? text : "", text ? strlen(text) : 0, out);
}

/* Prints a comma before every item but the first. */
static void put_comma(uint32_t index, struct strbuf *out)
{
    if (index > 0)
        strbuf_puts(out, ",");
}

static void print_dims(const struct dim_table *dims, struct strbuf *out)
{
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *dim = &dims->names.items[i];
        put_comma(i, out);
        strbuf_printf(out, "{\"max\":%" PRId64 ",\"min\":%" PRId64 ",\"multiple_of\":%" PRId64 ",",
                      dim->max, dim->min, dim->multiple_of);
        put_member("name", dim->name, out);
        if (dim_shown(dims, i) != dim->name) {
            strbuf_puts(out, ",");
            put_member("spelling", dim_shown(dims, i), out);
        }
        strbuf_printf(out, ",\"typical\":%" PRId64, dim->typical);
        if (dim->why) {
            strbuf_puts(out, ",");
            put_member("why", dim->why, out);
        }
        strbuf_puts(out, "}");
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct entry_hash *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void print_entries(const struct entry_hashes *hashes, struct strbuf *out)
{
    const struct entry_hash *sorted[LIMIT_PACKAGE_ENTRIES];
    for (uint32_t i = 0; i < hashes->count; i++)
        sorted[i] = &hashes->items[i];
    qsort(sorted, hashes->count, sizeof sorted[0], compare_names);
    for (uint32_t i = 0; i < hashes->count; i++) {
        put_comma(i, out);
        put_member(sorted[i]->name, sorted[i]->hex, out);
    }
}

static void print_tensor(const struct graph *graph, const char *name, value_id value,
                         struct strbuf *out)
{
    const struct node *node = graph_node(graph, value);
    strbuf_printf(out, "{\"dtype\":\"%s\",", dtype_name(node->dtype));
    put_member("name", name, out);
    strbuf_puts(out, ",\"shape\":[");
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        put_comma(axis, out);
        strbuf_puts(out, "\"");
        dim_print(&graph->dims, node->shape[axis], out);
        strbuf_puts(out, "\"");
    }
    strbuf_puts(out, "]}");
}

static void print_sources(const struct graph *graph, const value_id *values, uint32_t count,
                          struct strbuf *out)
{
    for (uint32_t i = 0; i < count; i++) {
        put_comma(i, out);
        print_tensor(graph, graph_node(graph, values[i])->attrs->name, values[i], out);
    }
}

/* The conditions that guards_bind checks, as a list. */
static void print_guards(const struct graph *graph, struct strbuf *out)
{
    uint32_t printed = 0;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        const char *name = node->attrs->name;
        put_comma(printed++, out);
        strbuf_printf(out, "{\"equals\":\"%s\",\"guard\":\"dtype\",", dtype_name(node->dtype));
        put_member("input", name, out);
        strbuf_printf(out, "},{\"equals\":%u,\"guard\":\"rank\",", node->rank);
        put_member("input", name, out);
        strbuf_puts(out, "}");
        for (uint32_t axis = 0; axis < node->rank; axis++) {
            strbuf_printf(out, ",{\"axis\":%u,\"equals\":\"", axis);
            dim_print(&graph->dims, node->shape[axis], out);
            strbuf_puts(out, "\",\"guard\":\"dim\",");
            put_member("input", name, out);
            strbuf_puts(out, "}");
        }
    }
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *element = &graph->elements.items[i];
        put_comma(printed++, out);
        strbuf_printf(out, "{\"element\":%u,\"equals\":\"", element->element);
        dim_print(&graph->dims, element->dim, out);
        strbuf_puts(out, "\",\"guard\":\"element\",");
        put_member("input", graph_node(graph, graph->inputs.items[element->input])->attrs->name,
                   out);
        strbuf_puts(out, ",\"of\":\"");
        dim_print(&graph->dims, element->of, out);
        strbuf_printf(out, "\",\"rule\":\"%s\"}", element_rule_name(element->rule));
    }
    for (uint32_t i = 0; i < graph->dims.names.count; i++) {
        const struct dim_name *dim = &graph->dims.names.items[i];
        put_comma(printed++, out);
        strbuf_printf(
            out, "{\"dim\":\"%s\",\"guard\":\"range\",\"max\":%" PRId64 ",\"min\":%" PRId64 "}",
            dim->name, dim->max, dim->min);
        if (dim->multiple_of > 1)
            strbuf_printf(out, ",{\"dim\":\"%s\",\"guard\":\"multiple\",\"of\":%" PRId64 "}",
                          dim->name, dim->multiple_of);
    }
}

static void print_target(const struct package_target *target, struct strbuf *out)
{
    strbuf_puts(out, "{\"features\":[");
    const char *features = target_features(target->name);
    assert(features);
    for (const char *at = features; *at != '\0';) {
        size_t size = strcspn(at, " ");
        put_comma(at != features, out);
        json_write_string(at, size, out);
        at += size + (at[size] == ' ');
    }
    strbuf_puts(out, "],\"kernels\":[");
    for (uint32_t i = 0; i < target->kernel_count; i++) {
        put_comma(i, out);
        strbuf_puts(out, "{");
        put_member("config", target->kernel_configs[i], out);
        strbuf_puts(out, ",");
        put_member("name", target->kernel_names[i], out);
        strbuf_printf(out, ",\"offset\":%u}", target->kernel_offsets[i]);
    }
    strbuf_puts(out, "],");
    put_member("name", target->name, out);
    strbuf_puts(out, "}");
}

void manifest_print(const struct package_contents *contents, const struct entry_hashes *hashes,
                    struct strbuf *out)
{
    const struct graph *graph = &contents->graph;
    strbuf_puts(out, "{");
    put_member("compiler", contents->compiler, out);
    strbuf_puts(out, ",\"dims\":[");
    print_dims(&graph->dims, out);
    strbuf_puts(out, "],\"entries\":{");
    print_entries(hashes, out);
    strbuf_puts(out, "},\"entry_points\":[");
    strbuf_puts(out,
                contents->training ? "\"forward\",\"forward_train\",\"backward\"" : "\"forward\"");
    strbuf_puts(out, "],\"format\":\"" PACKAGE_FORMAT "\",\"guards\":[");
    print_guards(graph, out);
    strbuf_puts(out, "],\"inputs\":[");
    print_sources(graph, graph->inputs.items, graph->inputs.count, out);
    strbuf_puts(out, "],");
    put_member("name", contents->name, out);
    strbuf_puts(out, ",\"outputs\":[");
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        put_comma(i, out);
        print_tensor(graph, graph->outputs.items[i].name, graph->outputs.items[i].value, out);
    }
    strbuf_puts(out, "],\"params\":[");
    print_sources(graph, graph->params.items, graph->params.count, out);
    strbuf_puts(out, "],");
    put_member("strategy", contents->strategy, out);
    strbuf_puts(out, ",\"targets\":[");
    for (uint32_t i = 0; i < contents->target_count; i++) {
        put_comma(i, out);
        print_target(&contents->targets[i], out);
    }
    strbuf_puts(out, "]}");
}

static bool check_hashes(const json_t *root, const struct entry_hashes *hashes, struct error *err)
{
    json_t *entries;
    if (!json_get_object(root, "entries", &entries, err))
        return false;
    for (uint32_t i = 0; i < hashes->count; i++) {
        const char *hex;
        if (!json_get_string(entries, hashes->items[i].name, &hex, err))
            return false;
        if (strcmp(hex, hashes->items[i].hex) != 0)
            return fail(err, ERR_PACKAGE, "the SHA-256 of '%s' is not what is listed",
                        hashes->items[i].name);
    }
    if (json_object_size(entries) != hashes->count)
        return fail(err, ERR_PACKAGE, "entries are listed that are not there");
    return true;
}

static bool parse_kernels(const json_t *array, struct arena *arena, struct package_target *out,
                          struct error *err)
{
    size_t count = json_array_size(array);
    if (count > LIMIT_LAUNCHES)
        return fail(err, ERR_LIMIT, "more than %d kernels", LIMIT_LAUNCHES);
    uint32_t *offsets = ARENA_ARRAY(arena, uint32_t, count);
    const char **names = ARENA_ARRAY(arena, const char *, count);
    const char **configs = ARENA_ARRAY(arena, const char *, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *kernel = json_array_get(array, i);
        int64_t offset;
        if (!json_get_int(kernel, "offset", &offset, err) ||
            !json_get_string(kernel, "name", &names[i], err) ||
            !json_get_string(kernel, "config", &configs[i], err))
            return fail_at(err, "kernel %zu", i);
        if (offset < 0 || offset > UINT32_MAX)
            return fail(err, ERR_PACKAGE, "kernel %zu has offset %" PRId64, i, offset);
        offsets[i] = (uint32_t)offset;
        names[i] = arena_strdup(arena, names[i]);
        configs[i] = arena_strdup(arena, configs[i]);
    }
    out->kernel_count = (uint32_t)count;
    out->kernel_offsets = offsets;
    out->kernel_names = names;
    out->kernel_configs = configs;
    return true;
}

static bool parse_targets(const json_t *root, struct arena *arena, struct package_contents *out,
                          struct error *err)
{
    json_t *targets, *kernels;
    if (!json_get_array(root, "targets", &targets, err))
        return false;
    size_t count = json_array_size(targets);
    if (count > PACKAGE_TARGETS)
        return fail(err, ERR_LIMIT, "more than %d targets", PACKAGE_TARGETS);
    for (size_t i = 0; i < count; i++) {
        struct package_target *target = &out->targets[i];
        const json_t *object = json_array_get(targets, i);
        if (!json_get_string(object, "name", &target->name, err) ||
            !json_get_array(object, "kernels", &kernels, err) ||
            !parse_kernels(kernels, arena, target, err))
            return fail_at(err, "target %zu", i);
        target->name = arena_strdup(arena, target->name);
    }
    out->target_count = (uint32_t)count;
    return true;
}

struct reading {
    const struct entry_hashes *hashes;
    struct arena *arena;
    struct package_contents *out;
};

static bool parse_root(void *context, const json_t *root, struct error *err)
{
    const struct reading *reading = context;
    struct package_contents *out = reading->out;
    struct arena *arena = reading->arena;
    const char *format;
    if (!json_get_string(root, "format", &format, err))
        return false;
    if (strcmp(format, PACKAGE_FORMAT) != 0)
        return fail(err, ERR_PACKAGE, "format '%s', expected '" PACKAGE_FORMAT "'", format);
    if (!check_hashes(root, reading->hashes, err) ||
        !json_get_string(root, "name", &out->name, err) ||
        !json_get_string(root, "compiler", &out->compiler, err) ||
        !json_get_string(root, "strategy", &out->strategy, err) ||
        !parse_targets(root, arena, out, err))
        return false;
    out->name = arena_strdup(arena, out->name);
    out->compiler = arena_strdup(arena, out->compiler);
    out->strategy = arena_strdup(arena, out->strategy);
    return true;
}

bool manifest_parse(const char *text, size_t size, const struct entry_hashes *hashes,
                    struct arena *arena, struct package_contents *out, struct error *err)
{
    struct reading reading = {hashes, arena, out};
    return json_read_into(arena, text, size, parse_root, &reading, err);
}

/* The first key whose value differs between two objects; NULL when they are equal. */
static const char *first_difference(json_t *a, json_t *b)
{
    for (void *it = json_object_iter(a); it; it = json_object_iter_next(a, it)) {
        const json_t *other = json_object_get(b, json_object_iter_key(it));
        if (!other || !json_equal(json_object_iter_value(it), other))
            return json_object_iter_key(it);
    }
    return NULL;
}

bool manifest_check(const char *text, size_t size, const struct package_contents *contents,
                    const struct entry_hashes *hashes, struct arena *arena, struct error *err)
{
    struct strbuf expected;
    strbuf_init(&expected, arena);
    manifest_print(contents, hashes, &expected);
    if (expected.size_bytes == size && memcmp(expected.data, text, size) == 0)
        return true;
    json_t *found = json_read(text, size, err);
    json_t *right = found ? json_read(expected.data, expected.size_bytes, err) : NULL;
    if (right) {
        const char *key = first_difference(found, right);
        if (!key)
            key = first_difference(right, found);
        if (key)
            fail(err, ERR_PACKAGE, "field '%s' is not what the other entries say", key);
        else
            fail(err, ERR_PACKAGE, "the text is not in canonical form");
    }
    json_decref(right);
    json_decref(found);
    return false;
}
