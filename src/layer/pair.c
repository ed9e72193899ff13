/* A call that both arms run. Both write to new dense memory, alike, so that neither is slower for
 * where its outputs lie; then the caller gets a copy of the arm's. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "layer/rollout_priv.h"
#include "runtime/inside.h"

struct sample {
    uint32_t inputs, outputs;     /* outputs: of one arm */
    bool trains;                  /* they are a training step's */
    uint32_t count;               /* of tensors that are there */
    DLTensor *list;               /* the same tensors */
    struct kept_tensor tensors[]; /* inputs, what the champion gave, what the challenger gave */
};

static void sample_free(struct sample *sample)
{
    for (uint32_t i = 0; sample && i < sample->count; i++)
        tensor_forget(&sample->tensors[i]);
    if (sample)
        free(sample->list);
    free(sample);
}

static DLTensor *outputs_of(const struct sample *sample, int arm)
{
    return sample->list + sample->inputs + (size_t)arm * sample->outputs;
}

static bool keep(struct sample *sample, const DLTensor *given, bool with_elements)
{
    struct error none;
    struct kept_tensor *kept = &sample->tensors[sample->count];
    if (sample->trains && !given->data) { /* a gradient that is not wanted */
        sample->list[sample->count++] = (DLTensor){.data = NULL};
        return true;
    }
    if (!tensor_keep(given, with_elements, kept, &none))
        return false;
    sample->list[sample->count++] = kept->dl;
    return true;
}

/* Copies of the inputs, and room for the outputs of both arms. NULL: no memory. */
static struct sample *sample_new(const struct request *request)
{
    size_t count = (size_t)request->input_count + 2 * (size_t)request->output_count;
    struct sample *sample = calloc(1, sizeof *sample + count * sizeof *sample->tensors);
    if (!sample)
        return NULL;
    sample->inputs = request->input_count;
    sample->outputs = request->output_count;
    sample->trains = request->trains;
    sample->list = calloc(count + 1, sizeof *sample->list);
    bool ok = sample->list != NULL;
    for (uint32_t i = 0; ok && i < request->input_count; i++)
        ok = keep(sample, &request->inputs[i], true);
    for (uint32_t i = 0; ok && i < 2 * request->output_count; i++)
        ok = keep(sample, &request->outputs[i % request->output_count], false);
    if (ok)
        return sample;
    sample_free(sample);
    return NULL;
}

/* The thread that judges. */

static void judge_sample(struct judge *judge, const struct sample *sample)
{
    struct urza_rollout *rollout = judge->rollout;
    urza_error err;
    int code = sample->trains ? step_judge(rollout, sample->list, outputs_of(sample, 1), &err)
                              : urza_judge(rollout->arms[0], sample->list, sample->inputs,
                                           outputs_of(sample, 1), sample->outputs, NULL, &err);
    if (code != 0 && code != ERR_VERIFY) { /* no memory, sizes too large to interpret */
        atomic_fetch_add(&judge->dropped, 1);
        return;
    }
    if (code != 0)
        atomic_fetch_add(&judge->wrong, 1);
    atomic_fetch_add(&rollout->counts.judged, 1);
    if (code == 0)
        return;
    char reason[sizeof err.place + sizeof err.message + 32];
    snprintf(reason, sizeof reason, "its result is wrong: %s: %s", err.place, err.message);
    rollout_back(rollout, reason);
}

static void *work(void *argument)
{
    struct judge *judge = argument;
    struct cpu_fp inherited;
    cpu_fp_begin(&inherited);
    while (!atomic_load(&judge->stop)) {
        sem_wait(&judge->some);
        for (int i = 0; i < SAMPLES_MOST && !atomic_load(&judge->stop); i++) {
            struct sample *sample = atomic_exchange(&judge->samples[i], NULL);
            if (sample)
                judge_sample(judge, sample);
            sample_free(sample);
        }
    }
    return NULL;
}

bool judge_start(struct judge *judge, struct urza_rollout *rollout, struct error *err)
{
    sigset_t all, before; /* signals are for the host's own threads */
    judge->rollout = rollout;
    sem_init(&judge->some, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&judge->thread, NULL, work, judge);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0)
        return true;
    sem_destroy(&judge->some);
    return fail(err, ERR_NOMEM, "a thread cannot be started");
}

void judge_stop(struct judge *judge)
{
    atomic_store(&judge->stop, true);
    sem_post(&judge->some);
    pthread_join(judge->thread, NULL);
    sem_destroy(&judge->some);
    for (int i = 0; i < SAMPLES_MOST; i++)
        sample_free(atomic_load(&judge->samples[i]));
}

/* Takes the sample over. */
static void hand_over(struct judge *judge, struct sample *sample)
{
    for (int i = 0; sample && i < SAMPLES_MOST; i++) {
        struct sample *none = NULL;
        if (atomic_compare_exchange_strong(&judge->samples[i], &none, sample)) {
            sem_post(&judge->some);
            return;
        }
    }
    atomic_fetch_add(&judge->dropped, 1);
    sample_free(sample);
}

/* Both arms. */

static uint64_t now_ns(const struct urza_rollout *rollout)
{
    return rollout->clock ? rollout->clock(rollout->user) : clock_ns();
}

static void run_arm(const struct urza_rollout *rollout, int arm, const struct request *request,
                    const struct sample *sample, struct run *out)
{
    struct request own = *request;
    own.outputs = outputs_of(sample, arm);
    uint64_t start = now_ns(rollout);
    out->code = own.trains ? step_run(rollout, arm, &own, &out->err)
                           : request_run(rollout->arms[arm], &own, &out->interpreted, &out->err);
    out->ns = now_ns(rollout) - start;
}

static void give(const struct sample *sample, int arm, const struct request *request)
{
    for (uint32_t i = 0; i < request->output_count; i++)
        tensor_give(&sample->tensors[sample->inputs + (uint32_t)arm * sample->outputs + i],
                    &request->outputs[i]);
}

int pair_run(struct urza_rollout *rollout, int arm, bool swapped, const struct request *request,
             urza_error *err)
{
    struct run runs[2] = {{0}};
    struct sample *sample = sample_new(request);
    if (!sample)
        return ERR_NOMEM;
    run_arm(rollout, swapped, request, sample, &runs[swapped]);
    run_arm(rollout, !swapped, request, sample, &runs[!swapped]);
    bool good = rollout_conclude(rollout, runs);
    if (runs[arm].code != 0 && runs[arm].code != ERR_CANCELLED && runs[!arm].code == 0)
        arm = !arm;
    int code = runs[arm].code;
    if (code == 0 && !request->trains)
        give(sample, arm, request);
    else if (code != 0 && err)
        *err = runs[arm].err;
    if (good && counts_add_pair(&rollout->counts, runs[0].ns, runs[1].ns) == ALARM_SLOWER)
        rollout_back(rollout, "it is slower");
    if (good)
        hand_over(&rollout->judge, sample);
    else
        sample_free(sample);
    return code;
}
