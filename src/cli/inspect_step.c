/* What urza inspect says of a package of a whole training step: the loss, the optimizer, what is
 * trained. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "cli/inspect_priv.h"
#include "package/package.h"
#include "package/step_spec.h"

const struct step_spec *inspect_spec(struct cli *cli, const struct package_contents *contents)
{
    const struct step_spec *spec;
    struct error none;
    return step_spec_of(contents, cli->arena, &spec, &none) ? spec : NULL;
}

json_t *inspect_step(struct cli *cli, const struct package_contents *contents)
{
    const struct step_spec *spec = inspect_spec(cli, contents);
    return spec ? step_spec_json(spec) : json_null();
}

static void print_names(struct cli *cli, const char *role, const char *const *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        report_lines(stdout, i == 0 ? "%-9s %s" : "%s%s", i == 0 ? role : ", ",
                     report_word(cli, names[i]));
    if (count > 0)
        report_lines(stdout, "\n");
}

static void print_options(const struct step_spec *spec)
{
    if (spec->clip_norm > 0)
        report_lines(stdout, "%-9s the norm of all gradients is at most %g\n", "clipping",
                     spec->clip_norm);
    if (strcmp(spec->schedule, "constant") != 0)
        report_lines(stdout, "%-9s %s, %g steps, %g of them warm-up, down to %g of lr\n",
                     "schedule", spec->schedule, spec->steps, spec->warmup, spec->floor);
    else if (spec->warmup > 0)
        report_lines(stdout, "%-9s constant behind %g steps of warm-up\n", "schedule",
                     spec->warmup);
    if (spec->dynamic_scale)
        report_lines(stdout, "%-9s dynamic\n", "scale");
    else if (spec->loss_scale > 0)
        report_lines(stdout, "%-9s %g times the loss\n", "scale", spec->loss_scale);
}

void inspect_step_print(struct cli *cli, const struct package_contents *contents)
{
    const struct step_spec *spec = inspect_spec(cli, contents);
    if (!spec)
        return;
    report_lines(stdout, "%-9s a whole training step\n", "step");
    report_lines(stdout, "%-9s %s\n", "loss", report_word(cli, spec->loss));
    report_lines(stdout, "%-9s %s", "optimizer", report_word(cli, spec->optimizer));
    for (uint32_t i = 0; i < spec->attr_count; i++)
        report_lines(stdout, "%s%s=%.12g", i == 0 ? "  " : " ",
                     report_word(cli, spec->attrs[i].name), spec->attrs[i].value);
    report_lines(stdout, "\n");
    print_options(spec);
    if (spec->training)
        report_lines(stdout, "%-9s training: dropout, statistics of the batch\n", "mode");
    print_names(cli, "trained", spec->trained, spec->trained_count);
    print_names(cli, "frozen", spec->frozen, spec->frozen_count);
    print_names(cli, "running", spec->running, spec->running_count);
}
