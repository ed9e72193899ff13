/* What urza inspect says of specialisations: for which sizes a package has kernels of their own,
 * and how many launches of a call have one. */
#include "cli/cli_priv.h"
#include "cli/inspect_priv.h"

static json_t *sizes_json(const struct plan *plan, uint32_t special)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < plan->dims->names.count; i++) {
        int64_t value = plan->specials.items[special].values[i];
        if (value != DIM_ANY)
            json_object_set_new(object, plan->dims->names.items[i].name, json_integer(value));
    }
    return object;
}

json_t *inspect_specials(const struct package_contents *contents)
{
    json_t *list = json_array();
    for (uint32_t t = 0; t < contents->target_count; t++) {
        const struct plan *plan = &contents->targets[t].plan;
        for (uint32_t s = 0; s < plan->specials.count; s++)
            json_array_append_new(
                list, json_pack("{s:s,s:o,s:i,s:i}", "target", contents->targets[t].name, "dims",
                                sizes_json(plan, s), "launches", (int)plan->forward.count, "own",
                                (int)plan_special_count(plan, s)));
    }
    return list;
}

void inspect_specials_print(struct cli *cli, const struct package_target *target)
{
    const struct plan *plan = &target->plan;
    for (uint32_t s = 0; s < plan->specials.count; s++) {
        report_lines(stdout, "%-9s at", "");
        for (uint32_t i = 0; i < plan->dims->names.count; i++)
            if (plan->specials.items[s].values[i] != DIM_ANY)
                report_lines(stdout, " %s=%lld", report_word(cli, dim_shown(plan->dims, i)),
                             (long long)plan->specials.items[s].values[i]);
        report_lines(stdout, " %u of %u launches have kernels of their own\n",
                     plan_special_count(plan, s), plan->forward.count);
    }
}
