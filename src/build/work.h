/* Work that a child process does, as bytes: it may be asked of a child of this process, which has
 * its memory, or of a spawner's, which has not. */
#ifndef URZA_BUILD_WORK_H
#define URZA_BUILD_WORK_H

#include "base/child.h"
#include "compiler/compile.h"
#include "verify/verify.h"

#define WORK_PARTS 3

enum work_kind { WORK_COMPILE = 1, WORK_VERIFY, WORK_PROFILE, WORK_KINDS };

struct work_order {
    enum work_kind kind;
    struct child_limits limits;
    struct child_part parts[WORK_PARTS]; /* options; their texts; the source or package: borrowed */
};

/* What is to be compiled, and how. */
struct compile_order {
    const char *source; /* as in build_request, like size, tune_s and closed */
    size_t size;
    const struct compile_options *options; /* key, chooser and observer do not count */
    double tune_s;
    const char *cache_folder; /* a part of it is a cache for kernels; NULL: there is none */
    const char *closed;
};
/* Compiling so: no child writes what is found as a whole package. */
void work_compile(const struct compile_order *order, struct arena *arena, struct work_order *out);
/* What was measured meanwhile, as build_result has it: NULL where it is none or damaged. */
const char *work_take_tuned(const struct child_answer *answer);
/* verify_package with these options, but without trusted keys. As a whole it takes half a minute
 * more than its checks may. */
void work_verify(const void *package, size_t size, const struct verify_options *options,
                 struct arena *arena, struct work_order *out);

/* profile_package of one thread at typical sizes, for so many seconds; signer: whose package it is.
 */
void work_profile(const void *package, size_t size, const uint8_t signer[32], double seconds,
                  struct arena *arena, struct work_order *out);

/* Does it: for a child. ERR_BUG for what is not as the functions above have it. */
bool work_do(const struct work_order *work, struct arena *arena, struct child_answer *out,
             struct error *err);

/* The same for a child, which it confines, that has the options as they are, trusted keys among
 * them.
 */
bool work_verify_here(const void *package, size_t size, const struct verify_options *options,
                      struct arena *arena, struct child_answer *out, struct error *err);
/* What a child answered to either. evidence lies in the answer. ERR_COMPILER_DIED. */
bool work_take_verified(const struct child_answer *answer, struct verify_summary *out,
                        const char **out_evidence, size_t *out_bytes, struct error *err);

/* What a child answered to a profile: JSON as profile_print has it, checked to be JSON, and figures
 * of it. ERR_COMPILER_DIED. */
struct work_profiled {
    const char *json; /* in the answer */
    double p50_us;
    uint64_t temporaries_bytes;
};
bool work_take_profiled(const struct child_answer *answer, struct work_profiled *out,
                        struct error *err);

/* In a child of this process. */
struct child_exit work_run(const struct work_order *work, struct arena *arena,
                           struct child_answer *out_answer, struct error *err);

#endif
