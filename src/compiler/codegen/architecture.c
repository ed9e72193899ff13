/* The table of processor families. */
#include "compiler/codegen/architecture.h"

#include <stddef.h>
#include <string.h>

static const struct architecture *const all[] = {&architecture_x86_64, &architecture_aarch64,
                                                 &architecture_riscv64};

const struct architecture *architecture_at(size_t index)
{
    return index < sizeof all / sizeof all[0] ? all[index] : NULL;
}

const struct architecture *architecture_find(const char *family)
{
    for (size_t i = 0; architecture_at(i); i++)
        if (strcmp(all[i]->family, family) == 0)
            return all[i];
    return NULL;
}
