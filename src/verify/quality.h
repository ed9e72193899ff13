/* How good results are from end to end: the error of compiled results beside that of a plain loop
 * in the same dtypes, both against float64. Bounds add up over a deep graph until they bound
 * nothing; this does not. */
#ifndef URZA_VERIFY_QUALITY_H
#define URZA_VERIFY_QUALITY_H

#include "verify/scene.h"

/* Takes what whole_quality (verify_priv.h) needs into the memory that jobs share: the outputs of
 * the graph before the passes in float64, and of a plain loop. */
void quality_keep(struct scene *scene, const struct interp_tensor *reference,
                  const struct interp_tensor *plain);

#endif
