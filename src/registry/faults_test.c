/* A kernel is published as the registry does it, and every call on the way fails once, in every
 * way: afterwards everything acknowledged is there, nothing is incomplete, and publishing again
 * succeeds. */
#include "registry/faults.h"
#include "registry/test_util.h"

#include <time.h>

#include "base/clock.h"

struct stores {
    struct faults faults;
    struct catalogue *catalogue;
    struct blobs *blobs;
};

/* url suffixes distinguish the rounds. */
static void stores_open(struct bed *bed, struct stores *stores, int round)
{
    char url[128];
    snprintf(url, sizeof url, "sqlite:%s/%d/catalogue.db", bed->folder, round);
    ASSERT_OK(bed, catalogue_open(url, &stores->catalogue, &bed->err));
    snprintf(url, sizeof url, "file:%s/%d/objects", bed->folder, round);
    ASSERT_OK(bed, blobs_open(url, &stores->blobs, &bed->err));
    stores->catalogue = catalogue_faulty(stores->catalogue, &stores->faults);
    stores->blobs = blobs_faulty(stores->blobs, &stores->faults);
    assert_non_null(stores->catalogue);
    assert_non_null(stores->blobs);
}

static void stores_close(struct stores *stores)
{
    catalogue_close(stores->catalogue);
    blobs_close(stores->blobs);
}

static const char bytes[] = "a package, say";

/* Puts the object, then commits the kernel with its history and the alias. Succeeds if an earlier
 * attempt did it all. */
static bool publish(struct bed *bed, struct stores *stores, struct error *err)
{
    char object[SHA256_HEX_BYTES];
    void *old = NULL;
    struct totals totals;
    if (!blobs_put(stores->blobs, bytes, sizeof bytes, object, err) ||
        !catalogue_get(stores->catalogue, RECORD_kernel, "k", &bed->arena, &old, err))
        return false;
    if (old)
        return true;
    struct query query = {.kind = RECORD_change};
    if (!catalogue_total(stores->catalogue, &query, NULL, &totals, err))
        return false;
    struct kernel_record *kernel = record_new(RECORD_kernel, &bed->arena);
    struct change_record *change = record_new(RECORD_change, &bed->arena);
    struct alias_record *alias = record_new(RECORD_alias, &bed->arena);
    kernel->head.id = alias->kernel = change->subject = "k";
    kernel->object = object;
    alias->head.id = "production";
    struct change changes[] = {{RECORD_kernel, EXPECT_NEW, false, kernel},
                               {RECORD_change, EXPECT_NEW, false, change},
                               {RECORD_alias, EXPECT_ANY, false, alias}};
    return catalogue_commit(stores->catalogue, changes, 3, err);
}

/* Checks that everything is there, or nothing; returns which. */
static bool published(struct bed *bed, struct stores *stores)
{
    void *kernel = NULL, *alias = NULL;
    struct totals totals;
    struct query query = {.kind = RECORD_change};
    ASSERT_OK(
        bed, catalogue_get(stores->catalogue, RECORD_kernel, "k", &bed->arena, &kernel, &bed->err));
    ASSERT_OK(bed, catalogue_get(stores->catalogue, RECORD_alias, "production", &bed->arena, &alias,
                                 &bed->err));
    ASSERT_OK(bed, catalogue_total(stores->catalogue, &query, NULL, &totals, &bed->err));
    assert_int_equal(kernel != NULL, alias != NULL);
    assert_int_equal(kernel != NULL, totals.count);
    if (kernel) {
        struct blob blob;
        ASSERT_OK(bed, blobs_get(stores->blobs, ((struct kernel_record *)kernel)->object, &blob,
                                 &bed->err));
        assert_int_equal(blob.size_bytes, sizeof bytes);
        assert_memory_equal(blob.data, bytes, sizeof bytes);
        blobs_release(stores->blobs, &blob);
    }
    return kernel != NULL;
}

static void every_call_fails_once(void **state)
{
    struct bed *bed = *state;
    int round = 0;
    for (int fault = FAULT_ERROR; fault < FAULT_COUNT; fault++) {
        for (int on = 0; on < 2; on++) {
            bool ended = false;
            for (long at = 1; !ended; at++, round++) {
                struct stores stores = {.faults = {(enum fault)fault, 0, at, on != 0}};
                struct error err = {.code = ERR_NONE};
                stores_open(bed, &stores, round);
                bool ok = publish(bed, &stores, &err);
                ended = stores.faults.calls < at;
                assert_int_equal(ok, ended || fault == FAULT_DELAY);
                if (!ok)
                    assert_true(err.code == ERR_IO ||
                                (fault == FAULT_SPACE && err.code == ERR_SPACE));
                stores.faults.at = 0;
                stores_close(&stores);
                stores_open(bed, &stores, round);
                if (published(bed, &stores))
                    assert_true(ok || fault == FAULT_LOST);
                else
                    assert_false(ok);
                ASSERT_OK(bed, publish(bed, &stores, &bed->err));
                assert_true(published(bed, &stores));
                stores_close(&stores);
            }
        }
    }
    print_message("# %d rounds\n", round);
}

/* The effect and the result of each kind of fault. */
static void kinds_of_fault(void **state)
{
    static const struct {
        enum fault fault;
        enum error_code write, read;
        bool done;
    } rows[] = {
        {FAULT_NONE, ERR_NONE, ERR_NONE, true},  {FAULT_ERROR, ERR_IO, ERR_IO, false},
        {FAULT_LOST, ERR_IO, ERR_IO, true},      {FAULT_DELAY, ERR_NONE, ERR_NONE, true},
        {FAULT_SPACE, ERR_SPACE, ERR_IO, false},
    };
    struct bed *bed = *state;
    for (int i = 0; i < FAULT_COUNT; i++) {
        struct stores stores = {.faults = {rows[i].fault, 0, 1, true}};
        struct error err = {.code = ERR_NONE};
        char digest[SHA256_HEX_BYTES];
        struct blob blob;
        stores_open(bed, &stores, i);
        uint64_t start = clock_ns();
        bool ok = blobs_put(stores.blobs, bytes, sizeof bytes, digest, &err);
        assert_true(rows[i].fault != FAULT_DELAY || clock_ns() - start > 49000000);
        assert_int_equal(ok, rows[i].write == ERR_NONE);
        assert_int_equal(err.code, rows[i].write);
        stores.faults.at = 0;
        sha256_hex(bytes, sizeof bytes, digest);
        bool there = blobs_get(stores.blobs, digest, &blob, &bed->err);
        assert_int_equal(there, rows[i].done);
        if (there)
            blobs_release(stores.blobs, &blob);
        stores.faults.at = stores.faults.calls + 1;
        err.code = ERR_NONE;
        struct query query = {.kind = RECORD_event, .limit = 1};
        struct records found;
        ok = catalogue_list(stores.catalogue, &query, &bed->arena, &found, &err);
        assert_int_equal(ok, rows[i].read == ERR_NONE);
        assert_int_equal(err.code, rows[i].read);
        stores_close(&stores);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(every_call_fails_once), TEST(kinds_of_fault)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
