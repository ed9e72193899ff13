/* Server-sent events: each stream reports the progress of one job to one client, until the job
 * ends.
 *
 * The thread of a stream's connection asks for more data, but must not block. So another thread
 * looks up jobs and gives each stream its next event; a connection without data is suspended until
 * then. */
#ifndef URZA_SERVER_STREAMS_H
#define URZA_SERVER_STREAMS_H

#include "server/server_priv.h"

struct streams;

struct streams *streams_new(struct server *server); /* NULL: no memory */
void streams_free(struct streams *streams);         /* no stream may be open; accepts NULL */
/* Replies with the events of an existing job. */
enum handled streams_open(struct streams *streams, struct request *request, const char *job,
                          struct error *err);
void streams_look(struct streams *streams); /* to be called regularly, on one thread at a time */
void streams_end(struct streams *streams);  /* ends all streams, and later ones at once */

#endif
