/* Memory in proportion: what compiling takes grows with the number of nodes and no faster, and
 * large parameters are in memory once. Bytes are counted, by a malloc of this program's own in
 * front of the C library's; mappings of files take none. Sanitizers bring their own malloc: there,
 * nothing is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <malloc.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "build/build.h"
#include "compiler/target/target.h"
#include "package/package.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define COUNTED (!URZA_SANITIZED)
#define MIB ((size_t)1 << 20)

static struct {
    _Atomic size_t live, peak, sum; /* of bytes: now, at most, and of all allocations */
} heap;

#if COUNTED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *memory);

static void *counted(void *memory)
{
    size_t size = malloc_usable_size(memory);
    size_t live = atomic_fetch_add(&heap.live, size) + size, peak = atomic_load(&heap.peak);
    atomic_fetch_add(&heap.sum, size);
    while (live > peak && !atomic_compare_exchange_weak(&heap.peak, &peak, live))
        continue;
    return memory;
}

URZA_EXPORT void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

URZA_EXPORT void *calloc(size_t count, size_t size)
{
    return counted(__libc_calloc(count, size));
}

URZA_EXPORT void *realloc(void *memory, size_t size)
{
    atomic_fetch_sub(&heap.live, malloc_usable_size(memory));
    return counted(__libc_realloc(memory, size));
}

URZA_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    return counted(__libc_memalign(align, size));
}

URZA_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    *out = counted(__libc_memalign(align, size));
    return *out ? 0 : 12; /* ENOMEM */
}

URZA_EXPORT void free(void *memory)
{
    atomic_fetch_sub(&heap.live, malloc_usable_size(memory));
    __libc_free(memory);
}
#endif

/* A blueprint under construction: its lists of params and nodes, and the value so far. */
struct model {
    struct strbuf params, nodes;
    char last[24];
    int count;
};

static void param(struct model *m, int index, const char *name, const char *shape, const char *init)
{
    strbuf_printf(&m->params, "%s{\"id\":\"%s%d\",\"dtype\":\"f32\",\"shape\":%s,\"init\":%s}",
                  m->params.size_bytes ? "," : "", name, index, shape, init);
}

/* rest: the operands behind the last value, and attributes. */
static void node(struct model *m, const char *op, const char *rest)
{
    char id[24];
    snprintf(id, sizeof id, "n%d", m->count++);
    strbuf_printf(&m->nodes, "%s{\"id\":\"%s\",\"op\":\"%s\",\"in\":[\"%s\"%s}",
                  m->nodes.size_bytes ? "," : "", id, op, m->last, rest);
    memcpy(m->last, id, sizeof id);
}

static void perceptron(struct model *m, int layer)
{
    char rest[64];
    param(m, layer, "w", "[16,16]", "{\"kind\":\"kaiming_uniform\"}");
    param(m, layer, "b", "[16]", "{\"kind\":\"zeros\"}");
    snprintf(rest, sizeof rest, ",\"w%d\",\"b%d\"]", layer, layer);
    node(m, "linear", rest);
    node(m, "relu", "]");
}

static void residual(struct model *m, int layer)
{
    char rest[64], before[24];
    memcpy(before, m->last, sizeof before);
    node(m, "layer_norm", "]");
    param(m, layer, "w", "[16,16]", "{\"kind\":\"kaiming_uniform\"}");
    snprintf(rest, sizeof rest, ",\"w%d\"]", layer);
    node(m, "linear", rest);
    snprintf(rest, sizeof rest, ",\"%s\"]", before);
    node(m, "add", rest);
}

static void rolled(struct model *m, int layer)
{
    char rest[64], head[24], whole[24];
    (void)layer;
    memcpy(whole, m->last, sizeof whole);
    node(m, "slice", "],\"attrs\":{\"dim\":1,\"start\":0,\"end\":5}");
    memcpy(head, m->last, sizeof head);
    memcpy(m->last, whole, sizeof whole);
    node(m, "slice", "],\"attrs\":{\"dim\":1,\"start\":5}");
    snprintf(rest, sizeof rest, ",\"%s\"],\"attrs\":{\"dim\":1}", head);
    node(m, "concat", rest);
    node(m, "tanh", "]");
}

/* Many parameters with a few numbers each, some of which calls read as they are prepared. */
static void scaled(struct model *m, int layer)
{
    char rest[64];
    param(m, layer, "p", "[16]", "{\"kind\":\"uniform\",\"low\":0.9,\"high\":1.1}");
    snprintf(rest, sizeof rest, ",\"p%d\"]", layer);
    if (layer % 8 == 0) {
        strbuf_printf(&m->nodes, "%s{\"id\":\"e%d\",\"op\":\"log\",\"in\":[\"p%d\"]}",
                      m->nodes.size_bytes ? "," : "", layer, layer);
        snprintf(rest, sizeof rest, ",\"e%d\"]", layer);
        node(m, "add", rest);
    } else {
        node(m, "mul", rest);
    }
}

static struct strbuf model_text(struct arena *arena, void (*layer)(struct model *m, int layer),
                                int layers)
{
    struct model m = {.last = "x"};
    struct strbuf text;
    strbuf_init(&m.params, arena);
    strbuf_init(&m.nodes, arena);
    strbuf_init(&text, arena);
    for (int i = 0; i < layers; i++)
        layer(&m, i);
    strbuf_printf(
        &text, "{\"format\":\"urza.blueprint/1\",\"dims\":{\"B\":{\"min\":1,\"max\":64}},"
               "\"inputs\":[{\"id\":\"x\",\"dtype\":\"f32\",\"shape\":[\"B\",16]}],\"params\":[");
    strbuf_add(&text, m.params.data, m.params.size_bytes);
    strbuf_puts(&text, "],\"nodes\":[");
    strbuf_add(&text, m.nodes.data, m.nodes.size_bytes);
    strbuf_printf(&text, "],\"outputs\":[\"%s\"]}", m.last);
    return text;
}

/* Bytes of all allocations together. */
static size_t bytes_to_compile(void (*layer)(struct model *m, int layer), int layers)
{
    struct arena arena;
    struct compile_result result;
    struct error err;
    arena_init(&arena);
    struct strbuf text = model_text(&arena, layer, layers);
    const struct compile_options options = {.strategy = STRATEGY_FAST};
    size_t before = heap.sum;
    if (!compile_blueprint(text.data, text.size_bytes, &options, &arena, &result, &err))
        fail_msg("%s: %s", err.place, err.message);
    size_t bytes = heap.sum - before;
    arena_release(&arena);
    return bytes;
}

/* Twice as many nodes more take twice as many bytes more; if something grew with the square of the
 * nodes, four times. Blocks of memory have sizes that double, so 2 is not met exactly. */
static void memory_grows_with_the_nodes(void **state)
{
    static void (*const kinds[])(struct model *m, int layer) = {perceptron, residual, rolled};
    (void)state;
    if (!COUNTED)
        skip();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t few = bytes_to_compile(kinds[i], 200), some = bytes_to_compile(kinds[i], 400),
               many = bytes_to_compile(kinds[i], 800);
        print_message("%zu, %zu, %zu MiB\n", few / MIB, some / MIB, many / MIB);
        assert_true(some > few && many > some);
        assert_true((double)(many - some) < 3 * (double)(some - few));
    }
}

/* The most bytes at a time. targets: NULL: all of this family. */
static size_t peak_to_compile(const char *targets, int layers)
{
    struct arena arena;
    struct compile_result result;
    struct error err;
    arena_init(&arena);
    struct strbuf text = model_text(&arena, residual, layers);
    const struct compile_options options = {.strategy = STRATEGY_FAST, .targets = targets};
    size_t before = heap.live;
    heap.peak = before;
    if (!compile_blueprint(text.data, text.size_bytes, &options, &arena, &result, &err))
        fail_msg("%s: %s", err.place, err.message);
    size_t bytes = heap.peak - before;
    arena_release(&arena);
    return bytes;
}

/* What one target needs is given back before the next one begins. */
static void targets_take_turns(void **state)
{
    char last[32] = "";
    (void)state;
    if (!COUNTED)
        skip();
    for (uint32_t i = 0; target_at(i); i++)
        if (target_of_this_family(target_at(i)->name))
            snprintf(last, sizeof last, "%s", target_at(i)->name);
    size_t one = peak_to_compile(last, 800), all = peak_to_compile(NULL, 800);
    print_message("%zu MiB for one target, %zu for all\n", one / MIB, all / MIB);
    assert_true(all < one + one / 2);
}

#define PARAM_SIDE 4096
#define PARAM_BYTES ((size_t)PARAM_SIDE * PARAM_SIDE * sizeof(float))
#define PARAMS 2
#define SMALLER_SIDE 2048
#define SMALLER_BYTES ((size_t)SMALLER_SIDE * SMALLER_SIDE * sizeof(float))
#define SMALLER_PARAMS 10

/* A file of parameters as exporters write them, whose data begins at a multiple of 64. */
static void write_params(const char *path)
{
    char header[1024];
    size_t used = 0;
    for (size_t i = 0; i < PARAMS; i++)
        used += (size_t)snprintf(
            header + used, sizeof header - used,
            "%s\"w%zu\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}",
            i > 0 ? "," : "{", i, PARAM_SIDE, PARAM_SIDE, i * PARAM_BYTES, (i + 1) * PARAM_BYTES);
    header[used++] = '}';
    while ((used + 8) % 64 != 0)
        header[used++] = ' ';
    uint64_t size = used;
    float *data = malloc(PARAM_BYTES);
    FILE *file = fopen(path, "wb");
    assert_true(file && data);
    assert_int_equal(fwrite(&size, 8, 1, file), 1);
    assert_int_equal(fwrite(header, used, 1, file), 1);
    for (size_t i = 0; i < PARAMS; i++) {
        for (size_t k = 0; k < PARAM_BYTES / sizeof *data; k++)
            data[k] = (float)((k * 2654435761u + i) % 1009) / 65536;
        assert_int_equal(fwrite(data, PARAM_BYTES, 1, file), 1);
    }
    free(data);
    assert_int_equal(fclose(file), 0);
}

/* The package has them, so they are in memory once, as part of it. */
static void parameters_are_in_memory_once(void **state)
{
    char folder[] = "/tmp/urza-growth-XXXXXX", path[64];
    static const char text[] =
        "{\"format\":\"urza.blueprint/1\",\"dims\":{\"B\":{\"min\":1,\"max\":64}},"
        "\"inputs\":[{\"id\":\"x\",\"dtype\":\"f32\",\"shape\":[\"B\",4096]}],\"params\":["
        "{\"id\":\"w0\",\"dtype\":\"f32\",\"shape\":[4096,4096],"
        "\"init\":{\"kind\":\"safetensors\",\"path\":\"w.safetensors\"}},"
        "{\"id\":\"w1\",\"dtype\":\"f32\",\"shape\":[4096,4096],"
        "\"init\":{\"kind\":\"safetensors\",\"path\":\"w.safetensors\"}}],"
        "\"nodes\":[{\"id\":\"a\",\"op\":\"linear\",\"in\":[\"x\",\"w0\"]},"
        "{\"id\":\"b\",\"op\":\"linear\",\"in\":[\"a\",\"w1\"]}],\"outputs\":[\"b\"]}";
    struct arena arena;
    struct compile_result result;
    struct error err;
    (void)state;
    if (!COUNTED)
        skip();
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w.safetensors", folder);
    write_params(path);
    arena_init(&arena);
    const struct compile_options options = {.strategy = STRATEGY_FAST, .folder = folder};
    heap.peak = heap.live;
    size_t before = heap.live;
    bool ok = compile_blueprint(text, sizeof text - 1, &options, &arena, &result, &err);
    size_t bytes = heap.peak - before, all = PARAMS * PARAM_BYTES;
    unlink(path);
    rmdir(folder);
    if (!ok)
        fail_msg("%s: %s", err.place, err.message);
    print_message("%zu MiB of parameters, %zu MiB of memory\n", all / MIB, bytes / MIB);
    assert_true(result.package_bytes > all);
    assert_true(bytes < all + all * 3 / 10 + 32 * MIB);
    arena_release(&arena);
}

static void wide(struct model *m, int layer)
{
    char rest[64];
    param(m, layer, "w", "[2048,2048]", "{\"kind\":\"kaiming_uniform\"}");
    snprintf(rest, sizeof rest, ",\"w%d\"]", layer);
    node(m, "linear", rest);
    node(m, "relu", "]");
}

static struct strbuf wide_text(struct arena *arena)
{
    struct strbuf text = model_text(arena, wide, SMALLER_PARAMS);
    char *width = strstr(text.data, "[\"B\",16]");
    assert_non_null(width);
    struct strbuf all;
    strbuf_init(&all, arena);
    strbuf_add(&all, text.data, (size_t)(width - text.data));
    strbuf_printf(&all, "[\"B\",%d]%s", SMALLER_SIDE, width + strlen("[\"B\",16]"));
    return all;
}

/* The most memory that was resident in one of the processes that this one has waited for, those of
 * their own included. */
static size_t most_resident(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
    return (size_t)usage.ru_maxrss << 10;
}

static size_t resident(void)
{
    long pages = 0, total = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_true(file && fscanf(file, "%ld %ld", &total, &pages) == 2);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Verification has the package, what one module has prepared, and of the rest a part: neither
 * copies nor cells of all parameters. Where that is too much, it says so before it begins. */
static void large_parameters_are_verified(void **state)
{
    struct arena arena;
    struct build_result result, verified;
    struct error err;
    (void)state;
    if (!COUNTED)
        skip();
    arena_init(&arena);
    struct strbuf text = wide_text(&arena);
    struct build_request request = {
        .source = text.data,
        .size = text.size_bytes,
        .compile = {.strategy = STRATEGY_FAST, .targets = target_best_here()}};
    if (!build_run(&request, &arena, &result, &err))
        fail_msg("%s: %s", err.place, err.message);
    assert_int_equal((uintptr_t)result.package % 64, 0);              /* else it would be copied */
    size_t all = SMALLER_PARAMS * SMALLER_BYTES, before = resident(); /* children begin with it */
    if (!build_verify(&request, result.package, result.package_bytes, &arena, &verified, &err))
        fail_msg("%s: %s", err.place, err.message);
    size_t bytes = most_resident() - before;
    print_message("%zu MiB of parameters, %zu MiB of memory to verify them\n", all / MIB,
                  bytes / MIB);
    assert_true(bytes < 2 * all + 512 * MIB); /* one is the package without its signature */
    request.compile.memory_bytes = all;
    assert_false(
        build_verify(&request, result.package, result.package_bytes, &arena, &verified, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    assert_non_null(strstr(err.message, "0.2 GB of parameters"));
    build_release(&request, &result);
    arena_release(&arena);
}

/* More parameters than the validator keeps open: it opens them again, and prepares again what
 * follows from them. */
static void many_parameters_are_verified(void **state)
{
    struct arena arena;
    struct build_result result;
    struct error err;
    (void)state;
    arena_init(&arena);
    struct strbuf text = model_text(&arena, scaled, 9000);
    const struct build_request request = {
        .source = text.data, .size = text.size_bytes, .dims = "B=3"};
    if (!build_run(&request, &arena, &result, &err))
        fail_msg("%s: %s", err.place, err.message);
    assert_true(result.verify_ms >= 0);
    build_release(&request, &result);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_parameters_are_verified),
        cmocka_unit_test(memory_grows_with_the_nodes),
        cmocka_unit_test(targets_take_turns),
        cmocka_unit_test(parameters_are_in_memory_once),
        cmocka_unit_test(many_parameters_are_verified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
