/* Reading models: the file, its graphs and scopes, and reporting what cannot be read. */
#include <onnx.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_failure_priv.h"
#include "compiler/import/onnx/onnx_notes_priv.h"
#include "compiler/import/onnx/onnx_told_priv.h"

#define MAX_BODIES 16 /* depth of nested bodies: functions, branches, loops */

/* Declares the translators of all rows. */
#define V LIMIT_OPERANDS
#define ONNX(name, types, since, min, max, attrs, function, with, note) \
    bool onnx_##function(struct onnx_call *c);
#include "compiler/import/onnx/onnx_ops.def"
#undef ONNX

static const struct onnx_op ops[] = {
#define ONNX(name, types, since, min, max, attrs, function, with, note) \
    {name, #types, since, min, max, attrs, onnx_##function, with, note},
#include "compiler/import/onnx/onnx_ops.def"
#undef ONNX
#undef V
};

bool onnx_covers(uint32_t index, struct onnx_coverage *out)
{
    if (index >= sizeof ops / sizeof *ops)
        return false;
    *out = (struct onnx_coverage){.name = ops[index].name,
                                  .types = ops[index].types,
                                  .since = ops[index].since,
                                  .note = ops[index].note};
    return true;
}

const struct onnx_op *onnx_op_find(const char *domain, const char *name)
{
    size_t prefix = strlen(domain);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        const char *text = ops[i].name;
        if (prefix > 0 && (strncmp(text, domain, prefix) != 0 || text[prefix] != '.'))
            continue;
        if (strcmp(text + (prefix > 0 ? prefix + 1 : 0), name) == 0)
            return &ops[i];
    }
    return NULL;
}

static const char *domain_of(const char *domain)
{
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

/* Names are written to JSON. */
bool onnx_is_utf8(const char *text)
{
    json_t *string = json_string(text);
    json_decref(string);
    return string != NULL;
}

bool onnx_name(struct onnx *o, struct onnx_scope *scope, const char *name, value_id value,
               struct error *err)
{
    struct onnx_value entry = {.value = value, .refused = value == VALUE_NONE};
    if (!onnx_is_utf8(name))
        return fail(err, ERR_PARSE, "a name is not UTF-8");
    if (!strmap_add(&scope->names, o->arena, name, o->values.count))
        return fail(err, ERR_BLUEPRINT, "the name '%.100s' is taken already", name);
    VEC_PUSH(o->arena, &o->values, entry);
    return true;
}

void onnx_name_small(struct onnx *o, uint8_t small)
{
    o->values.items[o->values.count - 1].small = small;
}

bool onnx_find(const struct onnx *o, const struct onnx_scope *scope, const char *name,
               struct onnx_value *out)
{
    uint32_t index;
    for (; scope; scope = scope->parent) {
        if (strmap_find(&scope->names, name, &index)) {
            *out = o->values.items[index];
            return true;
        }
        if (scope->caller)
            return false; /* a function does not see names outside */
    }
    return false;
}

static bool is_small(const struct import_tensor *tensor)
{
    return tensor->bytes / dtype_bytes(tensor->dtype) <= LIMIT_LITERAL_ELEMENTS;
}

value_id onnx_initializer(struct onnx *o, const char *name, const struct import_tensor *tensor,
                          bool constant, struct error *err)
{
    struct builder b = {.graph = o->graph, .err = err};
    dim_id shape[LIMIT_RANK];
    if (is_small(tensor) && (constant || tensor->rank == 0 || !dtype_is_float(tensor->dtype)))
        return b_literal(&b, tensor->dtype, tensor->shape, tensor->rank, tensor->data);
    for (uint32_t i = 0; i < tensor->rank; i++)
        shape[i] = b_dim_const(&b, tensor->shape[i]);
    value_id value = graph_param(o->graph, name, tensor->dtype, shape, tensor->rank, err);
    if (value == VALUE_NONE)
        return value;
    struct import_tensor *kept = arena_memdup(o->arena, tensor, sizeof *tensor);
    VEC_PUSH(o->arena, &o->param_data, kept);
    if (is_small(tensor))
        onnx_know_tensor(o, value, kept);
    return value;
}

void onnx_refused(struct onnx *o, const struct import_refusal *refusal)
{
    struct strbuf text;
    uint32_t index;
    strbuf_init(&text, o->arena);
    strbuf_printf(&text, "%s: %s", refusal->op, refusal->why);
    if (strmap_find(&o->refused, text.data, &index)) {
        o->refusals.items[index].count++;
        return;
    }
    struct import_refusal kept = *refusal;
    kept.why = arena_strdup(o->arena, refusal->why);
    kept.count = 1;
    strmap_add(&o->refused, o->arena, text.data, o->refusals.count);
    VEC_PUSH(o->arena, &o->refusals, kept);
}

void onnx_note_refusal(struct onnx *o, const char *op, const char *why)
{
    onnx_refused(o, &(struct import_refusal){.op = op, .why = why});
}

/* The opset of a domain; 0: the model does not import it. */
static int64_t opset_of(const Onnx__ModelProto *model, const char *domain)
{
    for (size_t i = 0; i < model->n_opset_import; i++)
        if (strcmp(domain_of(model->opset_import[i]->domain), domain) == 0)
            return model->opset_import[i]->version;
    return 0;
}

/* Whether attribute name is among the words of list. */
static bool understands(const char *list, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = list; *at != '\0';) {
        size_t length = strcspn(at, " ");
        if (length == size && memcmp(at, name, size) == 0)
            return true;
        at += length;
        at += strspn(at, " ");
    }
    return false;
}

static bool check_node(struct onnx_call *c)
{
    const Onnx__NodeProto *node = c->node;
    if (c->opset < c->op->since)
        return onnx_refuse(c, "opset %lld, read from %d on", (long long)c->opset, c->op->since);
    if (node->n_input > LIMIT_OPERANDS || node->n_output > OP_MAX_OUTPUTS)
        return onnx_refuse(c, "%zu inputs and %zu outputs, at most %d", node->n_input,
                           node->n_output, LIMIT_OPERANDS);
    if (node->n_output == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "no outputs");
    if (node->n_input < (size_t)c->op->inputs_min || node->n_input > (size_t)c->op->inputs_max)
        return b_fail(c->b, ERR_BLUEPRINT, "%zu inputs, expected %d … %d", node->n_input,
                      c->op->inputs_min, c->op->inputs_max);
    for (size_t i = 0; i < node->n_attribute; i++) {
        const char *name = node->attribute[i]->name;
        if (!name || (!understands(c->op->attrs, name) && strcmp(name, "consumed_inputs") != 0))
            return onnx_refuse(c, "attribute '%.60s'", name ? name : "");
    }
    return true;
}

/* Finds the operands by name. False if one is missing or was refused. */
static bool take_operands(struct onnx_call *c, bool *out_refused)
{
    c->in_count = (uint32_t)c->node->n_input;
    for (uint32_t i = 0; i < c->in_count; i++) {
        const char *name = c->node->input[i];
        struct onnx_value value = {0};
        if (name[0] == '\0')
            continue;
        if (!onnx_find(c->o, c->scope, name, &value))
            return onnx_no_value(c, name);
        *out_refused |= value.refused;
        for (uint32_t j = 0; j < OP_MAX_OUTPUTS && value.why; j++)
            c->out_why[j] = value.why;
        c->in[i] = value.value;
        c->lists[i] = value.list;
        c->small[i] = value.small;
        if (value.small && !strchr(c->op->types, 'S'))
            return onnx_refuse(c, "input %u is %s", i, onnx_small_name(value.small));
        if (value.list && strcmp(c->op->with, "sequence") != 0)
            return onnx_refuse(c, "input %u is a sequence", i);
    }
    for (int32_t i = 0; i < c->op->inputs_min && !*out_refused; i++)
        if (c->in[i] == VALUE_NONE && !c->lists[i])
            return b_fail(c->b, ERR_BLUEPRINT, "input %d is left out", i);
    return true;
}

static bool name_results(struct onnx_call *c, struct error *err)
{
    for (uint32_t i = 0; i < c->node->n_output; i++) {
        if (c->node->output[i][0] == '\0')
            continue;
        if (!onnx_name(c->o, c->scope, c->node->output[i],
                       i < c->out_count ? c->out[i] : VALUE_NONE, err))
            return false;
        struct onnx_value *named = &c->o->values.items[c->o->values.count - 1];
        named->list = i < c->out_count ? c->out_lists[i] : NULL;
        named->small = i < c->out_count ? c->out_small[i] : 0;
        named->why = named->refused && i < OP_MAX_OUTPUTS ? c->out_why[i] : NULL;
        named->refused = named->refused && !named->list;
    }
    return true;
}

/* Casts operands of narrow floats to f32 if the row has W; returns the dtype of the first one. */
static enum dtype widen_operands(struct onnx_call *c)
{
    enum dtype narrow = DTYPE_NONE;
    for (uint32_t i = 0; i < c->in_count && strchr(c->op->types, 'W'); i++) {
        enum dtype type = onnx_type(c, c->in[i]);
        if (type != DTYPE_F16 && type != DTYPE_BF16)
            continue;
        narrow = narrow == DTYPE_NONE ? type : narrow;
        c->in[i] = b_cast(c->b, c->in[i], DTYPE_F32);
    }
    return narrow;
}

static void narrow_results(struct onnx_call *c, enum dtype narrow)
{
    for (uint32_t i = 0; i < c->out_count && narrow != DTYPE_NONE; i++)
        if (onnx_type(c, c->out[i]) == DTYPE_F32)
            c->out[i] = b_cast(c->b, c->out[i], narrow);
}

/* Translates one node by its row. */
static bool translate(struct onnx_call *c, bool *out_refused)
{
    if (!check_node(c) || !take_operands(c, out_refused))
        return false;
    if (*out_refused)
        return true;
    if (!onnx_bound_enter(c))
        return false;
    memset(c->out_small, c->small[0], sizeof c->out_small);
    enum dtype narrow = widen_operands(c);
    bool ok = c->op->translate(c);
    if (ok && !onnx_failed(c))
        narrow_results(c, narrow);
    if (onnx_failed(c) || (ok && !onnx_bound_leave(c)))
        return false;
    for (uint32_t i = 0; i < c->node->n_output && ok; i++)
        if (onnx_wanted(c, i) &&
            (i >= c->out_count || (c->out[i] == VALUE_NONE && !c->out_lists[i] && !c->out_why[i])))
            return onnx_refuse(c, "output %u", i);
    return ok || onnx_refuse(c, "the translation failed");
}

/* If the operand that must be known is an input of the model, the user can give its values. */
static const char *cure_of(const struct onnx_call *c)
{
    const Onnx__GraphProto *graph = c->o->model->graph;
    struct strbuf cure;
    strbuf_init(&cure, c->o->arena);
    for (size_t i = 0; c->unknown && i < graph->n_input; i++) {
        const char *name = graph->input[i]->name ? graph->input[i]->name : "";
        if (strcmp(name, c->unknown) == 0 && onnx_is_utf8(name))
            strbuf_printf(&cure, "--known %s=VALUE makes this input a constant", name);
    }
    return cure.size_bytes > 0 ? cure.data : c->cure ? c->cure : c->o->undecided;
}

/* Records what the first node that fails needs of dims. */
static void note_demand(struct onnx_call *c, const char *type)
{
    struct onnx *o = c->o;
    const struct dim_demand *unproved = &o->graph->dims.unproved;
    if (o->demand_why)
        return;
    struct strbuf why;
    strbuf_init(&why, o->arena);
    strbuf_printf(&why, "%.40s '%.80s': %s", type, onnx_node_name(c->node), c->b->err->message);
    if (o->undecided)
        strbuf_printf(&why, "; %s", o->undecided);
    o->demand = *unproved;
    o->demand_why = why.data;
}

static bool one_node(struct onnx *o, struct onnx_scope *scope, const Onnx__NodeProto *node,
                     struct error *err)
{
    struct error failure = {.code = ERR_NONE};
    struct builder b = {.graph = o->graph, .err = &failure};
    struct onnx_call call = {.o = o, .b = &b, .scope = scope, .node = node}, *c = &call;
    const char *domain = domain_of(node->domain), *type = node->op_type ? node->op_type : "";
    bool refused = false;
    value_id before = o->graph->nodes.count;
    o->graph->dims.unproved.need = DIM_NEEDS_NOTHING;
    c->op = onnx_op_find(domain, type);
    c->opset = domain[0] == '\0' ? scope->opset : opset_of(o->model, domain);
    const Onnx__FunctionProto *function = onnx_function_find(o, domain, type);
    if (++o->nodes > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "more than %d nodes", LIMIT_NODES);
    if (function) {
        if (!onnx_function(c, function, &refused, err))
            return false;
    } else if (!c->op) {
        onnx_refuse_op(o, domain, node);
        refused = true;
    } else if (!translate(c, &refused)) {
        import_plain(&failure);
        note_demand(c, type);
        if (failure.code != ERR_UNSUPPORTED) {
            if (failure.place[0] == '\0') /* else a node of its body failed, which is described */
                onnx_add_shapes(c);
            *err = failure;
            return fail_at(err, "%.40s '%.80s'", type, onnx_node_name(node));
        }
        onnx_refused(o, &(struct import_refusal){.op = type,
                                                 .node = onnx_node_name(node),
                                                 .why = failure.message,
                                                 .cure = cure_of(c)});
        refused = true;
    }
    if (refused)
        c->out_count = 0;
    uint32_t first = o->values.count;
    if (!name_results(c, err))
        return false;
    if (o->options->notes && !scope->parent)
        onnx_note_node(o, node, first, before);
    return true;
}

bool onnx_nodes(struct onnx *o, struct onnx_scope *scope, Onnx__NodeProto *const *nodes,
                size_t count, struct error *err)
{
    if (o->depth >= MAX_BODIES)
        return fail(err, ERR_LIMIT, "bodies nest more than %d deep", MAX_BODIES);
    o->depth++;
    bool ok = true;
    origin_id around = o->graph->origin;
    for (size_t i = 0; i < count && ok; i++) {
        o->graph->origin = origin_of_node(o->graph, onnx_node_name(nodes[i]), around);
        ok = one_node(o, scope, nodes[i], err);
    }
    o->graph->origin = around;
    o->depth--;
    return ok;
}

/* A new name for a param of a body, whose own name may be that of another param. */
static const char *fresh_name(struct onnx *o, const char *name)
{
    size_t size = strlen(name) + 16;
    char *fresh = arena_alloc(o->arena, size, 1);
    snprintf(fresh, size, "%s#%u", name, o->param_data.count);
    return fresh;
}

/* The value that the caller gives an initialiser that is an input too; *out_given: there is one.
 * False: failure. */
static bool override_of(struct onnx *o, const Onnx__GraphProto *graph, const char *name,
                        struct import_tensor *out, bool *out_given, struct error *err)
{
    const struct import_tensor *given = import_find_known(o->options, name);
    for (size_t k = 0; given && k < graph->n_input; k++) {
        if (!graph->input[k]->name || strcmp(graph->input[k]->name, name) != 0)
            continue;
        *out_given = true;
        return onnx_known_input(o, graph->input[k], given, out, err);
    }
    return true;
}

bool onnx_initializers(struct onnx *o, struct onnx_scope *scope, const Onnx__GraphProto *graph,
                       struct error *err)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        struct import_tensor tensor;
        struct error failure = {.code = ERR_NONE};
        const char *name = graph->initializer[i]->name ? graph->initializer[i]->name : "";
        value_id value = VALUE_NONE;
        bool other = false;
        bool ok = scope->parent || override_of(o, graph, name, &tensor, &other, &failure);
        if (ok && other) {
            value = onnx_initializer(o, name, &tensor, true, &failure);
        } else if (ok && onnx_tensor(graph->initializer[i], o->options->folder, o->arena, &tensor,
                                     &failure)) {
            const char *param = scope->parent ? fresh_name(o, name) : name;
            value = onnx_initializer(o, param, &tensor, false, &failure);
        }
        if (failure.code == ERR_UNSUPPORTED) {
            onnx_note_refusal(o, "initializer", failure.message);
        } else if (failure.code != ERR_NONE) {
            *err = failure;
            return fail_at(err, "initializer '%.100s'", name);
        }
        if (!onnx_name(o, scope, name, value, err))
            return false;
        onnx_name_small(o, onnx_small_type(graph->initializer[i]));
    }
    return true;
}

/* Reports all refusals in one error. */
static bool report(struct onnx *o, struct error *err)
{
    struct strbuf text;
    strbuf_init(&text, o->arena);
    for (uint32_t i = 0; i < o->refusals.count; i++) {
        const struct import_refusal *r = &o->refusals.items[i];
        strbuf_printf(&text, "%s%.60s", i > 0 ? "; " : "", r->op);
        if (r->node)
            strbuf_printf(&text, " '%.80s'", r->node);
        if (r->count > 1)
            strbuf_printf(&text, " (%u times)", r->count);
        strbuf_printf(&text, ": %s", r->why);
    }
    if (o->options->refused)
        strbuf_puts(o->options->refused, text.data);
    return fail(err, ERR_UNSUPPORTED, "%s", text.data);
}

static void refuse_output(struct onnx *o, const char *name, const char *why)
{
    char text[400];
    snprintf(text, sizeof text, "'%.80s': %s", name, why);
    onnx_note_refusal(o, "output", text);
}

static bool read_outputs(struct onnx *o, const struct onnx_scope *scope,
                         const Onnx__GraphProto *graph, struct error *err)
{
    if (graph->n_output == 0)
        return fail(err, ERR_BLUEPRINT, "the model has no outputs");
    for (size_t i = 0; i < graph->n_output; i++) {
        const char *name = graph->output[i]->name ? graph->output[i]->name : "";
        struct onnx_value value;
        if (!onnx_find(o, scope, name, &value))
            return fail(err, ERR_BLUEPRINT, "output '%.100s' is not the name of a value", name);
        if (value.list)
            onnx_note_refusal(o, "output", "a sequence");
        if (value.why)
            refuse_output(o, name, value.why);
        if (o->refusals.count == 0 && !onnx_bound_output(o, name, value.value, err))
            return fail_at(err, "output '%.100s'", name);
    }
    return onnx_bound_counts(o, err);
}

static bool check_model(const Onnx__ModelProto *model, struct error *err)
{
    int64_t opset = opset_of(model, "");
    if (!model->graph)
        return fail(err, ERR_PARSE, "the model has no graph");
    if (opset > ONNX_NEWEST_OPSET)
        return fail(err, ERR_UNSUPPORTED, "opset %lld; the newest that is read is %d",
                    (long long)opset, ONNX_NEWEST_OPSET);
    return true;
}

/* Moves the initial values to the blueprint, in the order of params. */
static void keep_params(struct onnx *o)
{
    uint32_t count = o->graph->params.count;
    o->out->inits = ARENA_ARRAY(o->arena, struct param_init, count);
    for (uint32_t i = 0; i < count; i++)
        o->out->inits[i] = (struct param_init){.kind = INIT_DATA,
                                               .data = o->param_data.items[i]->data,
                                               .data_bytes = o->param_data.items[i]->bytes};
}

static bool read_model(struct onnx *o, struct error *err)
{
    const Onnx__GraphProto *graph = o->model->graph;
    struct onnx_scope scope = {.opset = opset_of(o->model, "")};
    onnx_functions(o);
    if (!onnx_initializers(o, &scope, graph, err) || !onnx_inputs(o, &scope, graph, err) ||
        !onnx_nodes(o, &scope, graph->node, graph->n_node, err) ||
        !read_outputs(o, &scope, graph, err))
        return false;
    if (o->refusals.count > 0)
        return report(o, err);
    keep_params(o);
    return true;
}

/* The caller may also give a dim by its name in the file. */
static bool check_dims(struct onnx *o, const struct import_options *options, struct error *err)
{
    for (uint32_t i = 0; i < options->dim_count; i++) {
        struct import_options one = {.dims = &options->dims[i], .dim_count = 1};
        uint32_t index;
        if (!strmap_find(&o->dim_params, options->dims[i].name, &index) &&
            !import_check_dims(&one, &o->graph->dims, err))
            return false;
    }
    return true;
}

bool onnx_read(const void *bytes, size_t size, const struct import_options *options,
               struct arena *arena, struct blueprint *out, struct error *err)
{
    struct derivation d;
    struct strbuf why;
    struct onnx o;
    struct blueprint *read = ARENA_NEW(arena, struct blueprint), live = {.json = NULL};
    const Onnx__ModelProto *model = (const Onnx__ModelProto *)onnx_unpack(
        &onnx__model_proto__descriptor, bytes, size, arena, err);
    if (!model || !check_model(model, err))
        return false;
    const char *name = model->graph->name;
    if (options->notes)
        onnx_note_file(options->notes, model);
    derive_begin(&d, options, arena);
    do {
        *read = (struct blueprint){.json = NULL};
        o = (struct onnx){.graph = &read->graph,
                          .arena = arena,
                          .model = model,
                          .options = &d.options,
                          .out = read};
        graph_init(&read->graph, arena);
        strbuf_init(&o.warnings, arena);
        if (name && strlen(name) <= LIMIT_NAME && onnx_is_utf8(name))
            read->graph.name = name;
        *err = (struct error){.code = ERR_NONE};
        if (options->refused) /* keep the refusals of the last reading only */
            strbuf_init(options->refused, options->refused->arena);
        if (options->notes)
            options->notes->graph = &read->graph;
        if (!read_model(&o, err) && !o.demand_why) { /* the failure is not of a node but, for
                                                        example, of an input */
            strbuf_init(&why, arena);
            strbuf_printf(&why, "%s: %s", err->place, err->message);
            o.demand = read->graph.dims.unproved;
            o.demand_why = why.data;
        }
    } while (err->code != ERR_NONE && derive_more(&d, &read->graph.dims, &o.demand, o.demand_why));
    if (options->notes)
        onnx_note_refused(&o, options->notes);
    if (options->notes && err->code == ERR_NONE)
        onnx_note_fates(&o, options->notes);
    if (err->code != ERR_NONE)
        onnx_hint_told(&read->graph, err);
    if (err->code != ERR_NONE || !check_dims(&o, options, err) ||
        !graph_copy_live(&live.graph, arena, &read->graph, err))
        return false;
    live.inits = read->inits;
    derive_warn(&d, &o.warnings);
    live.warnings = o.warnings.data;
    live.warnings_bytes = o.warnings.size_bytes;
    import_graph_json(&live, arena);
    *out = live;
    return true;
}

bool onnx_looks_like(const void *bytes, size_t size)
{
    /* Tags of the fields with which a model may begin: ir_version, producer_name, producer_version,
     * graph, opset_import. No JSON text begins with one of these bytes. */
    static const char tags[] = {0x08, 0x12, 0x1a, 0x3a, 0x42};
    return size > 2 && memchr(tags, *(const char *)bytes, sizeof tags) != NULL;
}
