/* A list of chunks, newest first; allocating advances a pointer through the newest chunk. Chunks
 * come from calloc, or from malloc when they hold one large raw request.
 *
 *     chunks -> [header | used ... next ... end] -> [header | used] -> ...
 *
 * Invariants:
 * 1. Memory between next and end has never been handed out, so it is still zero: raw chunks hold
 * one request each.
 * 2. Chunks double from CHUNK_MIN to CHUNK_MAX. A request that would waste much of a chunk gets
 *    one of its own, placed behind the newest, so that the newest goes on being filled. */
#include "base/arena.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/child.h"

#ifndef CHUNK_MIN /* tests make them so small that each request is a chunk, and may fail */
#define CHUNK_MIN ((size_t)64 << 10)
#define CHUNK_MAX ((size_t)8 << 20)
#endif
#define ALIGN_MAX ((size_t)64)

struct arena_chunk {
    struct arena_chunk *older;
    size_t regular_bytes; /* size in the doubling series; 0: a chunk of one big request */
};

struct arena_owned {
    struct arena_owned *older;
    void (*release)(void *object);
    void *object;
};

void arena_no_memory(struct arena *arena)
{
    if (arena->oom)
        longjmp(*arena->oom, 1);
    child_no_memory();
}

static char *align_up(char *at, size_t align)
{
    return at + (-(uintptr_t)at & (align - 1));
}

static struct arena_chunk *chunk_new(struct arena *arena, size_t size, bool raw)
{
    size_t total;
    struct arena_chunk *chunk = NULL;
    if (checked_add_size(size, sizeof *chunk, &total) && total <= PTRDIFF_MAX)
        chunk = raw ? malloc(total) : calloc(1, total);
    if (!chunk)
        arena_no_memory(arena);
    return chunk;
}

/* Serves a request that does not fit into the newest chunk. */
static void *alloc_slow(struct arena *arena, size_t size, size_t align, bool raw)
{
    size_t regular = CHUNK_MIN;
    if (arena->chunks && arena->chunks->regular_bytes > 0)
        regular = arena->chunks->regular_bytes * 2;
    if (regular > CHUNK_MAX)
        regular = CHUNK_MAX;

    if (size <= regular / 4) {
        struct arena_chunk *chunk = chunk_new(arena, regular, false);
        chunk->regular_bytes = regular;
        chunk->older = arena->chunks;
        arena->chunks = chunk;
        char *at = align_up((char *)(chunk + 1), align);
        arena->next = at + size;
        arena->end = (char *)(chunk + 1) + regular;
        return at;
    }

    size_t padded;
    if (!checked_add_size(size, ALIGN_MAX, &padded))
        arena_no_memory(arena);
    struct arena_chunk *chunk = chunk_new(arena, padded, raw);
    chunk->regular_bytes = 0;
    chunk->older = NULL;
    if (arena->chunks) {
        chunk->older = arena->chunks->older;
        arena->chunks->older = chunk;
    } else {
        arena->chunks = chunk;
    }
    return align_up((char *)(chunk + 1), align);
}

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

void arena_release(struct arena *arena)
{
    if (!arena)
        return;
    while (arena->owned) { /* which lie in chunks */
        struct arena_owned *owned = arena->owned;
        arena->owned = owned->older;
        owned->release(owned->object);
    }
    for (struct arena_chunk *chunk = arena->chunks; chunk;) {
        struct arena_chunk *older = chunk->older;
        free(chunk);
        chunk = older;
    }
    arena->chunks = NULL;
    arena->next = arena->end = NULL;
    arena->used_bytes = 0;
}

static void *alloc(struct arena *arena, size_t size, size_t align, bool raw)
{
    assert(align > 0 && align <= ALIGN_MAX && (align & (align - 1)) == 0);
    if (size == 0)
        size = 1; /* so that the pointer is inside a chunk */
    size_t used;
    if (!checked_add_size(arena->used_bytes, size, &used) ||
        (arena->limit_bytes > 0 && used > arena->limit_bytes))
        arena_no_memory(arena);

    size_t room = (size_t)(arena->end - arena->next);
    size_t padding = -(uintptr_t)arena->next & (align - 1);
    void *at;
    if (padding <= room && size <= room - padding) {
        at = arena->next + padding;
        arena->next += padding + size;
    } else {
        at = alloc_slow(arena, size, align, raw);
    }
    arena->used_bytes = used;
    return at;
}

void *arena_alloc(struct arena *arena, size_t size, size_t align)
{
    return alloc(arena, size, align, false);
}

void *arena_raw(struct arena *arena, size_t size, size_t align)
{
    return alloc(arena, size, align, true);
}

static size_t array_bytes(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    if (!checked_mul_size(count, size, &total))
        arena_no_memory(arena);
    return total;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    return arena_alloc(arena, array_bytes(arena, count, size), 16);
}

void *arena_raw_array(struct arena *arena, size_t count, size_t size)
{
    return arena_raw(arena, array_bytes(arena, count, size), 16);
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
    size_t n = length > 0 ? strnlen(text, length) : 0;
    char *copy = arena_alloc(arena, n + 1, 1);
    if (n > 0)
        memcpy(copy, text, n);
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_memdup(arena, text, strlen(text) + 1);
}

void *arena_memdup(struct arena *arena, const void *data, size_t size)
{
    void *copy = arena_alloc(arena, size, 16);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

void *vec_grow(struct arena *arena, void *items, uint32_t *capacity, size_t item_size)
{
    uint32_t old = *capacity;
    if (old > UINT32_MAX / 2)
        arena_no_memory(arena);
    uint32_t grown = old > 0 ? 2 * old : 8;
    void *moved = arena_array(arena, grown, item_size);
    if (old > 0)
        memcpy(moved, items, old * item_size);
    *capacity = grown;
    return moved;
}

bool arena_catch(struct arena *arena, void (*body)(void *context), void *context)
{
    jmp_buf no_memory, *outer = arena->oom;
    if (setjmp(no_memory) != 0) {
        arena->oom = outer;
        return false;
    }
    arena->oom = &no_memory;
    body(context);
    arena->oom = outer;
    return true;
}

struct noting {
    struct arena *arena;
    struct arena_owned *note;
};

static void make_note(void *context)
{
    struct noting *noting = context;
    noting->note = ARENA_NEW(noting->arena, struct arena_owned);
}

void arena_own(struct arena *arena, void (*release)(void *object), void *object)
{
    struct noting noting = {arena, NULL};
    if (!arena_catch(arena, make_note, &noting)) {
        release(object);
        arena_no_memory(arena);
    }
    *noting.note = (struct arena_owned){arena->owned, release, object};
    arena->owned = noting.note;
}

static void release_inner(void *arena)
{
    arena_release(arena);
}

struct arena *arena_inside(struct arena *outer)
{
    struct arena *inner = ARENA_NEW(outer, struct arena);
    arena_init(inner);
    inner->oom = outer->oom;
    arena_own(outer, release_inner, inner);
    return inner;
}
