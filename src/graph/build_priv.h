/* Shared by the files of the builder. All functions follow its rule: report a failure once, then
 * pass VALUE_NONE on.
 */
#ifndef URZA_GRAPH_BUILD_PRIV_H
#define URZA_GRAPH_BUILD_PRIV_H

#include "graph/build.h"

/* False when a dim is DIM_NONE; fills ERR_LIMIT unless an earlier failure has already filled
 * err. */
bool build_dims_known(struct builder *b, const dim_id *dims, uint32_t count);
bool build_rank_fits(struct builder *b, enum prim prim, uint32_t rank);
value_id build_add1(struct builder *b, enum prim prim, value_id x, const struct attrs *attrs);
value_id build_add2(struct builder *b, enum prim prim, value_id x, value_id y,
                    const struct attrs *attrs);
const char *build_dim_text(struct builder *b, dim_id dim); /* for messages */

#endif
