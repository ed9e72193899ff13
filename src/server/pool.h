/* The compilations under way: each key once, whoever asks; clients in turn; so many at a time.
 *
 *   submit ─► clients in turn ─► slot (a thread) ─► build/ ─► publish ─► answer ─► waiters
 *                                                                └─ behind.h: the rest
 *
 * A task is owned by the pool from pool_submit on. Whoever submits one for a key that is under way
 * joins that one. Waiters are called on a slot's thread, once, in any order. */
#ifndef URZA_SERVER_POOL_H
#define URZA_SERVER_POOL_H

#include "server/ask.h"
#include "server/server_priv.h"
#include "server/turns.h"

struct pool;

/* What came out. Borrowed for the call. */
struct outcome {
    bool ok, joined;
    struct error error;       /* not ok */
    const json_t *answer;     /* ok: as POST /compile answers */
    const char *kernel;       /* ok: its id */
    const char *blueprint_id; /* the blueprint's own; NULL */
};

struct waiter {
    void (*done)(void *context, const struct outcome *outcome);
    bool (*gone)(void *context); /* whether it waits no more: asked before a task is begun, under
                                    the pool's lock; NULL: it waits whatever happens */
    void *context;
    const char *job; /* the job in the catalogue; NULL: none */
    bool joined;     /* filled by pool_submit */
    struct waiter *next;
};

struct task {
    struct arena arena; /* all below lies in it, and goes with it */
    struct ask ask;
    const char *client, *blueprint; /* the id of a blueprint that was submitted; "" */
    const char *parent;             /* the kernel that it is to improve on; "" */
    const char *miss;               /* why it was not found */
    uint32_t priority;              /* 0 … 9; higher first (turns.h) */
    double total_ms;                /* of its last run of the pipeline */
    /* The pool's. */
    atomic_bool cancelled;
    atomic_int step; /* enum build_step, 0: waits */
    struct waiter *waiters;
    struct turn turn;
    struct task *chain;
};

struct task *task_new(void); /* NULL: no memory; its arena has no oom */
void task_free(struct task *task);

struct pool *pool_start(struct server *server, uint32_t slots, struct error *err);
/* Refuses what waits and whatever comes (ERR_BUSY), gives what is under way until the deadline,
 * then cancels it (ERR_BUSY). All waiters have been told when it returns. NULL is fine. */
void pool_stop(struct pool *pool, uint64_t deadline_ns);
void pool_close(struct pool *pool); /* a stopped one, that nobody asks any more; NULL is fine */

/* Owns the task in any case. On true the waiter stays valid until its done was called; false:
 * ERR_BUSY, ERR_NOMEM. */
bool pool_submit(struct pool *pool, struct task *task, struct waiter *waiter, struct error *err);
/* Whether one for this key would be taken, before anything is spent on making it. ERR_BUSY. */
bool pool_admits(struct pool *pool, const char *client, const char *key, struct error *err);
/* Cancels the task that a job waits for, if it is here and nobody else waits for it. */
void pool_cancel(struct pool *pool, const char *job);
/* What the task that a job waits for is at: "waiting", "compiling" …; NULL: it is not here. */
const char *pool_stage(struct pool *pool, const char *job);
void pool_count(struct pool *pool, uint32_t *out_active, uint32_t *out_waiting,
                uint32_t *out_slots);

/* What the service would try an ask with. Borrowed from both. */
struct attempt attempt_of(const struct settings *settings, const struct ask *ask);
/* The answer of a hit: what the key's record kept of the first one, with where it was found and how
 * its kernel's evidence stands today. */
json_t *answer_again(const char *stored, const char *level, const char *evidence);

#endif
