/* Names that people may have meant, for errors about a name that there is not. Nothing is kept; any
 * thread. */
#ifndef URZA_BASE_NEAREST_H
#define URZA_BASE_NEAREST_H

#include <stdbool.h>
#include <stdint.h>

/* Whether `given` is rather a than b: a name that it begins is nearer than one that is spelled
 * otherwise; of others that with the smaller edit distance, of two such b. */
bool name_is_nearer(const char *given, const char *a, const char *b);
/* The name nearest to `given`. name_at returns the names, at least one, and NULL after the last. */
const char *name_nearest(const char *given, const char *(*name_at)(uint32_t index));

#endif
