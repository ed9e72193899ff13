/* Whole packages in the cache.
 *
 * The bytes of a package are decided by the text of the blueprint, the options named below, this
 * compiler and LLVM. Files are not part of the key. So a package is not cached if values of
 * parameters come from files (as those of ONNX may), if a chooser chooses configs, or if the caller
 * restricts dims. */
#include <stdio.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/strbuf.h"
#include "compiler/cache/cache.h"
#include "compiler/codegen/codegen.h"
#include "compiler/compile_priv.h"
#include "compiler/import/import.h"

/* The head of a cached value. It is followed by the package, which stays 64-aligned, and the
 * warnings. */
struct cached_head {
    char kernel_id[KERNEL_ID_BYTES];
    uint8_t padding[116 - KERNEL_ID_BYTES];
    uint32_t kernels;
    uint64_t package_bytes;
};
_Static_assert(sizeof(struct cached_head) == 128, "packages stay aligned");

static bool find_key(const char *text, size_t size, const struct compile_options *options,
                     uint8_t out[SHA256_BYTES])
{
    struct {
        uint8_t text[SHA256_BYTES], targets[SHA256_BYTES], wrt[SHA256_BYTES], public_key[32];
        uint8_t step[SHA256_BYTES], loss[SHA256_BYTES], specialise[SHA256_BYTES];
        uint8_t graft[SHA256_BYTES];
        uint64_t seed;
        int64_t peak_bytes;
        uint32_t strategy;
        bool training, has_targets, has_key, plain, backward, has_wrt, has_step, has_loss;
        bool has_specialise, has_graft;
        char compiler[122];
    } key = {.seed = options->seed,
             .strategy = options->strategy ? options->strategy : STRATEGY_STANDARD,
             .training = options->training,
             .has_targets = options->targets,
             .has_key = options->key,
             .plain = options->plain,
             .backward = options->backward,
             .has_wrt = (options->backward || options->step) && options->wrt,
             .peak_bytes = options->backward ? options->peak_bytes : 0,
             .has_step = options->step,
             .has_loss = options->step && options->loss,
             .has_specialise = options->specialise,
             .has_graft = options->graft};
    _Static_assert(sizeof key == 256 + 30 + 122, "no padding");
    char version[CODEGEN_VERSION_BYTES];
    if (!options->cache || options->dims || options->known_count > 0 || options->chooser ||
        options->observer || options->dump || onnx_looks_like(text, size) ||
        pt2_looks_like(text, size))
        return false;
    sha256(text, size, key.text);
    const char *targets = options->targets ? options->targets : cpu_family();
    sha256(targets, strlen(targets), key.targets);
    if (key.has_wrt)
        sha256(options->wrt, strlen(options->wrt), key.wrt);
    if (key.has_step)
        sha256(options->step, strlen(options->step), key.step);
    if (key.has_loss)
        sha256(options->loss, strlen(options->loss), key.loss);
    if (key.has_specialise)
        sha256(options->specialise, strlen(options->specialise), key.specialise);
    if (key.has_graft)
        sha256(options->graft, strlen(options->graft), key.graft);
    if (options->key)
        memcpy(key.public_key, options->key->public_key, sizeof key.public_key);
    codegen_version(version);
    snprintf(key.compiler, sizeof key.compiler, "package %s, llvm %s", cache_revision(), version);
    sha256(&key, sizeof key, out);
    return true;
}

bool compile_find(const char *text, size_t size, const struct compile_options *options,
                  struct compile_result *out)
{
    uint64_t start_ns = clock_ns();
    uint8_t key[SHA256_BYTES];
    enum cache_level level;
    if (!find_key(text, size, options, key))
        return false;
    const struct cache_value *value = cache_find(options->cache, key, &level);
    if (!value)
        return false;
    const struct cached_head *head = (const void *)value->data;
    if (value->size_bytes < sizeof *head ||
        head->package_bytes > value->size_bytes - sizeof *head ||
        strnlen(head->kernel_id, sizeof head->kernel_id) == sizeof head->kernel_id) {
        cache_release(options->cache, value);
        return false;
    }
    const char *package = (const char *)value->data + sizeof *head;
    *out = (struct compile_result){.package = package,
                                   .package_bytes = head->package_bytes,
                                   .warnings = package + head->package_bytes,
                                   .warnings_bytes =
                                       value->size_bytes - sizeof *head - head->package_bytes,
                                   .kernels = head->kernels,
                                   .found = level,
                                   .held = value};
    memcpy(out->kernel_id, head->kernel_id, sizeof out->kernel_id);
    out->total_ms = (double)(clock_ns() - start_ns) * 1e-6;
    return true;
}

bool params_read_files(const struct blueprint *blueprint)
{
    for (uint32_t i = 0; i < blueprint->graph.params.count; i++)
        if (blueprint->inits[i].path || blueprint->inits[i].kind == INIT_DATA)
            return true;
    return false;
}

void compile_store(const char *text, size_t size, const struct compile_options *options,
                   const struct compile_result *result)
{
    uint8_t key[SHA256_BYTES];
    struct cached_head head = {.kernels = result->kernels, .package_bytes = result->package_bytes};
    if (!result->cacheable || result->found != CACHE_NONE || !find_key(text, size, options, key))
        return;
    memcpy(head.kernel_id, result->kernel_id, sizeof head.kernel_id);
    struct iovec parts[3] = {{&head, sizeof head},
                             {(void *)result->package, result->package_bytes},
                             {(void *)result->warnings, result->warnings_bytes}};
    cache_add(options->cache, key, parts, 3);
}

void compile_release(const struct compile_options *options, struct compile_result *result)
{
    if (result->held)
        cache_release(options->cache, result->held);
    result->held = NULL;
    result->package = NULL;
    result->warnings = NULL;
    result->warnings_bytes = 0;
}
