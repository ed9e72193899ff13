/* Inside the loader: whether the registry is asked at all, and a module's first call. */
#ifndef URZA_CLIENT_LOADER_PRIV_H
#define URZA_CLIENT_LOADER_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "urza/run.h"

/* breaker.c: a circuit breaker. Not for several threads at once; times are of clock_ns. */
struct breaker {
    uint32_t failures_most;
    uint64_t pause_ns;   /* the first one */
    uint32_t failures;   /* in a row */
    uint64_t open_until; /* behind so many failures nothing is tried before */
    bool trying;         /* behind a pause one alone tries */
};
/* Whether one may try now; then breaker_report must follow. */
bool breaker_allows(struct breaker *breaker, uint64_t now);
void breaker_report(struct breaker *breaker, bool reached, uint64_t now);

/* warm.c: calls the module on drawn inputs of its typical size, or the smallest where that is
 * large. Pages, shapes and working memory are there afterwards. Nothing is done where there is no
 * native code, or not enough memory; false, with *err, where the call fails. */
bool warm_module(urza_module *module, urza_error *err);

#endif
