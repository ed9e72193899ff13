/* The module `_urza`: exceptions, names and types, in a state of its own for each interpreter. */
#include "extension.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct state *state_of_type(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

/* Errors. */

static void set_error(PyObject *class, const char *place, const char *message)
{
    bool placed = place && place[0] != '\0';
    PyObject *error = NULL, *where = NULL;
    PyObject *text =
        PyUnicode_FromFormat("%s%s%s", placed ? place : "", placed ? ": " : "", message);
    if (text)
        error = PyObject_CallFunctionObjArgs(class, text, NULL);
    if (error)
        where = PyUnicode_FromString(place ? place : "");
    if (where && PyObject_SetAttrString(error, "place", where) == 0)
        PyErr_SetObject(class, error);
    Py_XDECREF(text);
    Py_XDECREF(error);
    Py_XDECREF(where);
}

void raise_error(struct state *state, const urza_error *err)
{
    PyObject *class = err->code > 0 && err->code < ERRORS_MOST ? state->errors[err->code] : NULL;
    set_error(class ? class : state->errors[0], err->place, err->message);
}

void raise_named(struct state *state, const char *name, const char *place, const char *fmt, ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    PyObject *class = state->errors[0];
    for (int i = 1; i < ERRORS_MOST; i++)
        if (state->errors[i] && strcmp(urza_error_name(i), name) == 0)
            class = state->errors[i];
    set_error(class, place, message);
}

/* One class for each name; names may have several codes. */
static PyObject *error_class(PyObject *extension, struct state *state, const char *name)
{
    char full[80];
    PyObject *class = PyObject_GetAttrString(extension, name);
    if (class)
        return class;
    PyErr_Clear();
    snprintf(full, sizeof full, "urza.%s", name);
    class = PyErr_NewException(full, state->errors[0], NULL);
    if (class && PyModule_AddObjectRef(extension, name, class) != 0)
        Py_CLEAR(class);
    return class;
}

static bool add_errors(PyObject *extension, struct state *state)
{
    PyObject *fields = Py_BuildValue("{ss}", "place", "");
    if (fields)
        state->errors[0] = PyErr_NewExceptionWithDoc(
            "urza.Error",
            "What went wrong in Urza. Its class says the kind, place the input, entry or dim.",
            NULL, fields);
    Py_XDECREF(fields);
    if (!state->errors[0] || PyModule_AddObjectRef(extension, "Error", state->errors[0]) != 0)
        return false;
    for (int code = 1; code < ERRORS_MOST; code++) {
        const char *name = urza_error_name(code);
        if (strcmp(name, "UnknownError") == 0) /* the table's end */
            return true;
        state->errors[code] = error_class(extension, state, name);
        if (!state->errors[code])
            return false;
    }
    PyErr_SetString(PyExc_SystemError,
                    "the runtime has more classes of errors than this extension");
    return false;
}

/* Names and types. */

PyObject *call_helper(struct state *state, const char *name, PyObject *a, PyObject *b)
{
    PyObject *helpers = PyImport_ImportModule("urza._kinds"), *function = NULL, *result = NULL;
    (void)state;
    if (helpers)
        function = PyObject_GetAttrString(helpers, name);
    if (function)
        result = PyObject_CallFunctionObjArgs(function, a, b, NULL);
    Py_XDECREF(helpers);
    Py_XDECREF(function);
    return result;
}

static bool add_names(struct state *state)
{
    state->empty = PyTuple_New(0);
    state->dlpack_words = Py_BuildValue("{s(ii)s(ii)sO}", "max_version", DLPACK_MAJOR, DLPACK_MINOR,
                                        "dl_device", (int)kDLCPU, 0, "copy", Py_False);
    state->name_dlpack = PyUnicode_InternFromString("__dlpack__");
    state->name_device = PyUnicode_InternFromString("__dlpack_device__");
    state->name_table = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
    state->name_old_table = PyUnicode_InternFromString("__c_dlpack_exchange_api__");
    state->name_grad = PyUnicode_InternFromString("requires_grad");
    state->name_is_neg = PyUnicode_InternFromString("is_neg");
    state->name_out = PyUnicode_InternFromString("out");
    state->name_params = PyUnicode_InternFromString("params");
    return state->empty && state->dlpack_words && state->name_dlpack && state->name_device &&
           state->name_table && state->name_old_table && state->name_grad && state->name_is_neg &&
           state->name_out && state->name_params;
}

static PyStructSequence_Field tensor_info_fields[] = {
    {"name", NULL},
    {"dtype", "its name, such as 'float32'"},
    {"shape", "sizes of dims: numbers, and text such as 'B' or '2*S' for named dims"},
    {NULL, NULL},
};
static PyStructSequence_Desc tensor_info = {"urza.TensorInfo", "An input, output or parameter.",
                                            tensor_info_fields, 3};

static PyStructSequence_Field dim_info_fields[] = {
    {"min", NULL}, {"max", NULL}, {"multiple_of", NULL}, {"typical", "None: not given"},
    {NULL, NULL},
};
static PyStructSequence_Desc dim_info = {"urza.DimInfo", "The values that a named dim may have.",
                                         dim_info_fields, 4};

static bool add_types(PyObject *extension, struct state *state)
{
    state->module_type = (PyTypeObject *)PyType_FromModuleAndSpec(extension, &module_spec, NULL);
    state->tensor_type = (PyTypeObject *)PyType_FromModuleAndSpec(extension, &tensor_spec, NULL);
    state->tape_type = (PyTypeObject *)PyType_FromModuleAndSpec(extension, &tape_spec, NULL);
    state->slot_type = (PyTypeObject *)PyType_FromModuleAndSpec(extension, &slot_spec, NULL);
    state->slot_tape_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(extension, &slot_tape_spec, NULL);
    state->rollout_type = (PyTypeObject *)PyType_FromModuleAndSpec(extension, &rollout_spec, NULL);
    state->governor_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(extension, &governor_spec, NULL);
    state->host = Py_BuildValue("(OO)", Py_True, Py_None);
    state->tensor_info = PyStructSequence_NewType(&tensor_info);
    state->dim_info = PyStructSequence_NewType(&dim_info);
    return state->module_type && state->tensor_type && state->tape_type && state->slot_type &&
           state->slot_tape_type && state->rollout_type && state->governor_type && state->host &&
           state->tensor_info && state->dim_info &&
           PyModule_AddType(extension, state->module_type) == 0 &&
           PyModule_AddType(extension, state->tensor_type) == 0 &&
           PyModule_AddType(extension, state->tape_type) == 0 &&
           PyModule_AddType(extension, state->slot_type) == 0 &&
           PyModule_AddType(extension, state->rollout_type) == 0 &&
           PyModule_AddType(extension, state->governor_type) == 0 &&
           PyModule_AddType(extension, state->tensor_info) == 0 &&
           PyModule_AddType(extension, state->dim_info) == 0;
}

/* The module. */

static int start(PyObject *extension)
{
    struct state *state = PyModule_GetState(extension);
    bool ok = add_names(state) && add_errors(extension, state) && add_types(extension, state) &&
              PyModule_AddStringConstant(extension, "__version__", urza_version()) == 0;
    return ok ? 0 : -1;
}

static int traverse(PyObject *extension, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(extension);
    for (int i = 0; i < ERRORS_MOST; i++)
        Py_VISIT(state->errors[i]);
    Py_VISIT((PyObject *)state->module_type);
    Py_VISIT((PyObject *)state->tensor_type);
    Py_VISIT((PyObject *)state->slot_type);
    Py_VISIT((PyObject *)state->slot_tape_type);
    Py_VISIT((PyObject *)state->rollout_type);
    Py_VISIT((PyObject *)state->governor_type);
    Py_VISIT((PyObject *)state->tape_type);
    Py_VISIT((PyObject *)state->tensor_info);
    Py_VISIT((PyObject *)state->dim_info);
    for (struct kind *kind = atomic_load(&state->kinds); kind; kind = kind->next) {
        Py_VISIT((PyObject *)kind->type);
        Py_VISIT(kind->make);
        Py_VISIT(kind->grad);
    }
    return 0;
}

static int clear(PyObject *extension)
{
    struct state *state = PyModule_GetState(extension);
    kinds_release(state);
    for (int i = 0; i < ERRORS_MOST; i++)
        Py_CLEAR(state->errors[i]);
    Py_CLEAR(state->module_type);
    Py_CLEAR(state->tensor_type);
    Py_CLEAR(state->slot_type);
    Py_CLEAR(state->slot_tape_type);
    Py_CLEAR(state->rollout_type);
    Py_CLEAR(state->governor_type);
    Py_CLEAR(state->host);
    Py_CLEAR(state->tape_type);
    Py_CLEAR(state->tensor_info);
    Py_CLEAR(state->dim_info);
    Py_CLEAR(state->empty);
    Py_CLEAR(state->dlpack_words);
    Py_CLEAR(state->name_dlpack);
    Py_CLEAR(state->name_device);
    Py_CLEAR(state->name_table);
    Py_CLEAR(state->name_old_table);
    Py_CLEAR(state->name_grad);
    Py_CLEAR(state->name_is_neg);
    Py_CLEAR(state->name_out);
    Py_CLEAR(state->name_params);
    return 0;
}

static void end(void *extension)
{
    clear(extension);
}

static PyMethodDef functions[] = {
    {"load", (PyCFunction)(void (*)(void))module_load, METH_FASTCALL,
     "Private; urza.load is for users."},
    {"_ffi_handlers", ffi_handlers, METH_NOARGS, "Private; for urza.jax."},
    {"_ffi_version", ffi_version, METH_NOARGS, "Private; for urza.jax."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, start},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,          .m_name = "urza._urza", .m_doc = "The runtime, as urza has it.",
    .m_size = sizeof(struct state), .m_methods = functions, .m_slots = slots,
    .m_traverse = traverse,         .m_clear = clear,       .m_free = end,
};

PyMODINIT_FUNC PyInit__urza(void)
{
    return PyModuleDef_Init(&definition);
}
