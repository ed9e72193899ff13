/* Results. A call's results lie in one piece of the runtime's memory, which lives as long as
 * anything that points into it:
 *
 *   urza_result ◄── held ◄──┬── urza.Tensor ◄── NumPy's base, buffers
 *                           └── tensors handed to a library, by a capsule or its table
 *
 * Holders are counted without the GIL, as a library may free a tensor on any thread. */
#include "extension.h"

#include <stdlib.h>
#include <string.h>
#include <structmember.h>

struct held {
    atomic_uint references;
    urza_result *result; /* NULL: memory of its own follows, at the next multiple of MEMORY_ALIGN */
};

#define MEMORY_ALIGN 64

struct held *held_of_result(urza_result *result)
{
    struct held *held = malloc(sizeof *held);
    if (held) {
        atomic_init(&held->references, 1);
        held->result = result;
    } else {
        urza_result_release(result);
        PyErr_NoMemory();
    }
    return held;
}

struct held *held_of_bytes(size_t bytes, char **out_memory)
{
    size_t room = (bytes / MEMORY_ALIGN + 2) * MEMORY_ALIGN;
    struct held *held = room > bytes ? aligned_alloc(MEMORY_ALIGN, room) : NULL;
    if (!held)
        return (struct held *)PyErr_NoMemory();
    atomic_init(&held->references, 1);
    held->result = NULL;
    *out_memory = (char *)held + MEMORY_ALIGN;
    return held;
}

struct held *held_ref(struct held *held)
{
    atomic_fetch_add(&held->references, 1);
    return held;
}

void held_unref(struct held *held)
{
    if (!held || atomic_fetch_sub(&held->references, 1) != 1)
        return;
    urza_result_release(held->result);
    free(held);
}

struct tensor_object {
    PyObject ob_base;
    PyObject *weak_references;
    struct held *held;
    DLTensor tensor; /* dense; shape and strides are those below */
    int64_t shape[RANK_MOST], strides[RANK_MOST];
    size_t bytes;
};

/* Copies a dense tensor's description, with strides; returns the number of its elements. */
static size_t describe(const DLTensor *from, DLTensor *to, int64_t *shape, int64_t *strides)
{
    int64_t step = 1;
    for (int32_t i = from->ndim; i-- > 0;) {
        shape[i] = from->shape[i];
        strides[i] = step;
        step *= shape[i];
    }
    *to = *from;
    to->shape = shape;
    to->strides = strides;
    return (size_t)step;
}

/* Takes a reference of held over, also on failure. */
static PyObject *tensor_new(struct state *state, struct held *held, const DLTensor *from)
{
    static char nothing;
    struct tensor_object *tensor = PyObject_New(struct tensor_object, state->tensor_type);
    if (!tensor) {
        held_unref(held);
        return NULL;
    }
    tensor->weak_references = NULL;
    tensor->held = held;
    size_t count = describe(from, &tensor->tensor, tensor->shape, tensor->strides);
    tensor->bytes = count * (from->dtype.bits / 8);
    if (!tensor->tensor.data)
        tensor->tensor.data = &nothing; /* of no elements */
    return (PyObject *)tensor;
}

static void tensor_dealloc(PyObject *self)
{
    struct tensor_object *tensor = (struct tensor_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (tensor->weak_references)
        PyObject_ClearWeakRefs(self);
    held_unref(tensor->held);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

/* Tensors for others. */

struct shared_tensor {
    union { /* what a consumer has comes first */
        DLManagedTensorVersioned versioned;
        DLManagedTensor plain;
    };
    struct held *held; /* NULL: the memory is its own, a copy */
    int64_t shape[RANK_MOST], strides[RANK_MOST];
};

static void free_shared(struct shared_tensor *shared, void *data)
{
    if (!shared->held)
        free(data);
    held_unref(shared->held);
    free(shared);
}

static void delete_versioned(DLManagedTensorVersioned *self)
{
    free_shared((struct shared_tensor *)self, self->dl_tensor.data);
}

static void delete_plain(DLManagedTensor *self)
{
    free_shared((struct shared_tensor *)self, self->dl_tensor.data);
}

/* Takes a reference of held over, also on failure. */
static DLManagedTensorVersioned *share(struct held *held, const DLTensor *from)
{
    struct shared_tensor *shared = malloc(sizeof *shared);
    if (!shared) {
        held_unref(held);
        PyErr_NoMemory();
        return NULL;
    }
    shared->held = held;
    shared->versioned = (DLManagedTensorVersioned){.version = {DLPACK_MAJOR, DLPACK_MINOR},
                                                   .manager_ctx = shared,
                                                   .deleter = delete_versioned};
    describe(from, &shared->versioned.dl_tensor, shared->shape, shared->strides);
    return &shared->versioned;
}

/* Makes the older form of it. */
static void make_plain(struct shared_tensor *shared)
{
    DLTensor tensor = shared->versioned.dl_tensor;
    shared->plain =
        (DLManagedTensor){.dl_tensor = tensor, .manager_ctx = shared, .deleter = delete_plain};
}

/* Gives it memory of its own, of the object's values. */
static bool copy_shared(struct shared_tensor *shared, const struct tensor_object *object)
{
    void *copy = malloc(object->bytes > 0 ? object->bytes : 1);
    if (!copy) {
        PyErr_NoMemory();
        return false;
    }
    memcpy(copy, object->tensor.data, object->bytes);
    held_unref(shared->held);
    shared->held = NULL;
    shared->versioned.dl_tensor.data = copy;
    shared->versioned.flags = DLPACK_IS_COPIED;
    return true;
}

static void end_capsule(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor_versioned"))
        delete_versioned(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    else if (PyCapsule_IsValid(capsule, "dltensor"))
        delete_plain(PyCapsule_GetPointer(capsule, "dltensor"));
}

/* What a consumer asks for by __dlpack__'s words. */
static bool read_words(PyObject *self, PyObject *words, long *out_major, int *out_copy)
{
    static char *names[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None;
    long minor, type = kDLCPU, id;
    *out_major = 0;
    if (!PyArg_ParseTupleAndKeywords(state_of_type(Py_TYPE(self))->empty, words,
                                     "|$OOOO:__dlpack__", names, &stream, &version, &device, &copy))
        return false;
    if (version != Py_None && !PyArg_Parse(version, "(ll)", out_major, &minor))
        return false;
    if (device != Py_None && !PyArg_Parse(device, "(ll)", &type, &id))
        return false;
    *out_copy = copy == Py_None ? 0 : PyObject_IsTrue(copy);
    if (*out_copy < 0)
        return false;
    if (type == kDLCPU && stream == Py_None)
        return true;
    PyErr_SetString(PyExc_BufferError, "the tensor is on the CPU, which has no streams");
    return false;
}

static PyObject *tensor_dlpack(PyObject *self, PyObject *args, PyObject *words)
{
    struct tensor_object *object = (struct tensor_object *)self;
    long major;
    int copy;
    if (PyTuple_Size(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "__dlpack__ takes keywords only");
        return NULL;
    }
    if (!read_words(self, words, &major, &copy))
        return NULL;
    struct shared_tensor *shared =
        (struct shared_tensor *)share(held_ref(object->held), &object->tensor);
    if (!shared)
        return NULL;
    if (copy && !copy_shared(shared, object)) {
        delete_versioned(&shared->versioned);
        return NULL;
    }
    if (major < DLPACK_MAJOR)
        make_plain(shared);
    PyObject *capsule = PyCapsule_New(
        shared, major < DLPACK_MAJOR ? "dltensor" : "dltensor_versioned", end_capsule);
    if (!capsule && major < DLPACK_MAJOR)
        delete_plain(&shared->plain);
    else if (!capsule)
        delete_versioned(&shared->versioned);
    return capsule;
}

static PyObject *tensor_device(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return Py_BuildValue("(ii)", (int)kDLCPU, 0);
}

static PyObject *shape_tuple(const DLTensor *tensor)
{
    PyObject *shape = PyTuple_New(tensor->ndim);
    for (int32_t i = 0; shape && i < tensor->ndim; i++) {
        PyObject *size = PyLong_FromLongLong(tensor->shape[i]);
        if (!size || PyTuple_SetItem(shape, i, size) != 0) {
            Py_DECREF(shape);
            return NULL;
        }
    }
    return shape;
}

static PyObject *tensor_shape(PyObject *self, void *unused)
{
    (void)unused;
    return shape_tuple(&((struct tensor_object *)self)->tensor);
}

static PyObject *tensor_dtype(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(array_dtype(((struct tensor_object *)self)->tensor.dtype));
}

/* bfloat16 is for those who do not ask what an element is. */
static int tensor_view(PyObject *self, Py_buffer *view, int flags)
{
    struct tensor_object *object = (struct tensor_object *)self;
    const char *format = array_format(object->tensor.dtype);
    if (!format && (flags & PyBUF_FORMAT) != 0) {
        PyErr_SetString(PyExc_BufferError, "the buffer protocol has no bfloat16; use __dlpack__");
        return -1;
    }
    if (object->bytes > (size_t)PY_SSIZE_T_MAX ||
        PyBuffer_FillInfo(view, self, object->tensor.data, (Py_ssize_t)object->bytes, 0, flags) !=
            0)
        return -1;
    if ((flags & PyBUF_ND) == 0)
        return 0;
    _Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "a shape is one of Py_ssize_t as well");
    view->itemsize = object->tensor.dtype.bits / 8;
    view->ndim = object->tensor.ndim;
    view->shape = (Py_ssize_t *)object->shape;
    view->format = (flags & PyBUF_FORMAT) != 0 ? (char *)(uintptr_t)format : NULL;
    view->strides = NULL; /* dense */
    if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES)
        return 0;
    Py_ssize_t *steps = malloc(RANK_MOST * sizeof *steps);
    if (!steps) {
        PyBuffer_Release(view);
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < view->ndim; i++)
        steps[i] = (Py_ssize_t)object->strides[i] * view->itemsize;
    view->strides = view->internal = steps;
    return 0;
}

static void tensor_view_end(PyObject *self, Py_buffer *view)
{
    (void)self;
    free(view->internal);
}

static PyObject *tensor_repr(PyObject *self)
{
    PyObject *shape = tensor_shape(self, NULL), *text = NULL;
    if (shape)
        text = PyUnicode_FromFormat(
            "<urza.Tensor %s%R>", array_dtype(((struct tensor_object *)self)->tensor.dtype), shape);
    Py_XDECREF(shape);
    return text;
}

static PyMethodDef tensor_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))tensor_dlpack, METH_VARARGS | METH_KEYWORDS,
     "__dlpack__(*, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
     "A capsule for from_dlpack."},
    {"__dlpack_device__", tensor_device, METH_NOARGS, "The CPU."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tensor_attributes[] = {
    {"shape", tensor_shape, NULL, "The sizes of its dims, a tuple.", NULL},
    {"dtype", tensor_dtype, NULL, "The name of its dtype, such as 'float32'.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef tensor_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct tensor_object, weak_references), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot tensor_slots[] = {
    {Py_tp_doc, "A result of a call, where its first input is of no library of arrays. Has the "
                "buffer protocol and DLPack's: numpy.asarray(t), torch.from_dlpack(t)."},
    {Py_tp_dealloc, tensor_dealloc},
    {Py_tp_repr, tensor_repr},
    {Py_tp_methods, tensor_methods},
    {Py_tp_getset, tensor_attributes},
    {Py_tp_members, tensor_members},
    {Py_bf_getbuffer, tensor_view},
    {Py_bf_releasebuffer, tensor_view_end},
    {0, NULL},
};

PyType_Spec tensor_spec = {
    .name = "urza.Tensor",
    .basicsize = sizeof(struct tensor_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tensor_slots,
};

/* Kinds. */

/* Dtypes as NumPy's objects: a new reference to a tuple. */
static PyObject *make_dtypes(struct state *state, const DLTensor *tensors, uint32_t count)
{
    PyObject *names = PyTuple_New(count), *dtypes = NULL;
    for (uint32_t i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_FromString(array_dtype(tensors[i].dtype));
        if (!name || PyTuple_SetItem(names, i, name) != 0)
            Py_CLEAR(names);
    }
    if (names)
        dtypes = call_helper(state, "numpy_dtypes", names, NULL);
    Py_XDECREF(names);
    return dtypes;
}

/* The same, from where they are kept. */
static PyObject *numpy_dtypes_of(struct state *state, const DLTensor *tensors, uint32_t count,
                                 _Atomic(PyObject *) *kept)
{
    PyObject *dtypes = kept ? atomic_load(kept) : NULL, *none = NULL;
    if (dtypes)
        return Py_NewRef(dtypes);
    dtypes = make_dtypes(state, tensors, count);
    if (dtypes && kept && atomic_compare_exchange_strong(kept, &none, dtypes))
        Py_INCREF(dtypes); /* kept holds one, too; else another thread was first */
    return dtypes;
}

static PyObject *by_numpy(const struct kind *kind, PyObject *tensor, PyObject *dtype)
{
    PyObject *shape = tensor_shape(tensor, NULL), *array = NULL;
    if (shape)
        array = PyObject_CallFunctionObjArgs(kind->make, shape, dtype, tensor, NULL);
    Py_XDECREF(shape);
    return array;
}

/* dtype: for NumPy. */
static PyObject *make_result(struct state *state, const struct kind *kind, struct held *held,
                             const DLTensor *output, PyObject *dtype)
{
    void *made = NULL;
    if (kind->result == RESULT_TABLE) {
        DLManagedTensorVersioned *shared = share(held, output);
        return shared && kind->table->managed_tensor_to_py_object_no_sync(shared, &made) == 0
                   ? made
                   : NULL;
    }
    PyObject *tensor = tensor_new(state, held, output), *array = NULL;
    if (!tensor || kind->result == RESULT_OWN)
        return tensor;
    if (kind->result == RESULT_NUMPY)
        array = by_numpy(kind, tensor, dtype);
    else
        array = PyObject_CallFunctionObjArgs(kind->make, tensor, NULL);
    Py_DECREF(tensor);
    return array;
}

PyObject *result_as(struct state *state, const struct kind *kind, struct held *held,
                    const DLTensor *tensor, _Atomic(PyObject *) *numpy_dtypes)
{
    if (kind->result != RESULT_NUMPY)
        return make_result(state, kind, held, tensor, NULL);
    PyObject *dtypes = numpy_dtypes_of(state, tensor, 1, numpy_dtypes), *result = NULL;
    if (dtypes)
        result = make_result(state, kind, held, tensor, PyTuple_GetItem(dtypes, 0));
    else
        held_unref(held);
    Py_XDECREF(dtypes);
    return result;
}

PyObject *results_as(struct state *state, const struct kind *kind, struct held *held,
                     const DLTensor *tensors, uint32_t count, _Atomic(PyObject *) *numpy_dtypes)
{
    PyObject *dtypes = NULL, *all = NULL;
    if (kind->result != RESULT_NUMPY ||
        (dtypes = numpy_dtypes_of(state, tensors, count, numpy_dtypes)))
        all = PyTuple_New(count);
    for (uint32_t i = 0; all && i < count; i++) {
        PyObject *one = make_result(state, kind, held_ref(held), &tensors[i],
                                    dtypes ? PyTuple_GetItem(dtypes, i) : NULL);
        if (!one || PyTuple_SetItem(all, i, one) != 0)
            Py_CLEAR(all);
    }
    Py_XDECREF(dtypes);
    held_unref(held);
    return all;
}
