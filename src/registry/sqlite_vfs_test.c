/* Every write and every sync that SQLite does during a few commits fails once: an acknowledged
 * commit is there when the file is opened again, one that failed for lack of space is not, and the
 * catalogue works again when the disk does. */
#include "registry/test_util.h"

#include <sqlite3.h>
#include <stdatomic.h>

/* SQLite's own file with methods that count calls. */
struct counted_file {
    sqlite3_file base;
    sqlite3_file *under;
};

enum plan { PLAN_NO_SPACE, PLAN_WRITE_ERROR, PLAN_SYNC_ERROR, PLAN_COUNT };

/* The plan; global, since SQLite's VFS is registered once per process. */
static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *under;
    atomic_long calls;
    long at; /* 0: none */
    enum plan plan;
} disk;

static bool fails_now(void)
{
    return atomic_fetch_add(&disk.calls, 1) + 1 == disk.at;
}

#define UNDER(file) (((struct counted_file *)(file))->under)

static int counted_close(sqlite3_file *file)
{
    return UNDER(file)->pMethods->xClose(UNDER(file));
}

static int counted_read(sqlite3_file *file, void *data, int size, sqlite3_int64 at)
{
    return UNDER(file)->pMethods->xRead(UNDER(file), data, size, at);
}

static int counted_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 at)
{
    if (disk.plan != PLAN_SYNC_ERROR && fails_now())
        return disk.plan == PLAN_NO_SPACE ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    return UNDER(file)->pMethods->xWrite(UNDER(file), data, size, at);
}

static int counted_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return UNDER(file)->pMethods->xTruncate(UNDER(file), size);
}

static int counted_sync(sqlite3_file *file, int flags)
{
    if (disk.plan == PLAN_SYNC_ERROR && fails_now())
        return SQLITE_IOERR_FSYNC;
    return UNDER(file)->pMethods->xSync(UNDER(file), flags);
}

static int counted_size(sqlite3_file *file, sqlite3_int64 *out)
{
    return UNDER(file)->pMethods->xFileSize(UNDER(file), out);
}

static int counted_lock(sqlite3_file *file, int lock)
{
    return UNDER(file)->pMethods->xLock(UNDER(file), lock);
}

static int counted_unlock(sqlite3_file *file, int lock)
{
    return UNDER(file)->pMethods->xUnlock(UNDER(file), lock);
}

static int counted_reserved(sqlite3_file *file, int *out)
{
    return UNDER(file)->pMethods->xCheckReservedLock(UNDER(file), out);
}

static int counted_control(sqlite3_file *file, int op, void *argument)
{
    return UNDER(file)->pMethods->xFileControl(UNDER(file), op, argument);
}

static int counted_sector(sqlite3_file *file)
{
    return UNDER(file)->pMethods->xSectorSize(UNDER(file));
}

static int counted_traits(sqlite3_file *file)
{
    return UNDER(file)->pMethods->xDeviceCharacteristics(UNDER(file));
}

static int counted_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return UNDER(file)->pMethods->xShmMap(UNDER(file), page, size, extend, out);
}

static int counted_shm_lock(sqlite3_file *file, int at, int count, int flags)
{
    return UNDER(file)->pMethods->xShmLock(UNDER(file), at, count, flags);
}

static void counted_shm_barrier(sqlite3_file *file)
{
    UNDER(file)->pMethods->xShmBarrier(UNDER(file));
}

static int counted_shm_unmap(sqlite3_file *file, int remove)
{
    return UNDER(file)->pMethods->xShmUnmap(UNDER(file), remove);
}

static const sqlite3_io_methods counted = {
    .iVersion = 2,
    .xClose = counted_close,
    .xRead = counted_read,
    .xWrite = counted_write,
    .xTruncate = counted_truncate,
    .xSync = counted_sync,
    .xFileSize = counted_size,
    .xLock = counted_lock,
    .xUnlock = counted_unlock,
    .xCheckReservedLock = counted_reserved,
    .xFileControl = counted_control,
    .xSectorSize = counted_sector,
    .xDeviceCharacteristics = counted_traits,
    .xShmMap = counted_shm_map,
    .xShmLock = counted_shm_lock,
    .xShmBarrier = counted_shm_barrier,
    .xShmUnmap = counted_shm_unmap,
};

static int counted_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct counted_file *made = (struct counted_file *)file;
    (void)vfs;
    made->under = (sqlite3_file *)(made + 1);
    int code = disk.under->xOpen(disk.under, name, made->under, flags, out);
    made->base.pMethods = made->under->pMethods ? &counted : NULL;
    return code;
}

static void disk_install(void)
{
    disk.under = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.under;
    disk.vfs.zName = "counted";
    disk.vfs.szOsFile = (int)sizeof(struct counted_file) + disk.under->szOsFile;
    disk.vfs.xOpen = counted_open;
    assert_int_equal(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
}

#define COMMITS 6

/* Commit number i puts two records, large enough for several pages. */
static bool commit_pair(struct bed *bed, struct catalogue *catalogue, int i, struct error *err)
{
    static const char text[] = "0123456789abcdef";
    struct event_record *e = record_new(RECORD_event, &bed->arena);
    struct alias_record *a = record_new(RECORD_alias, &bed->arena);
    char *message = arena_alloc(&bed->arena, 9001, 1), id[8];
    for (int at = 0; at < 9000; at++)
        message[at] = text[(at + i) % 16];
    snprintf(id, sizeof id, "%d", i);
    e->head.id = a->head.id = arena_strdup(&bed->arena, id);
    e->message = message;
    struct change changes[] = {{RECORD_event, EXPECT_NEW, false, e},
                               {RECORD_alias, EXPECT_NEW, false, a}};
    return catalogue_commit(catalogue, changes, 2, err);
}

/* Checks that all of commit i is there, or nothing; returns which. */
static bool is_there(struct bed *bed, struct catalogue *catalogue, int i)
{
    void *e = NULL, *a = NULL;
    char id[8];
    snprintf(id, sizeof id, "%d", i);
    ASSERT_OK(bed, catalogue_get(catalogue, RECORD_event, id, &bed->arena, &e, &bed->err));
    ASSERT_OK(bed, catalogue_get(catalogue, RECORD_alias, id, &bed->arena, &a, &bed->err));
    assert_int_equal(e != NULL, a != NULL);
    return e != NULL;
}

/* Opens, commits and closes, with one failure. False: the planned call did not occur. */
static bool live(struct bed *bed, enum plan plan, long at, int round)
{
    char url[128];
    struct catalogue *catalogue;
    struct error errs[COMMITS];
    bool ok[COMMITS];
    snprintf(url, sizeof url, "sqlite:%s/%d.db", bed->folder, round);
    disk.plan = plan;
    disk.calls = 0;
    disk.at = at;
    while (!catalogue_open(url, &catalogue, &bed->err)) /* fails at most once */
        assert_true(disk.calls >= at && (bed->err.code == ERR_IO || bed->err.code == ERR_SPACE));
    for (int i = 0; i < COMMITS; i++)
        ok[i] = commit_pair(bed, catalogue, i, &errs[i]);
    catalogue_close(catalogue);
    bool came = disk.calls >= at;
    disk.at = 0;
    ASSERT_OK(bed, catalogue_open(url, &catalogue, &bed->err));
    ASSERT_OK(bed, catalogue_check(catalogue, &bed->err));
    int failures = 0;
    for (int i = 0; i < COMMITS; i++) {
        bool there = is_there(bed, catalogue, i);
        failures += !ok[i];
        if (ok[i])
            assert_true(there);
        else if (errs[i].code == ERR_SPACE)
            assert_false(there);
        else
            assert_int_equal(errs[i].code, ERR_IO);
        if (!there)
            ASSERT_OK(bed, commit_pair(bed, catalogue, i, &bed->err));
    }
    assert_true(failures <= 1);
    catalogue_close(catalogue);
    arena_release(&bed->arena);
    return came;
}

static void every_access_fails_once(void **state)
{
    struct bed *bed = *state;
    int round = 0;
    for (int plan = 0; plan < PLAN_COUNT; plan++)
        for (long at = 1; live(bed, (enum plan)plan, at, round++);)
            at += at < 30 ? 1 : 5;
    print_message("# %d lives\n", round);
    assert_true(round > 30);
}

int main(void)
{
    disk_install();
    const struct CMUnitTest tests[] = {TEST(every_access_fails_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
