/* A queue that serves clients in turn (round-robin): however many items one client has waiting,
 * another waits for at most one of them. A client never gets the last quarter of the places.
 *
 * Among the items of one client the higher priority goes first, then the older one. In every second
 * turn, priorities are compared across clients, too; the other turns prevent starvation. The caller
 * locks. */
#ifndef URZA_SERVER_TURNS_H
#define URZA_SERVER_TURNS_H

#include <stdbool.h>
#include <stdint.h>

struct error;

/* Embedded in the waiting item. */
struct turn {
    struct turn *next;
    uint32_t priority;
    void *item;
};

struct turns {
    struct turns_client *last; /* the client served last, in a ring; NULL: the queue is empty */
    uint32_t count, most, taken;
};

/* Whether one more item of this client would be accepted. ERR_BUSY. */
bool turns_room(const struct turns *turns, const char *client, struct error *err);
/* ERR_BUSY: too many items, in total or of this client; ERR_NOMEM. turn: item and priority must be
 * set. */
bool turns_add(struct turns *turns, const char *client, struct turn *turn, struct error *err);
void *turns_take(struct turns *turns); /* the item; NULL: the queue is empty */

#endif
