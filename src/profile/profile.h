/* How fast a package runs: what its block must compute and move, what this machine can do, and how
 * long calls take. Pure functions but for the time that measuring takes. */
#ifndef URZA_PROFILE_PROFILE_H
#define URZA_PROFILE_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/graph.h"
#include "urza/run.h"

struct arena;
struct error;
struct strbuf;

/* What one forward run at these dims must compute and move. Work that depends on parameters only is
 * not counted: it is done once, ahead. */
struct work {
    double flops; /* 2 for each multiply-add of a contraction or convolution, 1 for each result of
                     an elementwise op and each element that a reduction reads */
    double bytes; /* inputs and parameters read once (of tables only what is taken), outputs written
                     once */
};
/* ERR_LIMIT when a size overflows. */
bool work_count(const struct graph *graph, const int64_t *dims, struct arena *arena,
                struct work *out, struct error *err);

/* What this machine does in this run, on that many threads at once. */
struct peak {
    double flops;       /* float32 multiply-adds count 2, per second */
    double bytes_per_s; /* copying (read and written) or reading, whichever is faster */
};
/* target: whose vector width counts; anything but a row of targets.def: the widest here. bytes:
 * size of the working set, because caches have their own speeds. thread_time, for one thread: only
 * the time that it ran counts, as on a machine that has nothing else to do. Takes about 0.3 s.
 * ERR_NOMEM. */
bool peak_measure(const char *target, uint32_t threads, double bytes, bool thread_time,
                  struct peak *out, struct error *err);

/* Dense memory in the arena for a tensor of these dims, as the runtime takes it, which also has the
 * dtype to be put in. ERR_LIMIT. */
bool tensor_make(struct arena *arena, const struct graph *graph, value_id value,
                 const int64_t *dims, DLTensor *out, struct error *err);
/* Values of a tensor made by tensor_make: floats standard normal, integers 0 … 99, both a function
 * of seed, name and place only. */
void tensor_random(const DLTensor *tensor, enum dtype dtype, const char *name, uint64_t seed);

struct profile_options {
    urza_load_options load; /* trust, target, threads */
    const char *dims;       /* "B=32,S=16"; NULL: typical sizes */
    double seconds;         /* how long to call; at least one call is made */
    uint32_t peaks;         /* how often the machine is measured before the calls, and behind them:
                               the best counts, as it may be busy with others' work. 0.3 s each */
};

#define PROFILE_SAMPLE_MOST 1000

/* A package at one size. */
struct profile {
    char dims[256];     /* "B=32,S=16": all named dims */
    char target[32];    /* whose code ran, or "interpreter" */
    char fallback[128]; /* why calls were interpreted all the same; "": they were not */
    uint32_t threads;
    uint64_t calls; /* that were measured */
    double p50_us, p95_us, min_us;
    struct work work;
    struct peak peak;
    double percent_of_peak; /* of arithmetic or of memory, whichever is more */
    bool compute;           /* it is arithmetic's */
    bool noise; /* more than the machine showed: it was busier while its peak was measured */
    uint64_t temporaries_bytes;
    double traffic_bytes; /* what launches read and write, each buffer once a launch; 0: no code */
    double sample_us[PROFILE_SAMPLE_MOST]; /* some of the times, over the whole measurement */
    uint32_t sample_count;
};
/* Loads with the public runtime. What it refuses is refused here; ERR_LIMIT for sizes beyond
 * memory. */
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
    bool prepare;
    uint32_t chunks; /* that it was split into; 0: it has no iterations at this size */
    double us;       /* from the beginning of its first chunk to the end of its last: the median */
    double share;    /* of the sum of these, of the call or of urza_prepare */
    double asked, done; /* scalar operations, 2 for a multiply-add: of the graph; of the kernel,
                           which may compute some several times */
    double bytes;       /* its arguments, each once */
    struct peak peak;   /* of this machine, for as many bytes; zeros: not measured */
    double percent;     /* of it: operations asked for, or bytes, whichever is more */
    bool compute;       /* it is operations */
    bool noise;         /* more than the machine showed */
};
/* One chunk of a launch in one call, or in one urza_prepare. */
struct chunk_profile {
    uint32_t launch, chunk, thread; /* thread: 0, 1 … in the order in which they appear */
    double begin_us, end_us;        /* from the beginning of the first launch */
};
struct trace_profile {
    char dims[256], target[32];
    uint32_t threads;
    uint64_t calls;                  /* that were traced */
    double call_us;                  /* a call, from outside: the median */
    double outside_us;               /* of this, what no launch took */
    struct launch_profile *launches; /* those of urza_prepare first */
    uint32_t launch_count, prepare_count;
    struct chunk_profile *chunks; /* of urza_prepare, then of the call nearest to the median */
    uint32_t chunk_count, prepare_chunk_count;
};
/* Calls with each launch timed. options as above; peaks: how often each level of memory is
 * measured. Refused beside what profile_package refuses: ERR_UNSUPPORTED where calls are
 * interpreted. */
bool profile_launches(const void *bytes, size_t size, const struct profile_options *options,
                      struct arena *arena, struct trace_profile *out, struct error *err);
/* Canonical JSON: {"dims", "target", "threads", "calls", "call_us", "outside_us", "launches":
 * [{"label", "nodes", "more_nodes", "prepare", "chunks", "us", "share", "asked", "done", "bytes",
 * "gflops", "gb_per_s", "peak_gflops", "peak_gb_per_s", "percent", "bound", "noise"}], "timeline":
 * {"prepare", "call": [{"launch", "chunk", "thread", "begin_us", "end_us"}]}}. */
void launches_print(const struct trace_profile *profile, struct strbuf *out);
/* The timeline as a picture: SVG, a row for each thread. */
void timeline_print(const struct trace_profile *profile, struct strbuf *out);

#endif
