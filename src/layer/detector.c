#include <math.h>

#include "layer/slot_priv.h"

#define WARM 20
#define RATE 0.02
#define SIGMAS 6
#define TIMES 3
#define STRIKES 3

bool detector_observe(struct detector *d, double x)
{
    if (!isfinite(x)) {
        d->strikes = 0;
        return true;
    }
    if (d->count >= WARM && x > d->mean + SIGMAS * sqrt(d->variance) && x > TIMES * d->mean) {
        bool alarm = ++d->strikes >= STRIKES;
        d->strikes = alarm ? 0 : d->strikes;
        return alarm;
    }
    d->strikes = 0;
    d->count++;
    double rate = fmax(RATE, 1 / (double)d->count), apart = x - d->mean;
    d->mean += rate * apart;
    d->variance = (1 - rate) * (d->variance + rate * apart * apart);
    return false;
}
