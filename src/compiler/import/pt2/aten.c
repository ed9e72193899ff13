/* Translating calls in order: their operands, their rows, the names of their results.
 *
 * A result may be a view of an operand, and calls whose names end in "_" write to their operand:
 * see aten_views.c. */
#include <stdio.h>
#include <string.h>

#include "compiler/import/pt2/aten_detach_priv.h"
#include "compiler/import/pt2/pt2_training_priv.h"

#define PREFIX "torch.ops.aten."
#define MAX_TARGET 128

#define ATEN(name, storage, function, with, operands, attrs, note) \
    bool aten_##function(struct aten_call *c);
#include "compiler/import/pt2/aten_ops.def"
#undef ATEN

static const struct aten_op ops[] = {
#define ATEN(name, storage, function, with, operands, attrs, note) \
    {#name, ATEN_##storage, aten_##function, with, operands, attrs, note},
#include "compiler/import/pt2/aten_ops.def"
#undef ATEN
};

/* Calls that check facts which the ranges of dims state already. */
static const char *const checks[] = {
    PREFIX "_assert_scalar",      PREFIX "_assert_tensor_metadata",      PREFIX "_assert_async",
    PREFIX "sym_constrain_range", PREFIX "sym_constrain_range_for_size",
};

bool pt2_covers(uint32_t index, struct pt2_coverage *out)
{
    if (index >= sizeof ops / sizeof *ops)
        return false;
    *out = (struct pt2_coverage){.name = ops[index].name, .note = ops[index].note};
    return true;
}

/* One node of the document: a call. */
struct item {
    struct pt2 *p;
    const json_t *node;
    const char *target;
    char base[MAX_TARGET]; /* the op: the target without overload, and without the "_" of an
                              in-place call */
    bool in_place;
};

static const struct aten_op *find_op(const char *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    return NULL;
}

/* Namespaces of the ops in aten_ops.def. */
static const char *const prefixes[] = {PREFIX, "torch.ops.transformers."};

static size_t prefix_of(const char *target)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(target, prefixes[i], strlen(prefixes[i])) == 0)
            return strlen(prefixes[i]);
    return 0;
}

/* The row of a call, found by name without overload: translators find arguments by name, so one row
 * serves all overloads. */
static const struct aten_op *op_of(struct item *item)
{
    size_t prefix = prefix_of(item->target);
    if (prefix == 0)
        return NULL;
    size_t length = strcspn(item->target + prefix, ".");
    if (length == 0 || length >= MAX_TARGET)
        return NULL;
    memcpy(item->base, item->target + prefix, length);
    item->base[length] = '\0';
    const struct aten_op *op = find_op(item->base);
    if (op || item->base[length - 1] != '_')
        return op;
    item->base[length - 1] = '\0';
    item->in_place = true;
    return find_op(item->base);
}

bool aten_aliases(const char *target, bool *out_in_place)
{
    struct item item = {.target = target};
    const struct aten_op *op = op_of(&item);
    *out_in_place = op && item.in_place;
    return op && (item.in_place || op->storage != ATEN_OWN);
}

/* Calls f for the name of each result, in order; a result that is a list gives one call for each
 * element. */
static bool each_result(const json_t *node,
                        bool (*f)(void *user, uint32_t index, const char *name, struct error *err),
                        void *user, struct error *err)
{
    const json_t *outputs = json_object_get(node, "outputs"), *output, *part;
    uint32_t index = 0;
    size_t i, k;
    json_array_foreach(outputs, i, output)
    {
        const json_t *list = json_object_get(output, "as_tensors");
        const char *name =
            json_string_value(json_object_get(json_object_get(output, "as_tensor"), "name"));
        json_array_foreach(list, k, part)
        {
            const char *member = json_string_value(json_object_get(part, "name"));
            if (!member)
                return fail(err, ERR_PARSE, "a result has no name");
            if (!f(user, index++, member, err))
                return false;
        }
        if (!list && !f(user, index++, name, err))
            return false;
    }
    return true;
}

struct naming {
    struct item *item;
    struct aten_call *call;
    uint32_t operand; /* the entry of the first operand */
    enum aten_storage storage;
};

static bool name_result(void *user, uint32_t index, const char *name, struct error *err)
{
    struct naming *n = user;
    struct pt2 *p = n->item->p;
    struct pt2_name entry = {.refused = n->call->refused};
    if (!name)
        return true; /* no result, or an integer, which size_call names */
    if (index < n->call->out_count && n->call->out[index] != VALUE_NONE)
        entry.value = n->call->out[index];
    else if (!entry.refused)
        entry.why = "a result that is not computed";
    if (n->storage == ATEN_VIEW) {
        pt2_make_view(p, &entry, n->operand);
        entry.detached = n->call->detached;
        entry.result = index;
        entry.op = n->item->in_place ? NULL : n->call->op;
        entry.inputs = n->call->inputs;
    } else {
        bool either = n->storage == ATEN_EITHER;
        entry.storage = pt2_storage(p, either ? &p->entries.items[n->operand] : NULL);
    }
    return pt2_add(p, name, &entry, err);
}

static bool name_size(struct pt2 *p, const char *name, dim_id dim, struct error *err)
{
    const json_t *size = json_object_get(json_object_get(p->body, "sym_int_values"), name);
    struct pt2_name entry = {.dim = dim};
    struct error failure = {.code = ERR_NONE};
    if (dim == DIM_NONE && !pt2_sym_int(p, size, false, &entry.dim, &failure)) {
        if (failure.code != ERR_UNSUPPORTED) {
            *err = failure;
            return fail_at(err, "integer '%.100s'", name);
        }
        entry.why = arena_strdup(p->arena, failure.message);
    }
    return pt2_add(p, name, &entry, err);
}

/* The name of an argument that is a tensor or an integer; NULL: neither. */
static const char *name_of(const json_t *arg)
{
    const char *name =
        json_string_value(json_object_get(json_object_get(arg, "as_tensor"), "name"));
    return name ? name
                : json_string_value(json_object_get(json_object_get(arg, "as_sym_int"), "as_name"));
}

static const char *first_name(const json_t *inputs)
{
    const json_t *arg = json_object_get(json_array_get(inputs, 0), "arg");
    return json_string_value(json_object_get(json_object_get(arg, "as_tensor"), "name"));
}

/* The entry of the first argument, the tensor that a call may write to or return a view of; NULL:
 * not a tensor. */
static struct pt2_name *first_operand(struct pt2 *p, const json_t *inputs)
{
    struct error ignored = {.code = ERR_NONE};
    const char *name = first_name(inputs);
    return name ? pt2_find(p, name, &ignored) : NULL;
}

/* Stores the result of an in-place call in its operand, cast to the operand's dtype. Calls such as
 * squeeze_ change only its shape. */
static bool write_into(struct aten_call *c, uint32_t operand)
{
    struct pt2_name *entry = &c->p->entries.items[operand];
    if (entry->dim != DIM_NONE)
        return aten_refuse(c, "a number that is written to");
    bool dropped = c->op->storage == ATEN_SAME && c->out[0] != entry->value;
    if (c->op->storage == ATEN_OWN || dropped) {
        c->out[0] = b_cast(c->b, c->out[0], aten_type(c, entry->value));
        return c->out[0] != VALUE_NONE && aten_write_unseen(c, operand) &&
               pt2_write(c->p, operand, c->out[0], c->b->err);
    }
    if (entry->value != c->out[0]) {
        entry->storage = pt2_storage(c->p, entry);
        entry->version = entry->depth = 0;
        entry->value = c->out[0];
    }
    return true;
}

/* Refuses the call if it has an argument that the translator did not read, unless that argument
 * cannot affect the result. */
static bool check_arguments(struct aten_call *c)
{
    static const char *const harmless[] = {
        "device",        "layout",          "pin_memory", "memory_format",
        "requires_grad", "non_blocking",    "copy",       "p",
        "dropout",       "train",           "momentum",   "cudnn_enable",
        "sparse",        "stable",          "N",          "C",
        "cudnn_enabled", "use_input_stats", "HxW",        "output_size",
        "implicit",      "half_to_float"};
    const json_t *input;
    size_t i;
    json_array_foreach(c->inputs, i, input)
    {
        const char *name = json_string_value(json_object_get(input, "name"));
        bool known = !name || json_object_get(json_object_get(input, "arg"), "as_none") ||
                     (i < 64 && (c->used >> i & 1) != 0);
        for (size_t k = 0; k < sizeof harmless / sizeof *harmless && !known; k++)
            known = strcmp(harmless[k], name) == 0;
        if (!known)
            return aten_refuse(c, "argument '%.60s'", name);
    }
    return true;
}

static void mark_refused(struct pt2 *p, const struct item *item, const char *why)
{
    size_t prefix = strlen(PREFIX);
    bool is_aten = strncmp(item->target, PREFIX, prefix) == 0;
    pt2_refuse(p, is_aten ? item->target + prefix : item->target, why);
}

static bool translate(struct aten_call *c, const struct item *item, const uint32_t *operand)
{
    bool ok = c->op->translate(c);
    ok = ok && (c->out_count == 0 || c->out[0] != VALUE_NONE) && !aten_failed(c);
    ok = ok && check_arguments(c);
    return ok && item->in_place && operand ? write_into(c, *operand) : ok;
}

/* The storage of the results: the operand's, or a new one. */
static enum aten_storage storage_of(const struct aten_call *c, const struct item *item,
                                    const uint32_t *operand)
{
    if (!operand || c->refused)
        return ATEN_OWN;
    if (item->in_place)
        return ATEN_VIEW;
    if (c->op->storage == ATEN_EITHER)
        return pt2_either(c->p, first_name(c->inputs),
                          name_of(json_array_get(json_object_get(item->node, "outputs"), 0)));
    if (c->op->storage != ATEN_SAME)
        return c->op->storage;
    return c->out[0] == c->p->entries.items[*operand].value && !c->copied ? ATEN_VIEW : ATEN_OWN;
}

/* Translates a call whose op has a row. */
static bool tensor_call(struct item *item, const struct aten_op *op, struct error *err)
{
    struct pt2 *p = item->p;
    struct error failure = {.code = ERR_NONE};
    struct builder b = {.graph = p->graph, .err = &failure};
    struct aten_call call = {
        .p = p, .b = &b, .op = op, .inputs = json_object_get(item->node, "inputs")};
    const struct pt2_name *first = first_operand(p, call.inputs);
    uint32_t at = first ? (uint32_t)(first - p->entries.items) : 0;
    const uint32_t *operand = first ? &at : NULL;
    bool ok = translate(&call, item, operand);
    import_plain(&failure);
    if (failure.code != ERR_NONE && failure.code != ERR_UNSUPPORTED) {
        *err = failure;
        return fail_at(err, "%.80s '%.80s'", item->base,
                       json_is_string(json_object_get(item->node, "name"))
                           ? json_string_value(json_object_get(item->node, "name"))
                           : "");
    }
    if (failure.code == ERR_UNSUPPORTED)
        mark_refused(p, item, failure.message);
    else if (!ok && !call.refused)
        mark_refused(p, item, "the translation failed");
    call.refused = call.refused || !ok || failure.code != ERR_NONE;
    if (call.refused)
        call.out_count = 0;
    struct naming naming = {
        .item = item, .call = &call, .operand = at, .storage = storage_of(&call, item, operand)};
    if (!item->in_place)
        aten_detach_results(&call, operand);
    return each_result(item->node, name_result, &naming, err);
}

static bool refused_call(struct item *item, const char *why, struct error *err)
{
    struct aten_call call = {.p = item->p, .refused = true};
    struct naming naming = {.item = item, .call = &call, .storage = ATEN_OWN};
    mark_refused(item->p, item, why);
    return each_result(item->node, name_result, &naming, err);
}

/* Translates a call whose result is an integer: names the dim, which may be a size of a tensor. */
static bool size_call(struct item *item, const char *result, struct error *err)
{
    struct pt2 *p = item->p;
    struct error failure = {.code = ERR_NONE};
    struct builder b = {.graph = p->graph, .err = &failure};
    struct aten_call call = {.p = p, .b = &b, .inputs = json_object_get(item->node, "inputs")};
    dim_id dim = DIM_NONE;
    if (strncmp(item->target, PREFIX "sym_size.", strlen(PREFIX "sym_size.")) == 0) {
        value_id x = aten_in(&call, "self");
        if (x != VALUE_NONE)
            dim = b_dim(&b, x, aten_int(&call, "dim", 0));
        if (failure.code != ERR_NONE && failure.code != ERR_UNSUPPORTED) {
            *err = failure;
            return fail_at(err, "sym_size '%.80s'", result);
        }
    }
    return name_size(p, result, dim, err);
}

static bool is_check(const struct item *item)
{
    const json_t *output = json_array_get(json_object_get(item->node, "outputs"), 0);
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        size_t length = strlen(checks[i]);
        if (strncmp(item->target, checks[i], length) == 0 &&
            (item->target[length] == '.' || item->target[length] == '\0'))
            return true;
    }
    /* Comparisons of sizes, whose results only such calls use. */
    return json_object_get(output, "as_sym_bool") != NULL;
}

/* Calls that run an inner graph with a mode of PyTorch switched; the graph is translated in their
 * place. */
static const char *const wrappers[] = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled",
    "torch.ops.higher_order.wrap_with_autocast",
};

static bool is_wrapper(const struct item *item)
{
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (strcmp(item->target, wrappers[i]) == 0)
            return true;
    return false;
}

/* The names of the program or of an inner graph, and the graph itself. */
struct scope {
    struct strmap names;
    const json_t *body;
};

static void swap_scope(struct pt2 *p, struct scope *other)
{
    const struct scope now = {p->names, p->body};
    p->names = other->names;
    p->body = other->body;
    *other = now;
}

/* Gives the value that `from` names in this scope the name `to` in the other scope. */
static bool pass_to(struct pt2 *p, struct scope *other, const json_t *from, const json_t *to,
                    struct error *err)
{
    const char *source = name_of(from), *name = name_of(to);
    if (!source || !name)
        return fail(err, ERR_UNSUPPORTED, "an input or output of an inner graph is not a tensor");
    const struct pt2_name *found = pt2_find(p, source, err);
    if (!found)
        return err->code != ERR_NONE ? false
                                     : fail(err, ERR_BLUEPRINT, "'%.100s' is no value", source);
    const uint32_t base = (uint32_t)(found - p->entries.items);
    if (!pt2_refresh(p, base, err))
        return false;
    struct pt2_name entry = p->entries.items[base];
    if (entry.dim == DIM_NONE && !entry.refused && !entry.why) {
        entry = (struct pt2_name){.value = entry.value};
        pt2_make_view(p, &entry, base);
    }
    swap_scope(p, other);
    bool ok = pt2_add(p, name, &entry, err);
    swap_scope(p, other);
    return ok;
}

/* Translates a call of a wrapper. Its operands: those for the mode, the graph, and the inputs of
 * the graph. */
static bool wrapped_call(struct item *item, struct error *err)
{
    const json_t *inputs = json_object_get(item->node, "inputs"), *input, *graph = NULL;
    const json_t *outputs = json_object_get(item->node, "outputs"), *output;
    struct scope other = {.body = NULL};
    size_t operands = 0, i;
    const json_t *mode = NULL; /* the first bool: whether gradients or autocast are on */
    for (; operands < json_array_size(inputs) && !graph; operands++) {
        input = json_object_get(json_array_get(inputs, operands), "arg");
        mode = mode ? mode : json_object_get(input, "as_bool");
        graph = json_object_get(json_object_get(input, "as_graph"), "graph");
    }
    if (!graph)
        return fail(err, ERR_PARSE, "%.100s has no graph", item->target);
    if (json_is_true(mode) && strstr(item->target, "autocast"))
        return refused_call(item, "computed in another dtype", err);
    other.body = graph;
    json_array_foreach(json_object_get(graph, "inputs"), i, input)
    {
        const json_t *given = json_object_get(json_array_get(inputs, operands + i), "arg");
        if (!pass_to(item->p, &other, given, input, err))
            return false;
    }
    swap_scope(item->p, &other);
    bool outside = item->p->no_grad;
    if (strstr(item->target, "set_grad_enabled"))
        item->p->no_grad = json_is_false(mode);
    bool ok = aten_nodes(item->p, err);
    item->p->no_grad = outside;
    json_array_foreach(outputs, i, output)
    {
        const json_t *result = json_array_get(json_object_get(graph, "outputs"), i);
        ok = ok && pass_to(item->p, &other, result, output, err);
    }
    swap_scope(item->p, &other);
    return ok;
}

static bool one_node(struct pt2 *p, const json_t *node, struct error *err)
{
    struct item item = {
        .p = p, .node = node, .target = json_string_value(json_object_get(node, "target"))};
    if (!item.target || !json_is_array(json_object_get(node, "inputs")))
        return fail(err, ERR_PARSE, "a node has no target or inputs");
    if (is_check(&item))
        return true;
    if (is_wrapper(&item))
        return wrapped_call(&item, err);
    const json_t *output = json_array_get(json_object_get(node, "outputs"), 0);
    const char *integer =
        json_string_value(json_object_get(json_object_get(output, "as_sym_int"), "as_name"));
    if (integer)
        return size_call(&item, integer, err);
    const struct aten_op *op = op_of(&item);
    return op ? tensor_call(&item, op, err) : refused_call(&item, "no such op", err);
}

/* The name of a node; in older documents, which have none, that of its first result. */
static const char *node_name(const json_t *node)
{
    const char *name = json_string_value(json_object_get(node, "name"));
    const json_t *output = json_array_get(json_object_get(node, "outputs"), 0);
    const json_t *member = json_array_get(json_object_get(output, "as_tensors"), 0);
    if (!name)
        name = member ? json_string_value(json_object_get(member, "name")) : name_of(output);
    return name ? name : "";
}

bool aten_nodes(struct pt2 *p, struct error *err)
{
    const json_t *nodes = json_object_get(p->body, "nodes"), *node;
    size_t i;
    if (json_array_size(nodes) > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "more than %d nodes", LIMIT_NODES);
    json_array_foreach(nodes, i, node)
    {
        p->graph->origin = origin_of_node(p->graph, node_name(node), ORIGIN_NONE);
        p->call = node_name(node);
        if (!one_node(p, node, err))
            return false;
    }
    p->graph->origin = ORIGIN_NONE;
    p->call = NULL;
    return true;
}
