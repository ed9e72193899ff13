/* What is done to kernels behind their answers, one after the other, on one thread of its own, so
 * that no slot of the pool waits for it: verification, where the strategy answered first (evidence
 * "pending"), then measuring, while nothing is compiled. A kernel that does not pass is retired,
 * with an event.
 *
 * No verification is lost when the service ends: what is pending is read off the kernels' records.
 * What was to be measured then stays unmeasured. */
#ifndef URZA_SERVER_BEHIND_H
#define URZA_SERVER_BEHIND_H

#include "base/error.h"

struct behind;
struct server;

struct behind *behind_start(struct server *server, struct error *err);
/* Any thread. A kernel that needs nothing is fine; where too much waits, behind_look finds it. */
void behind_add(struct behind *behind, const char *kernel);
/* Now and then: adds kernels whose records say that something is to be done. */
void behind_look(struct behind *behind);
/* Ends what is under way; no thread may add any more, or it is ignored. NULL is fine. */
void behind_stop(struct behind *behind);
void behind_free(struct behind *behind);

#endif
