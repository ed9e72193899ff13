/* How fast a package runs: the operations and bytes that its block needs, this machine's peaks, and
 * how long calls take. Pure functions, apart from the time that measuring takes. */
#ifndef URZA_PROFILE_PROFILE_H
#define URZA_PROFILE_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "urza/run.h"

struct arena;
struct error;
struct strbuf;

/* The work of one forward run at these dims. Work that depends on parameters only is not counted,
 * because prepare does it once. */
struct work {
    double flops; /* 2 for each multiply-add of a contraction or convolution, 1 for each result of
                     an elementwise op and each element that a reduction reads */
    double bytes; /* inputs and parameters are read once (of looked-up tables only the rows that are
                     taken), outputs written once */
};
/* ERR_LIMIT when a size overflows. */
bool work_count(const struct graph *graph, const int64_t *dims, struct arena *arena,
                struct work *out, struct error *err);

/* This machine's peaks, on that many threads at once. */
struct peak {
    double flops;       /* float32 multiply-adds count 2, per second */
    double bytes_per_s; /* of copying (bytes read plus written) or of reading, whichever is larger
                         */
};
/* target: decides the vector width; if it is no row of targets.def, the widest of this machine is
 * used. bytes: size of the working set, since the caches differ in speed. thread_time, for one
 * thread: measures processor time, as if the machine were idle otherwise. Takes about 0.3 s.
 * ERR_NOMEM. */
bool peak_measure(const char *target, uint32_t threads, double bytes, bool thread_time,
                  struct peak *out, struct error *err);

/* Allocates dense memory in the arena for a tensor of these dims. Fills all of *out but the dtype,
 * which the caller takes from the runtime. ERR_LIMIT. */
bool tensor_make(struct arena *arena, const struct graph *graph, value_id value,
                 const int64_t *dims, DLTensor *out, struct error *err);
/* Fills a tensor made by tensor_make: floats are standard normal, integers 0 … 99. Values are a
 * function of seed, name and index only. */
void tensor_random(const DLTensor *tensor, enum dtype dtype, const char *name, uint64_t seed);

struct profile_options {
    urza_load_options load; /* trust, target, threads */
    const char *dims;       /* "B=32,S=16"; NULL: typical sizes */
    double seconds;         /* how long calls are repeated; at least one is made */
    bool backward;          /* calls are training steps: forward_train, and backward with all
                               gradients, from the package's params; ERR_UNSUPPORTED without */
    uint32_t peaks; /* how often the machine is measured before the calls, and again after them: the
                       best counts, since other work may disturb a measurement. 0.3 s each */
};

#define PROFILE_SAMPLE_MOST 1000

/* The figures of a package at one size. */
struct profile {
    char dims[256];     /* "B=32,S=16": all named dims */
    char target[32];    /* the target that ran, or "interpreter" */
    char fallback[128]; /* why calls were interpreted although there is code; "": they were not */
    uint32_t threads;
    uint64_t calls; /* that were measured */
    double p50_us, p95_us, min_us;
    struct work work;
    struct peak peak;
    double percent_of_peak; /* of the arithmetic or the memory peak, whichever is more */
    bool compute;           /* the larger one is arithmetic */
    bool noise; /* above the measured peak: the machine was busier while that was measured */
    uint64_t temporaries_bytes;
    double traffic_bytes; /* read and written by launches, each buffer once per launch; 0: there is
                             no code */
    double sample_us[PROFILE_SAMPLE_MOST]; /* some of the times, spread over the whole measurement
                                            */
    uint32_t sample_count;
};
/* Loads with the public runtime and fails as it does; ERR_LIMIT for sizes beyond memory. Of a
 * package that updates inputs, steps in place are measured (urza_step): states begin with numbers
 * that are not negative, and floats without dims that no output updates, as "lr", are 0. */
bool profile_package(const void *bytes, size_t size, const struct profile_options *options,
                     struct arena *arena, struct profile *out, struct error *err);
/* As canonical JSON: {"dims", "target", "threads", "calls", "p50_us", "p95_us", "min_us", "flops",
 * "bytes", "gflops", "gb_per_s", "peak_gflops", "peak_gb_per_s", "percent_of_peak", "bound",
 * "noise", "temporaries_bytes", "traffic_bytes", "cache_efficiency" (compulsory traffic over that
 * of launches; null without code), "fallback", "sample_us"}. */
void profile_print(const struct profile *profile, struct strbuf *out);

/* One launch, of urza_prepare or of a call. */
struct launch_profile {
    const char *label; /* its ops: "contract+add" */
    /* The source's nodes that it comes from: some of them, and how many there are beside. */
    const char *const *nodes;
    uint32_t node_count, more_nodes;
    uint32_t kernel; /* of the target's, at this size */
    bool prepare;
    bool counted;    /* in a loop with a condition: how often it runs is only known from a call */
    uint32_t runs;   /* in one call */
    uint32_t chunks; /* number of chunks it was split into; 0: it has no iterations at this size */
    double us;    /* median of the time from the start of its first chunk to the end of its last */
    double share; /* of the sum of these times, over the call or over urza_prepare */
    double asked, done; /* scalar operations, 2 for a multiply-add: those that the graph asks for;
                           those that the kernel does, including values computed more than once */
    double bytes;       /* of its arguments, each counted once */
    struct peak peak; /* of this machine, for a working set of that many bytes; zeros: not measured
                       */
    double percent;   /* of the peak: operations asked for, or bytes, whichever is more */
    bool compute;     /* the larger one is operations */
    bool noise;       /* above the measured peak */
};
/* One chunk of a launch in one call, or in one urza_prepare. */
struct chunk_profile {
    uint32_t launch, chunk, thread; /* threads are numbered 0, 1 … in the order in which they appear
                                     */
    double begin_us, end_us;        /* since the start of the first launch */
};
struct trace_profile {
    char dims[256], target[32];
    uint32_t threads;
    uint64_t calls;                  /* that were traced */
    double call_us;                  /* time of a call measured from outside: the median */
    double outside_us;               /* the part of it that is in no launch */
    struct launch_profile *launches; /* those of urza_prepare first */
    uint32_t launch_count, prepare_count;
    struct chunk_profile *chunks; /* of urza_prepare, then of the call nearest to the median */
    uint32_t chunk_count, prepare_chunk_count;
};
/* Calls the package with each launch timed. options as above; peaks: how often each level of memory
 * is measured. Fails as profile_package, and with ERR_UNSUPPORTED where calls are interpreted. */
bool profile_launches(const void *bytes, size_t size, const struct profile_options *options,
                      struct arena *arena, struct trace_profile *out, struct error *err);
/* Canonical JSON: {"dims", "target", "threads", "calls", "call_us", "outside_us", "launches":
 * [{"label", "nodes", "more_nodes", "prepare", "kernel", "chunks", "us", "share", "asked", "done",
 * "bytes", "gflops", "gb_per_s", "peak_gflops", "peak_gb_per_s", "percent", "bound", "noise"}],
 * "timeline":
 * {"prepare", "call": [{"launch", "chunk", "thread", "begin_us", "end_us"}]}}. */
void launches_print(const struct trace_profile *profile, struct strbuf *out);
/* The timeline as an SVG picture, with a row for each thread. */
void timeline_print(const struct trace_profile *profile, struct strbuf *out);

#endif
