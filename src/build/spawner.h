/* A process that forks worker processes.
 *
 * A fork copies the whole calling process: the locks that other threads hold, and secrets. A
 * spawner is forked once, early, before there are threads or secrets. It has the compiler
 * initialised in memory, one working thread, and no descriptor but its request socket. Requests are
 * sent as bytes, each piece of work runs in a child of its own, and the answer comes back through a
 * pipe directly from that child.
 *
 * Any number of threads may send requests at once. When the owner ends, in any way, the spawner and
 * all its children end. If the spawner has died, requests fail with ERR_COMPILER_DIED. If it is
 * stopped, cancelling and deadlines still work.
 */
#ifndef URZA_BUILD_SPAWNER_H
#define URZA_BUILD_SPAWNER_H

#include "build/order.h"

struct spawner;

/* Forks a spawner. NULL after failing *err: ERR_NOMEM, ERR_IO. */
struct spawner *spawner_start(struct error *err);
/* Ends the spawner and its running work; no call may be in progress. Accepts NULL. */
void spawner_stop(struct spawner *spawner);
/* Whether the spawner is running. A dead one is not restarted; the owner must start a new one. */
bool spawner_alive(const struct spawner *spawner);

/* As order_run. *cancelled (NULL: never) ends the work early: ERR_CANCELLED. */
struct child_exit spawner_run(struct spawner *spawner, const struct work_order *work,
                              const atomic_bool *cancelled, struct arena *arena,
                              struct child_answer *out_answer, struct error *err);

#endif
