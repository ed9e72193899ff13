/* One mutant: three children, one after the other. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "mutants.h"
#include "verify/verify.h"

struct work {
    struct mutant *mutant;
    const void *package;
    size_t package_bytes;
    uint64_t seed;
};

/* What a child says ahead of anything else. */
struct answer {
    bool ok, pass, refused;
    char text[256], check[64];
};

static void run_plant(const void *argument, struct arena *arena, struct strbuf *out)
{
    const struct work *work = argument;
    struct mutation m = {.site = work->mutant->site};
    struct answer answer = {0};
    struct strbuf package;
    struct error err = {0};
    strbuf_init(&package, arena);
    answer.ok = plant(work->mutant->subject, work->mutant->kind, &m, arena, &package, &err);
    answer.refused = err.code == ERR_PACKAGE;
    snprintf(answer.check, sizeof answer.check, "%.60s", err.message);
    snprintf(answer.text, sizeof answer.text, "%s", m.place);
    strbuf_add(out, &answer, sizeof answer);
    if (answer.ok)
        strbuf_add(out, package.data, package.size_bytes);
}

static void run_observe(const void *argument, struct arena *arena, struct strbuf *out)
{
    const struct work *work = argument;
    struct observation observation = {0};
    (void)arena;
    observe(work->mutant->subject, work->package, work->package_bytes, &observation);
    strbuf_add(out, &observation, sizeof observation);
}

static void run_bounds(const void *argument, struct arena *arena, struct strbuf *out)
{
    const struct work *work = argument;
    bool exceeds = exceeds_bounds(work->mutant->subject, work->package, work->package_bytes);
    (void)arena;
    strbuf_add(out, &exceeds, sizeof exceeds);
}

static void run_verify(const void *argument, struct arena *arena, struct strbuf *out)
{
    const struct work *work = argument;
    struct trusted_keys trusted = {(const uint8_t(*)[32]) & work->mutant->subject->key.public_key,
                                   1};
    struct verify_options options = {.seed = work->seed, .trusted = &trusted};
    struct verify_report report = {0};
    struct answer answer = {0};
    struct error err = {0};
    answer.ok = verify_package(work->package, work->package_bytes, &options, arena, &report, &err);
    if (!answer.ok) {
        answer.refused = err.code == ERR_PACKAGE;
        snprintf(answer.text, sizeof answer.text, "%.80s: %.160s", err.place, err.message);
    }
    answer.pass = answer.ok && report.pass;
    for (uint32_t i = 0; answer.ok && i < report.count; i++) {
        if (report.checks[i].pass)
            continue;
        snprintf(answer.check, sizeof answer.check, "%s", report.checks[i].name);
        snprintf(answer.text, sizeof answer.text, "%s", report.checks[i].detail);
        break;
    }
    strbuf_add(out, &answer, sizeof answer);
}

/* "function x86-64-v3 B=8" → "function" */
static void note_check(struct mutant *mutant, const char *name)
{
    snprintf(mutant->check, sizeof mutant->check, "%.*s", (int)strcspn(name, " "), name);
}

static bool plant_it(struct work *work, uint32_t timeout_s, struct arena *arena)
{
    struct mutant *mutant = work->mutant;
    struct strbuf out;
    struct answer answer;
    struct error err = {0};
    mutant->verdict = VERDICT_UNBUILT;
    if (!spawn_run(run_plant, work, timeout_s, arena, &out, &err) ||
        out.size_bytes < sizeof answer) {
        snprintf(mutant->detail, sizeof mutant->detail, "the compiler %.200s", err.message);
        return false;
    }
    memcpy(&answer, out.data, sizeof answer);
    snprintf(mutant->place, sizeof mutant->place, "%.127s", answer.text);
    if (!answer.ok) {
        snprintf(mutant->detail, sizeof mutant->detail, "%s", answer.check);
        if (answer.refused) { /* as whoever reads such a package does */
            mutant->verdict = VERDICT_CAUGHT;
            snprintf(mutant->check, sizeof mutant->check, "package");
        }
        return false;
    }
    work->package_bytes = out.size_bytes - sizeof answer;
    void *package = arena_alloc(arena, work->package_bytes, 64);
    memcpy(package, out.data + sizeof answer, work->package_bytes);
    work->package = package;
    return true;
}

/* False: it changes nothing. */
static bool observe_it(const struct work *work, uint32_t timeout_s, struct arena *arena)
{
    struct mutant *mutant = work->mutant;
    const struct subject *s = mutant->subject;
    struct observation observation = {.differs = true, .worst = INFINITY};
    struct strbuf out;
    struct error err = {0};
    if (work->package_bytes == s->package_bytes &&
        memcmp(work->package, s->package, s->package_bytes) == 0) {
        snprintf(mutant->detail, sizeof mutant->detail, "the same package");
        return false;
    }
    if (mutant->kind->flags & KIND_UNSEEN)
        return true;
    if (spawn_run(run_observe, work, timeout_s, arena, &out, &err) &&
        out.size_bytes == sizeof observation)
        memcpy(&observation, out.data, sizeof observation);
    else
        snprintf(observation.where, sizeof observation.where, "%.180s", err.message);
    if (err.code == ERR_LIMIT) { /* verification would wait for it too, for minutes */
        mutant->verdict = VERDICT_UNBUILT;
        snprintf(mutant->detail, sizeof mutant->detail, "a call is %.180s", err.message);
        return false;
    }
    mutant->worst = observation.worst;
    snprintf(mutant->detail, sizeof mutant->detail, "%s", observation.where);
    return observation.differs;
}

static void verify_it(const struct work *work, uint32_t timeout_s, struct arena *arena)
{
    struct mutant *mutant = work->mutant;
    struct strbuf out;
    struct answer answer = {0};
    struct error err = {0};
    mutant->verdict = VERDICT_MISSED;
    if (!spawn_run(run_verify, work, timeout_s, arena, &out, &err) ||
        out.size_bytes != sizeof answer) {
        snprintf(mutant->check, sizeof mutant->check, "verification itself");
        snprintf(mutant->detail, sizeof mutant->detail, "%.250s", err.message);
        return;
    }
    memcpy(&answer, out.data, sizeof answer);
    if (answer.pass || (!answer.ok && !answer.refused)) {
        if (!answer.ok)
            snprintf(mutant->detail, sizeof mutant->detail, "no verdict: %.200s", answer.text);
        return;
    }
    mutant->verdict = VERDICT_CAUGHT;
    note_check(mutant, answer.ok ? answer.check : "package");
    snprintf(mutant->detail, sizeof mutant->detail, "%s", answer.text);
}

/* Bounds of deep networks may be wide, so they excuse nothing that changes results by more. */
#define FEW_DIGITS 0x1p-8

/* Whether what was missed could have been seen. */
static void bound_it(const struct work *work, uint32_t timeout_s, struct arena *arena)
{
    struct mutant *mutant = work->mutant;
    struct strbuf out;
    struct error err = {0};
    bool exceeds = true;
    if (mutant->verdict != VERDICT_MISSED || !(mutant->kind->flags & KIND_DIGITS) ||
        !(mutant->worst <= FEW_DIGITS))
        return;
    if (spawn_run(run_bounds, work, timeout_s, arena, &out, &err) &&
        out.size_bytes == sizeof exceeds)
        memcpy(&exceeds, out.data, sizeof exceeds);
    if (!exceeds)
        mutant->verdict = VERDICT_WITHIN;
}

void judge(struct mutant *mutant, uint64_t seed)
{
    uint32_t timeout_s = mutant->subject->timeout_s;
    struct work work = {.mutant = mutant, .seed = seed};
    struct arena arena;
    uint64_t start_ns = clock_ns();
    arena_init(&arena);
    if (plant_it(&work, timeout_s, &arena)) {
        mutant->verdict = VERDICT_EQUIVALENT;
        if (observe_it(&work, timeout_s, &arena)) {
            verify_it(&work, timeout_s, &arena);
            bound_it(&work, timeout_s, &arena);
        }
    }
    arena_release(&arena);
    mutant->took_ms = (clock_ns() - start_ns) / 1000000;
}

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[VERDICT_COUNT] = {"",       "unbuilt", "equivalent",
                                                     "caught", "missed",  "within"};
    return names[verdict];
}
