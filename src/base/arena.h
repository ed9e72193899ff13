/* An arena: memory that is freed all at once.
 *
 * One arena per compile job, request or loaded module; what lives in it is never freed piecewise.
 * An arena belongs to one thread at a time. Allocation never returns NULL: when memory runs out the
 * arena jumps to `oom` when one is set (a host process), and otherwise ends the process as
 * child_no_memory does: compilers run in a child process, whose death the parent survives. */
#ifndef URZA_BASE_ARENA_H
#define URZA_BASE_ARENA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

struct arena_chunk;
struct arena_owned;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    char *next;                 /* first free byte of the newest chunk */
    char *end;
    size_t used_bytes;  /* sum of all allocations */
    size_t limit_bytes; /* 0: none; passing it counts as out of memory */
    jmp_buf *oom;       /* borrowed; NULL: end the process */
    struct arena_owned *owned;
};

void arena_init(struct arena *arena);
void arena_release(struct arena *arena); /* frees all memory; the arena may be used again */

/* size bytes, zeroed, aligned to align (a power of two ≤ 64). size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size, size_t align);
/* As arena_alloc, but not zeroed: for memory that the caller overwrites completely at once. */
void *arena_raw(struct arena *arena, size_t size, size_t align);
/* count × size bytes, zeroed, 16-aligned; an overflowing product counts as out of memory. */
void *arena_array(struct arena *arena, size_t count, size_t size);
void *arena_raw_array(struct arena *arena, size_t count, size_t size); /* not zeroed */
char *arena_strndup(struct arena *arena, const char *text, size_t length);
char *arena_strdup(struct arena *arena, const char *text);
void *arena_memdup(struct arena *arena, const void *data, size_t size);

/* What an allocation does that cannot be had, for memory that is not the arena's. */
URZA_NORETURN void arena_no_memory(struct arena *arena);
/* Calls body, which allocates in arena. False when the arena ran out of memory: whatever its `oom`
 * says, control comes back here, so that what is no arena's can be given back. */
bool arena_catch(struct arena *arena, void (*body)(void *context), void *context);
/* The arena's release calls release(object), the last ones first: for what must be given back even
 * when memory runs out and control jumps away. Where there is none for the note of it, release is
 * called at once. It may find that the owner has released the object before. */
void arena_own(struct arena *arena, void (*release)(void *object), void *object);
/* An arena that jumps where outer does now, and is released with it, or before. */
struct arena *arena_inside(struct arena *outer);

#define ARENA_NEW(arena, type) ((type *)arena_alloc(arena, sizeof(type), _Alignof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_array(arena, (size_t)(count), sizeof(type)))

/* A growing array in an arena: declare with VEC(type), start at {0}; items move when it grows. */
#define VEC(type)                 \
    struct {                      \
        type *items;              \
        uint32_t count, capacity; \
    }
#define VEC_PUSH(arena, vec, item)                                                           \
    ((vec)->count == (vec)->capacity                                                         \
         ? (void)((vec)->items =                                                             \
                      vec_grow(arena, (vec)->items, &(vec)->capacity, sizeof *(vec)->items)) \
         : (void)0,                                                                          \
     (vec)->items[(vec)->count++] = (item))
void *vec_grow(struct arena *arena, void *items, uint32_t *capacity, size_t item_size);

#endif
