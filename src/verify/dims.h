/* Choosing sizes; see also dims_choose in verify.h. Pure functions. */
#ifndef URZA_VERIFY_DIMS_H
#define URZA_VERIFY_DIMS_H

#include "graph/dim.h"

/* The legal value (range, multiple) of a named dim that is nearest to the wish; of two equally
 * near, the smaller. */
int64_t dims_legal(const struct dim_name *name, int64_t wish);

#endif
