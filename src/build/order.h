/* Work for a child process, as bytes. It may be done by a child of this process, which shares its
 * memory, or by a child of a spawner, which does not. */
#ifndef URZA_BUILD_ORDER_H
#define URZA_BUILD_ORDER_H

#include "base/child.h"
#include "compiler/compile.h"
#include "verify/verify.h"

#define ORDER_PARTS 4

enum order_kind { ORDER_COMPILE = 1, ORDER_VERIFY, ORDER_PROFILE, ORDER_KINDS };

struct work_order {
    enum order_kind kind;
    struct child_limits limits;
    struct board *board; /* NULL; a child of a spawner, which has other memory, has none */
    struct child_part parts[ORDER_PARTS]; /* options; their texts; the source or package:
                                            borrowed; known inputs */
};

/* A compilation and its options. */
struct compile_order {
    const char *source; /* source, size, tune_s and closed as in build_request */
    size_t size;
    const struct compile_options *options; /* key, chooser and observer are not used */
    double tune_s;
    const char *cache_folder; /* the cache of kernels is a folder inside; NULL: no cache */
    const char *closed;
};
/* Encodes a compilation. Children cache kernels only, never whole packages. */
void order_compile(const struct compile_order *order, struct arena *arena, struct work_order *out);
/* The measurements of tuning, as in build_result; NULL where there are none or they are damaged. */
const char *order_take_tuned(const struct child_answer *answer);
/* Encodes verify_package with these options, without trusted keys. The time limit of the child is
 * half a minute above that of its checks. */
void order_verify(const void *package, size_t size, const struct verify_options *options,
                  struct arena *arena, struct work_order *out);

/* Encodes profile_package on one thread at typical sizes, for so many seconds; signer: the key that
 * must have signed the package.
 */
void order_profile(const void *package, size_t size, const uint8_t signer[32], double seconds,
                   struct arena *arena, struct work_order *out);

/* Runs the work; to be called in a child. ERR_BUG if it was not encoded by the functions above. */
bool order_do(const struct work_order *work, struct arena *arena, struct child_answer *out,
              struct error *err);

/* To be called in a child of this process: confines the child and verifies. The options are used as
 * they are, trusted keys included.
 */
bool order_verify_here(const void *package, size_t size, const struct verify_options *options,
                       struct arena *arena, struct child_answer *out, struct error *err);
/* Reads a child's answer to either kind of verification. evidence points into the answer.
 * ERR_COMPILER_DIED. */
bool order_take_verified(const struct child_answer *answer, struct verify_summary *out,
                         const char **out_evidence, size_t *out_bytes, struct error *err);

/* Reads a child's answer to a profile: JSON as from profile_print, checked to be JSON, and figures
 * from it. ERR_COMPILER_DIED. */
struct order_profiled {
    const char *json; /* points into the answer */
    double p50_us;
    uint64_t temporaries_bytes;
};
bool order_take_profiled(const struct child_answer *answer, struct order_profiled *out,
                         struct error *err);

/* Runs the work in a child of this process. */
struct child_exit order_run(const struct work_order *work, struct arena *arena,
                            struct child_answer *out_answer, struct error *err);

#endif
