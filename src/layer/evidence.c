#include <math.h>

#include "layer/rollout_priv.h"

#define SLOWER 1.05
#define E_MOST 1000.0
#define P_GOOD 1e-4 /* failures of a call */
#define P_BAD 1e-3
#define ALPHA 0.01 /* a good one is rolled back */
#define BETA 0.05  /* a bad one goes on */
#define HALF_WORD 32
#define LN_PI 1.1447298858494002

struct counted counts_read(const struct counts *counts)
{
    uint64_t pairs = atomic_load(&counts->pairs);
    return (struct counted){pairs >> HALF_WORD, (uint32_t)pairs, atomic_load(&counts->no_slower),
                            atomic_load(&counts->challenger_calls), atomic_load(&counts->failures)};
}

static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

double evidence_log_e(uint64_t pairs, uint64_t slower)
{
    double n = (double)pairs, s = (double)slower;
    return n * M_LN2 + log_gamma(0.5 + s) + log_gamma(0.5 + n - s) - log_gamma(1 + n) - LN_PI;
}

double evidence_log_failures(uint64_t calls, uint64_t failures)
{
    return (double)failures * log(P_BAD / P_GOOD) +
           (double)(calls - failures) * log((1 - P_BAD) / (1 - P_GOOD));
}

enum alarm counts_add_pair(struct counts *counts, uint64_t champion_ns, uint64_t challenger_ns)
{
    bool slower = (double)challenger_ns > SLOWER * (double)champion_ns;
    uint64_t one = (uint64_t)1 << HALF_WORD | slower;
    uint64_t pairs = atomic_fetch_add(&counts->pairs, one) + one;
    if (challenger_ns <= champion_ns)
        atomic_fetch_add(&counts->no_slower, 1);
    uint64_t n = pairs >> HALF_WORD, s = (uint32_t)pairs;
    return 2 * s > n && evidence_log_e(n, s) >= log(E_MOST) ? ALARM_SLOWER : ALARM_NONE;
}

enum alarm counts_add_call(struct counts *counts, bool failed)
{
    uint64_t calls = atomic_fetch_add_explicit(&counts->challenger_calls, 1, memory_order_relaxed);
    if (!failed)
        return ALARM_NONE;
    uint64_t failures = atomic_fetch_add(&counts->failures, 1) + 1;
    return evidence_log_failures(calls + 1, failures) >= log((1 - BETA) / ALPHA) ? ALARM_FAILS
                                                                                 : ALARM_NONE;
}

bool evidence_suffices(const struct counted *now, const struct counted *from, uint32_t pairs,
                       bool with_failures)
{
    uint64_t n = now->pairs - from->pairs, no_slower = now->no_slower - from->no_slower;
    double failures = evidence_log_failures(now->challenger_calls - from->challenger_calls,
                                            now->failures - from->failures);
    return n >= pairs && 2 * no_slower >= n &&
           (!with_failures || failures <= log(BETA / (1 - ALPHA)));
}
