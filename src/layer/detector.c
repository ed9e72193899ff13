#include <math.h>

#include "layer/slot_priv.h"

#define WARM 20
#define RATE 0.02
#define SIGMAS 6
#define TIMES 3
#define STRIKES 3
#define ABSURD 1e150 /* whose square a double does not hold */

bool detector_observe(struct detector *d, double x)
{
    if (!(fabs(x) < ABSURD)) {
        d->strikes = 0;
        return true;
    }
    double far = d->mean + (TIMES - 1) * fabs(d->mean);
    if (d->count >= WARM && x > d->mean + SIGMAS * sqrt(d->variance) && x > far) {
        if (++d->strikes < STRIKES)
            return false;
        *d = (struct detector){0};
        return true;
    }
    d->strikes = 0;
    d->count++;
    double rate = fmax(RATE, 1 / (double)d->count), apart = x - d->mean;
    d->mean += rate * apart;
    d->variance = (1 - rate) * (d->variance + rate * apart * apart);
    return false;
}
