/* Visits: calls that may run out of memory and must then unlock their mutexes; and the memory of a
 * tuner.
 *
 * Entries, rules and scopes are added and removed, but an arena cannot free single allocations. So
 * there are two halves: when most of one is garbage, the live part is copied to the other. So a
 * tuner that is used for a long time takes at most about three times the size of its live data. */
#include "base/error.h"
#include "tuner/visit_priv.h"

#define SLACK_BYTES ((size_t)64 << 10)

void memory_init(struct memory *memory)
{
    *memory = (struct memory){.settled_bytes = 0};
    arena_init(&memory->arena);
    table_init(&memory->known, &memory->arena);
    table_init(&memory->pending, &memory->arena);
}

struct move {
    const struct memory *from;
    struct memory *to;
};

static void copy_table(struct table *to, const struct table *from)
{
    for (uint32_t i = 0; i < from->entries.count; i++)
        table_merge(to, from->entries.items[i]);
}

static void copy(void *context)
{
    const struct move *move = context;
    struct memory *to = move->to;
    copy_table(&to->known, &move->from->known);
    copy_table(&to->pending, &move->from->pending);
    to->pending_count = move->from->pending_count;
    rules_copy(&to->overrides, &to->arena, &move->from->overrides);
    scopes_copy(&to->scopes, &to->arena, &move->from->scopes);
}

/* If there is no memory for the copy, nothing changes. */
static void settle(urza_tuner *tuner)
{
    struct memory *from = tuner->memory;
    struct memory *to = &tuner->halves[from == &tuner->halves[0] ? 1 : 0];
    struct move move = {from, to};
    if (from->arena.used_bytes <= 2 * from->settled_bytes + SLACK_BYTES)
        return;
    memory_init(to);
    if (!arena_catch(&to->arena, copy, &move)) {
        arena_release(&to->arena);
        return;
    }
    to->settled_bytes = to->arena.used_bytes;
    arena_release(&from->arena);
    tuner->memory = to;
}

void visit_lock(struct visit *visit)
{
    pthread_mutex_lock(&visit->tuner->mutex);
    visit->locked = true;
    visit->tuner->memory->arena.oom = visit->arena.oom;
}

void visit_unlock(struct visit *visit)
{
    visit->tuner->memory->arena.oom = NULL;
    settle(visit->tuner);
    visit->locked = false;
    pthread_mutex_unlock(&visit->tuner->mutex);
}

struct call {
    struct visit *visit;
    visit_fn *body;
    void *context;
    struct error *err;
    bool ok;
};

static void call_body(void *context)
{
    struct call *call = context;
    call->ok = call->body(call->visit, call->context, call->err);
}

bool visit_run(urza_tuner *tuner, visit_fn *body, void *context, struct error *err)
{
    struct visit visit = {.tuner = tuner};
    struct call call = {&visit, body, context, err, false};
    arena_init(&visit.arena);
    bool ok = arena_catch(&visit.arena, call_body, &call)
                  ? call.ok
                  : fail(err, ERR_NOMEM, "the tuner ran out of memory");
    if (visit.locked)
        visit_unlock(&visit);
    if (visit.measuring)
        pthread_mutex_unlock(&tuner->measuring);
    arena_release(&visit.arena);
    return ok;
}
