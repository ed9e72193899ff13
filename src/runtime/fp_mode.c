/* Hosts change the mode of floating point (flush to zero, another rounding, exceptions that end the
 * process); what a package computes must not follow. Reading MXCSR takes a nanosecond and writing
 * it a few, but reading it takes some seventy once it has changed, by writing or by a flag that
 * went up. So the usual word (the default mode, and inexact results seen before) is left alone and
 * compared behind the work; any other one is written twice and not read again. Flags are taken back
 * with the rest: the word that was there returns. */
#include "runtime/parts_priv.h"

#if URZA_HAS_MXCSR

#define CONTROL 0xffc0u /* denormals are zero, masks, rounding, flush to zero */
#define DEFAULT 0x1f80u /* all exceptions masked, to nearest */
#define INEXACT 0x0020u /* the flag that most work raises */

struct fp_mode fp_mode_begin(void)
{
    uint32_t word = URZA_MXCSR_GET();
    bool usual = (word & (CONTROL | INEXACT)) == (DEFAULT | INEXACT);
    if (!usual)
        URZA_MXCSR_SET((word & ~CONTROL) | DEFAULT);
    return (struct fp_mode){word, !usual};
}

void fp_mode_end(const struct fp_mode *before)
{
    if (before->changed || URZA_MXCSR_GET() != before->word)
        URZA_MXCSR_SET(before->word);
}

#else

struct fp_mode fp_mode_begin(void)
{
    struct fp_mode before;
    fegetenv(&before.environment);
    fesetenv(FE_DFL_ENV);
    return before;
}

void fp_mode_end(const struct fp_mode *before)
{
    fesetenv(&before->environment);
}

#endif
