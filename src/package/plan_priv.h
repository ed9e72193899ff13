/* Functions of plan.c for plan_json.c. */
#ifndef URZA_PACKAGE_PLAN_PRIV_H
#define URZA_PACKAGE_PLAN_PRIV_H

#include <jansson.h>

#include "package/plan.h"

const char *buffer_kind_name(enum buffer_kind kind);
enum buffer_kind buffer_kind_from_name(const char *name); /* 0: unknown */
/* Whether buffers of this kind stand for an input, output or param of the graph, given by index. */
bool buffer_is_bound(enum buffer_kind kind);

/* Checks everything that plan_parse promises. ERR_PACKAGE, ERR_LIMIT; place names the launch or
 * buffer. */
bool plan_check(const struct plan *plan, struct error *err);
void plan_lifetimes(struct plan *plan); /* of a plan that was checked */

/* plan_json.c: fields of objects. */
void plan_put_dim(const struct plan *plan, const char *key, dim_id dim, struct strbuf *out);
bool plan_get_u32(const json_t *object, const char *key, uint32_t *out, struct error *err);
bool plan_get_dim(struct plan *plan, const json_t *object, const char *key, dim_id *out,
                  struct error *err);

/* plan_loop.c. Checking: plan_loop_begin before a launch is checked, plan_loop_end behind it; both
 * change which buffers are written. */
bool plan_loops_check(const struct plan *plan, struct error *err);
bool plan_loop_begin(const struct plan *plan, uint32_t launch, bool *written, struct error *err);
bool plan_loop_end(const struct plan *plan, uint32_t launch, bool *written, struct error *err);
void plan_loops_lifetimes(struct plan *plan); /* those of launches are there */
/* Marks results of the loops among the first launches. */
void plan_loops_written(const struct plan *plan, uint32_t launches, bool *written);
void plan_loops_print(const struct plan *plan, struct strbuf *out);
bool plan_loops_parse(struct plan *plan, const json_t *array, struct error *err);
void plan_loops_describe(const struct plan *plan, struct strbuf *out);

/* plan_entry.c: the same for entries. */
bool plan_entries_check(const struct plan *plan, struct error *err);
void plan_entries_print(const struct plan *plan, struct strbuf *out);
bool plan_entries_parse(struct plan *plan, const json_t *array, struct error *err);

/* plan_special.c: the same for specialisations. */
bool plan_specials_check(const struct plan *plan, struct error *err);
void plan_specials_print(const struct plan *plan, struct strbuf *out);
bool plan_specials_parse(struct plan *plan, const json_t *array, struct error *err);

#endif
