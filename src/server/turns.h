/* What waits, of several clients, in turn: however much one of them has waiting, another waits for
 * one of it at most. A client never has the last quarter of the places.
 *
 * Of one client the higher priority goes first, then age. Every other turn priorities count over
 * clients as well; the turns between see to it that nobody starves. The caller locks. */
#ifndef URZA_SERVER_TURNS_H
#define URZA_SERVER_TURNS_H

#include <stdbool.h>
#include <stdint.h>

struct error;

/* Lies in what waits. */
struct turn {
    struct turn *next;
    uint32_t priority;
    void *item;
};

struct turns {
    struct turns_client *last; /* whose turn it was, in a ring; NULL: nobody waits */
    uint32_t count, most, taken;
};

/* Whether another of this client would be added. ERR_BUSY. */
bool turns_room(const struct turns *turns, const char *client, struct error *err);
/* ERR_BUSY: there are too many, at all or of this client; ERR_NOMEM. turn: item and priority. */
bool turns_add(struct turns *turns, const char *client, struct turn *turn, struct error *err);
void *turns_take(struct turns *turns); /* the item; NULL: none waits */

#endif
