/* Server-sent events: each stream tells one client how one job goes on, until it ends.
 *
 * A stream is asked for more by the thread of its connection, which may not wait. So one other
 * thread looks jobs up and leaves each stream what it is to say next; a connection with nothing to
 * say is suspended until then. */
#ifndef URZA_SERVER_STREAMS_H
#define URZA_SERVER_STREAMS_H

#include "server/server_priv.h"

struct streams;

struct streams *streams_new(struct server *server); /* NULL: no memory */
void streams_free(struct streams *streams);         /* no stream may be open; NULL is fine */
/* Replies with the events of a job that is there. */
enum handled streams_open(struct streams *streams, struct request *request, const char *job,
                          struct error *err);
void streams_look(struct streams *streams); /* now and then, on any one thread */
void streams_end(struct streams *streams);  /* all end now, and later ones at once */

#endif
