/* The pipeline: a blueprint or a model in, a signed package with its evidence out.
 *
 *   source ─ compile ─► package ─ verify ─► evidence ─ sign ─► package
 *            a child              a child              here
 *
 * Compiling and verifying run in child processes (work.h), so that whatever a source makes them do
 * is an error here. The key is read at the end, by this process, and wiped at once: no child has
 * it. What a child sends back is read as a package from a stranger before it is signed.
 *
 * Degrading. Where the compiler or a check fails, and not what the user wrote, the same source is
 * tried with less: without the graph passes that optimise, then without code (the package runs in
 * the interpreter). Each step is in the result with its reason. A package of any step is verified
 * if its strategy says so. */
#ifndef URZA_BUILD_BUILD_H
#define URZA_BUILD_BUILD_H

#include <stdatomic.h>

#include "compiler/compile.h"
#include "graph/dtype.h"
#include "verify/verify.h"

struct spawner;

enum build_step { BUILD_COMPILE = 1, BUILD_VERIFY, BUILD_SIGN };
const char *build_step_name(enum build_step step); /* "compiling" */

struct build_request {
    const char *source; /* JSON of a blueprint, ONNX, pt2 */
    size_t size;
    struct compile_options compile; /* key: not here; where a chooser or observer is given,
                                       this process forks */
    double tune_s; /* > 0, without a chooser: configs of kernels are measured for about so long, on
                      this machine, for targets that it can run; for STRATEGY_AGGRESSIVE */
    const char *dims;   /* of verification: as in verify_options */
    bool unchecked;     /* not verified, whatever the strategy */
    bool degrade;       /* otherwise the first failure is the answer */
    const char *closed; /* a folder of which the source may read nothing: that of the key, say;
                           NULL: none */
    /* Opens the signing key into *out, which is wiped after use; NULL: the package is unsigned. */
    bool (*open_key)(void *context, struct signing_key *out, struct error *err);
    void (*on_step)(void *context, enum build_step step); /* NULL: nobody asks */
    void *context;                                        /* of both */
    struct spawner *spawner;      /* whose children do the work; NULL: this process forks */
    const atomic_bool *cancelled; /* looked at now and then; NULL: nobody cancels. ERR_CANCELLED */
};

/* What was left out, and why. */
struct build_degraded {
    const char *what, *why; /* "graph passes", "code"; the message of the error */
};
#define BUILD_DEGRADED_MOST 2

struct build_result {
    struct compile_result compiled; /* without package: that is below */
    const void *package;            /* signed, with evidence; in the arena or compiled.held */
    size_t package_bytes;
    const char *evidence; /* JSON; NULL: not verified */
    size_t evidence_bytes;
    /* What was measured to choose configs: {"device", "entries": as urza_tuner_list has them};
     * NULL: nothing. */
    const char *tuned;
    double verify_ms;     /* < 0: not verified */
    enum dtype precision; /* of the first output of floating-point numbers; DTYPE_NONE: none is */
    uint64_t peak_bytes;  /* most memory that a compiler's process had; 0: there was none */
    struct build_degraded degraded[BUILD_DEGRADED_MOST];
    uint32_t degraded_count;
};

/* Everything lives in arena but what the cache holds: build_release. On failure *out is unchanged.
 * Errors of the source are as compile_blueprint has them; ERR_VERIFY names the check that did not
 * pass; ERR_COMPILER_DIED: a child died, or needed more than the time of request->compile
 * (verification that takes longer than that time is ERR_LIMIT); ERR_NOMEM: it needed more than its
 * memory, or this process has none. */
bool build_run(const struct build_request *request, struct arena *arena, struct build_result *out,
               struct error *err);
/* Verifies a package that was built without, and writes it again with the evidence, signed: for a
 * strategy that answers first. Of request only dims, seed, timeout_ms, open_key, spawner and
 * cancelled count. *out has package and evidence; ERR_VERIFY as above. Its id stays what it was. */
bool build_verify(const struct build_request *request, const void *package, size_t size,
                  struct arena *arena, struct build_result *out, struct error *err);
/* A package that is to be measured at typical sizes. */
struct build_measured {
    const void *package;
    size_t size;
    const uint8_t *signer; /* the 32 bytes of the key that must have signed it */
    double seconds;        /* how long */
};
/* In a child. Of request only spawner and cancelled count. *out lies in arena. */
struct work_profiled;
bool build_profile(const struct build_request *request, const struct build_measured *measured,
                   struct arena *arena, struct work_profiled *out, struct error *err);
void build_release(const struct build_request *request, struct build_result *result);

#endif
