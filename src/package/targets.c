/* Targets (feature levels), and which of them this processor supports. */
#include <string.h>

#include "base/cpu.h"
#include "package/package.h"

struct target {
    const char *name, *family;
    int rank;
    const char *features; /* separated by single spaces */
};

static const struct target targets[] = {
#define TARGET(name, family, rank, features) {name, family, rank, features},
#include "package/targets.def"
#undef TARGET
};

#define TARGET_COUNT ((uint32_t)(sizeof targets / sizeof targets[0]))

static const struct target *find(const char *name)
{
    for (uint32_t i = 0; i < TARGET_COUNT; i++)
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
    return NULL;
}

int target_rank(const char *name)
{
    const struct target *target = find(name);
    return target ? target->rank : -1;
}

const char *target_name_at(uint32_t index)
{
    return index < TARGET_COUNT ? targets[index].name : NULL;
}

bool target_of_this_family(const char *name)
{
    const struct target *target = find(name);
    return target && strcmp(target->family, cpu_family()) == 0;
}

const char *target_features(const char *name)
{
    const struct target *target = find(name);
    return target ? target->features : NULL;
}

bool target_supported_here(const char *name)
{
    const struct target *target = find(name);
    return target && strcmp(target->family, cpu_family()) == 0 && cpu_has(target->features);
}

const char *target_best_here(void)
{
    const char *best = NULL;
    for (uint32_t i = 0; target_name_at(i); i++)
        if (target_supported_here(target_name_at(i)) &&
            (!best || target_rank(target_name_at(i)) > target_rank(best)))
            best = target_name_at(i);
    return best;
}
