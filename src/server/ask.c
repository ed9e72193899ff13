#include "server/ask.h"

#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/graft_spec.h"
#include "package/package.h"
#include "server/settings.h"

#define TEXT_MOST 200

size_t text_length(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static const char *const precisions[] = {"fp32", "fp16", "bf16", "int8", NULL};
static const char *const workloads[] = {"inference", "training", "latency", "throughput", NULL};
const char *const hint_names[] = {"target_hardware",
                                  "expected_batch_size",
                                  "precision",
                                  "optimization_level",
                                  "strategy",
                                  "optimize_memory",
                                  "expected_workload",
                                  "graft",
                                  NULL};

static void ignore_hint(struct ask *ask, const char *what, const char *why)
{
    if (ask->ignored_count < ASK_IGNORED_MOST)
        ask->ignored[ask->ignored_count++] = (struct ignored_hint){what, why};
}

/* Parses "cpu", "native", "cuda", or levels of targets.def separated by commas. */
static bool take_hardware(const char *text, struct arena *arena, struct ask *ask, struct error *err)
{
    struct hints *hints = &ask->hints;
    if (strlen(text) > TEXT_MOST)
        return fail(err, ERR_JSON, "hint 'target_hardware' has more than %d bytes", TEXT_MOST);
    hints->target_hardware = arena_strdup(arena, text);
    hints->targets = NULL;
    if (strcmp(text, "cpu") == 0)
        return true;
    if (strcmp(text, "cuda") == 0 || strcmp(text, "gpu") == 0) {
        ignore_hint(ask, "target_hardware",
                    "this build has no back end for GPUs: code for the CPU");
        return true;
    }
    if (strcmp(text, "native") == 0) {
        hints->targets = target_best_here();
        return true;
    }
    for (const char *at = text; *at != '\0';) {
        size_t length = strcspn(at, ",");
        if (target_rank(arena_strndup(arena, at, length)) < 0)
            return fail(err, ERR_JSON,
                        "hint 'target_hardware' is '%.60s': cpu, native, cuda, or levels such as "
                        "x86-64-v3",
                        text);
        at += length + (at[length] == ',');
    }
    hints->targets = hints->target_hardware;
    return (*text != '\0' && text[strlen(text) - 1] != ',') ||
           fail(err, ERR_JSON, "hint 'target_hardware' is empty, or its last level");
}

static bool take_strategy(const struct settings *settings, const char *text, struct ask *ask,
                          struct error *err)
{
    enum strategy strategy = strategy_from_name(text);
    if (strategy == STRATEGY_NONE)
        return fail(err, ERR_JSON,
                    "hint 'strategy' is '%.60s': emergency, fast, standard or aggressive", text);
    if (strategy == STRATEGY_AGGRESSIVE && !(settings->tune_seconds > 0))
        ignore_hint(ask, "strategy", "this service measures no configs (tune_seconds): standard");
    ask->hints.strategy = strategy;
    return true;
}

static bool take_precision(const char *text, struct ask *ask, struct error *err)
{
    for (uint32_t i = 0; precisions[i]; i++) {
        if (strcmp(text, precisions[i]) != 0)
            continue;
        ask->hints.precision = precisions[i];
        if (i > 0)
            ignore_hint(ask, "precision",
                        "not supported by this build yet: the precision that the blueprint states");
        return true;
    }
    return fail(err, ERR_JSON, "hint 'precision' is '%.60s': fp32, fp16, bf16 or int8", text);
}

static bool take_workload(const char *text, struct ask *ask, struct error *err)
{
    for (uint32_t i = 0; workloads[i]; i++) {
        if (strcmp(text, workloads[i]) != 0)
            continue;
        ask->hints.expected_workload = workloads[i];
        ask->hints.backward = strcmp(text, "training") == 0;
        return true;
    }
    return fail(err, ERR_JSON,
                "hint 'expected_workload' is '%.60s': inference, training, latency or throughput",
                text);
}

static bool take_graft(const char *text, struct arena *arena, struct ask *ask, struct error *err)
{
    struct graft_spec spec;
    struct error why;
    if (*text != '\0' && !graft_spec_ask(text, &spec, &why))
        return fail(err, ERR_JSON, "hint 'graft': %s", why.message);
    ask->hints.graft = arena_strdup(arena, text);
    return true;
}

static bool take_numbers(const json_t *object, struct ask *ask, struct error *err)
{
    int64_t batch = 0, level = ask->hints.optimization_level;
    if (!json_opt_int(object, "expected_batch_size", &batch, err) ||
        !json_opt_int(object, "optimization_level", &level, err) ||
        !json_opt_bool(object, "optimize_memory", &ask->hints.optimize_memory, err))
        return false;
    if (json_object_get(object, "expected_batch_size") && (batch < 1 || batch > 1 << 24))
        return fail(err, ERR_JSON, "hint 'expected_batch_size' is not from 1 to %d", 1 << 24);
    if (level < 0 || level > 2)
        return fail(err, ERR_JSON, "hint 'optimization_level' is not 0, 1 or 2");
    ask->hints.expected_batch_size = (uint32_t)batch;
    ask->hints.optimization_level = (uint32_t)level;
    if (batch > 0)
        ignore_hint(ask, "expected_batch_size",
                    "sizes that a blueprint declares as typical are compiled for");
    return true;
}

static void print_hints(struct arena *arena, struct ask *ask)
{
    const struct hints *hints = &ask->hints;
    struct strbuf text;
    json_t *object =
        json_pack("{s:s, s:i, s:s, s:i, s:s, s:b, s:s, s:s}", hint_names[0], hints->target_hardware,
                  hint_names[1], (int)hints->expected_batch_size, hint_names[2], hints->precision,
                  hint_names[3], (int)hints->optimization_level, hint_names[4],
                  strategy_name(hints->strategy), hint_names[5], (int)hints->optimize_memory,
                  hint_names[6], hints->expected_workload, hint_names[7], hints->graft);
    strbuf_init(&text, arena);
    json_write_canonical(object, &text);
    json_decref(object);
    ask->hints_text = text.data;
}

bool ask_hints(const struct settings *settings, const json_t *object, struct arena *arena,
               struct ask *out, struct error *err)
{
    const char *hardware = settings->target_hardware, *strategy = settings->strategy;
    const char *precision = NULL, *workload = NULL, *graft = NULL;
    struct ask ask = {.cache_key = ""};
    ask.hints = (struct hints){.precision = "",
                               .expected_workload = "",
                               .graft = "",
                               .optimization_level = settings->optimization_level};
    if (object && !json_is_object(object))
        return fail(err, ERR_JSON, "hints are not an object");
    if (object &&
        (!json_only_keys(object, hint_names, err) ||
         !json_opt_string(object, "target_hardware", &hardware, err) ||
         !json_opt_string(object, "strategy", &strategy, err) ||
         !json_opt_string(object, "precision", &precision, err) ||
         !json_opt_string(object, "expected_workload", &workload, err) ||
         !json_opt_string(object, "graft", &graft, err) || !take_numbers(object, &ask, err)))
        return false;
    if (!take_hardware(hardware, arena, &ask, err) ||
        !take_strategy(settings, strategy, &ask, err) ||
        (precision && !take_precision(precision, &ask, err)) ||
        (workload && !take_workload(workload, &ask, err)) ||
        (graft && !take_graft(graft, arena, &ask, err)))
        return false;
    print_hints(arena, &ask);
    *out = ask;
    return true;
}

void ask_finish(struct arena *arena, struct ask *ask)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s %.12s", compiler_version(), cache_revision());
    ask->compiler = arena_strdup(arena, text.data);
    strbuf_printf(&text, "\n%s\n%s", ask->content, ask->hints_text);
    sha256_hex(text.data, text.size_bytes, ask->key);
}

const char *ask_blueprint_id(const json_t *blueprint, struct arena *arena)
{
    const char *id = json_string_value(json_object_get(blueprint, "id"));
    return id && strlen(id) <= TEXT_MOST ? arena_strdup(arena, id) : NULL;
}

void drop_unsaid(json_t *hints)
{
    for (size_t i = 0; hint_names[i]; i++) {
        const json_t *value = json_object_get(hints, hint_names[i]);
        const char *text = json_string_value(value);
        bool batch = strcmp(hint_names[i], "expected_batch_size") == 0;
        if ((text && *text == '\0') || (batch && json_integer_value(value) == 0))
            json_object_del(hints, hint_names[i]);
    }
}

static const char *name_of(const json_t *blueprint, struct arena *arena)
{
    const char *name = json_string_value(json_object_get(blueprint, "name"));
    return name && strlen(name) <= TEXT_MOST ? arena_strdup(arena, name)
                                             : ask_blueprint_id(blueprint, arena);
}

static bool take_blueprint(const json_t *blueprint, struct arena *arena, struct ask *ask,
                           struct error *err)
{
    struct strbuf text;
    if (!json_is_object(blueprint))
        return fail(err, ERR_JSON, "field 'blueprint_ir' is not an object");
    ask->blueprint_id = ask_blueprint_id(blueprint, arena);
    ask->blueprint_name = name_of(blueprint, arena);
    strbuf_init(&text, arena);
    json_write_canonical(blueprint, &text);
    ask->source = text.data;
    ask->source_bytes = text.size_bytes;
    sha256_hex(text.data, text.size_bytes, ask->content);
    return true;
}

bool ask_parse(const struct settings *settings, const json_t *body, struct arena *arena,
               struct ask *out, struct error *err)
{
    static const char *const keys[] = {"blueprint_ir", "optimization_hints", "hints", "cache_key",
                                       NULL};
    const json_t *hints = json_object_get(body, "optimization_hints");
    const json_t *short_hints = json_object_get(body, "hints");
    const json_t *blueprint = json_object_get(body, "blueprint_ir");
    const char *cache_key = "";
    struct ask ask;
    if (!json_is_object(body))
        return fail(err, ERR_JSON, "a request is an object");
    if (!blueprint && (json_object_get(body, "nodes") || json_object_get(body, "graph")))
        return fail(err, ERR_JSON,
                    "this is a blueprint: it goes into the field 'blueprint_ir' of the request");
    if (!json_only_keys(body, keys, err) || !json_opt_string(body, "cache_key", &cache_key, err))
        return false;
    if (text_length(cache_key) > TEXT_MOST)
        return fail(err, ERR_JSON, "field 'cache_key' has more than %d characters", TEXT_MOST);
    if (hints && short_hints)
        return fail(err, ERR_JSON, "'hints' and 'optimization_hints' are one field");
    if (!blueprint)
        return fail(err, ERR_JSON, "field 'blueprint_ir' is missing");
    if (!ask_hints(settings, hints ? hints : short_hints, arena, &ask, err))
        return fail_at(err, "%s", hints ? "optimization_hints" : "hints");
    if (!take_blueprint(blueprint, arena, &ask, err))
        return false;
    ask.cache_key = arena_strdup(arena, cache_key);
    ask_finish(arena, &ask);
    *out = ask;
    return true;
}

void ask_bytes(const void *bytes, size_t size, struct arena *arena, struct ask *out)
{
    json_error_t ignored;
    bool readable =
        size > 0 && *(const char *)bytes == '{' && json_count(bytes, size) <= LIMIT_REQUEST_VALUES;
    json_t *blueprint = readable ? json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &ignored) : NULL;
    out->blueprint_id = ask_blueprint_id(blueprint, arena);
    out->blueprint_name = name_of(blueprint, arena);
    json_decref(blueprint);
    out->source = bytes;
    out->source_bytes = size;
    sha256_hex(bytes, size, out->content);
    ask_finish(arena, out);
}

static const char *copy_text(struct arena *arena, const char *text)
{
    return text ? arena_strdup(arena, text) : NULL;
}

/* Members that are not copied here are values or static: the names of precisions, workloads and
 * blends, the reasons in `ignored`. */
void ask_copy(const struct ask *ask, struct arena *arena, struct ask *out)
{
    *out = *ask;
    out->source = arena_memdup(arena, ask->source, ask->source_bytes);
    out->hints.target_hardware = copy_text(arena, ask->hints.target_hardware);
    out->hints.targets = copy_text(arena, ask->hints.targets);
    out->hints_text = copy_text(arena, ask->hints_text);
    out->compiler = copy_text(arena, ask->compiler);
    out->cache_key = copy_text(arena, ask->cache_key);
    out->blueprint_id = copy_text(arena, ask->blueprint_id);
    out->blueprint_name = copy_text(arena, ask->blueprint_name);
}
