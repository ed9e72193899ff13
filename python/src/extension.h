/* Inside the extension `_urza`: Python's side of the runtime. Limited API of CPython 3.11; no
 * library of arrays is linked or included.
 *
 *   extension.c   the module: exceptions, names, types
 *   module.c      urza.Module: a loaded package, its attributes
 *   bind.c        arguments to tensors
 *   call.c        a call of it: GIL, results
 *   train.c       forward_train and urza.Tape
 *   kind.c        what is known of a type of arrays, found once per type
 *   array.c       an array as a tensor, without copying
 *   slot.c        _Slot: a place in a network for grafts, and its tapes
 *   graft.c       what a graft says of itself
 *   roll.c        _Rollout: another kernel for a slot's seed
 *   governor.c    _Governor: whether a loss explodes
 *   tensor.c      urza.Tensor: a result's memory; results as arrays of the first input's kind
 *   ffi.c         modules as custom calls of XLA, for urza.jax (xla.h)
 *
 * Unless said otherwise functions need the GIL (or, in a build without one, an attached thread),
 * and a function that returns false, NULL or −1 has set a Python exception. What is shared between
 * threads does not change once it is visible, or is atomic. */
#ifndef URZA_PYTHON_EXTENSION_H
#define URZA_PYTHON_EXTENSION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "managed.h"
#include "urza/run.h"

#define RANK_MOST 8    /* urza_call writes so many dims */
#define ERRORS_MOST 64 /* more classes of errors than there are */

/* Slots before the bit of Py_TPFLAGS_HAVE_VECTORCALL and the member "__vectorcalloffset__" are
 * public since CPython 3.9, and named in the limited API since 3.12; they never changed. */
#define TYPE_HAS_VECTORCALL (1UL << 11)
#define VECTORCALL_ARGUMENTS_OFFSET ((size_t)1 << (8 * sizeof(size_t) - 1))
typedef PyObject *(*vectorcall_fn)(PyObject *callable, PyObject *const *args, size_t nargs_flag,
                                   PyObject *kwnames);

/* How arrays of a type are read, and how results of that kind are made. */
enum result_kind {
    RESULT_OWN,   /* urza.Tensor */
    RESULT_TABLE, /* by the type's table */
    RESULT_NUMPY, /* numpy.ndarray over a urza.Tensor */
    RESULT_FROM,  /* from_dlpack of the type's library */
};

struct kind {
    struct kind *next;
    PyTypeObject *type;             /* referenced */
    const DLPackExchangeAPI *table; /* NULL: the type has none */
    PyObject *grad;                 /* the type's attribute requires_grad; NULL: it has none */
    descrgetfunc get_grad;          /* gives it of an array; NULL: it is no descriptor */
    bool cached;                    /* lives as long as the extension */
    atomic_bool writable;           /* tensors by the table may be written; false: not known */
    enum result_kind result;
    PyObject *make; /* RESULT_NUMPY: numpy.ndarray; RESULT_FROM: from_dlpack; else NULL */
};

struct state {
    PyObject *errors[ERRORS_MOST]; /* classes by code; [0] is urza.Error */
    PyTypeObject *module_type, *tensor_type, *tape_type, *slot_type, *slot_tape_type;
    PyTypeObject *rollout_type, *governor_type;
    PyTypeObject *tensor_info, *dim_info;
    PyObject *host;                 /* (True, None): a call of a slot gave h, and nothing learns */
    PyObject *empty, *dlpack_words; /* arguments of __dlpack__ */
    PyObject *name_dlpack, *name_device, *name_table, *name_old_table, *name_grad, *name_is_neg,
        *name_out, *name_params;
    _Atomic(struct kind *) kinds;
    atomic_uint kind_count;
};
/* Of the module that defines a type of ours. */
struct state *state_of_type(PyTypeObject *type);
/* Sets the exception of an error's class, and its place. */
void raise_error(struct state *state, const urza_error *err);
/* The same with a class that is named, "InvalidInputError"; place may be NULL. */
void raise_named(struct state *state, const char *name, const char *place, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Calls a function of urza._kinds. */
PyObject *call_helper(struct state *state, const char *name, PyObject *a, PyObject *b);

/* kind.c */

/* Never NULL without an exception; for kind_put. */
struct kind *kind_get(struct state *state, PyTypeObject *type);
void kind_put(struct kind *kind);
void kinds_release(struct state *state);

/* array.c */

/* What an array is to a call, for messages. */
struct role {
    const char *what; /* "input", "output" */
    const char *name;
    bool writable;
    bool keep; /* the tensor is needed longer than the array is borrowed */
};
/* What must be given back when a tensor is not needed any more. */
struct lease {
    enum { LEASE_NONE, LEASE_VIEW, LEASE_OBJECT, LEASE_MANAGED } form;
    union {
        Py_buffer view;
        PyObject *object;
        DLManagedTensorVersioned *managed;
    };
    int64_t shape[RANK_MOST], strides[RANK_MOST]; /* of a view */
};
/* Describes an array's memory; *out and what it points to are valid until lease_end, while the
 * array is referenced and not changed by others. On failure there is nothing to give back. */
bool array_tensor(struct state *state, PyObject *array, struct kind *kind, const struct role *role,
                  struct lease *lease, DLTensor *out);
void lease_end(struct lease *lease);
/* The name of a dtype as NumPy has it ("float32"); NULL: it is none of the runtime's. */
const char *array_dtype(DLDataType dtype);
const char *array_format(DLDataType dtype); /* of PEP 3118; NULL: it has none */

/* tensor.c */

extern PyType_Spec tensor_spec;
/* A piece of memory with results, which is counted: owner of a call's result, or memory of its own.
 * Neither function needs the GIL. */
struct held;
/* NULL with an exception; takes result over in any case. */
struct held *held_of_result(urza_result *result);
/* 64-aligned; *out_memory is not initialised. NULL with an exception. */
struct held *held_of_bytes(size_t bytes, char **out_memory);
struct held *held_ref(struct held *held); /* returns it */
void held_unref(struct held *held);       /* accepts NULL */

/* Makes objects of dense tensors in held, of which it takes a reference over in any case: a tuple.
 * numpy_dtypes: where a tuple of their dtypes for NumPy is kept; NULL: nowhere. */
PyObject *results_as(struct state *state, const struct kind *kind, struct held *held,
                     const DLTensor *tensors, uint32_t count, _Atomic(PyObject *) *numpy_dtypes);
/* The same of one: the object itself. */
PyObject *result_as(struct state *state, const struct kind *kind, struct held *held,
                    const DLTensor *tensor, _Atomic(PyObject *) *numpy_dtypes);

/* module.c */

#define PACE_ENTRIES 64
struct module_object {
    PyObject ob_base;
    vectorcall_fn vectorcall;
    PyObject *weak_references;
    urza_module *module;
    PyObject *input_names;                      /* a tuple of interned strings */
    PyObject *inputs, *outputs, *params, *dims; /* what attributes show */
    PyObject *options;                          /* as urza.load has them, for pickling */
    _Atomic(PyObject *) numpy_dtypes;           /* a tuple; NULL: not needed yet */
    atomic_bool is_target;                      /* ffi.c has it in its list */
    atomic_uint_fast64_t pace[PACE_ENTRIES];    /* call.c */
};
extern PyType_Spec module_spec;
PyObject *module_load(PyObject *extension, PyObject *const *args, Py_ssize_t count);

/* bind.c */

/* A call, or a step of training. */
struct call {
    struct state *state;
    struct module_object *module;
    uint32_t input_count, output_count;
    PyObject **arrays;            /* of inputs; borrowed from the caller */
    DLTensor *tensors;            /* inputs, then outputs */
    struct lease *leases;         /* of tensors */
    int64_t (*shapes)[RANK_MOST]; /* of outputs in the runtime's memory */
    struct kind *kind;            /* of the first input; NULL: there is none */
    uint32_t leased;              /* the first so many tensors have leases */
};

/* Binds arguments to inputs; the keyword named special is none: Py_None where it is not given.
 */
bool call_bind(struct call *call, PyObject *const *args, size_t count, PyObject *words,
               PyObject *special, PyObject **out_special);
/* Sees one more array as a tensor. out_kind: where its kind goes, for kind_put; may be NULL. */
bool call_take(struct call *call, PyObject *array, const struct role *role, struct kind **out_kind);
bool call_take_inputs(struct call *call, bool keep);
bool call_take_outputs(struct call *call, PyObject *out);
void call_end(struct call *call); /* gives back what was taken */

/* train.c */

extern PyType_Spec tape_spec;
PyObject *module_forward_train(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *words);

/* slot.c */
extern PyType_Spec slot_spec, slot_tape_spec;
struct slot_object {
    PyObject_HEAD struct urza_slot *slot;
    atomic_size_t busy; /* calls that run, and tapes: a rollout may be in use */
    PyObject *rollouts; /* a list of those that are open for the slot; NULL: none yet */
    bool rolls;         /* the last one is the slot's; the others may be in use still */
};

/* roll.c */
extern PyType_Spec rollout_spec;
PyObject *slot_roll(PyObject *self, PyObject *args); /* a method of _Slot */
/* Drops the rollouts that are not the slot's any more, once nothing uses them. has_seed: false:
 * the slot's neither. */
void slot_forget_rollouts(struct slot_object *slot, bool has_seed);

/* governor.c */
extern PyType_Spec governor_spec;

/* graft.c */
#define GRAFT_BLENDS 4
extern const char *const graft_blends[GRAFT_BLENDS]; /* by urza_blend */
/* {"blend": …, "last": names, "chunks": number}, or None for a package that is no graft. */
PyObject *graft_shown(PyObject *self, void *unused);

/* ffi.c */

/* Adds a module to those that custom calls find; returns its name there. */
PyObject *ffi_register(PyObject *self, PyObject *unused);
void ffi_forget(const urza_module *module);
/* The shapes of outputs, a tuple of tuples, for a tuple with those of inputs. */
PyObject *ffi_output_shapes(PyObject *self, PyObject *shapes);
/* Handlers of XLA: of a place in an executable, of calls and of backward calls; capsules. */
PyObject *ffi_handlers(PyObject *extension, PyObject *unused);
/* (major, minor, ours): the version of XLA that asked for a handler's, and our major one. */
PyObject *ffi_version(PyObject *extension, PyObject *unused);

/* call.c */
PyObject *module_call(PyObject *self, PyObject *const *args, size_t nargs_flag, PyObject *kwnames);

#endif
