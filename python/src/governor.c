/* _urza._Governor: urza/governor.h as a watch on a loss. It has no tensors: urza.Governor takes the
 * snapshots, as an optimizer makes its state when it wants. */
#include "extension.h"

#include "urza/governor.h"

struct governor_object {
    PyObject_HEAD urza_governor *governor;
};

static PyObject *governor_new(PyTypeObject *type, PyObject *args, PyObject *words)
{
    static char *names[] = {"snapshot_every", NULL};
    urza_governor_options options = {0};
    unsigned long every = 0;
    urza_error err;
    if (!PyArg_ParseTupleAndKeywords(args, words, "|$k:_Governor", names, &every))
        return NULL;
    if (every > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "snapshot_every is a number from 0 to 4294967295");
        return NULL;
    }
    options.snapshot_every = (uint32_t)every;
    struct governor_object *self = PyObject_New(struct governor_object, type);
    if (!self)
        return NULL;
    self->governor = NULL;
    if (urza_governor_open(&options, &self->governor, &err) == 0)
        return (PyObject *)self;
    raise_error(state_of_type(type), &err);
    Py_DECREF((PyObject *)self);
    return NULL;
}

static void governor_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    urza_governor_close(((struct governor_object *)self)->governor);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static PyObject *governor_observe(PyObject *self, PyObject *loss)
{
    urza_governor *governor = ((struct governor_object *)self)->governor;
    urza_governor_stats before, after;
    double value = PyFloat_AsDouble(loss);
    if (PyErr_Occurred())
        return NULL;
    urza_governor_stats_get(governor, &before);
    int exploded = urza_governor_observe(governor, value);
    urza_governor_stats_get(governor, &after);
    return Py_BuildValue("(OO)", exploded ? Py_True : Py_False,
                         after.snapshots > before.snapshots ? Py_True : Py_False);
}

static PyMethodDef governor_methods[] = {
    {"observe", governor_observe, METH_O,
     "observe(loss) -> (whether it exploded, whether it is time for a snapshot)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot governor_slots[] = {
    {Py_tp_doc, "A governor of urza/governor.h without tensors. Private."},
    {Py_tp_new, governor_new},
    {Py_tp_dealloc, governor_dealloc},
    {Py_tp_methods, governor_methods},
    {0, NULL},
};

PyType_Spec governor_spec = {
    .name = "urza._urza._Governor",
    .basicsize = sizeof(struct governor_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = governor_slots,
};
