/* Layers that grow: kernels grafted into a network while it trains. C and C++; part of
 * liburza_runtime. See docs/layers.md.
 *
 * A slot is a place in a host network. It gives the host's value h until a seed, a graft with
 * parameters (urza compile --graft BLEND --backward), is planted in it; lets the seed learn without
 * disturbing the host, blends it in, and keeps it or takes it out. A slot never compiles, never
 * stops the host's step, and lets no bad seed reach the host: whatever goes wrong in a call (an
 * error, a guard, a value that is not finite), the call gives h, an event tells why, and the seed's
 * count of faults rises.
 *
 * States; a call gives h itself in all of them but BLENDING, HOLDING and FOSSILIZED, where it gives
 * the blend. Only urza_slot_tick leaves them, but DORMANT, which urza_slot_plant does:
 *
 *   - DORMANT: a seed is planted → GERMINATED.
 *
 *   - GERMINATED: its module is there, and a trial beside a step of the host, forward and backward,
 *     fits and is finite → TRAINING; it does not, or germinate_ticks are over → PRUNED.
 *
 *   - TRAINING: train_ticks have passed, and the gradient ratio suffices → BLENDING.
 *
 *   - BLENDING: alpha arrives at its target → HOLDING; at 0 → PRUNED.
 *
 *   - HOLDING: the gain was `gain` or more at hold_ticks ticks in a row, and alpha is 1 →
 *     FOSSILIZED, which is never left.
 *
 *   - PRUNED: the next tick → EMBARGOED, which lasts embargo_ticks → RESETTING → the next tick
 *     DORMANT.
 *
 * From TRAINING to HOLDING, faults_most faults → PRUNED. A fault is a call with an error or values
 * that are not finite where the host's are, or gradients that explode, divided by alpha
 * (urza/governor.h says when).
 * The gradient ratio is (|g_s| / |g_h|)·sqrt(N_h / N_s): norms of the gradients by the seed's
 * parameters and by the host's, and how many there are; it is asked for where the host tells its
 * norm.
 *
 * "h itself" means that nothing is read or copied: y points to h's memory.
 *
 * Threads: forward and backward may be called from any threads at the same time, also while one
 * thread does anything else; all other functions from one thread at a time. Nothing takes a lock,
 * so slots go on in the child of a fork. After the first calls with given shapes forward and
 * backward allocate nothing, but for a trial, a dy with strides, a sampled step of a rollout, and
 * the first event. Memory, tensors, errors and floating-point modes are as in urza/run.h. */
#ifndef URZA_LAYER_H
#define URZA_LAYER_H

#include "urza/rollout.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_slot urza_slot;
typedef struct urza_slot_tape urza_slot_tape;

typedef enum urza_slot_state {
    URZA_DORMANT,
    URZA_GERMINATED,
    URZA_TRAINING,
    URZA_BLENDING,
    URZA_HOLDING,
    URZA_FOSSILIZED,
    URZA_PRUNED,
    URZA_EMBARGOED,
    URZA_RESETTING,
} urza_slot_state;
const char *urza_slot_state_name(urza_slot_state state); /* "DORMANT" */

/* How a seed's s and the host's h become y: formulas in docs/layers.md. */
typedef enum urza_blend { URZA_RESIDUAL, URZA_LERP, URZA_MULTIPLY, URZA_GATE } urza_blend;
/* How alpha moves: p of the way is p, (1 - cos πp)/2, or a logistic function over ±6, scaled. */
typedef enum urza_curve { URZA_LINEAR, URZA_COSINE, URZA_SIGMOID } urza_curve;

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_slot_options {
    const char *name; /* for metrics and saved states; at most 255 bytes; copied */
    urza_blend blend; /* seeds are grafts of this blend */
    int through;      /* not 0: gradients pass the seed's input while it blends, too. They always do
                         in HOLDING and FOSSILIZED */
    int boost;        /* not 0: while it blends, gradients by the seed's parameters are
                         min(1/alpha, 10) times as large */
    uint32_t germinate_ticks, train_ticks, blend_ticks; /* 0: 1000, 100, 100 */
    uint32_t hold_ticks, embargo_ticks;                 /* 0: 10, 5 */
    uint32_t faults_most;                               /* 0: 3 */
    urza_curve curve;
    double gradient_ratio; /* 0: 0.10 */
    double gain;
    uint64_t random_seed; /* of the numbers that seeds with dropout draw: they follow from it, from
                             the seed's number and from the step */
} urza_slot_options;

int urza_slot_open(const urza_slot_options *options, urza_slot **out, urza_error *err);
/* No call may be running; tapes must be released. Accepts NULL. */
void urza_slot_close(urza_slot *slot);

/* Plants a seed in a DORMANT slot. module: its graft, of which the slot takes a reference; NULL: it
 * is still on its way (compiled, fetched), and urza_slot_supply or urza_slot_refuse follow. The
 * name is copied. */
int urza_slot_plant(urza_slot *slot, const char *name, urza_module *module, uint32_t *out_seed,
                    urza_error *err);
/* For the slot's seed while it has no module; of others nothing is done, since it may have been
 * pruned meanwhile. Refused where the module is no graft of the slot's blend, or has no gradients
 * by its input and by h: then the seed is refused, too. */
int urza_slot_supply(urza_slot *slot, uint32_t seed, urza_module *module, urza_error *err);
void urza_slot_refuse(urza_slot *slot, uint32_t seed, const char *reason);

/* A new kernel for the seed: from the next call on, the seed runs by the arm that the rollout says,
 * for slot number `number` and the slot's tick as the step. The champion is the seed's module; the
 * challenger a graft of the same blend, whose parameters have the same names, dtypes and shapes, in
 * any order: the host goes on giving the champion's. Sampled steps run both arms once more,
 * forward and backward, beside the host's own; values and gradients are judged. Where the
 * challenger fails or gives what is not finite the champion runs, and the rollout counts it, not
 * the slot.
 *
 * The host ticks the rollout. It stays the host's, and open until the slot has none (NULL), or has
 * been pruned, and no call is running any more. */
int urza_slot_roll(urza_slot *slot, urza_rollout *rollout, uint64_t number, urza_error *err);

/* What a graft says of itself. */
typedef struct urza_graft_info {
    urza_blend blend;
    const char *const *last; /* names of the parameters of the seed's last layer; while all of them
                                are 0, so is what the seed gives */
    uint32_t last_count;
    uint32_t chunks; /* of h's features, each with a seed; parameters but the gate's have a dim for
                        them at their front. 1: one seed for all features */
} urza_graft_info;
/* *out is valid until urza_graft_info_free. UnsupportedError: the module is no graft. */
int urza_graft_info_new(const urza_module *module, urza_graft_info **out, urza_error *err);
void urza_graft_info_free(urza_graft_info *info); /* accepts NULL */

/* One place in the host's step. Zero-initialise, then set what there is. */
typedef struct urza_slot_call {
    uint64_t step;     /* a number that a resumed run repeats */
    const DLTensor *h; /* the host's value */
    /* The seed's, in the order of urza_param_info, read where they lie; NULL: the module's own.
     * They are not looked at while there is no module. */
    const DLTensor *params;
    uint32_t param_count;
    /* NULL, or [rows of h] in f32 (f64 with h in f64), dense and finite: factors of alpha; a row
     * with factor 0 is h, bit for bit (see urza_metrics.gain). */
    const DLTensor *factors;
    /* Memory for the result, dense, of h's shape and dtype, that shares no byte with h. Where the
     * result is h, that memory is not used: y's data, byte_offset and strides become h's. So go on
     * with what y is afterwards. */
    DLTensor *y;
} urza_slot_call;
/* out_tape: NULL: no backward pass follows. Otherwise a tape, or NULL where the result is h and
 * nothing learns; tensors of the call must stay as they are until it was used.
 *
 * Fails only where h, y or an argument is nothing that could ever work, with y unchanged. */
int urza_slot_forward(urza_slot *slot, const urza_slot_call *call, urza_slot_tape **out_tape,
                      urza_error *err);

typedef struct urza_slot_gradients {
    const DLTensor *dy; /* of the loss, by y */
    /* Memory for that by h, dense, of its shape, that shares no byte with dy, h and y; where it is
     * dy, dh points to dy's memory afterwards, as y above. */
    DLTensor *dh;
    /* One for each parameter, dense; data NULL: not wanted. Where nothing learned (no tape, a
     * fault) they get zeros. NULL with count 0: none is wanted. */
    DLTensor *params;
    uint32_t param_count;
    uint32_t flags; /* URZA_ACCUMULATE, for those by parameters alone */
} urza_slot_gradients;
/* The tape, which may be NULL, is used up, whatever comes out. */
int urza_slot_backward(urza_slot *slot, urza_slot_tape *tape, const urza_slot_gradients *gradients,
                       urza_error *err);
void urza_slot_tape_release(urza_slot_tape *tape); /* of one that backward was not called with;
                                                      accepts NULL */

/* What the host tells at a tick. */
typedef struct urza_metrics {
    /* How much better the host is with the seed than without, for example the loss of the rows with
     * factor 0 less that of the others. NULL: it does not tell. */
    const double *gain;
    double host_norm;       /* norm of the gradient by the host's parameters; 0: it does not tell */
    double host_parameters; /* how many these are */
} urza_metrics;
/* Once for each step of the optimizer: counts it, obeys commands, decides on states and moves
 * alpha. metrics NULL: nothing is told. */
urza_slot_state urza_slot_tick(urza_slot *slot, const urza_metrics *metrics);

typedef enum urza_command_kind {
    URZA_COMMAND_BLEND, /* from TRAINING or HOLDING: moves alpha to target over ticks */
    URZA_COMMAND_HOLD,  /* from BLENDING: alpha stays where it is → HOLDING */
    URZA_COMMAND_PRUNE, /* from GERMINATED, TRAINING: → PRUNED; from BLENDING and HOLDING: down to 0
                           over ticks (0: at once) */
    URZA_COMMAND_FOSSILIZE, /* from HOLDING with alpha 1 */
} urza_command_kind;
typedef struct urza_command {
    urza_command_kind kind;
    uint32_t ticks; /* BLEND: 0: blend_ticks */
    double target;  /* BLEND: above 0, at most 1; 0: 1 */
    urza_curve curve;
} urza_command;
/* For the next tick; a command that does not fit the state then does nothing, and an event says so.
 * At most 16 wait. */
int urza_slot_command(urza_slot *slot, const urza_command *command, urza_error *err);

urza_slot_state urza_slot_state_get(const urza_slot *slot);
double urza_slot_alpha(const urza_slot *slot);

typedef enum urza_slot_event_kind {
    URZA_EVENT_STATE,   /* the state changed */
    URZA_EVENT_FAULT,   /* a warning: a call gave h in place of the seed's work */
    URZA_EVENT_HOST,    /* a warning: what the host gave is not finite; not counted as a fault */
    URZA_EVENT_COMMAND, /* a command did not fit */
    URZA_EVENT_RESTORED,
    URZA_EVENT_LOST, /* events for which there was no room; `count` of them */
} urza_slot_event_kind;
typedef struct urza_slot_event {
    urza_slot_event_kind kind;
    urza_slot_state from, to; /* equal but for STATE */
    uint32_t seed;
    uint64_t tick, count;
    char reason[120];
} urza_slot_event;
const char *urza_slot_event_name(urza_slot_event_kind kind); /* "state" */
/* Takes the oldest events, up to *count, which becomes their number. The last 256 are kept. */
void urza_slot_events(urza_slot *slot, urza_slot_event *events, uint32_t *count);

/* Counters and states of slots as Prometheus text, with a zero at its end; returns its length,
 * which may be more than room allows. */
size_t urza_slot_metrics(urza_slot *const *slots, uint32_t count, char *text, size_t room);

/* The state, as text with a zero at its end; returns its length, which may be more than room
 * allows. Seeds' parameters are the host's, and it saves them itself. */
size_t urza_slot_save(const urza_slot *slot, char *text, size_t room);
/* Into a slot with the same name, and with the same seed planted, if the saved one has one (plant
 * it, then restore). InvalidInputError: the text is damaged, or of another slot, version or seed;
 * then nothing changes. */
int urza_slot_restore(urza_slot *slot, const char *text, urza_error *err);
/* Data-parallel training: one rank ticks, and the others apply what it decided, in place of their
 * tick. The text is as that of urza_slot_save. Who applies counts no faults and gates nothing of
 * its own: one rank's calls decide for all; the others' faults are in their events. */
size_t urza_slot_decision(const urza_slot *slot, char *text, size_t room);
int urza_slot_apply(urza_slot *slot, const char *text, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
