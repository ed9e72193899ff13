/* What is known of types: a list that only grows, at most KINDS_MOST long, so that readers need no
 * lock. Entries for further types live for one call. */
#include <stdlib.h>

#include "extension.h"

#define KINDS_MOST 64

/* The table of a type, or NULL: it has none, or none that is understood here. */
static bool table_of(struct state *state, PyTypeObject *type, const DLPackExchangeAPI **out)
{
    PyObject *names[2] = {state->name_table, state->name_old_table}, *capsule = NULL;
    *out = NULL;
    for (int i = 0; i < 2 && !capsule; i++) {
        capsule = PyObject_GetAttr((PyObject *)type, names[i]);
        if (!capsule && !PyErr_ExceptionMatches(PyExc_AttributeError))
            return false;
        PyErr_Clear();
    }
    if (!capsule)
        return true;
    const DLPackExchangeAPIHeader *header =
        PyCapsule_IsValid(capsule, "dlpack_exchange_api")
            ? PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
            : NULL;
    while (header && header->version.major != DLPACK_MAJOR)
        header = header->prev_api;
    Py_DECREF(capsule);
    *out = (const DLPackExchangeAPI *)header; /* it lives as long as the process */
    return true;
}

/* What results are, for arrays that have no table. */
static bool result_of(struct state *state, struct kind *kind)
{
    PyObject *found = call_helper(state, "describe", (PyObject *)kind->type, NULL), *how, *make;
    if (!found)
        return false;
    bool ok = PyArg_ParseTuple(found, "OO", &how, &make) != 0;
    if (ok) {
        kind->result = PyUnicode_CompareWithASCIIString(how, "numpy") == 0  ? RESULT_NUMPY
                       : PyUnicode_CompareWithASCIIString(how, "from") == 0 ? RESULT_FROM
                                                                            : RESULT_OWN;
        if (kind->result != RESULT_OWN)
            kind->make = Py_NewRef(make);
    }
    Py_DECREF(found);
    return ok;
}

static void kind_free(struct kind *kind)
{
    if (!kind)
        return;
    Py_XDECREF(kind->make);
    Py_XDECREF(kind->grad);
    Py_XDECREF((PyObject *)kind->type);
    free(kind);
}

static struct kind *kind_new(struct state *state, PyTypeObject *type)
{
    struct kind *kind = calloc(1, sizeof *kind);
    if (!kind)
        return (struct kind *)PyErr_NoMemory();
    kind->type = (PyTypeObject *)Py_NewRef((PyObject *)type);
    bool ok = table_of(state, type, &kind->table);
    if (ok && kind->table)
        kind->result = RESULT_TABLE;
    else if (ok)
        ok = result_of(state, kind);
    if (ok) {
        kind->grad = PyObject_GetAttr((PyObject *)type, state->name_grad);
        if (kind->grad)
            kind->get_grad = (descrgetfunc)PyType_GetSlot(Py_TYPE(kind->grad), Py_tp_descr_get);
        ok = kind->grad || PyErr_ExceptionMatches(PyExc_AttributeError);
        if (ok)
            PyErr_Clear();
    }
    if (ok)
        return kind;
    kind_free(kind);
    return NULL;
}

struct kind *kind_get(struct state *state, PyTypeObject *type)
{
    struct kind *first = atomic_load_explicit(&state->kinds, memory_order_acquire);
    for (struct kind *kind = first; kind; kind = kind->next)
        if (kind->type == type)
            return kind;
    struct kind *kind = kind_new(state, type);
    if (!kind || atomic_fetch_add(&state->kind_count, 1) >= KINDS_MOST) {
        if (kind)
            atomic_fetch_sub(&state->kind_count, 1);
        return kind;
    }
    kind->cached = true; /* two threads may add the same type: the later one is found */
    kind->next = atomic_load(&state->kinds);
    while (!atomic_compare_exchange_weak(&state->kinds, &kind->next, kind))
        ;
    return kind;
}

void kind_put(struct kind *kind)
{
    if (kind && !kind->cached)
        kind_free(kind);
}

void kinds_release(struct state *state)
{
    struct kind *kind = atomic_exchange(&state->kinds, NULL);
    while (kind) {
        struct kind *next = kind->next;
        kind_free(kind);
        kind = next;
    }
}
