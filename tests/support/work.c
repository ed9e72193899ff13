#include "work.h"

#include "base/error.h"
#include "package/package.h"

/* Adds or multiplies past int64 are no operations to count: those sizes say nothing. */
static bool within_bound(const struct plan *plan, const struct plan_launch *launch,
                         const int64_t *dims, struct error *err)
{
    int64_t asked, done;
    if (launch->asked == DIM_NONE)
        return fail(err, ERR_VERIFY, "'%s' was not counted", launch->label);
    if (!dim_eval(plan->dims, launch->asked, dims, &asked) ||
        !dim_eval(plan->dims, launch->done, dims, &done))
        return true;
    return 4 * (double)done <= 5 * (double)asked ||
           fail(err, ERR_VERIFY, "'%s' does %lld operations, the graph asks for %lld",
                launch->label, (long long)done, (long long)asked);
}

static bool plan_is_bounded(const struct plan *plan, const int64_t *dims, struct error *err)
{
    for (uint32_t i = 0; i < plan->forward.count; i++)
        if (!within_bound(plan, &plan->forward.items[i], dims, err))
            return fail_at(err, "launch %u", i);
    for (uint32_t i = 0; i < plan->prepare.count; i++)
        if (!within_bound(plan, &plan->prepare.items[i], dims, err))
            return fail_at(err, "prepare launch %u", i);
    return true;
}

bool work_is_bounded(const void *package, size_t size, struct error *err)
{
    struct arena arena;
    struct package_contents contents;
    arena_init(&arena);
    bool ok = package_read(package, size, &(struct trust){TRUST_ALLOW_UNSIGNED, NULL}, &arena,
                           &contents, err);
    uint32_t names = ok ? contents.graph.dims.names.count : 0;
    for (uint32_t greatest = 0; ok && greatest < names + 2; greatest++) { /* none, each, all */
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < names; i++) {
            const struct dim_name *name = &contents.graph.dims.names.items[i];
            bool most = greatest == i + 1 || greatest == names + 1;
            dims[i] = dim_legal(name, most ? name->max : name->min);
        }
        for (uint32_t i = 0; ok && i < contents.target_count; i++)
            ok = plan_is_bounded(&contents.targets[i].plan, dims, err);
    }
    arena_release(&arena);
    return ok;
}
