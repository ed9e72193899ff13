/* Training in two parts: forward_train gives outputs and a urza.Tape, whose backward gives
 * gradients.
 *
 * What a tape reads stays where it is until it was used: the tape holds the arrays of inputs and
 * parameters, and the memory of outputs, which the first part writes and the second reads. */
#include "extension.h"

#include <string.h>
#include <structmember.h>

#define ALIGN ((size_t)64)

struct tape_object {
    PyObject ob_base;
    PyObject *weak_references;
    struct module_object *module; /* referenced */
    urza_tape *tape;              /* NULL: it was used */
    struct held *held;            /* of outputs */
    atomic_bool busy;             /* a thread is in backward */
    struct call call;             /* inputs, then parameters if they were given */
    uint32_t param_count;         /* of those that were given */
};

/* Lets go of everything but the module. */
static void tape_end(struct tape_object *tape)
{
    urza_tape_release(tape->tape);
    tape->tape = NULL;
    call_end(&tape->call);
    held_unref(tape->held);
    tape->held = NULL;
}

static void tape_dealloc(PyObject *self)
{
    struct tape_object *tape = (struct tape_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (tape->weak_references)
        PyObject_ClearWeakRefs(self);
    tape_end(tape);
    PyMem_Free(tape->call.arrays);
    PyMem_Free(tape->call.tensors);
    PyMem_Free(tape->call.leases);
    Py_XDECREF((PyObject *)tape->module);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static struct tape_object *tape_new(struct state *state, struct module_object *module)
{
    struct tape_object *tape = PyObject_New(struct tape_object, state->tape_type);
    if (!tape)
        return NULL;
    memset((char *)tape + sizeof(PyObject), 0, sizeof *tape - sizeof(PyObject));
    tape->module = (struct module_object *)Py_NewRef((PyObject *)module);
    struct call *call = &tape->call;
    *call = (struct call){.state = state,
                          .module = module,
                          .input_count = urza_input_count(module->module),
                          .output_count = urza_output_count(module->module)};
    size_t count = (size_t)call->input_count + urza_param_count(module->module) + 1;
    call->arrays = PyMem_Calloc(count, sizeof *call->arrays);
    call->tensors = PyMem_Calloc(count, sizeof *call->tensors);
    call->leases = PyMem_Calloc(count, sizeof *call->leases);
    if (call->arrays && call->tensors && call->leases)
        return tape;
    PyErr_NoMemory();
    Py_DECREF((PyObject *)tape);
    return NULL;
}

/* Memory. */

static bool add_bytes(const DLTensor *tensor, size_t *total)
{
    size_t bytes = tensor->dtype.bits / 8;
    for (int32_t i = 0; i < tensor->ndim; i++)
        if (__builtin_mul_overflow(bytes, (size_t)tensor->shape[i], &bytes))
            return false;
    return !__builtin_add_overflow(bytes, ALIGN - 1, &bytes) &&
           !__builtin_add_overflow(bytes / ALIGN * ALIGN, *total, total);
}

/* Gives tensors memory, one behind the other. NULL with an exception. */
static struct held *memory_for(DLTensor *tensors, uint32_t count)
{
    size_t total = 0, at = 0;
    char *memory;
    for (uint32_t i = 0; i < count; i++)
        if (!add_bytes(&tensors[i], &total))
            return (struct held *)PyErr_NoMemory();
    struct held *held = held_of_bytes(total, &memory);
    for (uint32_t i = 0; held && i < count; i++) {
        tensors[i].data = memory + at;
        add_bytes(&tensors[i], &at);
    }
    return held;
}

static DLTensor dense(const urza_tensor_info *info, const int64_t *shape)
{
    return (DLTensor){.device = {.device_type = kDLCPU},
                      .ndim = info->rank,
                      .dtype = info->dtype,
                      .shape = (int64_t *)(uintptr_t)shape};
}

static const struct kind *kind_of(const struct tape_object *tape)
{
    static const struct kind own = {.result = RESULT_OWN};
    return tape->call.kind ? tape->call.kind : &own;
}

/* Forward. */

/* params: a mapping with all names, or a sequence in the order of module.params. */
static bool take_params(struct tape_object *tape, PyObject *params)
{
    uint32_t count = urza_param_count(tape->module->module);
    bool list = PyTuple_Check(params) || PyList_Check(params);
    if (params == Py_None)
        return true;
    if (list && PySequence_Size(params) != (Py_ssize_t)count) {
        PyErr_Format(PyExc_TypeError, "params has %zd arrays, the module has %u parameters",
                     PySequence_Size(params), count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct role role = {"parameter", urza_param_info(tape->module->module, i)->name, false,
                            true};
        PyObject *array =
            list ? PySequence_GetItem(params, i) : PyMapping_GetItemString(params, role.name);
        bool ok = array && call_take(&tape->call, array, &role, NULL);
        Py_XDECREF(array);
        if (!ok)
            return false;
    }
    tape->param_count = count;
    return true;
}

static bool run_forward(struct tape_object *tape, DLTensor *outputs, int64_t (*shapes)[RANK_MOST])
{
    struct call *call = &tape->call;
    urza_module *module = tape->module->module;
    const DLTensor *params = tape->param_count > 0 ? call->tensors + call->input_count : NULL;
    urza_error err;
    int code = urza_output_shapes(module, call->tensors, call->input_count, shapes, &err);
    if (code == 0) {
        for (uint32_t i = 0; i < call->output_count; i++)
            outputs[i] = dense(urza_output_info(module, i), shapes[i]);
        tape->held = memory_for(outputs, call->output_count);
        if (!tape->held)
            return false;
        Py_BEGIN_ALLOW_THREADS;
        code =
            urza_forward_train(module, call->tensors, call->input_count, params, tape->param_count,
                               outputs, call->output_count, &tape->tape, &err);
        Py_END_ALLOW_THREADS;
    }
    if (code != 0)
        raise_error(call->state, &err);
    return code == 0;
}

static PyObject *forward(struct tape_object *tape)
{
    struct call *call = &tape->call;
    uint32_t count = call->output_count;
    PyObject *results = NULL;
    DLTensor *outputs = PyMem_Calloc(count + 1, sizeof *outputs);
    int64_t(*shapes)[RANK_MOST] = PyMem_Calloc(count + 1, sizeof *shapes);
    _Atomic(PyObject *) *dtypes = &tape->module->numpy_dtypes;
    if (!outputs || !shapes)
        PyErr_NoMemory();
    else if (run_forward(tape, outputs, shapes))
        results = count == 1
                      ? result_as(call->state, kind_of(tape), held_ref(tape->held), outputs, dtypes)
                      : results_as(call->state, kind_of(tape), held_ref(tape->held), outputs, count,
                                   dtypes);
    PyMem_Free(outputs);
    PyMem_Free(shapes);
    return results;
}

PyObject *module_forward_train(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *words)
{
    struct state *state = state_of_type(Py_TYPE(self));
    struct tape_object *tape = tape_new(state, (struct module_object *)self);
    PyObject *params, *outputs = NULL, *pair = NULL;
    if (tape && call_bind(&tape->call, args, (size_t)count, words, state->name_params, &params) &&
        call_take_inputs(&tape->call, true) && take_params(tape, params))
        outputs = forward(tape);
    if (outputs)
        pair = PyTuple_Pack(2, outputs, (PyObject *)tape);
    Py_XDECREF(outputs);
    Py_XDECREF((PyObject *)tape);
    return pair;
}

/* Backward. */

struct pass {
    struct tape_object *tape;
    struct call given;    /* cotangents */
    DLTensor *gradients;  /* by inputs, then by parameters; without a shape: not wanted */
    DLTensor *wanted;     /* those that are, one behind the other */
    const char **names;   /* of wanted */
    uint32_t count, most; /* of wanted; of gradients */
};

static const urza_tensor_info *info_of(const struct pass *pass, uint32_t index)
{
    const struct call *call = &pass->tape->call;
    return index < call->input_count
               ? urza_input_info(call->module->module, index)
               : urza_param_info(call->module->module, index - call->input_count);
}

static void want(struct pass *pass, uint32_t index)
{
    const struct call *call = &pass->tape->call;
    const urza_tensor_info *info = info_of(pass, index);
    bool given = index < call->input_count || pass->tape->param_count > 0;
    static const int64_t none[1];
    const int64_t *shape = given ? call->tensors[index].shape : info->shape;
    pass->gradients[index] = dense(info, info->rank > 0 ? shape : none);
}

static bool want_named(struct pass *pass, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (!text)
        return false;
    for (uint32_t i = 0; i < pass->most; i++)
        if (strcmp(info_of(pass, i)->name, text) == 0 &&
            urza_has_gradient(pass->tape->module->module, text)) {
            want(pass, i);
            return true;
        }
    raise_named(pass->tape->call.state, "UsageError", text, "the package has no gradient by it");
    return false;
}

/* wrt None: all that there are. */
static bool choose(struct pass *pass, PyObject *wrt)
{
    for (uint32_t i = 0; wrt == Py_None && i < pass->most; i++)
        if (urza_has_gradient(pass->tape->module->module, info_of(pass, i)->name))
            want(pass, i);
    if (wrt != Py_None) {
        if (PyUnicode_Check(wrt)) {
            PyErr_SetString(PyExc_TypeError, "wrt is a list of names");
            return false;
        }
        PyObject *names = PySequence_Tuple(wrt);
        bool ok = names != NULL;
        for (Py_ssize_t i = 0; ok && i < PyTuple_Size(names); i++)
            ok = want_named(pass, PyTuple_GetItem(names, i));
        Py_XDECREF(names);
        if (!ok)
            return false;
    }
    for (uint32_t i = 0; i < pass->most; i++)
        if (pass->gradients[i].shape) {
            pass->names[pass->count] = info_of(pass, i)->name;
            pass->wanted[pass->count++] = pass->gradients[i];
        }
    return true;
}

static bool take_cotangents(struct pass *pass, PyObject *const *args, Py_ssize_t count)
{
    struct call *given = &pass->given;
    if (count != (Py_ssize_t)pass->tape->call.output_count) {
        PyErr_Format(PyExc_TypeError, "%zd cotangents are given, the module has %u outputs", count,
                     pass->tape->call.output_count);
        return false;
    }
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        struct role role = {"cotangent", urza_output_info(given->module->module, i)->name, false,
                            false};
        if (args[i] == Py_None) /* zeros: no memory, no lease */
            given->leased++;
        else if (!call_take(given, args[i], &role, NULL))
            return false;
    }
    return true;
}

static PyObject *run_backward(struct pass *pass, bool keep)
{
    struct call *call = &pass->tape->call;
    PyObject *arrays, *named;
    urza_error err;
    int code;
    struct held *held = memory_for(pass->wanted, pass->count);
    if (!held)
        return NULL;
    for (uint32_t i = 0, at = 0; i < pass->most; i++)
        if (pass->gradients[i].shape)
            pass->gradients[i].data = pass->wanted[at++].data;
    const urza_gradients gradients = {.cotangents = pass->given.tensors,
                                      .cotangent_count = call->output_count,
                                      .inputs = pass->gradients,
                                      .input_count = call->input_count,
                                      .params = pass->gradients + call->input_count,
                                      .param_count = pass->most - call->input_count,
                                      .flags = keep ? URZA_KEEP_TAPE : 0};
    Py_BEGIN_ALLOW_THREADS;
    code = urza_backward(pass->tape->tape, &gradients, &err);
    Py_END_ALLOW_THREADS;
    if (code != 0) {
        held_unref(held);
        raise_error(call->state, &err);
        return NULL;
    }
    arrays = results_as(call->state, kind_of(pass->tape), held, pass->wanted, pass->count, NULL);
    named = arrays ? PyDict_New() : NULL;
    for (uint32_t i = 0; named && i < pass->count; i++)
        if (PyDict_SetItemString(named, pass->names[i], PyTuple_GetItem(arrays, i)) != 0)
            Py_CLEAR(named);
    Py_XDECREF(arrays);
    return named;
}

static PyObject *backward(struct tape_object *tape, PyObject *const *args, Py_ssize_t count,
                          PyObject *wrt, bool keep)
{
    struct call *call = &tape->call;
    struct pass pass = {.tape = tape, .given = {.state = call->state, .module = call->module}};
    PyObject *named = NULL;
    pass.most = call->input_count + urza_param_count(call->module->module);
    pass.gradients = PyMem_Calloc((size_t)pass.most + 1, sizeof *pass.gradients);
    pass.wanted = PyMem_Calloc((size_t)pass.most + 1, sizeof *pass.wanted);
    pass.names = PyMem_Calloc((size_t)pass.most + 1, sizeof *pass.names);
    pass.given.tensors = PyMem_Calloc((size_t)call->output_count + 1, sizeof(DLTensor));
    pass.given.leases = PyMem_Calloc((size_t)call->output_count + 1, sizeof(struct lease));
    if (!pass.gradients || !pass.wanted || !pass.names || !pass.given.tensors || !pass.given.leases)
        PyErr_NoMemory();
    else if (take_cotangents(&pass, args, count) && choose(&pass, wrt)) {
        named = run_backward(&pass, keep);
        if (!keep)
            tape_end(tape);
    }
    call_end(&pass.given);
    PyMem_Free(pass.gradients);
    PyMem_Free(pass.wanted);
    PyMem_Free(pass.names);
    PyMem_Free(pass.given.tensors);
    PyMem_Free(pass.given.leases);
    return named;
}

/* Keywords wrt and keep. */
static bool read_words(PyObject *const *values, PyObject *words, PyObject **out_wrt, int *out_keep)
{
    *out_wrt = Py_None;
    *out_keep = 0;
    for (Py_ssize_t i = 0; words && i < PyTuple_Size(words); i++) {
        PyObject *word = PyTuple_GetItem(words, i);
        if (PyUnicode_CompareWithASCIIString(word, "wrt") == 0) {
            *out_wrt = values[i];
        } else if (PyUnicode_CompareWithASCIIString(word, "keep") == 0) {
            *out_keep = PyObject_IsTrue(values[i]);
        } else {
            PyErr_Format(PyExc_TypeError, "backward has no keyword '%U'; it has wrt and keep",
                         word);
            return false;
        }
    }
    return *out_keep >= 0;
}

static PyObject *tape_backward(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *words)
{
    struct tape_object *tape = (struct tape_object *)self;
    PyObject *wrt, *named = NULL;
    int keep;
    if (!read_words(args + count, words, &wrt, &keep))
        return NULL;
    if (atomic_exchange(&tape->busy, true)) {
        raise_named(tape->call.state, "ConflictError", NULL, "another thread uses the tape");
        return NULL;
    }
    if (tape->tape)
        named = backward(tape, args, count, wrt, keep != 0);
    else
        raise_named(tape->call.state, "UsageError", NULL,
                    "the tape was used: backward(…, keep=True) keeps it for another pass");
    atomic_store(&tape->busy, false);
    return named;
}

static PyMethodDef tape_methods[] = {
    {"backward", (PyCFunction)(void (*)(void))tape_backward, METH_FASTCALL | METH_KEYWORDS,
     "backward(*cotangents, wrt=None, keep=False)\n--\n\n"
     "The gradients of a loss, a dictionary by names of inputs and parameters. cotangents: the "
     "loss's gradients by each output; None: zeros. wrt: names of those that are wanted; None: all "
     "that the package has. keep: the tape may be used again."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef tape_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct tape_object, weak_references), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot tape_slots[] = {
    {Py_tp_doc, "What the gradients of one forward_train need. It holds the arrays of inputs and "
                "parameters, which must not change until it was used."},
    {Py_tp_dealloc, tape_dealloc},
    {Py_tp_methods, tape_methods},
    {Py_tp_members, tape_members},
    {0, NULL},
};

PyType_Spec tape_spec = {
    .name = "urza.Tape",
    .basicsize = sizeof(struct tape_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tape_slots,
};
