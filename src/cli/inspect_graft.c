/* What urza inspect says of a graft: how it blends, and the params of the seed's last layer. */
#include <stdio.h>

#include "base/error.h"
#include "cli/cli_priv.h"
#include "cli/inspect_priv.h"
#include "package/graft_spec.h"
#include "package/package.h"

static const struct graft_spec *find(struct cli *cli, const struct package_contents *contents)
{
    const struct graft_spec *spec;
    struct error none;
    return graft_spec_of(contents, cli->arena, &spec, &none) ? spec : NULL;
}

json_t *inspect_graft(struct cli *cli, const struct package_contents *contents)
{
    const struct graft_spec *spec = find(cli, contents);
    return spec ? graft_spec_json(spec) : json_null();
}

void inspect_graft_print(struct cli *cli, const struct package_contents *contents)
{
    const struct graft_spec *spec = find(cli, contents);
    if (!spec)
        return;
    report_lines(stdout, "%-9s %s blend of the seed into '" GRAFT_HOST "' by '" GRAFT_ALPHA "'",
                 "graft", graft_blend_name(spec->blend));
    if (spec->chunks > 1)
        report_lines(stdout, ", in %u chunks", spec->chunks);
    report_lines(stdout, "\n");
    for (uint32_t i = 0; i < spec->last_count; i++)
        report_lines(stdout, i == 0 ? "%-9s %s" : "%s%s", i == 0 ? "last" : ", ",
                     report_word(cli, spec->last[i]));
    if (spec->last_count > 0)
        report_lines(stdout, "\n");
}
