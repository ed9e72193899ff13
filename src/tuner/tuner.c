/* The sources of a config in their order: override, overlay, memory, persistent, policy.
 *
 * 1. Only measurements are stored; the heuristic's answer is computed again each time.
 * 2. The mutex is never locked during a measurement or while the cache's file is read or written,
 *    so that other threads get answers meanwhile. If several visits read the file at the same
 *    time, each reads it for itself, and the result of the last one to finish is stored.
 *    Measurements run one at a time, because they would disturb each other.
 * 3. Entries that are to be written to the file are pending in memory until a visit writes them. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "tuner/visit_priv.h"

#define NS_PER_S 1e9

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

/* Writes a copy of the pending entries. If others were added meanwhile, all of them stay pending,
 * to be written again. */
void tuner_flush(struct visit *visit, bool wait)
{
    urza_tuner *tuner = visit->tuner;
    struct warner warner = tuner_warner(tuner);
    struct table changes;
    table_init(&changes, arena_inside(&visit->arena));
    visit_lock(visit);
    struct memory *memory = tuner->memory;
    uint64_t count = memory->pending_count;
    for (uint32_t i = 0; i < memory->pending.entries.count; i++)
        table_merge(&changes, memory->pending.entries.items[i]);
    visit_unlock(visit);
    bool done = cache_file_merge(&tuner->file, &changes, wait, &warner);
    visit_lock(visit);
    memory = tuner->memory;
    if (done && memory->pending_count == count)
        table_init(&memory->pending, &memory->arena);
    visit_unlock(visit);
    arena_release(changes.arena);
}

void tuner_keep(struct visit *visit, const struct entry *entry, bool wait)
{
    visit_lock(visit);
    struct memory *memory = visit->tuner->memory;
    bool is_new = table_merge(&memory->known, entry);
    if (is_new) {
        table_merge(&memory->pending, entry);
        memory->pending_count++;
    }
    visit_unlock(visit);
    if (is_new)
        tuner_flush(visit, wait);
}

static bool measured(const struct table *table, const char *key, struct config *out)
{
    const struct entry *entry = key[0] ? table_find(table, key) : NULL;
    if (!entry || !entry->measured)
        return false;
    *out = entry->config;
    return true;
}

static bool same_stamp(const struct cache_stamp *a, const struct cache_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

/* If this tuner cleared entries while the file was being read, the result may still have them, so
 * the file is read again. */
void tuner_refresh(struct visit *visit)
{
    urza_tuner *tuner = visit->tuner;
    struct warner warner = tuner_warner(tuner);
    struct cache_stamp stamp;
    bool current = false;
    while (!current && cache_file_stamp(&tuner->file, &stamp)) {
        struct arena *arena = arena_inside(&visit->arena), old;
        struct table table;
        visit_lock(visit);
        uint64_t clears = tuner->clears;
        current = same_stamp(&stamp, &tuner->disk.seen);
        visit_unlock(visit);
        if (current)
            break;
        table_init(&table, arena);
        bool read = cache_file_read(&tuner->file, &table, &warner);
        visit_lock(visit);
        current = clears == tuner->clears;
        if (current)
            tuner->disk.seen = stamp;
        if (current && read) {
            old = tuner->disk.arena;
            tuner->disk.arena = *arena;
            tuner->disk.table = table;
            tuner->disk.table.arena = &tuner->disk.arena;
            tuner->disk.arena.oom = NULL;
            *arena = old;
        }
        visit_unlock(visit);
        arena_release(arena);
    }
}

/* Looks in all sources before the policy, except the file. The mutex must be locked. */
static bool find(struct visit *visit, const char *key, const char *op, struct config *out,
                 urza_config_source *source)
{
    const struct memory *memory = visit->tuner->memory;
    const struct config *rule = rules_find(&memory->overrides, key, op);
    *source = URZA_CONFIG_OVERRIDE;
    if (!rule) {
        rule = scopes_find(&memory->scopes, key, op);
        *source = URZA_CONFIG_OVERLAY;
    }
    if (rule) {
        *out = *rule;
        return true;
    }
    *source = URZA_CONFIG_MEMORY;
    return measured(&memory->known, key, out);
}

/* Looks in the file, for measurements of other processes. The mutex must not be locked. */
static bool find_persistent(struct visit *visit, const char *key, struct config *out)
{
    urza_tuner *tuner = visit->tuner;
    if (key[0] == '\0')
        return false;
    tuner_refresh(visit);
    visit_lock(visit);
    bool found = measured(&tuner->disk.table, key, out);
    if (found)
        table_merge(&tuner->memory->known, table_find(&tuner->disk.table, key));
    visit_unlock(visit);
    return found;
}

/* Time limit for one measurement that begins now, in seconds. */
static double budget_now(struct visit *visit, double wish_s)
{
    const urza_tuner *tuner = visit->tuner;
    double budget_s = wish_s > 0 ? wish_s : tuner->options.budget_s;
    visit_lock(visit);
    double left_s = tuner->options.total_s - tuner->spent_s;
    visit_unlock(visit);
    return tuner->options.total_s > 0 && left_s < budget_s ? left_s : budget_s;
}

bool tuner_measure(struct visit *visit, const struct invocation *invocation, double budget_s,
                   struct entry *out, struct error *err)
{
    urza_tuner *tuner = visit->tuner;
    struct kernel_case *kernel = ARENA_NEW(&visit->arena, struct kernel_case);
    struct tune_limits limits = {.candidates_max = tuner->options.candidates_max,
                                 .on_progress = tuner->options.on_progress,
                                 .user = tuner->options.user};
    if (!invocation_read(invocation->json, strlen(invocation->json), &visit->arena, NULL, kernel,
                         err))
        return false;
    pthread_mutex_lock(&tuner->measuring);
    visit->measuring = true;
    limits.budget_s = budget_now(visit, budget_s);
    uint64_t begin = clock_ns();
    bool ok = limits.budget_s > 0 ? tune_case(kernel, invocation, &limits, &visit->arena, out, err)
                                  : fail(err, ERR_LIMIT, "the time for measuring is over");
    double took_s = (double)(clock_ns() - begin) / NS_PER_S;
    visit->measuring = false;
    pthread_mutex_unlock(&tuner->measuring);
    visit_lock(visit);
    tuner->spent_s += took_s;
    visit_unlock(visit);
    if (!ok)
        return false;
    memcpy(out->device, tuner->device.fingerprint, sizeof out->device);
    tuner_keep(visit, out, true);
    return true;
}

struct trial {
    const struct invocation *invocation;
    struct config config;
};

static bool try_configs(struct visit *visit, void *context, struct error *err)
{
    struct trial *trial = context;
    struct entry entry = {.measured = false};
    bool ok = tuner_measure(visit, trial->invocation, 0, &entry, err);
    if (ok)
        trial->config = entry.config;
    return ok;
}

/* Measures because a config was asked for under the policy `autotune`. If the kernel cannot be
 * measured, returns false, with a warning unless that is expected. It runs in a visit of its own,
 * so that lack of memory ends the measurement and not the caller's visit. */
static bool autotune(urza_tuner *tuner, const struct asked *asked, struct config *out)
{
    struct trial trial = {.invocation = asked->invocation};
    struct error err;
    bool ok = visit_run(tuner, try_configs, &trial, &err);
    if (ok)
        *out = trial.config;
    else if (err.code != ERR_TARGET && err.code != ERR_LIMIT)
        pass_warning(tuner, err.message);
    return ok;
}

static void record(struct visit *visit, const struct invocation *invocation)
{
    urza_tuner *tuner = visit->tuner;
    struct entry entry = {.invocation = invocation->json};
    memcpy(entry.key, invocation->key, sizeof entry.key);
    memcpy(entry.device, tuner->device.fingerprint, sizeof entry.device);
    visit_lock(visit);
    bool is_new = !table_find(&tuner->memory->known, entry.key);
    const struct entry *stored = table_find(&tuner->disk.table, entry.key);
    if (is_new && stored) {
        table_merge(&tuner->memory->known, stored);
        is_new = false;
    }
    visit_unlock(visit);
    if (is_new)
        tuner_keep(visit, &entry, false);
}

static void tell(struct visit *visit, const char *key, const char *op, const struct config *config,
                 urza_config_source source)
{
    urza_tuner *tuner = visit->tuner;
    struct strbuf text;
    visit_lock(visit);
    tuner->counts[source]++;
    visit_unlock(visit);
    if (!tuner->options.on_choice)
        return;
    strbuf_init(&text, &visit->arena);
    config_print(config, &text);
    urza_tune_choice choice = {.key = key, .op = op, .config = text.data, .source = source};
    tuner->options.on_choice(tuner->options.user, &choice);
}

bool tuner_ask(struct visit *visit, const struct asked *asked, struct config *out,
               urza_config_source *out_source, struct error *err)
{
    urza_tuner *tuner = visit->tuner;
    const char *key = asked->invocation ? asked->invocation->key : "";
    const char *op = asked->question->group->label;
    urza_config_source source;
    struct config config;
    visit_lock(visit);
    bool found = find(visit, key, op, &config, &source);
    const struct scope *scope = scopes_top(&tuner->memory->scopes, true);
    urza_tune_policy policy = scope ? scope->policy : tuner->options.policy;
    visit_unlock(visit);
    if (!found) {
        found = find_persistent(visit, key, &config);
        source = URZA_CONFIG_PERSISTENT;
    }
    if (asked->invocation && tuner->options.record)
        record(visit, asked->invocation);
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
    tell(visit, key, op, &config, source);
    *out = config;
    *out_source = source;
    return true;
}

struct choice {
    const struct kernel_question *question;
    struct config *out;
};

static bool choose_visit(struct visit *visit, void *context, struct error *err)
{
    const struct choice *choice = context;
    struct invocation invocation;
    struct error alone;
    urza_config_source source;
    /* A kernel of `prepare` runs once, after loading: it is not worth measuring. */
    bool has_record = !choice->question->group->prepare &&
                      invocation_make(choice->question, &visit->arena, &invocation, &alone);
    struct asked asked = {has_record ? &invocation : NULL, choice->question};
    return tuner_ask(visit, &asked, choice->out, &source, err);
}

static bool choose(void *context, const struct kernel_question *question, struct config *out,
                   struct error *err)
{
    struct choice choice = {question, out};
    return visit_run(context, choose_visit, &choice, err);
}

struct config_chooser tuner_chooser(urza_tuner *tuner)
{
    return (struct config_chooser){choose, tuner};
}

static bool find_any(struct visit *visit, void *context, struct error *err)
{
    const urza_tuner *tuner = visit->tuner;
    bool *any = context;
    (void)err;
    tuner_refresh(visit);
    visit_lock(visit);
    for (uint32_t i = 0; i < tuner->disk.table.entries.count; i++)
        *any |= tuner->disk.table.entries.items[i]->measured;
    for (uint32_t i = 0; i < tuner->memory->known.entries.count; i++)
        *any |= tuner->memory->known.entries.items[i]->measured;
    visit_unlock(visit);
    return true;
}

bool tuner_knows_any(urza_tuner *tuner)
{
    struct error err;
    bool any = false;
    return visit_run(tuner, find_any, &any, &err) && any;
}
