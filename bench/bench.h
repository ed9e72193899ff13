/* The side-by-side benchmarks: what a case is, who competes in it, and how they are timed.
 *
 * A case is a blueprint with sizes. Ours compiles it in process and calls the package as any host
 * would. A peer computes the same from the same inputs; what it computes is compared with ours
 * before it is timed, so a time always belongs to a right result. Contestants take turns, a few
 * milliseconds each, for several rounds: whatever else the machine does meets all of them. Ratios
 * are formed within a round. One thread calls all of this. */
#ifndef URZA_BENCH_H
#define URZA_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "profile/profile.h"
#include "package/package.h"
#include "urza/run.h"

#define TENSORS 8      /* inputs, and outputs, of a case, at most */
#define CONTESTANTS 16 /* ours included */
#define ROUNDS_MAX 15
#define VERSION_BYTES 160
#define REASON_BYTES 512

/* What a peer that is no compiler must know of a case. */
enum case_kind {
    CASE_NONE,
    CASE_GRAPH, /* the blueprint says it all: only compilers compete */
    CASE_GEMM,
    CASE_CONV,
    CASE_SOFTMAX,
    CASE_LAYER_NORM,
    CASE_GELU,               /* gelu(x) */
    CASE_BIAS_GELU,          /* gelu(x + b) */
    CASE_BIAS_RELU_RESIDUAL, /* relu(x + b) + r */
};

struct gemm {
    int64_t m, n, k;
    bool packed; /* B is a parameter [n, k]; else an input [k, n] */
};

struct conv {
    int64_t batch, channels, height, width, filters, window, stride, padding, groups;
    bool channels_last; /* input and output are [batch, height, width, channels] */
};

struct bench_case {
    const char *name;
    const char *blueprint; /* JSON, any dialect */
    const char *dims;      /* "B=8"; NULL: typical ones */
    enum case_kind kind;
    int64_t terms; /* summed for one result, where a result is linear in its terms; else 0 */
    union {
        struct gemm gemm;
        struct conv conv;
        struct {
            int64_t count, width;
        } rows;
    };
};

struct case_list {
    struct arena *arena;
    VEC(struct bench_case) cases;
};

/* The case's text lives in the list's arena. NULL dims are typical ones. */
struct bench_case *case_add(struct case_list *list, enum case_kind kind, const char *dims,
                            const char *name_format, ...) URZA_PRINTF(4, 5);

/* A variant is one of those named; NULL: the usual ones. Attention and rows have none. */
void cases_gemm(struct case_list *list, const char *variant); /* "plain", "packed", "dynamic" */
void cases_conv(struct case_list *list, const char *variant); /* "channels-last", "nchw" */
void cases_attention(struct case_list *list, const char *variant);
void cases_fused(struct case_list *list, const char *variant);
/* "b1", "b32": the batch. Runs at the top of the sources. */
void cases_blocks(struct case_list *list, const char *variant);

struct config_chooser;

/* A case made ready to run. */
struct subject {
    const struct bench_case *test;
    struct arena arena;
    const void *package;
    size_t package_bytes;
    struct package_contents contents;
    int64_t dims[LIMIT_NAMED_DIMS];
    urza_module *module;
    uint32_t input_count, output_count;
    DLTensor inputs[TENSORS], outputs[TENSORS]; /* of float32 and others; outputs are right */
    const float *magnitudes; /* of the first output: its terms' absolute values, summed; or NULL */
    struct work work;
    double compile_ms;
};

/* subject_release after success only. chooser: of configs, borrowed; NULL: the heuristic. ERR_… of
 * the compiler and the runtime, or when the case would be interpreted. */
bool subject_open(const struct bench_case *test, uint32_t threads,
                  const struct config_chooser *chooser, struct subject *out, struct error *err);
void subject_release(struct subject *subject);
uint64_t subject_run(void *subject, uint64_t repetitions); /* nanoseconds */
const float *subject_input(const struct subject *subject, uint32_t index);
const float *subject_param(const struct subject *subject, uint32_t index); /* [out, in, …] */
/* B of a product by rows, [k, n]: the case's second input, or its weights turned to what a host
 * would keep for a library of products; *out_own is to be freed. */
const float *subject_right_operand(const struct subject *subject, float **out_own);
uint64_t tensor_elements(const DLTensor *tensor);
/* Whether result is what ours computed, up to the order of summation. */
bool subject_agrees(const struct subject *subject, uint32_t output, const float *result);

struct peer;

/* Another implementation. */
struct peer_driver {
    const char *name;
    /* Makes peer ready for that many threads and fills its version, else says why it is absent. */
    bool (*open)(struct peer *peer, uint32_t threads, struct error *err);
    /* A job for a subject, which outlives it. NULL with an untouched error: it does not do this
     * kind of case. */
    void *(*prepare)(struct peer *peer, const struct subject *subject, struct error *err);
    uint64_t (*run)(void *job, uint64_t repetitions); /* nanoseconds; 0 when it failed */
    /* Dense row-major values of the first output of the last run; valid until release. */
    const float *(*result)(void *job);
    void (*release)(void *job);
    void (*close)(struct peer *peer);
};

struct peer {
    const struct peer_driver *driver;
    const char *name; /* the heading of its column */
    void *state;
    char version[VERSION_BYTES];
};

extern const struct peer_driver peer_onednn;
extern const struct peer_driver peer_onednn_plain; /* a convolution's tensors as they are given */
extern const struct peer_driver peer_openblas, peer_blis;
extern const struct peer_driver peer_libxsmm;
extern const struct peer_driver peer_process; /* name: the contestant it starts */

/* How long a contestant takes in a process of its own until its first result, ms, without what it
 * loads before it sees the case. False also when that result is not ours. */
bool peer_process_compile(const char *name, uint32_t threads, const struct subject *subject,
                          double *out_ms, struct error *err);

enum verdict {
    VERDICT_NONE, /* does not compete */
    VERDICT_TIMED,
    VERDICT_WRONG,
    VERDICT_FAILED,
};

struct contestant {
    uint64_t (*run)(void *state, uint64_t repetitions);
    void *state;
    enum verdict verdict;
    uint64_t repetitions;
    double ns[ROUNDS_MAX];     /* of one repetition, by round */
    char reason[REASON_BYTES]; /* of a failure */
};

struct contest_options {
    double seconds;   /* how long it takes, about */
    bool pause;       /* other threads get time to fall asleep before each turn */
    bool thread_time; /* only the time that the calling thread ran counts: for contestants on one
                         thread, on a machine that has other things to do */
};
/* Times all whose verdict is VERDICT_TIMED; returns the number of rounds. */
uint32_t contest_run(struct contestant *contestants, uint32_t count,
                     const struct contest_options *options);
double median(double *values, uint32_t count); /* sorts them */

struct table_options {
    struct arena *arena;
    bool markdown;
    bool memory; /* the share is that of the copy bandwidth, not of the multiply-adds */
};

struct table_row {
    const char *name;
    struct contestant *contestants; /* ours first, then the table's peers */
    uint32_t rounds;
    struct work work;
    struct peak peak;
};

/* Prints rows as they come and what they sum up to in the end. */
struct table {
    const struct table_options *options;
    const struct peer *peers;
    uint32_t peer_count;
    double log_sum[CONTESTANTS]; /* [0]: of the best peer */
    uint32_t rows[CONTESTANTS];
    double worst, peak_share_sum;
    uint32_t row_count, below_count; /* below: the best peer is faster than ours */
    struct strbuf notes;             /* printed below the table */
    char worst_name[128], worst_peer[32];
};
void table_begin(struct table *table, const struct table_options *options, const struct peer *peers,
                 uint32_t peer_count);
void table_row(struct table *table, const struct table_row *row);
void table_failure(struct table *table, const char *name, const struct error *err);
void table_note(struct table *table, const char *format, ...) URZA_PRINTF(2, 3);
void table_end(struct table *table);

#endif
