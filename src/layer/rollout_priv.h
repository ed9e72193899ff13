/* Inside a rollout.
 *
 *   rollout.c ──► evidence.c    what was counted, and what follows from it
 *       │
 *       └──────► pair.c         a call that both arms run, and the thread that judges
 *                  └──► step.c  a whole training step instead of a call
 *
 * Counters are single words that many threads add to. What is counted on a rung is the difference
 * to the counts when it began. */
#ifndef URZA_LAYER_ROLLOUT_PRIV_H
#define URZA_LAYER_ROLLOUT_PRIV_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "urza/rollout.h"

/* evidence.c: pure, but for the counters. */
struct counts {
    _Atomic uint64_t pairs;     /* n << 32 | S: how many were slower */
    _Atomic uint64_t no_slower; /* not at all */
    _Atomic uint64_t challenger_calls, failures;
    _Atomic uint64_t judged;
};
struct counted { /* at one moment */
    uint64_t pairs, slower, no_slower, challenger_calls, failures, judged;
};
enum alarm { ALARM_NONE, ALARM_SLOWER, ALARM_FAILS };

struct counted counts_read(const struct counts *counts);
void counts_write(struct counts *counts, const struct counted *from);
/* Adds one; what is to be concluded from all so far. */
enum alarm counts_add_pair(struct counts *counts, uint64_t champion_ns, uint64_t challenger_ns);
enum alarm counts_add_call(struct counts *counts, bool failed);
/* ln of 2^n · B(½ + S, ½ + n − S) / B(½, ½) */
double evidence_log_e(uint64_t pairs, uint64_t slower);
/* Whether what was counted since `from` suffices to go on. */
bool evidence_suffices(const struct counted *now, const struct counted *from, uint32_t pairs,
                       bool with_failures);

/* pair.c: what a thread judges. */
struct sample;
#define SAMPLES_MOST 4
struct judge {
    struct urza_rollout *rollout;
    pthread_t thread;
    sem_t some;
    _Atomic bool stop;
    struct sample *_Atomic samples[SAMPLES_MOST];
    _Atomic uint64_t wrong, dropped;
};
bool judge_start(struct judge *judge, struct urza_rollout *rollout, struct error *err);
void judge_stop(struct judge *judge); /* what is not judged yet is not */

struct urza_rollout {
    urza_module *arms[2]; /* champion, challenger */
    uint64_t salt, mixed_salt;
    uint32_t sample_every, pairs;
    uint64_t *allow, *block;
    uint32_t allow_count, block_count;
    void (*on_event)(void *user, const urza_rollout_event *event);
    void *user;
    uint64_t (*clock)(void *user); /* NULL: the machine's */
    _Atomic uint32_t rung;
    struct counts counts;
    struct counts from[URZA_RUNG_ROLLED_BACK + 1]; /* by rung: when it began */
    bool champion_native;                          /* it has native code */
    /* By param of the challenger, the champion's of that name, for training steps. NULL: they do
     * not have the same ones. */
    uint32_t *order;
    _Atomic uint64_t calls, arm_calls;
    struct judge judge;
};

/* The arguments of a call. Of a training step (trains): inputs are the champion's inputs, its
 * params, and cotangents; outputs are its outputs, then gradients by inputs and by params, of which
 * those without data are not wanted. */
struct request {
    const DLTensor *inputs;
    DLTensor *outputs;
    uint32_t input_count, output_count;
    bool trains;
};
/* step.c: a whole step by an arm. Which params of the challenger are which of the champion's;
 * false: no memory. */
bool step_order(struct urza_rollout *rollout);
int step_run(const struct urza_rollout *rollout, int arm, const struct request *request,
             urza_error *err);
int step_judge(const struct urza_rollout *rollout, const DLTensor *given, DLTensor *results,
               urza_error *err);
int request_run(urza_module *module, const struct request *request, bool *out_interpreted,
                urza_error *err);
/* pair.c: runs both arms, in the order `swapped` says, with outputs in the same kind of memory,
 * compares their times, and hands the challenger's result over to be judged. The caller gets the
 * arm's. */
int pair_run(struct urza_rollout *rollout, int arm, bool swapped, const struct request *request,
             urza_error *err);

/* rollout.c */
void rollout_count(struct urza_rollout *rollout, int arm); /* one more call */
/* Whether both arms run; *out_swapped: the challenger first. */
bool rollout_samples(const struct urza_rollout *rollout, uint64_t slot, uint64_t step,
                     bool *out_swapped);
/* Runs a training step by both arms, beside one that the host has had: counts, and hands the
 * challenger's results over to be judged. */
void rollout_pair_step(struct urza_rollout *rollout, bool swapped, const struct request *request);
/* From any rung but OFF. */
void rollout_back(struct urza_rollout *rollout, const char *reason);
/* How runs of both arms with the same arguments ended: whether the challenger did its work. */
struct run {
    int code;
    uint64_t ns;
    bool interpreted;
    urza_error err;
};
bool rollout_conclude(struct urza_rollout *rollout, const struct run runs[2]);

#endif
