/* The bound on what kernels compute again, read from a package: no launch of any target does more
 * than 5/4 of the operations that the graph asks of it. */
#ifndef URZA_TESTS_SUPPORT_WORK_H
#define URZA_TESTS_SUPPORT_WORK_H

#include <stdbool.h>
#include <stddef.h>

struct error;

/* Looks at every launch where all dims are least, all are greatest, and one is greatest while the
 * others are least. False (ERR_VERIFY) names the first launch that does more, or was not counted.
 */
bool work_is_bounded(const void *package, size_t size, struct error *err);

#endif
