/* The running compilations: one per key, whichever clients ask; clients take turns; a limited
 * number at a time.
 *
 *   submit ─► clients in turn ─► slot (a thread) ─► build/ ─► publish ─► answer ─► waiters
 *                                                                └─ behind.h: the rest
 *
 * The pool owns a task from pool_submit on. Submitting one for a key that is being compiled joins
 * that task. Each waiter is called once, on a slot's thread, in any order. */
#ifndef URZA_SERVER_POOL_H
#define URZA_SERVER_POOL_H

#include "server/ask.h"
#include "server/server_priv.h"
#include "server/turns.h"

struct pool;

/* The result of a task. Borrowed during the call. */
struct outcome {
    bool ok, joined;
    struct error error;       /* if not ok */
    const json_t *answer;     /* if ok: the JSON that POST /compile replies */
    const char *kernel;       /* if ok: the kernel's id */
    const char *blueprint_id; /* the blueprint's own; NULL */
};

struct waiter {
    void (*done)(void *context, const struct outcome *outcome);
    bool (*gone)(void *context); /* whether the client no longer waits: called before a task is
                                    begun, under the pool's lock; NULL: it always waits */
    void *context;
    const char *job; /* id of the job in the catalogue; NULL: none */
    bool joined;     /* set by pool_submit */
    struct waiter *next;
};

struct task {
    struct arena arena; /* holds everything below, and is released with the task */
    struct ask ask;
    const char *client, *blueprint; /* blueprint: id of a submitted one; "" */
    const char *parent;             /* the kernel to be improved; "" */
    const char *miss;               /* why the key was not found */
    uint32_t priority;              /* 0 … 9; higher first (turns.h) */
    double total_ms;                /* duration of its last run of the pipeline */
    /* Used by the pool only. */
    atomic_bool cancelled;
    atomic_int step; /* enum build_step, 0: waiting */
    struct waiter *waiters;
    struct turn turn;
    struct task *chain;
};

struct task *task_new(void); /* NULL: no memory; its arena has no oom */
void task_free(struct task *task);

struct pool *pool_start(struct server *server, uint32_t slots, struct error *err);
/* Refuses waiting and new tasks (ERR_BUSY), lets running ones continue until the deadline, then
 * cancels them (ERR_BUSY). All waiters have been called when it returns. Accepts NULL. */
void pool_stop(struct pool *pool, uint64_t deadline_ns);
void pool_close(struct pool *pool); /* frees a stopped pool that is no longer used; accepts NULL */

/* Takes ownership of the task in any case. If true, the waiter must stay valid until its done was
 * called; false: ERR_BUSY, ERR_NOMEM. */
bool pool_submit(struct pool *pool, struct task *task, struct waiter *waiter, struct error *err);
/* Whether a task for this key would be accepted, to check before making one. ERR_BUSY. */
bool pool_admits(struct pool *pool, const char *client, const char *key, struct error *err);
/* Cancels the task that a job waits for, if this server has it and nobody else waits for it. */
void pool_cancel(struct pool *pool, const char *job);
/* The stage of the task that a job waits for: "waiting", "compiling" …; NULL: this server does not
 * have it. */
const char *pool_stage(struct pool *pool, const char *job);
void pool_count(struct pool *pool, uint32_t *out_active, uint32_t *out_waiting,
                uint32_t *out_slots);

/* The limits with which the service would compile an ask. Borrows from both. */
struct attempt attempt_of(const struct settings *settings, const struct ask *ask);
/* The answer for a hit: the stored answer of the key's record, with the level at which it was found
 * and the current evidence of its kernel. */
json_t *answer_again(const char *stored, const char *level, const char *evidence);

#endif
