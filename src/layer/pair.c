/* A call that both arms run. The arm whose result the caller gets writes to the caller's outputs,
 * the other one to memory of its own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "layer/rollout_priv.h"
#include "runtime/keep.h"

struct sample {
    uint32_t inputs, outputs;
    struct kept_tensor tensors[]; /* inputs, then what the challenger gave */
};

static void sample_free(struct sample *sample)
{
    for (uint32_t i = 0; sample && i < sample->inputs + sample->outputs; i++)
        tensor_forget(&sample->tensors[i]);
    free(sample);
}

/* Copies of the inputs, and of the outputs or room for them. */
static struct sample *sample_new(const struct request *request, bool with_outputs)
{
    struct error none;
    struct sample *sample =
        calloc(1, sizeof *sample + ((size_t)request->input_count + request->output_count) *
                                       sizeof *sample->tensors);
    bool ok = sample != NULL;
    for (uint32_t i = 0; ok && i < request->input_count; i++, sample->inputs += ok)
        ok = tensor_keep(&request->inputs[i], true, &sample->tensors[i], &none);
    for (uint32_t i = 0; ok && i < request->output_count; i++, sample->outputs += ok)
        ok = tensor_keep(&request->outputs[i], with_outputs, &sample->tensors[sample->inputs + i],
                         &none);
    if (ok)
        return sample;
    sample_free(sample);
    return NULL;
}

/* The tensors of a sample, one after the other; *out is freed by the caller. */
static bool list_tensors(const struct sample *sample, DLTensor **out)
{
    uint32_t count = sample->inputs + sample->outputs;
    *out = calloc(count + 1, sizeof **out);
    for (uint32_t i = 0; *out && i < count; i++)
        (*out)[i] = sample->tensors[i].dl;
    return *out != NULL;
}

/* The thread that judges. */

static void judge_sample(struct judge *judge, const struct sample *sample)
{
    struct urza_rollout *rollout = judge->rollout;
    DLTensor *tensors;
    urza_error err;
    if (!list_tensors(sample, &tensors)) {
        atomic_fetch_add(&judge->dropped, 1);
        return;
    }
    int code = urza_judge(rollout->arms[0], tensors, sample->inputs, tensors + sample->inputs,
                          sample->outputs, NULL, &err);
    free(tensors);
    if (code != 0 && code != ERR_VERIFY) { /* no memory, sizes too large to interpret */
        atomic_fetch_add(&judge->dropped, 1);
        return;
    }
    atomic_fetch_add(&judge->judged, 1);
    if (code == 0)
        return;
    char reason[sizeof err.place + sizeof err.message + 32];
    snprintf(reason, sizeof reason, "its result is wrong: %s: %s", err.place, err.message);
    atomic_fetch_add(&judge->wrong, 1);
    rollout_back(rollout, reason);
}

static void *work(void *argument)
{
    struct judge *judge = argument;
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

static uint64_t interpreted(urza_module *module)
{
    urza_stats stats;
    urza_stats_get(module, &stats);
    return stats.fallback_calls;
}

struct run {
    int code;
    uint64_t ns;
    bool interpreted;
    urza_error err;
};

static void run_arm(const struct urza_rollout *rollout, int arm, const struct request *request,
                    struct run *out)
{
    uint64_t before = interpreted(rollout->arms[arm]), start = clock_ns();
    out->code = request_run(rollout->arms[arm], request, &out->err);
    out->ns = clock_ns() - start;
    out->interpreted = interpreted(rollout->arms[arm]) != before;
}

/* What the two runs say of the challenger; whether its result may be judged. */
static bool conclude(struct urza_rollout *rollout, const struct run runs[2])
{
    if (runs[0].code != 0) /* the arguments may be wrong */
        return false;
    if (runs[1].code == ERR_INPUT) {
        rollout_back(rollout, "it refuses a call that the champion takes");
        return false;
    }
    if (runs[1].code == 0 && runs[1].interpreted && !runs[0].interpreted) {
        urza_error err = {.code = ERR_TARGET, .message = "the call was interpreted"};
        rollout_note(rollout, ERR_TARGET, &err);
    } else {
        rollout_note(rollout, runs[1].code, &runs[1].err);
    }
    if (runs[1].code != 0)
        return false;
    if (counts_add_pair(&rollout->counts, runs[0].ns, runs[1].ns) == ALARM_SLOWER)
        rollout_back(rollout, "it is slower");
    return true;
}

/* The request with other outputs. */
static bool make_aside(const struct request *request, struct sample *sample, DLTensor **tensors,
                       struct request *out)
{
    *out = *request;
    if (!sample || !list_tensors(sample, tensors))
        return false;
    out->outputs = *tensors + sample->inputs;
    return true;
}

int pair_run(struct urza_rollout *rollout, int arm, bool swapped, const struct request *request,
             urza_error *err)
{
    struct sample *sample = sample_new(request, false);
    struct request requests[2] = {*request, *request};
    struct run runs[2] = {{0}};
    DLTensor *tensors = NULL;
    if (!make_aside(request, sample, &tensors, &requests[!arm])) {
        atomic_fetch_add(&rollout->judge.dropped, 1);
        sample_free(sample);
        return request_run(rollout->arms[0], request, err);
    }
    run_arm(rollout, swapped, &requests[swapped], &runs[swapped]);
    run_arm(rollout, !swapped, &requests[!swapped], &runs[!swapped]);
    bool good = conclude(rollout, runs);
    int code = runs[arm].code;
    if (arm == 1 && code != 0) /* the caller's outputs have nothing yet */
        code = request_run(rollout->arms[0], request, &runs[1].err);
    if (code != 0 && err)
        *err = runs[arm].err;
    free(tensors);
    if (good && arm == 1) { /* the challenger wrote to the caller's outputs */
        sample_free(sample);
        sample = sample_new(request, true);
    }
    if (good)
        hand_over(&rollout->judge, sample);
    else
        sample_free(sample);
    return code;
}
