/* Reading a case of ONNX, compiling it, running it. */
#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "compiler/import/import.h"
#include "graph/element.h"
#include "graph/interp.h"
#include "onnx_case.h"
#include "urza/run.h"

#define MAX_TENSORS 32

/* One case under test. */
struct model {
    struct arena *arena;
    char folder[512];
    char *bytes;
    size_t size;
    struct import_tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    uint32_t input_count, output_count;
    const char *names[MAX_TENSORS];                              /* of the inputs */
    bool dense;                                                  /* see struct onnx_result */
    int32_t input_types[MAX_TENSORS], output_types[MAX_TENSORS]; /* as the model states them */
    struct import_tensor fixed[MAX_TENSORS]; /* inputs that are constants of the graph */
    uint32_t fixed_count;
    struct blueprint *blueprint;
    struct package_param *params; /* of the blueprint */
    struct onnx_result *result;
    struct error err;
};

/* Debian's cases keep bfloat16 as uint16. */
static bool read_as_bf16(struct model *m, const char *bytes, size_t size, struct import_tensor *out)
{
    Onnx__TensorProto *proto = onnx__tensor_proto__unpack(NULL, size, (const uint8_t *)bytes);
    if (!proto || proto->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__UINT16)
        return false;
    proto->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
    uint8_t *packed = arena_alloc(m->arena, onnx__tensor_proto__get_packed_size(proto), 1);
    size = onnx__tensor_proto__pack(proto, packed);
    onnx__tensor_proto__free_unpacked(proto, NULL);
    return onnx_read_tensor(packed, size, m->arena, out, &m->err);
}

static bool read_tensors(struct model *m, const char *kind, const int32_t *types,
                         struct import_tensor *out, uint32_t *out_count)
{
    *out_count = 0;
    for (uint32_t i = 0; i < MAX_TENSORS; i++) {
        char path[640], *bytes;
        size_t size;
        snprintf(path, sizeof path, "%s/test_data_set_0/%s_%u.pb", m->folder, kind, i);
        if (access(path, R_OK) != 0)
            return true;
        if (!file_read(path, (size_t)1 << 30, &bytes, &size, &m->err))
            return false;
        bool ok = (types[i] == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 &&
                   read_as_bf16(m, bytes, size, &out[i])) ||
                  onnx_read_tensor(bytes, size, m->arena, &out[i], &m->err);
        free(bytes);
        if (!ok)
            return fail_at(&m->err, "%s %u", kind, i);
        *out_count = i + 1;
    }
    return true;
}

static bool is_initializer(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (strcmp(graph->initializer[i]->name, name) == 0)
            return true;
    return false;
}

static int32_t type_of(const Onnx__ValueInfoProto *info)
{
    bool tensor = info->type && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    return tensor ? info->type->tensor_type->elem_type : 0;
}

static bool is_dense(const Onnx__ValueInfoProto *info)
{
    return type_of(info) != ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED &&
           type_of(info) != ONNX__TENSOR_PROTO__DATA_TYPE__STRING;
}

static bool read_signature(struct model *m)
{
    uint32_t count = 0;
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, m->size, (const uint8_t *)m->bytes);
    if (!model)
        return fail(&m->err, ERR_PARSE, "not a model");
    for (size_t i = 0; i < model->graph->n_input && count < MAX_TENSORS; i++)
        if (!is_initializer(model->graph, model->graph->input[i]->name)) {
            m->input_types[count] = type_of(model->graph->input[i]);
            m->names[count++] = arena_strdup(m->arena, model->graph->input[i]->name);
        }
    for (size_t i = 0; i < model->graph->n_output && i < MAX_TENSORS; i++)
        m->output_types[i] = type_of(model->graph->output[i]);
    m->dense = true;
    for (size_t i = 0; i < model->graph->n_input; i++)
        m->dense = m->dense && is_dense(model->graph->input[i]);
    for (size_t i = 0; i < model->graph->n_output; i++)
        m->dense = m->dense && is_dense(model->graph->output[i]);
    onnx__model_proto__free_unpacked(model, NULL);
    return true;
}

/* Which inputs are constants in an attempt: none, integers but for the first input, integers, all
 * but the first, all. The fewer, the more is left to compiled code. */
#define ATTEMPTS 5

static uint32_t choose_fixed(const struct model *m, int attempt, struct import_tensor *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->input_count; i++) {
        bool integer = !dtype_is_float(m->inputs[i].dtype);
        bool fixed = attempt == 4 || (attempt == 3 && i > 0) || (attempt == 2 && integer) ||
                     (attempt == 1 && integer && i > 0);
        if (!fixed)
            continue;
        out[count] = m->inputs[i];
        out[count++].name = m->names[i];
    }
    return count;
}

static bool import(struct model *m, int attempt)
{
    struct import_options options = {.folder = m->folder, .fixed = m->fixed};
    m->blueprint = ARENA_NEW(m->arena, struct blueprint);
    m->err = (struct error){.code = ERR_NONE};
    options.fixed_count = m->fixed_count = choose_fixed(m, attempt, m->fixed);
    return onnx_read(m->bytes, m->size, &options, m->arena, m->blueprint, &m->err);
}

/* What a package keeps as the blueprint must be the same graph. */
static bool check_json(struct model *m)
{
    const struct blueprint *blueprint = m->blueprint;
    struct import_options options = {.seed = 0};
    struct blueprint *again = ARENA_NEW(m->arena, struct blueprint);
    struct strbuf first, second;
    strbuf_init(&first, m->arena);
    strbuf_init(&second, m->arena);
    if (!blueprint_read(blueprint->json, blueprint->json_bytes, &options, m->arena, again, &m->err))
        return fail_at(&m->err, "blueprint.json");
    graph_print(&blueprint->graph, &first);
    graph_print(&again->graph, &second);
    return strcmp(first.data, second.data) == 0 ||
           fail(&m->err, ERR_VERIFY, "blueprint.json holds another graph");
}

static bool read_params(struct model *m)
{
    uint32_t count = m->blueprint->graph.params.count;
    m->params = ARENA_ARRAY(m->arena, struct package_param, count);
    for (uint32_t i = 0; i < count; i++)
        if (!blueprint_param_data(m->blueprint, i, NULL, m->arena, &m->params[i], &m->err))
            return false;
    return true;
}

/* Whether outputs hold numbers that stand in the graph, which kernels no more than put in place. */
static bool is_folded(const struct graph *graph)
{
    for (value_id v = 1; v < graph->nodes.count; v++)
        switch (graph_node(graph, v)->prim) {
        case PRIM_CONST:
        case PRIM_LITERAL:
        case PRIM_BROADCAST:
        case PRIM_CONCAT:
        case PRIM_COPY:
        case PRIM_PAD:
        case PRIM_RESHAPE:
        case PRIM_REVERSE:
        case PRIM_SLICE:
        case PRIM_TRANSPOSE: break;
        default: return false;
        }
    return true;
}

/* Of the one target that was compiled for. */
static bool find_answer(struct model *m, const struct compile_result *compiled)
{
    struct package_contents contents;
    struct graph optimised, live;
    if (!package_read(compiled->package, compiled->package_bytes,
                      &(struct trust){TRUST_ALLOW_UNSIGNED, NULL}, m->arena, &contents, &m->err) ||
        !graph_parse(&optimised, m->arena, contents.targets[0].optimised,
                     contents.targets[0].optimised_bytes, &m->err))
        return fail_at(&m->err, "package");
    optimised.inputs.count = optimised.params.count = optimised.elements.count = 0;
    if (!graph_copy_live(&live, m->arena, &optimised, &m->err))
        return false;
    m->result->answer = is_folded(&live) ? ONNX_FOLDED : ONNX_COMPILED;
    m->result->launches = contents.targets[0].plan.prepare.count;
    return true;
}

static bool compile_and_load(struct model *m, urza_module **out)
{
    struct compile_options options = {.strategy = STRATEGY_FAST};
    struct compile_result *compiled = ARENA_NEW(m->arena, struct compile_result);
    urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 1};
    urza_error failure = {0};
    for (uint32_t i = 0; target_name_at(i); i++)
        if (target_supported_here(target_name_at(i)) &&
            (!options.targets || target_rank(target_name_at(i)) > target_rank(options.targets)))
            options.targets = target_name_at(i);
    if (!compile_graph(
            &(struct compile_source){&m->blueprint->graph, m->params, m->blueprint->json}, &options,
            m->arena, compiled, &m->err))
        return fail_at(&m->err, "compile");
    if (urza_load_memory(compiled->package, compiled->package_bytes, &load, out, &failure) != 0)
        return fail(&m->err, (enum error_code)failure.code, "load: %s %s", failure.place,
                    failure.message);
    return find_answer(m, compiled);
}

/* Cases that draw random numbers: any are right, so the data say no more than types and shapes. */
static bool is_random(const struct model *m)
{
    return strstr(m->folder, "bernoulli") ||
           (strstr(m->folder, "training_dropout") && !strstr(m->folder, "zero_ratio"));
}

/* Debian's data of this case were made with an epsilon that its model does not have. */
static bool is_wrong_data(const struct model *m)
{
    return strcmp(m->folder, ONNX_DEBIAN_DATA "/node/test_adam_multiple") == 0;
}

static bool check_type(struct model *m, uint32_t output, const DLTensor *found,
                       const int64_t *shape)
{
    const struct import_tensor *t = &m->outputs[output];
    bool same = (uint32_t)found->ndim == t->rank &&
                found->dtype.bits == (t->dtype == DTYPE_BOOL ? 8 : 8 * dtype_bytes(t->dtype));
    bool shaped = t->dtype != DTYPE_BF16;
    same = same || (!shaped && found->dtype.bits == 16);
    for (uint32_t i = 0; i < t->rank && same && shaped; i++)
        same = shape[i] == t->shape[i];
    return same || fail(&m->err, ERR_VERIFY, "output %u has another type or shape", output);
}

/* Whether a tensor lacks the shape that the model states. */
static bool is_flat(const struct import_tensor *t, const urza_tensor_info *info)
{
    int64_t count = 1;
    for (int32_t i = 0; i < info->rank; i++)
        count *= info->shape[i];
    return t->rank == 1 && info->rank != 1 && count == t->shape[0];
}

/* A call: the inputs that are not constants, as the module takes them, and its outputs. */
struct call {
    DLTensor in[MAX_TENSORS], out[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][8]; /* of outputs */
    uint32_t inputs, outputs;
};

static bool is_fixed(const struct model *m, uint32_t input)
{
    for (uint32_t i = 0; i < m->fixed_count; i++)
        if (strcmp(m->fixed[i].name, m->names[input]) == 0)
            return true;
    return false;
}

static bool describe_inputs(struct model *m, const urza_module *module, struct call *call)
{
    for (uint32_t i = 0; i < m->input_count; i++) {
        if (is_fixed(m, i))
            continue;
        const urza_tensor_info *info = urza_input_info(module, call->inputs);
        bool flat = is_flat(&m->inputs[i], info);
        if (!flat && (uint32_t)info->rank != m->inputs[i].rank)
            return fail(&m->err, ERR_UNSUPPORTED, "the data of input %u does not fit the model", i);
        call->in[call->inputs++] =
            (DLTensor){.data = (void *)m->inputs[i].data,
                       .device = {.device_type = kDLCPU},
                       .ndim = flat ? info->rank : (int32_t)m->inputs[i].rank,
                       .dtype = info->dtype,
                       .shape = flat ? (int64_t *)info->shape : m->inputs[i].shape};
    }
    call->outputs = urza_output_count(module);
    return (call->inputs == urza_input_count(module) && call->outputs <= MAX_TENSORS &&
            call->outputs == m->output_count + onnx_counts(module, m->output_count)) ||
           fail(&m->err, ERR_VERIFY, "%u inputs and %u outputs", urza_input_count(module),
                call->outputs);
}

static bool run(struct model *m, urza_module *module, struct call *call)
{
    urza_error failure = {0};
    urza_stats stats;
    if (!describe_inputs(m, module, call))
        return false;
    if (urza_output_shapes(module, call->in, call->inputs, call->shapes, &failure) != 0)
        return fail(&m->err, (enum error_code)failure.code, "%s %s", failure.place,
                    failure.message);
    for (uint32_t i = 0; i < call->outputs; i++) {
        int64_t bytes = urza_output_info(module, i)->dtype.bits / 8;
        for (int32_t d = 0; d < urza_output_info(module, i)->rank; d++)
            bytes *= call->shapes[i][d];
        call->out[i] = (DLTensor){.data = arena_alloc(m->arena, (size_t)bytes, 64),
                                  .device = {.device_type = kDLCPU},
                                  .ndim = urza_output_info(module, i)->rank,
                                  .dtype = urza_output_info(module, i)->dtype,
                                  .shape = call->shapes[i]};
    }
    if (urza_call(module, call->in, call->inputs, call->out, call->outputs, NULL, &failure) != 0)
        return fail(&m->err, ERR_VERIFY, "%s %s", failure.place, failure.message);
    urza_stats_get(module, &stats);
    m->result->launches += (uint32_t)stats.launches;
    return stats.native_calls == stats.calls ||
           fail(&m->err, ERR_VERIFY, "was interpreted: %s", stats.last_fallback);
}

/* What the reference makes of the inputs of a call; one tensor for each output. */
static bool interpret(struct model *m, const struct call *call, struct interp_tensor *out)
{
    const struct interp_options options = {.mode = INTERP_REFERENCE};
    const struct graph *graph = &m->blueprint->graph;
    struct interp_tensor *sources =
        ARENA_ARRAY(m->arena, struct interp_tensor, call->inputs + graph->params.count);
    struct guard_input *given = ARENA_ARRAY(m->arena, struct guard_input, call->inputs);
    int64_t dims[LIMIT_NAMED_DIMS] = {0};
    for (uint32_t i = 0; i < call->inputs; i++) {
        const DLTensor *t = &call->in[i];
        enum dtype dtype = (enum dtype)graph_node(graph, graph->inputs.items[i])->dtype;
        uint32_t told = elements_of_input(graph, i);
        int64_t *integers = ARENA_ARRAY(m->arena, int64_t, told);
        given[i] =
            (struct guard_input){dtype, (uint32_t)t->ndim, t->shape, told > 0 ? integers : NULL};
        for (uint32_t k = 0; k < told; k++)
            if (!element_integer(dtype, t->data, k, &integers[k]))
                return fail(&m->err, ERR_INPUT, "element %u of input %u is not whole", k, i);
        const struct native_tensor native = {dtype, (uint32_t)t->ndim, t->shape, t->data};
        if (!interp_load(&sources[i], m->arena, &native, &m->err))
            return false;
    }
    if (!guards_bind(graph, given, call->inputs, dims, &m->err))
        return false;
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *node = graph_node(graph, graph->params.items[i]);
        int64_t shape[LIMIT_RANK];
        for (uint32_t d = 0; d < node->rank; d++)
            if (!dim_eval(&graph->dims, node->shape[d], dims, &shape[d]))
                return fail(&m->err, ERR_SHAPE, "param %u has no size", i);
        const struct native_tensor native = {(enum dtype)node->dtype, node->rank, shape,
                                             m->params[i].data};
        if (!interp_load(&sources[call->inputs + i], m->arena, &native, &m->err))
            return false;
    }
    return interp_run(graph, &options,
                      &(struct interp_arguments){dims, sources, call->inputs + graph->params.count},
                      m->arena, out, &m->err);
}

static bool compare(struct model *m, const urza_module *module, struct call *call)
{
    struct interp_tensor *reference = ARENA_ARRAY(m->arena, struct interp_tensor, call->outputs);
    if (!interpret(m, call, reference))
        return fail_at(&m->err, "the reference");
    for (uint32_t i = 0; i < call->outputs; i++)
        if (!onnx_compare_compiled(&reference[i], call->out[i].data,
                                   onnx_unchecked_because(m->result->name), &m->result->distance,
                                   &m->err))
            return fail_at(&m->err, "output %u", i);
    for (uint32_t i = 0; i < m->output_count; i++)
        if (!onnx_cut(module, call->out, i, &m->outputs[i], &reference[i], &m->err) ||
            !check_type(m, i, &call->out[i], call->shapes[i]))
            return fail_at(&m->err, "output %u", i);
    for (uint32_t i = 0; i < m->output_count && !is_random(m); i++) {
        if (onnx_compare_data(&reference[i], call->out[i].data, &m->outputs[i],
                              m->result->exception, m->arena, &m->result->distance, &m->err))
            continue;
        if (is_wrong_data(m)) {
            m->err = (struct error){0};
            return fail(&m->err, ERR_UNSUPPORTED, "the data are not of this model");
        }
        return fail_at(&m->err, "output %u", i);
    }
    return true;
}

/* One line of text without line breaks. */
static void tell(struct onnx_result *result, const char *kind, const char *text)
{
    snprintf(result->text, sizeof result->text, "%s%.380s", kind, text);
    for (char *at = result->text; *at != '\0'; at++)
        if (*at == '\n')
            *at = ' ';
}

static bool read_data(struct model *m)
{
    return read_signature(m) &&
           read_tensors(m, "input", m->input_types, m->inputs, &m->input_count) &&
           read_tensors(m, "output", m->output_types, m->outputs, &m->output_count);
}

static bool check_model(struct model *m)
{
    urza_module *module = NULL;
    struct call *call = ARENA_NEW(m->arena, struct call);
    bool ok = check_json(m) && read_params(m) && compile_and_load(m, &module) &&
              run(m, module, call) && compare(m, module, call);
    urza_unload(module);
    return ok;
}

/* What is not known, or decided otherwise than these data need it, may be given. */
static bool may_help(const struct model *m)
{
    return m->err.code == ERR_SHAPE || m->err.code == ERR_BLUEPRINT || m->err.code == ERR_INPUT ||
           (m->err.code == ERR_UNSUPPORTED && strstr(m->err.message, "not known"));
}

static void judge(struct model *m)
{
    char text[400] = "";
    /* Data that is no dense tensor belongs to a model that is refused for it. */
    bool data = read_data(m), known = false, right = false;
    struct error damage = m->err;
    m->result->dense = m->dense;
    for (int attempt = 0; attempt < ATTEMPTS && !right; attempt++) {
        known = import(m, attempt);
        right = known && data && check_model(m);
        if (!right && !may_help(m))
            break;
    }
    if (known && !data)
        m->err = damage;
    if (!known || !data) {
        bool refused = m->err.code == ERR_UNSUPPORTED;
        snprintf(text, sizeof text, "%.60s%s%.320s", m->err.place, m->err.place[0] ? ": " : "",
                 m->err.message);
        tell(m->result, refused ? "refused: " : "error: ", text);
        return;
    }
    if (!right) {
        snprintf(text, sizeof text, "%.60s %.320s", m->err.place, m->err.message);
        tell(m->result, m->err.code == ERR_UNSUPPORTED ? "refused: " : "wrong: ", text);
        return;
    }
    size_t used = 0;
    for (uint32_t i = 0; i < m->fixed_count && used < sizeof text / 2; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s",
                                 i == 0 ? ", known:" : ",", m->fixed[i].name);
    if (is_random(m))
        snprintf(text + used, sizeof text - used, ", random: values are not compared");
    m->result->constant_count = m->fixed_count;
    tell(m->result, "pass", text);
}

void onnx_case_run(const char *data, struct onnx_result *result)
{
    struct arena arena;
    char path[560];
    arena_init(&arena);
    struct model *m = ARENA_NEW(&arena, struct model);
    m->arena = &arena;
    m->result = result;
    result->exception = onnx_exception_of(result->name, strcmp(data, ONNX_DEBIAN_DATA) == 0);
    snprintf(m->folder, sizeof m->folder, "%s/%s", data, result->name);
    snprintf(path, sizeof path, "%s/model.onnx", m->folder);
    if (file_read(path, (size_t)1 << 30, &m->bytes, &m->size, &m->err)) {
        judge(m);
        free(m->bytes);
    } else {
        tell(result, "error: ", m->err.message);
    }
    arena_release(&arena);
}
