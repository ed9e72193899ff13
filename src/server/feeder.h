/* Leases jobs of the queue for this server's own slots, and extends the leases. */
#ifndef URZA_SERVER_FEEDER_H
#define URZA_SERVER_FEEDER_H

#include "server/server_priv.h"

struct feeder;

/* Before that, it takes back jobs still leased under this server's name: only one service at a time
 * uses a data folder. */
struct feeder *feeder_start(struct server *server, struct error *err);
void feeder_wake(struct feeder *feeder); /* called when there is a new job, or a free slot; any
                                            thread */
void feeder_stop(struct feeder *feeder); /* stops leasing; call it before the pool is stopped */
void feeder_free(struct feeder *feeder); /* call it after the pool is stopped */

/* Makes jobs of submitted blueprints, a limited number at a time. */
void adopt_submitted(struct server *server);

#endif
