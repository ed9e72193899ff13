#include <math.h>

#include "base/cpu.h"
#include "layer/rollout_priv.h"

#define SLOWER 1.05
#define E_MOST 1000.0
#define P_GOOD 1e-4 /* failures of a call */
#define P_BAD 1e-3
#define ALPHA 0.01      /* a good one is rolled back */
#define BETA 0.05       /* a bad one goes on */
#define JUDGED_LEAST 20 /* results, to go on */
#define HALF_WORD 32
#define LN_PI 1.1447298858494002

/* What is added later is read first, so that it is never more than what it is a part of. */
struct counted counts_read(const struct counts *counts)
{
    struct counted out = {.judged = atomic_load(&counts->judged),
                          .failures = atomic_load(&counts->failures),
                          .no_slower = atomic_load(&counts->no_slower)};
    uint64_t pairs = atomic_load(&counts->pairs);
    out.challenger_calls = atomic_load(&counts->challenger_calls);
    out.pairs = pairs >> HALF_WORD;
    out.slower = (uint32_t)pairs;
    return out;
}

void counts_write(struct counts *counts, const struct counted *from)
{
    atomic_store(&counts->pairs, from->pairs << HALF_WORD | from->slower);
    atomic_store(&counts->no_slower, from->no_slower);
    atomic_store(&counts->challenger_calls, from->challenger_calls);
    atomic_store(&counts->failures, from->failures);
    atomic_store(&counts->judged, from->judged);
}

static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

static double log_e(uint64_t pairs, uint64_t slower)
{
    double n = (double)pairs, s = (double)slower;
    return n * M_LN2 + log_gamma(0.5 + s) + log_gamma(0.5 + n - s) - log_gamma(1 + n) - LN_PI;
}

/* The logarithm of the likelihood of 1 failure in 1,000 over that of 1 in 10,000. */
static double log_failures(uint64_t calls, uint64_t failures)
{
    return (double)failures * log(P_BAD / P_GOOD) +
           (double)(calls - failures) * log((1 - P_BAD) / (1 - P_GOOD));
}

/* The functions below compute in the default floating-point mode, whatever the host's is. */

double evidence_log_e(uint64_t pairs, uint64_t slower)
{
    struct cpu_fp before;
    cpu_fp_begin(&before);
    double result = log_e(pairs, slower);
    cpu_fp_end(&before);
    return result;
}

enum alarm counts_add_pair(struct counts *counts, uint64_t champion_ns, uint64_t challenger_ns)
{
    struct cpu_fp before;
    cpu_fp_begin(&before);
    bool slower = (double)challenger_ns > SLOWER * (double)champion_ns;
    uint64_t one = (uint64_t)1 << HALF_WORD | slower;
    uint64_t pairs = atomic_fetch_add(&counts->pairs, one) + one;
    if (challenger_ns <= champion_ns)
        atomic_fetch_add(&counts->no_slower, 1);
    uint64_t n = pairs >> HALF_WORD, s = (uint32_t)pairs;
    bool alarm = 2 * s > n && log_e(n, s) >= log(E_MOST);
    cpu_fp_end(&before);
    return alarm ? ALARM_SLOWER : ALARM_NONE;
}

enum alarm counts_add_call(struct counts *counts, bool failed)
{
    uint64_t calls = atomic_fetch_add(&counts->challenger_calls, 1) + 1;
    if (!failed)
        return ALARM_NONE;
    uint64_t failures = atomic_fetch_add(&counts->failures, 1) + 1;
    struct cpu_fp before;
    cpu_fp_begin(&before);
    bool alarm = log_failures(calls, failures) >= log((1 - BETA) / ALPHA);
    cpu_fp_end(&before);
    return alarm ? ALARM_FAILS : ALARM_NONE;
}

bool evidence_suffices(const struct counted *now, const struct counted *from, uint32_t pairs,
                       bool with_failures)
{
    struct cpu_fp before;
    uint64_t n = now->pairs - from->pairs, no_slower = now->no_slower - from->no_slower;
    cpu_fp_begin(&before);
    double failures = log_failures(now->challenger_calls - from->challenger_calls,
                                   now->failures - from->failures);
    bool accepted = failures <= log(BETA / (1 - ALPHA));
    cpu_fp_end(&before);
    return n >= pairs && 2 * no_slower >= n &&
           now->judged - from->judged >= (pairs < JUDGED_LEAST ? pairs : JUDGED_LEAST) &&
           (!with_failures || accepted);
}
