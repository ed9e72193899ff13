/* What the files of the interface share. */
#ifndef URZA_SERVER_API_H
#define URZA_SERVER_API_H

#include "server/ask.h"
#include "server/server_priv.h"

/* A record as JSON: {id, fields…}: lists as arrays, JSON as it is. */
json_t *record_value(enum record_kind kind, const void *record);

/* GET of a listing of a kind: filters by the query arguments that its fields give (api_list.c),
 * limit, cursor; fixed: filters of the route. */
enum handled list_records(struct request *request, enum record_kind kind,
                          const struct filter *fixed, uint32_t fixed_count, struct error *err);
/* Appends the parameters of such a listing, as OpenAPI has them. */
void list_parameters(enum record_kind kind, json_t *parameters);
json_t *field_values(const struct record_field *field); /* of a one_of */

/* 202 with a job for what is asked. */
enum handled job_submit(struct request *request, const struct ask *ask, uint32_t priority,
                        struct error *err);

/* The source of a blueprint; released by blobs_release. ERR_NOT_FOUND. */
bool blueprint_source(struct server *server, const char *id, struct arena *arena, struct blob *out,
                      struct error *err);

bool openapi_make(struct server *server, struct error *err);

#endif
