/* The public face of a tuner: opening, overrides and scopes, questions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

#define DEFAULT_BUDGET_S 3.0
#define DEFAULT_CANDIDATES 160

int tune_result(bool ok, const struct error *from, urza_error *err)
{
    if (ok)
        return 0;
    if (err) {
        err->code = (int)from->code;
        snprintf(err->place, sizeof err->place, "%s", from->place);
        snprintf(err->message, sizeof err->message, "%s", from->message);
    }
    return (int)from->code;
}

bool tune_give(const struct strbuf *text, char **out, struct error *err)
{
    char *copy = malloc(text->size_bytes + 1);
    if (!copy)
        return fail(err, ERR_NOMEM, "no memory for %zu bytes", text->size_bytes);
    memcpy(copy, text->data, text->size_bytes + 1);
    *out = copy;
    return true;
}

static bool policy_ok(urza_tune_policy policy)
{
    return policy >= URZA_TUNE_HEURISTIC && policy <= URZA_TUNE_REQUIRE;
}

static bool open_tuner(const urza_tuner_options *options, urza_tuner **out, struct error *err)
{
    urza_tuner *t = calloc(1, sizeof *t);
    if (!t)
        return fail(err, ERR_NOMEM, "no memory for a tuner");
    if (options)
        t->options = *options;
    if (t->options.policy == 0)
        t->options.policy = URZA_TUNE_HEURISTIC;
    if (!(t->options.budget_s > 0))
        t->options.budget_s = DEFAULT_BUDGET_S;
    if (t->options.candidates_max == 0)
        t->options.candidates_max = DEFAULT_CANDIDATES;
    if (!policy_ok(t->options.policy)) {
        free(t);
        return fail(err, ERR_USAGE, "%d is no policy", (int)options->policy);
    }
    pthread_mutex_init(&t->mutex, NULL);
    pthread_mutex_init(&t->measuring, NULL);
    arena_init(&t->arena);
    table_init(&t->known, &t->arena);
    table_init(&t->disk, &t->arena);
    device_ask(&t->arena, &t->device);
    cache_file_init(&t->file, &t->arena, t->options.directory, t->device.fingerprint);
    t->options.directory = NULL; /* the file has a copy */
    *out = t;
    return true;
}

URZA_EXPORT int urza_tuner_open(const urza_tuner_options *options, urza_tuner **out,
                                urza_error *err)
{
    struct error e;
    return tune_result(open_tuner(options, out, &e), &e, err);
}

URZA_EXPORT void urza_tuner_close(urza_tuner *tuner)
{
    if (!tuner)
        return;
    arena_release(&tuner->arena);
    pthread_mutex_destroy(&tuner->mutex);
    pthread_mutex_destroy(&tuner->measuring);
    free(tuner);
}

URZA_EXPORT void urza_tune_free(void *text)
{
    free(text);
}

URZA_EXPORT const char *urza_tuner_device(const urza_tuner *tuner)
{
    return tuner->device.json;
}

URZA_EXPORT const char *urza_config_source_name(urza_config_source source)
{
    static const char *const names[URZA_CONFIG_SOURCES] = {
        "", "override", "overlay", "memory", "persistent", "heuristic", "autotune"};
    return (unsigned)source < URZA_CONFIG_SOURCES ? names[source] : "";
}

URZA_EXPORT int urza_tuner_override(urza_tuner *tuner, const char *match, const char *config,
                                    urza_error *err)
{
    struct error e;
    struct config parsed;
    bool ok = true;
    if (config && !config_parse(config, &parsed, &e))
        return tune_result(false, &e, err);
    tuner_lock(tuner);
    if (config)
        rules_set(&tuner->overrides, &tuner->arena, match, &parsed);
    else if (!rules_remove(&tuner->overrides, match))
        ok = fail(&e, ERR_NOT_FOUND, "'%.64s' is not overridden", match);
    tuner_unlock(tuner);
    return tune_result(ok, &e, err);
}

URZA_EXPORT int urza_tuner_overlay_push(urza_tuner *tuner, const char *match, const char *config,
                                        urza_error *err)
{
    struct error e;
    struct config parsed;
    if (!match != !config) {
        fail(&e, ERR_USAGE, "a match and a config go together");
        return tune_result(false, &e, err);
    }
    if (config && !config_parse(config, &parsed, &e))
        return tune_result(false, &e, err);
    tuner_lock(tuner);
    struct scope *scope = scopes_push(&tuner->scopes, &tuner->arena, false);
    if (config)
        rules_set(&scope->rules, &tuner->arena, match, &parsed);
    tuner_unlock(tuner);
    return 0;
}

URZA_EXPORT int urza_tuner_overlay_add(urza_tuner *tuner, const char *match, const char *config,
                                       urza_error *err)
{
    struct error e;
    struct config parsed;
    bool ok = true;
    if (!config_parse(config, &parsed, &e))
        return tune_result(false, &e, err);
    tuner_lock(tuner);
    struct scope *scope = scopes_top(&tuner->scopes, false);
    if (scope)
        rules_set(&scope->rules, &tuner->arena, match, &parsed);
    else
        ok = fail(&e, ERR_USAGE, "this thread has no overlay");
    tuner_unlock(tuner);
    return tune_result(ok, &e, err);
}

static int pop(urza_tuner *tuner, bool is_policy, urza_error *err)
{
    struct error e;
    tuner_lock(tuner);
    bool ok = scopes_pop(&tuner->scopes, is_policy) ||
              fail(&e, ERR_USAGE, "this thread has no such scope");
    tuner_unlock(tuner);
    return tune_result(ok, &e, err);
}

URZA_EXPORT int urza_tuner_overlay_pop(urza_tuner *tuner, urza_error *err)
{
    return pop(tuner, false, err);
}

URZA_EXPORT int urza_tuner_policy_push(urza_tuner *tuner, urza_tune_policy policy, urza_error *err)
{
    struct error e;
    if (!policy_ok(policy)) {
        fail(&e, ERR_USAGE, "%d is no policy", (int)policy);
        return tune_result(false, &e, err);
    }
    tuner_lock(tuner);
    scopes_push(&tuner->scopes, &tuner->arena, true)->policy = policy;
    tuner_unlock(tuner);
    return 0;
}

URZA_EXPORT int urza_tuner_policy_pop(urza_tuner *tuner, urza_error *err)
{
    return pop(tuner, true, err);
}

static bool ask(urza_tuner *tuner, const char *text, struct arena *arena, char **out_config,
                urza_config_source *out_source, struct error *err)
{
    struct invocation invocation;
    struct kernel_case *kernel = ARENA_NEW(arena, struct kernel_case);
    struct nest *nest = ARENA_NEW(arena, struct nest);
    struct kernel_question question;
    struct config config;
    struct strbuf printed;
    if (!invocation_read(text, strlen(text), arena, &invocation, kernel, err) ||
        !case_question(kernel, arena, nest, &question, err))
        return false;
    struct asked asked = {&invocation, &question};
    if (!tuner_ask(tuner, &asked, &config, out_source, err))
        return false;
    strbuf_init(&printed, arena);
    config_print(&config, &printed);
    return tune_give(&printed, out_config, err);
}

URZA_EXPORT int urza_tuner_choose(urza_tuner *tuner, const char *invocation, char **config,
                                  urza_config_source *source, urza_error *err)
{
    struct arena arena;
    struct error e;
    urza_config_source found;
    arena_init(&arena);
    bool ok = ask(tuner, invocation, &arena, config, &found, &e);
    arena_release(&arena);
    if (ok && source)
        *source = found;
    return tune_result(ok, &e, err);
}

URZA_EXPORT void urza_tuner_counts(urza_tuner *tuner, uint64_t counts[URZA_CONFIG_SOURCES])
{
    tuner_lock(tuner);
    memcpy(counts, tuner->counts, sizeof tuner->counts);
    tuner_unlock(tuner);
}

URZA_EXPORT int urza_config_schema(char **schema, urza_error *err)
{
    struct arena arena;
    struct strbuf text;
    struct error e;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    config_schema_print(&text);
    bool ok = tune_give(&text, schema, &e);
    arena_release(&arena);
    return tune_result(ok, &e, err);
}
