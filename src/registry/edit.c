/* Edits: changes that depend on the records they change (optimistic concurrency). Nothing is locked
 * while the new records are computed; the commit states its expectations, and starts over if
 * another one was faster. */
#include <assert.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "registry/catalogue_priv.h"
#include "registry/edit_priv.h"

#define TRIES 100
#define PAUSE_NS_MOST 20000000u /* between two tries */

/* The pause grows with each conflict, and differs between threads. */
static void pause_before(uint32_t attempt)
{
    uint64_t most = (uint64_t)20000 << (attempt < 10 ? attempt : 10);
    most = most < PAUSE_NS_MOST ? most : PAUSE_NS_MOST;
    nanosleep(&(struct timespec){.tv_nsec = (long)(clock_ns() * HASH64_K1 % most)}, NULL);
}

struct call {
    struct edit *edit;
    edit_body *body;
    void *context;
    struct error *err;
    bool ok;
};

static void call_body(void *context)
{
    struct call *call = context;
    call->ok = call->body(call->edit, call->context, call->err);
}

bool edit_run(struct catalogue *catalogue, int64_t now_ms, edit_body *body, void *context,
              struct error *err)
{
    struct error failure = {0};
    for (uint32_t attempt = 0; attempt < TRIES; attempt++) {
        struct arena arena;
        struct edit edit = {.catalogue = catalogue, .arena = &arena, .now_ms = now_ms};
        struct call call = {.edit = &edit, .body = body, .context = context, .err = &failure};
        arena_init(&arena);
        if (!arena_catch(&arena, call_body, &call))
            call.ok = fail(&failure, ERR_NOMEM, "no memory for a change of records");
        bool ok = call.ok && catalogue_commit(catalogue, edit.changes, edit.count, &failure);
        arena_release(&arena);
        if (ok)
            return true;
        if (!call.ok || failure.code != ERR_CONFLICT) {
            *err = failure;
            return false;
        }
        pause_before(attempt);
    }
    return fail(err, ERR_BUSY, "%.400s, %d times", failure.message, TRIES);
}

void edit_put(struct edit *edit, enum record_kind kind, enum expect expect, const void *record)
{
    assert(edit->count < EDIT_CHANGES_MOST);
    edit->changes[edit->count++] =
        (struct change){.kind = kind, .expect = expect, .record = record};
}

void edit_remove(struct edit *edit, enum record_kind kind, const void *record)
{
    edit_put(edit, kind, EXPECT_SAME, record);
    edit->changes[edit->count - 1].remove = true;
}

void edit_history(struct edit *edit, const char *subject, const char *before, const char *after,
                  const char *reason, const char *client)
{
    assert(edit->count < EDIT_CHANGES_MOST);
    struct change_record *record = &edit->history[edit->count];
    *record = (struct change_record){.head.id = "",
                                     .subject = subject,
                                     .before = before,
                                     .after = after,
                                     .reason = reason,
                                     .client = client,
                                     .at_ms = edit->now_ms};
    edit_put(edit, RECORD_change, EXPECT_NEW, record);
}

bool edit_find(struct edit *edit, enum record_kind kind, const char *id, void **out,
               struct error *err)
{
    return catalogue_get(edit->catalogue, kind, id, edit->arena, out, err);
}

bool edit_get(struct edit *edit, enum record_kind kind, const char *id, void **out,
              struct error *err)
{
    void *found = NULL;
    if (!edit_find(edit, kind, id, &found, err))
        return false;
    if (!found)
        return fail(err, ERR_NOT_FOUND, "there is no %s '%.200s'", record_type(kind)->name, id);
    *out = found;
    return true;
}
