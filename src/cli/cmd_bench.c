/* urza bench: how long a call takes, and which share of this machine's peak that is.
 *
 * The peaks are measured in the same run, on as many threads: multiply-adds in registers, and
 * copying a working set as large as the package's. A kernel is bound by one of the two, so the
 * larger share counts. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/measuring_priv.h"
#include "profile/profile.h"

#define PEAKS 2 /* measured before the calls, and as many again after them */

static bool measure(struct cli *cli, const struct measuring *measuring, struct profile *out,
                    struct error *err)
{
    struct bundle bundle;
    struct profile_options options;
    if (!measuring_open(cli, measuring, &bundle, &options, err))
        return false;
    options.peaks = PEAKS;
    return profile_package(bundle.bytes, bundle.size_bytes, &options, cli->arena, out, err) ||
           fail_at(err, "%s", measuring->open.path);
}

static void print(const struct cli *cli, const struct profile *profile)
{
    double gflops = profile->work.flops / profile->p50_us * 1e-3;
    double gb_per_s = profile->work.bytes / profile->p50_us * 1e-3;
    if (profile->fallback[0])
        report_warning(cli, "interpreted: %s", profile->fallback);
    report_lines(stdout, "time     p50 %.2f us, p95 %.2f us, min %.2f us, %u thread%s\n",
                 profile->p50_us, profile->p95_us, profile->min_us, profile->threads,
                 profile->threads == 1 ? "" : "s");
    report_lines(stdout, "compute  %.2f GFLOP/s, this machine %.1f\n", gflops,
                 profile->peak.flops * 1e-9);
    report_lines(stdout, "memory   %.2f GB/s, this machine %.1f for as many bytes\n", gb_per_s,
                 profile->peak.bytes_per_s * 1e-9);
    report_lines(stdout, "share    %.1f %% of peak, by %s%s\n", profile->percent_of_peak,
                 profile->compute ? "compute" : "memory",
                 profile->noise ? " (noise: more than this machine showed; measure again)" : "");
}

bool cmd_bench(struct cli *cli, int argc, char **argv, struct error *err)
{
    static const struct measuring_rows rows = {
        "how long to measure (default: 1)",
        "measure the code of this target, or the interpreter (default: the best here)", NULL};
    struct measuring measuring;
    struct profile *profile = ARENA_NEW(cli->arena, struct profile);
    if (!measuring_parse(cli, argc, argv, &rows, &measuring, err))
        return false;
    progress_begin(cli, "measuring");
    bool ok = measure(cli, &measuring, profile, err);
    progress_end(cli);
    if (!ok)
        return false;
    if (cli->json) {
        struct strbuf text;
        strbuf_init(&text, cli->arena);
        profile_print(profile, &text);
        report_lines(stdout, "%s\n", text.data);
    } else
        print(cli, profile);
    return true;
}
