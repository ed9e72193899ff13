/* A call of a module: arguments are tensors (bind.c), which urza_call gets.
 *
 * The GIL is released for calls that take long. Giving it back and getting it again costs little,
 * but who gets it again may wait for another thread's time slice, of milliseconds. So calls are
 * timed: those of shapes that took less than LONG_NS keep it. What is known of shapes is in a small
 * table in the module, by a hash of all dims; an entry that others overwrite is measured again.
 *
 *   unseen ─► seen once (the first call lays its shapes out) ─► short ◄─► long
 *
 * Reading the clock costs a tenth of a short call, so of these one in SAMPLE is timed: a loop of
 * the model may take longer with other values. */
#include "extension.h"

#include <string.h>
#include <time.h>

#define LONG_NS 10000
#define SMALL 8 /* tensors of a call that needs no memory for its arguments */

/* The low bits of an entry: a pace, above it a count of short calls; the others are of the hash. */
enum pace { PACE_UNSEEN, PACE_SEEN, PACE_SHORT, PACE_LONG };
#define PACE_MASK ((uint64_t)3)
#define COUNT_ONE ((uint64_t)4)
#define SAMPLE 16
#define KEY_MASK (~(SAMPLE * COUNT_ONE - 1))

/* The run. */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t hash_shapes(const struct call *call)
{
    uint64_t hash = 0x9e3779b97f4a7c15;
    for (uint32_t i = 0; i < call->input_count; i++)
        for (int32_t k = 0; k < call->tensors[i].ndim && k < RANK_MOST; k++)
            hash = (hash ^ (uint64_t)call->tensors[i].shape[k]) * 0xff51afd7ed558ccd;
    return hash ^ hash >> 32;
}

static int run_timed(struct call *call, urza_result **hold, uint64_t *out_took, urza_error *err)
{
    uint64_t began = now_ns();
    int code = urza_call(call->module->module, call->tensors, call->input_count,
                         call->tensors + call->input_count, call->output_count, hold, err);
    *out_took = now_ns() - began;
    return code;
}

/* hold NULL: all outputs are the caller's. */
static int run(struct call *call, urza_result **hold, urza_error *err)
{
    uint64_t hash = hash_shapes(call), key = hash & KEY_MASK, took;
    atomic_uint_fast64_t *entry = &call->module->pace[hash >> 32 & (PACE_ENTRIES - 1)];
    uint64_t known = atomic_load_explicit(entry, memory_order_relaxed);
    enum pace pace = (known & KEY_MASK) == key ? known & PACE_MASK : PACE_UNSEEN;
    if (pace == PACE_SHORT) {
        uint64_t next = key | ((known + COUNT_ONE) & ~KEY_MASK);
        atomic_store_explicit(entry, next, memory_order_relaxed);
        if ((next & ~KEY_MASK) >= COUNT_ONE) /* the count has not come round */
            return urza_call(call->module->module, call->tensors, call->input_count,
                             call->tensors + call->input_count, call->output_count, hold, err);
    }
    PyThreadState *thread = pace == PACE_SHORT ? NULL : PyEval_SaveThread();
    int code = run_timed(call, hold, &took, err);
    if (thread)
        PyEval_RestoreThread(thread);
    enum pace next = pace == PACE_UNSEEN ? PACE_SEEN : took < LONG_NS ? PACE_SHORT : PACE_LONG;
    if (code == 0 && next != pace)
        atomic_store_explicit(entry, key | next, memory_order_relaxed);
    return code;
}

static PyObject *run_into(struct call *call, PyObject *out)
{
    urza_error err;
    if (run(call, NULL, &err) == 0)
        return Py_NewRef(out);
    raise_error(call->state, &err);
    return NULL;
}

static PyObject *run_new(struct call *call)
{
    static const struct kind own = {.result = RESULT_OWN};
    urza_error err;
    urza_result *hold;
    DLTensor *outputs = call->tensors + call->input_count;
    for (uint32_t i = 0; i < call->output_count; i++)
        outputs[i] = (DLTensor){.shape = call->shapes[i]};
    if (run(call, &hold, &err) != 0) {
        raise_error(call->state, &err);
        return NULL;
    }
    struct held *held = held_of_result(hold);
    const struct kind *kind = call->kind ? call->kind : &own;
    _Atomic(PyObject *) *dtypes = &call->module->numpy_dtypes;
    if (!held)
        return NULL;
    return call->output_count == 1
               ? result_as(call->state, kind, held, outputs, dtypes)
               : results_as(call->state, kind, held, outputs, call->output_count, dtypes);
}

static PyObject *call_with(struct call *call, PyObject *const *args, size_t count, PyObject *words)
{
    PyObject *out, *result = NULL;
    if (call_bind(call, args, count, words, call->state->name_out, &out) &&
        call_take_inputs(call, false)) {
        if (out == Py_None)
            result = run_new(call);
        else if (call_take_outputs(call, out))
            result = run_into(call, out);
    }
    call_end(call);
    return result;
}

static PyObject *call_large(struct call *call, PyObject *const *args, size_t count, PyObject *words)
{
    PyObject *result = NULL;
    size_t tensors = (size_t)call->input_count + call->output_count; /* LIMIT_OPERANDS, at most */
    call->arrays = PyMem_Calloc(tensors, sizeof *call->arrays);
    call->tensors = PyMem_Calloc(tensors, sizeof *call->tensors);
    call->leases = PyMem_Calloc(tensors, sizeof *call->leases);
    call->shapes = PyMem_Calloc(tensors, sizeof *call->shapes);
    if (call->arrays && call->tensors && call->leases && call->shapes)
        result = call_with(call, args, count, words);
    else
        PyErr_NoMemory();
    PyMem_Free(call->arrays);
    PyMem_Free(call->tensors);
    PyMem_Free(call->leases);
    PyMem_Free(call->shapes);
    return result;
}

PyObject *module_call(PyObject *self, PyObject *const *args, size_t nargs_flag, PyObject *words)
{
    PyObject *arrays[SMALL];
    DLTensor tensors[SMALL];
    struct lease leases[SMALL];
    int64_t shapes[SMALL][RANK_MOST];
    struct module_object *module = (struct module_object *)self;
    struct call call = {.state = state_of_type(Py_TYPE(self)),
                        .module = module,
                        .input_count = urza_input_count(module->module),
                        .output_count = urza_output_count(module->module)};
    size_t count = nargs_flag & ~VECTORCALL_ARGUMENTS_OFFSET;
    if (call.input_count + call.output_count > SMALL)
        return call_large(&call, args, count, words);
    call.arrays = arrays;
    call.tensors = tensors;
    call.leases = leases;
    call.shapes = shapes;
    return call_with(&call, args, count, words);
}
