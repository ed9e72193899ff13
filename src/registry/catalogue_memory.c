/* A catalogue in memory: an array per kind, by increasing serial, under one lock. It is for tests,
 * and a short specification of a driver.
 *
 * A commit is applied in place and undone when a later change of it fails. All memory for undoing
 * is allocated before the first change, so undoing cannot fail. */
#include "registry/catalogue_priv.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* The records of one kind; blocks from record_pack. */
struct shelf {
    struct record **records;
    size_t count, capacity;
    int64_t serial; /* the last one assigned */
};

struct memory {
    struct catalogue catalogue;
    pthread_mutex_t mutex;
    struct shelf shelves[RECORD_COUNT];
    int64_t revision; /* the last one assigned, over all kinds, so that a record that is removed and
                         put again gets a new one */
};

/* For undoing one change: the record before it, and the one after it. Either may be NULL. */
struct step {
    enum record_kind kind;
    struct record *before, *after;
};

static bool memory_open(const char *place, struct catalogue **out, struct error *err)
{
    (void)place;
    struct memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return fail(err, ERR_NOMEM, "no memory for a catalogue");
    memory->catalogue.driver = &catalogue_memory;
    pthread_mutex_init(&memory->mutex, NULL);
    *out = &memory->catalogue;
    return true;
}

static void memory_close(struct catalogue *catalogue)
{
    struct memory *memory = (struct memory *)catalogue;
    for (int kind = 0; kind < RECORD_COUNT; kind++) {
        struct shelf *shelf = &memory->shelves[kind];
        for (size_t i = 0; i < shelf->count; i++)
            free(shelf->records[i]);
        free(shelf->records);
    }
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

static struct record *find(const struct shelf *shelf, const char *id)
{
    for (size_t i = shelf->count; i-- > 0;) /* new records are looked up most often */
        if (strcmp(shelf->records[i]->id, id) == 0)
            return shelf->records[i];
    return NULL;
}

/* The index of the first record with this serial or a later one. */
static size_t position(const struct shelf *shelf, int64_t serial)
{
    size_t low = 0, high = shelf->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (shelf->records[middle]->serial < serial)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool reserve(struct shelf *shelf, size_t more)
{
    if (shelf->count + more <= shelf->capacity)
        return true;
    size_t capacity = 2 * (shelf->count + more);
    struct record **grown = realloc(shelf->records, capacity * sizeof *grown);
    if (!grown)
        return false;
    shelf->records = grown;
    shelf->capacity = capacity;
    return true;
}

/* Replaces record `from` by `to`; NULL: there was none, or there shall be none. Room is
 * reserved. */
static void exchange(struct shelf *shelf, const struct record *from, struct record *to)
{
    if (!from && !to)
        return;
    size_t at = position(shelf, from ? from->serial : to->serial);
    struct record **slot = &shelf->records[at];
    if (from && to) {
        *slot = to;
    } else if (to) {
        memmove(slot + 1, slot, (shelf->count++ - at) * sizeof *slot);
        *slot = to;
    } else {
        memmove(slot, slot + 1, (--shelf->count - at) * sizeof *slot);
    }
}

/* The block for the record that a change puts, with id, serial and revision. NULL: no memory. */
static struct record *packed(struct memory *memory, const struct change *change,
                             const struct record *before)
{
    struct shelf *shelf = &memory->shelves[change->kind];
    struct record *head;
    struct { /* large enough for the struct of any kind */
        struct record head;
        char rest[1024];
    } filled;
    char digits[24];
    assert(record_type(change->kind)->size <= sizeof filled);
    memcpy(&filled, change->record, record_type(change->kind)->size);
    head = &filled.head;
    head->serial = before ? before->serial : ++shelf->serial;
    head->revision = ++memory->revision;
    if (head->id[0] == '\0') {
        do
            snprintf(digits, sizeof digits, "%lld", (long long)head->serial);
        while (find(shelf, digits) && (head->serial = ++shelf->serial));
        head->id = digits;
    }
    struct record *block = malloc(record_bytes(change->kind, &filled));
    if (block)
        record_pack(change->kind, &filled, block);
    return block;
}

static bool apply(struct memory *memory, const struct change *change, struct step *out_step,
                  struct error *err)
{
    const struct record *record = change->record;
    struct shelf *shelf = &memory->shelves[change->kind];
    struct record *before = find(shelf, record->id), *after = NULL;
    if (!expectation_holds(change, before ? before->revision : 0, err))
        return false;
    if (!change->remove && !(after = packed(memory, change, before)))
        return fail(err, ERR_NOMEM, "no memory for a record");
    exchange(shelf, before, after);
    *out_step = (struct step){change->kind, before, after};
    return true;
}

static bool memory_commit(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                          struct error *err)
{
    struct memory *memory = (struct memory *)catalogue;
    struct step *steps = calloc(count, sizeof *steps);
    if (!steps)
        return fail(err, ERR_NOMEM, "no memory for %u changes", count);

    pthread_mutex_lock(&memory->mutex);
    int64_t serials[RECORD_COUNT], revision = memory->revision;
    bool ok = true;
    for (int kind = 0; kind < RECORD_COUNT; kind++) {
        serials[kind] = memory->shelves[kind].serial;
        ok = ok && reserve(&memory->shelves[kind], count);
    }
    if (!ok)
        fail(err, ERR_NOMEM, "no memory for %u changes", count);
    uint32_t done = 0;
    while (ok && done < count) {
        ok = apply(memory, &changes[done], &steps[done], err);
        done += ok;
    }
    for (uint32_t i = done; !ok && i-- > 0;)
        exchange(&memory->shelves[steps[i].kind], steps[i].after, steps[i].before);
    for (int kind = 0; !ok && kind < RECORD_COUNT; kind++)
        memory->shelves[kind].serial = serials[kind];
    if (!ok)
        memory->revision = revision;
    pthread_mutex_unlock(&memory->mutex);

    for (uint32_t i = 0; i < done; i++)
        free(ok ? steps[i].before : steps[i].after);
    free(steps);
    return ok;
}

/* Arguments and results of a reader, which runs under the lock. */
struct reading {
    struct memory *memory;
    const struct query *query;
    enum record_kind kind;
    const char *id;
    struct arena *arena;
    void *record;
    struct records records;
};

static bool read_caught(struct memory *memory, struct reading *reading, void (*body)(void *),
                        struct error *err)
{
    pthread_mutex_lock(&memory->mutex);
    bool ok = arena_catch(reading->arena, body, reading);
    pthread_mutex_unlock(&memory->mutex);
    return ok || fail(err, ERR_NOMEM, "no memory for the records");
}

static void get_body(void *context)
{
    struct reading *reading = context;
    const struct record *found = find(&reading->memory->shelves[reading->kind], reading->id);
    if (found)
        reading->record = record_copy(reading->kind, found, reading->arena);
}

static bool memory_get(struct catalogue *catalogue, enum record_kind kind, const char *id,
                       struct arena *arena, void **out, struct error *err)
{
    struct memory *memory = (struct memory *)catalogue;
    struct reading reading = {.memory = memory, .kind = kind, .id = id, .arena = arena};
    if (!read_caught(memory, &reading, get_body, err))
        return false;
    *out = reading.record;
    return true;
}

/* Compares exactly, even where a double cannot represent the integer: negative, 0 or positive. */
static int compare_integer(int64_t a, double b)
{
    if (b >= 0x1p63)
        return -1;
    if (b < -0x1p63)
        return 1;
    int64_t whole = (int64_t)b;
    double rest = b - (double)whole;
    return a != whole ? (a > whole) - (a < whole) : (rest < 0) - (rest > 0);
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strchr(at, ',')) != NULL; at++)
        if (strncmp(at + 1, word, length) == 0 && at[1 + length] == ',')
            return true;
    return false;
}

static bool passes(const struct record *record, const struct filter *filter,
                   const struct record_field *field)
{
    int order = 0;
    if (field->type == FIELD_LIST)
        return has_word(*record_text(record, field), filter->text);
    if (field->type == FIELD_TEXT)
        order = strcmp(*record_text(record, field), filter->text);
    else if (field->type == FIELD_INTEGER)
        order = compare_integer(*record_integer(record, field), filter->number);
    else if (field->type == FIELD_REAL)
        order = (*record_real(record, field) > filter->number) -
                (*record_real(record, field) < filter->number);
    switch (filter->op) {
    case FILTER_IS: return order == 0;
    case FILTER_IS_NOT: return order != 0;
    case FILTER_AT_LEAST: return order >= 0;
    case FILTER_AT_MOST: return order <= 0;
    case FILTER_NONE:
    case FILTER_HAS: break;
    }
    return false;
}

static bool passes_all(const struct record *record, const struct query *query)
{
    for (uint32_t i = 0; i < query->filter_count; i++)
        if (!passes(record, &query->filters[i], record_field(query->kind, query->filters[i].field)))
            return false;
    return true;
}

static void list_body(void *context)
{
    struct reading *reading = context;
    const struct query *query = reading->query;
    const struct shelf *shelf = &reading->memory->shelves[query->kind];
    VEC(void *) found = {0};
    for (size_t i = 0; i < shelf->count && found.count < query->limit; i++) {
        const struct record *record =
            shelf->records[query->newest_first ? shelf->count - 1 - i : i];
        bool behind = query->after == 0 || (query->newest_first ? record->serial < query->after
                                                                : record->serial > query->after);
        if (behind && passes_all(record, query))
            VEC_PUSH(reading->arena, &found, record_copy(query->kind, record, reading->arena));
    }
    reading->records = (struct records){found.items, found.count};
}

static bool memory_list(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                        struct records *out, struct error *err)
{
    struct memory *memory = (struct memory *)catalogue;
    struct reading reading = {.memory = memory, .query = query, .arena = arena};
    if (!read_caught(memory, &reading, list_body, err))
        return false;
    *out = reading.records;
    return true;
}

static bool memory_total(struct catalogue *catalogue, const struct query *query, const char *field,
                         struct totals *out, struct error *err)
{
    (void)err;
    struct memory *memory = (struct memory *)catalogue;
    const struct record_field *summed = field ? record_field(query->kind, field) : NULL;
    struct totals totals = {0};
    pthread_mutex_lock(&memory->mutex);
    const struct shelf *shelf = &memory->shelves[query->kind];
    for (size_t i = 0; i < shelf->count; i++) {
        if (!passes_all(shelf->records[i], query))
            continue;
        totals.count++;
        if (summed)
            totals.sum += summed->type == FIELD_REAL
                              ? *record_real(shelf->records[i], summed)
                              : (double)*record_integer(shelf->records[i], summed);
    }
    pthread_mutex_unlock(&memory->mutex);
    *out = totals;
    return true;
}

static bool memory_check(struct catalogue *catalogue, struct error *err)
{
    (void)catalogue;
    (void)err;
    return true;
}

const struct catalogue_driver catalogue_memory = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .commit = memory_commit,
    .get = memory_get,
    .list = memory_list,
    .total = memory_total,
    .check = memory_check,
};
