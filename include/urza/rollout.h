/* Rolling out a kernel: a challenger takes the place of a champion step by step, and goes back by
 * itself where it is wrong, slower, or fails. C and C++; part of liburza_runtime and what contains
 * it. See docs/runtime.md.
 *
 *     OFF → SHADOW → 1 % → 10 % → 50 % → 100 % → FINAL,  from any of them → ROLLED_BACK
 *
 * Which of the two a call runs (its arm) follows from the salt, the slot (the caller's number for
 * the place in the network that calls) and the step, by a hash of
 * (salt, slot, step / 8) alone: all ranks of a parallel training, the backward pass, a
 * recomputation and a resumed run take the same arm. The allow list runs the challenger from 1 %
 * on, the block list never.
 *
 * Of one call in `sample_every`, from SHADOW to 100 %, both run, one after the other in a drawn
 * order, with outputs in new memory; the caller gets a copy of the arm's. These pairs tell
 *
 *   - whether the challenger is right: a thread of the rollout judges what it gave beside float64,
 *     by the champion's block (urza_judge). There is no tolerance to choose. One wrong element
 *     rolls back, also if it becomes known later;
 *
 *   - whether it is slower: S of n pairs took it more than 1.05 times as long. Under equality that
 *     is less than half of them; it is rolled back when S > n/2 and the e-value
 *     2^n · B(½ + S, ½ + n - S) / B(½, ½) is 1,000 or more: a test that may be looked at after each
 *     pair. The probability of ever being wrong is at most 1/1000, whatever the distribution.
 *
 * Failures of the challenger (an error, or a call that it interprets and the champion does not) are
 * judged by a sequential probability ratio test of 1 in 1,000 against 1 in 10,000, with errors of
 * 1 % and 5 %; a call that the challenger refuses and the champion takes rolls back at once.
 * Whatever the challenger does, the caller gets the champion's result where there is none of the
 * challenger's; a call that was interrupted ends.
 *
 * urza_rollout_tick goes to the next rung when, on this one, `pairs` pairs have come, at least half
 * of them with a challenger that was not slower at all, 20 results (or as many as pairs are wanted)
 * were judged and right, and, from 1 % on, the test of failures has accepted it. Nothing is
 * promoted by time alone. Rolling back is one store, which the next call sees.
 *
 * Calls may come from any thread; they take no locks. In the child of a fork calls go on, but
 * nothing is judged, so nothing is promoted: open rollouts in the processes that call. Callbacks
 * run with cancellation disabled; those of a wrong result on the thread that judges. */
#ifndef URZA_ROLLOUT_H
#define URZA_ROLLOUT_H

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_rollout urza_rollout;

typedef enum urza_rung {
    URZA_RUNG_OFF,
    URZA_RUNG_SHADOW,
    URZA_RUNG_1,
    URZA_RUNG_10,
    URZA_RUNG_50,
    URZA_RUNG_100,
    URZA_RUNG_FINAL,
    URZA_RUNG_ROLLED_BACK,
} urza_rung;
const char *urza_rung_name(urza_rung rung); /* "off", "shadow", "1 %" … */

typedef struct urza_rollout_event {
    urza_rung from, to;
    const char *reason; /* borrowed for the call of the callback */
} urza_rollout_event;

/* Zero-initialise, then set what differs from the defaults. Lists are copied. */
typedef struct urza_rollout_options {
    urza_module *champion, *challenger; /* the rollout takes references of its own */
    uint64_t salt;
    uint32_t sample_every;         /* 0: 200 */
    uint32_t pairs;                /* 0: 500 */
    const uint64_t *allow, *block; /* slots */
    uint32_t allow_count, block_count;
    /* Called for each change of the rung, on the thread that caused it. May be NULL. */
    void (*on_event)(void *user, const urza_rollout_event *event);
    void *user;
    /* Nanoseconds, on the thread that runs both arms; NULL: the machine's clock. For tests of what
     * follows from times. */
    uint64_t (*clock)(void *user);
    const char *saved; /* what urza_rollout_save gave: goes on from there; NULL: begins at OFF */
} urza_rollout_options;

/* Refused where the challenger cannot stand for the champion, as by urza_handle_replace; and where
 * `saved` is of other kernels. */
int urza_rollout_open(const urza_rollout_options *options, urza_rollout **out, urza_error *err);
/* No call may be running. Accepts NULL. */
void urza_rollout_close(urza_rollout *rollout);

/* 1: the challenger; 0: the champion, also for NULL. */
int urza_rollout_arm(const urza_rollout *rollout, uint64_t slot, uint64_t step);
/* The module of an arm; borrowed. For calls that urza_rollout_call does not make, such as training:
 * both passes of a step have one arm. urza_slot_roll (urza/layer.h) does so for seeds. */
urza_module *urza_rollout_module(const urza_rollout *rollout, int arm);
/* As urza_call, with outputs in the caller's memory. */
int urza_rollout_call(urza_rollout *rollout, uint64_t slot, uint64_t step, const DLTensor *inputs,
                      uint32_t input_count, DLTensor *outputs, uint32_t output_count,
                      urza_error *err);

urza_rung urza_rollout_rung(const urza_rollout *rollout);
/* Goes on to the next rung if it is time, and returns where it stands. */
urza_rung urza_rollout_tick(urza_rollout *rollout);
/* Whoever operates it decides: begins (SHADOW), stops (OFF), or goes to any rung. What was counted
 * on the rung before does not count on this one; what has been rolled back starts with no counts.
 */
int urza_rollout_set(urza_rollout *rollout, urza_rung rung, const char *reason, urza_error *err);

typedef struct urza_rollout_stats {
    urza_rung rung;
    uint64_t calls;                    /* of urza_rollout_call, and of a slot's seed */
    uint64_t arm_calls;                /* those whose arm was the challenger */
    uint64_t challenger_calls;         /* the challenger ran, */
    uint64_t failures;                 /* and failed */
    uint64_t pairs, slower, no_slower; /* times were compared: more than 1.05, at most 1 */
    uint64_t judged, wrong;            /* results */
    uint64_t dropped;                  /* samples for which there was no time or memory */
    double log_e;                      /* natural logarithm of the e-value of being slower */
} urza_rollout_stats;
void urza_rollout_stats_get(const urza_rollout *rollout, urza_rollout_stats *out);

/* Writes the state as text, with a zero at its end; returns its length, which may be more than room
 * allows. */
size_t urza_rollout_save(const urza_rollout *rollout, char *text, size_t room);

#ifdef __cplusplus
}
#endif
#endif
