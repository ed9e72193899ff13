/* Compiling with a cache: the bytes are the same as without one, what did not change is not
 * generated again, and what changed is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "compiler/cache/cache.h"
#include "compiler/compile.h"

#include <cmocka.h>

struct fixture {
    struct arena arena;
    char folder[32];
    struct cache *cache;
    struct compile_options options; /* one target, with the cache above */
};

static void begin_cache(struct fixture *f)
{
    cache_free(f->cache);
    f->cache = cache_new(&(struct cache_options){.folder = f->folder});
    f->options.cache = f->cache;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena);
    snprintf(f->folder, sizeof f->folder, "/tmp/urza-cached-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->options = (struct compile_options){.strategy = STRATEGY_FAST, .targets = "x86-64-v3"};
    begin_cache(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    assert_int_equal(system(command), 0);
    cache_free(f->cache);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static const char *read_example(struct fixture *f, const char *name)
{
    char path[128], *text;
    struct error err = {0};
    size_t size;
    snprintf(path, sizeof path, "examples/%s.json", name);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &size, &err))
        fail_msg("%s: %s", path, err.message);
    const char *copy = arena_strndup(&f->arena, text, size);
    free(text);
    return copy;
}

static const char *replace(struct fixture *f, const char *text, const char *from, const char *to)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    const char *at = strstr(text, from);
    assert_non_null(at);
    strbuf_add(&out, text, (size_t)(at - text));
    strbuf_puts(&out, to);
    strbuf_puts(&out, at + strlen(from));
    return out.data;
}

/* Compiles with the cache, compares the package with one compiled without it, and releases it. */
static struct compile_result compile(struct fixture *f, const char *text, size_t size)
{
    struct compile_result cached = {0}, plain = {0};
    struct compile_options options = f->options;
    struct error err = {0};
    if (!compile_blueprint(text, size, &f->options, &f->arena, &cached, &err))
        fail_msg("%s: %s", err.place, err.message);
    options.cache = NULL;
    assert_true(compile_blueprint(text, size, &options, &f->arena, &plain, &err));
    assert_int_equal(plain.memory_hits + plain.disk_hits, 0);
    assert_int_equal(plain.found, CACHE_NONE);
    assert_int_equal(cached.package_bytes, plain.package_bytes);
    assert_memory_equal(cached.package, plain.package, plain.package_bytes);
    assert_string_equal(cached.kernel_id, plain.kernel_id);
    assert_int_equal(cached.kernels, plain.kernels);
    if (cached.found == CACHE_NONE)
        assert_int_equal(cached.generated + cached.memory_hits + cached.disk_hits, plain.generated);
    compile_release(&f->options, &cached);
    compile_release(&options, &plain);
    assert_null(cached.package);
    return cached;
}

static struct compile_result compile_text(struct fixture *f, const char *text)
{
    return compile(f, text, strlen(text));
}

static void every_level_gives_the_same_bytes(void **state)
{
    static const char *const names[] = {"mlp", "custom_graph", "conv_arch", "transformer_block"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = read_example(f, names[i]);
        const char *wider = replace(f, text, "{", "{  "), *widest = replace(f, text, "{", "{   ");
        struct compile_result first = compile_text(f, text);
        assert_int_equal(first.found, CACHE_NONE);
        assert_true(first.generated > 0);
        assert_int_equal(compile_text(f, text).found, CACHE_MEMORY);
        struct compile_result again = compile_text(f, wider);
        assert_int_equal(again.found, CACHE_NONE);
        assert_int_equal(again.memory_hits, first.generated + first.memory_hits);
        begin_cache(f);
        again = compile_text(f, widest);
        assert_int_equal(again.disk_hits, first.generated + first.memory_hits);
        assert_int_equal(compile_text(f, text).found, CACHE_DISK);
        assert_int_equal(compile_text(f, text).found, CACHE_MEMORY);
    }
}

static void only_changed_kernels_are_generated(void **state)
{
    struct fixture *f = *state;
    const char *text = read_example(f, "mlp");
    struct compile_result first = compile_text(f, text);
    static const char *const changes[][2] = {
        {"\"relu\"", "\"gelu\""},         /* an epilogue */
        {"\"max\": 4096", "\"max\": 33"}, /* a range: it is part of every kernel that uses it */
        {"\"min\": 1", "\"min\": 32"},    /* a range that decides which loops need a test */
        {"[10, 128]", "[11, 128]"},       /* a size */
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *changed = replace(f, text, changes[i][0], changes[i][1]);
        if (i == 3)
            changed = replace(f, changed, "[10]", "[11]");
        struct compile_result result = compile_text(f, changed);
        assert_int_equal(result.found, CACHE_NONE);
        assert_true(result.generated > 0);
        assert_true(result.memory_hits > 0);
    }
    /* With other values of parameters, and other names, the kernels are the same. */
    struct compile_result result = compile_text(f, replace(f, text, "\"seed\": 1", "\"seed\": 2"));
    assert_int_equal(result.found, CACHE_NONE);
    assert_int_equal(result.generated, 0);
    result = compile_text(f, replace(f, text, "\"name\": \"mlp\"", "\"name\": \"other\""));
    assert_int_equal(result.memory_hits, first.generated);
    f->options.targets = "x86-64-v4";
    assert_int_equal(compile_text(f, text).generated, first.generated);
}

static void options_are_part_of_the_key(void **state)
{
    struct fixture *f = *state;
    const char *text = read_example(f, "conv_arch");
    struct signing_key key, other;
    struct error err = {0};
    char home[64];
    for (int i = 0; i < 2; i++) {
        snprintf(home, sizeof home, "%s/home%d", f->folder, i);
        assert_true(keys_open(home, i ? &other : &key, &err));
    }
    const struct compile_options base = f->options;
    struct compile_options rows[12];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        rows[i] = base;
    rows[1].targets = "x86-64-v2,x86-64-v3";
    rows[2].seed = 1;
    rows[3].strategy = STRATEGY_STANDARD;
    rows[4].training = true;
    rows[5].key = &key;
    rows[6].key = &other;
    for (int i = 7; i < 10; i++)
        rows[i].backward = true;
    rows[8].wrt = "params";
    rows[9].wrt = "x";
    rows[10].specialise = "B=2";
    rows[11].specialise = "B=2\nB=3";
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            f->options = rows[i];
            assert_int_equal(compile_text(f, text).found, round ? CACHE_MEMORY : CACHE_NONE);
        }
    }
    f->options = base;
    f->options.specialise = ""; /* which is an error, whatever the cache has */
    struct arena arena;
    struct compile_result result;
    arena_init(&arena);
    assert_false(compile_blueprint(text, strlen(text), &f->options, &arena, &result, &err));
    assert_int_equal(err.code, ERR_USAGE);
    arena_release(&arena);
    f->options = base;
    f->options.wrt = "params"; /* which says nothing without a backward pass */
    assert_int_equal(compile_text(f, text).found, CACHE_MEMORY);
    f->options = base;
    f->options.dump = "groups"; /* which a cached package does not have */
    assert_int_equal(compile_text(f, text).found, CACHE_NONE);
    f->options = base;
    f->options.folder = "/nowhere";
    assert_int_equal(compile_text(f, text).found, CACHE_MEMORY);
}

static void write_values(struct fixture *f, float first)
{
    static const int64_t shape[1] = {2};
    float values[2] = {first, 2};
    char path[64];
    struct npy npy;
    struct strbuf out;
    struct error err = {0};
    strbuf_init(&out, &f->arena);
    assert_true(npy_init(&npy, "<f4", 1, shape, values, &err));
    npy_format(&npy, &out);
    snprintf(path, sizeof path, "%s/w.npy", f->folder);
    assert_true(file_write_atomic(path, out.data, out.size_bytes, 0644, &err));
}

/* A package with values from a file is made again, because nothing tells when the file changes. */
static void packages_with_files_are_not_cached(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", "
        "\"shape\": [2]}], \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [2], "
        "\"init\": {\"kind\": \"file\", \"path\": \"w.npy\"}}], \"nodes\": [{\"id\": \"y\", "
        "\"op\": \"mul\", \"in\": [\"x\", \"w\"]}], \"outputs\": [\"y\"]}";
    f->options.folder = f->folder;
    for (int i = 0; i < 3; i++) {
        write_values(f, (float)i);
        struct compile_result result = compile_text(f, text);
        assert_int_equal(result.found, CACHE_NONE);
        assert_int_equal(result.generated, i == 0);
    }
}

/* The child adds kernels and package to the folder, where the parent finds them. */
static void children_share_the_folder(void **state)
{
    struct fixture *f = *state;
    const char *text = read_example(f, "mlp");
    const enum cache_level levels[] = {CACHE_NONE, CACHE_DISK, CACHE_MEMORY};
    struct compile_result results[3] = {{0}};
    struct error err = {0};
    for (int i = 0; i < 3; i++) {
        assert_true(
            compile_isolated(text, strlen(text), &f->options, &f->arena, &results[i], &err));
        assert_int_equal(results[i].found, levels[i]);
        assert_int_equal(results[i].package_bytes, results[0].package_bytes);
        assert_memory_equal(results[i].package, results[0].package, results[0].package_bytes);
    }
    const char *other = replace(f, text, "\"name\": \"mlp\"", "\"name\": \"other\"");
    struct compile_result result = {0};
    assert_true(compile_isolated(other, strlen(other), &f->options, &f->arena, &result, &err));
    assert_int_equal(result.disk_hits, results[0].generated);
    for (int i = 0; i < 3; i++)
        compile_release(&f->options, &results[i]);
    compile_release(&f->options, &result);
}

/* Two concurrent processes, with files of the folder damaged before and between. */
static void damaged_folders_do_no_harm(void **state)
{
    struct fixture *f = *state;
    const char *text = read_example(f, "custom_graph");
    static const char *const damage[3] = {
        "truncate -s 150 '{}'", "truncate -s 0 '{}'",
        "dd if=/dev/zero bs=64 seek=3 count=1 conv=notrunc status=none 'of={}'"};
    char command[256];
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        begin_cache(f);
        compile_text(f, text);
        if (child == 0)
            _exit(0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        begin_cache(f);
        assert_int_equal(compile_text(f, text).found, CACHE_DISK);
        snprintf(command, sizeof command, "find %s -type f -exec %s \\;", f->folder, damage[round]);
        assert_int_equal(system(command), 0);
    }
}

static void look_away(void *context, const struct compile_view *view)
{
    (void)view;
    ++*(uint32_t *)context;
}

/* A package that an observer may have changed is not cached. */
static void nothing_that_is_observed_is_cached(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct compile_result result = {0};
    uint32_t calls = 0;
    const char *text = read_example(f, "mlp");
    struct compile_observer observer = {.see = look_away, .context = &calls};
    f->options.observer = &observer;
    for (int i = 0; i < 2; i++) {
        assert_true(compile_blueprint(text, strlen(text), &f->options, &f->arena, &result, &err));
        assert_int_equal(result.found, CACHE_NONE);
    }
    assert_int_equal(calls, 2 * 5);
    f->options.observer = NULL;
    assert_true(compile_blueprint(text, strlen(text), &f->options, &f->arena, &result, &err));
    assert_int_equal(result.found, CACHE_NONE);
    compile_release(&f->options, &result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_level_gives_the_same_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(only_changed_kernels_are_generated, setup, teardown),
        cmocka_unit_test_setup_teardown(options_are_part_of_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(packages_with_files_are_not_cached, setup, teardown),
        cmocka_unit_test_setup_teardown(children_share_the_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_folders_do_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_that_is_observed_is_cached, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
