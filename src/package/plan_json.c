/* The plan as canonical JSON. The printer itself writes the keys in order; the parser checks
 * fields, and plan_check their meaning. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "package/package_priv.h"
#include "package/plan_priv.h"

#define PLAN_FORMAT "urza.plan/2"

void plan_put_dim(const struct plan *plan, const char *key, dim_id dim, struct strbuf *out)
{
    strbuf_printf(out, "\"%s\":\"", key);
    dim_print(plan->dims, dim, out); /* consists of names and operators: nothing to escape */
    strbuf_puts(out, "\"");
}

static void print_buffer(const struct plan *plan, const struct plan_buffer *buffer,
                         struct strbuf *out)
{
    strbuf_printf(out, "{\"dtype\":\"%s\",", dtype_name(buffer->dtype));
    plan_put_dim(plan, "elements", buffer->elements, out);
    if (buffer->in_place)
        strbuf_puts(out, ",\"in_place\":true");
    if (buffer_is_bound(buffer->kind))
        strbuf_printf(out, ",\"index\":%u", buffer->index);
    strbuf_printf(out, ",\"kind\":\"%s\",\"value\":%u}", buffer_kind_name(buffer->kind),
                  buffer->value);
}

static void print_edges(const struct plan *plan, const struct plan_code *code, struct strbuf *out)
{
    strbuf_puts(out, "\"edges\":[");
    for (uint32_t i = 0; i < code->edge_count; i++) {
        strbuf_printf(out, "%s{\"at\":%" PRId64 ",", i > 0 ? "," : "", code->edges[i].at);
        plan_put_dim(plan, "size", code->edges[i].size, out);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "],");
}

static void print_variants(const struct plan *plan, const struct plan_launch *launch,
                           struct strbuf *out)
{
    for (uint32_t i = 0; i < launch->variant_count; i++) {
        const struct plan_code *code = &launch->variants[i].code;
        strbuf_puts(out, i > 0 ? ",{" : "\"variants\":[{");
        print_edges(plan, code, out);
        plan_put_dim(plan, "extent", code->extent, out);
        strbuf_printf(out, ",\"kernel\":%u,", code->kernel);
        plan_put_dim(plan, "scratch_bytes", code->scratch_bytes, out);
        strbuf_printf(out, ",\"special\":%u,", launch->variants[i].special);
        plan_put_dim(plan, "work", code->work, out);
        strbuf_puts(out, i + 1 < launch->variant_count ? "}" : "}],");
    }
}

static void print_nodes(const struct plan_launch *launch, struct strbuf *out)
{
    if (launch->more_nodes > 0)
        strbuf_printf(out, "\"more_nodes\":%u,", launch->more_nodes);
    if (launch->node_count > 0)
        strbuf_puts(out, "\"nodes\":[");
    for (uint32_t i = 0; i < launch->node_count; i++) {
        json_write_string(launch->nodes[i], strlen(launch->nodes[i]), out);
        strbuf_puts(out, i + 1 < launch->node_count ? "," : "],");
    }
}

static void print_launch(const struct plan *plan, const struct plan_launch *launch,
                         struct strbuf *out)
{
    strbuf_puts(out, "{\"args\":[");
    for (uint32_t i = 0; i < launch->arg_count; i++)
        strbuf_printf(out, "%s%u", i > 0 ? "," : "", launch->args[i]);
    strbuf_puts(out, "],");
    if (launch->asked != DIM_NONE) {
        plan_put_dim(plan, "asked", launch->asked, out);
        strbuf_puts(out, ",");
        plan_put_dim(plan, "done", launch->done, out);
        strbuf_puts(out, ",");
    }
    print_edges(plan, &launch->code, out);
    plan_put_dim(plan, "extent", launch->code.extent, out);
    strbuf_printf(out, ",\"kernel\":%u,\"label\":", launch->code.kernel);
    const char *label = launch->label ? launch->label : "";
    json_write_string(label, strlen(label), out);
    strbuf_puts(out, ",");
    print_nodes(launch, out);
    plan_put_dim(plan, "scratch_bytes", launch->code.scratch_bytes, out);
    strbuf_puts(out, launch->sliced ? ",\"sliced\":true," : ",");
    print_variants(plan, launch, out);
    plan_put_dim(plan, "work", launch->code.work, out);
    strbuf_printf(out, ",\"written\":%u}", launch->written);
}

static void print_launches(const struct plan *plan, const struct plan_launch *launches,
                           uint32_t count, struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            strbuf_puts(out, ",");
        print_launch(plan, &launches[i], out);
    }
    strbuf_puts(out, "]");
}

void plan_print(const struct plan *plan, struct strbuf *out)
{
    strbuf_puts(out, "{\"buffers\":[");
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        if (i > 0)
            strbuf_puts(out, ",");
        print_buffer(plan, &plan->buffers.items[i], out);
    }
    strbuf_puts(out, "]");
    plan_entries_print(plan, out);
    strbuf_puts(out, ",\"format\":\"" PLAN_FORMAT "\",\"forward\":");
    print_launches(plan, plan->forward.items, plan->forward.count, out);
    strbuf_printf(out, ",\"kernels\":%u", plan->kernel_count);
    plan_loops_print(plan, out);
    strbuf_puts(out, ",\"prepare\":");
    print_launches(plan, plan->prepare.items, plan->prepare.count, out);
    plan_specials_print(plan, out);
    strbuf_puts(out, "}");
}

bool plan_get_u32(const json_t *object, const char *key, uint32_t *out, struct error *err)
{
    int64_t value;
    if (!json_get_int(object, key, &value, err))
        return false;
    if (value < 0 || value > UINT32_MAX)
        return fail(err, ERR_PACKAGE, "field '%s' is %" PRId64 ", out of range", key, value);
    *out = (uint32_t)value;
    return true;
}

bool plan_get_dim(struct plan *plan, const json_t *object, const char *key, dim_id *out,
                  struct error *err)
{
    const char *text;
    dim_id dim;
    if (!json_get_string(object, key, &text, err))
        return false;
    const char *at = text;
    if (!dim_parse(plan->dims, &at, &dim, err))
        return fail_at(err, "field '%s'", key);
    if (*at != '\0')
        return fail(err, ERR_PACKAGE, "field '%s': text behind the expression", key);
    *out = dim;
    return true;
}

static bool parse_buffer(struct plan *plan, const json_t *object, struct plan_buffer *out,
                         struct error *err)
{
    static const char *const bound_keys[] = {"dtype", "elements", "in_place", "index",
                                             "kind",  "value",    NULL};
    static const char *const own_keys[] = {"dtype", "elements", "kind", "value", NULL};
    const char *kind, *dtype;
    if (!json_get_string(object, "kind", &kind, err) ||
        !json_get_string(object, "dtype", &dtype, err) ||
        !plan_get_dim(plan, object, "elements", &out->elements, err) ||
        !plan_get_u32(object, "value", &out->value, err))
        return false;
    out->kind = (uint8_t)buffer_kind_from_name(kind);
    out->dtype = (uint8_t)dtype_from_name(dtype);
    if (out->kind == 0)
        return fail(err, ERR_PACKAGE, "unknown kind '%s'", kind);
    if (out->dtype == DTYPE_NONE || strcmp(dtype, dtype_name(out->dtype)) != 0)
        return fail(err, ERR_PACKAGE, "unknown dtype '%s'", dtype);
    bool bound = buffer_is_bound(out->kind);
    const json_t *in_place = json_object_get(object, "in_place");
    out->in_place = in_place != NULL;
    if (in_place && (!json_is_true(in_place) || out->kind != BUFFER_OUTPUT))
        return fail(err, ERR_PACKAGE, "field 'in_place' is not true, or not of an output");
    if (!json_only_keys(object, bound ? bound_keys : own_keys, err))
        return false;
    return !bound || plan_get_u32(object, "index", &out->index, err);
}

static bool parse_args(struct plan *plan, const json_t *array, struct plan_launch *out,
                       struct error *err)
{
    size_t count = json_array_size(array);
    if (count > LIMIT_KERNEL_BUFFERS)
        return fail(err, ERR_LIMIT, "more than %d arguments", LIMIT_KERNEL_BUFFERS);
    uint32_t *args = ARENA_ARRAY(plan->arena, uint32_t, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        json_int_t value = json_is_integer(item) ? json_integer_value(item) : -1;
        if (value < 0 || value > UINT32_MAX)
            return fail(err, ERR_PACKAGE, "argument %zu is no buffer", i);
        args[i] = (uint32_t)value;
    }
    out->args = args;
    out->arg_count = (uint32_t)count;
    return true;
}

static bool parse_edges(struct plan *plan, const json_t *object, struct plan_code *out,
                        struct error *err)
{
    static const char *const keys[] = {"at", "size", NULL};
    json_t *array;
    if (!json_get_array(object, "edges", &array, err))
        return false;
    size_t count = json_array_size(array);
    if (count > LIMIT_KERNEL_EDGES)
        return fail(err, ERR_LIMIT, "more than %d edges", LIMIT_KERNEL_EDGES);
    struct plan_edge *edges = ARENA_ARRAY(plan->arena, struct plan_edge, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *edge = json_array_get(array, i);
        if (!json_get_int(edge, "at", &edges[i].at, err) ||
            !plan_get_dim(plan, edge, "size", &edges[i].size, err) ||
            !json_only_keys(edge, keys, err))
            return fail_at(err, "edge %zu", i);
        if (edges[i].at <= 0)
            return fail(err, ERR_PACKAGE, "edge %zu is not above 0", i);
    }
    out->edges = edges;
    out->edge_count = (uint32_t)count;
    return true;
}

/* Of a launch or of a variant. */
static bool parse_code(struct plan *plan, const json_t *object, struct plan_code *out,
                       struct error *err)
{
    return parse_edges(plan, object, out, err) &&
           plan_get_u32(object, "kernel", &out->kernel, err) &&
           plan_get_dim(plan, object, "extent", &out->extent, err) &&
           plan_get_dim(plan, object, "work", &out->work, err) &&
           plan_get_dim(plan, object, "scratch_bytes", &out->scratch_bytes, err);
}

static bool parse_variants(struct plan *plan, const json_t *object, struct plan_launch *out,
                           struct error *err)
{
    static const char *const keys[] = {"edges",   "extent", "kernel", "scratch_bytes",
                                       "special", "work",   NULL};
    json_t *array = json_object_get(object, "variants");
    if (!array)
        return true;
    if (!json_get_array(object, "variants", &array, err))
        return false;
    size_t count = json_array_size(array);
    if (count == 0 || count > LIMIT_SPECIALS)
        return fail(err, ERR_PACKAGE, "%zu variants, expected 1 to %d", count, LIMIT_SPECIALS);
    struct plan_variant *variants = ARENA_ARRAY(plan->arena, struct plan_variant, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        if (!plan_get_u32(item, "special", &variants[i].special, err) ||
            !json_only_keys(item, keys, err) || !parse_code(plan, item, &variants[i].code, err))
            return fail_at(err, "variant %zu", i);
    }
    out->variants = variants;
    out->variant_count = (uint32_t)count;
    return true;
}

static bool parse_nodes(struct plan *plan, const json_t *object, struct plan_launch *out,
                        struct error *err)
{
    json_t *array = json_object_get(object, "nodes");
    bool more = json_object_get(object, "more_nodes") != NULL;
    if (!array && !more)
        return true;
    if (!json_get_array(object, "nodes", &array, err) ||
        (more && !plan_get_u32(object, "more_nodes", &out->more_nodes, err)))
        return false;
    size_t count = json_array_size(array);
    if (count > LAUNCH_NODES)
        return fail(err, ERR_LIMIT, "more than %d nodes", LAUNCH_NODES);
    if (count == 0 || (more && (count < LAUNCH_NODES || out->more_nodes == 0)))
        return fail(err, ERR_PACKAGE, "field 'nodes' has none, or less than 'more_nodes' says");
    const char **names = ARENA_ARRAY(plan->arena, const char *, count);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(array, i));
        if (!name || name[0] == '\0' || strlen(name) > LIMIT_NAME)
            return fail(err, ERR_PACKAGE, "node %zu has no name of 1 to %d bytes", i, LIMIT_NAME);
        names[i] = arena_strdup(plan->arena, name);
    }
    out->nodes = names;
    out->node_count = (uint32_t)count;
    return true;
}

static bool parse_launch(struct plan *plan, const json_t *object, struct plan_launch *out,
                         struct error *err)
{
    static const char *const keys[] = {
        "args",  "asked",         "done",   "edges",    "extent", "kernel",  "label", "more_nodes",
        "nodes", "scratch_bytes", "sliced", "variants", "work",   "written", NULL};
    const json_t *sliced = json_object_get(object, "sliced");
    bool counted = json_object_get(object, "asked") || json_object_get(object, "done");
    json_t *args;
    const char *label;
    if (!json_get_array(object, "args", &args, err) || !json_only_keys(object, keys, err) ||
        !parse_args(plan, args, out, err) || !parse_code(plan, object, &out->code, err) ||
        !plan_get_u32(object, "written", &out->written, err) ||
        !parse_variants(plan, object, out, err) ||
        (counted && !plan_get_dim(plan, object, "asked", &out->asked, err)) ||
        (counted && !plan_get_dim(plan, object, "done", &out->done, err)) ||
        !json_get_string(object, "label", &label, err) || !parse_nodes(plan, object, out, err))
        return false;
    out->sliced = sliced != NULL;
    if (sliced && !json_is_true(sliced))
        return fail(err, ERR_PACKAGE, "field 'sliced' is not true");
    for (const char *at = label; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return fail(err, ERR_PACKAGE, "field 'label' has a control character");
    out->label = arena_strdup(plan->arena, label);
    return true;
}

static bool parse_launches(struct plan *plan, const json_t *root, const char *key,
                           struct plan_launch **out_items, uint32_t *out_count, struct error *err)
{
    json_t *array;
    if (!json_get_array(root, key, &array, err))
        return false;
    size_t count = json_array_size(array);
    if (count > LIMIT_LAUNCHES)
        return fail(err, ERR_LIMIT, "the plan has more than %d launches", LIMIT_LAUNCHES);
    struct plan_launch *items = ARENA_ARRAY(plan->arena, struct plan_launch, count);
    for (size_t i = 0; i < count; i++)
        if (!parse_launch(plan, json_array_get(array, i), &items[i], err))
            return fail_at(err, "%s launch %zu", key, i);
    *out_items = items;
    *out_count = (uint32_t)count;
    return true;
}

static bool parse_root(void *context, const json_t *root, struct error *err)
{
    struct plan *plan = context;
    static const char *const keys[] = {"buffers", "entries", "format",   "forward", "kernels",
                                       "loops",   "prepare", "specials", NULL};
    const char *format;
    json_t *buffers, *loops = json_object_get(root, "loops");
    json_t *entries = json_object_get(root, "entries");
    json_t *specials = json_object_get(root, "specials");
    if (!json_get_string(root, "format", &format, err) || !json_only_keys(root, keys, err))
        return false;
    if (strcmp(format, PLAN_FORMAT) != 0)
        return fail(err, ERR_PACKAGE, "format '%s', expected '" PLAN_FORMAT "'", format);
    if (!plan_get_u32(root, "kernels", &plan->kernel_count, err) ||
        !json_get_array(root, "buffers", &buffers, err))
        return false;
    size_t count = json_array_size(buffers);
    if (count > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "the plan has more than %d buffers", LIMIT_NODES);
    for (size_t i = 0; i < count; i++) {
        struct plan_buffer buffer = {0};
        if (!parse_buffer(plan, json_array_get(buffers, i), &buffer, err))
            return fail_at(err, "buffer %zu", i);
        VEC_PUSH(plan->arena, &plan->buffers, buffer);
    }
    if (!parse_launches(plan, root, "prepare", &plan->prepare.items, &plan->prepare.count, err) ||
        !parse_launches(plan, root, "forward", &plan->forward.items, &plan->forward.count, err))
        return false;
    plan->prepare.capacity = plan->prepare.count;
    plan->forward.capacity = plan->forward.count;
    if (entries && (!json_get_array(root, "entries", &entries, err) ||
                    !plan_entries_parse(plan, entries, err)))
        return false;
    if (specials && (!json_get_array(root, "specials", &specials, err) ||
                     !plan_specials_parse(plan, specials, err)))
        return false;
    return !loops ||
           (json_get_array(root, "loops", &loops, err) && plan_loops_parse(plan, loops, err));
}

bool plan_parse(struct plan *plan, struct arena *arena, struct dim_table *dims, const char *text,
                size_t size, struct error *err)
{
    *plan = (struct plan){.arena = arena, .dims = dims};
    bool ok = json_read_into(arena, text, size, parse_root, plan, err) && plan_check(plan, err);
    if (ok)
        plan_lifetimes(plan);
    else if (err->code != ERR_LIMIT && err->code != ERR_NOMEM)
        err->code = ERR_PACKAGE; /* an invalid plan makes its package invalid */
    return ok;
}
