/* /api/v1 and /internal/v1: reading the catalogue, and the changes that clients may make. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/api.h"
#include "server/feeder.h"
#include "server/shelf.h"
#include "server/metrics.h"
#include "server/pool.h"

#define TAGS_MOST 32
#define TAG_MOST 64
#define SAMPLE_MOST 1000
#define TEXT_MOST 1000
#define METADATA_MOST 65536
#define CALL_US_MOST 1e12 /* eleven days */
#define ID_MOST 200
#define ID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~@:+-"

static enum handled reply_record(struct request *request, unsigned status, enum record_kind kind,
                                 const void *record)
{
    return reply_json(request, status, record_value(kind, record));
}

static void *find(struct request *request, enum record_kind kind, const char *id, struct error *err)
{
    void *record;
    if (!catalogue_get(registry_catalogue(request->server->registry), kind, id, &request->arena,
                       &record, err))
        return NULL;
    if (!record)
        fail(err, ERR_NOT_FOUND, "no %s '%.100s'", record_type(kind)->name, id);
    return record;
}

static bool has_controls(const char *text)
{
    while ((unsigned char)*text >= ' ' && *text != 0x7f)
        text++;
    return *text != '\0';
}

/* Converts a JSON array of words to a list of the catalogue: ",a,b,". */
static bool take_tags(const json_t *object, struct arena *arena, const char **out,
                      struct error *err)
{
    const json_t *tags = json_object_get(object, "tags"), *tag;
    struct strbuf text;
    size_t i;
    if (!tags)
        return true;
    if (!json_is_array(tags) || json_array_size(tags) > TAGS_MOST)
        return fail(err, ERR_JSON, "field 'tags' is no list of at most %d words", TAGS_MOST);
    strbuf_init(&text, arena);
    json_array_foreach(tags, i, tag)
    {
        const char *word = json_string_value(tag);
        if (!word || *word == '\0' || text_length(word) > TAG_MOST || strchr(word, ',') ||
            has_controls(word))
            return fail(err, ERR_JSON,
                        "field 'tags': a tag is a word of at most %d characters without commas",
                        TAG_MOST);
        strbuf_printf(&text, "%s%s,", text.size_bytes == 0 ? "," : "", word);
    }
    *out = text.data;
    return true;
}

static bool check_reason(const char *reason, struct error *err)
{
    return text_length(reason) <= TEXT_MOST ||
           fail(err, ERR_JSON, "field 'reason' has more than %d characters", TEXT_MOST);
}

/* Blueprints. */

enum handled route_blueprints(struct request *request, struct error *err)
{
    return list_records(request, RECORD_blueprint, NULL, 0, err);
}

enum handled route_unvalidated(struct request *request, struct error *err)
{
    const struct filter fixed = {.field = "status", .op = FILTER_IS, .text = "UNVALIDATED"};
    return list_records(request, RECORD_blueprint, &fixed, 1, err);
}

enum handled route_blueprint(struct request *request, struct error *err)
{
    const void *record = find(request, RECORD_blueprint, request->args[0], err);
    return record ? reply_record(request, 200, RECORD_blueprint, record) : HANDLED_FAILED;
}

bool blueprint_source(struct server *server, const char *id, struct arena *arena, struct blob *out,
                      struct error *err)
{
    void *record;
    if (!catalogue_get(registry_catalogue(server->registry), RECORD_blueprint, id, arena, &record,
                       err))
        return false;
    if (!record)
        return fail(err, ERR_NOT_FOUND, "no blueprint '%.100s'", id);
    return blobs_get(registry_blobs(server->registry),
                     ((const struct blueprint_record *)record)->source, out, err);
}

struct held_source {
    struct blobs *blobs;
    struct blob blob;
};

static void release_source(void *context)
{
    struct held_source *held = context;
    blobs_release(held->blobs, &held->blob);
    free(held);
}

enum handled route_blueprint_source(struct request *request, struct error *err)
{
    struct held_source *held = calloc(1, sizeof *held);
    if (!held)
        return fail(err, ERR_NOMEM, "no memory"), HANDLED_FAILED;
    held->blobs = registry_blobs(request->server->registry);
    if (!blueprint_source(request->server, request->args[0], &request->arena, &held->blob, err)) {
        free(held);
        return HANDLED_FAILED;
    }
    const char *data = held->blob.data;
    bool json = held->blob.size_bytes > 0 && data[0] == '{';
    request->reply.release = release_source;
    request->reply.held = held;
    return reply_text(request, 200, json ? "application/json" : "application/octet-stream", data,
                      held->blob.size_bytes);
}

enum handled route_blueprint_history(struct request *request, struct error *err)
{
    const struct blueprint_record *record = find(request, RECORD_blueprint, request->args[0], err);
    if (!record)
        return HANDLED_FAILED;
    const struct filter fixed = {.field = "subject", .op = FILTER_IS, .text = record->head.id};
    return list_records(request, RECORD_change, &fixed, 1, err);
}

/* An id that can be part of a path, and needs no escaping in shells and logs. */
static bool check_id(const char *id, struct error *err)
{
    size_t length = strlen(id);
    return (length <= ID_MOST && *id != '.' && strspn(id, ID_CHARACTERS) == length) ||
           fail(err, ERR_JSON,
                "field 'id' is not of at most %d letters, digits and ._~@:+- that begin without a "
                "dot",
                ID_MOST);
}

enum handled route_submit(struct request *request, struct error *err)
{
    static const char *const keys[] = {"id", "blueprint_ir", "tags", "metadata", NULL};
    struct blueprint_record *wanted = record_new(RECORD_blueprint, &request->arena), *made;
    struct strbuf source, metadata;
    json_t *body = request_json(request, err), *blueprint = NULL, *extra;
    bool ok = body && json_only_keys(body, keys, err) &&
              json_opt_string(body, "id", &wanted->head.id, err) &&
              check_id(wanted->head.id, err) &&
              json_get_object(body, "blueprint_ir", &blueprint, err) &&
              take_tags(body, &request->arena, &wanted->tags, err);
    extra = json_object_get(body, "metadata");
    if (ok && extra && !json_is_object(extra))
        ok = fail(err, ERR_JSON, "field 'metadata' is not an object");
    if (!ok) {
        request_drop_json(request);
        return HANDLED_FAILED;
    }
    strbuf_init(&source, &request->arena);
    strbuf_init(&metadata, &request->arena);
    json_write_canonical(blueprint, &source);
    if (extra)
        json_write_canonical(extra, &metadata);
    if (metadata.size_bytes > METADATA_MOST) {
        fail(err, ERR_LIMIT, "field 'metadata' has more than %d bytes", METADATA_MOST);
        return HANDLED_FAILED;
    }
    wanted->head.id = arena_strdup(&request->arena, wanted->head.id);
    wanted->name = ask_blueprint_id(blueprint, &request->arena);
    wanted->name = wanted->name ? wanted->name : "";
    wanted->metadata = metadata.data;
    request_drop_json(request);
    const struct submission submission = {wanted, source.data, source.size_bytes};
    if (!registry_submit(request->server->registry, &submission, &request->arena, &made, err))
        return HANDLED_FAILED;
    feeder_wake(request->server->feeder);
    return reply_record(request, 201, RECORD_blueprint, made);
}

enum handled route_blueprint_status(struct request *request, struct error *err)
{
    const char *status = NULL, *reason = "";
    json_t *body = request_json(request, err);
    bool ok = body && json_only_keys(body, (const char *const[]){"status", "reason", NULL}, err) &&
              json_get_string(body, "status", &status, err) &&
              json_opt_string(body, "reason", &reason, err);
    ok = ok && check_reason(reason, err);
    if (ok && !blueprint_status_known(status))
        ok = fail(err, ERR_JSON,
                  "field 'status' is '%.40s': UNVALIDATED, COMPILING, VALIDATED or FAILED", status);
    const struct setting setting = {.kind = RECORD_blueprint,
                                    .id = request->args[0],
                                    .status = status,
                                    .reason = reason,
                                    .client = request->client};
    ok = ok && registry_set(request->server->registry, &setting, err);
    request_drop_json(request);
    return ok ? route_blueprint(request, err) : HANDLED_FAILED;
}

/* Kernels. */

enum handled route_kernels(struct request *request, struct error *err)
{
    return list_records(request, RECORD_kernel, NULL, 0, err);
}

enum handled route_kernel(struct request *request, struct error *err)
{
    struct kernel_record *kernel;
    if (!registry_kernel(request->server->registry, request->args[0], &request->arena, &kernel,
                         err))
        return HANDLED_FAILED;
    return reply_record(request, 200, RECORD_kernel, kernel);
}

static void forget(struct server *server, const char *kernel)
{
    shelf_forget(server->answers, kernel);
    shelf_forget(server->packages, kernel);
}

/* status, tags: NULL leaves them unchanged. */
static bool change_kernel(struct request *request, const char *id, const char *status,
                          const char *reason, const char *tags, struct error *err)
{
    if (status && !kernel_status_known(status))
        return fail(err, ERR_JSON,
                    "field 'status' is '%.40s': VALIDATED, TESTING, DEPLOYED or RETIRED", status);
    if (status && strcmp(status, "RETIRED") == 0 && !(request->scopes & 1u << SCOPE_ADMIN))
        return fail(err, ERR_SCOPE, "retiring needs scope admin");
    const struct setting setting = {.kind = RECORD_kernel,
                                    .id = id,
                                    .status = status,
                                    .reason = reason,
                                    .client = request->client,
                                    .tags = tags};
    bool ok = registry_set(request->server->registry, &setting, err);
    if (status)
        forget(request->server, id);
    return ok;
}

enum handled route_change_kernel(struct request *request, struct error *err)
{
    static const char *const keys[] = {"status", "reason", "tags", NULL};
    struct kernel_record *kernel;
    const char *status = NULL, *reason = "", *tags = NULL;
    json_t *body = request_json(request, err);
    bool ok =
        body && json_only_keys(body, keys, err) && json_opt_string(body, "status", &status, err) &&
        json_opt_string(body, "reason", &reason, err) &&
        take_tags(body, &request->arena, &tags, err) &&
        registry_kernel(request->server->registry, request->args[0], &request->arena, &kernel, err);
    ok = ok && check_reason(reason, err);
    ok = ok && change_kernel(request, kernel->head.id, status, reason, tags, err);
    request_drop_json(request);
    return ok ? route_kernel(request, err) : HANDLED_FAILED;
}

enum handled route_retire(struct request *request, struct error *err)
{
    struct kernel_record *kernel;
    if (!registry_kernel(request->server->registry, request->args[0], &request->arena, &kernel,
                         err) ||
        !change_kernel(request, kernel->head.id, "RETIRED", "retired by a client", NULL, err))
        return HANDLED_FAILED;
    request->args[0] = kernel->head.id;
    return route_kernel(request, err);
}

enum handled route_history(struct request *request, struct error *err)
{
    struct kernel_record *kernel;
    if (!registry_kernel(request->server->registry, request->args[0], &request->arena, &kernel,
                         err))
        return HANDLED_FAILED;
    const struct filter fixed = {.field = "subject", .op = FILTER_IS, .text = kernel->head.id};
    return list_records(request, RECORD_change, &fixed, 1, err);
}

/* Observations. */

enum handled route_observations(struct request *request, struct error *err)
{
    struct kernel_record *kernel;
    if (!registry_kernel(request->server->registry, request->args[0], &request->arena, &kernel,
                         err))
        return HANDLED_FAILED;
    const struct filter fixed = {.field = "kernel", .op = FILTER_IS, .text = kernel->head.id};
    return list_records(request, RECORD_observation, &fixed, 1, err);
}

static bool take_sample(const json_t *body, struct arena *arena, const char **out,
                        struct error *err)
{
    const json_t *sample = json_object_get(body, "sample_us"), *value;
    struct strbuf text;
    size_t i;
    if (!sample)
        return true;
    if (!json_is_array(sample) || json_array_size(sample) > SAMPLE_MOST)
        return fail(err, ERR_JSON, "field 'sample_us' is no list of at most %d numbers",
                    SAMPLE_MOST);
    json_array_foreach(
        sample, i,
        value) if (!json_is_number(value) ||
                   !(json_number_value(value) >=
                     0)) return fail(err, ERR_JSON,
                                     "field 'sample_us' holds something else than times");
    strbuf_init(&text, arena);
    json_write_canonical(sample, &text);
    *out = text.data;
    return true;
}

static bool take_observation(const json_t *body, struct arena *arena,
                             struct observation_record *out, struct error *err)
{
    static const char *const keys[] = {"profile", "host",      "calls", "p50_us",
                                       "p95_us",  "sample_us", NULL};
    if (!json_only_keys(body, keys, err) || !json_opt_string(body, "profile", &out->profile, err) ||
        !json_opt_string(body, "host", &out->host, err) ||
        !json_get_int(body, "calls", &out->calls, err) ||
        !json_opt_double(body, "p50_us", &out->p50_us, err) ||
        !json_opt_double(body, "p95_us", &out->p95_us, err) ||
        !take_sample(body, arena, &out->sample_us, err))
        return false;
    if (out->calls < 1 || !(out->p50_us > 0) || !(out->p95_us >= out->p50_us) ||
        out->p95_us > CALL_US_MOST)
        return fail(err, ERR_JSON, "expected calls of 1 or more, and 0 < p50_us <= p95_us <= %.0f",
                    CALL_US_MOST);
    if (text_length(out->profile) > TEXT_MOST || text_length(out->host) > TEXT_MOST)
        return fail(err, ERR_JSON, "a text has more than %d characters", TEXT_MOST);
    out->profile = arena_strdup(arena, out->profile);
    out->host = arena_strdup(arena, out->host);
    out->at_ms = registry_now_ms();
    return true;
}

enum handled route_observe(struct request *request, struct error *err)
{
    struct observation_record *observation = record_new(RECORD_observation, &request->arena);
    struct kernel_record *kernel;
    json_t *body = request_json(request, err);
    bool ok = body &&
              registry_kernel(request->server->registry, request->args[0], &request->arena, &kernel,
                              err) &&
              take_observation(body, &request->arena, observation, err) &&
              registry_observe(request->server->registry, request->args[0], observation,
                               &request->arena, err);
    request_drop_json(request);
    return ok ? reply_record(request, 201, RECORD_observation, observation) : HANDLED_FAILED;
}

/* Aliases. */

enum handled route_aliases(struct request *request, struct error *err)
{
    return list_records(request, RECORD_alias, NULL, 0, err);
}

enum handled route_set_alias(struct request *request, struct error *err)
{
    struct server *server = request->server;
    const char *kernel = NULL;
    json_t *body = request_json(request, err);
    bool ok = body && json_only_keys(body, (const char *const[]){"kernel", NULL}, err) &&
              json_get_string(body, "kernel", &kernel, err);
    if (ok && *kernel == '\0')
        ok = fail(err, ERR_JSON, "field 'kernel' is empty");
    ok = ok && registry_set_alias(server->registry, request->args[0], kernel, request->client, err);
    request_drop_json(request);
    shelf_forget(server->packages, NULL); /* all entries, since those found by this name are not
                                             known */
    const void *record = ok ? find(request, RECORD_alias, request->args[0], err) : NULL;
    return record ? reply_record(request, 200, RECORD_alias, record) : HANDLED_FAILED;
}

enum handled route_drop_alias(struct request *request, struct error *err)
{
    struct server *server = request->server;
    const void *record = find(request, RECORD_alias, request->args[0], err);
    bool ok =
        record && registry_set_alias(server->registry, request->args[0], "", request->client, err);
    shelf_forget(server->packages, NULL);
    return ok ? reply_record(request, 200, RECORD_alias, record) : HANDLED_FAILED;
}

/* History. */

enum handled route_compilations(struct request *request, struct error *err)
{
    return list_records(request, RECORD_compilation, NULL, 0, err);
}

enum handled route_failures(struct request *request, struct error *err)
{
    return list_records(request, RECORD_failure, NULL, 0, err);
}

enum handled route_forget_failure(struct request *request, struct error *err)
{
    const void *record = find(request, RECORD_failure, request->args[0], err);
    bool ok = record && registry_forget_failure(request->server->registry, request->args[0], err);
    return ok ? reply_record(request, 200, RECORD_failure, record) : HANDLED_FAILED;
}

enum handled route_tunings(struct request *request, struct error *err)
{
    return list_records(request, RECORD_tuning, NULL, 0, err);
}

enum handled route_events(struct request *request, struct error *err)
{
    return list_records(request, RECORD_event, NULL, 0, err);
}
