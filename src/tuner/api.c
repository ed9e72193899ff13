/* Public functions of a tuner: opening and closing, overrides and scopes, choosing configs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "tuner/visit_priv.h"

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

/* No other thread has the tuner yet, so its arena may use the jump target of the visit's. */
static bool begin(struct visit *visit, void *context, struct error *err)
{
    const char *const *directory = context;
    urza_tuner *t = visit->tuner;
    (void)err;
    t->arena.oom = visit->arena.oom;
    device_ask(&t->arena, &t->device);
    cache_file_init(&t->file, &t->arena, *directory, t->device.fingerprint);
    t->arena.oom = NULL;
    return true;
}

static bool open_tuner(const urza_tuner_options *options, urza_tuner **out, struct error *err)
{
    const char *directory = options ? options->directory : NULL;
    if (options && options->policy != 0 && !policy_ok(options->policy))
        return fail(err, ERR_USAGE, "%d is no policy", (int)options->policy);
    urza_tuner *t = calloc(1, sizeof *t);
    if (!t)
        return fail(err, ERR_NOMEM, "no memory for a tuner");
    if (options)
        t->options = *options;
    t->options.directory = NULL; /* tuner->file has a copy */
    if (t->options.policy == 0)
        t->options.policy = URZA_TUNE_HEURISTIC;
    if (!(t->options.budget_s > 0))
        t->options.budget_s = DEFAULT_BUDGET_S;
    if (t->options.candidates_max == 0)
        t->options.candidates_max = DEFAULT_CANDIDATES;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_mutex_init(&t->measuring, NULL);
    arena_init(&t->arena);
    arena_init(&t->disk.arena);
    table_init(&t->disk.table, &t->disk.arena);
    t->memory = &t->halves[0];
    memory_init(t->memory);
    if (!visit_run(t, begin, &directory, err)) {
        urza_tuner_close(t);
        return false;
    }
    *out = t;
    return true;
}

URZA_EXPORT int urza_tuner_open(const urza_tuner_options *options, urza_tuner **out,
                                urza_error *err)
{
    struct error e;
    return tune_result(open_tuner(options, out, &e), &e, err);
}

static bool flush(struct visit *visit, void *context, struct error *err)
{
    (void)context, (void)err;
    if (visit->tuner->memory->pending.entries.count > 0)
        tuner_flush(visit, true);
    return true;
}

URZA_EXPORT void urza_tuner_close(urza_tuner *tuner)
{
    struct error err;
    if (!tuner)
        return;
    if (!visit_run(tuner, flush, NULL, &err) && tuner->options.on_warning)
        tuner->options.on_warning(tuner->options.user, err.message);
    arena_release(&tuner->memory->arena);
    arena_release(&tuner->disk.arena);
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

/* A change of rules or scopes. */
struct ruling {
    const char *match;  /* NULL: a scope without rules */
    const char *config; /* JSON; NULL: none */
    bool is_policy;     /* a scope with a policy, not with rules */
    urza_tune_policy policy;
};

static bool override(struct visit *visit, void *context, struct error *err)
{
    const struct ruling *r = context;
    struct config config;
    if (r->config && !config_parse(r->config, &config, err))
        return false;
    visit_lock(visit);
    struct memory *memory = visit->tuner->memory;
    if (r->config)
        rules_set(&memory->overrides, &memory->arena, r->match, &config);
    else if (!rules_remove(&memory->overrides, r->match))
        return fail(err, ERR_NOT_FOUND, "'%.64s' is not overridden", r->match);
    return true;
}

URZA_EXPORT int urza_tuner_override(urza_tuner *tuner, const char *match, const char *config,
                                    urza_error *err)
{
    struct error e;
    struct ruling ruling = {.match = match, .config = config};
    return tune_result(visit_run(tuner, override, &ruling, &e), &e, err);
}

static bool push(struct visit *visit, void *context, struct error *err)
{
    const struct ruling *r = context;
    struct config config;
    struct rules rules = {0};
    if (r->is_policy && !policy_ok(r->policy))
        return fail(err, ERR_USAGE, "%d is no policy", (int)r->policy);
    if (!r->match != !r->config)
        return fail(err, ERR_USAGE, "a match and a config go together");
    if (r->config && !config_parse(r->config, &config, err))
        return false;
    if (r->config)
        rules_set(&rules, &visit->arena, r->match, &config);
    visit_lock(visit);
    struct memory *memory = visit->tuner->memory;
    scopes_push(&memory->scopes, &memory->arena, r->is_policy, &rules)->policy = r->policy;
    return true;
}

URZA_EXPORT int urza_tuner_overlay_push(urza_tuner *tuner, const char *match, const char *config,
                                        urza_error *err)
{
    struct error e;
    struct ruling ruling = {.match = match, .config = config};
    return tune_result(visit_run(tuner, push, &ruling, &e), &e, err);
}

URZA_EXPORT int urza_tuner_policy_push(urza_tuner *tuner, urza_tune_policy policy, urza_error *err)
{
    struct error e;
    struct ruling ruling = {.is_policy = true, .policy = policy};
    return tune_result(visit_run(tuner, push, &ruling, &e), &e, err);
}

static bool add_rule(struct visit *visit, void *context, struct error *err)
{
    const struct ruling *r = context;
    struct config config;
    if (!config_parse(r->config, &config, err))
        return false;
    visit_lock(visit);
    struct memory *memory = visit->tuner->memory;
    struct scope *scope = scopes_top(&memory->scopes, false);
    if (!scope)
        return fail(err, ERR_USAGE, "this thread has no overlay");
    rules_set(&scope->rules, &memory->arena, r->match, &config);
    return true;
}

URZA_EXPORT int urza_tuner_overlay_add(urza_tuner *tuner, const char *match, const char *config,
                                       urza_error *err)
{
    struct error e;
    struct ruling ruling = {.match = match, .config = config};
    return tune_result(visit_run(tuner, add_rule, &ruling, &e), &e, err);
}

static bool pop(struct visit *visit, void *context, struct error *err)
{
    const struct ruling *r = context;
    visit_lock(visit);
    return scopes_pop(&visit->tuner->memory->scopes, r->is_policy) ||
           fail(err, ERR_USAGE, "this thread has no such scope");
}

URZA_EXPORT int urza_tuner_overlay_pop(urza_tuner *tuner, urza_error *err)
{
    struct error e;
    struct ruling ruling = {.is_policy = false};
    return tune_result(visit_run(tuner, pop, &ruling, &e), &e, err);
}

URZA_EXPORT int urza_tuner_policy_pop(urza_tuner *tuner, urza_error *err)
{
    struct error e;
    struct ruling ruling = {.is_policy = true};
    return tune_result(visit_run(tuner, pop, &ruling, &e), &e, err);
}

struct choice {
    const char *invocation;
    char *config;
    urza_config_source source;
};

static bool ask(struct visit *visit, void *context, struct error *err)
{
    struct choice *choice = context;
    struct arena *arena = &visit->arena;
    struct invocation invocation;
    struct kernel_case *kernel = ARENA_NEW(arena, struct kernel_case);
    struct nest *nest = ARENA_NEW(arena, struct nest);
    struct kernel_question question;
    struct config config;
    struct strbuf printed;
    if (!invocation_read(choice->invocation, strlen(choice->invocation), arena, &invocation, kernel,
                         err) ||
        !case_question(kernel, arena, nest, &question, err))
        return false;
    struct asked asked = {&invocation, &question};
    if (!tuner_ask(visit, &asked, &config, &choice->source, err))
        return false;
    strbuf_init(&printed, arena);
    config_print(&config, &printed);
    return tune_give(&printed, &choice->config, err);
}

URZA_EXPORT int urza_tuner_choose(urza_tuner *tuner, const char *invocation, char **config,
                                  urza_config_source *source, urza_error *err)
{
    struct error e;
    struct choice choice = {.invocation = invocation};
    bool ok = visit_run(tuner, ask, &choice, &e);
    if (ok)
        *config = choice.config;
    if (ok && source)
        *source = choice.source;
    return tune_result(ok, &e, err);
}

URZA_EXPORT void urza_tuner_counts(urza_tuner *tuner, uint64_t counts[URZA_CONFIG_SOURCES])
{
    pthread_mutex_lock(&tuner->mutex);
    memcpy(counts, tuner->counts, sizeof tuner->counts);
    pthread_mutex_unlock(&tuner->mutex);
}

static bool print_schema(struct visit *visit, void *context, struct error *err)
{
    struct strbuf text;
    strbuf_init(&text, &visit->arena);
    config_schema_print(&text);
    return tune_give(&text, context, err);
}

URZA_EXPORT int urza_config_schema(char **schema, urza_error *err)
{
    struct error e;
    return tune_result(visit_run(NULL, print_schema, schema, &e), &e, err);
}
