/* The validator: what a package claims, checked on the finished package.
 *
 * It loads the package as a user would, runs it on random inputs at several sizes and compares
 * every element with the float64 interpreter under its running error bound; checks that no byte
 * outside the tensors is touched (inputs and outputs end at protected pages), that results are the
 * same bits on repeated runs and at any number of threads, and that the memory layout is
 * consistent. The outcome is evidence: canonical JSON. */
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
    const char *name; /* "function x86-64-v4 B=8", "bounds", "repeatable", "threads" */
    bool pass;
    double figure, bound; /* worst |difference| / running bound against 1; counts against 0 */
    const char *detail;   /* where the worst lies; "" if nothing to say */
};

struct verify_options {
    uint64_t seed;
    const char *dims; /* "B=32,S=16": one size instead of several; NULL: typical, smallest, an odd
                         one */
    uint32_t size_count; /* how many random sizes beside; default 2 */
    bool allow_unsigned;
    bool all_alignments; /* the bounds check places tensors at every element offset of 64 bytes */
    const struct trusted_keys *trusted;
};

struct verify_report {
    struct verify_check *checks; /* in the arena */
    uint32_t count;
    bool pass;
};

/* Fails only when checking itself is impossible (a package that does not load, no memory); a check
 * that does not pass is a result. All targets that this CPU can run are checked, and the
 * interpreter path. */
bool verify_package(const void *bytes, size_t size, const struct verify_options *options,
                    struct arena *arena, struct verify_report *out, struct error *err);
/* Canonical JSON of a report, as a package's evidence. */
void verify_print(const struct verify_report *report, struct strbuf *out);

/* "B=32,S=16" → values by name index of the table; dims not named get their typical value, else the
 * legal value nearest to 8. ERR_USAGE for unknown names or illegal values. */
struct dim_table;
bool dims_choose(const struct dim_table *dims, const char *text, int64_t *out_values,
                 struct error *err);

#endif
