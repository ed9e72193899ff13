/* Takes jobs of the queue for this server's own slots, and keeps their leases. */
#ifndef URZA_SERVER_FEEDER_H
#define URZA_SERVER_FEEDER_H

#include "server/server_priv.h"

struct feeder;

/* Takes back what a server of this name had leased before: one service of a data folder runs at a
 * time. */
struct feeder *feeder_start(struct server *server, struct error *err);
void feeder_wake(struct feeder *feeder); /* there is a new job, or a slot; any thread */
void feeder_stop(struct feeder *feeder); /* leases no more; before the pool is stopped */
void feeder_free(struct feeder *feeder); /* after it */

/* Makes jobs of blueprints that were submitted, some at a time. */
void adopt_submitted(struct server *server);

#endif
