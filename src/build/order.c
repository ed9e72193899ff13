/* Options are sent as a struct without pointers, followed by their texts: each has a byte that says
 * whether it is NULL, and a terminating zero byte. */
#include "build/order.h"

#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "base/confine.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "compiler/import/import.h"
#include "profile/profile.h"
#include "tuner/tuner.h"

#define COMPILE_MS 120000
#define VERIFY_S 300 /* the default of verify_options */
#define VERIFY_MORE_S 30
#define KERNEL_FILE_BYTES ((uint64_t)256 << 20)
#define FOLDER_OF_KERNELS "kernels"
#define PROFILE_MS 60000
#define PROFILE_BYTES ((uint64_t)8 << 30)
#define COMPILE_TEXTS 11
#define TEXTS_MOST COMPILE_TEXTS
#define TUNE_MORE 2     /* measuring may take so many times the given time */
#define TUNE_KERNELS 8  /* a kernel may take this part of the time at most */
#define TUNE_KERNEL_S 3 /* nor more than so many seconds */

#define TUNED_PART 2      /* part of the answer that otherwise holds a dump */
#define TUNED_MOST 100000 /* JSON values */

struct compile_wire {
    uint64_t seed;
    int64_t peak_bytes;
    double tune_s;
    uint32_t strategy, threads;
    bool training, backward, plain;
};

struct profile_wire {
    uint8_t signer[32];
    double seconds;
};

struct verify_wire {
    uint64_t seed;
    uint32_t size_count, timeout_s;
    bool thorough, allow_unsigned, all_alignments;
};

static struct child_part put_texts(const char *const *texts, uint32_t count, struct arena *arena)
{
    struct strbuf all;
    strbuf_init(&all, arena);
    for (uint32_t i = 0; i < count; i++) {
        strbuf_add(&all, texts[i] ? "+" : "-", 1);
        strbuf_add(&all, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) + 1 : 1);
    }
    return (struct child_part){all.data, all.size_bytes};
}

static bool take_texts(const struct child_part *part, const char **out, uint32_t count,
                       struct error *err)
{
    const char *at = part->data, *end = at + part->size_bytes;
    for (uint32_t i = 0; i < count; i++) {
        size_t length = at < end ? strnlen(at, (size_t)(end - at)) : 0;
        if (length == 0 || length == (size_t)(end - at))
            return fail(err, ERR_BUG, "text %u of the work is cut off", i);
        out[i] = at[0] == '+' ? at + 1 : NULL;
        at += length + 1;
    }
    return true;
}

static struct child_part put_options(const void *wire, size_t bytes, struct arena *arena)
{
    return (struct child_part){arena_memdup(arena, wire, bytes), bytes};
}

static bool take_options(const struct child_part *part, void *out, size_t bytes, struct error *err)
{
    if (part->size_bytes != bytes)
        return fail(err, ERR_BUG, "options of %zu bytes, expected %zu", part->size_bytes, bytes);
    memcpy(out, part->data, bytes);
    return true;
}

/* Known inputs: for each a head, its name, and its data or numbers. */
struct known_head {
    uint64_t name_bytes, numbers_bytes, data_bytes; /* texts with their zero byte; 0: NULL */
    int64_t shape[LIMIT_RANK];
    uint32_t dtype, rank;
};

static struct child_part put_known(const struct import_tensor *known, uint32_t count,
                                   struct arena *arena)
{
    struct strbuf all;
    strbuf_init(&all, arena);
    for (uint32_t i = 0; i < count; i++) {
        const struct import_tensor *tensor = &known[i];
        struct known_head head = {.name_bytes = strlen(tensor->name) + 1,
                                  .numbers_bytes =
                                      tensor->numbers ? strlen(tensor->numbers) + 1 : 0,
                                  .data_bytes = tensor->bytes,
                                  .dtype = (uint32_t)tensor->dtype,
                                  .rank = tensor->rank};
        memcpy(head.shape, tensor->shape, sizeof head.shape);
        strbuf_add(&all, &head, sizeof head);
        strbuf_add(&all, tensor->name, head.name_bytes);
        if (tensor->numbers)
            strbuf_add(&all, tensor->numbers, head.numbers_bytes);
        if (tensor->bytes > 0)
            strbuf_add(&all, tensor->data, tensor->bytes);
    }
    return (struct child_part){all.data, all.size_bytes};
}

/* The next bytes of a part, 64-aligned in the arena; NULL: they are cut off. */
static void *take_bytes(const char **at, const char *end, uint64_t bytes, struct arena *arena)
{
    if (bytes > (uint64_t)(end - *at))
        return NULL;
    char *copy = arena_alloc(arena, bytes, 64);
    memcpy(copy, *at, bytes);
    *at += bytes;
    return copy;
}

static bool take_known(const struct child_part *part, struct arena *arena,
                       struct compile_options *out, struct error *err)
{
    VEC(struct import_tensor) known = {0};
    const char *at = part->data, *end = at + part->size_bytes;
    while (at < end) {
        const struct known_head *head = take_bytes(&at, end, sizeof *head, arena);
        const char *name = head ? take_bytes(&at, end, head->name_bytes, arena) : NULL;
        const char *numbers = name ? take_bytes(&at, end, head->numbers_bytes, arena) : NULL;
        const void *data = numbers ? take_bytes(&at, end, head->data_bytes, arena) : NULL;
        if (!data)
            return fail(err, ERR_BUG, "a known input of the work is cut off");
        struct import_tensor tensor = {.name = name,
                                       .numbers = head->numbers_bytes > 0 ? numbers : NULL,
                                       .dtype = (enum dtype)head->dtype,
                                       .rank = head->rank,
                                       .data = data,
                                       .bytes = head->data_bytes};
        memcpy(tensor.shape, head->shape, sizeof tensor.shape);
        VEC_PUSH(arena, &known, tensor);
    }
    out->known = known.items;
    out->known_count = known.count;
    return true;
}

void order_compile(const struct compile_order *order, struct arena *arena, struct work_order *out)
{
    const struct compile_options *options = order->options;
    const struct compile_wire wire = {.seed = options->seed,
                                      .peak_bytes = options->peak_bytes,
                                      .tune_s = order->tune_s,
                                      .strategy = options->strategy,
                                      .threads = options->threads,
                                      .training = options->training,
                                      .backward = options->backward,
                                      .plain = options->plain};
    const char *kernels = NULL;
    if (order->cache_folder) {
        struct strbuf path;
        strbuf_init(&path, arena);
        strbuf_printf(&path, "%s/" FOLDER_OF_KERNELS, order->cache_folder);
        kernels = path.data;
    }
    const char *const texts[] = {
        options->targets, options->folder,     options->dump, kernels,
        order->closed,    options->dims,       options->wrt,  options->step,
        options->loss,    options->specialise, options->graft};
    uint64_t memory = options->memory_bytes ? options->memory_bytes : child_memory_most();
    uint32_t timeout_ms = options->timeout_ms ? options->timeout_ms : COMPILE_MS;
    *out = (struct work_order){
        .kind = ORDER_COMPILE,
        .limits = {.timeout_ms = timeout_ms + (uint32_t)(TUNE_MORE * 1e3 * order->tune_s),
                   .memory_bytes = memory,
                   .answer_bytes = memory,
                   .file_bytes = KERNEL_FILE_BYTES,
                   .sealed = true},
        .parts = {put_options(&wire, sizeof wire, arena),
                  put_texts(texts, COMPILE_TEXTS, arena),
                  {order->source, order->size},
                  put_known(options->known, options->known_count, arena)}};
}

void order_verify(const void *package, size_t size, const struct verify_options *options,
                  struct arena *arena, struct work_order *out)
{
    const struct verify_wire wire = {.seed = options->seed,
                                     .size_count = options->size_count,
                                     .timeout_s = options->timeout_s,
                                     .thorough = options->thorough,
                                     .allow_unsigned = options->allow_unsigned,
                                     .all_alignments = options->all_alignments};
    const char *const texts[] = {options->dims};
    uint32_t seconds = options->timeout_s ? options->timeout_s : VERIFY_S;
    uint32_t most_s = UINT32_MAX / 1000 - VERIFY_MORE_S;
    *out = (struct work_order){
        .kind = ORDER_VERIFY,
        .limits = {.timeout_ms = 1000 * ((seconds < most_s ? seconds : most_s) + VERIFY_MORE_S),
                   .memory_bytes = child_memory_most() + VERIFY_RESERVED_BYTES,
                   .answer_bytes = LIMIT_JSON_BYTES,
                   .file_bytes = size, /* for memory files with code */
                   .sealed = true},
        .parts = {
            put_options(&wire, sizeof wire, arena), put_texts(texts, 1, arena), {package, size}}};
}

void order_profile(const void *package, size_t size, const uint8_t signer[32], double seconds,
                   struct arena *arena, struct work_order *out)
{
    struct profile_wire wire = {.seconds = seconds};
    memcpy(wire.signer, signer, sizeof wire.signer);
    *out = (struct work_order){
        .kind = ORDER_PROFILE,
        .limits = {.timeout_ms = PROFILE_MS,
                   .memory_bytes = PROFILE_BYTES,
                   .answer_bytes = LIMIT_JSON_BYTES,
                   .file_bytes = size, /* for memory files with code */
                   .sealed = true},
        .parts = {put_options(&wire, sizeof wire, arena), {NULL, 0}, {package, size}}};
}

/* Measurements are not stored on disk. */
static bool open_tuner(double seconds, urza_tuner **out, struct error *err)
{
    double share_s = seconds / TUNE_KERNELS; /* otherwise the first kernels would use all of the
                                                time */
    const urza_tuner_options options = {.policy = URZA_TUNE_AUTOTUNE,
                                        .budget_s =
                                            share_s < TUNE_KERNEL_S ? share_s : TUNE_KERNEL_S,
                                        .total_s = seconds};
    return urza_tuner_open(&options, out, NULL) == 0 ||
           fail(err, ERR_NOMEM, "no memory for a tuner");
}

const char *order_take_tuned(const struct child_answer *answer)
{
    const struct child_part *part = &answer->parts[TUNED_PART];
    struct error ignored;
    json_t *list = part->size_bytes > 0 && json_count(part->data, part->size_bytes) <= TUNED_MOST
                       ? json_read(part->data, part->size_bytes, &ignored)
                       : NULL;
    bool ok = json_is_object(json_object_get(list, "device")) &&
              json_is_array(json_object_get(list, "entries"));
    json_decref(list);
    return ok ? part->data : NULL;
}

static bool compile(const struct work_order *work, struct arena *arena, struct child_answer *out,
                    struct error *err)
{
    const struct child_part *source = &work->parts[2];
    struct compile_wire wire;
    struct compile_result result;
    const char *texts[TEXTS_MOST] = {NULL};
    if (!take_options(&work->parts[0], &wire, sizeof wire, err) ||
        !take_texts(&work->parts[1], texts, COMPILE_TEXTS, err))
        return false;
    urza_tuner *tuner = NULL;
    if (wire.tune_s > 0 && !open_tuner(wire.tune_s, &tuner, err))
        return false;
    const struct config_chooser chooser = tuner_chooser(tuner);
    struct cache *cache = texts[3] ? cache_new(&(struct cache_options){.folder = texts[3]}) : NULL;
    struct compile_options options = {.targets = texts[0],
                                      .strategy = (enum strategy)wire.strategy,
                                      .threads = wire.threads,
                                      .seed = wire.seed,
                                      .peak_bytes = wire.peak_bytes,
                                      .training = wire.training,
                                      .backward = wire.backward,
                                      .wrt = texts[6],
                                      .step = texts[7],
                                      .loss = texts[8],
                                      .specialise = texts[9],
                                      .graft = texts[10],
                                      .plain = wire.plain,
                                      .folder = texts[1],
                                      .dims = texts[5],
                                      .dump = texts[2],
                                      .cache = cache,
                                      .chooser = tuner ? &chooser : NULL,
                                      .board = work->board,
                                      .kernels_only = true};
    if (!take_known(&work->parts[3], arena, &options, err))
        return false;
    /* The source may name files in its folder, and no others. */
    confine_calls(&(struct confinement){.reads = options.folder,
                                        .closed = texts[4],
                                        .writes = cache ? cache_folder(cache) : NULL,
                                        .memory_files = tuner != NULL});
    if (!compile_blueprint(source->data, source->size_bytes, &options, arena, &result, err))
        return false;
    compile_answer(&result, arena, out); /* resources are not freed, as the process ends now */
    char *list = NULL;
    if (tuner && urza_tuner_list(tuner, &list, NULL) == 0 && list) {
        struct strbuf tuned;
        strbuf_init(&tuned, arena);
        strbuf_printf(&tuned, "{\"device\":%s,\"entries\":%s}", urza_tuner_device(tuner), list);
        out->parts[TUNED_PART] = (struct child_part){tuned.data, tuned.size_bytes};
    }
    return true;
}

static bool verify(const struct work_order *work, struct arena *arena, struct child_answer *out,
                   struct error *err)
{
    const struct child_part *package = &work->parts[2];
    struct verify_wire wire;
    const char *texts[TEXTS_MOST] = {NULL};
    if (!take_options(&work->parts[0], &wire, sizeof wire, err) ||
        !take_texts(&work->parts[1], texts, 1, err))
        return false;
    const struct verify_options options = {.seed = wire.seed,
                                           .dims = texts[0],
                                           .size_count = wire.size_count,
                                           .thorough = wire.thorough,
                                           .allow_unsigned = wire.allow_unsigned,
                                           .all_alignments = wire.all_alignments,
                                           .timeout_s = wire.timeout_s,
                                           .board = work->board};
    return order_verify_here(package->data, package->size_bytes, &options, arena, out, err);
}

bool order_verify_here(const void *package, size_t size, const struct verify_options *options,
                       struct arena *arena, struct child_answer *out, struct error *err)
{
    /* The jobs of verification confine themselves further. */
    confine_calls(&(struct confinement){.processes = true, .memory_files = true});
    struct verify_report report;
    struct verify_summary *summary = ARENA_NEW(arena, struct verify_summary);
    struct strbuf evidence;
    if (!verify_package(package, size, options, arena, &report, err))
        return false;
    verify_summarise(&report, summary);
    strbuf_init(&evidence, arena);
    verify_print(&report, &evidence);
    out->parts[0] = (struct child_part){summary, sizeof *summary};
    out->parts[1] = (struct child_part){evidence.data, evidence.size_bytes};
    return true;
}

static bool profile(const struct work_order *work, struct arena *arena, struct child_answer *out,
                    struct error *err)
{
    const struct child_part *package = &work->parts[2];
    struct profile *figures = ARENA_NEW(arena, struct profile);
    struct profile_wire wire;
    struct strbuf text;
    if (!take_options(&work->parts[0], &wire, sizeof wire, err))
        return false;
    const struct profile_options options = {
        .load = {.trusted_keys = (const uint8_t(*)[32]) & wire.signer,
                 .trusted_key_count = 1,
                 .threads = 1},
        .seconds = wire.seconds,
        .peaks = 1};
    confine_calls(&(struct confinement){.memory_files = true});
    if (!profile_package(package->data, package->size_bytes, &options, arena, figures, err))
        return false;
    strbuf_init(&text, arena);
    profile_print(figures, &text);
    out->parts[0] = (struct child_part){text.data, text.size_bytes};
    return true;
}

bool order_take_profiled(const struct child_answer *answer, struct order_profiled *out,
                         struct error *err)
{
    json_t *value = json_read(answer->parts[0].data ? answer->parts[0].data : "",
                              answer->parts[0].size_bytes, err);
    if (!value)
        return fail(err, ERR_COMPILER_DIED, "the answer of measuring is damaged");
    json_int_t bytes = json_integer_value(json_object_get(value, "temporaries_bytes"));
    *out = (struct order_profiled){.json = answer->parts[0].data,
                                   .p50_us = json_number_value(json_object_get(value, "p50_us")),
                                   .temporaries_bytes = bytes > 0 ? (uint64_t)bytes : 0};
    json_decref(value);
    return true;
}

bool order_do(const struct work_order *work, struct arena *arena, struct child_answer *out,
              struct error *err)
{
    compile_in_child();
    switch (work->kind) {
    case ORDER_COMPILE: return compile(work, arena, out, err);
    case ORDER_VERIFY: return verify(work, arena, out, err);
    case ORDER_PROFILE: return profile(work, arena, out, err);
    case ORDER_KINDS: break;
    }
    return fail(err, ERR_BUG, "no such work");
}

_Static_assert(offsetof(struct verify_summary, pass) == 0, "order_take_verified looks there");

bool order_take_verified(const struct child_answer *answer, struct verify_summary *out,
                         const char **out_evidence, size_t *out_bytes, struct error *err)
{
    if (answer->parts[0].size_bytes != sizeof *out || answer->parts[1].size_bytes == 0)
        return fail(err, ERR_COMPILER_DIED, "the answer of verification is damaged");
    memcpy(out, answer->parts[0].data, sizeof *out);
    /* The byte may have any value. */
    out->pass = *(const unsigned char *)answer->parts[0].data == 1;
    out->name[sizeof out->name - 1] = out->detail[sizeof out->detail - 1] = '\0';
    child_clean(out->name, true);
    child_clean(out->detail, true);
    json_t *evidence = json_read(answer->parts[1].data, answer->parts[1].size_bytes, err);
    if (!evidence && err->code != ERR_NOMEM)
        err->code = ERR_COMPILER_DIED;
    if (!evidence)
        return false;
    json_decref(evidence);
    *out_evidence = answer->parts[1].data;
    *out_bytes = answer->parts[1].size_bytes;
    return true;
}

static bool body(void *context, struct arena *arena, struct child_answer *out, struct error *err)
{
    return order_do(context, arena, out, err);
}

struct child_exit order_run(const struct work_order *work, struct arena *arena,
                            struct child_answer *out_answer, struct error *err)
{
    return child_run(body, (void *)(uintptr_t)work, &work->limits, arena, out_answer, err);
}
