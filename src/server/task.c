/* What a slot does with a task: checks once more whether the result exists already, runs the
 * pipeline, publishes, makes the answer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "build/build.h"
#include "compiler/opt/opt.h"
#include "server/metrics.h"
#include "server/behind.h"
#include "server/pool_priv.h"

#define MIB ((uint64_t)1 << 20)

/* Context of build_run's callbacks. */
struct step_context {
    struct server *server;
    struct task *task;
};

static bool open_key(void *context, struct signing_key *out, struct error *err)
{
    const struct step_context *at = context;
    return keys_open(at->server->home, out, err);
}

static void on_step(void *context, enum build_step step)
{
    const struct step_context *at = context;
    atomic_store(&at->task->step, (int)step);
}

struct compile_options task_limits(const struct settings *settings)
{
    return (struct compile_options){.timeout_ms = settings->compile_timeout_seconds * 1000,
                                    .memory_bytes = settings->compile_memory_mb * MIB};
}

struct attempt attempt_of(const struct settings *settings, const struct ask *ask)
{
    return (struct attempt){.key = ask->key,
                            .blueprint = ask->blueprint_id ? ask->blueprint_id : "",
                            .compiler = ask->compiler,
                            .timeout_seconds = settings->compile_timeout_seconds,
                            .memory_mb = settings->compile_memory_mb};
}

/* The answer. */

/* The strategy that is used, if the requested one cannot be. */
static enum strategy strategy_of(const struct server *server, const struct task *task)
{
    enum strategy asked = task->ask.hints.strategy;
    bool measures = server->settings.tune_seconds > 0;
    return asked == STRATEGY_AGGRESSIVE && !measures ? STRATEGY_STANDARD : asked;
}

static json_t *describe_degraded(const struct task *task, const struct build_result *built)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < task->ask.ignored_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "what", task->ask.ignored[i].what,
                                              "why", task->ask.ignored[i].why));
    for (uint32_t i = 0; i < built->degraded_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s*}", "what", built->degraded[i].what, "why",
                                              built->degraded[i].why));
    return list;
}

static json_t *describe_stages(const struct build_result *built)
{
    json_t *stages = json_object();
    for (int i = 0; i < STAGE_COUNT; i++)
        json_object_set_new(stages, stage_name((enum stage)i),
                            json_real(built->compiled.stages_ms[i]));
    if (built->verify_ms >= 0)
        json_object_set_new(stages, "verify", json_real(built->verify_ms));
    return stages;
}

static json_t *describe_warnings(const struct build_result *built)
{
    json_t *list = json_array();
    const char *end = built->compiled.warnings + built->compiled.warnings_bytes;
    for (const char *at = built->compiled.warnings; at < end; at += strlen(at) + 1)
        json_array_append_new(list, json_string(at)); /* left out if it is not UTF-8 */
    return list;
}

static json_t *describe_passes(struct server *server, const struct build_result *built)
{
    json_t *list = json_array();
    for (uint32_t i = 0; pass_at(i); i++) {
        if (!(built->compiled.passes & 1u << i))
            continue;
        json_array_append_new(list, json_string(pass_at(i)->name));
        metrics_add(server->metrics, METRIC_APPLIED, pass_at(i)->name, 1);
    }
    return list;
}

static bool without_code(const struct task *task, const struct build_result *built)
{
    bool without = task->ask.hints.strategy == STRATEGY_EMERGENCY;
    for (uint32_t i = 0; i < built->degraded_count; i++)
        without |= strcmp(built->degraded[i].what, "code") == 0;
    return without;
}

/* The targets with code, as a list: ",x86-64-v3,x86-64-v4,". */
static const char *list_targets(struct task *task, const struct build_result *built)
{
    const char *asked = task->ask.hints.targets;
    struct strbuf text;
    strbuf_init(&text, &task->arena);
    if (without_code(task, built))
        return "";
    strbuf_puts(&text, ",");
    if (asked)
        strbuf_printf(&text, "%s,", asked);
    for (uint32_t i = 0; !asked && target_name_at(i); i++)
        if (target_of_this_family(target_name_at(i)))
            strbuf_printf(&text, "%s,", target_name_at(i));
    return text.data;
}

static const char *evidence_of(const struct task *task, const struct build_result *built)
{
    if (built->evidence)
        return "verified";
    return task->ask.hints.strategy == STRATEGY_FAST ? "pending" : "none";
}

/* Sums the times of all measured kernels, with the heuristic's configs and with the chosen ones. */
static bool sum_tuned(const struct build_result *built, double *out_before_ns, double *out_after_ns,
                      json_int_t *out_count)
{
    json_t *tuned = built->tuned ? json_loads(built->tuned, 0, NULL) : NULL, *entry;
    size_t i;
    *out_before_ns = *out_after_ns = 0;
    *out_count = 0;
    json_array_foreach(json_object_get(tuned, "entries"), i, entry)
    {
        double before = json_number_value(json_object_get(entry, "heuristic_ns"));
        double after = json_number_value(json_object_get(entry, "ns"));
        if (!(before > 0) || !(after > 0))
            continue;
        *out_before_ns += before;
        *out_after_ns += after;
        ++*out_count;
    }
    json_decref(tuned);
    return *out_count > 0;
}

static json_t *describe_tuned(const struct build_result *built)
{
    double before_ns, after_ns;
    json_int_t count;
    if (!sum_tuned(built, &before_ns, &after_ns, &count))
        return NULL;
    return json_pack("{s:I, s:f, s:f}", "kernels", count, "heuristic_us", before_ns * 1e-3,
                     "chosen_us", after_ns * 1e-3);
}

static json_t *make_answer(struct server *server, struct task *task,
                           const struct build_result *built)
{
    const char *targets = list_targets(task, built);
    json_t *metadata = json_object(), *answer = json_object(), *cache = json_object();
    json_object_set_new(cache, "level", json_null());
    json_object_set_new(cache, "miss_reason", json_string(task->miss));
    json_object_set_new(metadata, "cache", cache);
    json_object_set_new(metadata, "stages_ms", describe_stages(built));
    json_object_set_new(metadata, "degraded", describe_degraded(task, built));
    json_object_set_new(metadata, "warnings", describe_warnings(built));
    json_object_set_new(metadata, "targets", list_value(targets));
    json_object_set_new(metadata, "strategy",
                        json_string(strategy_name(strategy_of(server, task))));
    json_object_set_new(metadata, "evidence", json_string(evidence_of(task, built)));
    json_t *tuned = describe_tuned(built);
    if (tuned)
        json_object_set_new(metadata, "tuned", tuned);
    json_object_set_new(metadata, "kernels", json_integer(built->compiled.kernels));
    json_object_set_new(metadata, "size_bytes", json_integer((json_int_t)built->package_bytes));
    json_object_set_new(metadata, "compiler", json_string(compiler_version()));
    json_object_set_new(metadata, "key", json_string(task->ask.key));
    json_object_set_new(answer, "kernel_id", json_string(built->compiled.kernel_id));
    json_object_set_new(answer, "compilation_time_ms",
                        json_real(round(task->total_ms * 1e3) / 1e3));
    json_object_set_new(answer, "optimizations_applied", describe_passes(server, built));
    json_object_set_new(answer, "cache_hit", json_false());
    json_object_set_new(answer, "metadata", metadata);
    return answer;
}

json_t *answer_again(const char *stored, const char *level, const char *evidence)
{
    json_t *answer = json_loads(stored, 0, NULL);
    json_t *metadata = answer ? json_object_get(answer, "metadata") : NULL;
    if (!metadata) {
        json_decref(answer);
        return NULL;
    }
    json_object_set_new(answer, "cache_hit", json_true());
    json_object_set_new(metadata, "cache", json_pack("{s:s, s:n}", "level", level, "miss_reason"));
    json_object_set_new(metadata, "evidence", json_string(evidence));
    return answer;
}

/* Publishing. */

static const char *print(struct arena *arena, const json_t *value)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    json_write_canonical(value, &text);
    return text.data;
}

/* In the spelling of hints: "fp32". */
static const char *precision_of(struct task *task, const struct build_result *built)
{
    const char *name = dtype_name(built->precision);
    struct strbuf text;
    if (built->precision == DTYPE_NONE || built->precision == DTYPE_BF16)
        return built->precision == DTYPE_NONE ? "" : name;
    strbuf_init(&text, &task->arena);
    strbuf_printf(&text, "fp%s", name + 1);
    return text.data;
}

static void fill_kernel(struct server *server, struct task *task, const struct build_result *built,
                        const json_t *answer, struct kernel_record *kernel)
{
    const json_t *metadata = json_object_get(answer, "metadata");
    kernel->head.id = built->compiled.kernel_id;
    kernel->name = task->ask.blueprint_name ? task->ask.blueprint_name : "";
    kernel->targets = list_targets(task, built);
    kernel->precision = precision_of(task, built);
    kernel->strategy = strategy_name(strategy_of(server, task));
    kernel->parent = task->parent;
    kernel->evidence = evidence_of(task, built);
    kernel->degraded = print(&task->arena, json_object_get(metadata, "degraded"));
    kernel->details = print(&task->arena, answer);
    kernel->hints = task->ask.hints_text;
    kernel->compile_ms = task->total_ms;
    kernel->compiler = task->ask.compiler;
}

static bool publish(struct server *server, struct task *task, const struct build_result *built,
                    const json_t *answer, struct error *err)
{
    struct kernel_record *kernel = record_new(RECORD_kernel, &task->arena);
    struct key_record *key = record_new(RECORD_key, &task->arena);
    struct compilation_record *compilation = record_new(RECORD_compilation, &task->arena);
    const char *own_id = task->ask.blueprint_id ? task->ask.blueprint_id : "";
    fill_kernel(server, task, built, answer, kernel);
    key->head.id = task->ask.key;
    key->content = task->ask.content;
    key->hints = task->ask.hints_text;
    key->compiler = task->ask.compiler;
    key->name = task->ask.cache_key;
    key->answer = kernel->details;
    compilation->kernel = kernel->head.id;
    compilation->blueprint = own_id;
    compilation->status = built->degraded_count > 0 ? "degraded" : "success";
    compilation->strategy = kernel->strategy;
    compilation->stages_ms =
        print(&task->arena, json_object_get(json_object_get(answer, "metadata"), "stages_ms"));
    compilation->total_ms = task->total_ms;
    compilation->miss = task->miss;
    compilation->at_ms = registry_now_ms();
    const struct publication publication = {.package = built->package,
                                            .package_bytes = built->package_bytes,
                                            .source = task->ask.source,
                                            .source_bytes = task->ask.source_bytes,
                                            .content = task->ask.content,
                                            .kernel = kernel,
                                            .key = key,
                                            .compilation = compilation,
                                            .blueprint_name = own_id,
                                            .blueprint = task->blueprint,
                                            .client = task->client};
    return registry_publish(server->registry, &publication, &task->arena, NULL, err);
}

/* Stores measurements, one record per kernel and CPU. Failures are ignored. */
static void note_tuned(struct server *server, struct task *task, const struct build_result *built)
{
    json_t *tuned = built->tuned ? json_loads(built->tuned, 0, NULL) : NULL, *entry;
    char digest[SHA256_HEX_BYTES], id[SHA256_HEX_BYTES + 20];
    struct error err = {.code = ERR_NONE};
    size_t i;
    if (!tuned)
        return;
    const char *device = print(&task->arena, json_object_get(tuned, "device"));
    sha256_hex(device, strlen(device), digest);
    json_array_foreach(json_object_get(tuned, "entries"), i, entry)
    {
        const char *key = json_string_value(json_object_get(entry, "key"));
        if (!key || !json_object_get(entry, "ns"))
            continue;
        struct tuning_record *record = record_new(RECORD_tuning, &task->arena);
        snprintf(id, sizeof id, "%.64s-%.16s", key, digest);
        record->head.id = id;
        record->kernel = built->compiled.kernel_id;
        record->config = print(&task->arena, entry);
        record->device = device;
        record->at_ms = registry_now_ms();
        const struct change change = {.kind = RECORD_tuning, .record = record};
        if (!catalogue_commit(registry_catalogue(server->registry), &change, 1, &err))
            break;
    }
    json_decref(tuned);
}

static void note_failure(struct server *server, struct task *task, const struct error *failure)
{
    struct compilation_record *compilation = record_new(RECORD_compilation, &task->arena);
    struct error err;
    json_t *error = error_value(failure, NULL);
    bool cancelled = failure->code == ERR_CANCELLED;
    compilation->blueprint = task->ask.blueprint_id ? task->ask.blueprint_id : "";
    compilation->status = cancelled ? "cancelled" : "failed";
    compilation->strategy = strategy_name(strategy_of(server, task));
    compilation->error = print(&task->arena, error);
    compilation->total_ms = task->total_ms;
    compilation->miss = task->miss;
    compilation->at_ms = registry_now_ms();
    json_decref(error);
    const struct attempt attempt = attempt_of(&server->settings, &task->ask);
    if (!registry_record(server->registry, compilation, &err) ||
        !registry_note_failure(server->registry, &attempt, failure, &err))
        log_line(server, LOG_WARNING, "a failure could not be written down",
                 json_pack("{s:s, s:s*}", "key", task->ask.key, "message", err.message));
    metrics_add(server->metrics, METRIC_COMPILATIONS, compilation->status, 1);
}

static void note_success(struct server *server, const struct task *task,
                         const struct build_result *built)
{
    metrics_add(server->metrics, METRIC_COMPILATIONS,
                built->degraded_count > 0 ? "degraded" : "success", 1);
    metrics_observe(server->metrics, METRIC_DURATION, task->total_ms * 1e-3);
    metrics_set(server->metrics, METRIC_MEMORY_PEAK, NULL, (double)built->peak_bytes);
    double before_ns, after_ns;
    json_int_t tuned;
    if (sum_tuned(built, &before_ns, &after_ns, &tuned))
        metrics_set(server->metrics, METRIC_SPEEDUP, "tuning", before_ns / after_ns);
    for (uint32_t i = 0; i < built->degraded_count; i++)
        metrics_add(server->metrics, METRIC_DEGRADED, built->degraded[i].what, 1);
    for (uint32_t i = 0; i < task->ask.ignored_count; i++)
        metrics_add(server->metrics, METRIC_DEGRADED, task->ask.ignored[i].what, 1);
    log_line(server, LOG_INFO, "compiled",
             json_pack("{s:s, s:f, s:s, s:i}", "kernel", built->compiled.kernel_id, "ms",
                       task->total_ms, "client", task->client, "degraded",
                       (int)built->degraded_count));
}

/* Another server with the same catalogue, say, may have published the result meanwhile. */
static bool found_meanwhile(struct server *server, struct task *task, json_t **out_answer,
                            char *out_kernel)
{
    struct key_record *key;
    struct kernel_record *kernel;
    struct error err;
    if (!registry_find(server->registry, task->ask.key, &task->arena, &key, &kernel, &err) ||
        !kernel || !(*out_answer = answer_again(key->answer, "catalogue", kernel->evidence)))
        return false;
    snprintf(out_kernel, SHELF_NAME_BYTES, "%s", kernel->head.id);
    return true;
}

static bool failed_meanwhile(struct server *server, struct task *task, struct error *out_why)
{
    const struct attempt attempt = attempt_of(&server->settings, &task->ask);
    struct error ignored;
    bool settled;
    return registry_find_failure(server->registry, &attempt, &task->arena, &settled, out_why,
                                 &ignored) &&
           settled;
}

/* One run of the pipeline, with its result published. */
static bool build(struct server *server, struct task *task, enum strategy strategy,
                  struct build_result *out, json_t **out_answer, struct error *err)
{
    struct step_context context = {server, task};
    struct build_request request = {.source = task->ask.source,
                                    .size = task->ask.source_bytes,
                                    .compile = task_limits(&server->settings),
                                    .degrade = true,
                                    .tune_s = server->settings.tune_seconds,
                                    .open_key = open_key,
                                    .on_step = on_step,
                                    .context = &context,
                                    .spawner = server->spawner,
                                    .cancelled = &task->cancelled};
    request.compile.targets = task->ask.hints.targets;
    request.compile.strategy = strategy;
    request.compile.plain = task->ask.hints.optimization_level == 0;
    request.compile.backward = task->ask.hints.backward;
    request.compile.graft = *task->ask.hints.graft != '\0' ? task->ask.hints.graft : NULL;
    uint64_t begin_ns = clock_ns();
    bool ok = build_run(&request, &task->arena, out, err);
    if (!ok && err->code == ERR_NOMEM && atomic_load(&task->step) != BUILD_SIGN)
        err->code = ERR_LIMIT; /* a child's failure; signing is done in this process */
    task->total_ms = (double)(clock_ns() - begin_ns) * 1e-6;
    if (!ok)
        return false;
    *out_answer = make_answer(server, task, out);
    if (publish(server, task, out, *out_answer, err))
        return true;
    json_decref(*out_answer);
    *out_answer = NULL;
    return false;
}

static bool compile(struct server *server, struct task *task, json_t **out_answer, char *out_kernel,
                    struct error *err)
{
    struct build_result built;
    bool ok = build(server, task, strategy_of(server, task), &built, out_answer, err);
    if (!ok && err->code == ERR_VERIFY && task->ask.hints.strategy == STRATEGY_FAST)
        /* A package of this key failed verification after it had been returned: this time verify
         * first, and degrade until it passes. */
        ok = build(server, task, STRATEGY_STANDARD, &built, out_answer, err);
    if (!ok) {
        note_failure(server, task, err);
        return false;
    }
    note_success(server, task, &built);
    note_tuned(server, task, &built);
    snprintf(out_kernel, SHELF_NAME_BYTES, "%s", built.compiled.kernel_id);
    return true;
}

bool task_run(struct pool *pool, struct task *task, json_t **out_answer,
              char out_kernel[SHELF_NAME_BYTES], struct error *err)
{
    struct server *server = pool_server(pool);
    jmp_buf no_memory;
    *out_answer = NULL;
    if (setjmp(no_memory) != 0) {
        task->arena.oom = NULL;
        return fail(err, ERR_NOMEM, "no memory for this compilation");
    }
    task->arena.oom = &no_memory;
    bool cached = server->settings.enable_kernel_cache;
    bool ok = cached && found_meanwhile(server, task, out_answer, out_kernel);
    if (!ok && !(cached && failed_meanwhile(server, task, err)))
        ok = compile(server, task, out_answer, out_kernel, err);
    task->arena.oom = NULL;
    if (ok)
        behind_add(server->behind, out_kernel);
    return ok;
}
