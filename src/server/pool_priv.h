/* Inside the pool: what a slot does. */
#ifndef URZA_SERVER_POOL_PRIV_H
#define URZA_SERVER_POOL_PRIV_H

#include "server/shelf.h"
#include "server/pool.h"

struct server *pool_server(struct pool *pool);
bool pool_stopping(struct pool *pool);

/* Time and memory limits of every child. */
struct compile_options task_limits(const struct settings *settings);

/* Compiles, publishes, and makes the answer, which the caller owns. */
bool task_run(struct pool *pool, struct task *task, json_t **out_answer,
              char out_kernel[SHELF_NAME_BYTES], struct error *err);

#endif
