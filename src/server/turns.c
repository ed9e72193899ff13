#include "server/turns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define CLIENT_BYTES 80

struct turns_client {
    struct turns_client *next; /* in the ring */
    char name[CLIENT_BYTES];
    struct turn *first; /* never NULL */
    uint32_t count;
};

static struct turns_client *find(const struct turns *turns, const char *name)
{
    struct turns_client *client = turns->last;
    if (!client)
        return NULL;
    do {
        if (strncmp(client->name, name, CLIENT_BYTES - 1) == 0)
            return client;
        client = client->next;
    } while (client != turns->last);
    return NULL;
}

/* Adds a client after the one served last, so that it is the last of the ring. */
static struct turns_client *enter(struct turns *turns, const char *name)
{
    struct turns_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    snprintf(client->name, sizeof client->name, "%s", name);
    client->next = turns->last ? turns->last->next : client;
    if (turns->last)
        turns->last->next = client;
    turns->last = client;
    return client;
}

bool turns_room(const struct turns *turns, const char *name, struct error *err)
{
    const struct turns_client *client = find(turns, name);
    if (turns->count >= turns->most)
        return fail(err, ERR_BUSY, "%u wait already", turns->count);
    if (client && client->count >= turns->most - turns->most / 4)
        return fail(err, ERR_BUSY, "%u of '%s' wait already, and the other places are for others",
                    client->count, name);
    return true;
}

bool turns_add(struct turns *turns, const char *name, struct turn *turn, struct error *err)
{
    if (!turns_room(turns, name, err))
        return false;
    struct turns_client *client = find(turns, name);
    if (!client)
        client = enter(turns, name);
    if (!client)
        return fail(err, ERR_NOMEM, "no memory to wait");
    struct turn **at = &client->first;
    while (*at && (*at)->priority >= turn->priority)
        at = &(*at)->next;
    turn->next = *at;
    *at = turn;
    client->count++;
    turns->count++;
    return true;
}

/* The client before the one whose turn is next. */
static struct turns_client *before_next(const struct turns *turns)
{
    struct turns_client *best = turns->last, *before = best;
    if (turns->taken % 2 == 0)
        return best;
    do {
        if (before->next->first->priority > best->next->first->priority)
            best = before;
        before = before->next;
    } while (before != turns->last);
    return best;
}

void *turns_take(struct turns *turns)
{
    if (!turns->last)
        return NULL;
    struct turns_client *before = before_next(turns), *client = before->next;
    struct turn *turn = client->first;
    client->first = turn->next;
    client->count--;
    turns->count--;
    turns->taken++;
    turns->last = client;
    if (!client->first) {
        turns->last = before == client ? NULL : before;
        before->next = client->next;
        free(client);
    }
    return turn->item;
}
