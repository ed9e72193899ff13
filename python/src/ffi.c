/* Modules as custom calls of XLA, for urza.jax.
 *
 * XLA gives a handler buffers and attributes and nothing else, so a call's attribute "kernel" names
 * its module, and a list that the process shares has the modules of which it may be one: those that
 * urza.jax used and that are alive. A handler finds its module there and has a reference of its own
 * while it runs. Each place in an executable that calls a module has a reference to its entry, so
 * the module is there as long as XLA may run the executable.
 *
 * 1. Handlers need no GIL and touch no Python object.
 * 2. The list's mutex is held for a look at it only, and around a fork.
 * 3. Tensors are XLA's buffers, and results are written where XLA wants them: nothing is copied.
 *
 * Operands are the inputs, then all parameters or none of them (the package's own then), then, of a
 * backward call, cotangents of those outputs that are floats. Backward calls have an attribute
 * "wanted", a digit 1 for each input and parameter whose gradient is a result; behind the gradients
 * the outputs are results, too: memory for the forward part, which is run again first. */
#include "extension.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xla.h"

#define SMALL 16 /* tensors of a call that allocates nothing */

/* Modules. */

struct target {
    struct target *next;
    urza_module *module; /* a reference */
    uint32_t references; /* of the Python object, and of places in executables */
    char name[128];      /* the value of the attribute */
};

/* The one list of the process: a handler is told nothing by which it could find another. */
static struct target *targets;
static pthread_mutex_t targets_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static atomic_int seen_major, seen_minor; /* of XLA, once it asked */
static int64_t state_id;                  /* of states that are targets; 0: XLA has no such type */

static void lock_targets(void)
{
    pthread_mutex_lock(&targets_mutex);
}

static void unlock_targets(void)
{
    pthread_mutex_unlock(&targets_mutex);
}

static void mind_forks(void)
{
    pthread_atfork(lock_targets, unlock_targets, unlock_targets);
}

static struct target *target_of(const urza_module *module)
{
    struct target *at = targets;
    while (at && at->module != module)
        at = at->next;
    return at;
}

static struct target *target_named(xla_span name)
{
    struct target *at = targets;
    while (at && (strlen(at->name) != name.length || memcmp(at->name, name.text, name.length) != 0))
        at = at->next;
    return at;
}

/* The last reference takes it out of the list. */
static void target_unref(void *context)
{
    struct target *target = context;
    lock_targets();
    bool last = --target->references == 0;
    if (last) {
        struct target **at = &targets;
        while (*at != target)
            at = &(*at)->next;
        *at = target->next;
    }
    unlock_targets();
    if (last) {
        urza_unload(target->module);
        free(target);
    }
}

void ffi_forget(const urza_module *module)
{
    lock_targets();
    struct target *target = target_of(module);
    unlock_targets();
    target_unref(target); /* the Python object's, so nobody else has taken the last one */
}

/* With a reference; NULL: it is not there. */
static urza_module *find_target(xla_span name)
{
    lock_targets();
    const struct target *target = target_named(name);
    urza_module *module = target ? urza_retain(target->module) : NULL;
    unlock_targets();
    return module;
}

/* The kernel's id and the first number that no other module of it has: programs get the same names
 * in each run, so that what JAX keeps of its compilations on a disk is found again, and a name that
 * another process kept is never of another kernel. */
static void target_add(struct target *target, urza_module *module)
{
    uint32_t number = 0;
    do
        snprintf(target->name, sizeof target->name, "%s/%u", urza_kernel_id(module), number++);
    while (target_named((xla_span){target->name, strlen(target->name)}));
    target->module = urza_retain(module);
    target->references = 1;
    target->next = targets;
    targets = target;
}

PyObject *ffi_register(PyObject *self, PyObject *unused)
{
    struct module_object *module = (struct module_object *)self;
    struct target *target = calloc(1, sizeof *target), *known;
    char name[sizeof target->name];
    (void)unused;
    if (!target)
        return PyErr_NoMemory();
    pthread_once(&fork_once, mind_forks);
    lock_targets();
    known = target_of(module->module);
    if (!known)
        target_add(target, module->module);
    memcpy(name, known ? known->name : target->name, sizeof name);
    unlock_targets();
    atomic_store(&module->is_target, true);
    if (known)
        free(target);
    return PyUnicode_FromString(name);
}

/* Errors. */

static xla_error *error_new(const xla_frame *frame, xla_code code, const char *message)
{
    xla_error_args args = {
        .struct_size = XLA_SIZE(xla_error_args, code), .message = message, .code = code};
    return frame->api->error_new(&args);
}

static xla_code code_of(const urza_error *err)
{
    static const struct {
        const char *name;
        xla_code code;
    } codes[] = {
        {"InvalidInputError", XLA_INVALID_ARGUMENT},
        {"UsageError", XLA_INVALID_ARGUMENT},
        {"OutOfMemoryError", XLA_RESOURCE_EXHAUSTED},
        {"LimitExceededError", XLA_RESOURCE_EXHAUSTED},
        {"UnsupportedError", XLA_UNIMPLEMENTED},
        {"CancelledError", XLA_CANCELLED},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(codes[i].name, urza_error_name(err->code)) == 0)
            return codes[i].code;
    return XLA_INTERNAL;
}

static xla_error *failed(const xla_frame *frame, const urza_error *err)
{
    char text[sizeof err->place + sizeof err->message + 64];
    snprintf(text, sizeof text, "urza.%s: %s%s%s", urza_error_name(err->code), err->place,
             err->place[0] ? ": " : "", err->message);
    return error_new(frame, code_of(err), text);
}

/* Buffers. */

static bool dtype_of(xla_dtype dtype, DLDataType *out)
{
    static const DLDataType dtypes[] = {
        [XLA_PRED] = {kDLBool, 8, 1},    [XLA_S8] = {kDLInt, 8, 1},
        [XLA_S16] = {kDLInt, 16, 1},     [XLA_S32] = {kDLInt, 32, 1},
        [XLA_S64] = {kDLInt, 64, 1},     [XLA_U8] = {kDLUInt, 8, 1},
        [XLA_U16] = {kDLUInt, 16, 1},    [XLA_U32] = {kDLUInt, 32, 1},
        [XLA_U64] = {kDLUInt, 64, 1},    [XLA_F16] = {kDLFloat, 16, 1},
        [XLA_F32] = {kDLFloat, 32, 1},   [XLA_F64] = {kDLFloat, 64, 1},
        [XLA_BF16] = {kDLBfloat, 16, 1},
    };
    if ((unsigned)dtype >= sizeof dtypes / sizeof dtypes[0] || dtypes[dtype].bits == 0)
        return false;
    *out = dtypes[dtype];
    return true;
}

/* Sees buffers as tensors; without elements they may have no memory, which the runtime would take
 * for a tensor that is not given. */
static bool see(const xla_buffers *buffers, DLTensor *tensors)
{
    static char nothing;
    for (int64_t i = 0; i < buffers->count; i++) {
        const xla_buffer *buffer = buffers->items[i];
        tensors[i] = (DLTensor){.data = buffer->data ? buffer->data : &nothing,
                                .device = {.device_type = kDLCPU},
                                .ndim = (int32_t)buffer->rank,
                                .shape = buffer->dims};
        if (buffers->types[i] != 1 || !dtype_of(buffer->dtype, &tensors[i].dtype))
            return false;
    }
    return true;
}

static xla_span attr(const xla_frame *frame, const char *name)
{
    const xla_attrs *attrs = &frame->attrs;
    for (int64_t i = 0; i < attrs->count; i++)
        if (attrs->types[i] == XLA_ATTR_STRING && attrs->names[i]->length == strlen(name) &&
            memcmp(attrs->names[i]->text, name, strlen(name)) == 0)
            return *(const xla_span *)attrs->values[i];
    return (xla_span){"", 0};
}

/* Calls. */

struct ffi_call {
    xla_frame *frame;
    urza_module *module;
    uint32_t inputs, outputs, params;
    DLTensor *tensors; /* operands, results, then room for so many more: */
    int64_t operands, results, more;
};

typedef xla_error *ffi_body(struct ffi_call *call);

static xla_error *misfit(const struct ffi_call *call)
{
    return error_new(call->frame, XLA_INTERNAL, "urza: the custom call does not fit its package");
}

static xla_error *not_loaded(const xla_frame *frame)
{
    char text[256];
    xla_span name = attr(frame, "kernel");
    snprintf(text, sizeof text, "urza.NotFoundError: '%.*s' is not loaded any more",
             (int)(name.length < 128 ? name.length : 128), name.text);
    return error_new(frame, XLA_FAILED_PRECONDITION, text);
}

/* What both kinds of calls begin and end with. */
static xla_error *run(xla_frame *frame, ffi_body *body, bool is_backward)
{
    DLTensor small[SMALL];
    xla_error *error;
    struct ffi_call call = {.frame = frame,
                            .module = find_target(attr(frame, "kernel")),
                            .tensors = small,
                            .operands = frame->args.count,
                            .results = frame->results.count};
    if (!call.module)
        return not_loaded(frame);
    call.inputs = urza_input_count(call.module);
    call.outputs = urza_output_count(call.module);
    call.params = urza_param_count(call.module);
    call.more = is_backward ? (int64_t)call.inputs + call.params + call.outputs : 0;
    size_t count = (size_t)(call.operands + call.results + call.more);
    if (count > SMALL)
        call.tensors = calloc(count, sizeof *call.tensors);
    if (!call.tensors)
        error = error_new(frame, XLA_RESOURCE_EXHAUSTED, "urza.OutOfMemoryError: no memory");
    else if (!see(&frame->args, call.tensors) ||
             !see(&frame->results, call.tensors + call.operands))
        error = misfit(&call);
    else
        error = body(&call);
    if (call.tensors != small)
        free(call.tensors);
    urza_unload(call.module);
    return error;
}

static xla_error *call_body(struct ffi_call *call)
{
    DLTensor *outputs = call->tensors + call->operands;
    urza_tape *tape = NULL;
    urza_error err;
    int code;
    if (call->results != call->outputs)
        return misfit(call);
    if (call->operands == call->inputs)
        code = urza_call(call->module, call->tensors, call->inputs, outputs, call->outputs, NULL,
                         &err);
    else if (call->operands == (int64_t)call->inputs + call->params)
        code = urza_forward_train(call->module, call->tensors, call->inputs,
                                  call->tensors + call->inputs, call->params, outputs,
                                  call->outputs, &tape, &err);
    else
        return misfit(call);
    urza_tape_release(tape);
    return code == 0 ? NULL : failed(call->frame, &err);
}

static bool is_float(DLDataType dtype)
{
    return dtype.code == kDLFloat || dtype.code == kDLBfloat;
}

/* Of a backward call: places what it got and what it gives; false: they do not fit. */
static bool arrange(struct ffi_call *call, xla_span wanted, DLTensor *gradients,
                    DLTensor *cotangents, uint32_t *out_params)
{
    uint32_t floats = 0;
    const DLTensor *result = call->tensors + call->operands;
    memset(gradients, 0, ((size_t)call->inputs + call->params) * sizeof *gradients);
    memset(cotangents, 0, call->outputs * sizeof *cotangents);
    for (uint32_t i = 0; i < call->outputs; i++)
        floats += is_float(urza_output_info(call->module, i)->dtype);
    int64_t given = call->operands - call->inputs - floats;
    if (given != 0 && given != (int64_t)call->params)
        return false;
    *out_params = (uint32_t)given;
    const DLTensor *cotangent = call->tensors + call->inputs + given;
    for (uint32_t i = 0; i < call->outputs; i++)
        if (is_float(urza_output_info(call->module, i)->dtype))
            cotangents[i] = *cotangent++;
    int64_t count = 0;
    if (wanted.length != (size_t)call->inputs + call->params)
        return false;
    for (size_t i = 0; i < wanted.length; i++)
        count += wanted.text[i] == '1';
    if (call->results != count + call->outputs)
        return false;
    for (size_t i = 0; i < wanted.length; i++)
        if (wanted.text[i] == '1')
            gradients[i] = *result++;
    return true;
}

static xla_error *backward_body(struct ffi_call *call)
{
    DLTensor *gradients = call->tensors + call->operands + call->results;
    DLTensor *cotangents = gradients + call->inputs + call->params;
    urza_tape *tape = NULL;
    urza_error err;
    uint32_t given;
    if (!arrange(call, attr(call->frame, "wanted"), gradients, cotangents, &given))
        return misfit(call);
    DLTensor *outputs = gradients - call->outputs;
    const urza_gradients all = {.cotangents = cotangents,
                                .cotangent_count = call->outputs,
                                .inputs = gradients,
                                .input_count = call->inputs,
                                .params = gradients + call->inputs,
                                .param_count = call->params};
    int code = urza_forward_train(call->module, call->tensors, call->inputs,
                                  given > 0 ? call->tensors + call->inputs : NULL, given, outputs,
                                  call->outputs, &tape, &err);
    if (code == 0)
        code = urza_backward(tape, &all, &err);
    urza_tape_release(tape);
    return code == 0 ? NULL : failed(call->frame, &err);
}

/* What XLA calls. */

/* Tells XLA of the type of states, once; an XLA that has no such states keeps none, and a module is
 * then there as long as JAX's executables, which have the Python object. */
static void register_type(const xla_api *api)
{
    static const xla_type type = {.struct_size = XLA_SIZE(xla_type, free), .free = target_unref};
    xla_type_args args = {.struct_size = XLA_SIZE(xla_type_args, type),
                          .name = {"urza_target", strlen("urza_target")},
                          .id = &state_id,
                          .type = &type};
    if (state_id == 0 && api->version.minor >= XLA_MINOR && api->type_register(&args) != NULL)
        state_id = 0;
}

/* Whether XLA only asked what the handler is, as it does when Python registers it. The older of
 * both versions is what both speak. */
static bool answer(const xla_frame *frame)
{
    const xla_extension *at = frame->extensions;
    while (at && at->type != XLA_EXTENSION_METADATA)
        at = at->next;
    if (!at)
        return false;
    int major = frame->api ? frame->api->version.major : XLA_MAJOR;
    int minor = frame->api ? frame->api->version.minor : 0;
    xla_metadata *metadata = ((const xla_metadata_extension *)at)->metadata;
    metadata->version = (xla_version){
        .struct_size = XLA_SIZE(xla_version, minor),
        .major = XLA_MAJOR,
        .minor = major == XLA_MAJOR && minor < XLA_MINOR ? minor : XLA_MINOR,
    };
    metadata->traits = 0;
    if (frame->api && major == XLA_MAJOR && minor >= XLA_MINOR) {
        register_type(frame->api);
        if (frame->stage == XLA_STAGE_INSTANTIATE)
            metadata->state_id = state_id;
    }
    atomic_store(&seen_minor, minor);
    atomic_store(&seen_major, major);
    return true;
}

/* A place in an executable, which has a reference from now on. */
static xla_error *handle_instantiate(xla_frame *frame)
{
    if (answer(frame) || state_id == 0)
        return NULL;
    lock_targets();
    struct target *target = target_named(attr(frame, "kernel"));
    if (target)
        target->references++;
    unlock_targets();
    if (!target)
        return not_loaded(frame);
    xla_state_args args = {.struct_size = XLA_SIZE(xla_state_args, state),
                           .context = frame->context,
                           .stage = XLA_STAGE_INSTANTIATE,
                           .id = &state_id,
                           .state = target};
    xla_error *error = frame->api->state_set(&args);
    if (error)
        target_unref(target);
    return error;
}

static xla_error *handle_call(xla_frame *frame)
{
    return answer(frame) ? NULL : run(frame, call_body, false);
}

static xla_error *handle_backward(xla_frame *frame)
{
    return answer(frame) ? NULL : run(frame, backward_body, true);
}

/* For Python. */

/* Dims of a tuple; −1 with an exception: what was given is no shape. */
static int32_t read_shape(PyObject *shape, int64_t *dims)
{
    Py_ssize_t rank = PyTuple_Check(shape) ? PyTuple_Size(shape) : -1;
    if (rank < 0 || rank > RANK_MOST) {
        PyErr_Format(PyExc_TypeError, "a shape is a tuple of at most %d sizes", RANK_MOST);
        return -1;
    }
    for (Py_ssize_t i = 0; i < rank; i++) {
        dims[i] = PyLong_AsLongLong(PyTuple_GetItem(shape, i));
        if (dims[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return (int32_t)rank;
}

/* Inputs of these shapes, without data. */
static bool read_inputs(struct module_object *module, PyObject *shapes, DLTensor *inputs,
                        int64_t (*dims)[RANK_MOST])
{
    uint32_t count = urza_input_count(module->module);
    for (uint32_t i = 0; i < count; i++) {
        const urza_tensor_info *info = urza_input_info(module->module, i);
        if (urza_input_decides(module->module, i)) {
            char place[128];
            snprintf(place, sizeof place, "input '%s'", info->name);
            raise_named(state_of_type(Py_TYPE((PyObject *)module)), "UnsupportedError", place,
                        "its elements decide sizes, which JAX must know before it runs anything");
            return false;
        }
        int32_t rank = read_shape(PyTuple_GetItem(shapes, i), dims[i]);
        if (rank < 0)
            return false;
        inputs[i] = (DLTensor){.device = {.device_type = kDLCPU},
                               .ndim = rank,
                               .dtype = info->dtype,
                               .shape = dims[i]};
    }
    return true;
}

static PyObject *shapes_shown(const urza_module *module, int64_t (*shapes)[RANK_MOST])
{
    uint32_t count = urza_output_count(module);
    PyObject *all = PyTuple_New(count);
    for (uint32_t i = 0; all && i < count; i++) {
        int32_t rank = urza_output_info(module, i)->rank;
        PyObject *shape = PyTuple_New(rank);
        for (int32_t k = 0; shape && k < rank; k++) {
            PyObject *size = PyLong_FromLongLong(shapes[i][k]);
            if (!size || PyTuple_SetItem(shape, k, size) != 0)
                Py_CLEAR(shape);
        }
        if (!shape || PyTuple_SetItem(all, i, shape) != 0)
            Py_CLEAR(all);
    }
    return all;
}

PyObject *ffi_output_shapes(PyObject *self, PyObject *shapes)
{
    struct module_object *module = (struct module_object *)self;
    uint32_t count = urza_input_count(module->module), outputs = urza_output_count(module->module);
    PyObject *shown = NULL;
    urza_error err;
    if (!PyTuple_Check(shapes) || PyTuple_Size(shapes) != (Py_ssize_t)count)
        return PyErr_Format(PyExc_TypeError, "a tuple of %u shapes is needed", count);
    DLTensor *inputs = PyMem_Calloc((size_t)count + 1, sizeof *inputs);
    int64_t(*dims)[RANK_MOST] = PyMem_Calloc((size_t)count + outputs + 1, sizeof *dims);
    if (!inputs || !dims)
        PyErr_NoMemory();
    else if (read_inputs(module, shapes, inputs, dims)) {
        if (urza_output_shapes(module->module, inputs, count, dims + count, &err) == 0)
            shown = shapes_shown(module->module, dims + count);
        else
            raise_error(state_of_type(Py_TYPE(self)), &err);
    }
    PyMem_Free(inputs);
    PyMem_Free(dims);
    return shown;
}

static PyObject *capsule_of(xla_handler *handler)
{
    union {
        xla_handler *function;
        void *pointer;
    } as = {handler};
    return PyCapsule_New(as.pointer, NULL, NULL);
}

PyObject *ffi_handlers(PyObject *extension, PyObject *unused)
{
    (void)extension, (void)unused;
    PyObject *first = capsule_of(handle_instantiate), *call = capsule_of(handle_call);
    PyObject *back = capsule_of(handle_backward), *all = NULL;
    if (first && call && back)
        all = PyTuple_Pack(3, first, call, back);
    Py_XDECREF(first);
    Py_XDECREF(call);
    Py_XDECREF(back);
    return all;
}

PyObject *ffi_version(PyObject *extension, PyObject *unused)
{
    (void)extension, (void)unused;
    return Py_BuildValue("(iii)", atomic_load(&seen_major), atomic_load(&seen_minor), XLA_MAJOR);
}
