/* The contract of object stores, for every driver, alone and under a fault injector that injects
 * nothing; and the details of files. */
#include "registry/test_util.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "registry/blobs.h"
#include "registry/faults.h"

struct way {
    const char *name, *driver;
    bool faulty;
};
static const struct way ways[] = {
    {"memory", "memory", false},
    {"memory below faulty", "memory", true},
    {"file", "file", false},
    {"file below faulty", "file", true},
};

struct stage {
    struct bed *bed;
    struct faults faults;
    struct blobs *blobs;
};

static struct blobs *open_files(struct bed *bed)
{
    struct blobs *blobs;
    char url[128];
    snprintf(url, sizeof url, "file:%s/objects", bed->folder);
    ASSERT_OK(bed, blobs_open(url, &blobs, &bed->err));
    return blobs;
}

static void each_way(void **state, void (*body)(struct stage *stage))
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct stage stage = {.bed = *state};
        char url[128];
        print_message("# %s\n", ways[i].name);
        snprintf(url, sizeof url, "%s:%s/%zu/objects", ways[i].driver, stage.bed->folder, i);
        ASSERT_OK(stage.bed, blobs_open(url, &stage.blobs, &stage.bed->err));
        if (ways[i].faulty)
            stage.blobs = blobs_faulty(stage.blobs, &stage.faults);
        assert_non_null(stage.blobs);
        body(&stage);
        blobs_close(stage.blobs);
    }
}

struct seen {
    int count, most;
    uint64_t size_bytes;
    int64_t newest_ms;
    struct blobs *remove_from;
};

static bool see(void *context, const char *digest, uint64_t size, int64_t put_ms)
{
    struct seen *seen = context;
    struct error err;
    assert_int_equal(strlen(digest), 64);
    seen->count++;
    seen->size_bytes += size;
    seen->newest_ms = put_ms > seen->newest_ms ? put_ms : seen->newest_ms;
    if (seen->remove_from)
        assert_true(blobs_remove(seen->remove_from, digest, &err));
    return seen->most == 0 || seen->count < seen->most;
}

static struct seen list(struct bed *bed, struct blobs *blobs, int most, bool remove)
{
    struct seen seen = {.most = most, .remove_from = remove ? blobs : NULL};
    ASSERT_OK(bed, blobs_list(blobs, see, &seen, &bed->err));
    return seen;
}

static void puts_gets_removes(struct stage *stage)
{
    struct bed *bed = stage->bed;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 1 << 20};
    char digests[7][SHA256_HEX_BYTES], again[SHA256_HEX_BYTES];
    char *data = arena_alloc(&bed->arena, 1 << 20, 1);
    struct blob blob;
    for (size_t i = 0; i < 1 << 20; i++)
        data[i] = (char)(i * 7);
    for (int i = 0; i < 7; i++) {
        ASSERT_OK(bed, blobs_put(stage->blobs, data, sizes[i], digests[i], &bed->err));
        ASSERT_OK(bed, blobs_put(stage->blobs, data, sizes[i], again, &bed->err));
        assert_string_equal(digests[i], again);
    }
    assert_int_equal(list(bed, stage->blobs, 0, false).count, 7);
    for (int i = 0; i < 7; i++) {
        ASSERT_OK(bed, blobs_get(stage->blobs, digests[i], &blob, &bed->err));
        assert_int_equal(blob.size_bytes, sizes[i]);
        assert_int_equal((uintptr_t)blob.data % 64, 0);
        /* Removed while it is open. */
        ASSERT_OK(bed, blobs_remove(stage->blobs, digests[i], &bed->err));
        ASSERT_OK(bed, blobs_remove(stage->blobs, digests[i], &bed->err));
        assert_memory_equal(blob.data, data, sizes[i]);
        blobs_release(stage->blobs, &blob);
        blobs_release(stage->blobs, &blob);
        ASSERT_FAILS(bed, ERR_NOT_FOUND, blobs_get(stage->blobs, digests[i], &blob, &bed->err));
    }
    static const char *const wrong[] = {"", "../../etc/passwd", "ab", "AB"};
    for (size_t i = 0; i < 4; i++) {
        ASSERT_FAILS(bed, ERR_NOT_FOUND, blobs_get(stage->blobs, wrong[i], &blob, &bed->err));
        ASSERT_OK(bed, blobs_remove(stage->blobs, wrong[i], &bed->err));
    }
    assert_int_equal(list(bed, stage->blobs, 0, false).count, 0);
}

static void lists(struct stage *stage)
{
    struct bed *bed = stage->bed;
    char digest[SHA256_HEX_BYTES];
    for (int i = 0; i < 300; i++)
        ASSERT_OK(bed, blobs_put(stage->blobs, &i, sizeof i, digest, &bed->err));
    struct seen seen = list(bed, stage->blobs, 0, false);
    assert_int_equal(seen.count, 300);
    assert_int_equal(seen.size_bytes, 300 * sizeof(int));
    assert_int_equal(list(bed, stage->blobs, 7, false).count, 7);
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    int again = 123;
    ASSERT_OK(bed, blobs_put(stage->blobs, &again, sizeof again, digest, &bed->err));
    assert_true(list(bed, stage->blobs, 0, false).newest_ms > seen.newest_ms);
    assert_int_equal(list(bed, stage->blobs, 0, true).count, 300);
    assert_int_equal(list(bed, stage->blobs, 0, false).count, 0);
}

struct crowd {
    struct blobs *blobs;
    pthread_t thread;
};

/* Puts, gets and removes the same objects as the other threads: each gets a complete object or
 * none. */
static void *jostle(void *context)
{
    struct crowd *crowd = context;
    static const char data[5000] = "the same bytes";
    for (int i = 0; i < 100; i++) {
        char digest[SHA256_HEX_BYTES];
        struct error err;
        struct blob blob;
        if (!blobs_put(crowd->blobs, data, sizeof data - (size_t)i % 3, digest, &err))
            abort();
        if (blobs_get(crowd->blobs, digest, &blob, &err))
            blobs_release(crowd->blobs, &blob);
        else if (err.code != ERR_NOT_FOUND)
            abort();
        if (i % 4 == 0 && !blobs_remove(crowd->blobs, digest, &err))
            abort();
    }
    return NULL;
}

static void many_threads(struct stage *stage)
{
    struct crowd crowd[4];
    for (int i = 0; i < 4; i++) {
        crowd[i].blobs = stage->blobs;
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, jostle, &crowd[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(crowd[i].thread, NULL);
}

#define CASE(name)                        \
    static void name##_case(void **state) \
    {                                     \
        each_way(state, name);            \
    }
CASE(puts_gets_removes)
CASE(lists)
CASE(many_threads)

static void wrong_urls(void **state)
{
    struct bed *bed = *state;
    struct blobs *blobs;
    ASSERT_FAILS(bed, ERR_USAGE, blobs_open("nothing:x", &blobs, &bed->err));
    ASSERT_FAILS(bed, ERR_USAGE, blobs_open("file", &blobs, &bed->err));
    ASSERT_FAILS(bed, ERR_USAGE, blobs_open("file:", &blobs, &bed->err));
    ASSERT_FAILS(bed, ERR_IO, blobs_open("file:/proc/nothing", &blobs, &bed->err));
    blobs_close(NULL);
}

/* Counts the files in the store's folder with a command that prints a number. */
static long count_files(struct bed *bed, const char *below)
{
    char command[256], line[64] = "";
    snprintf(command, sizeof command, "find '%s/objects/%s' -type f | wc -l", bed->folder, below);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(line, sizeof line, out));
    pclose(out);
    return strtol(line, NULL, 10);
}

static void path_of(struct bed *bed, const char *digest, char path[256])
{
    snprintf(path, 256, "%s/objects/%.2s/%s", bed->folder, digest, digest);
}

static void files_last_and_are_the_owners(void **state)
{
    struct bed *bed = *state;
    struct blobs *blobs = open_files(bed);
    char digest[SHA256_HEX_BYTES], path[256];
    struct blob blob;
    struct stat info;
    ASSERT_OK(bed, blobs_put(blobs, "hello", 5, digest, &bed->err));
    path_of(bed, digest, path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    strrchr(path, '/')[0] = '\0';
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(count_files(bed, "aside"), 0);
    blobs_close(blobs);
    blobs = open_files(bed);
    ASSERT_OK(bed, blobs_get(blobs, digest, &blob, &bed->err));
    assert_memory_equal(blob.data, "hello", 5);
    blobs_release(blobs, &blob);
    blobs_close(blobs);
}

static void damage_is_seen_and_put_anew(void **state)
{
    struct bed *bed = *state;
    struct blobs *blobs = open_files(bed);
    char digest[SHA256_HEX_BYTES], path[256];
    struct blob blob;
    static const char *const damage[] = {"hellp", "", "hello!"};
    for (size_t i = 0; i < 3; i++) {
        ASSERT_OK(bed, blobs_put(blobs, "hello", 5, digest, &bed->err));
        path_of(bed, digest, path);
        ASSERT_OK(bed, file_write_atomic(path, damage[i], strlen(damage[i]), 0600, &bed->err));
        ASSERT_FAILS(bed, ERR_IO, blobs_get(blobs, digest, &blob, &bed->err));
        ASSERT_OK(bed, blobs_put(blobs, "hello", 5, digest, &bed->err));
        ASSERT_OK(bed, blobs_get(blobs, digest, &blob, &bed->err));
        blobs_release(blobs, &blob);
    }
    blobs_close(blobs);
}

static void leftovers_go_when_they_are_old(void **state)
{
    struct bed *bed = *state;
    struct blobs *blobs = open_files(bed);
    char path[256];
    for (int age_s = 3500; age_s <= 3700; age_s += 200) {
        snprintf(path, sizeof path, "%s/objects/aside/%d", bed->folder, age_s);
        ASSERT_OK(bed, file_write_atomic(path, "x", 1, 0600, &bed->err));
        struct timespec then = {.tv_sec = time(NULL) - age_s};
        struct timespec times[2] = {then, then};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    snprintf(path, sizeof path, "%s/objects/ab/README", bed->folder);
    ASSERT_OK(bed, file_write_atomic(path, "x", 1, 0600, &bed->err));
    assert_int_equal(list(bed, blobs, 0, false).count, 0);
    assert_int_equal(count_files(bed, "aside"), 1);
    assert_int_equal(count_files(bed, "ab"), 1);
    blobs_close(blobs);
}

/* A limit on the file size simulates a full disk: no file is left. */
static void no_space(void **state)
{
    struct bed *bed = *state;
    struct blobs *blobs = open_files(bed);
    char digest[SHA256_HEX_BYTES];
    struct rlimit old, small;
    static const char data[100000];
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 50000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool put = blobs_put(blobs, data, sizeof data, digest, &bed->err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_false(put);
    assert_int_equal(bed->err.code, ERR_SPACE);
    assert_int_equal(count_files(bed, ""), 0);
    blobs_close(blobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(puts_gets_removes_case),
        TEST(lists_case),
        TEST(many_threads_case),
        TEST(wrong_urls),
        TEST(files_last_and_are_the_owners),
        TEST(damage_is_seen_and_put_anew),
        TEST(leftovers_go_when_they_are_old),
        TEST(no_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
