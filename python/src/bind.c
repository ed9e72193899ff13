/* Arguments of a call: bound to inputs by place or name, and seen as tensors. */
#include "extension.h"

static PyObject *input_name(const struct call *call, uint32_t index)
{
    return PyTuple_GetItem(call->module->input_names, index);
}

static bool unknown_word(const struct call *call, PyObject *word)
{
    PyObject *separator = PyUnicode_FromString(", ");
    PyObject *names = separator ? PyUnicode_Join(separator, call->module->input_names) : NULL;
    if (names)
        PyErr_Format(PyExc_TypeError, "there is no input '%U'; the inputs are: %U", word, names);
    Py_XDECREF(separator);
    Py_XDECREF(names);
    return false;
}

static bool bind_word(struct call *call, PyObject *word, PyObject *value)
{
    for (uint32_t i = 0; i < call->input_count; i++) {
        PyObject *name = input_name(call, i);
        if (name != word && PyUnicode_Compare(name, word) != 0)
            continue;
        if (call->arrays[i])
            PyErr_Format(PyExc_TypeError, "input '%U' is given twice", name);
        else
            call->arrays[i] = value;
        return !PyErr_Occurred();
    }
    return unknown_word(call, word);
}

bool call_bind(struct call *call, PyObject *const *args, size_t count, PyObject *words,
               PyObject *special, PyObject **out_special)
{
    *out_special = Py_None;
    if (count > call->input_count) {
        PyErr_Format(PyExc_TypeError, "%zu inputs are given, the module has %u", count,
                     call->input_count);
        return false;
    }
    for (uint32_t i = 0; i < call->input_count; i++)
        call->arrays[i] = i < count ? args[i] : NULL;
    Py_ssize_t word_count = words ? PyTuple_Size(words) : 0;
    for (Py_ssize_t i = 0; i < word_count; i++) {
        PyObject *word = PyTuple_GetItem(words, i), *value = args[count + (size_t)i];
        if (word == special || PyUnicode_Compare(word, special) == 0)
            *out_special = value;
        else if (!bind_word(call, word, value))
            return false;
    }
    for (uint32_t i = 0; i < call->input_count; i++)
        if (!call->arrays[i]) {
            PyErr_Format(PyExc_TypeError, "input '%U' is missing", input_name(call, i));
            return false;
        }
    return true;
}

bool call_take(struct call *call, PyObject *array, const struct role *role, struct kind **out_kind)
{
    uint32_t i = call->leased;
    struct kind *kind = kind_get(call->state, Py_TYPE(array));
    if (!kind)
        return false;
    bool ok = array_tensor(call->state, array, kind, role, &call->leases[i], &call->tensors[i]);
    if (ok)
        call->leased++;
    if (ok && out_kind)
        *out_kind = kind;
    else
        kind_put(kind);
    return ok;
}

bool call_take_inputs(struct call *call, bool keep)
{
    for (uint32_t i = 0; i < call->input_count; i++) {
        struct role role = {"input", urza_input_info(call->module->module, i)->name, false, keep};
        if (!call_take(call, call->arrays[i], &role, i == 0 ? &call->kind : NULL))
            return false;
    }
    return true;
}

static bool is_list(PyObject *object)
{
    return PyTuple_Check(object) || PyList_Check(object);
}

/* Without elements its memory may be none, which would ask urza_call for memory. */
static bool has_memory(DLTensor *tensor, const struct role *role)
{
    static char nothing;
    bool empty = false;
    for (int32_t i = 0; i < tensor->ndim; i++)
        empty = empty || tensor->shape[i] == 0;
    if (tensor->data || empty) {
        tensor->data = tensor->data ? tensor->data : &nothing;
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s '%s': it has no memory", role->what, role->name);
    return false;
}

bool call_take_outputs(struct call *call, PyObject *out)
{
    uint32_t count = call->output_count;
    bool list = is_list(out);
    Py_ssize_t given = list ? PySequence_Size(out) : 1;
    if (given != (Py_ssize_t)count) {
        PyErr_Format(PyExc_TypeError, "out has %zd arrays, the module has %u outputs", given,
                     count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct role role = {"output", urza_output_info(call->module->module, i)->name, true, false};
        PyObject *array = list ? PySequence_GetItem(out, i) : Py_NewRef(out);
        if (!array)
            return false;
        bool ok = call_take(call, array, &role, NULL);
        Py_DECREF(array); /* the list holds it, or the caller */
        if (!ok || !has_memory(&call->tensors[call->input_count + i], &role))
            return false;
    }
    return true;
}

void call_end(struct call *call)
{
    for (uint32_t i = 0; i < call->leased; i++)
        lease_end(&call->leases[i]);
    call->leased = 0;
    kind_put(call->kind);
    call->kind = NULL;
}
