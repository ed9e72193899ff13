/* urza.Module: a loaded package. Immutable but for what call.c and tensor.c keep in it, so that any
 * number of threads may use one. */
#include "extension.h"

#include <string.h>
#include <structmember.h>

/* What attributes show. */

/* The sizes of dims: numbers, and text for those that depend on named dims. */
static PyObject *shape_of(const urza_tensor_info *info)
{
    PyObject *shape = PyTuple_New(info->rank);
    for (int32_t i = 0; shape && i < info->rank; i++) {
        PyObject *size = info->shape[i] >= 0 ? PyLong_FromLongLong(info->shape[i])
                                             : PyUnicode_FromString(info->dim_text[i]);
        if (!size || PyTuple_SetItem(shape, i, size) != 0)
            Py_CLEAR(shape);
    }
    return shape;
}

/* Fills a struct sequence; takes the values over. NULL when one of them is NULL. */
static PyObject *sequence_of(PyTypeObject *type, PyObject **values, Py_ssize_t count)
{
    PyObject *sequence = PyStructSequence_New(type);
    bool ok = sequence != NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        ok = ok && values[i];
        if (sequence && values[i])
            PyStructSequence_SetItem(sequence, i, values[i]);
        else
            Py_XDECREF(values[i]);
    }
    if (!ok)
        Py_CLEAR(sequence);
    return sequence;
}

typedef const urza_tensor_info *info_fn(const urza_module *module, uint32_t index);

static PyObject *infos_of(struct state *state, const urza_module *module, info_fn *info,
                          uint32_t count)
{
    PyObject *all = PyTuple_New(count);
    for (uint32_t i = 0; all && i < count; i++) {
        const urza_tensor_info *one = info(module, i);
        PyObject *values[3] = {PyUnicode_FromString(one->name),
                               PyUnicode_FromString(array_dtype(one->dtype)), shape_of(one)};
        PyObject *shown = sequence_of(state->tensor_info, values, 3);
        if (!shown || PyTuple_SetItem(all, i, shown) != 0)
            Py_CLEAR(all);
    }
    return all;
}

static PyObject *names_of(const urza_module *module)
{
    uint32_t count = urza_input_count(module);
    PyObject *names = PyTuple_New(count);
    for (uint32_t i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_InternFromString(urza_input_info(module, i)->name);
        if (!name || PyTuple_SetItem(names, i, name) != 0)
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *dims_of(struct state *state, const urza_module *module)
{
    PyObject *dims = PyDict_New();
    for (uint32_t i = 0; dims && i < urza_dim_count(module); i++) {
        const urza_dim_info *dim = urza_dim(module, i);
        PyObject *values[4] = {PyLong_FromLongLong(dim->min), PyLong_FromLongLong(dim->max),
                               PyLong_FromLongLong(dim->multiple_of),
                               dim->typical > 0 ? PyLong_FromLongLong(dim->typical)
                                                : Py_NewRef(Py_None)};
        PyObject *shown = sequence_of(state->dim_info, values, 4);
        if (!shown || PyDict_SetItemString(dims, dim->name, shown) != 0)
            Py_CLEAR(dims);
        Py_XDECREF(shown);
    }
    PyObject *proxy = dims ? PyDictProxy_New(dims) : NULL;
    Py_XDECREF(dims);
    return proxy;
}

/* Loading. */

static PyObject *module_new(struct state *state, urza_module *loaded, PyObject *options)
{
    struct module_object *module = PyObject_New(struct module_object, state->module_type);
    if (!module) {
        urza_unload(loaded);
        return NULL;
    }
    memset((char *)module + sizeof(PyObject), 0, sizeof *module - sizeof(PyObject));
    module->vectorcall = module_call;
    module->module = loaded;
    module->options = Py_NewRef(options);
    module->input_names = names_of(loaded);
    module->inputs = infos_of(state, loaded, urza_input_info, urza_input_count(loaded));
    module->outputs = infos_of(state, loaded, urza_output_info, urza_output_count(loaded));
    module->params = infos_of(state, loaded, urza_param_info, urza_param_count(loaded));
    module->dims = dims_of(state, loaded);
    if (!module->input_names || !module->inputs || !module->outputs || !module->params ||
        !module->dims) {
        Py_DECREF((PyObject *)module);
        return NULL;
    }
    return (PyObject *)module;
}

struct source {
    const char *path; /* NULL: bytes */
    const void *bytes;
    Py_ssize_t size;
};

static PyObject *load(PyObject *extension, const struct source *source,
                      const urza_load_options *options, PyObject *kept)
{
    struct state *state = PyModule_GetState(extension);
    urza_module *loaded;
    urza_error err;
    int code;
    Py_BEGIN_ALLOW_THREADS;
    code = source->path
               ? urza_load(source->path, options, &loaded, &err)
               : urza_load_memory(source->bytes, (size_t)source->size, options, &loaded, &err);
    Py_END_ALLOW_THREADS;
    if (code == 0)
        return module_new(state, loaded, kept);
    raise_error(state, &err);
    return NULL;
}

/* load(path, bytes, (threads, home, keys, allow_unsigned, target), kept): path and bytes are bytes
 * objects or None, one of them; home bytes, target a string, both may be None; keys: a bytes
 * object, 32 for each key. Private: urza.load has the manners. */
PyObject *module_load(PyObject *extension, PyObject *const *args, Py_ssize_t count)
{
    urza_load_options options = {.threads = 1};
    struct source source = {0};
    const char *keys;
    PyObject *home;
    Py_ssize_t key_bytes;
    Py_buffer view = {0};
    int unsigned_too;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "load takes 4 arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args[2], "IOy#pz", &options.threads, &home, &keys, &key_bytes,
                          &unsigned_too, &options.target) ||
        (home != Py_None && !(options.home = PyBytes_AsString(home))))
        return NULL;
    options.trust = unsigned_too ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE;
    options.trusted_keys = (const uint8_t(*)[32])keys;
    options.trusted_key_count = (uint32_t)(key_bytes / 32);
    if (args[0] != Py_None) {
        char *path;
        if (PyBytes_AsStringAndSize(args[0], &path, NULL) != 0) /* no zero byte is in it */
            return NULL;
        source.path = path;
        return load(extension, &source, &options, args[3]);
    }
    if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) != 0)
        return NULL;
    source.bytes = view.buf;
    source.size = view.len;
    PyObject *module = load(extension, &source, &options, args[3]);
    PyBuffer_Release(&view);
    return module;
}

static void module_dealloc(PyObject *self)
{
    struct module_object *module = (struct module_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (module->weak_references)
        PyObject_ClearWeakRefs(self);
    if (atomic_load(&module->is_target))
        ffi_forget(module->module);
    urza_unload(module->module);
    Py_XDECREF(module->input_names);
    Py_XDECREF(module->inputs);
    Py_XDECREF(module->outputs);
    Py_XDECREF(module->params);
    Py_XDECREF(module->dims);
    Py_XDECREF(module->options);
    Py_XDECREF(atomic_load(&module->numpy_dtypes));
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

/* Attributes. */

static PyObject *get_kernel_id(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(urza_kernel_id(((struct module_object *)self)->module));
}

static PyObject *get_target(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(urza_target(((struct module_object *)self)->module));
}

static PyObject *get_stats(PyObject *self, PyObject *unused)
{
    (void)unused;
    urza_stats s;
    urza_stats_get(((struct module_object *)self)->module, &s);
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKss}", "calls", (unsigned long long)s.calls, "native_calls",
        (unsigned long long)s.native_calls, "fallback_calls", (unsigned long long)s.fallback_calls,
        "launches", (unsigned long long)s.launches, "shape_misses",
        (unsigned long long)s.shape_misses, "copied_inputs", (unsigned long long)s.copied_inputs,
        "arena_bytes", (unsigned long long)s.arena_bytes, "intermediate_bytes",
        (unsigned long long)s.intermediate_bytes, "last_fallback", s.last_fallback);
}

/* copy.copy and copy.deepcopy: a module does not change, so it is its own copy. */
static PyObject *module_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self);
}

static PyObject *module_repr(PyObject *self)
{
    struct module_object *module = (struct module_object *)self;
    return PyUnicode_FromFormat("<urza.Module %s, %s: %zd inputs, %zd outputs, %zd parameters>",
                                urza_kernel_id(module->module), urza_target(module->module),
                                PyTuple_Size(module->inputs), PyTuple_Size(module->outputs),
                                PyTuple_Size(module->params));
}

/* A copy of a parameter's initial values, in rows. */
static PyObject *module_param_bytes(PyObject *self, PyObject *index)
{
    const urza_module *module = ((struct module_object *)self)->module;
    unsigned long i = PyLong_AsUnsignedLong(index);
    if (PyErr_Occurred())
        return NULL;
    if (i >= urza_param_count(module)) {
        PyErr_Format(PyExc_IndexError, "there is no parameter %lu", i);
        return NULL;
    }
    const urza_tensor_info *info = urza_param_info(module, (uint32_t)i);
    Py_ssize_t bytes = info->dtype.bits / 8;
    for (int32_t k = 0; k < info->rank; k++) /* the package's memory is no larger */
        bytes *= (Py_ssize_t)info->shape[k];
    return PyBytes_FromStringAndSize(urza_param_data(module, (uint32_t)i), bytes);
}

static PyObject *module_has_backward(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(urza_has_backward(((struct module_object *)self)->module));
}

static PyObject *module_has_gradient(PyObject *self, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    return text ? PyBool_FromLong(urza_has_gradient(((struct module_object *)self)->module, text))
                : NULL;
}

static PyMethodDef module_methods[] = {
    {"stats", get_stats, METH_NOARGS,
     "stats()\n--\n\nA dictionary of counts: calls, native_calls, fallback_calls, launches, …"},
    {"forward_train", (PyCFunction)(void (*)(void))module_forward_train,
     METH_FASTCALL | METH_KEYWORDS,
     "forward_train(*arrays, params=None)\n--\n\n"
     "The first part of a training step: (outputs, tape), of a package with a backward pass. "
     "params: all parameters, a dictionary by names or a list in the order of module.params; None: "
     "the package's own."},
    {"_param_bytes", module_param_bytes, METH_O, NULL},
    {"_has_backward", module_has_backward, METH_NOARGS, NULL},
    {"_has_gradient", module_has_gradient, METH_O, NULL},
    {"_ffi_register", ffi_register, METH_NOARGS, NULL},
    {"_output_shapes", ffi_output_shapes, METH_O, NULL},
    {"__copy__", module_copy, METH_NOARGS, NULL},
    {"__deepcopy__", module_copy, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef module_attributes[] = {
    {"kernel_id", get_kernel_id, NULL, "What the package is: 'kernel-' and 64 digits.", NULL},
    {"target", get_target, NULL, "Whose code runs: 'x86-64-v4', …, or 'interpreter'.", NULL},
    {"graft", graft_shown, NULL,
     "Of a graft: {'blend', 'last': its last layer's names, 'chunks'}; None: it is none.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define SHOWN(name, doc) {#name, T_OBJECT_EX, offsetof(struct module_object, name), READONLY, doc}
static PyMemberDef module_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct module_object, vectorcall), READONLY,
     NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct module_object, weak_references), READONLY,
     NULL},
    SHOWN(inputs, "A TensorInfo (name, dtype, shape) for each input, in the order of arguments."),
    SHOWN(outputs, "A TensorInfo for each output."),
    SHOWN(params, "A TensorInfo for each parameter."),
    SHOWN(dims, "A DimInfo (min, max, multiple_of, typical) for each named dim."),
    {"_options", T_OBJECT_EX, offsetof(struct module_object, options), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* Calls without vectorcall: by PyObject_Call with a tuple and a dictionary. */
static PyObject *module_call_tuple(PyObject *self, PyObject *args, PyObject *words)
{
    Py_ssize_t count = PyTuple_Size(args), word_count = words ? PyDict_Size(words) : 0, at = 0;
    PyObject **all = PyMem_Calloc((size_t)(count + word_count) + 1, sizeof *all);
    PyObject *names = all ? PyTuple_New(word_count) : PyErr_NoMemory(), *result = NULL, *key;
    for (Py_ssize_t i = 0; all && i < count; i++)
        all[i] = PyTuple_GetItem(args, i);
    for (Py_ssize_t i = 0; names && words && PyDict_Next(words, &at, &key, &all[count + i]); i++)
        PyTuple_SetItem(names, i, Py_NewRef(key));
    if (names)
        result = module_call(self, all, (size_t)count, word_count > 0 ? names : NULL);
    Py_XDECREF(names);
    PyMem_Free(all);
    return result;
}

static PyType_Slot module_slots[] = {
    {Py_tp_doc, "A loaded package. module(*arrays, out=None) runs it: arrays are those of NumPy, "
                "PyTorch, JAX and whatever else has DLPack or the buffer protocol, in the order of "
                "module.inputs or by name; nothing is copied. One output comes as an array, "
                "several as a tuple, of the kind of the first input; out: write them there."},
    {Py_tp_dealloc, module_dealloc},
    {Py_tp_call, module_call_tuple},
    {Py_tp_repr, module_repr},
    {Py_tp_methods, module_methods},
    {Py_tp_getset, module_attributes},
    {Py_tp_members, module_members},
    {0, NULL},
};

PyType_Spec module_spec = {
    .name = "urza.Module",
    .basicsize = sizeof(struct module_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             TYPE_HAS_VECTORCALL,
    .slots = module_slots,
};
