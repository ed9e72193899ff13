/* What verification says of a package that a test has damaged. */
#ifndef URZA_TESTS_SUPPORT_FAULT_H
#define URZA_TESTS_SUPPORT_FAULT_H

#include "package/package.h"

/* The first failure, in the arena; "" where the package passes. */
const char *case_fault(const struct package_contents *contents, struct arena *arena);

#endif
