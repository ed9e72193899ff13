/* From nests to an image: for each nest a module of its own, light passes, object, image; the
 * images one behind the other. Kernels know nothing of each other, so the bytes of one do not
 * depend on which others are generated beside it: an image that was kept is as good as a new one.
 */
#include "compiler/codegen/codegen_priv.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/cache/cache.h"

/* Vectors are written out already, addresses placed, and nothing is said twice; what is left for
 * LLVM is to turn locals into registers. */
#define PASSES "function(mem2reg)"

/* What the kernels of one call share. Nothing that a kernel may change: contexts remember. */
struct backend {
    const struct target *target;
    const struct architecture *architecture; /* the target's */
    const struct code_options *options;
    LLVMTargetMachineRef machine, hasty; /* hasty: for what runs once; NULL when nothing does */
    LLVMTargetDataRef layout;
};

static bool runs_once(const struct backend *b, uint32_t kernel)
{
    return b->options->once && b->options->once[kernel];
}

#define MAX_OPTIONS 64

/* For the whole process, once. These LLVM passes repeat decisions of the schedule (addressing,
 * placement, order) or find nothing to do in our code: they took a third of the compile time and
 * made no code faster. */
static void begin_process(void)
{
    static const char *const common[] = {"urza",
                                         "-disable-lsr",
                                         "-disable-cgp",
                                         "-enable-misched=0",
                                         "-disable-postra-machine-licm",
                                         "-disable-tail-duplicate",
                                         "-disable-post-ra",
                                         "-no-stack-coloring",
                                         "-disable-cfi-fixup",
                                         "-disable-machine-dce",
                                         "-disable-mergeicmps",
                                         "-disable-constant-hoisting",
                                         "-disable-partial-libcall-inlining",
                                         "-disable-early-ifcvt"};
    const char *options[MAX_OPTIONS];
    int count = sizeof common / sizeof common[0];
    memcpy(options, common, sizeof common);
    for (size_t i = 0; architecture_at(i); i++) {
        architecture_at(i)->begin_process();
        for (const char *const *o = architecture_at(i)->options; *o; o++) {
            assert(count < MAX_OPTIONS);
            options[count++] = *o;
        }
    }
    LLVMParseCommandLineOptions(count, options, "");
}

static bool backend_begin(struct backend *b, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct target *target = b->target;
    LLVMTargetRef llvm_target;
    char *message = NULL;
    if (!b->architecture)
        return fail(err, ERR_TARGET, "'%s': no code is generated for %s", target->name,
                    target->family);
    pthread_once(&once, begin_process);
    if (LLVMGetTargetFromTriple(target->triple, &llvm_target, &message)) {
        fail(err, ERR_COMPILE, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return false;
    }
    b->machine =
        LLVMCreateTargetMachine(llvm_target, target->triple, target->cpu, target->features,
                                LLVMCodeGenLevelLess, LLVMRelocPIC, b->architecture->code_model);
    if (b->options->once)
        b->hasty = LLVMCreateTargetMachine(llvm_target, target->triple, target->cpu,
                                           target->features, LLVMCodeGenLevelNone, LLVMRelocPIC,
                                           b->architecture->code_model);
    b->layout = LLVMCreateTargetDataLayout(b->machine);
    return true;
}

static void backend_end(struct backend *b)
{
    if (!b->machine)
        return;
    LLVMDisposeTargetData(b->layout);
    LLVMDisposeTargetMachine(b->machine);
    if (b->hasty)
        LLVMDisposeTargetMachine(b->hasty);
}

static void emit_nest(const struct backend *b, LLVMModuleRef module, struct nest *nest,
                      uint32_t kernel)
{
    struct emitter *e = ARENA_NEW(nest->arena, struct emitter);
    e->context = LLVMGetModuleContext(module);
    e->module = module;
    e->builder = LLVMCreateBuilderInContext(e->context);
    e->target = b->target;
    e->architecture = b->architecture;
    e->nest = nest;
    e->arena = nest->arena;
    e->kernel = kernel;
    e->buffers = ARENA_ARRAY(nest->arena, LLVMValueRef, nest->buffers.count + 1);
    e->locals = ARENA_ARRAY(nest->arena, struct local_state, nest->locals.count + 1);
    emit_kernel(e);
    LLVMDisposeBuilder(e->builder);
}

static LLVMMemoryBufferRef emit(const struct backend *b, uint32_t kernel, LLVMModuleRef module,
                                LLVMCodeGenFileType type, struct error *err)
{
    LLVMTargetMachineRef machine = runs_once(b, kernel) ? b->hasty : b->machine;
    LLVMMemoryBufferRef buffer = NULL;
    char *message = NULL;
    if (!LLVMTargetMachineEmitToMemoryBuffer(machine, module, type, &message, &buffer))
        return buffer;
    fail(err, ERR_COMPILE, "LLVM: %s", message);
    LLVMDisposeMessage(message);
    return NULL;
}

static bool dump_module(const struct backend *b, uint32_t kernel, LLVMModuleRef module,
                        struct error *err)
{
    if (b->options->llvm) {
        char *text = LLVMPrintModuleToString(module);
        strbuf_puts(b->options->llvm, text);
        LLVMDisposeMessage(text);
    }
    if (!b->options->assembly)
        return true;
    LLVMModuleRef copy = LLVMCloneModule(module); /* emission changes the module */
    LLVMMemoryBufferRef text = emit(b, kernel, copy, LLVMAssemblyFile, err);
    LLVMDisposeModule(copy);
    if (!text)
        return false;
    strbuf_add(b->options->assembly, LLVMGetBufferStart(text), LLVMGetBufferSize(text));
    LLVMDisposeMemoryBuffer(text);
    return true;
}

static bool verify_module(LLVMModuleRef module, struct error *err)
{
    char *message = NULL;
    bool broken = LLVMVerifyModule(module, LLVMReturnStatusAction, &message);
    if (broken)
        fail(err, ERR_BUG, "invalid LLVM IR: %s", message);
    LLVMDisposeMessage(message);
    return !broken;
}

static bool run_passes(const struct backend *b, LLVMModuleRef module, struct error *err)
{
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef failure = LLVMRunPasses(module, PASSES, b->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!failure)
        return true;
    char *message = LLVMGetErrorMessage(failure);
    fail(err, ERR_COMPILE, "LLVM passes: %s", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

static bool generate(const struct backend *b, struct nest *nest, uint32_t kernel,
                     struct arena *arena, struct kernel_image *out, struct error *err)
{
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("urza", context);
    LLVMMemoryBufferRef object = NULL;
    LLVMSetTarget(module, b->target->triple);
    LLVMSetModuleDataLayout(module, b->layout);
    nest_expand_jam(nest);
    emit_nest(b, module, nest, kernel);
    bool ok = (b->options->trust || verify_module(module, err)) && run_passes(b, module, err) &&
              dump_module(b, kernel, module, err) &&
              (object = emit(b, kernel, module, LLVMObjectFile, err)) &&
              image_from_object(LLVMGetBufferStart(object), LLVMGetBufferSize(object),
                                b->architecture, arena, out, err);
    if (object)
        LLVMDisposeMemoryBuffer(object);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    return ok;
}

void codegen_version(char out[CODEGEN_VERSION_BYTES])
{
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(out, CODEGEN_VERSION_BYTES, "%u.%u.%u", major, minor, patch);
}

/* False when there is no cache to ask. Kernels know nothing of their neighbours, so what decides
 * the bytes is the nest, the target, this compiler and LLVM. */
static bool cache_key(const struct backend *b, uint32_t kernel, uint8_t out[SHA256_BYTES])
{
    const struct code_options *options = b->options;
    const struct target *target = b->target;
    char text[512], version[CODEGEN_VERSION_BYTES];
    if (!options->cache || options->llvm || options->assembly)
        return false;
    codegen_version(version);
    int size =
        snprintf(text, sizeof text, "kernel %s, %sllvm %s, %s %s %s %s %u ", cache_revision(),
                 runs_once(b, kernel) ? "once, " : "", version, target->name, target->triple,
                 target->cpu, target->features, target->vscale);
    if (size < 0 || (size_t)size + SHA256_BYTES > sizeof text)
        return false;
    memcpy(text + size, options->digests[kernel], SHA256_BYTES);
    sha256(text, (size_t)size + SHA256_BYTES, out);
    return true;
}

/* What the cache keeps: the entry's offset as 64 bytes, little-endian ahead of zeros, and the
 * image.
 */
#define HEAD_BYTES 64

static bool find_kernel(const struct backend *b, const uint8_t *key, struct kernel_image *out,
                        struct code_image *counts)
{
    enum cache_level level;
    const struct cache_value *value = cache_find(b->options->cache, key, &level);
    uint64_t entry = 0;
    if (!value)
        return false;
    if (value->size_bytes > HEAD_BYTES)
        memcpy(&entry, value->data, sizeof entry);
    if (value->size_bytes <= HEAD_BYTES || entry >= value->size_bytes - HEAD_BYTES) {
        cache_release(b->options->cache, value);
        return false;
    }
    *out = (struct kernel_image){.bytes = value->data + HEAD_BYTES,
                                 .size_bytes = value->size_bytes - HEAD_BYTES,
                                 .entry = entry,
                                 .held = value};
    counts->memory_hits += level == CACHE_MEMORY;
    counts->disk_hits += level == CACHE_DISK;
    return true;
}

static void keep_kernel(const struct backend *b, const uint8_t *key,
                        const struct kernel_image *kernel)
{
    uint8_t head[HEAD_BYTES] = {0};
    memcpy(head, &kernel->entry, sizeof kernel->entry);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)kernel->bytes, kernel->size_bytes}};
    cache_add(b->options->cache, key, parts, 2);
}

static size_t aligned(size_t size)
{
    return (size + 63) / 64 * 64;
}

static void join(const struct kernel_image *kernels, uint32_t count, struct arena *arena,
                 struct code_image *out)
{
    out->kernel_offsets = ARENA_ARRAY(arena, uint32_t, count + 1);
    for (uint32_t i = 0; i < count; i++)
        out->size_bytes = aligned(out->size_bytes) + kernels[i].size_bytes;
    uint8_t *bytes = arena_alloc(arena, out->size_bytes, 64);
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        at = aligned(at);
        memcpy(bytes + at, kernels[i].bytes, kernels[i].size_bytes);
        out->kernel_offsets[i] = (uint32_t)(at + kernels[i].entry);
        at += kernels[i].size_bytes;
    }
    out->bytes = bytes;
}

bool codegen(const struct code_request *request, struct arena *arena, struct code_image *out,
             struct error *err)
{
    static const struct code_options plain = {0};
    uint32_t count = request->count;
    struct backend b = {.target = request->target,
                        .architecture = architecture_find(request->target->family),
                        .options = request->options ? request->options : &plain};
    struct kernel_image *kernels = ARENA_ARRAY(arena, struct kernel_image, count + 1);
    struct code_image image = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < count; i++) {
        uint8_t key[SHA256_BYTES];
        bool kept = cache_key(&b, i, key);
        if (kept && find_kernel(&b, key, &kernels[i], &image))
            continue;
        ok = (b.machine || backend_begin(&b, err)) &&
             generate(&b, request->nests[i], i, arena, &kernels[i], err);
        image.generated += ok;
        if (ok && kept)
            keep_kernel(&b, key, &kernels[i]);
    }
    if (ok) {
        join(kernels, count, arena, &image);
        *out = image;
    }
    for (uint32_t i = 0; b.options->cache && i < count; i++)
        cache_release(b.options->cache, kernels[i].held);
    backend_end(&b);
    return ok;
}
