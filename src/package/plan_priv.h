/* Functions of plan.c for plan_json.c. */
#ifndef URZA_PACKAGE_PLAN_PRIV_H
#define URZA_PACKAGE_PLAN_PRIV_H

#include "package/plan.h"

const char *buffer_kind_name(enum buffer_kind kind);
enum buffer_kind buffer_kind_from_name(const char *name); /* 0: unknown */
/* Whether buffers of this kind stand for an input, output or param of the graph, given by index. */
bool buffer_is_bound(enum buffer_kind kind);

/* Checks everything that plan_parse promises. ERR_PACKAGE, ERR_LIMIT; place names the launch or
 * buffer. */
bool plan_check(const struct plan *plan, struct error *err);
void plan_lifetimes(struct plan *plan); /* of a plan that was checked */

#endif
