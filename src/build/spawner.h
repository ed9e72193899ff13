/* A process that forks the processes that work.
 *
 * A fork copies the whole process that asks for it: its threads' locks, wherever these stand, and
 * its secrets. A spawner is forked once, early, before there are threads or secrets; it has the
 * compiler ready in memory, one thread that works, and no descriptor but the one on which it is
 * asked. What it is asked goes over as bytes, each piece of work becomes a child of its own, and
 * the answer comes back through a pipe straight from that child.
 *
 * Any number of threads may ask at once. When the owner ends, in any way, the spawner and all its
 * children end. A spawner that died is noticed: whoever asks gets ERR_COMPILER_DIED. One that is
 * stopped keeps nobody from cancelling, nor from being late.
 */
#ifndef URZA_BUILD_SPAWNER_H
#define URZA_BUILD_SPAWNER_H

#include "build/work.h"

struct spawner;

/* Forks it. NULL after failing *err: ERR_NOMEM, ERR_IO. */
struct spawner *spawner_start(struct error *err);
/* Ends it and what it still does; no call may be under way. NULL is fine. */
void spawner_stop(struct spawner *spawner);
/* Whether it is there. One that died stays dead: its owner can only begin anew. */
bool spawner_alive(const struct spawner *spawner);

/* As work_run. *cancelled (NULL: never) ends the work early: ERR_CANCELLED. */
struct child_exit spawner_run(struct spawner *spawner, const struct work_order *work,
                              const atomic_bool *cancelled, struct arena *arena,
                              struct child_answer *out_answer, struct error *err);

#endif
