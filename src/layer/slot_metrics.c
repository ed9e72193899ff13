/* Slots as Prometheus text. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/compiler.h"
#include "layer/slot_priv.h"

void text_put(struct bounded_text *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t left = out->size < out->room ? out->room - out->size : 0;
    int size = vsnprintf(left > 0 ? out->to + out->size : NULL, left, format, args);
    va_end(args);
    out->size += size > 0 ? (size_t)size : 0;
}

struct family {
    const char *name, *type, *help;
    double (*value)(const struct urza_slot *slot);
};

static double state_of(const struct urza_slot *slot)
{
    return slot_published(slot).state;
}

static double alpha_of(const struct urza_slot *slot)
{
    return (double)slot_published(slot).alpha;
}

static double ticks_of(const struct urza_slot *slot)
{
    return (double)atomic_load(&slot->tick_seen);
}

static double seeds_of(const struct urza_slot *slot)
{
    return atomic_load(&slot->seed_seen);
}

static double calls_of(const struct urza_slot *slot)
{
    return (double)atomic_load(&slot->counters.calls);
}

static double seed_calls_of(const struct urza_slot *slot)
{
    return (double)atomic_load(&slot->counters.seed_calls);
}

static double fallbacks_of(const struct urza_slot *slot)
{
    return (double)atomic_load(&slot->counters.fallbacks);
}

static double faults_of(const struct urza_slot *slot)
{
    return (double)atomic_load(&slot->counters.faults);
}

static const struct family families[] = {
    {"state", "gauge",
     "0 DORMANT, 1 GERMINATED, 2 TRAINING, 3 BLENDING, 4 HOLDING, 5 FOSSILIZED, "
     "6 PRUNED, 7 EMBARGOED, 8 RESETTING",
     state_of},
    {"alpha", "gauge", "How much of the seed is blended in", alpha_of},
    {"ticks_total", "counter", "Ticks", ticks_of},
    {"seeds_total", "counter", "Seeds that were planted", seeds_of},
    {"calls_total", "counter", "Forward calls", calls_of},
    {"seed_calls_total", "counter", "Forward calls that ran a seed", seed_calls_of},
    {"fallbacks_total", "counter", "Calls that gave the host's value in place of the seed's work",
     fallbacks_of},
    {"faults_total", "counter", "Faults of seeds", faults_of},
};

/* With a point, whatever the locale. */
static void put_value(struct bounded_text *out, const struct family *family,
                      const struct urza_slot *slot)
{
    char number[32];
    snprintf(number, sizeof number, "%.17g", family->value(slot));
    for (char *c = number; *c; c++)
        *c = *c == ',' ? '.' : *c;
    text_put(out, "urza_slot_%s{slot=\"%s\"} %s\n", family->name, slot->options.name, number);
}

URZA_EXPORT size_t urza_slot_metrics(urza_slot *const *slots, uint32_t count, char *text,
                                     size_t room)
{
    struct bounded_text out = {text, text ? room : 0, 0};
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        const struct family *family = &families[f];
        text_put(&out, "# HELP urza_slot_%s %s.\n# TYPE urza_slot_%s %s\n", family->name,
                 family->help, family->name, family->type);
        for (uint32_t i = 0; slots && i < count; i++)
            if (slots[i])
                put_value(&out, family, slots[i]);
    }
    return out.size;
}
