#include "client/loader_priv.h"

#define DOUBLINGS 6

bool breaker_allows(struct breaker *breaker, uint64_t now)
{
    if (breaker->failures < breaker->failures_most)
        return true;
    if (breaker->trying || now < breaker->open_until)
        return false;
    breaker->trying = true;
    return true;
}

void breaker_report(struct breaker *breaker, bool reached, uint64_t now)
{
    breaker->trying = false;
    if (reached) {
        breaker->failures = 0;
        return;
    }
    if (breaker->failures < UINT32_MAX)
        breaker->failures++;
    if (breaker->failures < breaker->failures_most)
        return;
    uint32_t further = breaker->failures - breaker->failures_most;
    breaker->open_until = now + (breaker->pause_ns << (further < DOUBLINGS ? further : DOUBLINGS));
}
