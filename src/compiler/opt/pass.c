/* The table of passes. */
#include <string.h>

#include "base/error.h"
#include "compiler/opt/opt_priv.h"

static const struct pass_row rows[] = {
#define PASS(name, function, needed, target, doc) {name, doc, needed, target, function},
#include "compiler/opt/passes.def"
#undef PASS
};

const struct pass_row *pass_at(uint32_t index)
{
    return index < sizeof rows / sizeof rows[0] ? &rows[index] : NULL;
}

const struct pass_row *pass_find(const char *name)
{
    for (uint32_t i = 0; pass_at(i); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

bool pass_run(const struct pass_row *pass, struct graph *to, struct arena *arena,
              const struct graph *from, const struct target *target, bool verify, struct error *err)
{
    if (!pass->run(to, arena, from, target, err) || (verify && !graph_verify(to, err)))
        return fail_at(err, "pass '%s'", pass->name);
    return true;
}
