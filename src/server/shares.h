/* Memory for what clients send, shared out: there is so much in all, and no client ever has the
 * last quarter of it. Any number of threads. */
#ifndef URZA_SERVER_SHARES_H
#define URZA_SERVER_SHARES_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct shares;

struct shares *shares_new(uint64_t most_bytes); /* NULL: no memory */
void shares_free(struct shares *shares);        /* NULL is fine */
/* ERR_BUSY: not so much at the moment; ERR_NOMEM. */
bool shares_take(struct shares *shares, const char *client, uint64_t bytes, struct error *err);
void shares_give(struct shares *shares, const char *client, uint64_t bytes); /* what was taken */

#endif
