/* _urza._Slot and its tapes: urza/layer.h for Python, thin. A call of the seed runs without the
 * GIL. What changes a slot's state keeps it, so one thread at a time does that.
 *
 * A tape owns what the runtime reads until it was used: the arrays of its forward call, and what
 * was borrowed of them. It also keeps its slot. */
#include "extension.h"

#include <string.h>

#include "urza/layer.h"

#define EVENTS_AT_ONCE 16

/* Arrays as tensors. */
struct arrays {
    uint32_t count;
    DLTensor *tensors;
    struct lease *leases;
    PyObject **objects; /* referenced */
};

struct slot_tape {
    PyObject_HEAD struct slot_object *slot; /* referenced */
    urza_slot_tape *tape;                   /* NULL: used up */
    struct arrays arrays;
};

static struct state *state_of(PyObject *self)
{
    return state_of_type(Py_TYPE(self));
}

static urza_slot *slot_of(PyObject *self)
{
    return ((struct slot_object *)self)->slot;
}

static bool state_has_seed(urza_slot_state state)
{
    return state >= URZA_GERMINATED && state <= URZA_FOSSILIZED;
}

static PyObject *none_or_error(PyObject *self, int code, const urza_error *err)
{
    if (code == 0)
        Py_RETURN_NONE;
    raise_error(state_of(self), err);
    return NULL;
}

/* Arrays. */

static bool arrays_init(struct arrays *arrays, size_t most)
{
    *arrays = (struct arrays){.tensors = PyMem_Calloc(most, sizeof *arrays->tensors),
                              .leases = PyMem_Calloc(most, sizeof *arrays->leases),
                              .objects = PyMem_Calloc(most, sizeof *arrays->objects)};
    if (arrays->tensors && arrays->leases && arrays->objects)
        return true;
    PyErr_NoMemory();
    return false;
}

static void arrays_release(struct arrays *arrays)
{
    for (uint32_t i = 0; i < arrays->count; i++) {
        lease_end(&arrays->leases[i]);
        Py_XDECREF(arrays->objects[i]);
    }
    PyMem_Free(arrays->tensors);
    PyMem_Free(arrays->leases);
    PyMem_Free(arrays->objects);
    *arrays = (struct arrays){0};
}

static bool lease_array(struct state *state, PyObject *array, const struct role *role,
                        struct lease *lease, DLTensor *out)
{
    struct kind *kind = kind_get(state, Py_TYPE(array));
    bool ok = kind && array_tensor(state, array, kind, role, lease, out);
    kind_put(kind);
    return ok;
}

/* None becomes a tensor without memory. */
static bool arrays_add(struct state *state, struct arrays *arrays, PyObject *array,
                       const struct role *role)
{
    uint32_t i = arrays->count;
    if (array != Py_None &&
        !lease_array(state, array, role, &arrays->leases[i], &arrays->tensors[i]))
        return false;
    arrays->objects[i] = Py_NewRef(array);
    arrays->count++;
    return true;
}

static bool arrays_add_all(struct state *state, struct arrays *arrays, PyObject *list,
                           const struct role *role)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(list); i++)
        if (!arrays_add(state, arrays, PyTuple_GetItem(list, i), role))
            return false;
    return true;
}

/* Opening. */

static int read_name(const char *given, const char *const *names, int count, const char *what)
{
    for (int i = 0; i < count; i++)
        if (strcmp(given, names[i]) == 0)
            return i;
    PyErr_Format(PyExc_ValueError, "there is no %s '%s'", what, given);
    return -1;
}

static const char *const curves[] = {"linear", "cosine", "sigmoid"};
static const char *const commands[] = {"blend", "hold", "prune", "fossilize"};
#define READ_NAME(given, names, what) \
    read_name(given, names, (int)(sizeof(names) / sizeof *(names)), what)

static int read_count(PyObject *value, void *out)
{
    unsigned long number = PyLong_Check(value) ? PyLong_AsUnsignedLong(value) : 0;
    if (!PyLong_Check(value) || PyErr_Occurred() || number > UINT32_MAX) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%R is no number from 0 to 4294967295", value);
        return 0;
    }
    *(uint32_t *)out = (uint32_t)number;
    return 1;
}

static PyObject *slot_new(PyTypeObject *type, PyObject *args, PyObject *words)
{
    static char *names[] = {
        "name",           "blend",      "through",       "boost",           "curve",
        "gradient_ratio", "gain",       "random_seed",   "germinate_ticks", "train_ticks",
        "blend_ticks",    "hold_ticks", "embargo_ticks", "faults_most",     NULL};
    urza_slot_options o = {.name = ""};
    const char *blend = graft_blends[0], *curve = curves[0];
    unsigned long long random = 0;
    urza_error err;
    if (!PyArg_ParseTupleAndKeywords(
            args, words, "|$ssppsddKO&O&O&O&O&O&:_Slot", names, &o.name, &blend, &o.through,
            &o.boost, &curve, &o.gradient_ratio, &o.gain, &random, read_count, &o.germinate_ticks,
            read_count, &o.train_ticks, read_count, &o.blend_ticks, read_count, &o.hold_ticks,
            read_count, &o.embargo_ticks, read_count, &o.faults_most))
        return NULL;
    int blend_at = read_name(blend, graft_blends, GRAFT_BLENDS, "blend");
    int curve_at = blend_at < 0 ? -1 : READ_NAME(curve, curves, "curve");
    if (curve_at < 0)
        return NULL;
    o.blend = (urza_blend)blend_at;
    o.curve = (urza_curve)curve_at;
    o.random_seed = random;
    struct slot_object *self = PyObject_New(struct slot_object, type);
    if (!self)
        return NULL;
    self->slot = NULL;
    self->rollouts = NULL;
    self->rolls = false;
    atomic_init(&self->busy, 0);
    if (urza_slot_open(&o, &self->slot, &err) == 0)
        return (PyObject *)self;
    raise_error(state_of_type(type), &err);
    Py_DECREF((PyObject *)self);
    return NULL;
}

static void slot_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    urza_slot_close(slot_of(self));
    Py_XDECREF(((struct slot_object *)self)->rollouts);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

/* Seeds. */

static bool read_module(PyObject *self, PyObject *given, urza_module **out)
{
    if (Py_TYPE(given) != state_of(self)->module_type) {
        PyErr_SetString(PyExc_TypeError, "a seed is a urza.Module");
        return false;
    }
    *out = ((struct module_object *)given)->module;
    return true;
}

static PyObject *slot_plant(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *given = Py_None;
    urza_module *module = NULL;
    uint32_t seed;
    urza_error err;
    if (!PyArg_ParseTuple(args, "s|O:plant", &name, &given) ||
        (given != Py_None && !read_module(self, given, &module)))
        return NULL;
    int code = urza_slot_plant(slot_of(self), name, module, &seed, &err);
    if (code == 0)
        return PyLong_FromUnsignedLong(seed);
    return none_or_error(self, code, &err);
}

static PyObject *slot_supply(PyObject *self, PyObject *args)
{
    uint32_t seed;
    PyObject *given;
    urza_module *module;
    urza_error err;
    if (!PyArg_ParseTuple(args, "O&O:supply", read_count, &seed, &given) ||
        !read_module(self, given, &module))
        return NULL;
    return none_or_error(self, urza_slot_supply(slot_of(self), seed, module, &err), &err);
}

static PyObject *slot_refuse(PyObject *self, PyObject *args)
{
    uint32_t seed;
    const char *reason;
    if (!PyArg_ParseTuple(args, "O&s:refuse", read_count, &seed, &reason))
        return NULL;
    urza_slot_refuse(slot_of(self), seed, reason);
    Py_RETURN_NONE;
}

/* Calls. */

static struct slot_tape *tape_new(PyObject *self, struct arrays *arrays)
{
    struct slot_tape *tape = PyObject_New(struct slot_tape, state_of(self)->slot_tape_type);
    if (!tape)
        return NULL;
    tape->slot = (struct slot_object *)Py_NewRef(self);
    atomic_fetch_add(&tape->slot->busy, 1);
    tape->tape = NULL;
    tape->arrays = *arrays;
    *arrays = (struct arrays){0};
    return tape;
}

static void tape_dealloc(PyObject *self)
{
    struct slot_tape *tape = (struct slot_tape *)self;
    PyTypeObject *type = Py_TYPE(self);
    urza_slot_tape_release(tape->tape);
    arrays_release(&tape->arrays);
    atomic_fetch_sub(&tape->slot->busy, 1);
    Py_DECREF((PyObject *)tape->slot);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

/* What a forward call is given. */
struct given {
    unsigned long long step;
    PyObject *h, *params, *factors, *y; /* params: a tuple, or None for the module's own */
    int learns;
};

static const struct role role_h = {"input", "h", false, true}, role_y = {"output", "y", true, true},
                         role_params = {"input", "params", false, true},
                         role_factors = {"input", "factors", false, true};

/* Arrays in the order h, y, factors, parameters. */
static bool take(PyObject *self, const struct given *given, struct arrays *arrays)
{
    struct state *state = state_of(self);
    size_t params = given->params == Py_None ? 0 : (size_t)PyTuple_Size(given->params);
    return arrays_init(arrays, params + 3) && arrays_add(state, arrays, given->h, &role_h) &&
           arrays_add(state, arrays, given->y, &role_y) &&
           arrays_add(state, arrays, given->factors, &role_factors) &&
           (params == 0 || arrays_add_all(state, arrays, given->params, &role_params));
}

/* A call without a seed: nothing but h is looked at. No other thread changes the state meanwhile,
 * as that needs the GIL. */
static PyObject *forward_host(PyObject *self, const struct given *given)
{
    struct lease lease;
    DLTensor h, y = {0};
    urza_error err;
    if (!lease_array(state_of(self), given->h, &role_h, &lease, &h))
        return NULL;
    const urza_slot_call call = {.step = given->step, .h = &h, .y = &y};
    int code = urza_slot_forward(slot_of(self), &call, NULL, &err);
    lease_end(&lease);
    return code == 0 ? Py_NewRef(state_of(self)->host) : none_or_error(self, code, &err);
}

static PyObject *forward_seed(PyObject *self, const struct given *given, struct arrays *arrays)
{
    urza_slot_tape *made = NULL;
    urza_error err;
    int code;
    DLTensor *t = arrays->tensors, y = t[1];
    bool own_params = given->params == Py_None;
    const urza_slot_call call = {.step = given->step,
                                 .h = &t[0],
                                 .params = own_params ? NULL : t + 3,
                                 .param_count = arrays->count - 3,
                                 .factors = given->factors == Py_None ? NULL : &t[2],
                                 .y = &y};
    /* Its memory comes first: a tape that cannot be kept would be lost. */
    struct slot_tape *tape = NULL;
    if (given->learns && !(tape = tape_new(self, arrays)))
        return NULL;
    atomic_fetch_add(&((struct slot_object *)self)->busy, 1);
    Py_BEGIN_ALLOW_THREADS;
    code = urza_slot_forward(slot_of(self), &call, given->learns ? &made : NULL, &err);
    Py_END_ALLOW_THREADS;
    atomic_fetch_sub(&((struct slot_object *)self)->busy, 1);
    PyObject *result = NULL, *is_host = y.data == t[0].data ? Py_True : Py_False;
    if (tape)
        tape->tape = code == 0 ? made : NULL;
    if (code == 0)
        result = PyTuple_Pack(2, is_host, made ? (PyObject *)tape : Py_None);
    else
        raise_error(state_of(self), &err);
    Py_XDECREF((PyObject *)tape);
    return result;
}

static PyObject *slot_forward(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "forward takes step, h, params, factors, y, learns");
        return NULL;
    }
    struct given given = {.h = args[1], .params = args[2], .factors = args[3], .y = args[4]};
    given.step = PyLong_AsUnsignedLongLong(args[0]);
    given.learns = PyObject_IsTrue(args[5]);
    if (PyErr_Occurred())
        return NULL;
    if (!state_has_seed(urza_slot_state_get(slot_of(self))))
        return forward_host(self, &given);
    if (given.y == Py_None)
        Py_RETURN_NONE;
    if (given.params != Py_None && !PyTuple_Check(given.params)) {
        PyErr_SetString(PyExc_TypeError, "params is a tuple, or None");
        return NULL;
    }
    struct arrays arrays = {0};
    PyObject *result = take(self, &given, &arrays) ? forward_seed(self, &given, &arrays) : NULL;
    arrays_release(&arrays);
    return result;
}

static bool read_tape(PyObject *self, PyObject *given, urza_slot_tape **out)
{
    *out = NULL;
    if (given == Py_None)
        return true;
    if (Py_TYPE(given) != state_of(self)->slot_tape_type) {
        PyErr_SetString(PyExc_TypeError, "tape is what forward gave, or None");
        return false;
    }
    struct slot_tape *tape = (struct slot_tape *)given;
    if (!tape->tape || (PyObject *)tape->slot != self) {
        PyErr_SetString(PyExc_ValueError,
                        tape->tape ? "the tape is of another slot" : "the tape was used before");
        return false;
    }
    *out = tape->tape;
    return true;
}

static PyObject *slot_backward(PyObject *self, PyObject *args)
{
    static const struct role role_dy = {"input", "dy", false, false},
                             role_dh = {"output", "dh", true, false},
                             role_dparams = {"output", "dparams", true, false};
    PyObject *given, *dy, *dh, *dparams, *result = NULL;
    urza_slot_tape *tape;
    struct arrays arrays = {0};
    int accumulate = 0, code;
    urza_error err;
    if (!PyArg_ParseTuple(args, "OOOO!|p:backward", &given, &dy, &dh, &PyTuple_Type, &dparams,
                          &accumulate) ||
        !read_tape(self, given, &tape))
        return NULL;
    struct state *state = state_of(self);
    if (!arrays_init(&arrays, (size_t)PyTuple_Size(dparams) + 2) ||
        !arrays_add(state, &arrays, dy, &role_dy) || !arrays_add(state, &arrays, dh, &role_dh) ||
        !arrays_add_all(state, &arrays, dparams, &role_dparams))
        goto out;
    /* Looking at arrays may run Python, which may have used the tape. */
    if (!read_tape(self, given, &tape))
        goto out;
    if (tape)
        ((struct slot_tape *)given)->tape = NULL;
    DLTensor *t = arrays.tensors;
    const urza_slot_gradients gradients = {.dy = &t[0],
                                           .dh = &t[1],
                                           .params = t + 2,
                                           .param_count = arrays.count - 2,
                                           .flags = accumulate ? URZA_ACCUMULATE : 0};
    Py_BEGIN_ALLOW_THREADS;
    code = urza_slot_backward(slot_of(self), tape, &gradients, &err);
    Py_END_ALLOW_THREADS;
    result = code == 0 ? PyBool_FromLong(t[1].data == t[0].data) : none_or_error(self, code, &err);
out:
    arrays_release(&arrays);
    return result;
}

/* States. */

static PyObject *slot_tick(PyObject *self, PyObject *args, PyObject *words)
{
    static char *names[] = {"gain", "host_norm", "host_parameters", NULL};
    PyObject *gain = Py_None;
    urza_metrics metrics = {0};
    double value;
    if (!PyArg_ParseTupleAndKeywords(args, words, "|$Odd:tick", names, &gain, &metrics.host_norm,
                                     &metrics.host_parameters))
        return NULL;
    if (gain != Py_None) {
        value = PyFloat_AsDouble(gain);
        if (PyErr_Occurred())
            return NULL;
        metrics.gain = &value;
    }
    urza_slot_state state = urza_slot_tick(slot_of(self), &metrics);
    slot_forget_rollouts((struct slot_object *)self, state_has_seed(state));
    return PyUnicode_FromString(urza_slot_state_name(state));
}

static PyObject *slot_command(PyObject *self, PyObject *args, PyObject *words)
{
    static char *names[] = {"kind", "ticks", "target", "curve", NULL};
    const char *kind, *curve = curves[0];
    urza_command command = {0};
    urza_error err;
    if (!PyArg_ParseTupleAndKeywords(args, words, "s|O&ds:command", names, &kind, read_count,
                                     &command.ticks, &command.target, &curve))
        return NULL;
    int kind_at = READ_NAME(kind, commands, "command");
    int curve_at = kind_at < 0 ? -1 : READ_NAME(curve, curves, "curve");
    if (curve_at < 0)
        return NULL;
    command.kind = (urza_command_kind)kind_at;
    command.curve = (urza_curve)curve_at;
    return none_or_error(self, urza_slot_command(slot_of(self), &command, &err), &err);
}

static bool append_event(PyObject *list, const urza_slot_event *event)
{
    PyObject *one =
        Py_BuildValue("{sssssssssIsKsK}", "kind", urza_slot_event_name(event->kind), "reason",
                      event->reason, "from", urza_slot_state_name(event->from), "to",
                      urza_slot_state_name(event->to), "seed", event->seed, "tick",
                      (unsigned long long)event->tick, "count", (unsigned long long)event->count);
    bool ok = one && PyList_Append(list, one) == 0;
    Py_XDECREF(one);
    return ok;
}

static PyObject *slot_events(PyObject *self, PyObject *unused)
{
    urza_slot_event events[EVENTS_AT_ONCE];
    uint32_t count = EVENTS_AT_ONCE;
    PyObject *list = PyList_New(0);
    (void)unused;
    while (list && count == EVENTS_AT_ONCE) {
        urza_slot_events(slot_of(self), events, &count);
        for (uint32_t i = 0; list && i < count; i++)
            if (!append_event(list, &events[i]))
                Py_CLEAR(list);
    }
    return list;
}

/* A call may add to a count between the two writings, so there is some room more. */
static PyObject *text_of(PyObject *self,
                         size_t (*write)(const urza_slot *slot, char *text, size_t room))
{
    size_t room = write(slot_of(self), NULL, 0) + 256;
    char *text = PyMem_Malloc(room);
    if (!text)
        return PyErr_NoMemory();
    write(slot_of(self), text, room);
    PyObject *result = PyUnicode_FromString(text);
    PyMem_Free(text);
    return result;
}

static PyObject *slot_save(PyObject *self, PyObject *unused)
{
    (void)unused;
    return text_of(self, urza_slot_save);
}

static PyObject *slot_decision(PyObject *self, PyObject *unused)
{
    (void)unused;
    return text_of(self, urza_slot_decision);
}

static PyObject *slot_restore(PyObject *self, PyObject *args)
{
    const char *text;
    urza_error err;
    if (!PyArg_ParseTuple(args, "s:restore", &text))
        return NULL;
    return none_or_error(self, urza_slot_restore(slot_of(self), text, &err), &err);
}

static PyObject *slot_apply(PyObject *self, PyObject *args)
{
    const char *text;
    urza_error err;
    if (!PyArg_ParseTuple(args, "s:apply", &text))
        return NULL;
    return none_or_error(self, urza_slot_apply(slot_of(self), text, &err), &err);
}

static PyObject *get_state(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(urza_slot_state_name(urza_slot_state_get(slot_of(self))));
}

static PyObject *get_has_seed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(state_has_seed(urza_slot_state_get(slot_of(self))));
}

static PyObject *get_alpha(PyObject *self, void *unused)
{
    (void)unused;
    return PyFloat_FromDouble(urza_slot_alpha(slot_of(self)));
}

#define METHOD(name, flags, doc) {#name, (PyCFunction)(void (*)(void))slot_##name, flags, doc}
static PyMethodDef slot_methods[] = {
    METHOD(plant, METH_VARARGS, "plant(name, module=None) -> seed"),
    METHOD(supply, METH_VARARGS, "supply(seed, module)"),
    METHOD(refuse, METH_VARARGS, "refuse(seed, reason)"),
    METHOD(forward, METH_FASTCALL,
           "forward(step, h, params, factors, y, learns) -> (whether the result is h, tape), or "
           "None where y is None and memory for it is needed"),
    METHOD(backward, METH_VARARGS,
           "backward(tape, dy, dh, dparams, accumulate=False) -> whether dh is dy"),
    METHOD(tick, METH_VARARGS | METH_KEYWORDS,
           "tick(*, gain=None, host_norm=0, host_parameters=0) -> state"),
    METHOD(roll, METH_VARARGS, "roll(rollout or None, number)"),
    METHOD(command, METH_VARARGS | METH_KEYWORDS,
           "command(kind, ticks=0, target=0, curve='linear')"),
    METHOD(events, METH_NOARGS, "events() -> list of dict; each is given once"),
    METHOD(save, METH_NOARGS, "save() -> str"),
    METHOD(restore, METH_VARARGS, "restore(str)"),
    METHOD(decision, METH_NOARGS, "decision() -> str"),
    METHOD(apply, METH_VARARGS, "apply(str)"),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef slot_attributes[] = {
    {"state", get_state, NULL, "Its name, such as 'DORMANT'.", NULL},
    {"has_seed", get_has_seed, NULL, "Whether its state has one: else calls give h.", NULL},
    {"alpha", get_alpha, NULL, "How far the seed is blended in.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slot_slots[] = {
    {Py_tp_doc, "A slot of urza/layer.h. Private."},
    {Py_tp_new, slot_new},
    {Py_tp_dealloc, slot_dealloc},
    {Py_tp_methods, slot_methods},
    {Py_tp_getset, slot_attributes},
    {0, NULL},
};

PyType_Spec slot_spec = {
    .name = "urza._urza._Slot",
    .basicsize = sizeof(struct slot_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slot_slots,
};

static PyType_Slot tape_slots[] = {
    {Py_tp_doc, "What a slot's backward pass needs of its forward call. Private."},
    {Py_tp_dealloc, tape_dealloc},
    {0, NULL},
};

PyType_Spec slot_tape_spec = {
    .name = "urza._urza._Tape",
    .basicsize = sizeof(struct slot_tape),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tape_slots,
};
