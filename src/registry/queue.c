/* Jobs: adding, reading and cancelling them. Leases are in lease.c.
 *
 * For each key at most one job is waiting or leased. Ids ensure this: the id of a key's n-th job is
 * made from the key and n, so if two threads add one at the same time, one of them conflicts with
 * the other's record, reads again, and joins that job. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/entropy.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "registry/blobs_priv.h"
#include "registry/queue_priv.h"

static int64_t wall_clock(void *context)
{
    (void)context;
    return blobs_now_ms();
}

struct queue *queue_new(struct catalogue *catalogue, uint32_t limit)
{
    struct queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return NULL;
    queue->catalogue = catalogue;
    queue->limit = limit;
    queue->clock = wall_clock;
    pthread_mutex_init(&queue->adding, NULL);
    pthread_mutex_init(&queue->leasing, NULL);
    return queue;
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    pthread_mutex_destroy(&queue->adding);
    pthread_mutex_destroy(&queue->leasing);
    free(queue);
}

void queue_set_clock(struct queue *queue, queue_clock *clock, void *context)
{
    queue->clock = clock;
    queue->clock_context = context;
}

int64_t queue_time_ms(struct queue *queue)
{
    return queue->clock(queue->clock_context);
}

bool queue_edit(struct queue *queue, edit_body *body, void *context, struct error *err)
{
    return edit_run(queue->catalogue, queue_time_ms(queue), body, context, err);
}

bool token_make(char out[TOKEN_BYTES], struct error *err)
{
    uint8_t bytes[TOKEN_BYTES / 2];
    if (!entropy_fill(bytes, sizeof bytes, err))
        return false;
    hex_encode(bytes, sizeof bytes, out);
    return true;
}

bool job_is(const struct job_record *job, const char *state)
{
    return strcmp(job->state, state) == 0;
}

void job_put_back(struct job_record *job, int64_t now_ms)
{
    job->state = "QUEUED";
    job->stage = "";
    job->worker = "";
    job->token = "";
    job->lease_ms = job->lease_until_ms = 0;
    job->updated_ms = now_ms;
}

struct adding {
    struct queue *queue;
    const struct job_record *given;
    struct job_record job;
    char id[JOB_ID_BYTES];
    bool joined;
};

/* The newest job of the key in a state, or in any state; NULL: there is none. */
static bool newest(struct edit *edit, const char *key, const char *state, struct job_record **out,
                   struct error *err)
{
    const struct filter filters[] = {{"key", FILTER_IS, key, 0}, {"state", FILTER_IS, state, 0}};
    const struct query query = {.kind = RECORD_job,
                                .filters = filters,
                                .filter_count = state ? 2 : 1,
                                .newest_first = true,
                                .limit = 1};
    struct records found;
    if (!catalogue_list(edit->catalogue, &query, edit->arena, &found, err))
        return false;
    *out = found.count ? found.items[0] : NULL;
    return true;
}

/* The id of the job after `last`, the newest of its key (NULL: of the first job). A job without a
 * key has a random id. */
static bool make_id(struct adding *adding, const struct job_record *last, struct error *err)
{
    char digest[SHA256_HEX_BYTES];
    const char *key = adding->given->key;
    if (key[0] == '\0') {
        char token[TOKEN_BYTES];
        if (!token_make(token, err))
            return false;
        snprintf(adding->id, sizeof adding->id, "job-%s", token);
        return true;
    }
    const char *number = last ? strrchr(last->head.id, '-') : NULL;
    sha256_hex(key, strlen(key), digest);
    snprintf(adding->id, sizeof adding->id, "job-%.32s-%llu", digest,
             number ? strtoull(number + 1, NULL, 10) + 1 : 1ull);
    return true;
}

static int64_t clamp_priority(int64_t priority)
{
    return priority < 0 ? 0 : priority > PRIORITY_MOST ? PRIORITY_MOST : priority;
}

static bool join(struct edit *edit, struct adding *adding, struct job_record *job)
{
    int64_t priority = clamp_priority(adding->given->priority);
    snprintf(adding->id, sizeof adding->id, "%s", job->head.id);
    adding->joined = true;
    if (priority > job->priority) {
        job->priority = priority;
        job->updated_ms = edit->now_ms;
        edit_put(edit, RECORD_job, EXPECT_SAME, job);
    }
    return true;
}

/* Counts queued jobs of a client; NULL: of all clients. */
static bool count_jobs(struct edit *edit, const char *client, int64_t *out, struct error *err)
{
    const struct filter filters[] = {{"state", FILTER_IS, "QUEUED", 0},
                                     {"client", FILTER_IS, client, 0}};
    const struct query query = {
        .kind = RECORD_job, .filters = filters, .filter_count = client ? 2 : 1};
    struct totals totals;
    if (!catalogue_total(edit->catalogue, &query, NULL, &totals, err))
        return false;
    *out = totals.count;
    return true;
}

static bool add_body(struct edit *edit, void *context, struct error *err)
{
    struct adding *adding = context;
    const struct job_record *given = adding->given;
    struct job_record *waiting = NULL, *leased = NULL, *last = NULL;
    int64_t queued, own, limit = adding->queue->limit;
    adding->joined = false;
    /* The newest job is read first: a job added after that is found by the two other reads, or
     * conflicts by its id. Those two also find an older job that was released. */
    if (given->key[0] != '\0' && (!newest(edit, given->key, NULL, &last, err) ||
                                  !newest(edit, given->key, "QUEUED", &waiting, err) ||
                                  !newest(edit, given->key, "LEASED", &leased, err)))
        return false;
    if (last && (job_is(last, "QUEUED") || job_is(last, "LEASED")))
        return join(edit, adding, last);
    if (waiting || leased)
        return join(edit, adding, waiting ? waiting : leased);
    if (!count_jobs(edit, NULL, &queued, err) || !count_jobs(edit, given->client, &own, err))
        return false;
    if (queued >= limit)
        return fail(err, ERR_BUSY, "%lld jobs are queued, at most %lld may be", (long long)queued,
                    (long long)limit);
    if (own >= limit - limit / 4)
        return fail(err, ERR_BUSY,
                    "%lld jobs of '%.100s' are queued, and the other places are for others",
                    (long long)own, given->client);
    if (!make_id(adding, last, err))
        return false;
    adding->job = (struct job_record){.head.id = adding->id,
                                      .state = "QUEUED",
                                      .key = given->key,
                                      .client = given->client,
                                      .request = given->request,
                                      .hints = given->hints,
                                      .blueprint = given->blueprint,
                                      .kernel = "",
                                      .stage = "",
                                      .error = "",
                                      .attempts = "",
                                      .priority = clamp_priority(given->priority),
                                      .worker = "",
                                      .token = "",
                                      .created_ms = edit->now_ms,
                                      .updated_ms = edit->now_ms};
    edit_put(edit, RECORD_job, EXPECT_NEW, &adding->job);
    return true;
}

bool queue_put(struct queue *queue, const struct job_record *job, char out_id[JOB_ID_BYTES],
               bool *out_joined, struct error *err)
{
    struct adding adding = {.queue = queue, .given = job};
    pthread_mutex_lock(&queue->adding);
    bool ok = queue_edit(queue, add_body, &adding, err);
    pthread_mutex_unlock(&queue->adding);
    if (!ok)
        return false;
    snprintf(out_id, JOB_ID_BYTES, "%s", adding.id);
    *out_joined = adding.joined;
    return true;
}

bool queue_add(struct queue *queue, const struct job_record *job, struct arena *arena,
               struct job_record **out, bool *out_joined, struct error *err)
{
    char id[JOB_ID_BYTES];
    return queue_put(queue, job, id, out_joined, err) && queue_find(queue, id, arena, out, err);
}

bool queue_find(struct queue *queue, const char *job, struct arena *arena, struct job_record **out,
                struct error *err)
{
    void *found = NULL;
    if (!catalogue_get(queue->catalogue, RECORD_job, job, arena, &found, err))
        return false;
    if (!found)
        return fail(err, ERR_NOT_FOUND, "there is no job '%.200s'", job);
    *out = found;
    return true;
}

static bool count(struct queue *queue, const char *state, uint64_t *out, struct error *err)
{
    const struct filter filter = {"state", FILTER_IS, state, 0};
    const struct query query = {.kind = RECORD_job, .filters = &filter, .filter_count = 1};
    struct totals totals;
    if (!catalogue_total(queue->catalogue, &query, NULL, &totals, err))
        return false;
    *out = (uint64_t)totals.count;
    return true;
}

bool queue_depth(struct queue *queue, uint64_t *out_queued, uint64_t *out_leased, struct error *err)
{
    uint64_t queued, leased;
    if (!count(queue, "QUEUED", &queued, err) || !count(queue, "LEASED", &leased, err))
        return false;
    *out_queued = queued;
    *out_leased = leased;
    return true;
}

struct ending {
    const char *job, *client;
};

static bool cancel_body(struct edit *edit, void *context, struct error *err)
{
    const struct ending *ending = context;
    void *found;
    struct strbuf error;
    if (!edit_get(edit, RECORD_job, ending->job, &found, err))
        return false;
    struct job_record *job = found;
    if (!job_is(job, "QUEUED") && !job_is(job, "LEASED"))
        return fail(err, ERR_CONFLICT, "job '%.200s' has ended: it is %s", ending->job, job->state);
    strbuf_init(&error, edit->arena);
    strbuf_puts(&error,
                "{\"error\":\"CancelledError\",\"message\":\"it was cancelled\",\"client\":");
    json_write_string(ending->client, strlen(ending->client), &error);
    strbuf_puts(&error, "}");
    job->state = "CANCELLED";
    job->request = ""; /* its object may be removed */
    job->error = error.data;
    job->updated_ms = edit->now_ms;
    edit_put(edit, RECORD_job, EXPECT_SAME, job);
    return true;
}

bool queue_cancel(struct queue *queue, const char *job, const char *client, struct error *err)
{
    struct ending ending = {job, client};
    return queue_edit(queue, cancel_body, &ending, err);
}

static bool release_body(struct edit *edit, void *context, struct error *err)
{
    const struct ending *ending = context;
    void *found;
    if (!edit_get(edit, RECORD_job, ending->job, &found, err))
        return false;
    struct job_record *job = found;
    if (!job_is(job, "POISON"))
        return fail(err, ERR_CONFLICT, "job '%.200s' is not poison: it is %s", ending->job,
                    job->state);
    job_put_back(job, edit->now_ms);
    job->attempts = job->error = "";
    edit_put(edit, RECORD_job, EXPECT_SAME, job);
    return true;
}

bool queue_release(struct queue *queue, const char *job, struct error *err)
{
    struct ending ending = {job, ""};
    return queue_edit(queue, release_body, &ending, err);
}

/* Takes back up to EDIT_CHANGES_MOST jobs at once; 0 when there are no more. */
struct taking {
    const char *worker;
    uint32_t count;
};

static bool take_body(struct edit *edit, void *context, struct error *err)
{
    struct taking *taking = context;
    const struct filter filters[] = {{"state", FILTER_IS, "LEASED", 0},
                                     {"worker", FILTER_IS, taking->worker, 0}};
    const struct query query = {
        .kind = RECORD_job, .filters = filters, .filter_count = 2, .limit = EDIT_CHANGES_MOST};
    struct records found;
    if (!catalogue_list(edit->catalogue, &query, edit->arena, &found, err))
        return false;
    for (uint32_t i = 0; i < found.count; i++) {
        if (!job_died(found.items[i], "crash", edit->arena, edit->now_ms, err))
            return false;
        edit_put(edit, RECORD_job, EXPECT_SAME, found.items[i]);
    }
    taking->count = found.count;
    return true;
}

bool queue_take_back(struct queue *queue, const char *worker, struct error *err)
{
    struct taking taking = {.worker = worker};
    do
        if (!queue_edit(queue, take_body, &taking, err))
            return false;
    while (taking.count > 0);
    return true;
}
