/* /status, health, metrics, and the description of the interface. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "build/spawner.h"
#include "compiler/compile.h"
#include "registry/queue.h"
#include "server/api.h"
#include "server/shelf.h"
#include "server/metrics.h"
#include "server/pool.h"

#define HISTORY_MOST 1000
#define HISTORY_DEFAULT 20

static double hit_rate(const struct server *server)
{
    double memory = metrics_get(server->metrics, METRIC_CACHE, "memory");
    double catalogue = metrics_get(server->metrics, METRIC_CACHE, "catalogue");
    double all = memory + catalogue + metrics_get(server->metrics, METRIC_CACHE, "none");
    return all > 0 ? (memory + catalogue) / all : 0;
}

static double compilations(const struct server *server)
{
    static const char *const statuses[] = {"success", "degraded", "failed", "cancelled"};
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += metrics_get(server->metrics, METRIC_COMPILATIONS, statuses[i]);
    return sum;
}

/* Adds the last compilations of all servers that use the catalogue. */
static bool add_history(struct request *request, uint32_t count, json_t *status, struct error *err)
{
    const struct query query = {
        .kind = RECORD_compilation, .newest_first = true, .limit = HISTORY_MOST};
    struct records records;
    double sum = 0;
    uint32_t good = 0;
    if (!catalogue_list(registry_catalogue(request->server->registry), &query, &request->arena,
                        &records, err))
        return false;
    json_t *history = json_array();
    for (uint32_t i = 0; i < records.count; i++) {
        const struct compilation_record *at = records.items[i];
        if (strcmp(at->status, "success") == 0 || strcmp(at->status, "degraded") == 0) {
            sum += at->total_ms;
            good++;
        }
        if (i < count)
            json_array_append_new(history, record_value(RECORD_compilation, at));
    }
    json_object_set_new(status, "avg_compilation_time_ms", json_real(good > 0 ? sum / good : 0));
    json_object_set_new(status, "compilations", history);
    return true;
}

/* Counts the stored packages, and their bytes. */
static bool total_kernels(const struct server *server, struct totals *out, struct error *err)
{
    const struct filter there = {.field = "object", .op = FILTER_IS_NOT, .text = ""};
    const struct query query = {.kind = RECORD_kernel, .filters = &there, .filter_count = 1};
    return catalogue_total(registry_catalogue(server->registry), &query, "size_bytes", out, err);
}

static bool add_kernels(struct request *request, json_t *status, struct error *err)
{
    struct totals totals;
    if (!total_kernels(request->server, &totals, err))
        return false;
    json_object_set_new(status, "kernels", json_integer(totals.count));
    json_object_set_new(status, "kernel_cache_size_mb",
                        json_real(round(totals.sum / 1048576 * 1e3) / 1e3));
    return true;
}

static bool take_count(const struct request *request, uint32_t *out, struct error *err)
{
    const char *text = request_query(request, "history");
    *out = HISTORY_DEFAULT;
    if (!text)
        return true;
    *out = (uint32_t)strtoul(text, NULL, 10);
    if (*text == '\0' || strlen(text) > 4 || text[strspn(text, "0123456789")] != '\0' ||
        *out > HISTORY_MOST)
        return fail(err, ERR_JSON, "query argument 'history' is not from 0 to %d", HISTORY_MOST);
    return true;
}

enum handled route_status(struct request *request, struct error *err)
{
    struct server *server = request->server;
    uint32_t active, waiting, slots, count;
    uint64_t queued, leased;
    json_t *status = json_object();
    pool_count(server->pool, &active, &waiting, &slots);
    bool busy = active >= slots, broken = !spawner_alive(server->spawner);
    bool ok = take_count(request, &count, err) &&
              queue_depth(server->queue, &queued, &leased, err) &&
              add_history(request, count, status, err) && add_kernels(request, status, err);
    if (!ok) {
        json_decref(status);
        return HANDLED_FAILED;
    }
    json_object_set_new(status, "status",
                        json_string(broken ? "broken"
                                    : busy ? "overloaded"
                                           : "healthy"));
    json_object_set_new(status, "version", json_string(compiler_version()));
    char key[2 * sizeof server->public_key + 1];
    hex_encode(server->public_key, sizeof server->public_key, key);
    /* The key that packages are signed with. */
    json_object_set_new(status, "public_key", json_string(key));
    json_object_set_new(status, "uptime_s",
                        json_integer((registry_now_ms() - server->started_ms) / 1000));
    json_object_set_new(status, "compilations_total",
                        json_integer((json_int_t)compilations(server)));
    json_object_set_new(status, "compilations_active", json_integer(active));
    json_object_set_new(status, "compilations_waiting", json_integer(waiting));
    json_object_set_new(status, "compile_slots", json_integer(slots));
    json_object_set_new(status, "jobs_queued", json_integer((json_int_t)queued));
    json_object_set_new(status, "jobs_leased", json_integer((json_int_t)leased));
    json_object_set_new(status, "cache_hit_rate", json_real(hit_rate(server)));
    return reply_json(request, 200, status);
}

enum handled route_live(struct request *request, struct error *err)
{
    (void)err;
    return reply_json(request, 200, json_pack("{s:s}", "status", "alive"));
}

enum handled route_ready(struct request *request, struct error *err)
{
    struct server *server = request->server;
    uint32_t active, waiting, slots;
    (void)err;
    pool_count(server->pool, &active, &waiting, &slots);
    const char *wrong = atomic_load(&server->stopping)    ? "stopping"
                        : !spawner_alive(server->spawner) ? "broken"
                        : active >= slots                 ? "overloaded"
                                                          : NULL;
    if (wrong)
        reply_header(request, "Retry-After", "1");
    return reply_json(request, wrong ? 503 : 200,
                      json_pack("{s:s}", "status", wrong ? wrong : "ready"));
}

enum handled route_metrics(struct request *request, struct error *err)
{
    struct server *server = request->server;
    uint32_t active, waiting, slots;
    struct totals totals;
    struct strbuf text;
    struct error ignored; /* metrics are printed even if the catalogue does not work */
    (void)err;
    if (total_kernels(server, &totals, &ignored))
        metrics_set(server->metrics, METRIC_CACHE_BYTES, NULL, totals.sum);
    pool_count(server->pool, &active, &waiting, &slots);
    metrics_set(server->metrics, METRIC_ACTIVE, NULL, active);
    metrics_set(server->metrics, METRIC_QUEUED, NULL, waiting);
    metrics_set(server->metrics, METRIC_HIT_RATE, NULL, hit_rate(server));
    strbuf_init(&text, &request->arena);
    const char *accepted = request_header(request, "Accept");
    bool open = accepted && strstr(accepted, "application/openmetrics-text");
    metrics_print(server->metrics, open, &text);
    reply_header(request, "Vary", "Accept");
    return reply_text(request, 200,
                      open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8",
                      text.data, text.size_bytes);
}

enum handled route_openapi(struct request *request, struct error *err)
{
    (void)err;
    return reply_text(request, 200, "application/json", request->server->openapi,
                      request->server->openapi_bytes);
}
