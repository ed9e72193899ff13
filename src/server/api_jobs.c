/* Jobs: work that a client requests without waiting for it. They are in the catalogue's queue, so
 * they outlive the process; when this server has free slots, it leases jobs as a worker does. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "registry/queue.h"
#include "server/api.h"
#include "server/feeder.h"
#include "server/metrics.h"
#include "server/pool.h"
#include "server/streams.h"

/* Asking. */

static bool find_job(struct request *request, struct job_record **out, struct error *err)
{
    return queue_find(request->server->queue, request->args[0], &request->arena, out, err);
}

static json_t *job_value(struct server *server, const struct job_record *job)
{
    json_t *value = record_value(RECORD_job, job);
    const char *stage = pool_stage(server->pool, job->head.id);
    json_object_set_new(value, "job_id", json_string(job->head.id));
    json_object_set_new(value, "kernel_id",
                        job->kernel[0] != '\0' ? json_string(job->kernel) : json_null());
    if (stage)
        json_object_set_new(value, "stage", json_string(stage));
    return value;
}

enum handled job_submit(struct request *request, const struct ask *ask, uint32_t priority,
                        struct error *err)
{
    struct server *server = request->server;
    struct job_record *wanted = record_new(RECORD_job, &request->arena), *job;
    struct strbuf location;
    wanted->key = ask->key;
    wanted->client = request->client;
    wanted->hints = ask->hints_text;
    wanted->priority = priority;
    const struct job_order order = {wanted, ask->source, ask->source_bytes};
    if (!registry_enqueue(server->registry, server->queue, &order, &request->arena, &job, err)) {
        if (err->code == ERR_BUSY)
            metrics_add(server->metrics, METRIC_REFUSED, "jobs", 1);
        return HANDLED_FAILED;
    }
    feeder_wake(server->feeder);
    strbuf_init(&location, &request->arena);
    strbuf_printf(&location, "/api/v1/jobs/%s", job->head.id);
    reply_header(request, "Location", location.data);
    return reply_json(request, 202, job_value(server, job));
}

enum handled route_jobs(struct request *request, struct error *err)
{
    return list_records(request, RECORD_job, NULL, 0, err);
}

enum handled route_job(struct request *request, struct error *err)
{
    struct job_record *job;
    if (!find_job(request, &job, err))
        return HANDLED_FAILED;
    return reply_json(request, 200, job_value(request->server, job));
}

enum handled route_cancel(struct request *request, struct error *err)
{
    struct server *server = request->server;
    struct job_record *job;
    if (!find_job(request, &job, err))
        return HANDLED_FAILED;
    if (strcmp(job->client, request->client) != 0 && !(request->scopes & 1u << SCOPE_ADMIN)) {
        fail(err, ERR_SCOPE, "the job is another client's: cancelling it needs scope admin");
        return HANDLED_FAILED;
    }
    if (!queue_cancel(server->queue, request->args[0], request->client, err))
        return HANDLED_FAILED;
    pool_cancel(server->pool, request->args[0]);
    if (!find_job(request, &job, err))
        return HANDLED_FAILED;
    const struct setting setting = {.kind = RECORD_blueprint,
                                    .id = job->blueprint,
                                    .status = "FAILED",
                                    .reason = "its job was cancelled",
                                    .client = request->client};
    if (job->blueprint[0] != '\0' && /* a submitted blueprint: it will not be compiled now */
        !registry_set(server->registry, &setting, err))
        return HANDLED_FAILED;
    return reply_json(request, 200, job_value(server, job));
}

enum handled route_release(struct request *request, struct error *err)
{
    struct server *server = request->server;
    struct job_record *job;
    if (!find_job(request, &job, err))
        return HANDLED_FAILED;
    if (!registry_forget_failure(server->registry, job->key, err) && err->code != ERR_NOT_FOUND)
        return HANDLED_FAILED;
    if (!queue_release(server->queue, request->args[0], err) || !find_job(request, &job, err))
        return HANDLED_FAILED;
    feeder_wake(server->feeder);
    return reply_json(request, 200, job_value(server, job));
}

enum handled route_job_events(struct request *request, struct error *err)
{
    struct job_record *job;
    if (!find_job(request, &job, err))
        return HANDLED_FAILED;
    return streams_open(request->server->streams, request, job->head.id, err);
}
