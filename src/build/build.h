/* The pipeline: from a blueprint or a model to a signed package with evidence.
 *
 *   source ─ compile ─► package ─ verify ─► evidence ─ sign ─► package
 *            a child              a child              here
 *
 * Compiling and verifying run in child processes (order.h), so that a source which makes them crash
 * or hang only causes an error here. This process reads the key at the end and wipes it at once: no
 * child has it. A package from a child is checked as untrusted input before it is signed.
 *
 * Degrading. If the compiler or a check is at fault, and not the user's source, the source is
 * compiled again with something left out: the optimising graph passes, then native code (the
 * package is interpreted). Each such step is in the result with its reason. Packages of all steps
 * are verified if the strategy asks for it. */
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
    struct compile_options compile; /* key is not used here; if chooser or observer is set, this
                                       process forks */
    double tune_s;    /* > 0, without a chooser: configs of kernels are tuned for about so long, on
                         this machine, for targets that it can run; for STRATEGY_AGGRESSIVE */
    const char *dims; /* for verification, as in verify_options */
    bool unchecked;   /* do not verify, whatever the strategy */
    bool degrade;     /* degrade where possible; else the first failure is returned */
    const char *closed; /* a folder that the source must not read, such as the one with the key;
                           NULL: none */
    /* Reads the signing key into *out, which is wiped after use; NULL: the package is unsigned. */
    bool (*open_key)(void *context, struct signing_key *out, struct error *err);
    /* Called at the begin of each step; NULL: not called. */
    void (*on_step)(void *context, enum build_step step);
    void *context;                /* argument of both functions */
    struct spawner *spawner;      /* forks the children; NULL: this process does */
    const atomic_bool *cancelled; /* checked regularly; NULL: cannot be cancelled. ERR_CANCELLED */
};

/* What was left out, and why. */
struct build_degraded {
    const char *what, *why; /* "graph passes", "code"; the message of the error */
};
#define BUILD_DEGRADED_MOST 2

struct build_result {
    struct compile_result compiled; /* without the package, which is in the next member */
    const void *package;            /* signed, with evidence; in the arena or compiled.held */
    size_t package_bytes;
    const char *evidence; /* JSON; NULL: the package was not verified */
    size_t evidence_bytes;
    /* Measurements made to choose configs: {"device", "entries": as from urza_tuner_list}; NULL:
     * none. */
    const char *tuned;
    double verify_ms;     /* < 0: not verified */
    enum dtype precision; /* dtype of the first floating-point output; DTYPE_NONE: there is none */
    uint64_t peak_bytes;  /* peak memory of a compiler's process; 0: there was no such process */
    struct build_degraded degraded[BUILD_DEGRADED_MOST];
    uint32_t degraded_count;
};

/* Everything lives in arena except what the cache holds, which build_release frees. On failure *out
 * is unchanged. Errors of the source are those of compile_blueprint; ERR_VERIFY names the check
 * that did not pass; ERR_COMPILER_DIED: a child died, or took longer than the time limit of
 * request->compile (verification beyond that limit is ERR_LIMIT); ERR_NOMEM: a child needed more
 * than its memory limit, or this process is out of memory. */
bool build_run(const struct build_request *request, struct arena *arena, struct build_result *out,
               struct error *err);
/* Verifies a package that was built without verification, and writes it again with evidence,
 * signed: for strategies that answer before verifying. Of request only dims, seed, timeout_ms,
 * open_key, spawner and cancelled are used. *out gets package and evidence; ERR_VERIFY as above.
 * The package's id does not change. */
bool build_verify(const struct build_request *request, const void *package, size_t size,
                  struct arena *arena, struct build_result *out, struct error *err);
/* A package to be measured at typical sizes. */
struct build_measured {
    const void *package;
    size_t size;
    const uint8_t *signer; /* public key, 32 bytes, that must have signed it */
    double seconds;        /* time for measuring */
};
/* Measures in a child. Of request only spawner and cancelled are used. *out lives in arena. */
struct order_profiled;
bool build_profile(const struct build_request *request, const struct build_measured *measured,
                   struct arena *arena, struct order_profiled *out, struct error *err);
void build_release(const struct build_request *request, struct build_result *result);

#endif
