/* urza debug bisect: finds the first stage of a compilation that makes the result wrong
 * (debug/debug.h).
 *
 * A blueprint or model is first packaged without code, which gives its graph and parameters. The
 * search runs in a child, whose answer is one line of JSON; the text is printed from that. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/confine.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "compiler/compile.h"
#include "debug/debug.h"

#define SEARCH_MS 3600000

struct request {
    const char *file;
    struct text_list keys;
    struct trusted_keys trusted;
    bool allow_unsigned;
    struct bisect_request bisect;
};

/* Reads the contents of a given package, or of one made without code. */
static bool read_contents(struct cli *cli, const struct request *request, const void *bytes,
                          size_t size, struct bisect_request *bisect, struct error *err)
{
    struct package_contents *contents = ARENA_NEW(cli->arena, struct package_contents);
    const struct compile_options options = {.strategy = STRATEGY_EMERGENCY,
                                            .folder = bundle_folder(cli, request->file),
                                            .seed = request->bisect.seed};
    struct compile_result result;
    bool given = package_looks_like(bytes, size);
    if (!given) {
        if (!compile_blueprint(bytes, size, &options, cli->arena, &result, err))
            return false;
        bytes = memcpy(arena_raw(cli->arena, result.package_bytes, 64), result.package,
                       result.package_bytes);
        size = result.package_bytes;
    }
    bisect->contents = contents;
    bisect->trusted = &request->trusted;
    bisect->package = given ? bytes : NULL;
    bisect->package_bytes = given ? size : 0;
    const struct trust trust = {given && !request->allow_unsigned ? TRUST_REQUIRE
                                                                  : TRUST_ALLOW_UNSIGNED,
                                &request->trusted};
    return package_read(bytes, size, &trust, cli->arena, contents, err);
}

static json_t *describe(const struct bisect_finding *f)
{
    return json_pack("{s:b, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:i, s:i, s:i}", "found",
                     f->place != FAULT_NONE, "place", fault_place_name(f->place), "target",
                     f->target, "what", report_text(f->what), "kernel", report_text(f->kernel),
                     "detail", report_text(f->detail), "sample", report_text(f->sample),
                     "blueprint", f->blueprint ? report_text(f->blueprint) : json_null(), "again",
                     f->again, "passes", (int)f->passes, "kernels", (int)f->kernels, "too_large",
                     (int)f->too_large);
}

static bool search(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct request *request = context;
    struct bisect_request bisect = request->bisect;
    struct bisect_finding finding;
    struct strbuf text;
    const void *bytes;
    size_t size;
    if (!bundle_read(cli, request->file, &bytes, &size, err))
        return false;
    confine_calls(&(struct confinement){.processes = true,
                                        .memory_files = true,
                                        .reads = bundle_folder(cli, request->file),
                                        .closed = bundle_keys(cli)});
    if (!read_contents(cli, request, bytes, size, &bisect, err) ||
        !bisect_package(&bisect, cli->arena, &finding, err))
        return fail_at(err, "%s", request->file);
    json_t *object = describe(&finding);
    strbuf_init(&text, cli->arena);
    json_write_canonical(object, &text);
    json_decref(object);
    out->parts[0] = (struct child_part){text.data, text.size_bytes};
    return true;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_place(const json_t *object)
{
    const char *place = text_of(object, "place"), *what = text_of(object, "what");
    const char *kernel = text_of(object, "kernel"), *target = text_of(object, "target");
    if (strcmp(place, "pass") == 0)
        report_lines(stdout, "pass '%s' (%s)", what, target);
    else if (strcmp(place, "lower") == 0)
        report_lines(stdout, "lowering of kernel '%s' (%s)", kernel, target);
    else if (strcmp(place, "step") == 0)
        report_lines(stdout, "schedule step '%s' of kernel '%s' (%s)", what, kernel, target);
    else if (strcmp(place, "code") == 0 && !kernel[0])
        report_lines(stdout, "machine code, by check '%s'", what);
    else if (strcmp(place, "code") == 0)
        report_lines(stdout, "machine code of kernel '%s' (%s)", kernel, target);
    else
        report_lines(stdout, "plan: kernels are right one by one, but not check '%s'", what);
}

static void print(const json_t *object)
{
    const char *sample = text_of(object, "sample"), *blueprint = text_of(object, "blueprint");
    if (!json_is_true(json_object_get(object, "found"))) {
        report_lines(stdout, "Nothing is wrong: %lld passes, %lld kernels",
                     number_of(object, "passes"), number_of(object, "kernels"));
        if (number_of(object, "too_large") > 0)
            report_lines(stdout, " (%lld of them too large to be evaluated as loops)",
                         number_of(object, "too_large"));
        report_lines(stdout, ", their code and the package.\n");
        return;
    }
    print_place(object);
    report_lines(stdout, ": %s\n", text_of(object, "detail"));
    if (sample[0])
        report_lines(stdout, "on: %s\n", sample);
    if (!blueprint[0])
        return;
    report_lines(stdout, "%s:\n",
                 json_is_true(json_object_get(object, "again"))
                     ? "This blueprint fails, too"
                     : "Its part of the graph, which by itself is right");
    report_block(stdout, blueprint, strlen(blueprint));
}

bool cmd_debug(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request = {.file = NULL};
    struct child_answer answer;
    const char *targets = NULL;
    struct words words = {.least = 2, .most = 2};
    const struct option_row rows[] = {
        {"target", 0, OPTION_TEXT, "LIST", &targets,
         "x86-64-v4,x86-64-v3 ...; all: every target (default: the best for this machine)"},
        {"dims", 0, OPTION_TEXT, "LIST", &request.bisect.dims,
         "B=32,S=16: at these sizes (default: several)"},
        {"seed", 0, OPTION_SEED, "N", &request.bisect.seed,
         "of the random inputs, and of parameters without values (default: 0)"},
        {"key", 0, OPTION_LIST, "HEX", &request.keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &request.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err) ||
        !bundle_trusted(cli, &request.keys, &request.trusted, err))
        return false;
    if (strcmp(words.items[0], "bisect") != 0)
        return fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
    request.file = words.items[1];
    request.bisect.targets = targets ? targets : target_best_here();
    if (targets && strcmp(targets, "all") == 0)
        request.bisect.targets = NULL;
    progress_begin(cli, "searching");
    const struct isolated isolated = {search, &request, SEARCH_MS, "the search"};
    bool ok = isolated_run(cli, &isolated, &answer, err);
    progress_end(cli);
    if (!ok)
        return false;
    json_t *object = json_read(answer.parts[0].data, answer.parts[0].size_bytes, err);
    if (!object)
        return false;
    bool found = json_is_true(json_object_get(object, "found"));
    if (cli->json)
        printf("%s\n", (const char *)answer.parts[0].data);
    else
        print(object);
    json_decref(object);
    return !found || (fail(err, ERR_VERIFY, "a stage of the compilation is wrong") &
                      fail_at(err, "%s", request.file));
}
