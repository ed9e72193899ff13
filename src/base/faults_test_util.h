/* Allocation faults by counting, for one file of a test program: its own malloc stands in front of
 * the C library's, so that every allocation of the process counts, and the n-th fails.
 *
 * One allocation at each distinct place is enough: faults_begin with FAULTS_COLLECT notes the
 * number of the first allocation at each place (the return addresses of the innermost frames), and
 * the test fails these. Arenas are so small here that every request of one is an allocation.
 * Allocations inside jansson are never failed where they are `ours`: its lexer (2.14) does not
 * survive one. Sanitizers bring their own malloc: there, nothing is counted. */
#ifndef URZA_BASE_FAULTS_TEST_UTIL_H
#define URZA_BASE_FAULTS_TEST_UTIL_H

#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"

#define CHUNK_MIN ((size_t)1)
#define CHUNK_MAX ((size_t)1)
#include "base/arena.c"

#define FAULTS_COUNTED (!URZA_SANITIZED)
#define FAULTS_PLACES ((uint32_t)1 << 16)
#define FAULTS_FRAMES 7
#define FAULTS_OWN_FRAMES 3 /* of this file, innermost */

enum faults_of { FAULTS_OURS, FAULTS_LLVM }; /* of whom; LLVM's: the C++ library's, too */

static struct {
    atomic_bool on;
    bool collects, in_children; /* in_children: not in the process that began */
    enum faults_of of;
    pid_t began;
    _Atomic uint64_t count, fail_at; /* fail_at: 1 is the first; 0: none fails */
    _Atomic int64_t live;            /* allocated and not freed */
    uint32_t place_count;
    uint64_t hashes[FAULTS_PLACES]; /* of places, by open addressing; 0: free */
    uint64_t places[FAULTS_PLACES]; /* the number of the first allocation there */
    struct {
        uintptr_t begin, end;
    } llvm[4], jansson[2];
    int llvm_count, jansson_count;
} faults;

static _Thread_local bool faults_inside;

#if FAULTS_COUNTED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *memory);

static bool faults_is_llvm(uintptr_t address)
{
    for (int i = 0; i < faults.llvm_count; i++)
        if (address >= faults.llvm[i].begin && address < faults.llvm[i].end)
            return true;
    return false;
}

static bool faults_is_jansson(uintptr_t address)
{
    for (int i = 0; i < faults.jansson_count; i++)
        if (address >= faults.jansson[i].begin && address < faults.jansson[i].end)
            return true;
    return false;
}

static void faults_collect(uint64_t number)
{
    void *frames[FAULTS_OWN_FRAMES + FAULTS_FRAMES];
    uint64_t hash = 1469598103934665603u;
    int count = backtrace(frames, FAULTS_OWN_FRAMES + FAULTS_FRAMES);
    for (int i = FAULTS_OWN_FRAMES; i < count; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)frames[i]) * 1099511628211u;
    hash |= 1;
    uint32_t at = (uint32_t)(hash >> 40) % FAULTS_PLACES;
    while (faults.hashes[at] != 0 && faults.hashes[at] != hash)
        at = (at + 1) % FAULTS_PLACES;
    if (faults.hashes[at] == hash || faults.place_count >= FAULTS_PLACES / 2)
        return;
    faults.hashes[at] = hash;
    faults.places[faults.place_count++] = number;
}

static bool faults_now(const void *caller)
{
    uintptr_t address = (uintptr_t)caller;
    if (!faults.on || faults_inside || faults_is_jansson(address) ||
        faults_is_llvm(address) != (faults.of == FAULTS_LLVM) ||
        (getpid() != faults.began) != faults.in_children)
        return false;
    uint64_t number = atomic_fetch_add(&faults.count, 1) + 1;
    if (faults.collects) {
        faults_inside = true;
        faults_collect(number);
        faults_inside = false;
    }
    if (number != faults.fail_at)
        return false;
    errno = ENOMEM;
    return true;
}

static void *faults_count(void *memory)
{
    if (memory && faults.on && !faults_inside)
        atomic_fetch_add(&faults.live, 1);
    return memory;
}

URZA_EXPORT void *malloc(size_t size)
{
    return faults_now(__builtin_return_address(0)) ? NULL : faults_count(__libc_malloc(size));
}

URZA_EXPORT void *calloc(size_t count, size_t size)
{
    return faults_now(__builtin_return_address(0)) ? NULL
                                                   : faults_count(__libc_calloc(count, size));
}

URZA_EXPORT void *realloc(void *memory, size_t size)
{
    if (faults_now(__builtin_return_address(0)))
        return NULL;
    return memory ? __libc_realloc(memory, size) : faults_count(__libc_malloc(size));
}

URZA_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    return faults_now(__builtin_return_address(0)) ? NULL
                                                   : faults_count(__libc_memalign(align, size));
}

URZA_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    void *made =
        faults_now(__builtin_return_address(0)) ? NULL : faults_count(__libc_memalign(align, size));
    *out = made ? made : *out;
    return made ? 0 : ENOMEM;
}

URZA_EXPORT void free(void *memory)
{
    if (memory && faults.on && !faults_inside)
        atomic_fetch_sub(&faults.live, 1);
    __libc_free(memory);
}
#endif

static int faults_see_object(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    bool llvm = strstr(info->dlpi_name, "libLLVM") || strstr(info->dlpi_name, "libstdc++");
    bool jansson = strstr(info->dlpi_name, "libjansson") != NULL;
    for (int i = 0; (llvm || jansson) && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t begin = (uintptr_t)(info->dlpi_addr + part->p_vaddr);
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        if (llvm && faults.llvm_count < 4) {
            faults.llvm[faults.llvm_count].begin = begin;
            faults.llvm[faults.llvm_count++].end = begin + part->p_memsz;
        } else if (jansson && faults.jansson_count < 2) {
            faults.jansson[faults.jansson_count].begin = begin;
            faults.jansson[faults.jansson_count++].end = begin + part->p_memsz;
        }
    }
    return 0;
}

enum faults_mode { FAULTS_COLLECT = 1, FAULTS_IN_CHILDREN = 2 };

/* From here to the end, allocation number fail_at fails. mode: of enum faults_mode. */
static inline void faults_begin(enum faults_of of, uint64_t fail_at, int mode)
{
    void *frame;
    if (faults.llvm_count == 0) {
        dl_iterate_phdr(faults_see_object, NULL);
        backtrace(&frame, 1); /* loads what it needs */
    }
    faults.of = of;
    faults.collects = (mode & FAULTS_COLLECT) != 0;
    faults.in_children = (mode & FAULTS_IN_CHILDREN) != 0;
    faults.began = getpid();
    if (faults.collects) {
        faults.place_count = 0;
        memset(faults.hashes, 0, sizeof faults.hashes);
    }
    faults.count = 0;
    faults.live = 0;
    faults.fail_at = fail_at;
    faults.on = true;
}

static inline void faults_end(void)
{
    faults.on = false;
}

/* The place that is the index-th of count ones spread over all that were collected. */
static inline uint64_t faults_place(uint32_t index, uint32_t count)
{
    return faults.places[(uint64_t)index * faults.place_count / count];
}

#endif
