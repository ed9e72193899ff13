/* The table of kinds. */
#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

static const struct kind kinds[] = {
#define KIND(name, stage, how, function, flags, damage) \
    {name, damage, MUTANT_##stage, flags, .how = function},
#include "kinds.def"
#undef KIND
};
_Static_assert(sizeof kinds / sizeof kinds[0] <= MAX_KINDS, "room for all kinds");

const struct kind *kind_at(uint32_t index)
{
    return index < sizeof kinds / sizeof kinds[0] ? &kinds[index] : NULL;
}

const char *mutant_stage_name(enum mutant_stage stage)
{
    static const char *const names[MUTANT_STAGES] = {"",      "json",  "read", "graph",
                                                     "naive", "loops", "plan", "code"};
    return names[stage];
}
