/* The validator: checks the finished package against what it claims.
 *
 * Kernels are judged one by one: every launch of every target runs at sizes that reach each path
 * through its code, on the actual results of the launches before it. Its results are compared with
 * the float64 interpretation of its own part of the graph on the same numbers, within a running
 * error bound. So bounds do not accumulate over launches, and a kernel that does not do all of its
 * work is detected. Judged separately: the graph passes (the graphs before and after, in float64);
 * the runtime (the same bits as the kernels one by one, for any alignment of tensors, number of
 * threads and of chunks); the quality of the whole compared with a plain loop. All memory is
 * fenced. The outcome is evidence: canonical JSON. */
#ifndef URZA_VERIFY_VERIFY_H
#define URZA_VERIFY_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct board;
struct error;
struct strbuf;
struct trusted_keys;

struct verify_check {
    const char *name; /* "kernels x86-64-v4"; see docs/package.md */
    bool pass;
    double figure, bound; /* the largest |difference| / bound, with bound 1; or a count, with bound
                             0 */
    const char *detail;   /* what failed and where, or what was covered */
};

/* All kernels of one target with the same code and the same function of their arguments. */
struct verify_kernel {
    const char *target, *label;
    uint32_t samples;   /* how often it was judged */
    double ratio;       /* worst |difference| over its bound */
    double not_checked; /* largest share of undetermined elements in one result */
    int64_t elements, checked;
};

struct verify_output {
    const char *name, *target;
    double not_checked; /* of the kernel that writes the output */
    double quality; /* rms error over that of the plain interpreter, at most 4; < 0: not a float, or
                       f64 */
};

/* A size at which the kernels of a target ran. */
struct verify_size {
    const char *target, *dims, *why; /* "B=4 S=128", "typical" */
    int64_t elements, checked;       /* of distinct kernels' results */
    bool runtime;                    /* whether the whole package was called there */
};

/* Address space that a check may reserve beyond the memory that it uses (far.c). A limit on address
 * space must leave room for it. */
#define VERIFY_RESERVED_BYTES ((uint64_t)10000000000)

struct verify_options {
    uint64_t seed;
    const char *dims;    /* "B=32,S=16": only this size; NULL: several are chosen */
    uint32_t size_count; /* number of random sizes in addition */
    bool thorough;       /* more and larger sizes, in about ten times the time */
    bool allow_unsigned;
    bool all_alignments; /* the bounds check places tensors at every element offset of 64 bytes */
    const struct trusted_keys *trusted;
    uint32_t timeout_s;  /* for everything; 0: 300 */
    struct board *board; /* gets how far it is (base/board.h); NULL: nobody asks */
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
 * that does not pass is part of the report. All targets that this CPU can run are checked, and the
 * interpreter. Forks; children are limited in time and memory. */
bool verify_package(const void *bytes, size_t size, const struct verify_options *options,
                    struct arena *arena, struct verify_report *out, struct error *err);

/* A report's summary, without pointers; name and detail are those of the first check that
 * failed. */
struct verify_summary {
    bool pass;
    uint32_t count, failed; /* checks */
    char name[80], detail[480];
};
void verify_summarise(const struct verify_report *report, struct verify_summary *out);

/* Canonical JSON of a report, as in a package's evidence. */
void verify_print(const struct verify_report *report, struct strbuf *out);
/* Prints a table for people from the JSON of evidence, with a line for each kernel if kernels_too;
 * false when its format is unknown. */
bool evidence_describe(const char *json, size_t size, bool kernels_too, struct strbuf *out);

/* Parses "B=32,S=16" to values by name index of the table; dims that are not named get their
 * typical value, else the legal value nearest to 8. ERR_USAGE for unknown names and illegal
 * values. */
struct dim_table;
bool dims_choose(const struct dim_table *dims, const char *text, int64_t *out_values,
                 struct error *err);

#endif
