/* Jobs: work that a client asked for and does not wait for. They stand in the catalogue's queue, so
 * they outlive the process; this server takes them as a worker does, when it has slots. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "registry/queue.h"
#include "server/api.h"
#include "server/pool.h"

/* Asking. */

static bool parse_id(const char *id, struct request *request, struct job_record **out,
                     struct error *err)
{
    return queue_find(request->server->queue, id, &request->arena, out, err);
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
    char *digest = arena_alloc(&request->arena, SHA256_HEX_BYTES, 1);
    struct strbuf location;
    bool joined;
    if (!blobs_put(registry_blobs(server->registry), ask->source, ask->source_bytes, digest, err))
        return HANDLED_FAILED;
    wanted->key = ask->key;
    wanted->client = request->client;
    wanted->request = digest;
    wanted->hints = ask->hints_text;
    wanted->priority = priority;
    if (!queue_add(server->queue, wanted, &request->arena, &job, &joined, err))
        return HANDLED_FAILED;
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
    if (!parse_id(request->args[0], request, &job, err))
        return HANDLED_FAILED;
    return reply_json(request, 200, job_value(request->server, job));
}

enum handled route_cancel(struct request *request, struct error *err)
{
    struct server *server = request->server;
    if (!queue_cancel(server->queue, request->args[0], request->client, err))
        return HANDLED_FAILED;
    pool_cancel(server->pool, request->args[0]);
    struct job_record *job;
    if (!parse_id(request->args[0], request, &job, err))
        return HANDLED_FAILED;
    if (job->blueprint[0] != '\0' && /* one that was submitted: nobody compiles it any more */
        !registry_set_status(server->registry, RECORD_blueprint, job->blueprint, "FAILED",
                             "its job was cancelled", request->client, err))
        return HANDLED_FAILED;
    return reply_json(request, 200, job_value(server, job));
}

enum handled route_release(struct request *request, struct error *err)
{
    struct server *server = request->server;
    struct job_record *job;
    if (!parse_id(request->args[0], request, &job, err))
        return HANDLED_FAILED;
    if (!registry_forget_failure(server->registry, job->key, err) && err->code != ERR_NOT_FOUND)
        return HANDLED_FAILED;
    if (!queue_release(server->queue, request->args[0], err) ||
        !parse_id(request->args[0], request, &job, err))
        return HANDLED_FAILED;
    feeder_wake(server->feeder);
    return reply_json(request, 200, job_value(server, job));
}

/* Server-sent events. A stream is asked for more by the thread of its connection, which may not
 * wait: what changed since is looked up now and then. */

struct stream {
    struct server *server;
    struct MHD_Connection *connection;
    char id[72], text[1024], last[512];
    size_t size, sent;
    bool over;
};

static bool job_over(const char *state)
{
    return strcmp(state, "QUEUED") != 0 && strcmp(state, "LEASED") != 0;
}

/* The next event, if anything changed. */
static void look(struct stream *stream)
{
    struct arena arena;
    struct job_record *job;
    struct error err;
    jmp_buf no_memory;
    arena_init(&arena);
    if (setjmp(no_memory) == 0) {
        arena.oom = &no_memory;
        if (!queue_find(stream->server->queue, stream->id, &arena, &job, &err))
            stream->over = err.code == ERR_NOT_FOUND;
        else {
            const char *stage = pool_stage(stream->server->pool, stream->id);
            char now[sizeof stream->last];
            snprintf(now, sizeof now, "{\"state\":\"%s\",\"stage\":\"%s\",\"kernel_id\":%s%s%s}",
                     job->state, stage ? stage : job->stage, job->kernel[0] ? "\"" : "",
                     job->kernel[0] ? job->kernel : "null", job->kernel[0] ? "\"" : "");
            stream->over = job_over(job->state);
            if (strcmp(now, stream->last) != 0)
                stream->size =
                    (size_t)snprintf(stream->text, sizeof stream->text, "event: %s\ndata: %s\n\n",
                                     stream->over ? "end" : "progress", now);
            memcpy(stream->last, now, sizeof now);
        }
    }
    arena.oom = NULL;
    arena_release(&arena);
}

static ssize_t read_stream(void *state, uint64_t at, char *out, size_t most)
{
    struct stream *stream = state;
    (void)at;
    if (stream->sent == stream->size) {
        if (stream->over || atomic_load(&stream->server->stopping))
            return -1; /* MHD_CONTENT_READER_END_OF_STREAM */
        stream->sent = stream->size = 0;
        look(stream);
        if (stream->size == 0 && !stream->over) {
            feeder_park(stream->server->feeder, stream->connection);
            return 0;
        }
    }
    size_t size = stream->size - stream->sent < most ? stream->size - stream->sent : most;
    memcpy(out, stream->text + stream->sent, size);
    stream->sent += size;
    return size > 0 ? (ssize_t)size : -1;
}

enum handled route_job_events(struct request *request, struct error *err)
{
    struct job_record *job;
    if (!parse_id(request->args[0], request, &job, err))
        return HANDLED_FAILED;
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return fail(err, ERR_NOMEM, "no memory for a stream"), HANDLED_FAILED;
    stream->server = request->server;
    stream->connection = request->connection;
    snprintf(stream->id, sizeof stream->id, "%s", job->head.id);
    request->reply.stream = read_stream;
    request->reply.held = stream;
    request->reply.release = free;
    request->reply.status = 200;
    request->reply.type = "text/event-stream";
    reply_header(request, "Cache-Control", "no-store");
    return HANDLED_DONE;
}
