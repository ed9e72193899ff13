/* Jobs: work that somebody asked for and does not wait for, or that workers do. Each is a record of
 * the catalogue and outlives the process.
 *
 *   QUEUED ─ lease ─► LEASED ─ complete ─► DONE
 *      ▲                 ├──── fail ─────► FAILED (the blueprint's fault), POISON (deaths)
 *      └── died, late, drained ─┘
 *   QUEUED, LEASED ─ cancel ─► CANCELLED
 *
 * A lease is a token and an end: who comes later than that, or with another token, has lost the job
 * (ERR_CONFLICT), whatever it did meanwhile. Deaths (crash, timeout, memory, a lease that ended)
 * put it back until three on two workers or five on one make it poison. Drivers of the catalogue
 * need nothing for it but expectations (EXPECT_SAME). Any number of threads and processes. */
#ifndef URZA_REGISTRY_QUEUE_H
#define URZA_REGISTRY_QUEUE_H

#include "registry/catalogue.h"

#define LEASE_SECONDS_LEAST 5
#define LEASE_SECONDS_MOST 600

struct queue;

/* The catalogue is borrowed. limit: how many jobs may be QUEUED. NULL: no memory. */
struct queue *queue_new(struct catalogue *catalogue, uint32_t limit);
void queue_free(struct queue *queue); /* NULL is fine */

/* job: key, client, request, hints, blueprint, priority. A job for the same key that is QUEUED or
 * LEASED is answered instead of a second one (its priority rises where the new one's is higher).
 * ERR_BUSY: the queue is full, or three quarters of it are this
 * client's. */
bool queue_add(struct queue *queue, const struct job_record *job, struct arena *arena,
               struct job_record **out, bool *out_joined, struct error *err);

/* A worker that wants jobs. */
struct lease_request {
    const char *worker;
    uint32_t most;    /* jobs */
    uint32_t seconds; /* how long: LEASE_SECONDS_LEAST … LEASE_SECONDS_MOST, which bound it */
};
/* Leases jobs: by priority, in turn over clients, oldest first. Jobs whose lease has
 * ended are counted as deaths first, and put back or poisoned. *out_count may be 0. What was leased
 * before a failure is handed out. Heads say the revision from before the lease. */
bool queue_lease(struct queue *queue, const struct lease_request *request, struct arena *arena,
                 struct job_record ***out, uint32_t *out_count, struct error *err);
/* Extends the lease by what was granted, and says what the worker is at. *out_cancel: it may stop,
 * somebody cancelled the job. ERR_CONFLICT, ERR_NOT_FOUND. */
bool queue_heartbeat(struct queue *queue, const char *job, const char *token, const char *stage,
                     bool *out_cancel, struct error *err);
/* Said again with the same token: true, it is done. ERR_CONFLICT, ERR_NOT_FOUND. */
bool queue_complete(struct queue *queue, const char *job, const char *token, const char *kernel,
                    struct error *err);

enum job_failure {
    JOB_FAILURE_NONE,
    JOB_FAILURE_COMPILE, /* it cannot be compiled: FAILED */
    JOB_FAILURE_TIMEOUT,
    JOB_FAILURE_MEMORY,
    JOB_FAILURE_CRASH,
    JOB_FAILURE_DRAINED, /* the worker goes: no death */
    JOB_FAILURE_COUNT
};
const char *job_failure_name(enum job_failure failure);   /* "compile" */
enum job_failure job_failure_from_name(const char *name); /* JOB_FAILURE_NONE */
/* error: why, as JSON ("": nothing is known). */
bool queue_fail(struct queue *queue, const char *job, const char *token, enum job_failure failure,
                const char *error, struct error *err);

/* ERR_NOT_FOUND; ERR_CONFLICT where it has ended. */
bool queue_cancel(struct queue *queue, const char *job, const char *client, struct error *err);
/* A poisoned job is QUEUED again, its attempts forgotten. ERR_NOT_FOUND, ERR_CONFLICT. */
bool queue_release(struct queue *queue, const char *job, struct error *err);
bool queue_find(struct queue *queue, const char *job, struct arena *arena, struct job_record **out,
                struct error *err); /* ERR_NOT_FOUND */
/* How many are QUEUED, and LEASED. */
bool queue_depth(struct queue *queue, uint64_t *out_queued, uint64_t *out_leased,
                 struct error *err);
/* At start of a worker: what one of this name had leased counts as a crash, as it did not come to
 * its end: a job that kills workers does not go on for ever. */
bool queue_take_back(struct queue *queue, const char *worker, struct error *err);

#endif
