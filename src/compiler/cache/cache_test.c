/* A value comes back unchanged or not at all, from memory and from the folder, whatever happened to
 * the files; and both levels stay within their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/cache/cache_priv.h"

#include <cmocka.h>

#define PATH_BYTES 256

static void run(const char *format, const char *path)
{
    char command[2 * PATH_BYTES];
    snprintf(command, sizeof command, format, path);
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    char *folder = strdup("/tmp/urza-cache-XXXXXX");
    assert_non_null(mkdtemp(folder));
    *state = folder;
    return 0;
}

static int teardown(void **state)
{
    run("rm -rf %s", *state);
    free(*state);
    return 0;
}

static void key_of(uint32_t number, uint8_t key[SHA256_BYTES])
{
    sha256(&number, sizeof number, key);
}

static void path_of(const char *folder, uint32_t number, char path[PATH_BYTES])
{
    uint8_t key[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    key_of(number, key);
    hex_encode(key, sizeof key, hex);
    snprintf(path, PATH_BYTES, "%s/%.2s/%s", folder, hex, hex + 2);
}

/* Adds a value of bytes that are all its number. */
static void add(struct cache *cache, uint32_t number, size_t size)
{
    uint8_t key[SHA256_BYTES], *value = malloc(size + 1);
    memset(value, (int)number, size);
    key_of(number, key);
    struct iovec parts[3] = {{value, size / 3}, {NULL, 0}, {value, size - size / 3}};
    cache_add(cache, key, parts, 3);
    free(value);
}

static enum cache_level find(struct cache *cache, uint32_t number, size_t size)
{
    uint8_t key[SHA256_BYTES];
    enum cache_level level;
    key_of(number, key);
    const struct cache_value *value = cache_find(cache, key, &level);
    assert_int_equal(value != NULL, level != CACHE_NONE);
    if (!value)
        return level;
    assert_int_equal(value->size_bytes, size);
    assert_int_equal((uintptr_t)value->data % 64, 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(value->data[i], (uint8_t)number);
    cache_release(cache, value);
    return level;
}

static enum cache_level find_afresh(const char *folder, uint32_t number, size_t size)
{
    struct cache *cache = cache_new(&(struct cache_options){.folder = folder});
    enum cache_level level = find(cache, number, size);
    cache_free(cache);
    return level;
}

static void levels(void **state)
{
    struct cache *cache = cache_new(&(struct cache_options){.folder = *state});
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(find(cache, i, i), CACHE_NONE);
        add(cache, i, i);
        add(cache, i, i);
        assert_int_equal(find(cache, i, i), CACHE_MEMORY);
    }
    cache_free(cache);
    cache = cache_new(&(struct cache_options){.folder = *state});
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(find(cache, i, i), CACHE_DISK);
        assert_int_equal(find(cache, i, i), CACHE_MEMORY);
    }
    assert_int_equal(find(cache, 300, 0), CACHE_NONE);
    cache_free(cache);
}

static void memory_alone(void **state)
{
    (void)state;
    struct cache *cache = cache_new(&(struct cache_options){0});
    add(cache, 1, 10);
    assert_int_equal(find(cache, 1, 10), CACHE_MEMORY);
    cache_free(cache);
    cache = cache_new(&(struct cache_options){0});
    assert_int_equal(find(cache, 1, 10), CACHE_NONE);
    cache_free(cache);
    cache_free(NULL);
}

/* The least recently used value is evicted; one that a caller holds does not change. */
static void memory_is_bounded(void **state)
{
    (void)state;
    uint8_t key[SHA256_BYTES];
    struct cache *cache = cache_new(&(struct cache_options){.memory_bytes = 1000});
    for (uint32_t i = 0; i < 10; i++)
        add(cache, i, 100);
    assert_int_equal(find(cache, 0, 100), CACHE_MEMORY);
    key_of(1, key);
    const struct cache_value *held = cache_find(cache, key, NULL);
    add(cache, 20, 800);
    assert_int_equal(find(cache, 20, 800), CACHE_MEMORY);
    assert_int_equal(find(cache, 0, 100), CACHE_MEMORY);
    assert_int_equal(find(cache, 1, 100), CACHE_MEMORY);
    for (uint32_t i = 2; i < 10; i++)
        assert_int_equal(find(cache, i, 100), CACHE_NONE);
    add(cache, 21, 1001); /* more than the bound */
    assert_int_equal(find(cache, 21, 1001), CACHE_NONE);
    assert_int_equal(find(cache, 20, 800), CACHE_MEMORY);
    add(cache, 22, 1000);
    assert_int_equal(find(cache, 1, 100), CACHE_NONE);
    assert_int_equal(held->size_bytes, 100);
    assert_int_equal(held->data[99], 1);
    cache_release(cache, held);
    cache_release(cache, NULL);
    cache_free(cache);
}

/* Changes every byte and every length of a file: a damaged one is a miss, and removed. */
static void damage_is_a_miss(void **state)
{
    enum { SIZE = 100, FILE_BYTES = SIZE + (int)sizeof(struct cache_file) };
    char path[PATH_BYTES];
    uint8_t bytes[FILE_BYTES];
    struct cache *cache = cache_new(&(struct cache_options){.folder = *state});
    add(cache, 5, SIZE);
    cache_free(cache);
    path_of(*state, 5, path);
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(bytes, 1, sizeof bytes, f), sizeof bytes);
    fclose(f);
    for (int damage = 0; damage < 2 * FILE_BYTES; damage++) {
        int at = damage / 2;
        bool flips = damage % 2, padding = at >= 80 && at < (int)sizeof(struct cache_file);
        f = fopen(path, "wb");
        bytes[at] ^= flips;
        fwrite(bytes, 1, flips ? sizeof bytes : (size_t)at, f);
        bytes[at] ^= flips;
        fclose(f);
        assert_int_equal(find_afresh(*state, 5, SIZE), flips && padding ? CACHE_DISK : CACHE_NONE);
        assert_int_equal(access(path, F_OK) == 0, flips && padding);
    }
    f = fopen(path, "wb"); /* longer than its header says */
    fwrite(bytes, 1, sizeof bytes, f);
    fputc(0, f);
    fclose(f);
    assert_int_equal(find_afresh(*state, 5, SIZE), CACHE_NONE);
    char other[PATH_BYTES]; /* with the name of another key */
    path_of(*state, 6, other);
    cache = cache_new(&(struct cache_options){.folder = *state});
    add(cache, 6, SIZE);
    add(cache, 5, SIZE);
    assert_int_equal(rename(path, other), 0);
    cache_free(cache);
    assert_int_equal(find_afresh(*state, 6, SIZE), CACHE_NONE);
}

static void odd_files_are_misses(void **state)
{
    char path[PATH_BYTES];
    for (int kind = 0; kind < 3; kind++) {
        path_of(*state, 7, path);
        struct cache *cache = cache_new(&(struct cache_options){.folder = *state});
        add(cache, 7, 10);
        cache_free(cache);
        assert_int_equal(find_afresh(*state, 7, 10), CACHE_DISK);
        assert_int_equal(unlink(path), 0);
        if (kind == 0)
            assert_int_equal(mkdir(path, 0700), 0);
        else if (kind == 1)
            assert_int_equal(mkfifo(path, 0700), 0);
        else
            assert_int_equal(symlink("/etc/passwd", path), 0);
        assert_int_equal(find_afresh(*state, 7, 10), CACHE_NONE);
        run("rm -r %s", path);
    }
}

static uint64_t bytes_in(const char *folder)
{
    char command[2 * PATH_BYTES];
    unsigned long long bytes = 0;
    snprintf(command, sizeof command,
             "find %s -type f -printf '%%s\\n' | awk '{n += $1} END "
             "{print n + 0}'",
             folder);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%llu", &bytes), 1);
    pclose(f);
    return bytes;
}

/* Each value is larger than a 64th of the bound, so each write checks the size. Recently used
 * values stay. */
static void disk_is_bounded(void **state)
{
    char path[PATH_BYTES], abandoned[PATH_BYTES + 8];
    struct cache_options options = {.folder = *state, .memory_bytes = 1, .disk_bytes = 100000};
    struct cache *cache = cache_new(&options);
    add(cache, 0, 2000);
    path_of(*state, 0, path);
    snprintf(abandoned, sizeof abandoned, "%s.abcdef", path);
    run("touch -d '1 day ago' %s", abandoned);
    for (uint32_t i = 1; i < 100; i++) {
        path_of(*state, i - 1, path);
        run("touch -d '1 hour ago' %s 2>/dev/null || true", path);
        assert_int_equal(find(cache, 0, 2000), CACHE_DISK); /* this counts as a use */
        add(cache, i, 2000);
        assert_true(bytes_in(*state) <= options.disk_bytes);
    }
    assert_int_equal(find(cache, 0, 2000), CACHE_DISK);
    assert_int_equal(find(cache, 99, 2000), CACHE_DISK);
    assert_int_equal(find(cache, 1, 2000), CACHE_NONE);
    assert_int_equal(access(abandoned, F_OK), -1);
    add(cache, 200, 30000); /* more than a quarter of the bound */
    assert_int_equal(find(cache, 200, 30000), CACHE_NONE);
    cache_free(cache);
}

static void bad_folders_are_no_failure(void **state)
{
    char inside[PATH_BYTES], shared[PATH_BYTES];
    snprintf(inside, sizeof inside, "%s/file/cache", (const char *)*state);
    snprintf(shared, sizeof shared, "%s/shared", (const char *)*state);
    run("touch %s/file", *state);
    assert_int_equal(mkdir(shared, 0700), 0);
    assert_int_equal(chmod(shared, 0770), 0);
    const char *const folders[] = {inside, shared, "/proc/cache", ""};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        struct cache *cache = cache_new(&(struct cache_options){.folder = folders[i]});
        assert_non_null(cache);
        add(cache, 1, 10);
        assert_int_equal(find(cache, 1, 10), CACHE_MEMORY);
        cache_free(cache);
        assert_int_equal(find_afresh(folders[i], 1, 10), CACHE_NONE);
    }
    assert_int_equal(rmdir(shared), 0); /* it is empty */
}

/* The disk is full at every point of a file; and the folder disappears meanwhile. */
static void failing_writes_leave_nothing(void **state)
{
    char path[PATH_BYTES];
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    path_of(*state, 3, path);
    for (rlim_t limit = 0; limit < 200 + sizeof(struct cache_file); limit += 7) {
        struct cache *cache = cache_new(&(struct cache_options){.folder = *state});
        struct rlimit few = {limit, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
        add(cache, 3, 200);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(find(cache, 3, 200), CACHE_MEMORY);
        assert_int_equal(bytes_in(*state), 0);
        cache_free(cache);
    }
    struct cache *cache = cache_new(&(struct cache_options){.folder = *state});
    run("rm -rf %s", *state);
    add(cache, 3, 200);
    assert_int_equal(find(cache, 3, 200), CACHE_MEMORY);
    cache_free(cache);
    assert_int_equal(find_afresh(*state, 4, 1), CACHE_NONE);
}

#define VALUES 40

static void work(const char *folder, uint32_t seed, struct cache *shared)
{
    struct cache_options options = {.folder = folder, .memory_bytes = 3000, .disk_bytes = 20000};
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t number = (i * 7 + seed * 13 + i / 10) % VALUES;
        struct cache *cache = shared ? shared : cache_new(&options);
        find(cache, number, 500 + number);
        add(cache, number, 500 + number);
        find(cache, number, 500 + number);
        if (!shared)
            cache_free(cache);
    }
}

/* Concurrent writing, reading and trimming: values that are found are correct. */
static void many_processes(void **state)
{
    pid_t children[3];
    for (uint32_t i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            work(*state, i, NULL);
            _exit(0);
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    struct cache *cache = cache_new(&(struct cache_options){.folder = *state});
    for (uint32_t i = 0; i < VALUES; i++)
        find(cache, i, 500 + i);
    cache_free(cache);
}

struct thread {
    const char *folder;
    struct cache *cache;
    uint32_t seed;
};

static void *thread_main(void *context)
{
    struct thread *t = context;
    work(t->folder, t->seed, t->cache);
    return NULL;
}

static void many_threads(void **state)
{
    pthread_t threads[3];
    struct thread contexts[3];
    struct cache *cache = cache_new(
        &(struct cache_options){.folder = *state, .memory_bytes = 3000, .disk_bytes = 20000});
    for (uint32_t i = 0; i < 3; i++) {
        contexts[i] = (struct thread){*state, cache, i};
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &contexts[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    cache_free(cache);
}

static void the_revision_is_a_digest(void **state)
{
    (void)state;
    assert_int_equal(strspn(cache_revision(), "0123456789abcdef"), 32);
    assert_int_equal(strlen(cache_revision()), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(levels, setup, teardown),
        cmocka_unit_test(memory_alone),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test_setup_teardown(damage_is_a_miss, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_files_are_misses, setup, teardown),
        cmocka_unit_test_setup_teardown(disk_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_folders_are_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(failing_writes_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(many_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(many_threads, setup, teardown),
        cmocka_unit_test(the_revision_is_a_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
