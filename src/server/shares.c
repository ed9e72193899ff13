#include "server/shares.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* A client with a share; there are at most as many as requests in progress, so a list is enough. */
struct share {
    struct share *next;
    uint64_t bytes;
    char client[];
};

struct shares {
    pthread_mutex_t lock;
    struct share *first;
    uint64_t bytes, most;
};

struct shares *shares_new(uint64_t most_bytes)
{
    struct shares *shares = calloc(1, sizeof *shares);
    if (!shares)
        return NULL;
    shares->most = most_bytes;
    pthread_mutex_init(&shares->lock, NULL);
    return shares;
}

void shares_free(struct shares *shares)
{
    if (!shares)
        return;
    for (struct share *share = shares->first, *next; share; share = next) {
        next = share->next;
        free(share);
    }
    pthread_mutex_destroy(&shares->lock);
    free(shares);
}

static struct share **find(struct shares *shares, const char *client)
{
    struct share **at = &shares->first;
    while (*at && strcmp((*at)->client, client) != 0)
        at = &(*at)->next;
    return at;
}

static bool take(struct shares *shares, const char *client, uint64_t bytes, struct error *err)
{
    struct share **at = find(shares, client);
    uint64_t has = *at ? (*at)->bytes : 0, may = shares->most - shares->most / 4;
    if (bytes > shares->most - shares->bytes)
        return fail(err, ERR_BUSY, "requests under way have all the memory that they may have");
    if (has > may || bytes > may - has)
        return fail(err, ERR_BUSY, "requests of '%s' have all the memory that they may have",
                    client);
    if (!*at) {
        size_t length = strlen(client) + 1;
        struct share *share = malloc(sizeof *share + length);
        if (!share)
            return fail(err, ERR_NOMEM, "no memory for this request");
        share->next = NULL;
        share->bytes = 0;
        memcpy(share->client, client, length);
        *at = share;
    }
    (*at)->bytes += bytes;
    shares->bytes += bytes;
    return true;
}

bool shares_take(struct shares *shares, const char *client, uint64_t bytes, struct error *err)
{
    pthread_mutex_lock(&shares->lock);
    bool ok = take(shares, client, bytes, err);
    pthread_mutex_unlock(&shares->lock);
    return ok;
}

void shares_give(struct shares *shares, const char *client, uint64_t bytes)
{
    if (bytes == 0)
        return;
    pthread_mutex_lock(&shares->lock);
    struct share **at = find(shares, client), *share = *at;
    assert(share && share->bytes >= bytes);
    share->bytes -= bytes;
    shares->bytes -= bytes;
    if (share->bytes == 0) {
        *at = share->next;
        free(share);
    }
    pthread_mutex_unlock(&shares->lock);
}
