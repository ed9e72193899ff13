#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "layer/rollout_priv.h"
#include "runtime/inside.h"

#define SAMPLE_EVERY 200
#define PAIRS 500
#define PARTS 10000    /* of all calls */
#define STEPS_OF_ARM 3 /* as a power of two: so long a slot keeps its arm */
#define FORMAT "urza.rollout/1"

static const struct {
    const char *name;
    uint32_t parts; /* of PARTS that run the challenger */
    bool pairs;     /* some calls run both */
} rungs[] = {
    [URZA_RUNG_OFF] = {"off", 0, false},
    [URZA_RUNG_SHADOW] = {"shadow", 0, true},
    [URZA_RUNG_1] = {"1 %", 100, true},
    [URZA_RUNG_10] = {"10 %", 1000, true},
    [URZA_RUNG_50] = {"50 %", 5000, true},
    [URZA_RUNG_100] = {"100 %", PARTS, true},
    [URZA_RUNG_FINAL] = {"final", PARTS, false},
    [URZA_RUNG_ROLLED_BACK] = {"rolled back", 0, false},
};
#define RUNGS (sizeof rungs / sizeof *rungs)

URZA_EXPORT const char *urza_rung_name(urza_rung rung)
{
    return (uint32_t)rung < RUNGS ? rungs[rung].name : "unknown";
}

/* Arms. */

/* The finaliser of splitmix64. */
static uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Of a salt that was mixed, so that a call mixes twice. Odd multiples keep neighbours apart. */
static uint64_t hash(uint64_t mixed_salt, uint64_t slot, uint64_t step)
{
    return mix64(mix64(mixed_salt + slot * HASH64_K1) + step * HASH64_K2);
}

static bool is_listed(const uint64_t *list, uint32_t count, uint64_t slot)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == slot)
            return true;
    return false;
}

URZA_EXPORT int urza_rollout_arm(const urza_rollout *rollout, uint64_t slot, uint64_t step)
{
    if (!rollout)
        return 0;
    uint32_t parts = rungs[atomic_load_explicit(&rollout->rung, memory_order_relaxed)].parts;
    if (parts == 0 || is_listed(rollout->block, rollout->block_count, slot))
        return 0;
    if (parts == PARTS || is_listed(rollout->allow, rollout->allow_count, slot))
        return 1;
    return (hash(rollout->mixed_salt, slot, step >> STEPS_OF_ARM) >> 32) * PARTS >> 32 < parts;
}

void rollout_count(struct urza_rollout *rollout, int arm)
{
    atomic_fetch_add_explicit(&rollout->calls, 1, memory_order_relaxed);
    if (arm == 1)
        atomic_fetch_add_explicit(&rollout->arm_calls, 1, memory_order_relaxed);
}

bool rollout_samples(const struct urza_rollout *rollout, uint64_t slot, uint64_t step,
                     bool *out_swapped)
{
    uint64_t drawn = hash(~rollout->mixed_salt, slot, step);
    *out_swapped = drawn >> 63;
    return rungs[atomic_load_explicit(&rollout->rung, memory_order_relaxed)].pairs &&
           drawn % rollout->sample_every == 0 &&
           !is_listed(rollout->block, rollout->block_count, slot);
}

URZA_EXPORT urza_module *urza_rollout_module(const urza_rollout *rollout, int arm)
{
    return rollout->arms[arm != 0];
}

/* Rungs. */

/* False: the rung is another one by now. What is counted on the new one begins before it does. */
static bool go(struct urza_rollout *rollout, uint32_t from, uint32_t to, const char *reason)
{
    struct counted now = counts_read(&rollout->counts);
    counts_write(&rollout->from[to], &now);
    if (!atomic_compare_exchange_strong(&rollout->rung, &from, to))
        return false;
    const urza_rollout_event event = {(urza_rung)from, (urza_rung)to, reason};
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    if (rollout->on_event)
        rollout->on_event(rollout->user, &event);
    pthread_setcancelstate(cancel, &cancel);
    return true;
}

void rollout_back(struct urza_rollout *rollout, const char *reason)
{
    uint32_t rung = atomic_load(&rollout->rung);
    while (rung != URZA_RUNG_OFF && rung != URZA_RUNG_ROLLED_BACK &&
           !go(rollout, rung, URZA_RUNG_ROLLED_BACK, reason))
        rung = atomic_load(&rollout->rung);
}

bool rollout_conclude(struct urza_rollout *rollout, const struct run runs[2])
{
    char reason[sizeof runs[1].err.message + 64];
    if (runs[0].code != 0 || runs[1].code == ERR_CANCELLED)
        return false; /* it may be the arguments, or the host wants the end of it */
    bool interpreted = runs[1].code == 0 && runs[1].interpreted && !runs[0].interpreted;
    if (runs[1].code == ERR_INPUT)
        rollout_back(rollout, "it refuses a call that the champion takes");
    else if (counts_add_call(&rollout->counts, runs[1].code != 0 || interpreted) == ALARM_FAILS) {
        snprintf(reason, sizeof reason, "it fails too often: %s: %s",
                 urza_error_name(interpreted ? ERR_TARGET : runs[1].code),
                 interpreted ? "the call was interpreted" : runs[1].err.message);
        rollout_back(rollout, reason);
    }
    return runs[1].code == 0;
}

URZA_EXPORT urza_rung urza_rollout_rung(const urza_rollout *rollout)
{
    return (urza_rung)atomic_load(&rollout->rung);
}

URZA_EXPORT urza_rung urza_rollout_tick(urza_rollout *rollout)
{
    uint32_t rung = atomic_load(&rollout->rung);
    struct counted from = counts_read(&rollout->from[rung]), now = counts_read(&rollout->counts);
    if (rungs[rung].pairs && evidence_suffices(&now, &from, rollout->pairs, rungs[rung].parts > 0))
        go(rollout, rung, rung + 1, "it is right, no slower, and does not fail");
    return urza_rollout_rung(rollout);
}

URZA_EXPORT int urza_rollout_set(urza_rollout *rollout, urza_rung rung, const char *reason,
                                 urza_error *err)
{
    struct error e;
    static const struct counted none;
    if (!rollout || (uint32_t)rung >= RUNGS)
        return public_result(!rollout ? fail(&e, ERR_USAGE, "the rollout is NULL")
                                      : fail(&e, ERR_USAGE, "there is no rung %d", (int)rung),
                             &e, err);
    for (bool done = false; !done;) {
        uint32_t from = atomic_load(&rollout->rung);
        if (from == URZA_RUNG_ROLLED_BACK && rung != URZA_RUNG_ROLLED_BACK)
            counts_write(&rollout->counts, &none);
        done = go(rollout, from, rung, reason ? reason : "as it was told");
    }
    return 0;
}

/* Calls. */

int request_run(urza_module *module, const struct request *request, bool *out_interpreted,
                urza_error *err)
{
    return call_told(module, request->inputs, request->input_count, request->outputs,
                     request->output_count, out_interpreted, err);
}

/* The challenger alone; where it fails or has to interpret the call, the champion, too. */
static int run_challenger(struct urza_rollout *rollout, const struct request *request,
                          urza_error *err)
{
    struct run runs[2] = {{.interpreted = !rollout->champion_native}};
    runs[1].code = request_run(rollout->arms[1], request, &runs[1].interpreted, &runs[1].err);
    if (runs[1].code != 0 || (runs[1].interpreted && rollout->champion_native))
        runs[0].code = request_run(rollout->arms[0], request, &runs[0].interpreted, &runs[0].err);
    int arm = runs[1].code != 0 && runs[1].code != ERR_CANCELLED ? 0 : 1;
    rollout_conclude(rollout, runs);
    if (runs[arm].code != 0 && err)
        *err = runs[arm].err;
    return runs[arm].code;
}

/* Both arms; the rest is for the arm alone. False: there is no memory for that. */
static bool run_both(struct urza_rollout *rollout, int arm, bool swapped,
                     const struct request *request, int *out_code, urza_error *err)
{
    *out_code = call_check(rollout->arms[0], request->inputs, request->input_count,
                           request->outputs, request->output_count, err);
    if (*out_code != 0) /* as it would be without a rollout */
        return true;
    *out_code = pair_run(rollout, arm, swapped, request, err);
    if (*out_code != ERR_NOMEM)
        return true;
    atomic_fetch_add(&rollout->judge.dropped, 1);
    return false;
}

URZA_EXPORT int urza_rollout_call(urza_rollout *rollout, uint64_t slot, uint64_t step,
                                  const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
                                  uint32_t output_count, urza_error *err)
{
    const struct request request = {inputs, outputs, input_count, output_count, false};
    struct error e;
    bool swapped, interpreted;
    int code;
    if (!rollout)
        return public_result(fail(&e, ERR_USAGE, "the rollout is NULL"), &e, err);
    int arm = urza_rollout_arm(rollout, slot, step);
    rollout_count(rollout, arm);
    if (rollout_samples(rollout, slot, step, &swapped) &&
        run_both(rollout, arm, swapped, &request, &code, err))
        return code;
    return arm == 1 ? run_challenger(rollout, &request, err)
                    : request_run(rollout->arms[0], &request, &interpreted, err);
}

void rollout_pair_step(struct urza_rollout *rollout, bool swapped, const struct request *request)
{
    if (pair_run(rollout, 0, swapped, request, NULL) == ERR_NOMEM)
        atomic_fetch_add(&rollout->judge.dropped, 1);
}

/* State. */

URZA_EXPORT void urza_rollout_stats_get(const urza_rollout *rollout, urza_rollout_stats *out)
{
    struct counted now = counts_read(&rollout->counts);
    *out = (urza_rollout_stats){
        .rung = urza_rollout_rung(rollout),
        .calls = atomic_load(&rollout->calls),
        .arm_calls = atomic_load(&rollout->arm_calls),
        .challenger_calls = now.challenger_calls,
        .failures = now.failures,
        .pairs = now.pairs,
        .slower = now.slower,
        .no_slower = now.no_slower,
        .judged = now.judged,
        .wrong = atomic_load(&rollout->judge.wrong),
        .dropped = atomic_load(&rollout->judge.dropped),
        .log_e = evidence_log_e(now.pairs, now.slower),
    };
}

#define NUMBERS 11
#define COUNTS " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64

/* Of one moment: the counts of a rung begin before it, and those at the end are read last. */
URZA_EXPORT size_t urza_rollout_save(const urza_rollout *rollout, char *text, size_t room)
{
    struct counted from, now;
    uint32_t rung = atomic_load(&rollout->rung), before;
    do {
        before = rung;
        from = counts_read(&rollout->from[rung]);
        now = counts_read(&rollout->counts);
        rung = atomic_load(&rollout->rung);
    } while (rung != before);
    int size =
        snprintf(text, room, FORMAT "\n%s\n%s\n%u" COUNTS COUNTS "\n",
                 urza_kernel_id(rollout->arms[0]), urza_kernel_id(rollout->arms[1]), rung,
                 now.pairs, now.slower, now.no_slower, now.challenger_calls, now.failures,
                 from.pairs, from.slower, from.no_slower, from.challenger_calls, from.failures);
    return (size_t)size;
}

/* Numbers with a space between each two, and a line's end behind the last, which ends the text. */
static bool read_numbers(const char *text, uint64_t out[NUMBERS])
{
    for (int i = 0; i < NUMBERS; i++) {
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 18 || text[digits] != (i + 1 < NUMBERS ? ' ' : '\n'))
            return false;
        out[i] = strtoull(text, NULL, 10);
        text += digits + 1;
    }
    return *text == '\0';
}

static bool are_counts(const struct counted *c)
{
    return c->pairs <= INT32_MAX && c->slower <= c->pairs && c->no_slower <= c->pairs &&
           c->failures <= c->challenger_calls;
}

static bool restore(struct urza_rollout *rollout, const char *text, struct error *err)
{
    char head[256];
    uint64_t n[NUMBERS];
    size_t size =
        (size_t)snprintf(head, sizeof head, FORMAT "\n%s\n%s\n", urza_kernel_id(rollout->arms[0]),
                         urza_kernel_id(rollout->arms[1]));
    if (strncmp(text, head, size) != 0)
        return fail(err, ERR_INPUT, "what was saved is not of a rollout of these kernels");
    if (!read_numbers(text + size, n) || n[0] >= RUNGS)
        return fail(err, ERR_INPUT, "what was saved is damaged");
    /* What was judged is not saved: each process judges some results before it goes on. */
    const struct counted now = {n[1], n[2], n[3], n[4], n[5], 0};
    const struct counted from = {n[6], n[7], n[8], n[9], n[10], 0};
    if (!are_counts(&now) || !are_counts(&from) || from.pairs > now.pairs ||
        from.slower > now.slower || from.no_slower > now.no_slower ||
        from.challenger_calls > now.challenger_calls || from.failures > now.failures)
        return fail(err, ERR_INPUT, "what was saved is damaged");
    rollout->rung = (uint32_t)n[0];
    counts_write(&rollout->counts, &now);
    counts_write(&rollout->from[n[0]], &from);
    return true;
}

/* Opening. */

static bool copy_list(const uint64_t *list, uint32_t count, uint64_t **out, struct error *err)
{
    *out = calloc((size_t)count + 1, sizeof **out);
    if (!*out)
        return fail(err, ERR_NOMEM, "no memory for a list of slots");
    if (count > 0)
        memcpy(*out, list, count * sizeof **out);
    return true;
}

/* Whether the challenger can stand for the champion. */
static bool fits(const urza_rollout_options *options, struct error *err)
{
    urza_handle *handle;
    urza_error why;
    int code = urza_handle_new(options->champion, &handle, &why);
    if (code == 0) {
        code = urza_handle_replace(handle, options->challenger, &why);
        urza_handle_free(handle);
    }
    if (code == 0)
        return true;
    fail(err, (enum error_code)code, "the challenger: %s", why.message);
    return fail_at(err, "%s", why.place);
}

static bool check_options(const urza_rollout_options *options, struct error *err)
{
    if (!options || !options->champion || !options->challenger)
        return fail(err, ERR_USAGE, "a rollout needs a champion and a challenger");
    if ((options->allow_count > 0 && !options->allow) ||
        (options->block_count > 0 && !options->block))
        return fail(err, ERR_USAGE, "slots are counted but not given");
    return fits(options, err);
}

static bool open_with(struct urza_rollout *rollout, const urza_rollout_options *options,
                      struct error *err)
{
    rollout->arms[0] = urza_retain(options->champion);
    rollout->arms[1] = urza_retain(options->challenger);
    rollout->champion_native = strcmp(urza_target(options->champion), "interpreter") != 0;
    rollout->salt = options->salt;
    rollout->mixed_salt = mix64(options->salt ^ HASH64_K3);
    rollout->sample_every = options->sample_every > 0 ? options->sample_every : SAMPLE_EVERY;
    rollout->pairs = options->pairs > 0 ? options->pairs : PAIRS;
    rollout->on_event = options->on_event;
    rollout->user = options->user;
    rollout->clock = options->clock;
    rollout->allow_count = options->allow_count;
    rollout->block_count = options->block_count;
    return copy_list(options->allow, options->allow_count, &rollout->allow, err) &&
           copy_list(options->block, options->block_count, &rollout->block, err) &&
           (step_order(rollout) || fail(err, ERR_NOMEM, "no memory for a rollout")) &&
           (!options->saved || restore(rollout, options->saved, err)) &&
           judge_start(&rollout->judge, rollout, err);
}

static void release(struct urza_rollout *rollout)
{
    urza_unload(rollout->arms[0]);
    urza_unload(rollout->arms[1]);
    free(rollout->allow);
    free(rollout->block);
    free(rollout->order);
    free(rollout);
}

URZA_EXPORT int urza_rollout_open(const urza_rollout_options *options, urza_rollout **out,
                                  urza_error *err)
{
    struct error e;
    if (!check_options(options, &e))
        return public_result(false, &e, err);
    struct urza_rollout *rollout = calloc(1, sizeof *rollout);
    if (!rollout)
        return public_result(fail(&e, ERR_NOMEM, "no memory for a rollout"), &e, err);
    if (!open_with(rollout, options, &e)) {
        release(rollout);
        return public_result(false, &e, err);
    }
    *out = rollout;
    return 0;
}

URZA_EXPORT void urza_rollout_close(urza_rollout *rollout)
{
    int cancel;
    if (!rollout)
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    judge_stop(&rollout->judge);
    release(rollout);
    pthread_setcancelstate(cancel, &cancel);
}
