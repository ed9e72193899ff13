#include "server/streams.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "registry/queue.h"
#include "server/pool.h"

#define JOB_BYTES 208

struct stream {
    struct streams *streams;
    struct stream *next;
    struct MHD_Connection *connection;
    char job[JOB_BYTES];
    char last[512]; /* the last state sent; used by the looking thread only */
    uint32_t refs;
    /* Protected by the lock. */
    char text[640]; /* of which `sent` bytes were sent */
    size_t size, sent;
    bool parked; /* the connection is suspended */
    bool over;   /* text is the last one */
};

struct streams {
    struct server *server;
    pthread_mutex_t lock;
    struct stream *first;
    bool ending;
};

struct streams *streams_new(struct server *server)
{
    struct streams *streams = calloc(1, sizeof *streams);
    if (!streams)
        return NULL;
    streams->server = server;
    pthread_mutex_init(&streams->lock, NULL);
    return streams;
}

void streams_free(struct streams *streams)
{
    if (!streams)
        return;
    pthread_mutex_destroy(&streams->lock);
    free(streams);
}

static void unref(struct stream *stream)
{
    if (--stream->refs > 0)
        return;
    struct stream **at = &stream->streams->first;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    free(stream);
}

static void wake(struct stream *stream)
{
    if (stream->parked)
        MHD_resume_connection(stream->connection);
    stream->parked = false;
}

/* Called on the connection's thread: returns the text if there is any; otherwise suspends the
 * connection, or ends the stream. */
static ssize_t read_stream(void *state, uint64_t at, char *out, size_t most)
{
    struct stream *stream = state;
    struct streams *streams = stream->streams;
    ssize_t given = 0;
    (void)at;
    pthread_mutex_lock(&streams->lock);
    size_t left = stream->size - stream->sent, size = left < most ? left : most;
    if (size > 0) {
        memcpy(out, stream->text + stream->sent, size);
        stream->sent += size;
        given = (ssize_t)size;
    } else if (stream->over || streams->ending) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->parked = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&streams->lock);
    return given;
}

static void release_stream(void *state)
{
    struct streams *streams = ((struct stream *)state)->streams;
    pthread_mutex_lock(&streams->lock);
    unref(state);
    pthread_mutex_unlock(&streams->lock);
}

enum handled streams_open(struct streams *streams, struct request *request, const char *job,
                          struct error *err)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return fail(err, ERR_NOMEM, "no memory for a stream"), HANDLED_FAILED;
    stream->streams = streams;
    stream->connection = request->connection;
    stream->refs = 1;
    snprintf(stream->job, sizeof stream->job, "%s", job);
    pthread_mutex_lock(&streams->lock);
    stream->next = streams->first;
    streams->first = stream;
    pthread_mutex_unlock(&streams->lock);
    request->reply.stream = read_stream;
    request->reply.held = stream;
    request->reply.release = release_stream;
    request->reply.status = 200;
    request->reply.type = "text/event-stream";
    reply_header(request, "Cache-Control", "no-store");
    return HANDLED_DONE;
}

/* The current event of the job; false: it cannot be read at the moment. */
static bool look(struct streams *streams, const char *id, char *out, size_t size, bool *out_over)
{
    struct server *server = streams->server;
    struct arena arena;
    struct job_record *job;
    struct error err;
    jmp_buf no_memory;
    volatile bool ok = false;
    *out_over = false;
    arena_init(&arena);
    if (setjmp(no_memory) == 0) {
        arena.oom = &no_memory;
        ok = queue_find(server->queue, id, &arena, &job, &err);
        *out_over = !ok && err.code == ERR_NOT_FOUND;
        if (ok) {
            const char *stage = pool_stage(server->pool, id), *quote = job->kernel[0] ? "\"" : "";
            *out_over = strcmp(job->state, "QUEUED") != 0 && strcmp(job->state, "LEASED") != 0;
            snprintf(out, size, "{\"state\":\"%s\",\"stage\":\"%s\",\"kernel_id\":%s%s%s}",
                     job->state, stage ? stage : job->stage, quote,
                     job->kernel[0] ? job->kernel : "null", quote);
        }
    }
    arena.oom = NULL;
    arena_release(&arena);
    return ok;
}

/* Gives the stream a changed state to send; its previous text must have been sent completely. */
static void tell(struct stream *stream, const char *now, bool over)
{
    if (now && strcmp(now, stream->last) != 0) {
        stream->size = (size_t)snprintf(stream->text, sizeof stream->text,
                                        "event: %s\ndata: %s\n\n", over ? "end" : "progress", now);
        stream->sent = 0;
        snprintf(stream->last, sizeof stream->last, "%s", now);
    }
    stream->over = over;
    if (stream->size > stream->sent || over)
        wake(stream);
}

void streams_look(struct streams *streams)
{
    pthread_mutex_lock(&streams->lock);
    for (struct stream *stream = streams->first, *next; stream; stream = next) {
        char now[sizeof stream->last];
        bool over, known, busy = stream->sent < stream->size || stream->over;
        stream->refs++;
        if (!busy) {
            pthread_mutex_unlock(&streams->lock);
            known = look(streams, stream->job, now, sizeof now, &over);
            pthread_mutex_lock(&streams->lock);
            if (known || over)
                tell(stream, known ? now : NULL, over);
        }
        next = stream->next;
        unref(stream);
    }
    pthread_mutex_unlock(&streams->lock);
}

void streams_end(struct streams *streams)
{
    pthread_mutex_lock(&streams->lock);
    streams->ending = true;
    for (struct stream *stream = streams->first; stream; stream = stream->next)
        wake(stream);
    pthread_mutex_unlock(&streams->lock);
}
