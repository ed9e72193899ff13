/* Divides the memory for request bodies among clients: there is a total, and no client ever gets
 * the last quarter of it. Any number of threads. */
#ifndef URZA_SERVER_SHARES_H
#define URZA_SERVER_SHARES_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct shares;

struct shares *shares_new(uint64_t most_bytes); /* NULL: no memory */
void shares_free(struct shares *shares);        /* accepts NULL */
/* ERR_BUSY: not so much is free at the moment; ERR_NOMEM. */
bool shares_take(struct shares *shares, const char *client, uint64_t bytes, struct error *err);
/* Returns what was taken. */
void shares_give(struct shares *shares, const char *client, uint64_t bytes);

#endif
