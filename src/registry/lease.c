/* Leases: which client is served next, and what happens to a leased job.
 *
 * Turns: the clients that have a waiting job of the highest priority are served round-robin, by a
 * digest of their names, so that no client can choose its place, starting after the client that was
 * served last. Each time the client's oldest job is leased. The last client served is remembered in
 * memory: several processes that lease from one catalogue each have their own turns. */
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "registry/catalogue_priv.h"
#include "registry/queue_priv.h"

#define PAGE 100
#define LEASES_MOST 1000
#define DEATHS_MOST 5         /* on one worker */
#define DEATHS_MOST_ON_MANY 3 /* on two or more */

static const char *const failure_names[JOB_FAILURE_COUNT] = {"",       "compile", "timeout",
                                                             "memory", "crash",   "drained"};

const char *job_failure_name(enum job_failure failure)
{
    return failure_names[failure];
}

enum job_failure job_failure_from_name(const char *name)
{
    for (int i = 1; i < JOB_FAILURE_COUNT; i++)
        if (strcmp(failure_names[i], name) == 0)
            return (enum job_failure)i;
    return JOB_FAILURE_NONE;
}

/* Counts how many attempts ended in deaths; *out_many: on more than one worker. */
static bool count_deaths(const char *attempts, size_t *out_deaths, bool *out_many,
                         struct error *err)
{
    size_t i;
    json_t *attempt, *list;
    const char *first = NULL;
    *out_deaths = 0;
    *out_many = false;
    if (attempts[0] == '\0')
        return true;
    if (!(list = json_read(attempts, strlen(attempts), err)))
        return false;
    json_array_foreach(list, i, attempt)
    {
        const char *worker = json_string_value(json_object_get(attempt, "worker"));
        const char *reason = json_string_value(json_object_get(attempt, "reason"));
        if (!worker || !reason || strcmp(reason, failure_names[JOB_FAILURE_COMPILE]) == 0)
            continue;
        first = first ? first : worker;
        *out_many = *out_many || strcmp(first, worker) != 0;
        ++*out_deaths;
    }
    json_decref(list);
    return true;
}

/* Appends an attempt to the record's list. */
static void add_attempt(struct job_record *job, const char *reason, struct arena *arena,
                        int64_t now_ms)
{
    struct strbuf list;
    size_t length = strlen(job->attempts);
    strbuf_init(&list, arena);
    if (length > 1) {
        strbuf_add(&list, job->attempts, length - 1); /* without its closing bracket */
        strbuf_puts(&list, ",");
    } else {
        strbuf_puts(&list, "[");
    }
    strbuf_puts(&list, "{\"worker\":");
    json_write_string(job->worker, strlen(job->worker), &list);
    strbuf_puts(&list, ",\"reason\":");
    json_write_string(reason, strlen(reason), &list);
    strbuf_printf(&list, ",\"at_ms\":%lld}]", (long long)now_ms);
    job->attempts = list.data;
}

bool job_died(struct job_record *job, const char *reason, struct arena *arena, int64_t now_ms,
              struct error *err)
{
    size_t deaths;
    bool many;
    add_attempt(job, reason, arena, now_ms);
    if (!count_deaths(job->attempts, &deaths, &many, err))
        return false;
    job_put_back(job, now_ms);
    if (deaths >= DEATHS_MOST || (many && deaths >= DEATHS_MOST_ON_MANY))
        job->state = "POISON";
    return true;
}

/* Handles some jobs whose lease has expired, and counts them. */
static bool reap_body(struct edit *edit, void *context, struct error *err)
{
    const struct filter filters[] = {
        {"state", FILTER_IS, "LEASED", 0},
        {"lease_until_ms", FILTER_AT_MOST, NULL, (double)edit->now_ms}};
    const struct query query = {
        .kind = RECORD_job, .filters = filters, .filter_count = 2, .limit = EDIT_CHANGES_MOST};
    struct records found;
    if (!catalogue_list(edit->catalogue, &query, edit->arena, &found, err))
        return false;
    for (uint32_t i = 0; i < found.count; i++) {
        if (!job_died(found.items[i], "lease", edit->arena, edit->now_ms, err))
            return false;
        edit_put(edit, RECORD_job, EXPECT_SAME, found.items[i]);
    }
    *(uint32_t *)context = found.count;
    return true;
}

static uint64_t client_order(const char *client)
{
    uint8_t digest[SHA256_BYTES];
    uint64_t order;
    sha256(client, strlen(client), digest);
    memcpy(&order, digest, sizeof order);
    return order;
}

struct turn {
    uint64_t order; /* digest of the client's name */
    struct job_record *job;
    uint32_t seen; /* jobs of the client seen so far */
    bool skipped;  /* the listing leaves out its further jobs */
};

struct leasing {
    struct queue *queue;
    const char *worker;
    uint32_t most;
    int64_t lease_ms;
    struct arena *arena;  /* the caller's */
    struct arena scratch; /* of one round */
    struct job_record **jobs;
    uint32_t count;
    struct error *err;
    bool ok;
};

struct round {
    struct arena *arena;
    VEC(struct turn) turns;
    struct filter filters[FILTERS_MOST];
    uint32_t filter_count;
};

static void note_turn(struct round *round, struct job_record *job)
{
    uint64_t order = client_order(job->client);
    for (uint32_t i = 0; i < round->turns.count; i++)
        if (round->turns.items[i].order == order) {
            round->turns.items[i].seen++;
            return;
        }
    VEC_PUSH(round->arena, &round->turns, ((struct turn){.order = order, .job = job, .seen = 1}));
}

/* Excludes the client with the most jobs from the rest of the listing, as it may have thousands. */
static void skip_busiest(struct round *round)
{
    struct turn *busiest = NULL;
    if (round->filter_count == FILTERS_MOST)
        return;
    for (uint32_t i = 0; i < round->turns.count; i++) {
        struct turn *turn = &round->turns.items[i];
        if (!turn->skipped && (!busiest || turn->seen > busiest->seen))
            busiest = turn;
    }
    if (!busiest)
        return;
    busiest->skipped = true;
    round->filters[round->filter_count++] =
        (struct filter){"client", FILTER_IS_NOT, busiest->job->client, 0};
}

/* Finds the oldest job of each client that has one of this priority. */
static bool gather(struct queue *queue, int64_t priority, struct round *round, struct error *err)
{
    struct query query = {.kind = RECORD_job, .filters = round->filters, .limit = PAGE};
    struct records page = {.count = PAGE};
    round->filters[0] = (struct filter){"state", FILTER_IS, "QUEUED", 0};
    round->filters[1] = (struct filter){"priority", FILTER_IS, NULL, (double)priority};
    round->filter_count = 2;
    while (page.count == PAGE) {
        query.filter_count = round->filter_count;
        if (!catalogue_list(queue->catalogue, &query, round->arena, &page, err))
            return false;
        for (uint32_t i = 0; i < page.count; i++) {
            struct job_record *job = page.items[i];
            query.after = job->head.serial;
            note_turn(round, job);
        }
        skip_busiest(round);
    }
    return true;
}

/* The client after `last` in the circular order; NULL: all were served. */
static struct turn *next_turn(struct round *round, uint64_t last)
{
    struct turn *next = NULL;
    for (uint32_t i = 0; i < round->turns.count; i++) {
        struct turn *turn = &round->turns.items[i];
        if (turn->job && (!next || turn->order - last - 1 < next->order - last - 1))
            next = turn;
    }
    return next;
}

/* Whether the job was leased although the commit was reported as failed. */
static bool is_leased(struct leasing *l, const struct job_record *job)
{
    struct arena arena;
    struct error ignored;
    void *found = NULL;
    arena_init(&arena);
    bool read =
        catalogue_get(l->queue->catalogue, RECORD_job, job->head.id, &arena, &found, &ignored);
    const struct job_record *there = found;
    bool leased = read && there && strcmp(there->token, job->token) == 0;
    arena_release(&arena);
    return leased;
}

/* Leases a job. It is copied to the caller's arena before the commit, so that running out of memory
 * cannot lose a leased job. Skips jobs that were changed by others meanwhile. */
static bool lease_job(struct leasing *l, struct job_record *seen, struct error *err)
{
    char token[TOKEN_BYTES];
    int64_t now_ms = queue_time_ms(l->queue);
    if (!token_make(token, err))
        return false;
    seen->state = "LEASED";
    seen->worker = l->worker;
    seen->token = token;
    seen->lease_ms = l->lease_ms;
    seen->lease_until_ms = now_ms + l->lease_ms;
    seen->updated_ms = now_ms;
    struct job_record *job = record_copy(RECORD_job, seen, l->arena);
    const struct change change = {.kind = RECORD_job, .expect = EXPECT_SAME, .record = job};
    struct error failure;
    if (catalogue_commit(l->queue->catalogue, &change, 1, &failure) ||
        (failure.code == ERR_IO && is_leased(l, job))) {
        l->jobs[l->count++] = job;
        return true;
    }
    if (failure.code == ERR_CONFLICT)
        return true;
    *err = failure;
    return false;
}

/* Leases one job of each client at most. *out_any: there were jobs. */
static bool serve_round(struct leasing *l, int64_t priority, bool *out_any)
{
    struct round round = {.arena = &l->scratch};
    uint64_t *last = &l->queue->turns[priority];
    struct turn *turn;
    bool ok = gather(l->queue, priority, &round, l->err);
    *out_any = ok && round.turns.count > 0;
    while (ok && l->count < l->most && (turn = next_turn(&round, *last)) != NULL) {
        ok = lease_job(l, turn->job, l->err);
        turn->job = NULL;
        *last = turn->order;
    }
    arena_release(&l->scratch);
    return ok;
}

static void lease_all(void *context)
{
    struct leasing *l = context;
    l->scratch.oom = l->arena->oom;
    l->jobs = ARENA_ARRAY(l->arena, struct job_record *, l->most);
    for (int64_t priority = PRIORITY_MOST; l->ok && priority >= 0; priority--) {
        bool any = true;
        while (l->ok && any && l->count < l->most)
            l->ok = serve_round(l, priority, &any);
    }
}

bool queue_lease(struct queue *queue, const struct lease_request *request, struct arena *arena,
                 struct job_record ***out, uint32_t *out_count, struct error *err)
{
    uint32_t seconds = request->seconds;
    seconds = seconds < LEASE_SECONDS_LEAST  ? LEASE_SECONDS_LEAST
              : seconds > LEASE_SECONDS_MOST ? LEASE_SECONDS_MOST
                                             : seconds;
    struct leasing leasing = {.queue = queue,
                              .worker = request->worker,
                              .most = request->most < LEASES_MOST ? request->most : LEASES_MOST,
                              .lease_ms = (int64_t)seconds * 1000,
                              .arena = arena,
                              .err = err,
                              .ok = true};
    uint32_t reaped = 1;
    uint64_t queued = 0, leased;
    arena_init(&leasing.scratch);
    pthread_mutex_lock(&queue->leasing);
    while (leasing.ok && reaped > 0)
        leasing.ok = queue_edit(queue, reap_body, &reaped, err);
    leasing.ok = leasing.ok && queue_depth(queue, &queued, &leased, err);
    if (leasing.ok && queued > 0 && !arena_catch(arena, lease_all, &leasing))
        leasing.ok = fail(err, ERR_NOMEM, "no memory for the jobs");
    pthread_mutex_unlock(&queue->leasing);
    arena_release(&leasing.scratch);
    if (!leasing.ok && leasing.count == 0)
        return false;
    *out = leasing.jobs;
    *out_count = leasing.count;
    return true;
}

/* A message from the holder of a lease. */
struct saying {
    const char *job, *token, *stage, *kernel, *error;
    enum job_failure failure;
    bool cancelled;
};

/* ERR_CONFLICT: the lease was lost: the job belongs to another worker, or to none. */
static bool check_lease(const struct edit *edit, const struct job_record *job,
                        const struct saying *saying, struct error *err)
{
    if (!job_is(job, "LEASED"))
        return fail(err, ERR_CONFLICT, "job '%.200s' is not leased: it is %s", saying->job,
                    job->state);
    if (strcmp(job->token, saying->token) != 0)
        return fail(err, ERR_CONFLICT, "job '%.200s' is leased to somebody else", saying->job);
    if (job->lease_until_ms <= edit->now_ms)
        return fail(err, ERR_CONFLICT, "the lease of job '%.200s' has ended", saying->job);
    return true;
}

static bool has_token(const struct job_record *job, const struct saying *saying)
{
    return saying->token[0] != '\0' && strcmp(job->token, saying->token) == 0;
}

static bool heartbeat_body(struct edit *edit, void *context, struct error *err)
{
    struct saying *saying = context;
    void *found;
    if (!edit_get(edit, RECORD_job, saying->job, &found, err))
        return false;
    struct job_record *job = found;
    saying->cancelled = job_is(job, "CANCELLED") && has_token(job, saying);
    if (saying->cancelled)
        return true;
    if (!check_lease(edit, job, saying, err))
        return false;
    job->stage = saying->stage;
    job->lease_until_ms = edit->now_ms + job->lease_ms;
    job->updated_ms = edit->now_ms;
    edit_put(edit, RECORD_job, EXPECT_SAME, job);
    return true;
}

bool queue_heartbeat(struct queue *queue, const char *job, const char *token, const char *stage,
                     bool *out_cancel, struct error *err)
{
    struct saying saying = {.job = job, .token = token, .stage = stage};
    if (!queue_edit(queue, heartbeat_body, &saying, err))
        return false;
    *out_cancel = saying.cancelled;
    return true;
}

/* If the same worker reports completion twice, because the first answer was lost, the second one
 * succeeds, too. */
static bool complete_body(struct edit *edit, void *context, struct error *err)
{
    const struct saying *saying = context;
    void *found;
    if (!edit_get(edit, RECORD_job, saying->job, &found, err))
        return false;
    struct job_record *job = found;
    if (job_is(job, "DONE") && has_token(job, saying) && strcmp(job->kernel, saying->kernel) == 0)
        return true;
    if (!check_lease(edit, job, saying, err))
        return false;
    job->state = "DONE";
    job->request = ""; /* its object may be removed */
    job->stage = "";
    job->error = "";
    job->kernel = saying->kernel;
    job->updated_ms = edit->now_ms;
    edit_put(edit, RECORD_job, EXPECT_SAME, job);
    return true;
}

bool queue_complete(struct queue *queue, const char *job, const char *token, const char *kernel,
                    struct error *err)
{
    struct saying saying = {.job = job, .token = token, .kernel = kernel};
    return queue_edit(queue, complete_body, &saying, err);
}

static bool fail_body(struct edit *edit, void *context, struct error *err)
{
    const struct saying *saying = context;
    bool compile = saying->failure == JOB_FAILURE_COMPILE;
    const char *reason = job_failure_name(saying->failure);
    void *found;
    if (!edit_get(edit, RECORD_job, saying->job, &found, err))
        return false;
    struct job_record *job = found;
    if (compile && job_is(job, "FAILED") && has_token(job, saying))
        return true;
    if (!check_lease(edit, job, saying, err))
        return false;
    if (compile) {
        add_attempt(job, reason, edit->arena, edit->now_ms);
        job->state = "FAILED";
        job->request = "";
        job->stage = "";
        job->updated_ms = edit->now_ms;
    } else if (saying->failure == JOB_FAILURE_DRAINED) {
        job_put_back(job, edit->now_ms);
    } else if (!job_died(job, reason, edit->arena, edit->now_ms, err)) {
        return false;
    }
    job->error = saying->failure == JOB_FAILURE_DRAINED ? job->error : saying->error;
    edit_put(edit, RECORD_job, EXPECT_SAME, job);
    return true;
}

bool queue_fail(struct queue *queue, const char *job, const char *token, enum job_failure failure,
                const char *error, struct error *err)
{
    struct saying saying = {.job = job, .token = token, .failure = failure, .error = error};
    if (failure <= JOB_FAILURE_NONE || failure >= JOB_FAILURE_COUNT)
        return fail(err, ERR_BUG, "job '%.200s' failed of nothing", job);
    return queue_edit(queue, fail_body, &saying, err);
}
