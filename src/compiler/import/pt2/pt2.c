/* Reading exported programs: the documents, inputs and outputs, and reporting what cannot be
 * read. */
#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/pt2/pt2_training_priv.h"

void pt2_refuse(struct pt2 *p, const char *what, const char *why)
{
    for (uint32_t i = 0; i < p->refusals.count; i++) {
        struct pt2_refusal *known = &p->refusals.items[i];
        if (strcmp(known->what, what) == 0 && strcmp(known->why, why) == 0) {
            known->count++;
            return;
        }
    }
    struct pt2_refusal refusal = {.what = arena_strdup(p->arena, what),
                                  .why = arena_strdup(p->arena, why),
                                  .node = p->call ? arena_strdup(p->arena, p->call) : NULL,
                                  .count = 1};
    VEC_PUSH(p->arena, &p->refusals, refusal);
}

static bool report(struct pt2 *p, struct error *err)
{
    struct strbuf text;
    strbuf_init(&text, p->arena);
    for (uint32_t i = 0; i < p->refusals.count; i++) {
        const struct pt2_refusal *r = &p->refusals.items[i];
        strbuf_printf(&text, "%s%.80s", i > 0 ? "; " : "", r->what);
        if (r->node)
            strbuf_printf(&text, " '%.80s'", r->node);
        if (r->count > 1)
            strbuf_printf(&text, " (%u times)", r->count);
        strbuf_printf(&text, ": %s", r->why);
    }
    if (p->options->refused)
        strbuf_puts(p->options->refused, text.data);
    return fail(err, ERR_UNSUPPORTED, "%s", text.data);
}

bool pt2_add(struct pt2 *p, const char *name, const struct pt2_name *entry, struct error *err)
{
    if (!strmap_add(&p->names, p->arena, name, p->entries.count))
        return fail(err, ERR_BLUEPRINT, "the name '%.100s' is taken already", name);
    VEC_PUSH(p->arena, &p->entries, *entry);
    return true;
}

const char *pt2_weight_name(const json_t *spec)
{
    static const char *const kinds[][2] = {{"parameter", "parameter_name"},
                                           {"buffer", "buffer_name"},
                                           {"tensor_constant", "tensor_constant_name"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const json_t *body = json_object_get(spec, kinds[i][0]);
        if (body)
            return json_string_value(json_object_get(body, kinds[i][1]));
    }
    return NULL;
}

bool pt2_is_input(const struct pt2 *p, const char *name)
{
    for (uint32_t i = 0; i < p->graph->inputs.count; i++)
        if (strcmp(graph_node(p->graph, p->graph->inputs.items[i])->attrs->name, name) == 0)
            return true;
    return false;
}

/* Whether the document says so of a tensor of the program, an input of it. */
static bool requires_grad(const struct pt2 *p, const char *label)
{
    const json_t *module = json_object_get(p->document, "graph_module"),
                 *values = json_object_get(json_object_get(module, "graph"), "tensor_values"),
                 *meta = json_object_get(values, label);
    return !json_is_false(json_object_get(meta, "requires_grad"));
}

/* Makes a param; a number that is no parameter and a small tensor of integers become constants,
 * because they may decide shapes, unless the program writes to them. */
static value_id make_weight(struct pt2 *p, const json_t *spec, const char *label, struct error *err)
{
    const char *name = pt2_weight_name(spec);
    uint32_t written;
    bool parameter = json_object_get(spec, "parameter") != NULL;
    struct builder b = {.graph = p->graph, .err = err};
    struct import_tensor tensor = {.name = NULL};
    dim_id shape[LIMIT_RANK];
    if (!pt2_weight(p, name, &tensor, err))
        return VALUE_NONE;
    bool small = tensor.bytes / dtype_bytes(tensor.dtype) <= LIMIT_LITERAL_ELEMENTS;
    bool trained = parameter && dtype_is_float(tensor.dtype);
    trained |= strmap_find(&p->training->written, label, &written);
    if (small && (tensor.rank == 0 || !dtype_is_float(tensor.dtype)) && !trained)
        return b_literal(&b, tensor.dtype, tensor.shape, tensor.rank, tensor.data);
    for (uint32_t i = 0; i < tensor.rank; i++)
        shape[i] = b_dim_const(&b, tensor.shape[i]);
    value_id value = graph_param(p->graph, pt2_is_input(p, name) ? label : name, tensor.dtype,
                                 shape, tensor.rank, err);
    if (value != VALUE_NONE) {
        VEC_PUSH(p->arena, &p->param_data, arena_memdup(p->arena, &tensor, sizeof tensor));
        VEC_PUSH(p->arena, &p->frozen, !parameter || !requires_grad(p, label));
    }
    return value;
}

struct pt2_name *pt2_find(struct pt2 *p, const char *name, struct error *err)
{
    struct error failure = {.code = ERR_NONE};
    uint32_t index;
    if (!strmap_find(&p->names, name, &index))
        return NULL;
    struct pt2_name *entry = &p->entries.items[index];
    if (!entry->spec)
        return entry;
    const json_t *spec = entry->spec;
    const char *weight = pt2_weight_name(spec);
    entry->spec = NULL;
    entry->value = entry->first = make_weight(p, spec, name, &failure);
    entry->refused = entry->value == VALUE_NONE;
    if (failure.code == ERR_UNSUPPORTED) {
        pt2_refuse(p, weight, failure.message);
    } else if (failure.code != ERR_NONE) {
        *err = failure;
        fail_at(err, "weight '%.100s'", weight);
        return NULL;
    }
    return entry;
}

static value_id read_input(struct pt2 *p, const char *name, struct error *err)
{
    const json_t *meta = json_object_get(json_object_get(p->body, "tensor_values"), name);
    struct pt2_type type;
    struct builder b = {.graph = p->graph, .err = err};
    struct import_tensor fixed;
    const struct import_tensor *given = import_find_known(p->options, name);
    if (!pt2_tensor_type(p, meta, true, &type, err))
        return VALUE_NONE;
    if (!given)
        return graph_input(p->graph, name, type.dtype, type.shape, type.rank, err);
    struct import_type wanted = {.dtype = type.dtype, .ranked = true, .rank = type.rank};
    for (uint32_t i = 0; i < type.rank; i++)
        if (!dim_is_const(&p->graph->dims, type.shape[i], &wanted.shape[i]))
            wanted.shape[i] = -1;
    if (!import_known(given, &wanted, p->arena, &fixed, err))
        return VALUE_NONE;
    if (fixed.bytes / dtype_bytes(fixed.dtype) > LIMIT_LITERAL_ELEMENTS)
        return b_fail(&b, ERR_LIMIT, "more than %d elements", LIMIT_LITERAL_ELEMENTS);
    return b_literal(&b, fixed.dtype, fixed.shape, fixed.rank, fixed.data);
}

static bool user_input(struct pt2 *p, const json_t *arg, struct error *err)
{
    const char *name =
        json_string_value(json_object_get(json_object_get(arg, "as_tensor"), "name"));
    struct pt2_name entry = {.storage = pt2_storage(p, NULL)};
    struct error failure = {.code = ERR_NONE};
    if (!name) {
        /* The calls contain the numbers that were arguments of the export. */
        if (json_object_get(arg, "as_sym_int") || json_object_get(arg, "as_custom_obj"))
            pt2_refuse(p, "input", "it is no tensor");
        return true;
    }
    entry.value = entry.first = read_input(p, name, &failure);
    entry.refused = entry.value == VALUE_NONE;
    if (failure.code == ERR_UNSUPPORTED) {
        pt2_refuse(p, "input", failure.message);
    } else if (failure.code != ERR_NONE) {
        *err = failure;
        return fail_at(err, "input '%.100s'", name);
    }
    return pt2_add(p, name, &entry, err);
}

/* The name of an input that is a tensor given at each call; NULL: another kind of input. */
static const char *user_input_name(const json_t *spec)
{
    const json_t *arg = json_object_get(json_object_get(spec, "user_input"), "arg");
    return json_string_value(json_object_get(json_object_get(arg, "as_tensor"), "name"));
}

static bool check_known(struct pt2 *p, const json_t *specs, struct error *err)
{
    const char **names = ARENA_ARRAY(p->arena, const char *, json_array_size(specs));
    uint32_t count = 0;
    for (size_t i = 0; i < json_array_size(specs); i++)
        if ((names[count] = user_input_name(json_array_get(specs, i))) != NULL)
            count++;
    return import_check_known(p->options, names, count, err);
}

bool pt2_inputs(struct pt2 *p, struct error *err)
{
    const json_t *specs = json_object_get(p->signature, "input_specs"), *spec;
    size_t i;
    if (!check_known(p, specs, err))
        return false;
    json_array_foreach(specs, i, spec)
    {
        const char *kind = json_object_iter_key(json_object_iter((json_t *)spec));
        const json_t *body = json_object_get(spec, kind ? kind : ""),
                     *arg = json_object_get(body, "arg");
        const char *label = json_string_value(json_object_get(arg, "name"));
        if (!kind)
            return fail(err, ERR_PARSE, "an input of the signature has no kind");
        if (strcmp(kind, "user_input") == 0) {
            if (!user_input(p, arg, err))
                return false;
        } else if (pt2_weight_name(spec) && label) {
            struct pt2_name entry = {.spec = spec, .storage = pt2_storage(p, NULL)};
            if (!pt2_add(p, label, &entry, err))
                return false;
        } else if (strcmp(kind, "constant_input") != 0) {
            pt2_refuse(p, kind, "no such kind of input");
        }
    }
    return true;
}

/* A name for an output that no other has: one value may be several outputs. */
static const char *output_name(struct pt2 *p, const char *name)
{
    struct strbuf *text = ARENA_NEW(p->arena, struct strbuf);
    for (uint32_t i = 0; i < p->graph->outputs.count; i++) {
        if (strcmp(p->graph->outputs.items[i].name, name) != 0)
            continue;
        strbuf_init(text, p->arena);
        strbuf_printf(text, "%s.%u", name, p->graph->outputs.count);
        return text->data;
    }
    return name;
}

static bool one_output(struct pt2 *p, const json_t *arg, struct error *err)
{
    struct builder b = {.graph = p->graph, .err = err};
    const char *name =
        json_string_value(json_object_get(json_object_get(arg, "as_tensor"), "name"));
    if (!name)
        name = json_string_value(json_object_get(json_object_get(arg, "as_sym_int"), "as_name"));
    if (!name) {
        if (!json_object_get(arg, "as_none"))
            pt2_refuse(p, "output", "it is no tensor");
        return true;
    }
    struct pt2_name *entry = pt2_find(p, name, err);
    if (!entry)
        return err->code != ERR_NONE ? false
                                     : fail(err, ERR_BLUEPRINT, "'%.100s' is no value", name);
    if (!pt2_refresh(p, (uint32_t)(entry - p->entries.items), err))
        return false;
    entry = pt2_find(p, name, err);
    if (entry->why)
        pt2_refuse(p, "output", entry->why);
    if (p->refusals.count > 0)
        return true;
    value_id value = entry->dim != DIM_NONE ? b_size(&b, entry->dim) : entry->value;
    return graph_output(p->graph, output_name(p, name), value, err);
}

static bool read_outputs(struct pt2 *p, struct error *err)
{
    static const char *const changes[] = {"buffer_mutation", "parameter_mutation",
                                          "user_input_mutation"};
    const json_t *specs = json_object_get(p->signature, "output_specs"), *spec;
    size_t i;
    json_array_foreach(specs, i, spec)
    {
        const char *kind = json_object_iter_key(json_object_iter((json_t *)spec));
        const json_t *body = json_object_get(spec, kind ? kind : "");
        bool change = false;
        if (!kind)
            return fail(err, ERR_PARSE, "an output of the signature has no kind");
        for (size_t k = 0; k < sizeof changes / sizeof *changes; k++)
            change |= strcmp(kind, changes[k]) == 0;
        if (change)
            continue; /* see pt2_changes */
        if (strcmp(kind, "user_output") != 0)
            pt2_refuse(p, kind, "no such kind of output");
        else if (!one_output(p, json_object_get(body, "arg"), err))
            return fail_at(err, "output %zu", i);
    }
    return true;
}

/* Python writes infinities and NaN, which JSON does not have, as bare words; quotes make strings of
 * them. */
static json_t *read_python_json(struct pt2 *p, const struct pt2_file *file, struct error *err)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    const char *text = (const char *)file->data;
    struct strbuf out;
    bool inside = false;
    if (file->size > LIMIT_JSON_BYTES)
        return json_read(text, file->size, err); /* json_read reports that */
    strbuf_init(&out, p->arena);
    for (size_t i = 0, from = 0; i <= file->size; i++) {
        if (i == file->size) {
            strbuf_add(&out, text + from, i - from);
        } else if (text[i] == '"') {
            inside = !inside;
        } else if (inside) {
            i += text[i] == '\\';
            i = i < file->size ? i : file->size - 1;
        } else if (text[i] == '-' || text[i] == 'I' || text[i] == 'N') {
            for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
                size_t length = strlen(words[k]);
                if (length > file->size - i || memcmp(text + i, words[k], length) != 0)
                    continue;
                strbuf_add(&out, text + from, i - from);
                strbuf_printf(&out, "\"%s\"", words[k]);
                i += length - 1;
                from = i + 1;
                break;
            }
        }
    }
    return json_read(out.data, out.size_bytes, err);
}

/* Whether the program went through run_decompositions(): what it was verified as tells. */
static bool is_decomposed(const json_t *document)
{
    const json_t *verifiers = json_object_get(document, "verifiers"), *verifier;
    bool training = false;
    size_t i;
    json_array_foreach(verifiers, i, verifier)
    {
        const char *name = json_string_value(verifier);
        training |= name && strcmp(name, "TRAINING") == 0;
    }
    return json_array_size(verifiers) > 0 && !training;
}

/* Reads the document of the only program in the archive. */
static bool open_document(struct pt2 *p, struct error *err)
{
    const struct pt2_file *file = pt2_archive_find(&p->archive, "serialized_exported_program.json");
    for (uint32_t i = 0; i < p->archive.files.count && !file; i++) {
        const char *name = p->archive.files.items[i].name, *at = strstr(name, "models/");
        size_t size = strlen(name);
        if (at && (at == name || at[-1] == '/') && strcmp(name + size - 5, ".json") == 0)
            file = &p->archive.files.items[i];
    }
    if (!file)
        return pt2_no_program(&p->archive, err);
    p->document = read_python_json(p, file, err);
    if (!p->document)
        return fail_at(err, "%.100s", file->name);
    const json_t *module = json_object_get(p->document, "graph_module");
    p->body = json_object_get(module, "graph");
    p->signature = json_object_get(module, "signature");
    p->ranges = json_object_get(p->document, "range_constraints");
    p->decomposed = is_decomposed(p->document);
    if (!json_is_object(p->body) || !json_is_object(p->signature) ||
        !json_is_array(json_object_get(p->body, "nodes")))
        return fail(err, ERR_PARSE, "the document holds no graph and signature");
    return true;
}

static bool read_program(struct pt2 *p, struct blueprint *out, struct error *err)
{
    if (!open_document(p, err))
        return false;
    pt2_note_program(p);
    if (!pt2_weights_open(p, err) || !pt2_find_writes(p, err) || !pt2_inputs(p, err) ||
        !aten_nodes(p, err) || !read_outputs(p, err) || !pt2_changes(p, out, err))
        return false;
    if (p->refusals.count > 0)
        return report(p, err);
    if (p->graph->outputs.count == 0)
        return fail(err, ERR_BLUEPRINT, "the program has no outputs");
    uint32_t count = p->graph->params.count;
    out->inits = ARENA_ARRAY(p->arena, struct param_init, count);
    for (uint32_t i = 0; i < count; i++)
        out->inits[i] = (struct param_init){.kind = INIT_DATA,
                                            .data = p->param_data.items[i]->data,
                                            .data_bytes = p->param_data.items[i]->bytes,
                                            .frozen = p->frozen.items[i]};
    pt2_aliases(p, out);
    return true;
}

static bool read_once(const void *bytes, size_t size, const struct import_options *options,
                      struct blueprint *out, bool *out_decomposed, struct error *err)
{
    struct arena *arena = out->graph.arena;
    *out = (struct blueprint){.json = NULL};
    struct pt2_training training = {.seed = VALUE_NONE};
    struct pt2 p = {
        .graph = &out->graph, .arena = arena, .options = options, .training = &training};
    graph_init(&out->graph, arena);
    bool ok = pt2_archive_open(bytes, size, arena, &p.archive, err) && read_program(&p, out, err);
    *out_decomposed = p.decomposed;
    pt2_note_refused(&p);
    json_decref(p.document);
    json_decref(p.weights);
    json_decref(p.constants);
    return ok;
}

/* What one may not expect of a program's gradients. */
static void warn_of_gradients(const struct blueprint *blueprint, bool decomposed,
                              struct strbuf *out)
{
    if (decomposed) {
        strbuf_puts(out, "run_decompositions() leaves nothing of torch.no_grad(): if the program "
                         "has such blocks, gradients pass them; compile it as exported");
        strbuf_add(out, "", 1);
    }
    for (uint32_t i = 0; i < blueprint->alias_count; i++) {
        strbuf_printf(out, "'%s' is another name of '%s': they have one gradient",
                      blueprint->aliases[i].name, blueprint->aliases[i].of);
        strbuf_add(out, "", 1);
    }
}

bool pt2_read(const void *bytes, size_t size, const struct import_options *options,
              struct arena *arena, struct blueprint *out, struct error *err)
{
    struct blueprint *read = ARENA_NEW(arena, struct blueprint), live = {.json = NULL};
    struct derivation d;
    struct strbuf why;
    bool decomposed;
    derive_begin(&d, options, arena);
    graph_init(&read->graph, arena);
    for (;;) {
        struct error failure = {.code = ERR_NONE};
        if (read_once(bytes, size, &d.options, read, &decomposed, &failure))
            break;
        strbuf_init(&why, arena);
        strbuf_printf(&why, "%s: %s", failure.place, failure.message);
        if (failure.code != ERR_SHAPE ||
            !derive_more(&d, &read->graph.dims, &read->graph.dims.unproved, why.data)) {
            *err = failure;
            return false;
        }
    }
    if (!import_check_dims(options, &read->graph.dims, err) ||
        !graph_copy_live(&live.graph, arena, &read->graph, err))
        return false;
    live.inits = read->inits;
    live.aliases = read->aliases;
    live.alias_count = read->alias_count;
    live.running = read->running;
    live.running_count = read->running_count;
    live.draws = read->draws;
    strbuf_init(&why, arena);
    derive_warn(&d, &why);
    if (options->backward)
        warn_of_gradients(&live, decomposed, &why);
    live.warnings = why.data;
    live.warnings_bytes = why.size_bytes;
    import_graph_json(&live, arena);
    *out = live;
    return true;
}

bool pt2_looks_like(const void *bytes, size_t size)
{
    return size > 4 && memcmp(bytes, "PK\3\4", 4) == 0;
}
