/* End-to-end accuracy: the errors of compiled results compared with those of plain loops in the
 * same dtypes, both against float64. Running error bounds grow with the depth of a graph until they
 * are useless; this comparison does not. */
#ifndef URZA_VERIFY_QUALITY_H
#define URZA_VERIFY_QUALITY_H

#include "verify/scene.h"

/* Stores what whole_quality (verify_priv.h) needs in memory shared by the jobs: the outputs of the
 * graph before the passes, in float64 and from a plain loop. */
void quality_keep(struct scene *scene, const struct interp_tensor *reference,
                  const struct interp_tensor *plain);
/* Raises the plain errors of outputs where they may be small by chance (quality_is_chance) to what
 * roundings can be expected to cause; elements of which that is not known are left out. Interprets
 * the whole graph up to four times. */
void quality_floor(struct scene *scene);

#endif
