/* What a block must compute and move, and what this machine can do: the two sides of a share of the
 * peak. Pure functions but for the time that peak_measure takes. */
#ifndef URZA_CLI_FIGURES_H
#define URZA_CLI_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct error;
struct graph;

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

#endif
