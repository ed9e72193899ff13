/* Jobs: work that a client requested without waiting for it, or that workers do. Each is a record
 * of the catalogue and outlives the process.
 *
 *   QUEUED ─ lease ─► LEASED ─ complete ─► DONE
 *      ▲                 ├──── fail ─────► FAILED (the blueprint's fault), POISON (deaths)
 *      └── died, late, drained ─┘
 *   QUEUED, LEASED ─ cancel ─► CANCELLED
 *
 * A lease has a token and an expiry time: a worker that reports later, or with another token, has
 * lost the job (ERR_CONFLICT), whatever it has done. After a death (crash, timeout, out of memory,
 * expired lease) the job is put back, until three deaths on two workers or five on one make it
 * POISON. Of the catalogue's drivers it needs only expectations (EXPECT_SAME). Any number of
 * threads and processes. */
#ifndef URZA_REGISTRY_QUEUE_H
#define URZA_REGISTRY_QUEUE_H

#include "registry/catalogue.h"

#define LEASE_SECONDS_LEAST 5
#define LEASE_SECONDS_MOST 600

struct queue;

/* The catalogue is borrowed. limit: largest number of QUEUED jobs. NULL: no memory. */
struct queue *queue_new(struct catalogue *catalogue, uint32_t limit);
void queue_free(struct queue *queue); /* accepts NULL */

/* Adds a job, from its key, client, request, hints, blueprint and priority. If a job for the same
 * key is QUEUED or LEASED, that one is returned (and gets the new job's priority if it is higher).
 * ERR_BUSY: the queue is full, or three quarters of it belong to this client. */
bool queue_add(struct queue *queue, const struct job_record *job, struct arena *arena,
               struct job_record **out, bool *out_joined, struct error *err);

/* A worker's request for jobs. */
struct lease_request {
    const char *worker;
    uint32_t most;    /* largest number of jobs */
    uint32_t seconds; /* duration of the lease; limited to LEASE_SECONDS_LEAST … LEASE_SECONDS_MOST
                       */
};
/* Leases jobs: by priority, round-robin over clients, oldest first. Before that, jobs with expired
 * leases are counted as deaths, and put back or poisoned. *out_count may be 0. If it fails after
 * some jobs were leased, these are returned. Record heads have the revision from before the
 * lease. */
bool queue_lease(struct queue *queue, const struct lease_request *request, struct arena *arena,
                 struct job_record ***out, uint32_t *out_count, struct error *err);
/* Extends the lease by its duration, and stores the worker's stage. *out_cancel: the job was
 * cancelled, so the worker may stop. ERR_CONFLICT, ERR_NOT_FOUND. */
bool queue_heartbeat(struct queue *queue, const char *job, const char *token, const char *stage,
                     bool *out_cancel, struct error *err);
/* Ends the job as DONE. Reporting it again with the same token succeeds. ERR_CONFLICT,
 * ERR_NOT_FOUND. */
bool queue_complete(struct queue *queue, const char *job, const char *token, const char *kernel,
                    struct error *err);

enum job_failure {
    JOB_FAILURE_NONE,
    JOB_FAILURE_COMPILE, /* cannot be compiled: FAILED */
    JOB_FAILURE_TIMEOUT,
    JOB_FAILURE_MEMORY,
    JOB_FAILURE_CRASH,
    JOB_FAILURE_DRAINED, /* the worker shuts down: not a death */
    JOB_FAILURE_COUNT
};
const char *job_failure_name(enum job_failure failure);   /* "compile" */
enum job_failure job_failure_from_name(const char *name); /* JOB_FAILURE_NONE */
/* error: the reason, as JSON ("": unknown). */
bool queue_fail(struct queue *queue, const char *job, const char *token, enum job_failure failure,
                const char *error, struct error *err);

/* ERR_NOT_FOUND; ERR_CONFLICT if the job has ended. */
bool queue_cancel(struct queue *queue, const char *job, const char *client, struct error *err);
/* Puts a poisoned job back as QUEUED and clears its attempts. ERR_NOT_FOUND, ERR_CONFLICT. */
bool queue_release(struct queue *queue, const char *job, struct error *err);
bool queue_find(struct queue *queue, const char *job, struct arena *arena, struct job_record **out,
                struct error *err); /* ERR_NOT_FOUND */
/* Counts QUEUED and LEASED jobs. */
bool queue_depth(struct queue *queue, uint64_t *out_queued, uint64_t *out_leased,
                 struct error *err);
/* Called when a worker starts: jobs still leased by a worker of this name count as crashes, so that
 * a job which kills workers is not retried for ever. */
bool queue_take_back(struct queue *queue, const char *worker, struct error *err);

#endif
