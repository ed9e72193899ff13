/* urza compile: compiles a blueprint to a package by the pipeline (build/build.h).
 *
 * The file is written last and atomically: after a failure an old file is unchanged. Configs that
 * were measured on this machine before are used; with the strategy `aggressive` the others are
 * measured now. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/board.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "build/build.h"
#include "cli/cli_priv.h"
#include "cli/inspect_priv.h"
#include "cli/tuning_priv.h"
#include "tuner/tuner.h"

#define NS_PER_MS 1e6
#define THREADS_MOST 8
#define PEAK_MB_MOST 1e9
#define TUNE_SECONDS 60.0
#define KERNEL_SECONDS 3.0
#define TUNE_SECONDS_MAX 1e6
#define TIMEOUT_SECONDS 600.0 /* for compiling, and again for verifying */
#define TIMEOUT_SECONDS_MAX 1e6

struct request {
    const char *file, *out, *targets, *strategy_text, *dims, *dump, *dump_all, *cache, *wrt;
    const char *step, *loss, *graft;
    struct given given;
    struct text_list specialise;
    uint64_t seed;
    bool is_unsigned, no_cache, record, degrade, backward, training;
    double tune_s;  /* 0: do not measure */
    double peak_mb; /* 0: not given */
    double timeout_s;
    enum strategy strategy;
};

struct outcome {
    struct build_result built;
    const char *warnings; /* a copy of built.compiled.warnings, which is freed earlier; ends with an
                             empty text */
    const char *again;    /* lines on what a backward pass computes again; "" where it does not */
};

/* Whether level is one of the names in DUMP_LEVELS. */
static bool dump_level_ok(const char *level)
{
    size_t size = strlen(level);
    for (const char *at = DUMP_LEVELS;; at++) {
        size_t length = strcspn(at, "|");
        if (length == size && memcmp(at, level, size) == 0)
            return true;
        at += length;
        if (*at == '\0')
            return false;
    }
}

/* How many threads generate code. */
static uint32_t threads_here(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > THREADS_MOST ? THREADS_MOST : cores > 1 ? (uint32_t)cores : 1;
}

/* Options that go together, and defaults. */
static bool check_request(struct request *request, struct error *err)
{
    request->strategy = strategy_from_name(request->strategy_text);
    if (request->strategy == STRATEGY_NONE)
        return fail(err, ERR_USAGE, "'%s' is no strategy: standard, aggressive, fast or emergency",
                    request->strategy_text);
    if (request->strategy == STRATEGY_AGGRESSIVE && !(request->tune_s > 0))
        request->tune_s = TUNE_SECONDS;
    else if (request->strategy != STRATEGY_AGGRESSIVE && request->tune_s > 0)
        return fail(err, ERR_USAGE, "--tune goes with --strategy aggressive");
    if (request->tune_s > TUNE_SECONDS_MAX)
        return fail(err, ERR_USAGE, "--tune: at most %g s", TUNE_SECONDS_MAX);
    if (!(request->timeout_s > 0))
        request->timeout_s = TIMEOUT_SECONDS;
    if (request->timeout_s > TIMEOUT_SECONDS_MAX)
        return fail(err, ERR_USAGE, "--timeout: at most %g s", TIMEOUT_SECONDS_MAX);
    if (request->wrt && !request->backward && !request->step)
        return fail(err, ERR_USAGE, "--wrt goes with --backward or --step");
    if (request->peak_mb > 0 && request->step)
        return fail(
            err, ERR_USAGE,
            "--memory goes with --backward: a whole step computes nothing twice to keep to a "
            "budget ('urza inspect --memory' shows what it takes)");
    if (request->peak_mb > 0 && !request->backward)
        return fail(err, ERR_USAGE, "--memory goes with --backward");
    if (request->peak_mb > PEAK_MB_MOST)
        return fail(err, ERR_USAGE, "--memory: at most %g MB", PEAK_MB_MOST);
    if (request->training && !request->backward && !request->step)
        return fail(err, ERR_USAGE, "--training goes with --backward or --step");
    if (request->loss && !request->step)
        return fail(err, ERR_USAGE, "--loss goes with --step");
    if (request->step && request->backward)
        return fail(err, ERR_USAGE, "--step has its own backward pass: leave --backward out");
    if (request->step && request->graft)
        return fail(err, ERR_USAGE,
                    "--graft goes with --backward: a whole step of a graft alone has no loss");
    if (request->specialise.texts.count > 0 && request->strategy == STRATEGY_EMERGENCY)
        return fail(err, ERR_USAGE, "--specialise makes kernels: --strategy emergency has none");
    if (request->targets && strcmp(request->targets, "native") == 0)
        request->targets = target_best_here();
    if (request->no_cache)
        request->cache = NULL;
    if (request->dump && request->dump_all)
        return fail(err, ERR_USAGE, "--dump and --dump-all exclude each other");
    if (request->dump && !dump_level_ok(request->dump))
        return fail(err, ERR_USAGE, "'%s' is no level to dump: " DUMP_LEVELS, request->dump);
    return true;
}

static bool parse_request(struct cli *cli, int argc, char **argv, struct request *out,
                          struct error *err)
{
    struct words words = {.least = 1, .most = 1};
    struct request request = {.strategy_text = "standard", .cache = cli->cache};
    const struct option_row rows[] = {
        {"output", 'o', OPTION_TEXT, "OUT", &request.out,
         "the package to write (default: FILE.urza in this folder, without FILE's ending)"},
        {"target", 0, OPTION_TEXT, "LIST", &request.targets,
         "x86-64-v4,x86-64-v3 ...: code for these only; native: for this machine (default: all)"},
        {"strategy", 0, OPTION_TEXT, "NAME", &request.strategy_text,
         "standard: verified; aggressive: also measured; fast: not verified; emergency: no code "
         "(default: standard)"},
        {"tune", 0, OPTION_REAL, "SECONDS", &request.tune_s,
         "aggressive: for measuring all kernels together (default: 60)"},
        {"timeout", 0, OPTION_REAL, "SECONDS", &request.timeout_s,
         "at most so long for compiling, and again for verifying (default: 600)"},
        {"record", 0, OPTION_FLAG, NULL, &request.record,
         "keep the kernels for urza tune --recorded"},
        {"backward", 0, OPTION_FLAG, NULL, &request.backward,
         "add a training step: forward_train and backward"},
        {"wrt", 0, OPTION_TEXT, "LIST", &request.wrt,
         "--backward: x,params: gradients of these inputs and parameters (default: of all floats); "
         "--step: train these (default: params)"},
        {"memory", 0, OPTION_REAL, "MB", &request.peak_mb,
         "--backward: for temporaries at typical sizes, at most; more is then computed again"},
        {"training", 0, OPTION_FLAG, NULL, &request.training,
         "--backward, --step: in training mode, with dropout and statistics of the batch"},
        {"step", 0, OPTION_TEXT, "OPTIMIZER", &request.step,
         "compile a whole training step: adamw, or \"sgd(momentum=0.9, clip_norm=1)\" ..."},
        {"loss", 0, OPTION_TEXT, "LOSS", &request.loss,
         "--step: an output, or an operation on one: \"cross_entropy(logits)\" (default: loss)"},
        {"graft", 0, OPTION_TEXT, "BLEND[/N]", &request.graft,
         "a graft: the block blended into a host's value h by residual, lerp, multiply or gate; "
         "with N, one block for each of N chunks of h's features"},
        GIVEN_ROWS(&request.given),
        {"specialise", 0, OPTION_LIST, "LIST", &request.specialise,
         "B=1,S=128: make kernels for these sizes, too; again and again"},
        {"specialize", 0, OPTION_LIST, "LIST", &request.specialise, "the same"},
        {"verify-dims", 0, OPTION_TEXT, "LIST", &request.dims,
         "B=32,S=16: verify at these sizes (default: several)"},
        {"dims", 0, OPTION_TEXT, "LIST", &request.dims, "the same, as verify and bench call it"},
        {"dump", 0, OPTION_TEXT, "LEVEL", &request.dump,
         "print " DUMP_LEVELS "; with --backward of the step, too"},
        {"dump-all", 0, OPTION_TEXT, "DIR", &request.dump_all,
         "write every level to files in DIR, and index.html, which shows kernels side by side"},
        {"seed", 0, OPTION_SEED, "N", &request.seed,
         "of parameters that the blueprint gives no values (default: 0)"},
        {"degrade", 0, OPTION_FLAG, NULL, &request.degrade,
         "where optimising or generating code fails, do without, and say so"},
        {"unsigned", 0, OPTION_FLAG, NULL, &request.is_unsigned, "do not sign the package"},
        {"cache-dir", 0, OPTION_TEXT, "DIR", &request.cache,
         "where compiled code is kept and found again (default: see urza --help)"},
        {"no-cache", 0, OPTION_FLAG, NULL, &request.no_cache, "compile everything anew"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    request.file = words.items[0];
    if (!check_request(&request, err))
        return false;
    *out = request;
    return (!request.out && (request.dump || request.dump_all)) ||
           bundle_output(cli, request.file, ".urza", &out->out, err);
}

static bool open_key(void *context, struct signing_key *out, struct error *err)
{
    const struct cli *cli = context;
    return keys_open(cli->home, out, err);
}

static void show_step(void *context, enum build_step step)
{
    struct cli *cli = context;
    if (step == BUILD_SIGN)
        progress_end(cli);
    else
        board_put(cli->shown.board, step == BUILD_VERIFY ? BOARD_VERIFY : BOARD_READ, 0, 0);
}

/* Checks the key before compiling, so that an unusable one is reported at once. */
static bool check_key(struct cli *cli, const struct request *request, struct error *err)
{
    if (request->is_unsigned)
        return true;
    if (!cli->home)
        return fail(err, ERR_USAGE, "no folder for keys: set URZA_HOME, or compile --unsigned");
    bool ok = keys_open(cli->home, &cli->key, err);
    OPENSSL_cleanse(&cli->key, sizeof cli->key);
    return ok;
}

/* Opens the user's tuner, if it has or makes measurements; NULL: the heuristics choose. */
static bool open_tuner(struct cli *cli, const struct request *request, urza_tuner **out,
                       struct error *err)
{
    bool measures = request->tune_s > 0;
    double share_s = request->tune_s / 8; /* otherwise the first kernels would use all of the time
                                           */
    urza_tuner_options options = {.policy = measures ? URZA_TUNE_AUTOTUNE : URZA_TUNE_HEURISTIC,
                                  .budget_s = share_s < KERNEL_SECONDS ? share_s : KERNEL_SECONDS,
                                  .total_s = request->tune_s,
                                  .record = request->record,
                                  .user = cli};
    *out = NULL;
    if (!measures && !request->record && (!cli->cache || request->no_cache))
        return true;
    if (!tuning_open(cli, &options, out, err))
        return false;
    if (!measures && !request->record && !tuner_knows_any(*out)) {
        urza_tuner_close(*out);
        *out = NULL;
    }
    return true;
}

/* Adds to the error that a package which failed verification is not written. */
static void forbid(struct error *err)
{
    struct error was = *err;
    fail(err, ERR_VERIFY, "%s; the package is not written", was.message);
    fail_at(err, "%s", was.place);
}

static const char *copy_warnings(struct arena *arena, const struct compile_result *compiled)
{
    char *copy = arena_alloc(arena, compiled->warnings_bytes + 2, 1);
    if (compiled->warnings_bytes > 0)
        memcpy(copy, compiled->warnings, compiled->warnings_bytes);
    return copy;
}

static const char *again_text(struct cli *cli, const struct request *request,
                              const struct build_result *built)
{
    struct strbuf text;
    strbuf_init(&text, cli->arena);
    strbuf_puts(&text, "");
    if (built->package && request->peak_mb > 0)
        inspect_again(cli, built->package, built->package_bytes, &text);
    return text.size_bytes > 0 ? text.data : "";
}

static bool compile(struct cli *cli, const struct request *request, struct outcome *out,
                    struct error *err)
{
    struct outcome outcome;
    const char *text = NULL;
    size_t size = 0;
    urza_tuner *tuner;
    const struct import_tensor *known;
    uint32_t known_count;
    if (!bundle_read_source(cli, request->file, &text, &size, err) ||
        !given_known(cli, &request->given, &known, &known_count, err) ||
        !check_key(cli, request, err) || !open_tuner(cli, request, &tuner, err))
        return false;
    struct config_chooser chooser = tuner_chooser(tuner);
    /* A cache in the child's memory would be lost, so only the folder matters. */
    struct cache *cache =
        request->cache ? cache_new(&(struct cache_options){.folder = request->cache}) : NULL;
    struct build_request build = {
        .source = text,
        .size = size,
        .compile = {.targets = request->targets,
                    .strategy = request->strategy,
                    .seed = request->seed,
                    .backward = request->backward,
                    .training = request->training,
                    .wrt = request->wrt,
                    .threads = threads_here(),
                    .peak_bytes = (int64_t)(1e6 * request->peak_mb),
                    .step = request->step,
                    .loss = request->loss,
                    .graft = request->graft,
                    .folder = bundle_folder(cli, request->file),
                    .dims = given_lines(cli, &request->given.dims),
                    .specialise = given_lines(cli, &request->specialise),
                    .known = known,
                    .known_count = known_count,
                    .dump = request->dump_all ? DUMP_ALL : request->dump,
                    .cache = cache,
                    .chooser = tuner ? &chooser : NULL,
                    .board = cli->shown.board,
                    .timeout_ms = (uint32_t)(1e3 * request->timeout_s + 2e3 * request->tune_s)},
        .dims = request->dims,
        .degrade = request->degrade,
        .unchecked = !request->out,
        .closed = bundle_keys(cli),
        .open_key = request->is_unsigned || !request->out ? NULL : open_key,
        .on_step = show_step,
        .context = cli};
    struct build_result *built = &outcome.built;
    bool ok = build_run(&build, cli->arena, built, err);
    if (!ok && err->code == ERR_VERIFY)
        forbid(err);
    if (ok && request->out)
        ok = file_write_atomic(request->out, built->package, built->package_bytes, 0644, err);
    if (ok && request->dump_all)
        ok = dump_all_write(cli, request->dump_all,
                            built->compiled.dump ? built->compiled.dump : "", err);
    if (ok) {
        outcome.warnings = copy_warnings(cli->arena, &built->compiled);
        outcome.again = again_text(cli, request, built);
        build_release(&build, built);
        *out = outcome;
    }
    cache_free(cache);
    urza_tuner_close(tuner);
    return ok;
}

static json_t *describe_degraded(const struct build_result *built)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < built->degraded_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "what", built->degraded[i].what, "why",
                                              report_text(built->degraded[i].why)));
    return list;
}

static json_t *describe(const struct request *request, const struct outcome *outcome,
                        double total_ms)
{
    const struct compile_result *compiled = &outcome->built.compiled;
    json_t *object = json_object(), *stages = json_object(), *warnings = json_array();
    for (int i = 0; i < STAGE_COUNT; i++)
        json_object_set_new(stages, stage_name((enum stage)i),
                            report_number(compiled->stages_ms[i]));
    if (outcome->built.verify_ms >= 0)
        json_object_set_new(stages, "verify", report_number(outcome->built.verify_ms));
    for (const char *at = outcome->warnings; *at != '\0'; at += strlen(at) + 1)
        json_array_append_new(warnings, report_text(at));
    json_object_set_new(object, "kernel_id", json_string(compiled->kernel_id));
    json_object_set_new(object, "path", request->out ? report_text(request->out) : json_null());
    json_object_set_new(object, "size_bytes",
                        json_integer((json_int_t)outcome->built.package_bytes));
    json_object_set_new(object, "kernels", json_integer(compiled->kernels));
    json_object_set_new(object, "generated", json_integer(compiled->generated));
    json_object_set_new(object, "from_cache", json_boolean(compiled->found != CACHE_NONE));
    json_object_set_new(object, "stages_ms", stages);
    json_object_set_new(object, "total_ms", report_number(total_ms));
    json_object_set_new(object, "warnings", warnings);
    json_object_set_new(object, "degraded", describe_degraded(&outcome->built));
    if (request->dump)
        json_object_set_new(object, "dump", report_text(compiled->dump ? compiled->dump : ""));
    if (request->dump_all)
        json_object_set_new(object, "dump_all", report_text(request->dump_all));
    return object;
}

static void print(const struct cli *cli, const struct request *request,
                  const struct outcome *outcome, double total_ms)
{
    const struct compile_result *compiled = &outcome->built.compiled;
    for (const char *at = outcome->warnings; *at != '\0'; at += strlen(at) + 1)
        report_warning(cli, "%s", at);
    for (uint32_t i = 0; i < outcome->built.degraded_count; i++)
        report_warning(cli, "without %s: %s", outcome->built.degraded[i].what,
                       outcome->built.degraded[i].why);
    if (request->dump && compiled->dump)
        report_block(stdout, compiled->dump, strlen(compiled->dump));
    if (request->dump_all)
        report_lines(stdout, "%s/index.html\n", request->dump_all);
    if (!request->out || request->dump)
        return;
    report_lines(stdout, "%s\n%s: %zu bytes, %u kernels, %.1f ms%s\n", compiled->kernel_id,
                 request->out, outcome->built.package_bytes, compiled->kernels, total_ms,
                 outcome->built.verify_ms >= 0 ? ", verified" : "");
    report_block(stdout, outcome->again, strlen(outcome->again));
}

bool cmd_compile(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request = {.file = NULL};
    struct outcome outcome;
    if (!parse_request(cli, argc, argv, &request, err))
        return false;
    uint64_t begin = clock_ns();
    progress_begin(cli, "compiling");
    bool ok = compile(cli, &request, &outcome, err);
    progress_end(cli);
    if (!ok)
        return false;
    double total_ms = (double)(clock_ns() - begin) / NS_PER_MS;
    if (cli->json)
        report_json(describe(&request, &outcome, total_ms));
    else
        print(cli, &request, &outcome, total_ms);
    return true;
}
