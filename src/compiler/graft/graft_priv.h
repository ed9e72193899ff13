/* Shared by the files of this room. */
#ifndef URZA_COMPILER_GRAFT_GRAFT_PRIV_H
#define URZA_COMPILER_GRAFT_GRAFT_PRIV_H

#include "compiler/graft/graft.h"

/* last.c: params of the seed's last layer: where all of them are 0, `value` is 0, for finite
 * inputs. None where there are no such. */
void graft_find_last(const struct graph *graph, value_id value, struct arena *arena,
                     struct graft_spec *out);

#endif
