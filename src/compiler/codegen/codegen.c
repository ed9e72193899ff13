/* From nests to an image. Each nest becomes an LLVM module, which goes through light passes and
 * becomes an object and an image; the images are concatenated. The bytes of a kernel do not depend
 * on which others are generated beside it, so an image from the cache equals a new one. */
#include "compiler/codegen/codegen_priv.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/uio.h>

#include "base/board.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/cache/cache.h"

/* Vectors are explicit, addresses computed and common subexpressions merged already; LLVM only has
 * to turn locals into registers. */
#define PASSES "function(mem2reg)"

/* What the kernels of one call share. An LLVM context is not among it: contexts keep state, and the
 * bytes of one kernel could depend on others. */
struct backend {
    const struct target *target;
    const struct architecture *architecture; /* of the target */
    const struct code_options *options;
    LLVMTargetMachineRef machine, hasty; /* hasty: without optimisation, for kernels that run once;
                                            NULL if there are none */
    LLVMTargetDataRef layout;
    struct cache *cache;          /* that of the options, which may be gone before */
    struct kernel_image *kernels; /* what the cache holds of them is let go */
    uint32_t count;
};

static bool is_prepare(const struct backend *b, uint32_t kernel)
{
    return b->options->prepare && b->options->prepare[kernel];
}

#define MAX_OPTIONS 64

/* Once per process. The LLVM passes turned off here repeat decisions of the schedule (addressing,
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
    if (b->options->prepare)
        b->hasty = LLVMCreateTargetMachine(llvm_target, target->triple, target->cpu,
                                           target->features, LLVMCodeGenLevelNone, LLVMRelocPIC,
                                           b->architecture->code_model);
    b->layout = LLVMCreateTargetDataLayout(b->machine);
    return true;
}

/* The arena's, too: control jumps away where memory runs out. */
static void backend_end(void *object)
{
    struct backend *b = object;
    if (b->layout)
        LLVMDisposeTargetData(b->layout);
    if (b->machine)
        LLVMDisposeTargetMachine(b->machine);
    if (b->hasty)
        LLVMDisposeTargetMachine(b->hasty);
    b->layout = NULL;
    b->machine = b->hasty = NULL;
    for (uint32_t i = 0; b->cache && i < b->count; i++)
        cache_release(b->cache, b->kernels[i].held);
    b->count = 0;
}

/* What LLVM has of a kernel. */
struct unit {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMMemoryBufferRef object;
};

static void unit_end(void *object)
{
    struct unit *unit = object;
    if (unit->builder)
        LLVMDisposeBuilder(unit->builder);
    if (unit->object)
        LLVMDisposeMemoryBuffer(unit->object);
    if (unit->module)
        LLVMDisposeModule(unit->module);
    if (unit->context)
        LLVMContextDispose(unit->context);
    *unit = (struct unit){0};
}

static void emit_nest(const struct backend *b, const struct unit *unit, struct nest *nest,
                      uint32_t kernel)
{
    struct emitter *e = ARENA_NEW(nest->arena, struct emitter);
    e->context = unit->context;
    e->module = unit->module;
    e->builder = unit->builder;
    e->target = b->target;
    e->architecture = b->architecture;
    e->nest = nest;
    e->arena = nest->arena;
    e->kernel = kernel;
    e->buffers = ARENA_ARRAY(nest->arena, LLVMValueRef, nest->buffers.count + 1);
    e->locals = ARENA_ARRAY(nest->arena, struct local_state, nest->locals.count + 1);
    emit_kernel(e);
}

static LLVMMemoryBufferRef emit(const struct backend *b, uint32_t kernel, LLVMModuleRef module,
                                LLVMCodeGenFileType type, struct error *err)
{
    LLVMTargetMachineRef machine = is_prepare(b, kernel) ? b->hasty : b->machine;
    LLVMMemoryBufferRef buffer = NULL;
    char *message = NULL;
    if (!LLVMTargetMachineEmitToMemoryBuffer(machine, module, type, &message, &buffer)) {
        if (!buffer)
            fail(err, ERR_NOMEM, "LLVM has no memory for the code of a kernel");
        return buffer;
    }
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
    struct unit *unit = ARENA_NEW(arena, struct unit);
    arena_own(arena, unit_end, unit);
    unit->context = LLVMContextCreate();
    LLVMModuleRef module = unit->module = LLVMModuleCreateWithNameInContext("urza", unit->context);
    LLVMSetTarget(module, b->target->triple);
    LLVMSetModuleDataLayout(module, b->layout);
    unit->builder = LLVMCreateBuilderInContext(unit->context);
    nest_expand_jam(nest);
    emit_nest(b, unit, nest, kernel);
    bool ok = (b->options->trust || verify_module(module, err)) && run_passes(b, module, err) &&
              dump_module(b, kernel, module, err) &&
              (unit->object = emit(b, kernel, module, LLVMObjectFile, err)) &&
              image_from_object(LLVMGetBufferStart(unit->object), LLVMGetBufferSize(unit->object),
                                b->architecture, arena, out, err);
    unit_end(unit);
    return ok;
}

void codegen_version(char out[CODEGEN_VERSION_BYTES])
{
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(out, CODEGEN_VERSION_BYTES, "%u.%u.%u", major, minor, patch);
}

/* The key of a kernel in the cache: what decides its bytes is the nest, the target, this compiler
 * and LLVM. False when the cache is not used. */
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
                 is_prepare(b, kernel) ? "once, " : "", version, target->name, target->triple,
                 target->cpu, target->features, target->vscale);
    if (size < 0 || (size_t)size + SHA256_BYTES > sizeof text)
        return false;
    memcpy(text + size, options->digests[kernel], SHA256_BYTES);
    sha256(text, (size_t)size + SHA256_BYTES, out);
    return true;
}

/* A value in the cache: 64 bytes that start with the entry's offset, little-endian, and are zero
 * otherwise; then the image. */
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

/* The kernels that must be generated, which threads take one after the other. */
struct queue {
    struct nest *const *nests;
    const uint32_t *kernels;
    uint32_t count;
    const uint8_t (*keys)[SHA256_BYTES]; /* by nest; NULL: what is made is not kept */
    _Atomic uint32_t next;
    _Atomic bool stop; /* a thread has failed */
};

/* One thread's work. Nests allocate in its arena from here on. */
struct worker {
    struct queue *queue;
    struct backend b; /* with machines of its own */
    struct arena *arena;
    pthread_t thread;
    uint32_t failed;       /* the first kernel that was not generated, by place in the queue */
    bool no_memory, leads; /* leads: the calling thread, which tells how far it is */
    struct error err;
};

static void work_on(void *context)
{
    struct worker *w = context;
    struct queue *queue = w->queue;
    arena_own(w->arena, backend_end, &w->b);
    for (;;) {
        uint32_t at = atomic_fetch_add(&queue->next, 1);
        if (at >= queue->count || atomic_load(&queue->stop))
            break;
        uint32_t kernel = queue->kernels[at];
        queue->nests[kernel]->arena = w->arena;
        w->failed = at;
        if (w->leads)
            board_put(w->b.options->board, BOARD_GENERATE, at + 1, queue->count);
        if ((!w->b.machine && !backend_begin(&w->b, &w->err)) ||
            !generate(&w->b, queue->nests[kernel], kernel, w->arena, &w->b.kernels[kernel],
                      &w->err)) {
            atomic_store(&queue->stop, true);
            return;
        }
        if (queue->keys)
            keep_kernel(&w->b, queue->keys[kernel], &w->b.kernels[kernel]);
    }
    w->failed = UINT32_MAX;
}

/* Control must not jump to another thread where memory runs out. */
static void *work_aside(void *argument)
{
    struct worker *w = argument;
    w->no_memory = !arena_catch(w->arena, work_on, w);
    if (w->no_memory)
        atomic_store(&w->queue->stop, true);
    return NULL;
}

/* Generates what is in the queue on several threads, of which this is one. The error is that of the
 * first kernel that failed. */
static bool generate_all(struct backend *b, struct queue *queue, struct arena *arena,
                         struct error *err)
{
    uint32_t threads = b->options->llvm || b->options->assembly ? 1 : b->options->threads;
    threads = threads > queue->count ? queue->count : threads > 1 ? threads : 1;
    struct worker *workers = ARENA_ARRAY(arena, struct worker, threads + 1);
    uint32_t started = 1;
    bool no_memory = false;
    for (uint32_t i = 0; i < threads; i++) {
        workers[i] =
            (struct worker){.queue = queue, .b = *b, .arena = arena_inside(arena), .leads = i == 0};
        workers[i].b.count = 0; /* what the cache holds is let go by *b */
    }
    while (started < threads &&
           pthread_create(&workers[started].thread, NULL, work_aside, &workers[started]) == 0)
        started++;
    work_aside(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    struct worker *first = &workers[0];
    for (uint32_t i = 0; i < started; i++) {
        no_memory |= workers[i].no_memory;
        backend_end(&workers[i].b);
        if (workers[i].failed < first->failed)
            first = &workers[i];
    }
    if (no_memory)
        arena_no_memory(arena);
    if (first->failed != UINT32_MAX)
        *err = first->err;
    return first->failed == UINT32_MAX;
}

bool codegen(const struct code_request *request, struct arena *arena, struct code_image *out,
             struct error *err)
{
    static const struct code_options plain = {0};
    uint32_t count = request->count, *missing = ARENA_ARRAY(arena, uint32_t, count + 1);
    uint8_t(*keys)[SHA256_BYTES] = arena_array(arena, count + 1, sizeof *keys);
    struct backend *b = ARENA_NEW(arena, struct backend);
    *b = (struct backend){.target = request->target,
                          .architecture = architecture_find(request->target->family),
                          .options = request->options ? request->options : &plain,
                          .kernels = ARENA_ARRAY(arena, struct kernel_image, count + 1),
                          .count = count};
    b->cache = b->options->cache;
    struct queue *queue = ARENA_NEW(arena, struct queue);
    *queue = (struct queue){.nests = request->nests, .kernels = missing};
    struct code_image image = {0};
    bool kept = false;
    arena_own(arena, backend_end, b);
    for (uint32_t i = 0; i < count; i++) {
        kept = cache_key(b, i, keys[i]);
        if (!kept || !find_kernel(b, keys[i], &b->kernels[i], &image))
            missing[queue->count++] = i;
    }
    queue->keys = kept ? (const uint8_t(*)[SHA256_BYTES])keys : NULL;
    bool ok = queue->count == 0 || generate_all(b, queue, arena, err);
    if (ok) {
        image.generated = queue->count;
        join(b->kernels, count, arena, &image);
        *out = image;
    }
    backend_end(b);
    return ok;
}
