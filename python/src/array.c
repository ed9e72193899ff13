/* An array as a tensor, by the first of these that its type offers:
 *
 *   a table of functions   DLPack's C exchange API; borrows for the time of the call
 *   the buffer protocol    PEP 3118; knows read-only memory, and costs one call of C
 *   __dlpack__             a capsule, which stays alive, and unused, for the time of the call: its
 *                          destructor frees the tensor
 *
 * Where a buffer cannot describe an array (bfloat16), __dlpack__ is asked. Nothing is copied. */
#include "extension.h"

#include <stdio.h>
#include <string.h>

struct dtype_row {
    DLDataType dtype;
    const char *name, *format;
};

static const struct dtype_row dtypes[] = {
    {{kDLFloat, 32, 1}, "float32", "f"}, {{kDLFloat, 64, 1}, "float64", "d"},
    {{kDLFloat, 16, 1}, "float16", "e"}, {{kDLBfloat, 16, 1}, "bfloat16", NULL},
    {{kDLInt, 8, 1}, "int8", "b"},       {{kDLInt, 16, 1}, "int16", "h"},
    {{kDLInt, 32, 1}, "int32", "i"},     {{kDLInt, 64, 1}, "int64", "q"},
    {{kDLUInt, 8, 1}, "uint8", "B"},     {{kDLUInt, 16, 1}, "uint16", "H"},
    {{kDLUInt, 32, 1}, "uint32", "I"},   {{kDLUInt, 64, 1}, "uint64", "Q"},
    {{kDLBool, 8, 1}, "bool", "?"},
};

static const struct dtype_row *row_of(DLDataType dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (memcmp(&dtypes[i].dtype, &dtype, sizeof dtype) == 0)
            return &dtypes[i];
    return NULL;
}

const char *array_dtype(DLDataType dtype)
{
    const struct dtype_row *row = row_of(dtype);
    return row ? row->name : NULL;
}

const char *array_format(DLDataType dtype)
{
    const struct dtype_row *row = row_of(dtype);
    return row ? row->format : NULL;
}

/* What a letter of PEP 3118 is, a kDL…; −1: nothing that is taken. */
static int code_of(char letter)
{
    switch (letter) {
    case 'e':
    case 'f':
    case 'd': return kDLFloat;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
    case 'n': return kDLInt;
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
    case 'N': return kDLUInt;
    case '?': return kDLBool;
    default: return -1;
    }
}

/* The dtype that a view's format means. Sizes differ for 'l', so the view's decides. */
static bool dtype_of_view(const Py_buffer *view, const struct role *role, DLDataType *out)
{
    const char *format = view->format ? view->format : "B", *letter = format;
    bool other_order = format[0] == '>' || format[0] == '!';
    if (other_order || format[0] == '@' || format[0] == '=' || format[0] == '<')
        letter++;
    int code = letter[0] != '\0' && letter[1] == '\0' ? code_of(letter[0]) : -1;
    bool sized =
        view->itemsize == 4 || view->itemsize == 8 || view->itemsize == 2 || view->itemsize == 1;
    *out = (DLDataType){(uint8_t)code, (uint8_t)(view->itemsize * 8), 1};
    if (code < 0 || !sized || (code == kDLFloat && view->itemsize == 1)) {
        PyErr_Format(PyExc_TypeError, "%s '%s': arrays of format '%s' are not taken", role->what,
                     role->name, format);
        return false;
    }
    if (other_order && view->itemsize > 1) {
        PyErr_Format(PyExc_TypeError,
                     "%s '%s': its bytes are not in this machine's order (format '%s')", role->what,
                     role->name, format);
        return false;
    }
    return true;
}

static bool view_tensor(struct lease *lease, const struct role *role, DLTensor *out)
{
    const Py_buffer *view = &lease->view;
    DLDataType dtype;
    if (!dtype_of_view(view, role, &dtype))
        return false;
    if (view->ndim < 0 || view->ndim > RANK_MOST) {
        PyErr_Format(PyExc_TypeError, "%s '%s': it has %d dims, at most %d are possible",
                     role->what, role->name, view->ndim, RANK_MOST);
        return false;
    }
    /* An element has 1, 2, 4 or 8 bytes: to shift takes less time than to divide. */
    int shift = __builtin_ctz((unsigned)view->itemsize);
    for (int i = 0; i < view->ndim; i++) {
        lease->shape[i] = view->shape ? view->shape[i] : view->len >> shift;
        Py_ssize_t step = view->strides ? view->strides[i] : view->itemsize;
        if (lease->shape[i] > 1 && (step & (view->itemsize - 1)) != 0) {
            PyErr_Format(PyExc_TypeError,
                         "%s '%s': axis %d steps by %zd bytes, which elements of %zd bytes do not "
                         "divide; pass a copy",
                         role->what, role->name, i, step, view->itemsize);
            return false;
        }
        lease->strides[i] = step >> shift; /* negative ones, too: GCC keeps the sign */
    }
    *out = (DLTensor){.data = view->buf,
                      .device = {kDLCPU, 0},
                      .ndim = view->ndim,
                      .dtype = dtype,
                      .shape = lease->shape,
                      .strides = lease->strides};
    return true;
}

/* Of memory that may not be written says so, in the place of what the array said; *out_final. */
static bool get_view(PyObject *array, const struct role *role, Py_buffer *out, bool *out_final)
{
    if (PyObject_GetBuffer(array, out, role->writable ? PyBUF_RECORDS : PyBUF_RECORDS_RO) == 0)
        return true;
    PyObject *type, *value, *trace;
    if (!role->writable)
        return false;
    PyErr_Fetch(&type, &value, &trace);
    if (PyObject_GetBuffer(array, out, PyBUF_RECORDS_RO) != 0) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
        return false;
    }
    PyBuffer_Release(out);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    PyErr_Format(PyExc_TypeError, "%s '%s': the array is read-only", role->what, role->name);
    *out_final = true;
    return false;
}

static bool by_buffer(PyObject *array, const struct role *role, struct lease *lease, DLTensor *out,
                      bool *out_final)
{
    *out_final = false;
    if (!get_view(array, role, &lease->view, out_final))
        return false;
    lease->form = LEASE_VIEW;
    if (!lease->view.suboffsets && view_tensor(lease, role, out))
        return true;
    if (lease->view.suboffsets) /* pointers to rows */
        PyErr_Format(PyExc_TypeError, "%s '%s': its rows lie anywhere", role->what, role->name);
    lease_end(lease);
    return false;
}

static void wrong_device(struct state *state, const struct role *role, long type)
{
    char place[200];
    snprintf(place, sizeof place, "%s '%s'", role->what, role->name);
    raise_named(state, "InvalidInputError", place,
                "it is on device type %ld of DLPack; this module runs on the CPU (%d)", type,
                (int)kDLCPU);
}

static bool device_is_host(long type)
{
    return type == kDLCPU || type == DLPACK_CUDA_HOST || type == DLPACK_ROCM_HOST;
}

static bool read_only(const struct role *role, uint64_t flags)
{
    if (!role->writable || (flags & (DLPACK_READ_ONLY | DLPACK_IS_COPIED)) == 0)
        return false;
    PyErr_Format(PyExc_TypeError, "%s '%s': the array is read-only", role->what, role->name);
    return true;
}

static bool take_tensor(struct state *state, const struct role *role, const DLTensor *from,
                        DLTensor *out)
{
    if (!device_is_host((long)from->device.device_type)) {
        wrong_device(state, role, (long)from->device.device_type);
        return false;
    }
    *out = *from;
    out->device = (DLDevice){kDLCPU, 0};
    return true;
}

static void refuse(struct state *state, const struct role *role, const char *why)
{
    char place[200];
    snprintf(place, sizeof place, "%s '%s'", role->what, role->name);
    raise_named(state, "UnsupportedError", place, "%s", why);
}

/* False: what was raised is no answer, such as an interrupt, and stays. */
static bool clear_refusal(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return false;
    PyErr_Clear();
    return true;
}

static bool grad_refused(struct state *state, PyObject *array, const struct kind *kind,
                         const struct role *role)
{
    PyObject *wants = kind->get_grad ? kind->get_grad(kind->grad, array, (PyObject *)kind->type)
                                     : PyObject_GetAttr(array, state->name_grad),
             *enabled;
    if (!wants) /* it refuses to be asked, as PyTorch's wrapper of read-only tensors does */
        return !clear_refusal();
    bool refused = wants == Py_True;
    Py_DECREF(wants);
    if (!refused)
        return false;
    enabled = call_helper(state, "grad_enabled", array, NULL);
    refused = enabled != Py_False;
    Py_XDECREF(enabled);
    if (refused && enabled) {
        refuse(
            state, role,
            "it requires grad, which a call does not compute; pass detach() of it, or call under "
            "torch.no_grad()");
    }
    return refused;
}

/* Whether a tensor of PyTorch may have its sign aside (is_neg): its memory then holds −x, which
 * DLPack does not say. Such tensors are imaginary parts of complex ones, so they are not dense, or
 * of rank 0; only those are asked. */
static bool sign_refused(struct state *state, PyObject *array, const struct role *role,
                         const DLTensor *tensor)
{
    int64_t step = 1;
    bool dense = tensor->ndim > 0;
    for (int32_t i = tensor->ndim; i-- > 0 && dense; step *= tensor->shape[i])
        dense = !tensor->strides || tensor->strides[i] == step;
    if (dense)
        return false;
    PyObject *is = PyObject_CallMethodObjArgs(array, state->name_is_neg, NULL);
    if (!is)
        return !clear_refusal();
    Py_DECREF(is);
    if (is == Py_True)
        refuse(state, role, "its memory holds the negated values; pass resolve_neg() of it");
    return is == Py_True;
}

/* An output is asked for with an owner, as only that says whether it may be written. Of PyTorch's
 * types all tensors or none may be, so the first one tells. */
static bool by_table(struct state *state, PyObject *array, struct kind *kind,
                     const struct role *role, struct lease *lease, DLTensor *out)
{
    DLTensor borrowed;
    DLManagedTensorVersioned *managed;
    bool borrows = !role->keep &&
                   (!role->writable || atomic_load_explicit(&kind->writable, memory_order_relaxed));
    if (borrows && kind->table->dltensor_from_py_object_no_sync)
        return kind->table->dltensor_from_py_object_no_sync(array, &borrowed) == 0 &&
               take_tensor(state, role, &borrowed, out) &&
               !(kind->grad && sign_refused(state, array, role, out));
    if (kind->table->managed_tensor_from_py_object_no_sync(array, &managed) != 0)
        return false;
    lease->form = LEASE_MANAGED;
    lease->managed = managed;
    if (managed->version.major == DLPACK_MAJOR && !read_only(role, managed->flags) &&
        take_tensor(state, role, &managed->dl_tensor, out) &&
        !(kind->grad && sign_refused(state, array, role, out))) {
        if (kind->grad && managed->flags == 0)
            atomic_store_explicit(&kind->writable, true, memory_order_relaxed);
        return true;
    }
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_BufferError, "%s '%s': version %u of DLPack is not known here",
                     role->what, role->name, managed->version.major);
    lease_end(lease);
    return false;
}

/* The tensor in a capsule, which stays in it. The older form does not say whether the memory may be
 * written: JAX's may not, PyTorch's may. */
static bool capsule_tensor(struct state *state, PyObject *capsule, const struct kind *kind,
                           const struct role *role, DLTensor *out)
{
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        const DLManagedTensorVersioned *managed =
            PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (managed->version.major != DLPACK_MAJOR) {
            PyErr_Format(PyExc_BufferError, "%s '%s': version %u of DLPack is not known here",
                         role->what, role->name, managed->version.major);
            return false;
        }
        return !read_only(role, managed->flags) &&
               take_tensor(state, role, &managed->dl_tensor, out);
    }
    if (PyCapsule_IsValid(capsule, "dltensor")) {
        const DLManagedTensor *managed = PyCapsule_GetPointer(capsule, "dltensor");
        if (!kind->grad && read_only(role, DLPACK_READ_ONLY))
            return false;
        return take_tensor(state, role, &managed->dl_tensor, out);
    }
    bool used = PyCapsule_IsValid(capsule, "used_dltensor") ||
                PyCapsule_IsValid(capsule, "used_dltensor_versioned");
    PyErr_Format(PyExc_BufferError, "%s '%s': __dlpack__ gave %s", role->what, role->name,
                 used ? "a capsule that was used before" : "no capsule of a tensor");
    return false;
}

/* Producers of before DLPack 1.0 do not know the words. */
static PyObject *ask_capsule(struct state *state, PyObject *method)
{
    PyObject *capsule = PyObject_Call(method, state->empty, state->dlpack_words);
    if (capsule || !PyErr_ExceptionMatches(PyExc_TypeError))
        return capsule;
    PyErr_Clear();
    return PyObject_Call(method, state->empty, NULL);
}

static bool check_device(struct state *state, PyObject *array, const struct role *role)
{
    long type;
    int id;
    PyObject *device = PyObject_CallMethodObjArgs(array, state->name_device, NULL), *plain;
    if (!device)
        return false;
    plain = PySequence_Tuple(device);
    Py_DECREF(device);
    bool ok = plain && PyArg_ParseTuple(plain, "li", &type, &id);
    Py_XDECREF(plain);
    if (ok && !device_is_host(type)) {
        wrong_device(state, role, type);
        return false;
    }
    return ok;
}

static bool by_capsule(struct state *state, PyObject *array, const struct kind *kind,
                       const struct role *role, struct lease *lease, DLTensor *out)
{
    PyObject *method = PyObject_GetAttr(array, state->name_dlpack), *capsule = NULL;
    if (!method) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return false;
        PyErr_Format(PyExc_TypeError,
                     "%s '%s': %R is not an array: it has neither __dlpack__ nor a buffer",
                     role->what, role->name, (PyObject *)Py_TYPE(array));
        return false;
    }
    if (check_device(state, array, role))
        capsule = ask_capsule(state, method);
    Py_DECREF(method);
    if (!capsule)
        return false;
    lease->form = LEASE_OBJECT;
    lease->object = capsule;
    if (capsule_tensor(state, capsule, kind, role, out))
        return true;
    lease_end(lease);
    return false;
}

/* A buffer says nothing of bfloat16: NumPy's arrays of that type are seen as uint16. */
static bool by_bits(struct state *state, PyObject *array, const struct role *role,
                    struct lease *lease, DLTensor *out)
{
    bool ok, final;
    PyObject *bits = call_helper(state, "bits", array, NULL);
    if (!bits)
        return false;
    ok = bits != Py_None && by_buffer(bits, role, lease, out, &final);
    Py_DECREF(bits); /* the buffer holds it */
    if (ok)
        out->dtype = (DLDataType){kDLBfloat, 16, 1};
    return ok;
}

/* If nothing else can describe the array, what the buffer said stays; of an output, whether it may
 * be written matters more. */
static bool by_other(struct state *state, PyObject *array, const struct kind *kind,
                     const struct role *role, struct lease *lease, DLTensor *out)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    bool ok = by_bits(state, array, role, lease, out) ||
              (!PyErr_Occurred() && PyObject_HasAttr(array, state->name_dlpack) &&
               by_capsule(state, array, kind, role, lease, out));
    if (ok || (role->writable && PyErr_Occurred())) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
        return ok;
    }
    PyErr_Clear();
    PyErr_Restore(type, value, trace);
    return false;
}

bool array_tensor(struct state *state, PyObject *array, struct kind *kind, const struct role *role,
                  struct lease *lease, DLTensor *out)
{
    bool final;
    lease->form = LEASE_NONE;
    if (kind->grad && grad_refused(state, array, kind, role))
        return false;
    if (kind->table)
        return by_table(state, array, kind, role, lease, out);
    if (!PyObject_CheckBuffer(array))
        return by_capsule(state, array, kind, role, lease, out);
    return by_buffer(array, role, lease, out, &final) ||
           (!final && by_other(state, array, kind, role, lease, out));
}

void lease_end(struct lease *lease)
{
    if (lease->form == LEASE_VIEW)
        PyBuffer_Release(&lease->view);
    else if (lease->form == LEASE_OBJECT)
        Py_DECREF(lease->object);
    else if (lease->form == LEASE_MANAGED && lease->managed->deleter)
        lease->managed->deleter(lease->managed);
    lease->form = LEASE_NONE;
}
