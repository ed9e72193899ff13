/* The table of targets. */
#include "compiler/target/target.h"

#include <stddef.h>
#include <string.h>

static const struct target targets[] = {
#define TARGET(name, family, triple, cpu, features, lanes, regs, vscale, fma, f16c, l1, l2) \
    {name, family, triple, cpu, features, lanes, regs, vscale, fma, f16c, l1, l2},
#include "compiler/target/targets.def"
#undef TARGET
};

const struct target *target_at(uint32_t index)
{
    return index < sizeof targets / sizeof targets[0] ? &targets[index] : NULL;
}

const struct target *target_find(const char *name)
{
    for (uint32_t i = 0; target_at(i); i++)
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
    return NULL;
}
