/* An attempt compiles and verifies. If it fails because of the compiler, further attempts leave
 * something out. The first that succeeds is signed. */
#include "build/build.h"

#include <openssl/crypto.h>
#include <setjmp.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "build/spawner.h"
#include "build/order.h"

const char *build_step_name(enum build_step step)
{
    static const char *const names[] = {"", "compiling", "verifying", "signing"};
    return names[step];
}

static bool is_cancelled(const struct build_request *request)
{
    return request->cancelled && atomic_load(request->cancelled);
}

static bool begin_step(const struct build_request *request, enum build_step step, struct error *err)
{
    if (is_cancelled(request))
        return fail(err, ERR_CANCELLED, "cancelled");
    if (request->on_step)
        request->on_step(request->context, step);
    return true;
}

static bool run_order(const struct build_request *request, const struct work_order *work,
                      const char *who, struct arena *arena, struct child_answer *out,
                      struct error *err)
{
    struct child_exit end =
        request->spawner ? spawner_run(request->spawner, work, request->cancelled, arena, out, err)
                         : order_run(work, arena, out, err);
    return end.end == CHILD_DONE || child_fail(end, &work->limits, who, ERR_COMPILER_DIED, err);
}

static bool compile(const struct build_request *request, const struct compile_options *options,
                    struct arena *arena, struct build_result *result, struct error *err)
{
    struct compile_result *out = &result->compiled;
    struct work_order work;
    struct child_answer answer;
    if (options->chooser || options->observer) /* these callbacks need this process's memory */
        return compile_isolated(request->source, request->size, options, arena, out, err);
    result->tuned = NULL;
    const struct compile_order order = {
        .source = request->source,
        .size = request->size,
        .options = options,
        .tune_s = options->strategy == STRATEGY_AGGRESSIVE && !options->plain ? request->tune_s : 0,
        .cache_folder = options->cache ? cache_folder(options->cache) : NULL,
        .closed = request->closed};
    order_compile(&order, arena, &work);
    work.board = options->board;
    if (!run_order(request, &work, "the compiler", arena, &answer, err) ||
        !compile_take_answer(&answer, out, err))
        return false;
    result->tuned = order_take_tuned(&answer);
    result->peak_bytes = answer.peak_bytes;
    return true;
}

static bool verify(const struct build_request *request, struct build_result *result,
                   struct arena *arena, struct error *err)
{
    uint32_t timeout_s = (request->compile.timeout_ms + 999) / 1000;
    const struct verify_options options = {.seed = request->compile.seed,
                                           .dims = request->dims,
                                           .size_count = 2,
                                           .timeout_s = timeout_s,
                                           .allow_unsigned = true};
    struct verify_summary summary;
    struct child_answer answer;
    struct work_order work;
    uint64_t begin_ns = clock_ns();
    order_verify(result->package, result->package_bytes, &options, arena, &work);
    work.board = request->compile.board;
    uint64_t most = request->compile.memory_bytes + VERIFY_RESERVED_BYTES;
    if (request->compile.memory_bytes > 0 && most < work.limits.memory_bytes)
        work.limits.memory_bytes = most;
    if (!run_order(request, &work, "verification", arena, &answer, err) ||
        !order_take_verified(&answer, &summary, &result->evidence, &result->evidence_bytes, err))
        return false;
    result->verify_ms = (double)(clock_ns() - begin_ns) * 1e-6;
    if (summary.pass)
        return true;
    if (timeout_s > 0 && result->verify_ms >= 1e3 * timeout_s) /* a plainer package would not verify
                                                                  faster */
        return fail(err, ERR_LIMIT,
                    "verification did not finish within %u s: allow it more time, verify at sizes "
                    "of your own, or verify later what strategy fast compiles",
                    timeout_s);
    fail(err, ERR_VERIFY, "%s", summary.detail);
    return fail_at(err, "check '%s'", summary.name);
}

static enum dtype precision_of(const struct graph *graph)
{
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        enum dtype dtype = graph->nodes.items[graph->outputs.items[i].value].dtype;
        if (dtype_is_float(dtype))
            return dtype;
    }
    return DTYPE_NONE;
}

/* A package from a child or from the cache is read as untrusted input: what is claimed about it
 * must agree with its contents. The evidence is written here. */
static bool inspect(const struct compile_options *options, struct build_result *result,
                    struct arena *arena, struct package_contents *out, struct error *err)
{
    struct compile_result *compiled = &result->compiled;
    enum strategy strategy = options->strategy ? options->strategy : STRATEGY_STANDARD;
    const struct trust trust = {.policy = TRUST_ALLOW_UNSIGNED};
    bool ok = package_read(compiled->package, compiled->package_bytes, &trust, arena, out, err);
    if (!ok && err->code != ERR_NOMEM)
        err->code = ERR_COMPILER_DIED;
    if (!ok)
        return fail_at(err, "what the compiler made");
    if (strcmp(out->id, compiled->kernel_id) != 0 ||
        strcmp(out->strategy, strategy_name(strategy)) != 0 ||
        strcmp(out->compiler, compiler_version()) != 0)
        return fail(err, ERR_COMPILER_DIED, "the compiler made another package than it says");
    compiled->kernels =
        out->target_count > 0 ? out->targets[out->target_count - 1].kernel_count : 0;
    result->package = compiled->package;
    result->package_bytes = compiled->package_bytes;
    result->evidence = NULL;
    result->verify_ms = -1;
    result->precision = precision_of(&out->graph);
    return true;
}

/* Takes the package from the cache, or compiles it if there is none or it is invalid. */
static bool make(const struct build_request *request, const struct compile_options *options,
                 struct arena *arena, struct build_result *result, struct package_contents *out,
                 struct error *err)
{
    struct error ignored;
    if (compile_find(request->source, request->size, options, &result->compiled)) {
        if (inspect(options, result, arena, out, &ignored))
            return true;
        compile_release(options, &result->compiled);
    }
    return compile(request, options, arena, result, err) &&
           inspect(options, result, arena, out, err);
}

/* One attempt. If it fails, memory held by the cache is released. */
static bool attempt(const struct build_request *request, const struct compile_options *options,
                    struct arena *arena, struct build_result *result,
                    struct package_contents *contents, struct error *err)
{
    enum strategy asked = request->compile.strategy;
    bool checked = !request->unchecked && (asked == STRATEGY_NONE || asked >= STRATEGY_STANDARD);
    if (!begin_step(request, BUILD_COMPILE, err) ||
        !make(request, options, arena, result, contents, err))
        return false;
    if (!checked ||
        (begin_step(request, BUILD_VERIFY, err) && verify(request, result, arena, err))) {
        compile_store(request->source, request->size, options, &result->compiled);
        return true;
    }
    compile_release(options, &result->compiled);
    return false;
}

/* Whether an attempt that leaves something out may succeed: if the compiler is the cause, and not
 * the user's source. */
static bool may_degrade(enum error_code code)
{
    return code == ERR_COMPILE || code == ERR_COMPILER_DIED || code == ERR_NOMEM ||
           code == ERR_VERIFY || code == ERR_BUG;
}

static const struct fewer {
    const char *what;
    bool plain, emergency;
} fewer[BUILD_DEGRADED_MOST] = {{"graph passes", true, false}, {"code", true, true}};

static bool attempt_all(const struct build_request *request, struct arena *arena,
                        struct build_result *result, struct package_contents *contents,
                        struct error *err)
{
    struct compile_options options = request->compile;
    struct error first;
    bool ok = attempt(request, &options, arena, result, contents, err);
    if (ok || !request->degrade)
        return ok;
    first = *err;
    for (uint32_t i = 0; !ok && i < BUILD_DEGRADED_MOST && may_degrade(err->code); i++) {
        if (options.strategy == STRATEGY_EMERGENCY || (options.plain && !fewer[i].emergency))
            continue;
        options.plain = fewer[i].plain;
        options.chooser = NULL; /* its choices may be the cause */
        if (fewer[i].emergency)
            options.strategy = STRATEGY_EMERGENCY;
        result->degraded[result->degraded_count++] =
            (struct build_degraded){fewer[i].what, arena_strdup(arena, err->message)};
        ok = attempt(request, &options, arena, result, contents, err);
    }
    if (!ok && err->code != ERR_CANCELLED)
        *err = first;
    return ok;
}

/* Signs the package. The caller wipes *key whatever happens; so an arena that would jump out is
 * made to jump back here. */
static bool sign(const struct build_request *request, const struct package_contents *contents,
                 struct signing_key *key, struct strbuf *package, char id[KERNEL_ID_BYTES],
                 struct error *err)
{
    struct arena *arena = package->arena;
    jmp_buf no_memory, *outer = arena->oom;
    if (setjmp(no_memory) != 0) {
        arena->oom = outer;
        return fail(err, ERR_NOMEM, "out of memory");
    }
    arena->oom = &no_memory;
    bool ok = (!request->open_key || request->open_key(request->context, key, err)) &&
              package_write(contents, request->open_key ? key : NULL, package, id, err);
    arena->oom = outer;
    return ok;
}

/* Writes the package again, with its evidence, and signed if there is a key. */
static bool finish(const struct build_request *request, struct package_contents *contents,
                   struct arena *arena, struct build_result *result, struct error *err)
{
    struct strbuf package;
    struct signing_key key;
    char id[KERNEL_ID_BYTES];
    strbuf_init(&package, arena);
    contents->evidence_json = result->evidence ? result->evidence : "{}";
    contents->evidence_bytes = result->evidence ? result->evidence_bytes : 2;
    bool ok = sign(request, contents, &key, &package, id, err);
    OPENSSL_cleanse(&key, sizeof key);
    if (!ok)
        return false;
    if (strcmp(id, result->compiled.kernel_id) != 0)
        return fail(err, ERR_BUG, "evidence changed the kernel id to %s", id);
    result->package = package.data;
    result->package_bytes = package.size_bytes;
    return true;
}

bool build_run(const struct build_request *request, struct arena *arena, struct build_result *out,
               struct error *err)
{
    struct build_result result = {.verify_ms = -1};
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    if (!attempt_all(request, arena, &result, contents, err))
        return false;
    bool bare = contents->evidence_bytes == 2 && memcmp(contents->evidence_json, "{}", 2) == 0;
    bool unchanged = bare && !result.evidence && !request->open_key;
    if (!unchanged && (!begin_step(request, BUILD_SIGN, err) ||
                       !finish(request, contents, arena, &result, err))) {
        compile_release(&request->compile, &result.compiled);
        return false;
    }
    *out = result;
    return true;
}

/* Removes the signature of the result's package; it must be by the request's own key, if there is
 * one. */
static bool unsign(const struct build_request *request, struct build_result *result,
                   struct arena *arena, struct package_contents *contents, struct error *err)
{
    struct signing_key key = {.public_key = {0}};
    uint8_t own[1][32];
    struct strbuf bytes;
    strbuf_init(&bytes, arena);
    bool ok = !request->open_key || request->open_key(request->context, &key, err);
    memcpy(own[0], key.public_key, sizeof own[0]);
    OPENSSL_cleanse(&key, sizeof key);
    const struct trusted_keys trusted = {.keys = (const uint8_t(*)[32])own,
                                         .count = request->open_key ? 1 : 0};
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, &trusted};
    if (!ok ||
        !package_read(result->package, result->package_bytes, &trust, arena, contents, err) ||
        !package_write(contents, NULL, &bytes, result->compiled.kernel_id, err))
        return false;
    result->package = bytes.data;
    result->package_bytes = bytes.size_bytes;
    return true;
}

bool build_verify(const struct build_request *request, const void *package, size_t size,
                  struct arena *arena, struct build_result *out, struct error *err)
{
    struct build_result result = {.package = package, .package_bytes = size};
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    if (!unsign(request, &result, arena, contents, err) ||
        !begin_step(request, BUILD_VERIFY, err) || !verify(request, &result, arena, err) ||
        !begin_step(request, BUILD_SIGN, err) || !finish(request, contents, arena, &result, err))
        return false;
    *out = result;
    return true;
}

bool build_profile(const struct build_request *request, const struct build_measured *measured,
                   struct arena *arena, struct order_profiled *out, struct error *err)
{
    struct work_order work;
    struct child_answer answer;
    order_profile(measured->package, measured->size, measured->signer, measured->seconds, arena,
                  &work);
    return run_order(request, &work, "measuring", arena, &answer, err) &&
           order_take_profiled(&answer, out, err);
}

void build_release(const struct build_request *request, struct build_result *result)
{
    compile_release(&request->compile, &result->compiled);
    result->package = NULL;
}
