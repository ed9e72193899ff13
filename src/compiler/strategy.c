/* Names of strategies and stages, and the compiler's version. */
#include <string.h>

#include "compiler/codegen/codegen.h"
#include "compiler/compile.h"

static const char *const strategies[STRATEGY_COUNT] = {"", "emergency", "fast", "standard",
                                                       "aggressive"};
static const char *const stages[STAGE_COUNT] = {"read",     "optimise", "lower",
                                                "schedule", "codegen",  "package"};

const char *strategy_name(enum strategy strategy)
{
    return strategies[strategy];
}

enum strategy strategy_from_name(const char *name)
{
    for (int i = 1; i < STRATEGY_COUNT; i++)
        if (strcmp(strategies[i], name) == 0)
            return (enum strategy)i;
    return STRATEGY_NONE;
}

const char *stage_name(enum stage stage)
{
    return stages[stage];
}

const char *compiler_version(void)
{
    return "urza " URZA_VERSION " (" CODEGEN_BACKEND ")";
}
