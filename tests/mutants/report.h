/* What came of the mutants: a table by kind, the survivors, or all of it as JSON. */
#ifndef URZA_TESTS_MUTANTS_REPORT_H
#define URZA_TESTS_MUTANTS_REPORT_H

#include "mutants.h"

struct results {
    struct arena *arena;
    VEC(struct mutant) mutants;
    uint32_t left_out; /* for want of time */
};

/* Of the mutants that change something: how many were caught, 0 … 1. */
double results_share(const struct results *results);
void results_print(const struct results *results);
void results_print_json(const struct results *results);

#endif
