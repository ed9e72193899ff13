/* Shared by the files of the HTTP interface. */
#ifndef URZA_SERVER_API_H
#define URZA_SERVER_API_H

#include "server/ask.h"
#include "server/server_priv.h"

/* A record as JSON: {id, fields…}; lists become arrays, JSON fields are inserted as they are. */
json_t *record_value(enum record_kind kind, const void *record);

/* Handles GET of a listing: filters by the query arguments of the kind's fields (api_list.c), limit
 * and cursor; fixed: filters of the route. */
enum handled list_records(struct request *request, enum record_kind kind,
                          const struct filter *fixed, uint32_t fixed_count, struct error *err);
/* Appends the parameters of such a listing in OpenAPI form. */
void list_parameters(enum record_kind kind, json_t *parameters);
json_t *field_values(const struct record_field *field); /* values of a ONE_OF field */

/* Replies 202 with a job for the request. */
enum handled job_submit(struct request *request, const struct ask *ask, uint32_t priority,
                        struct error *err);

/* Opens the source of a blueprint; the caller releases it with blobs_release. ERR_NOT_FOUND. */
bool blueprint_source(struct server *server, const char *id, struct arena *arena, struct blob *out,
                      struct error *err);

bool openapi_make(struct server *server, struct error *err);

#endif
