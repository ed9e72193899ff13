/* Details of catalogues in SQLite files: grouped commits, versions, files that are no catalogue or
 * damaged, a full disk, and several processes. */
#include "registry/test_util.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "registry/sqlite_priv.h"

static void path_of(struct bed *bed, const char *suffix, char path[128])
{
    snprintf(path, 128, "%s/catalogue.db%s", bed->folder, suffix);
}

static bool try_open(struct bed *bed, struct catalogue **out)
{
    char url[192], path[128];
    path_of(bed, "", path);
    snprintf(url, sizeof url, "sqlite:%s", path);
    return catalogue_open(url, out, &bed->err);
}

static struct catalogue *open_it(struct bed *bed)
{
    struct catalogue *catalogue = NULL;
    ASSERT_OK(bed, try_open(bed, &catalogue));
    return catalogue;
}

/* Runs SQL on the file, as another program could. */
static void run_sql(struct bed *bed, const char *sql)
{
    char path[128];
    sqlite3 *db;
    path_of(bed, "", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        print_error("%s: %s\n", sql, sqlite3_errmsg(db));
        assert_true(false);
    }
    sqlite3_close(db);
}

static void put_event(struct bed *bed, struct catalogue *catalogue, const char *id,
                      const char *message)
{
    struct event_record *e = record_new(RECORD_event, &bed->arena);
    e->head.id = id;
    e->message = message;
    ASSERT_OK(bed, commit_one(catalogue, RECORD_event, EXPECT_NEW, e, &bed->err));
}

static int64_t count_events(struct bed *bed, struct catalogue *catalogue)
{
    struct query query = {.kind = RECORD_event};
    struct totals totals;
    ASSERT_OK(bed, catalogue_total(catalogue, &query, NULL, &totals, &bed->err));
    return totals.count;
}

struct committer {
    struct catalogue *catalogue;
    pthread_t thread;
    int commits;
    bool conflicts; /* each commit is followed by one that conflicts */
};

static void *commit_many(void *context)
{
    struct committer *committer = context;
    struct event_record event = {.head = {.id = ""}, .kind = "k", .subject = "s", .message = "m"};
    struct event_record wrong = event;
    struct error err;
    wrong.head.id = "nothing";
    for (int i = 0; i < committer->commits; i++) {
        if (!commit_one(committer->catalogue, RECORD_event, EXPECT_NEW, &event, &err))
            abort();
        if (committer->conflicts &&
            (commit_one(committer->catalogue, RECORD_event, EXPECT_SAME, &wrong, &err) ||
             err.code != ERR_CONFLICT))
            abort();
    }
    return NULL;
}

static double run_committers(struct catalogue *catalogue, int threads, int commits, bool conflicts)
{
    struct committer committers[32];
    uint64_t start = clock_ns();
    for (int i = 0; i < threads; i++) {
        committers[i] = (struct committer){catalogue, 0, commits, conflicts};
        assert_int_equal(pthread_create(&committers[i].thread, NULL, commit_many, &committers[i]),
                         0);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(committers[i].thread, NULL);
    return (double)(clock_ns() - start) * 1e-9;
}

static void commits_are_grouped(void **state)
{
    struct bed *bed = *state;
    struct catalogue *catalogue = open_it(bed);
    double seconds = run_committers(catalogue, 1, 200, false);
    print_message("# alone: %.2f ms a commit\n", seconds / 200 * 1e3);
    uint64_t before = sqlite_writer_transactions(catalogue_sqlite_writer(catalogue));
    assert_int_equal(before, 200);
    seconds = run_committers(catalogue, 32, 100, false);
    uint64_t transactions = sqlite_writer_transactions(catalogue_sqlite_writer(catalogue)) - before;
    print_message("# 32 threads: %.0f commits/s, %.1f commits a transaction\n", 3200 / seconds,
                  3200.0 / (double)transactions);
    assert_true(transactions <= 1600);
    run_committers(catalogue, 8, 50, true);
    assert_int_equal(count_events(bed, catalogue), 200 + 3200 + 400);
    assert_true(sqlite_writer_surveys(catalogue_sqlite_writer(catalogue)) >= 1);
    ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
    catalogue_close(catalogue);
}

/* A reader does not wait, even for a writer of another program that does not end. */
static void readers_do_not_wait(void **state)
{
    struct bed *bed = *state;
    struct catalogue *catalogue = open_it(bed);
    put_event(bed, catalogue, "a", "");
    char path[128];
    sqlite3 *db;
    path_of(bed, "", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE; DELETE FROM event", NULL, NULL, NULL),
                     SQLITE_OK);
    uint64_t start = clock_ns();
    for (int i = 0; i < 100; i++)
        assert_int_equal(count_events(bed, catalogue), 1);
    assert_true(clock_ns() - start < 2000000000);
    sqlite3_close(db);
    catalogue_close(catalogue);
}

static void versions(void **state)
{
    struct bed *bed = *state;
    struct catalogue *catalogue = open_it(bed);
    put_event(bed, catalogue, "kept", "by migration");
    catalogue_close(catalogue);

    run_sql(bed, "PRAGMA user_version = 2");
    ASSERT_FAILS(bed, ERR_UNSUPPORTED, try_open(bed, &catalogue));
    assert_non_null(strstr(bed->err.message, "has version 2"));

    /* An earlier version, without some of the tables and indexes. */
    run_sql(bed, "PRAGMA user_version = 0; DROP INDEX event_subject; DROP TABLE tuning;"
                 "ALTER TABLE event DROP COLUMN subject; ALTER TABLE event DROP COLUMN at_ms;"
                 "ALTER TABLE event ADD COLUMN unknown TEXT");
    catalogue = open_it(bed);
    ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
    void *back = NULL;
    ASSERT_OK(bed, catalogue_get(catalogue, RECORD_event, "kept", &bed->arena, &back, &bed->err));
    struct event_record *e = back;
    assert_string_equal(e->message, "by migration");
    assert_string_equal(e->subject, "");
    assert_int_equal(e->at_ms, 0);
    e->subject = "s";
    ASSERT_OK(bed, commit_one(catalogue, RECORD_event, EXPECT_SAME, e, &bed->err));
    struct tuning_record *t = record_new(RECORD_tuning, &bed->arena);
    t->head.id = "t";
    ASSERT_OK(bed, commit_one(catalogue, RECORD_tuning, EXPECT_NEW, t, &bed->err));
    catalogue_close(catalogue);
    catalogue_close(open_it(bed));
}

static void not_a_catalogue(void **state)
{
    struct bed *bed = *state;
    struct catalogue *catalogue;
    char path[128], text[10000];
    path_of(bed, "", path);
    memset(text, 'x', sizeof text);
    ASSERT_OK(bed, file_write_atomic(path, text, sizeof text, 0600, &bed->err));
    ASSERT_FAILS(bed, ERR_IO, try_open(bed, &catalogue));
    assert_int_equal(unlink(path), 0);
    run_sql(bed, "CREATE TABLE theirs(x)");
    ASSERT_FAILS(bed, ERR_IO, try_open(bed, &catalogue));
    assert_non_null(strstr(bed->err.message, "another program"));
    run_sql(bed, "INSERT INTO theirs VALUES (1); PRAGMA application_id = 7; DROP TABLE theirs");
    ASSERT_FAILS(bed, ERR_IO, try_open(bed, &catalogue));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    ASSERT_FAILS(bed, ERR_IO, try_open(bed, &catalogue));
    assert_int_equal(rmdir(path), 0);
    catalogue_close(open_it(bed));
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

/* Wrong serials and revisions, in which SQLite itself finds no fault. */
static void check_finds_wrong_rows(void **state)
{
    static const char *const damage[] = {
        "UPDATE event SET revision = 1000 WHERE id = 'a'",
        "UPDATE event SET revision = 1",
        "UPDATE event SET revision = 0 WHERE id = 'a'",
        "UPDATE sqlite_sequence SET seq = 0",
        "DELETE FROM revisions",
    };
    struct bed *bed = *state;
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        char path[128];
        struct catalogue *catalogue = open_it(bed);
        put_event(bed, catalogue, "a", "");
        put_event(bed, catalogue, "b", "");
        ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
        run_sql(bed, damage[i]);
        ASSERT_FAILS(bed, ERR_IO, catalogue_check(catalogue, &bed->err));
        catalogue_close(catalogue);
        path_of(bed, "", path);
        assert_int_equal(unlink(path), 0);
    }
}

/* The file has damaged bytes: operations may fail or not, but nothing crashes. */
static void damaged_files(void **state)
{
    struct bed *bed = *state;
    char path[128], *whole;
    size_t size;
    struct catalogue *catalogue = open_it(bed);
    uint64_t key = rng_key(1), counter = 0;
    int found = 0;
    for (int i = 0; i < 200; i++)
        put_event(bed, catalogue, "", "some text that is there often");
    catalogue_close(catalogue);
    path_of(bed, "", path);
    ASSERT_OK(bed, file_read(path, 10 << 20, &whole, &size, &bed->err));
    for (int round = 0; round < 60; round++) {
        char *copy = malloc(size);
        memcpy(copy, whole, size);
        size_t at = rng_u32(key, counter++) % size, length = 1 + rng_u32(key, counter++) % 5000;
        for (size_t i = at; i < size && i < at + length; i++)
            copy[i] = (char)rng_u32(key, counter++);
        size_t kept = round % 10 == 9 ? at : size;
        ASSERT_OK(bed, file_write_atomic(path, copy, kept, 0600, &bed->err));
        free(copy);
        bool ok = try_open(bed, &catalogue);
        if (ok) {
            struct query query = {.kind = RECORD_event, .limit = 1000};
            struct records records;
            struct event_record *e = record_new(RECORD_event, &bed->arena);
            (void)catalogue_list(catalogue, &query, &bed->arena, &records, &bed->err);
            (void)commit_one(catalogue, RECORD_event, EXPECT_NEW, e, &bed->err);
            ok = catalogue_check(catalogue, &bed->err);
            catalogue_close(catalogue);
        }
        if (!ok) {
            assert_true(bed->err.code == ERR_IO || bed->err.code == ERR_UNSUPPORTED);
            found++;
        }
    }
    print_message("# %d of 60 damages were found\n", found);
    assert_true(found >= 30);
    free(whole);
}

/* A limit on the file size simulates a full disk. */
static void no_space(void **state)
{
    struct bed *bed = *state;
    struct catalogue *catalogue = open_it(bed);
    struct rlimit old, small;
    char *large = arena_alloc(&bed->arena, 3000001, 1);
    memset(large, 'x', 3000000);
    struct event_record *e = record_new(RECORD_event, &bed->arena);
    put_event(bed, catalogue, "before", "");
    e->message = large;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1000000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool ok = commit_one(catalogue, RECORD_event, EXPECT_NEW, e, &bed->err);
    enum error_code code = bed->err.code;
    put_event(bed, catalogue, "meanwhile", "");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_false(ok);
    assert_string_equal(error_name(code), error_name(ERR_SPACE));
    ASSERT_OK(bed, commit_one(catalogue, RECORD_event, EXPECT_NEW, e, &bed->err));
    assert_int_equal(count_events(bed, catalogue), 3);
    ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
    catalogue_close(catalogue);
}

/* Increments one record so many times, and adds another one each time. */
static void count_up(struct bed *bed, int rounds)
{
    struct catalogue *catalogue = open_it(bed);
    for (int won = 0; won < rounds;) {
        void *back = NULL;
        ASSERT_OK(
            bed, catalogue_get(catalogue, RECORD_tuning, "counter", &bed->arena, &back, &bed->err));
        ((struct tuning_record *)back)->at_ms++;
        struct event_record *e = record_new(RECORD_event, &bed->arena);
        struct change changes[] = {{RECORD_event, EXPECT_NEW, false, e},
                                   {RECORD_tuning, EXPECT_SAME, false, back}};
        bool ok = catalogue_commit(catalogue, changes, 2, &bed->err);
        if (!ok && bed->err.code != ERR_CONFLICT)
            abort();
        won += ok;
    }
    catalogue_close(catalogue);
}

static void several_processes(void **state)
{
    struct bed *bed = *state;
    pid_t children[3];
    /* All processes create the catalogue at the same moment. */
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            struct catalogue *catalogue = open_it(bed);
            struct tuning_record *t = record_new(RECORD_tuning, &bed->arena);
            t->head.id = "counter";
            if (!commit_one(catalogue, RECORD_tuning, EXPECT_NEW, t, &bed->err) &&
                bed->err.code != ERR_CONFLICT)
                abort();
            catalogue_close(catalogue);
            count_up(bed, 30);
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    struct catalogue *catalogue = open_it(bed);
    void *back = NULL;
    ASSERT_OK(bed,
              catalogue_get(catalogue, RECORD_tuning, "counter", &bed->arena, &back, &bed->err));
    assert_int_equal(((struct tuning_record *)back)->at_ms, 90);
    assert_int_equal(count_events(bed, catalogue), 90);
    ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
    catalogue_close(catalogue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commits_are_grouped),
        TEST(readers_do_not_wait),
        TEST(versions),
        TEST(not_a_catalogue),
        TEST(check_finds_wrong_rows),
        TEST(damaged_files),
        TEST(no_space),
        TEST(several_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
