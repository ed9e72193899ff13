/* The chain: override, overlay, memory, persistent, policy.
 *
 * 1. Only what was measured is kept; an answer of the heuristic is computed again each time.
 * 2. The mutex is never held while something is measured, so that others may be served from what is
 *    known; measurements wait for each other, because they would disturb each other. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

#define NS_PER_S 1e9

void tuner_lock(urza_tuner *tuner)
{
    pthread_mutex_lock(&tuner->mutex);
}

void tuner_unlock(urza_tuner *tuner)
{
    pthread_mutex_unlock(&tuner->mutex);
}

static void pass_warning(void *context, const char *message)
{
    const urza_tuner *tuner = context;
    if (tuner->options.on_warning)
        tuner->options.on_warning(tuner->options.user, message);
}

struct warner tuner_warner(urza_tuner *tuner)
{
    return (struct warner){pass_warning, tuner};
}

void tuner_keep(urza_tuner *tuner, const struct entry *entry)
{
    struct arena arena;
    struct table changes;
    struct warner warner = tuner_warner(tuner);
    arena_init(&arena);
    table_init(&changes, &arena);
    table_merge(&changes, entry);
    tuner_lock(tuner);
    if (table_merge(&tuner->known, entry))
        cache_file_merge(&tuner->file, &changes, &warner);
    tuner_unlock(tuner);
    arena_release(&arena);
}

static bool measured(const struct table *table, const char *key, struct config *out)
{
    const struct entry *entry = key[0] ? table_find(table, key) : NULL;
    if (!entry || !entry->measured)
        return false;
    *out = entry->config;
    return true;
}

/* The levels that need no work. */
static bool find(urza_tuner *tuner, const char *key, const char *op, struct config *out,
                 urza_config_source *source)
{
    struct warner warner = tuner_warner(tuner);
    const struct config *rule = rules_find(&tuner->overrides, key, op);
    *source = URZA_CONFIG_OVERRIDE;
    if (!rule) {
        rule = scopes_find(&tuner->scopes, key, op);
        *source = URZA_CONFIG_OVERLAY;
    }
    if (rule) {
        *out = *rule;
        return true;
    }
    *source = URZA_CONFIG_MEMORY;
    if (measured(&tuner->known, key, out))
        return true;
    *source = URZA_CONFIG_PERSISTENT;
    cache_file_read(&tuner->file, &tuner->disk, &warner);
    if (!measured(&tuner->disk, key, out))
        return false;
    table_merge(&tuner->known, table_find(&tuner->disk, key));
    return true;
}

/* Seconds that one measurement may take now. */
static double budget_now(urza_tuner *tuner, double wish_s)
{
    double budget_s = wish_s > 0 ? wish_s : tuner->options.budget_s;
    tuner_lock(tuner);
    double left_s = tuner->options.total_s - tuner->spent_s;
    tuner_unlock(tuner);
    return tuner->options.total_s > 0 && left_s < budget_s ? left_s : budget_s;
}

bool tuner_measure(urza_tuner *tuner, const struct invocation *invocation, double budget_s,
                   struct arena *arena, struct entry *out, struct error *err)
{
    struct kernel_case *kernel = ARENA_NEW(arena, struct kernel_case);
    struct tune_limits limits = {.candidates_max = tuner->options.candidates_max,
                                 .on_progress = tuner->options.on_progress,
                                 .user = tuner->options.user};
    if (!invocation_read(invocation->json, strlen(invocation->json), arena, NULL, kernel, err))
        return false;
    pthread_mutex_lock(&tuner->measuring);
    limits.budget_s = budget_now(tuner, budget_s);
    uint64_t begin = clock_ns();
    bool ok = limits.budget_s > 0 ? tune_case(kernel, invocation, &limits, arena, out, err)
                                  : fail(err, ERR_LIMIT, "the time for measuring is over");
    double took_s = (double)(clock_ns() - begin) / NS_PER_S;
    pthread_mutex_unlock(&tuner->measuring);
    tuner_lock(tuner);
    tuner->spent_s += took_s;
    tuner_unlock(tuner);
    if (!ok)
        return false;
    memcpy(out->device, tuner->device.fingerprint, sizeof out->device);
    tuner_keep(tuner, out);
    return true;
}

/* Measures while somebody waits for an answer: what cannot be measured is not, with a warning where
 * that is a surprise. */
static bool autotune(urza_tuner *tuner, const struct asked *asked, struct config *out)
{
    struct arena arena;
    struct entry entry = {.measured = false};
    struct error err;
    arena_init(&arena);
    bool ok = tuner_measure(tuner, asked->invocation, 0, &arena, &entry, &err);
    arena_release(&arena);
    if (ok)
        *out = entry.config;
    else if (err.code != ERR_TARGET && err.code != ERR_LIMIT)
        pass_warning(tuner, err.message);
    return ok;
}

static void record(urza_tuner *tuner, const struct invocation *invocation)
{
    struct entry entry = {.invocation = invocation->json};
    memcpy(entry.key, invocation->key, sizeof entry.key);
    memcpy(entry.device, tuner->device.fingerprint, sizeof entry.device);
    tuner_lock(tuner);
    bool is_new = !table_find(&tuner->known, entry.key);
    const struct entry *stored = table_find(&tuner->disk, entry.key);
    if (is_new && stored) {
        table_merge(&tuner->known, stored);
        is_new = false;
    }
    tuner_unlock(tuner);
    if (is_new)
        tuner_keep(tuner, &entry);
}

static void tell(urza_tuner *tuner, const char *key, const char *op, const struct config *config,
                 urza_config_source source)
{
    struct arena arena;
    struct strbuf text;
    tuner_lock(tuner);
    tuner->counts[source]++;
    tuner_unlock(tuner);
    if (!tuner->options.on_choice)
        return;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    config_print(config, &text);
    urza_tune_choice choice = {.key = key, .op = op, .config = text.data, .source = source};
    tuner->options.on_choice(tuner->options.user, &choice);
    arena_release(&arena);
}

bool tuner_ask(urza_tuner *tuner, const struct asked *asked, struct config *out,
               urza_config_source *out_source, struct error *err)
{
    const char *key = asked->invocation ? asked->invocation->key : "";
    const char *op = asked->question->group->label;
    urza_config_source source;
    struct config config;
    tuner_lock(tuner);
    bool found = find(tuner, key, op, &config, &source);
    const struct scope *scope = scopes_top(&tuner->scopes, true);
    urza_tune_policy policy = scope ? scope->policy : tuner->options.policy;
    tuner_unlock(tuner);
    if (asked->invocation && tuner->options.record)
        record(tuner, asked->invocation);
    if (!found && policy == URZA_TUNE_REQUIRE && asked->invocation)
        return fail(err, ERR_NOT_FOUND, "no config is known for %s %.12s", op, key);
    if (!found && policy == URZA_TUNE_AUTOTUNE && asked->invocation) {
        found = autotune(tuner, asked, &config);
        source = URZA_CONFIG_AUTOTUNE;
    }
    if (!found) {
        sched_default(asked->question->scheduling, &config);
        source = URZA_CONFIG_HEURISTIC;
    }
    tell(tuner, key, op, &config, source);
    *out = config;
    *out_source = source;
    return true;
}

static bool choose(void *context, const struct kernel_question *question, struct config *out,
                   struct error *err)
{
    struct arena arena;
    struct invocation invocation;
    struct error alone;
    urza_config_source source;
    arena_init(&arena);
    /* What runs once, after loading, is not worth the time. */
    bool has_record =
        !question->group->prepare && invocation_make(question, &arena, &invocation, &alone);
    struct asked asked = {has_record ? &invocation : NULL, question};
    bool ok = tuner_ask(context, &asked, out, &source, err);
    arena_release(&arena);
    return ok;
}

struct config_chooser tuner_chooser(urza_tuner *tuner)
{
    return (struct config_chooser){choose, tuner};
}

bool tuner_knows_any(urza_tuner *tuner)
{
    struct warner warner = tuner_warner(tuner);
    bool any = false;
    tuner_lock(tuner);
    cache_file_read(&tuner->file, &tuner->disk, &warner);
    for (uint32_t i = 0; i < tuner->disk.entries.count; i++)
        any |= tuner->disk.entries.items[i]->measured;
    for (uint32_t i = 0; i < tuner->known.entries.count; i++)
        any |= tuner->known.entries.items[i]->measured;
    tuner_unlock(tuner);
    return any;
}
