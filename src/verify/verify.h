/* The validator: what a package claims, checked on the finished package.
 *
 * Judged kernel by kernel: every launch of every target runs, at sizes that reach each way through
 * its code, on what really arrives from the launches before it, and its results are compared with
 * the float64 interpretation of its own part of the graph on those very numbers, within a running
 * error bound. So bounds do not add up, and a kernel that does nothing, or part of its work, shows.
 * Judged apart from that: the graph passes (the graph before and after them, in float64); the
 * runtime (the same bits as the kernels one by one, wherever tensors lie, on any number of threads,
 * in any chunks); the quality of the whole beside a plain loop. Memory is fenced throughout. The
 * outcome is evidence: canonical JSON. */
#ifndef URZA_VERIFY_VERIFY_H
#define URZA_VERIFY_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;
struct strbuf;
struct trusted_keys;

struct verify_check {
    const char *name; /* "kernels x86-64-v4"; see docs/package.md */
    bool pass;
    double figure, bound; /* worst |difference| over its bound against 1; a count against 0 */
    const char *detail;   /* what failed and where, or what was covered */
};

/* Kernels of one target that are the same code and mean the same of their arguments. */
struct verify_kernel {
    const char *target, *label;
    uint32_t samples;   /* how often it was judged */
    double ratio;       /* worst |difference| over its bound */
    double not_checked; /* largest share of one result that no bound decides */
    int64_t elements, checked;
};

struct verify_output {
    const char *name, *target;
    double not_checked; /* of the kernel that writes it */
    double quality; /* rms error over the plain interpreter's, at most 4; < 0: no floats, or f64 */
};

/* A size at which the kernels of a target ran. */
struct verify_size {
    const char *target, *dims, *why; /* "B=4 S=128", "typical" */
    int64_t elements, checked;       /* of distinct kernels' results */
    bool runtime;                    /* whether the package was called there as a user would */
};

struct verify_options {
    uint64_t seed;
    const char *dims;    /* "B=32,S=16": one size instead of several; NULL: several */
    uint32_t size_count; /* how many random sizes beside */
    bool thorough;       /* more and larger sizes, in some ten times the time */
    bool allow_unsigned;
    bool all_alignments; /* the bounds check places tensors at every element offset of 64 bytes */
    const struct trusted_keys *trusted;
    uint32_t timeout_s; /* for all of it; 0: 300 */
};

struct verify_report {
    struct verify_check *checks; /* all in the arena */
    struct verify_kernel *kernels;
    struct verify_output *outputs; /* by target, by output */
    uint32_t count, kernel_count, output_count;
    bool pass;
    struct verify_size *sizes; /* by target, in the order in which they ran */
    uint32_t size_count;
};

/* Fails only when checking itself is impossible (a package that does not load, no memory); a check
 * that does not pass is a result. All targets that this CPU can run are checked, and the
 * interpreter path. Forks; children are bounded in time and memory. */
bool verify_package(const void *bytes, size_t size, const struct verify_options *options,
                    struct arena *arena, struct verify_report *out, struct error *err);

/* What a report comes to, without pointers; name and detail are of the first check that failed. */
struct verify_summary {
    bool pass;
    uint32_t count, failed; /* checks */
    char name[80], detail[480];
};
void verify_summarise(const struct verify_report *report, struct verify_summary *out);

/* Canonical JSON of a report, as a package's evidence. */
void verify_print(const struct verify_report *report, struct strbuf *out);
/* A table for people, from the JSON of evidence, with a line for each kernel when asked; false when
 * it is of no format known here. */
bool evidence_describe(const char *json, size_t size, bool kernels_too, struct strbuf *out);

/* "B=32,S=16" → values by name index of the table; dims not named get their typical value, else the
 * legal value nearest to 8. ERR_USAGE for unknown names or illegal values. */
struct dim_table;
bool dims_choose(const struct dim_table *dims, const char *text, int64_t *out_values,
                 struct error *err);

#endif
