/* Work on kernels after the client got its answer, one kernel after the other, on a separate
 * thread, so that it blocks no slot of the pool: verification, if the strategy answers before it
 * (evidence "pending"), then measuring, while nothing is compiled. A kernel that fails verification
 * is retired, with an event.
 *
 * No verification is lost when the service ends, since pending ones are found by the kernels'
 * records. Kernels waiting to be measured then remain unmeasured. */
#ifndef URZA_SERVER_BEHIND_H
#define URZA_SERVER_BEHIND_H

#include "base/error.h"

struct behind;
struct server;

struct behind *behind_start(struct server *server, struct error *err);
/* Adds a kernel. Any thread. Kernels that need nothing are ignored; if too many wait, behind_look
 * finds the kernel later. */
void behind_add(struct behind *behind, const char *kernel);
/* To be called regularly: adds kernels whose records say that something is to be done. */
void behind_look(struct behind *behind);
/* Cancels the current work; kernels added afterwards are ignored. Accepts NULL. */
void behind_stop(struct behind *behind);
void behind_free(struct behind *behind);

#endif
