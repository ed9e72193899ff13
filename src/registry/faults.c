/* Stores that count their calls and fail those that the plan names. */
#include "registry/faults.h"

#include <stdlib.h>
#include <time.h>

struct faulty_catalogue {
    struct catalogue catalogue;
    struct catalogue *under;
    struct faults *faults;
};

struct faulty_blobs {
    struct blobs blobs;
    struct blobs *under;
    struct faults *faults;
};

/* The fault planned for the call that begins now. */
static enum fault next_fault(struct faults *faults)
{
    long call = atomic_fetch_add(&faults->calls, 1) + 1;
    bool now = faults->at > 0 && (call == faults->at || (faults->on && call > faults->at));
    enum fault fault = now ? faults->fault : FAULT_NONE;
    if (fault == FAULT_DELAY)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    return fault;
}

/* Whether the call shall be done. If not, *err is the planned error. */
static bool goes_ahead(enum fault fault, bool writes, struct error *err)
{
    if (fault == FAULT_ERROR || (fault == FAULT_SPACE && !writes))
        return fail(err, ERR_IO, "planned: nothing was done");
    if (fault == FAULT_SPACE)
        return fail(err, ERR_SPACE, "planned: no space");
    return true;
}

/* The result of a call that was done. */
static bool answer(enum fault fault, bool ok, struct error *err)
{
    return ok && fault == FAULT_LOST ? fail(err, ERR_IO, "planned: the answer is lost") : ok;
}

static void faulty_catalogue_close(struct catalogue *catalogue)
{
    struct faulty_catalogue *faulty = (struct faulty_catalogue *)catalogue;
    catalogue_close(faulty->under);
    free(faulty);
}

static bool faulty_commit(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                          struct error *err)
{
    struct faulty_catalogue *faulty = (struct faulty_catalogue *)catalogue;
    enum fault fault = next_fault(faulty->faults);
    return goes_ahead(fault, true, err) &&
           answer(fault, catalogue_commit(faulty->under, changes, count, err), err);
}

static bool faulty_get(struct catalogue *catalogue, enum record_kind kind, const char *id,
                       struct arena *arena, void **out, struct error *err)
{
    struct faulty_catalogue *faulty = (struct faulty_catalogue *)catalogue;
    enum fault fault = next_fault(faulty->faults);
    void *found;
    if (!goes_ahead(fault, false, err) ||
        !answer(fault, catalogue_get(faulty->under, kind, id, arena, &found, err), err))
        return false;
    *out = found;
    return true;
}

static bool faulty_list(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                        struct records *out, struct error *err)
{
    struct faulty_catalogue *faulty = (struct faulty_catalogue *)catalogue;
    enum fault fault = next_fault(faulty->faults);
    struct records found;
    if (!goes_ahead(fault, false, err) ||
        !answer(fault, catalogue_list(faulty->under, query, arena, &found, err), err))
        return false;
    *out = found;
    return true;
}

static bool faulty_total(struct catalogue *catalogue, const struct query *query, const char *field,
                         struct totals *out, struct error *err)
{
    struct faulty_catalogue *faulty = (struct faulty_catalogue *)catalogue;
    enum fault fault = next_fault(faulty->faults);
    struct totals found;
    if (!goes_ahead(fault, false, err) ||
        !answer(fault, catalogue_total(faulty->under, query, field, &found, err), err))
        return false;
    *out = found;
    return true;
}

static bool faulty_check(struct catalogue *catalogue, struct error *err)
{
    return catalogue_check(((struct faulty_catalogue *)catalogue)->under, err);
}

static const struct catalogue_driver faulty_catalogue_driver = {
    .name = "faulty",
    .close = faulty_catalogue_close,
    .commit = faulty_commit,
    .get = faulty_get,
    .list = faulty_list,
    .total = faulty_total,
    .check = faulty_check,
};

struct catalogue *catalogue_faulty(struct catalogue *under, struct faults *faults)
{
    struct faulty_catalogue *faulty = malloc(sizeof *faulty);
    if (!faulty)
        return NULL;
    *faulty = (struct faulty_catalogue){{&faulty_catalogue_driver}, under, faults};
    return &faulty->catalogue;
}

static void faulty_blobs_close(struct blobs *blobs)
{
    struct faulty_blobs *faulty = (struct faulty_blobs *)blobs;
    blobs_close(faulty->under);
    free(faulty);
}

/* Drivers are called directly: the checks before them were made for the faulty one. */
static bool faulty_put(struct blobs *blobs, const char *digest, const void *data, size_t size,
                       struct error *err)
{
    struct faulty_blobs *faulty = (struct faulty_blobs *)blobs;
    enum fault fault = next_fault(faulty->faults);
    return goes_ahead(fault, true, err) &&
           answer(fault, faulty->under->driver->put(faulty->under, digest, data, size, err), err);
}

static bool faulty_get_blob(struct blobs *blobs, const char *digest, struct blob *out,
                            struct error *err)
{
    struct faulty_blobs *faulty = (struct faulty_blobs *)blobs;
    enum fault fault = next_fault(faulty->faults);
    struct blob blob;
    if (!goes_ahead(fault, false, err) ||
        !faulty->under->driver->get(faulty->under, digest, &blob, err))
        return false;
    if (answer(fault, true, err)) {
        *out = blob;
        return true;
    }
    faulty->under->driver->release(faulty->under, &blob);
    return false;
}

static void faulty_release(struct blobs *blobs, struct blob *blob)
{
    struct faulty_blobs *faulty = (struct faulty_blobs *)blobs;
    faulty->under->driver->release(faulty->under, blob);
}

static bool faulty_remove(struct blobs *blobs, const char *digest, struct error *err)
{
    struct faulty_blobs *faulty = (struct faulty_blobs *)blobs;
    enum fault fault = next_fault(faulty->faults);
    return goes_ahead(fault, true, err) &&
           answer(fault, faulty->under->driver->remove(faulty->under, digest, err), err);
}

static bool faulty_list_blobs(struct blobs *blobs, blobs_visit *visit, void *context,
                              struct error *err)
{
    struct faulty_blobs *faulty = (struct faulty_blobs *)blobs;
    enum fault fault = next_fault(faulty->faults);
    return goes_ahead(fault, false, err) &&
           answer(fault, faulty->under->driver->list(faulty->under, visit, context, err), err);
}

static const struct blobs_driver faulty_blobs_driver = {
    .name = "faulty",
    .close = faulty_blobs_close,
    .put = faulty_put,
    .get = faulty_get_blob,
    .release = faulty_release,
    .remove = faulty_remove,
    .list = faulty_list_blobs,
};

struct blobs *blobs_faulty(struct blobs *under, struct faults *faults)
{
    struct faulty_blobs *faulty = malloc(sizeof *faulty);
    if (!faulty)
        return NULL;
    *faulty = (struct faulty_blobs){{&faulty_blobs_driver}, under, faults};
    return &faulty->blobs;
}
