/* urza run: runs a package on files, or on random numbers.
 *
 * Results are written after the call has succeeded, each file atomically. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "graph/element.h"
#include "graph/interp.h"
#include "verify/verify.h"

#define SHOWN_VALUES 8
#define NPY_HEAD_BYTES 65536 /* more than the header of any .npy file */

struct request {
    struct bundle_options open;
    struct text_list in, cotangents, keys;
    const char *random, *dims, *out;
    bool backward;
    uint64_t seed;
};

/* Something that is written or shown: an output, or a gradient. */
struct shown_result {
    const char *name, *path;
    enum dtype dtype;
    DLTensor tensor;
};

/* The state of one call; arrays are indexed by input or output. */
struct call {
    struct bundle bundle;
    int64_t dims[LIMIT_NAMED_DIMS];
    const struct npy **given, **given_cotangents; /* NULL: random values, or none */
    DLTensor *inputs, *outputs, *cotangents;
    VEC(struct shown_result) results;
    urza_result *hold;
    char fallback[128]; /* empty: it ran natively */
};

static bool parse_request(struct cli *cli, int argc, char **argv, struct request *out,
                          struct error *err)
{
    struct words words = {.least = 1, .most = 1};
    *out = (struct request){.open = {.threads = 1, .keys = &out->keys}};
    const struct option_row rows[] = {
        {"in", 0, OPTION_LIST, "NAME=FILE", &out->in, "an input's values, a .npy file"},
        {"random", 0, OPTION_TEXT, "SEED", &out->random,
         "random values for the other inputs (default without --in: seed 0)"},
        {"dims", 0, OPTION_TEXT, "LIST", &out->dims,
         "B=32,S=16: sizes of random inputs (default: typical ones)"},
        {"threads", 0, OPTION_COUNT, "N", &out->open.threads, "threads to use (default: 1)"},
        {"out", 0, OPTION_TEXT, "DIR", &out->out, "write each output to DIR/NAME.npy"},
        {"backward", 0, OPTION_FLAG, NULL, &out->backward,
         "run the backward pass too; gradients are results called grad.NAME"},
        {"cotangent", 0, OPTION_LIST, "NAME=FILE", &out->cotangents,
         "--backward: the gradient by an output, a .npy file (others: zeros, or as --random says)"},
        {"target", 0, OPTION_TEXT, "NAME", &out->open.target,
         "run the code of this target, or the interpreter (default: the best here)"},
        {"key", 0, OPTION_LIST, "HEX", &out->keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &out->open.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    out->open.path = words.items[0];
    if (out->cotangents.texts.count > 0 && !out->backward)
        return fail(err, ERR_USAGE, "--cotangent goes with --backward");
    return !out->random || args_number(out->random, UINT64_MAX, &out->seed) ||
           fail(err, ERR_USAGE, "--random expects a seed from 0 to 2^64 - 1, not '%s'",
                out->random);
}

/* Limit on the size of a file with an input's values, which is checked before reading. */
static size_t npy_limit(const struct graph *graph, const struct node *node)
{
    int64_t bytes = (int64_t)dtype_bytes(node->dtype), least, most;
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        dim_range(&graph->dims, node->shape[axis], &least, &most);
        if (!checked_mul_i64(bytes, most, &bytes) || bytes > LIMIT_TENSOR_BYTES)
            return (size_t)LIMIT_TENSOR_BYTES;
    }
    return (size_t)bytes + NPY_HEAD_BYTES;
}

static bool read_npy(struct cli *cli, const char *path, size_t limit, struct npy *out,
                     struct error *err)
{
    char *data;
    size_t size;
    if (!file_read(path, limit, &data, &size, err))
        return false;
    bool ok = npy_parse(data, size, cli->arena, out, err);
    free(data);
    return ok || fail_at(err, "%s", path);
}

static const struct node *input_node(const struct graph *graph, uint32_t index)
{
    return graph_node(graph, graph->inputs.items[index]);
}

/* The inputs or outputs that an option gives values. */
struct named_files {
    const char *option, *what; /* "--in", "input" */
    uint32_t count;
    const char *const *names;
    const value_id *values;
    const struct npy **given;
};

/* Reads NAME=FILE. A name may contain '=', so the longest prefix that is a name is used. */
static bool read_file(struct cli *cli, const char *text, const struct named_files *files,
                      const struct graph *graph, struct error *err)
{
    uint32_t found = files->count;
    size_t found_size = 0;
    for (uint32_t i = 0; i < files->count; i++) {
        size_t size = strlen(files->names[i]);
        if (strncmp(text, files->names[i], size) == 0 && text[size] == '=' && size >= found_size) {
            found = i;
            found_size = size;
        }
    }
    if (!strchr(text, '='))
        return fail(err, ERR_USAGE, "%s expects NAME=FILE, not '%s'", files->option, text);
    if (found == files->count)
        return fail(err, ERR_INPUT, "the package has no %s of the name in '%s'", files->what, text);
    const struct node *node = graph_node(graph, files->values[found]);
    if (files->given[found])
        return fail(err, ERR_USAGE, "%s '%s' is given twice", files->what, files->names[found]);
    struct npy *npy = ARENA_NEW(cli->arena, struct npy);
    if (!read_npy(cli, text + found_size + 1, npy_limit(graph, node), npy, err))
        return false;
    if (strcmp(npy->descr, dtype_npy(node->dtype)) != 0) {
        fail(err, ERR_INPUT, "the file holds elements '%s', expected '%s' (%s)", npy->descr,
             dtype_npy(node->dtype), dtype_name(node->dtype));
        return fail_at(err, "%s '%s'", files->what, files->names[found]);
    }
    if (npy->rank != node->rank) {
        fail(err, ERR_INPUT, "the file has %u dims, expected %u", npy->rank, node->rank);
        return fail_at(err, "%s '%s'", files->what, files->names[found]);
    }
    files->given[found] = npy;
    return true;
}

/* Reads the files of --in and --cotangent. */
static bool read_files(struct cli *cli, const struct request *request, struct call *call,
                       struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    uint32_t inputs = graph->inputs.count, outputs = graph->outputs.count;
    const char **in = ARENA_ARRAY(cli->arena, const char *, inputs + 1);
    const char **out = ARENA_ARRAY(cli->arena, const char *, outputs + 1);
    value_id *values = ARENA_ARRAY(cli->arena, value_id, outputs + 1);
    for (uint32_t i = 0; i < inputs; i++)
        in[i] = input_node(graph, i)->attrs->name;
    for (uint32_t i = 0; i < outputs; i++) {
        out[i] = graph->outputs.items[i].name;
        values[i] = graph->outputs.items[i].value;
    }
    const struct named_files ins = {"--in", "input", inputs, in, graph->inputs.items, call->given};
    const struct named_files outs = {"--cotangent", "output", outputs,
                                     out,           values,   call->given_cotangents};
    for (uint32_t i = 0; i < request->in.texts.count; i++)
        if (!read_file(cli, request->in.texts.items[i], &ins, graph, err))
            return false;
    for (uint32_t i = 0; i < request->cotangents.texts.count; i++)
        if (!read_file(cli, request->cotangents.texts.items[i], &outs, graph, err))
            return false;
    return true;
}

static DLTensor npy_tensor(const struct npy *npy, DLDataType dtype)
{
    return (DLTensor){.data = (void *)npy->data,
                      .device = {.device_type = kDLCPU},
                      .ndim = (int32_t)npy->rank,
                      .dtype = dtype,
                      .shape = (int64_t *)npy->shape};
}

static struct guard_input npy_guard(const struct npy *npy, enum dtype dtype)
{
    return (struct guard_input){dtype, npy->rank, npy->shape, NULL};
}

/* What the elements of files tell of dims. What is wrong with them is said by the call. */
static bool bind_elements(const struct call *call, int64_t *dims, uint64_t *bound,
                          struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *element = &graph->elements.items[i];
        const struct npy *npy = call->given[element->input];
        const struct node *node = input_node(graph, element->input);
        uint32_t count = elements_of_input(graph, element->input), read = 0;
        int64_t integers[LIMIT_ELEMENTS];
        if (!npy || npy->data_bytes != count * dtype_bytes(node->dtype))
            continue;
        while (read < count && element_integer(node->dtype, npy->data, read, &integers[read]))
            read++;
        struct guard_input given = npy_guard(npy, node->dtype);
        given.integers = integers;
        if (read == count && !guards_bind_element(graph, element, &given, dims, bound, err))
            return fail_at(err, "input '%s'", node->attrs->name);
    }
    return true;
}

/* Sizes of what has no file: first what files of inputs tell, as it does in a call, then what
 * cotangents tell besides, then --dims. */
static bool choose_dims(struct call *call, const char *text, int64_t *dims, struct error *err)
{
    struct graph *graph = &call->bundle.graph;
    uint64_t bound = 0;
    if (!dims_choose(&graph->dims, text, dims, err))
        return false;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = input_node(graph, i);
        struct guard_input given;
        if (!call->given[i])
            continue;
        given = npy_guard(call->given[i], node->dtype);
        if (!guards_bind_shape(graph, graph->inputs.items[i], &given, dims, &bound, err))
            return fail_at(err, "input '%s'", node->attrs->name);
    }
    if (!bind_elements(call, dims, &bound, err))
        return false;
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const struct graph_output *output = &graph->outputs.items[i];
        struct guard_input given;
        if (!call->given_cotangents[i])
            continue;
        given = npy_guard(call->given_cotangents[i], graph_node(graph, output->value)->dtype);
        if (!guards_bind_shape(graph, output->value, &given, dims, &bound, err))
            return fail_at(err, "cotangent of '%s'", output->name);
    }
    return true;
}

static bool fill_inputs(struct cli *cli, const struct request *request, struct call *call,
                        struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    int64_t *dims = call->dims;
    if (!read_files(cli, request, call, err) || !choose_dims(call, request->dims, dims, err))
        return false;
    bool fill = request->random || request->in.texts.count == 0;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct npy *npy = call->given[i];
        const char *name = input_node(graph, i)->attrs->name;
        DLDataType dtype = urza_input_info(call->bundle.module, i)->dtype;
        DLTensor *tensor = &call->inputs[i];
        if (npy) {
            *tensor = npy_tensor(npy, dtype);
        } else if (!fill) {
            fail(err, ERR_INPUT, "missing: give --in %s=FILE, or --random", name);
            return fail_at(err, "input '%s'", name);
        } else if (!tensor_make(cli->arena, graph, graph->inputs.items[i], dims, tensor, err)) {
            return fail_at(err, "input '%s'", name);
        } else {
            tensor->dtype = dtype;
            tensor_random(tensor, input_node(graph, i)->dtype, name, request->seed);
            elements_store(graph, i, dims, tensor->data);
        }
    }
    return true;
}

static void note_fallback(struct call *call)
{
    urza_stats stats;
    urza_stats_get(call->bundle.module, &stats);
    if (stats.fallback_calls > 0)
        snprintf(call->fallback, sizeof call->fallback, "%s", stats.last_fallback);
}

static void add_result(struct cli *cli, struct call *call, const char *name, enum dtype dtype,
                       const DLTensor *tensor)
{
    VEC_PUSH(cli->arena, &call->results,
             ((struct shown_result){.name = name, .dtype = dtype, .tensor = *tensor}));
}

static enum dtype output_dtype(const struct graph *graph, uint32_t output)
{
    return graph_node(graph, graph->outputs.items[output].value)->dtype;
}

static bool call_module(struct cli *cli, struct call *call, struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    urza_error problem = {.code = 0};
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const urza_tensor_info *info = urza_output_info(call->bundle.module, i);
        call->outputs[i] = (DLTensor){.device = {.device_type = kDLCPU},
                                      .ndim = info->rank,
                                      .dtype = info->dtype,
                                      .shape = ARENA_ARRAY(cli->arena, int64_t, LIMIT_RANK)};
    }
    if (urza_call(call->bundle.module, call->inputs, graph->inputs.count, call->outputs,
                  graph->outputs.count, &call->hold, &problem) != 0)
        return bundle_fail(&problem, err);
    note_fallback(call);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        add_result(cli, call, graph->outputs.items[i].name, output_dtype(graph, i),
                   &call->outputs[i]);
    return true;
}

/* A tensor of a value's shape, for the output or source of that info. */
static bool make_tensor(struct cli *cli, const struct call *call, value_id value,
                        const urza_tensor_info *info, DLTensor *out, struct error *err)
{
    if (!tensor_make(cli->arena, &call->bundle.graph, value, call->dims, out, err))
        return fail_at(err, "'%s'", info->name);
    out->dtype = info->dtype;
    return true;
}

/* Outputs, and their cotangents: files, or random where inputs are; none of the others. */
static bool make_outputs(struct cli *cli, const struct request *request, struct call *call,
                         struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    bool fill =
        request->random || (request->in.texts.count == 0 && request->cotangents.texts.count == 0);
    bool any = false;
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const urza_tensor_info *info = urza_output_info(call->bundle.module, i);
        value_id value = graph->outputs.items[i].value;
        DLTensor *cotangent = &call->cotangents[i];
        if (!make_tensor(cli, call, value, info, &call->outputs[i], err))
            return false;
        if (call->given_cotangents[i]) {
            *cotangent = npy_tensor(call->given_cotangents[i], info->dtype);
        } else if (fill && dtype_is_float(output_dtype(graph, i))) {
            if (!make_tensor(cli, call, value, info, cotangent, err))
                return false;
            tensor_random(cotangent, output_dtype(graph, i), info->name, request->seed + 1);
        }
        any = any || cotangent->data;
    }
    return any || fail(err, ERR_INPUT,
                       "no output has a cotangent: give --cotangent %s=FILE, or "
                       "--random",
                       graph->outputs.items[0].name);
}

/* Gradients of the inputs and parameters that have one. */
static bool make_gradients(struct cli *cli, const struct call *call, urza_gradients *out,
                           struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    urza_module *module = call->bundle.module;
    out->input_count = graph->inputs.count;
    out->param_count = graph->params.count;
    out->inputs = ARENA_ARRAY(cli->arena, DLTensor, out->input_count + 1);
    out->params = ARENA_ARRAY(cli->arena, DLTensor, out->param_count + 1);
    for (uint32_t i = 0; i < out->input_count; i++) {
        const urza_tensor_info *info = urza_input_info(module, i);
        if (urza_has_gradient(module, info->name) &&
            !make_tensor(cli, call, graph->inputs.items[i], info, &out->inputs[i], err))
            return false;
    }
    for (uint32_t i = 0; i < out->param_count; i++) {
        const urza_tensor_info *info = urza_param_info(module, i);
        if (urza_has_gradient(module, info->name) &&
            !make_tensor(cli, call, graph->params.items[i], info, &out->params[i], err))
            return false;
    }
    return true;
}

static void add_gradients(struct cli *cli, struct call *call, const urza_gradients *gradients)
{
    const struct graph *graph = &call->bundle.graph;
    for (uint32_t i = 0; i < gradients->input_count + gradients->param_count; i++) {
        bool input = i < gradients->input_count;
        uint32_t at = input ? i : i - gradients->input_count;
        const DLTensor *tensor = input ? &gradients->inputs[at] : &gradients->params[at];
        const struct node *node =
            graph_node(graph, input ? graph->inputs.items[at] : graph->params.items[at]);
        struct strbuf name;
        if (!tensor->data)
            continue;
        strbuf_init(&name, cli->arena);
        strbuf_printf(&name, "%s%s", PACKAGE_GRAD, node->attrs->name);
        add_result(cli, call, name.data, node->dtype, tensor);
    }
}

/* Asked before files are read. */
static bool can_train(const struct request *request, const struct call *call, struct error *err)
{
    return !request->backward || urza_has_backward(call->bundle.module) ||
           fail(err, ERR_UNSUPPORTED,
                "the package has no backward pass: compile it with --backward");
}

static bool train_module(struct cli *cli, const struct request *request, struct call *call,
                         struct error *err)
{
    const struct graph *graph = &call->bundle.graph;
    urza_module *module = call->bundle.module;
    urza_gradients gradients = {.cotangents = call->cotangents,
                                .cotangent_count = graph->outputs.count};
    urza_tape *tape = NULL;
    urza_error problem = {.code = 0};
    if (!make_outputs(cli, request, call, err) || !make_gradients(cli, call, &gradients, err))
        return false;
    bool ok = urza_forward_train(module, call->inputs, graph->inputs.count, NULL, 0, call->outputs,
                                 graph->outputs.count, &tape, &problem) == 0 &&
              urza_backward(tape, &gradients, &problem) == 0;
    urza_tape_release(tape);
    if (!ok)
        return bundle_fail(&problem, err);
    note_fallback(call);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        add_result(cli, call, graph->outputs.items[i].name, output_dtype(graph, i),
                   &call->outputs[i]);
    add_gradients(cli, call, &gradients);
    return true;
}

static const void *tensor_data(const DLTensor *tensor)
{
    return (const char *)tensor->data + tensor->byte_offset;
}

#define FILE_NAME_BYTES 200 /* the most of a file system, without what is added to a name */

/* folder/NAME.npy. Characters that could leave the folder or hide the file are written as %XX, so
 * different names give different files. A name that is too long for a file ends in its hash, after
 * a character that no shorter name has. */
static const char *output_path(struct cli *cli, const char *folder, const char *name)
{
    struct strbuf path;
    strbuf_init(&path, cli->arena);
    strbuf_printf(&path, "%s/", folder);
    size_t start = path.size_bytes;
    for (const char *at = name; *at != '\0'; at++) {
        if (path.size_bytes - start >= FILE_NAME_BYTES) {
            strbuf_printf(&path, "%%h%016llx", (unsigned long long)hash64(name, strlen(name), 0));
            break;
        }
        unsigned char c = (unsigned char)*at;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '_' || c == '-' || (c == '.' && at != name);
        strbuf_printf(&path, plain ? "%c" : "%%%02X", c);
    }
    strbuf_puts(&path, ".npy");
    return path.data;
}

static bool write_results(struct cli *cli, const char *folder, struct call *call, struct error *err)
{
    if (!file_make_dirs(folder, 0777, err))
        return false;
    for (uint32_t i = 0; i < call->results.count; i++) {
        struct shown_result *result = &call->results.items[i];
        const DLTensor *tensor = &result->tensor;
        struct npy npy;
        struct strbuf file;
        strbuf_init(&file, cli->arena);
        if (!npy_init(&npy, dtype_npy(result->dtype), (uint32_t)tensor->ndim, tensor->shape,
                      tensor_data(tensor), err))
            return fail_at(err, "output '%s'", result->name);
        npy_format(&npy, &file);
        result->path = output_path(cli, folder, result->name);
        if (!file_write_atomic(result->path, file.data, file.size_bytes, 0644, err))
            return false;
    }
    return true;
}

static json_t *describe(const struct call *call)
{
    json_t *object = json_object(), *outputs = json_array();
    for (uint32_t i = 0; i < call->results.count; i++) {
        const struct shown_result *result = &call->results.items[i];
        json_t *item = json_object(), *shape = json_array();
        for (int32_t axis = 0; axis < result->tensor.ndim; axis++)
            json_array_append_new(shape, json_integer(result->tensor.shape[axis]));
        json_object_set_new(item, "name", report_text(result->name));
        json_object_set_new(item, "dtype", json_string(dtype_name(result->dtype)));
        json_object_set_new(item, "shape", shape);
        json_object_set_new(item, "path", result->path ? report_text(result->path) : json_null());
        json_array_append_new(outputs, item);
    }
    json_object_set_new(object, "outputs", outputs);
    json_object_set_new(object, "fallback",
                        call->fallback[0] ? report_text(call->fallback) : json_null());
    return object;
}

/* Prints "y  f32[8, 10]  results/y.npy", or the first values if no file was requested. */
static bool print_result(struct cli *cli, const struct shown_result *result, struct error *err)
{
    const DLTensor *tensor = &result->tensor;
    int64_t count = 1, shown;
    report_lines(stdout, "%s  %s[", report_word(cli, result->name), dtype_name(result->dtype));
    for (int32_t axis = 0; axis < tensor->ndim; axis++) {
        report_lines(stdout, "%s%lld", axis > 0 ? ", " : "", (long long)tensor->shape[axis]);
        count *= tensor->shape[axis];
    }
    report_lines(stdout, "] ");
    if (result->path) {
        report_lines(stdout, " %s\n", result->path);
        return true;
    }
    struct interp_tensor values;
    shown = count < SHOWN_VALUES ? count : SHOWN_VALUES;
    if (!interp_load(&values, cli->arena,
                     &(struct native_tensor){result->dtype, 1, &shown, tensor_data(tensor)}, err))
        return false;
    for (int64_t i = 0; i < shown; i++) {
        if (dtype_is_float(result->dtype))
            report_lines(stdout, " %.6g", values.cells[i].f);
        else
            report_lines(stdout, " %lld", (long long)values.cells[i].i);
    }
    puts(shown < count ? " ..." : "");
    return true;
}

static bool report(struct cli *cli, const struct call *call, struct error *err)
{
    if (cli->json) {
        report_json(describe(call));
        return true;
    }
    if (call->fallback[0])
        report_warning(cli, "interpreted: %s", call->fallback);
    for (uint32_t i = 0; i < call->results.count; i++)
        if (!print_result(cli, &call->results.items[i], err))
            return false;
    return true;
}

bool cmd_run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request;
    struct call call = {.hold = NULL};
    if (!parse_request(cli, argc, argv, &request, err) ||
        !bundle_open(cli, &request.open, &call.bundle, err))
        return false;
    uint32_t inputs = call.bundle.graph.inputs.count, outputs = call.bundle.graph.outputs.count;
    call.given = ARENA_ARRAY(cli->arena, const struct npy *, inputs);
    call.inputs = ARENA_ARRAY(cli->arena, DLTensor, inputs);
    call.outputs = ARENA_ARRAY(cli->arena, DLTensor, outputs);
    call.cotangents = ARENA_ARRAY(cli->arena, DLTensor, outputs + 1);
    call.given_cotangents = ARENA_ARRAY(cli->arena, const struct npy *, outputs + 1);
    progress_begin(cli, "running");
    bool ok = can_train(&request, &call, err) && fill_inputs(cli, &request, &call, err) &&
              (request.backward ? train_module(cli, &request, &call, err)
                                : call_module(cli, &call, err)) &&
              (!request.out || write_results(cli, request.out, &call, err));
    progress_end(cli);
    ok = ok && report(cli, &call, err);
    urza_result_release(call.hold);
    bundle_release(&call.bundle);
    return ok;
}
