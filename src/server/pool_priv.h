/* Inside the pool: what a slot does. */
#ifndef URZA_SERVER_POOL_PRIV_H
#define URZA_SERVER_POOL_PRIV_H

#include "server/shelf.h"
#include "server/pool.h"

/* A kernel to be verified behind its answer. */
struct behind {
    struct behind *next;
    char kernel[SHELF_NAME_BYTES];
};

struct server *pool_server(struct pool *pool);
bool pool_stopping(struct pool *pool);

/* Compiles, publishes, makes the answer (the caller's). */
bool task_run(struct pool *pool, struct task *task, json_t **out_answer,
              char out_kernel[SHELF_NAME_BYTES], struct error *err);
/* Verifies, writes the evidence into the package or retires the kernel; frees behind. */
void behind_run(struct pool *pool, struct behind *behind);

#endif
