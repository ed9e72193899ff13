/* Follows a job by server-sent events, reconnecting when the stream breaks.
 *
 * The service begins each stream with the current state of the job, so nothing is lost between two
 * streams; an event equal to the last one is not reported again. A silent stream is opened again
 * after a while, since a dead connection cannot be detected otherwise. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "client/client_priv.h"
#include "client/events.h"

#define SILENCE_S 20
struct watch {
    struct urza_client *client;
    int (*on_event)(void *user, const urza_job_event *event);
    void *user;
    bool reached; /* the service answered */
    bool over;    /* it reported the end of the job */
    bool stopped; /* the callback ended the call */
    char last[EVENT_BYTES];
    struct events events;
};

static bool tell(void *context, const char *kind, const char *data)
{
    struct watch *watch = context;
    const urza_job_event event = {.kind = kind, .json = data};
    watch->over = strcmp(kind, "end") == 0;
    if (strcmp(watch->last, data) == 0)
        return true;
    snprintf(watch->last, sizeof watch->last, "%s", data);
    if (watch->on_event)
        watch->stopped = watch->on_event(watch->user, &event) != 0;
    return !watch->stopped;
}

static bool take_bytes(void *context, const char *data, size_t size)
{
    struct watch *watch = context;
    return events_take(&watch->events, data, size);
}

/* Follows one stream. True: it ended, or broke in a way that allows another try. */
static bool follow(struct watch *watch, const char *path, uint64_t deadline_ns, struct error *err)
{
    struct exchange exchange = {.method = "GET",
                                .path = path,
                                .answer_type = "text/event-stream",
                                .repeatable = true,
                                .silence_s = SILENCE_S,
                                .deadline_ns = deadline_ns,
                                .take = take_bytes,
                                .context = watch};
    bool unsent, answered = http_try(watch->client, &exchange, &unsent, err);
    bool ok = answered && exchange.status == 200;
    watch->reached = exchange.status == 200;
    if (answered && exchange.status >= 400)
        answer_error(&exchange, err);
    else if (answered && !ok)
        fail(err, ERR_PROTOCOL, "an answer of status %ld", exchange.status);
    if (watch->events.too_long)
        fail(err, ERR_LIMIT, "an event has more than %d bytes", EVENT_BYTES - 1);
    exchange_release(&exchange);
    return ok || (!watch->stopped && (err->code == ERR_CONNECTION || err->code == ERR_BUSY));
}

/* Reads the job. 1: it is done; 0: it has not ended; -1: *err says how it ended. */
static int look(struct urza_client *client, const char *job, struct urza_answer **out,
                struct error *err)
{
    char path[32 + NAME_BYTES];
    struct error ignored;
    struct urza_answer *answer;
    snprintf(path, sizeof path, "/api/v1/jobs/%s", job);
    struct exchange exchange = {.method = "GET", .path = path, .repeatable = true};
    if (!answer_ask(client, &exchange, &answer, err))
        return -1;
    const char *json = urza_answer_json(answer);
    json_t *value = json_read(json, strlen(json), &ignored);
    const char *state = json_string_value(json_object_get(value, "state"));
    int result = -1;
    if (!state)
        fail(err, ERR_PROTOCOL, "the job has no state");
    else if (strcmp(state, "QUEUED") == 0 || strcmp(state, "LEASED") == 0)
        result = 0;
    else if (strcmp(state, "DONE") == 0)
        result = 1;
    else if (strcmp(state, "CANCELLED") == 0)
        fail(err, ERR_CANCELLED, "the job was cancelled");
    else if (json_is_object(json_object_get(value, "error")))
        answer_fail(json_object_get(value, "error"), 0, err);
    else
        fail(err, ERR_COMPILER_DIED, "the job is %.40s", state);
    json_decref(value);
    if (result == 1 && out)
        *out = answer;
    else
        urza_answer_free(answer);
    return result;
}

/* If the service is unreachable, retries for as long as a call would. */
static bool watch_job(struct watch *watch, const char *job, uint64_t deadline_ns,
                      struct urza_answer **out, struct error *err)
{
    char path[48 + NAME_BYTES];
    uint32_t attempt = 1;
    uint64_t lost_ns = deadline_after(watch->client->timeout_ms);
    snprintf(path, sizeof path, "/api/v1/jobs/%s/events", job);
    for (;; attempt++) {
        watch->over = false;
        events_begin(&watch->events);
        if (!follow(watch, path, deadline_ns, err))
            return watch->stopped ? fail(err, ERR_CANCELLED, "the caller ended the watch") : false;
        if (watch->over) {
            int found = look(watch->client, job, out, err);
            if (found != 0)
                return found > 0;
        }
        if (watch->reached) {
            attempt = 1;
            lost_ns = deadline_after(watch->client->timeout_ms);
        } else if (clock_ns() >= lost_ns) {
            return false;
        }
        if (!pause_before_next(watch->client, attempt, -1, deadline_ns))
            return fail(err, ERR_CONNECTION, "the job is not over in the time given");
    }
}

URZA_EXPORT int urza_client_watch(urza_client *client, const char *job, double timeout_s,
                                  int (*on_event)(void *user, const urza_job_event *event),
                                  void *user, urza_answer **out, urza_error *err)
{
    struct error error;
    if (!job || !name_is_fit(job))
        return client_result(fail(&error, ERR_USAGE, "no id of a job"), &error, err);
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return client_result(fail(&error, ERR_NOMEM, "no memory to watch a job"), &error, err);
    watch->client = client;
    watch->on_event = on_event;
    watch->user = user;
    watch->events.tell = tell;
    watch->events.context = watch;
    double most_s = timeout_s < 1e8 ? timeout_s : 1e8;
    bool ok =
        watch_job(watch, job, timeout_s < 0 ? UINT64_MAX : deadline_after((uint64_t)(most_s * 1e3)),
                  out, &error);
    free(watch);
    return client_result(ok, &error, err);
}
