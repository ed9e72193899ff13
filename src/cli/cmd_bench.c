/* urza bench: how long a call takes, and which share of this machine's speed that is.
 *
 * The yardstick is measured in the same run on as many threads: multiply-adds in registers, and
 * copying a working set as large as the package's. A kernel is bound by one of the two, so the
 * larger share counts. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "profile/profile.h"

#define PEAKS 2 /* measured before the calls, and as many behind them */

struct request {
    struct bundle_options open;
    struct text_list keys;
    const char *dims;
    double seconds;
};

static bool parse_request(struct cli *cli, int argc, char **argv, struct request *out,
                          struct error *err)
{
    char **words;
    *out = (struct request){.open = {.threads = 1, .keys = &out->keys}, .seconds = 1};
    const struct option_row rows[] = {
        {"dims", 0, OPTION_TEXT, "LIST", &out->dims, "B=32,S=16: sizes (default: typical ones)"},
        {"threads", 0, OPTION_COUNT, "N", &out->open.threads, "threads to use (default: 1)"},
        {"seconds", 0, OPTION_REAL, "S", &out->seconds, "how long to measure (default: 1)"},
        {"target", 0, OPTION_TEXT, "NAME", &out->open.target,
         "measure the code of this target, or the interpreter (default: the best here)"},
        {"key", 0, OPTION_LIST, "HEX", &out->keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &out->open.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, 1, 1, &words, err))
        return false;
    out->open.path = words[0];
    return true;
}

static bool measure(struct cli *cli, const struct request *request, struct profile *out,
                    struct error *err)
{
    struct trusted_keys trusted;
    const void *bytes;
    size_t size;
    if (!bundle_trusted(cli, &request->keys, &trusted, err) ||
        !bundle_read(cli, request->open.path, &bytes, &size, err))
        return false;
    const struct profile_options options = {.load = {.trust = request->open.allow_unsigned
                                                                  ? URZA_TRUST_ALLOW_UNSIGNED
                                                                  : URZA_TRUST_REQUIRE,
                                                     .trusted_keys = trusted.keys,
                                                     .trusted_key_count = trusted.count,
                                                     .threads = request->open.threads,
                                                     .target = request->open.target},
                                            .dims = request->dims,
                                            .seconds = request->seconds,
                                            .peaks = PEAKS};
    return profile_package(bytes, size, &options, cli->arena, out, err) ||
           fail_at(err, "%s", request->open.path);
}

static void print(const struct profile *profile)
{
    double gflops = profile->work.flops / profile->p50_us * 1e-3;
    double gb_per_s = profile->work.bytes / profile->p50_us * 1e-3;
    if (profile->fallback[0])
        report_lines(stderr, "urza: warning: interpreted: %s\n", profile->fallback);
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
    struct request request;
    struct profile *profile = ARENA_NEW(cli->arena, struct profile);
    if (!parse_request(cli, argc, argv, &request, err))
        return false;
    progress_begin(cli, "measuring");
    bool ok = measure(cli, &request, profile, err);
    progress_end(cli);
    if (!ok)
        return false;
    if (cli->json) {
        struct strbuf text;
        strbuf_init(&text, cli->arena);
        profile_print(profile, &text);
        report_lines(stdout, "%s\n", text.data);
    } else
        print(profile);
    return true;
}
