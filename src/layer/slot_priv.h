/* Inside a slot.
 *
 *   slot.c ──► machine.c      the states: pure, decided in a tick
 *     │  └───► detector.c     when a number explodes
 *     ├──────► slot_call.c    forward ──► seed.c     runs the seed, and looks at what it gave
 *     ├──────► slot_back.c    backward
 *     ├──────► slot_roll.c    a rollout of another kernel for the seed
 *     ├──────► slot_state.c   saving, restoring, decisions
 *     ├──────► events.c       the ring of events; slot_metrics.c: as text
 *     └──────► values.c       elements of tensors in any float dtype
 *
 * Calls see of the state one word, which a tick publishes, and tell it through counters. */
#ifndef URZA_LAYER_SLOT_PRIV_H
#define URZA_LAYER_SLOT_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "base/error.h"
#include "layer/rollout_priv.h"
#include "runtime/inside.h"
#include "urza/governor.h"
#include "urza/layer.h"

/* Numbers that should stay near what they were: a loss, the norm of a gradient. */
struct detector {
    double mean, variance; /* of those that did not explode, the newest of most weight */
    uint64_t count;        /* of these */
    uint32_t strikes;      /* that did, in a row */
};
/* urza/governor.h says when it is true. */
bool detector_observe(struct detector *detector, double x);

/* machine.c */
#define COMMANDS_MOST 16
struct ramp {
    double from, to;
    uint64_t begin; /* tick */
    uint32_t ticks;
    uint32_t curve; /* urza_curve */
};
struct machine {
    uint64_t tick, since; /* since: when the state began */
    uint32_t state;       /* urza_slot_state */
    uint32_t seed;        /* number of the seed that is or was the last one in the slot */
    uint32_t faults;
    uint32_t gains; /* good ones in a row */
    double alpha;
    struct ramp ramp; /* while BLENDING */
    struct detector gradient;
    uint32_t waiting;
    urza_command commands[COMMANDS_MOST];
};
enum trial { TRIAL_NONE, TRIAL_RUNS, TRIAL_PASSED, TRIAL_FAILED };
/* What came since the last tick. */
struct news {
    enum trial trial;
    uint32_t faults;
    bool has_gradient;
    double gradient_norm; /* by the seed's parameters, which are so many: */
    double parameters;
    const urza_metrics *metrics; /* NULL: the host tells nothing */
};
/* Called for each change of the state, and for each command that did not fit (from = to). */
typedef void machine_told(void *context, urza_slot_state from, urza_slot_state to,
                          const char *reason);
void machine_tick(struct machine *machine, const urza_slot_options *rules, const struct news *news,
                  machine_told *told, void *context);
double curve_at(urza_curve curve, double p); /* 0 ≤ p ≤ 1 */
/* States in which calls run the seed for the host, and in which it learns. */
static inline bool state_blends(uint32_t state)
{
    return state >= URZA_BLENDING && state <= URZA_FOSSILIZED;
}

/* values.c: dense elements. */
bool values_dtype(DLDataType dtype); /* f16, bf16, f32 or f64 */
bool values_finite(DLDataType dtype, const void *data, size_t count);
/* Sum of the squares; not finite where an element is not. */
double values_squares(DLDataType dtype, const void *data, size_t count);
/* to += factor × from; to = factor × to */
void values_add(DLDataType dtype, void *to, const void *from, double factor, size_t count);
void values_scale(DLDataType dtype, void *data, double factor, size_t count);
void values_fill(DLDataType dtype, void *data, double value, size_t count);
bool tensor_dense(const DLTensor *tensor);
bool tensor_alike(const DLTensor *a, const DLTensor *b); /* dtype and shape */
size_t tensor_count(const DLTensor *tensor); /* elements; SIZE_MAX: more than memory has */
/* Addresses from the first byte of an element to behind the last one, whatever the strides. */
struct span {
    uintptr_t begin, end;
};
struct span tensor_span(const DLTensor *tensor);
static inline size_t values_bytes(DLDataType dtype)
{
    return dtype.bits / 8u;
}
static inline char *tensor_data(const DLTensor *tensor)
{
    return (char *)tensor->data + tensor->byte_offset;
}

/* slot_metrics.c: text in the host's memory, with a zero at its end; size goes on where it is full.
 */
struct bounded_text {
    char *to;
    size_t room, size;
};
void text_put(struct bounded_text *out, const char *format, ...) URZA_PRINTF(2, 3);

/* events.c */
#define EVENTS_MOST 256
struct event_ring {
    atomic_flag busy;
    uint32_t first, count;
    _Atomic uint64_t lost;
    urza_slot_event *events; /* of EVENTS_MOST; NULL until the first one comes */
};
void event_add(struct event_ring *ring, const urza_slot_event *event);

/* The word that calls see. */
struct published {
    uint32_t state;
    uint16_t seed; /* the low bits of its number */
    bool through;  /* gradients pass the seed's input */
    float alpha;
};

#define TAPES_KEPT 64
#define SEED_NAME_BYTES 64

struct slot_counters {
    _Atomic uint64_t calls, seed_calls, fallbacks, faults;
};

struct urza_slot {
    struct machine machine;
    _Atomic uint64_t published;
    _Atomic uint64_t tick_seen;
    _Atomic uint32_t seed_seen;
    /* Since the last tick. */
    _Atomic uint32_t trial, faults;
    _Atomic uint64_t norms;       /* how many gradients there were */
    _Atomic uint64_t square_bits; /* the sum of their squares, a double */
    struct slot_counters counters;
    double parameters;         /* elements of all of the seed's parameters */
    urza_slot_options options; /* with defaults in place of zeros; name is the slot's own */
    char seed_name[SEED_NAME_BYTES];
    urza_handle *handle;
    struct event_ring ring;
    struct urza_rollout *_Atomic rollout;      /* NULL: none */
    _Atomic uint64_t rollout_number;           /* of this slot, in it */
    urza_slot_tape *_Atomic tapes[TAPES_KEPT]; /* that nobody uses */
};

struct published slot_published(const struct urza_slot *slot);
void slot_publish(struct urza_slot *slot);
/* After the machine changed: publishes it, and gives back what the state does not need. */
void slot_settle(struct urza_slot *slot);
void slot_add_gradient(struct urza_slot *slot, double squares);
/* A call gave h in place of the seed's work. */
void slot_fault(struct urza_slot *slot, uint32_t state, const char *what, const urza_error *why);
/* The same, but nothing that the seed could be blamed for. */
void slot_warn(struct urza_slot *slot, urza_slot_event_kind kind, uint32_t state, const char *what,
               const char *why);
/* Whether what failed in a trial would fail again: not for want of memory, nor by the host's
 * values.
 */
static inline bool is_final(const urza_error *why, bool fault)
{
    return fault && why->code != ERR_NOMEM;
}
/* Whether the seed that a tape is of is still the slot's. Of another one nothing is counted. */
bool tape_is_current(const struct urza_slot_tape *tape);
/* Whether it has a seed whose module has not come. */
bool slot_lacks_module(const struct urza_slot *slot);
/* Empties the slot's place for a module. */
void slot_uproot(struct urza_slot *slot);
/* Makes a tensor point to another one's memory. */
void give_alias(const DLTensor *from, DLTensor *to);

/* seed.c: memory that only grows. */
struct room {
    void *data;
    size_t bytes;
};
void *room_reserve(struct room *room, size_t bytes); /* NULL: no memory */

struct urza_slot_tape {
    struct urza_slot *slot;
    urza_module *module;
    urza_tape *tape;
    struct published seen;
    double alpha;   /* that the blend had */
    int64_t random; /* the seed's input of that name */
    bool is_trial;
    /* A rollout that says which arm runs; NULL: none. order: by param of the module, the host's;
     * NULL: the same. host_params: the host's, dense; NULL: not kept. */
    struct urza_rollout *rollout;
    int arm;
    const uint32_t *order;
    const DLTensor *host_params;
    uint64_t number, tick; /* of the slot in the rollout; when forward ran */
    struct span y;         /* where it lies, if the seed wrote it */
    DLTensor h;            /* without the caller's arrays: */
    int64_t shape[LIMIT_RANK];
    struct room factors, value, through, gradients, tensors, params, own_params;
};
struct urza_slot_tape *tape_take(struct urza_slot *slot);
void tape_put(struct urza_slot_tape *tape);  /* with what it holds given back */
void tape_free(struct urza_slot_tape *tape); /* of nobody; accepts NULL */

/* A forward call. */
struct forward_call {
    urza_slot_call given;
    bool learns; /* a backward pass follows */
};
/* Runs the tape's module with alpha `alpha` in all rows, times the factors, into `out`. On failure
 * why has the reason, and it is the seed's fault. */
bool seed_forward(struct urza_slot_tape *tape, const struct forward_call *call, double alpha,
                  DLTensor *out, urza_error *why);
/* The host's param that is param i of the tape's module. */
static inline uint32_t param_of(const struct urza_slot_tape *tape, uint32_t i)
{
    return tape->order ? tape->order[i] : i;
}
/* slot_roll.c: chooses the arm of a call, and its module in place of the one that the tape has. */
void roll_begin(struct urza_slot_tape *tape, const struct forward_call *call);
/* Whether another arm is left that can do what this one failed in: then the tape has that one. */
bool roll_again(struct urza_slot_tape *tape);
/* The arm's part of the call is over. why: how the challenger failed; NULL: it did not, or did not
 * run. champion_too: where it ran, it failed, too. */
void roll_conclude(struct urza_slot_tape *tape, const urza_error *why, bool champion_too);
struct wanted { /* gradients: by the seed's input, by h */
    bool by_x, by_h;
};
/* After a step that was good: if it is sampled, runs both arms once more. */
void roll_pair(struct urza_slot_tape *tape, const urza_slot_gradients *call,
               const struct wanted *wanted);

/* By place among the graft's inputs. */
struct seed_inputs {
    uint32_t count, x, random, h, alpha; /* random: count if there is none */
};
struct seed_inputs seed_inputs_of(const urza_module *module);
/* seed.c: whether a module can be a seed in the slot. */
bool seed_check(const urza_module *module, urza_blend blend, struct error *err);

#endif
