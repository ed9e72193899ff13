/* The table of passes. */
#include <string.h>

#include "base/error.h"
#include "compiler/opt/opt_priv.h"

enum { /* sets of properties, as used in the rows */
#define PROPERTY(id, name, find, doc) id = 1u << PROPERTY_##id,
#include "compiler/opt/properties.def"
#undef PROPERTY
};

static const struct pass_row rows[] = {
#define PASS(name, function, needed, target, needs, gives, keeps, doc) \
    {name, doc, needed, target, needs, gives, keeps, function},
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

/* Those properties of `wanted` that hold. */
static uint32_t holding(const struct graph *graph, uint32_t wanted, struct arena *arena)
{
    uint32_t held = 0;
    value_id where;
    for (int p = 0; p < PROPERTY_COUNT; p++)
        if ((wanted >> p & 1) && property_holds((enum property)p, graph, arena, &where))
            held |= 1u << p;
    return held;
}

static bool check(const struct graph *graph, uint32_t wanted, const char *what, struct arena *arena,
                  struct error *err)
{
    value_id where;
    for (int p = 0; p < PROPERTY_COUNT; p++)
        if ((wanted >> p & 1) && !property_holds((enum property)p, graph, arena, &where))
            return fail(err, ERR_BUG, "%s '%s' (%s), which does not hold of %%%u", what,
                        property_name((enum property)p), property_doc((enum property)p), where);
    return true;
}

static bool run_checked(const struct pass_row *pass, struct graph *to, struct arena *arena,
                        const struct graph *from, const struct target *target, struct error *err)
{
    if (!check(from, pass->needs, "it needs", arena, err))
        return false;
    uint32_t kept = holding(from, pass->keeps, arena);
    return pass->run(to, arena, from, target, err) && graph_verify(to, err) &&
           check(to, pass->gives, "it gives", arena, err) &&
           check(to, kept, "it keeps", arena, err);
}

bool pass_run(const struct pass_row *pass, struct graph *to, struct arena *arena,
              const struct graph *from, const struct pass_setting *setting, struct error *err)
{
    bool ok = setting->checked ? run_checked(pass, to, arena, from, setting->target, err)
                               : pass->run(to, arena, from, setting->target, err);
    return ok || fail_at(err, "pass '%s'", pass->name);
}

bool partition_check(const struct graph *graph, struct arena *arena, struct error *err)
{
    return check(graph, OWNED, "it needs", arena, err) || fail_at(err, "the cut");
}
