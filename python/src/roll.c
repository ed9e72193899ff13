/* _urza._Rollout: urza/rollout.h for a slot's seed, and _Slot.roll.
 *
 * Rungs change on any thread, also on the one that judges, which never takes the GIL: closing waits
 * for it. So changes are pushed to a list without a lock, and Python takes them from there. A
 * rollout is closed when the last reference goes; the slot keeps its own until no call and no tape
 * can use it any more. */
#include "extension.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "urza/layer.h"

struct change {
    struct change *next; /* older */
    urza_rung from, to;
    char reason[]; /* with a zero at its end */
};

struct rollout_object {
    PyObject_HEAD urza_rollout *rollout;
    _Atomic(struct change *) changes;
    PyObject *clock; /* NULL: the machine's */
    pid_t process;   /* that has the thread which judges */
};

static struct rollout_object *rollout_of(PyObject *self)
{
    return (struct rollout_object *)self;
}

/* Without the GIL. What there is no memory for is not told. */
static void on_event(void *user, const urza_rollout_event *event)
{
    struct rollout_object *self = user;
    size_t size = strlen(event->reason) + 1;
    struct change *change = malloc(sizeof *change + size);
    if (!change)
        return;
    *change = (struct change){.from = event->from, .to = event->to};
    memcpy(change->reason, event->reason, size);
    change->next = atomic_load(&self->changes);
    while (!atomic_compare_exchange_weak(&self->changes, &change->next, change))
        ;
}

/* The test's clock, of Python; on the thread of a call. */
static uint64_t on_clock(void *user)
{
    PyGILState_STATE before = PyGILState_Ensure();
    PyObject *told = PyObject_CallNoArgs(((struct rollout_object *)user)->clock);
    uint64_t ns = told ? PyLong_AsUnsignedLongLong(told) : 0;
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(((struct rollout_object *)user)->clock);
        ns = 0;
    }
    Py_XDECREF(told);
    PyGILState_Release(before);
    return ns;
}

static urza_module *module_of(PyObject *given)
{
    return ((struct module_object *)given)->module;
}

static PyObject *rollout_new(PyTypeObject *type, PyObject *args, PyObject *words)
{
    static char *names[] = {"champion", "challenger", "salt",  "sample_every",
                            "pairs",    "saved",      "clock", NULL};
    PyTypeObject *module = state_of_type(type)->module_type;
    PyObject *champion, *challenger, *clock = Py_None;
    unsigned long long salt = 0;
    unsigned int every = 0, pairs = 0;
    urza_rollout_options options = {.on_event = on_event};
    urza_error err;
    if (!PyArg_ParseTupleAndKeywords(args, words, "O!O!|$KIIzO:_Rollout", names, module, &champion,
                                     module, &challenger, &salt, &every, &pairs, &options.saved,
                                     &clock))
        return NULL;
    struct rollout_object *self = PyObject_New(struct rollout_object, type);
    if (!self)
        return NULL;
    self->rollout = NULL;
    self->clock = clock == Py_None ? NULL : Py_NewRef(clock);
    self->process = getpid();
    atomic_init(&self->changes, NULL);
    options.champion = module_of(champion);
    options.challenger = module_of(challenger);
    options.salt = salt;
    options.sample_every = every;
    options.pairs = pairs;
    options.user = self;
    options.clock = self->clock ? on_clock : NULL;
    if (urza_rollout_open(&options, &self->rollout, &err) == 0)
        return (PyObject *)self;
    raise_error(state_of_type(type), &err);
    Py_DECREF((PyObject *)self);
    return NULL;
}

static void rollout_dealloc(PyObject *object)
{
    struct rollout_object *self = rollout_of(object);
    PyTypeObject *type = Py_TYPE(object);
    /* The child of a fork has not the thread that closing would wait for. */
    if (self->process == getpid()) {
        Py_BEGIN_ALLOW_THREADS;
        urza_rollout_close(self->rollout);
        Py_END_ALLOW_THREADS;
        for (struct change *c = atomic_load(&self->changes), *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
    Py_XDECREF(self->clock);
    PyObject_Free(object);
    Py_DECREF((PyObject *)type);
}

static PyObject *rung_text(urza_rung rung)
{
    return PyUnicode_FromString(urza_rung_name(rung));
}

static PyObject *rollout_set(PyObject *self, PyObject *args)
{
    const char *name, *reason;
    urza_error err;
    if (!PyArg_ParseTuple(args, "ss:set", &name, &reason))
        return NULL;
    for (int rung = URZA_RUNG_OFF; rung <= URZA_RUNG_ROLLED_BACK; rung++) {
        if (strcmp(urza_rung_name((urza_rung)rung), name) != 0)
            continue;
        if (urza_rollout_set(rollout_of(self)->rollout, (urza_rung)rung, reason, &err) == 0)
            Py_RETURN_NONE;
        raise_error(state_of_type(Py_TYPE(self)), &err);
        return NULL;
    }
    return PyErr_Format(PyExc_ValueError, "there is no rung '%s'", name);
}

static PyObject *rollout_tick(PyObject *self, PyObject *unused)
{
    (void)unused;
    return rung_text(urza_rollout_tick(rollout_of(self)->rollout));
}

static PyObject *rollout_arm(PyObject *self, PyObject *args)
{
    unsigned long long slot, step;
    if (!PyArg_ParseTuple(args, "KK:arm", &slot, &step))
        return NULL;
    return PyLong_FromLong(urza_rollout_arm(rollout_of(self)->rollout, slot, step));
}

static PyObject *rollout_stats(PyObject *self, PyObject *unused)
{
    urza_rollout_stats s;
    (void)unused;
    urza_rollout_stats_get(rollout_of(self)->rollout, &s);
    return Py_BuildValue("{sssKsKsKsKsKsKsKsKsKsd}", "rung", urza_rung_name(s.rung), "calls",
                         (unsigned long long)s.calls, "arm_calls", (unsigned long long)s.arm_calls,
                         "challenger_calls", (unsigned long long)s.challenger_calls, "failures",
                         (unsigned long long)s.failures, "pairs", (unsigned long long)s.pairs,
                         "slower", (unsigned long long)s.slower, "judged",
                         (unsigned long long)s.judged, "wrong", (unsigned long long)s.wrong,
                         "dropped", (unsigned long long)s.dropped, "log_e", s.log_e);
}

static PyObject *rollout_save(PyObject *self, PyObject *unused)
{
    char text[1024];
    (void)unused;
    size_t size = urza_rollout_save(rollout_of(self)->rollout, text, sizeof text);
    if (size < sizeof text)
        return PyUnicode_FromString(text);
    PyErr_SetString(PyExc_SystemError, "a rollout's state is longer than it can be");
    return NULL;
}

/* The changes since the last call, the oldest first. */
static PyObject *rollout_changes(PyObject *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    (void)unused;
    if (!list)
        return NULL;
    for (struct change *c = atomic_exchange(&rollout_of(self)->changes, NULL), *next; c; c = next) {
        PyObject *one =
            list ? Py_BuildValue("(sss)", urza_rung_name(c->from), urza_rung_name(c->to), c->reason)
                 : NULL;
        if (list && (!one || PyList_Append(list, one) != 0))
            Py_CLEAR(list);
        Py_XDECREF(one);
        next = c->next;
        free(c);
    }
    if (list && PyList_Reverse(list) != 0)
        Py_CLEAR(list);
    return list;
}

static PyMethodDef rollout_methods[] = {
    {"set", rollout_set, METH_VARARGS, "set(rung, reason)"},
    {"tick", rollout_tick, METH_NOARGS, "tick() -> rung"},
    {"arm", rollout_arm, METH_VARARGS, "arm(slot, step) -> 1: the challenger"},
    {"stats", rollout_stats, METH_NOARGS, "stats() -> dict"},
    {"save", rollout_save, METH_NOARGS, "save() -> str"},
    {"changes", rollout_changes, METH_NOARGS,
     "changes() -> list of (from, to, reason); each is given once"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rollout_slots[] = {
    {Py_tp_doc, "A rollout of urza/rollout.h. Private."},
    {Py_tp_new, rollout_new},
    {Py_tp_dealloc, rollout_dealloc},
    {Py_tp_methods, rollout_methods},
    {0, NULL},
};

PyType_Spec rollout_spec = {
    .name = "urza._urza._Rollout",
    .basicsize = sizeof(struct rollout_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rollout_slots,
};

/* Of a slot. */

void slot_forget_rollouts(struct slot_object *slot, bool has_seed)
{
    slot->rolls = slot->rolls && has_seed;
    if (!slot->rollouts || atomic_load(&slot->busy) > 0)
        return;
    Py_ssize_t count = PyList_Size(slot->rollouts) - (slot->rolls ? 1 : 0);
    if (count > 0 && PyList_SetSlice(slot->rollouts, 0, count, NULL) != 0)
        PyErr_Clear(); /* they stay until the next time */
}

PyObject *slot_roll(PyObject *self, PyObject *args)
{
    struct slot_object *slot = (struct slot_object *)self;
    struct state *state = state_of_type(Py_TYPE(self));
    PyObject *given;
    unsigned long long number;
    urza_error err;
    if (!PyArg_ParseTuple(args, "OK:roll", &given, &number))
        return NULL;
    bool is_none = given == Py_None;
    if (!is_none && Py_TYPE(given) != state->rollout_type) {
        PyErr_SetString(PyExc_TypeError, "roll takes a rollout, or None");
        return NULL;
    }
    if (!slot->rollouts && !(slot->rollouts = PyList_New(0)))
        return NULL;
    /* Before calls see it, so that nothing can fail afterwards. */
    if (!is_none && PyList_Append(slot->rollouts, given) != 0)
        return NULL;
    if (urza_slot_roll(slot->slot, is_none ? NULL : rollout_of(given)->rollout, number, &err) !=
        0) {
        Py_ssize_t count = PyList_Size(slot->rollouts);
        PyList_SetSlice(slot->rollouts, count - 1, count, NULL);
        raise_error(state, &err);
        return NULL;
    }
    slot->rolls = !is_none;
    slot_forget_rollouts(slot, true);
    Py_RETURN_NONE;
}
