/* A graph at one size: its tensors, random inputs, and what the reference makes of them.
 *
 * What every judge of compiled code needs. Everything lives in the arena it was made with and is
 * read-only afterwards, so that children of a fork share it. Thread-safe on distinct arenas. */
#ifndef URZA_VERIFY_SAMPLE_H
#define URZA_VERIFY_SAMPLE_H

#include "graph/interp.h"
#include "urza/run.h"

struct arena;
struct error;
struct package_param;

/* The most memory that one interpretation may take: of graphs whose elements cannot be drawn. */
#define REFERENCE_BYTES ((size_t)3 << 30)

struct tensor {
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    int64_t count; /* elements */
    size_t bytes;
    void *data; /* dense row-major, 64-aligned; NULL for outputs */
};

struct sample {
    const struct graph *graph;
    const struct package_param *params; /* by the graph's param order */
    int64_t dims[LIMIT_NAMED_DIMS];
    struct tensor *inputs, *outputs;
    uint32_t input_count, output_count;
    struct interp_tensor *expected; /* one per output, after sample_expect */
};

/* What random inputs hold. Floats are nearly standard normal; integers mostly lie within -8 … 7,
 * some anywhere; bool is fair (but FILL_NORMAL: in pieces, mostly true or mostly false). An integer
 * that indexes a dim of index_extent elements (0: it does not) is drawn from all of it, and now and
 * then from beyond, where indices clamp or are dropped.
 */
enum fill {
    FILL_NORMAL,
    FILL_SPECIAL, /* some floats are NaN, infinite, zeros of either sign, subnormal, the least
                     normal, small or large whole numbers, the largest finite */
    FILL_FINITE,  /* the same without those that are not finite and the largest */
    FILL_EXACT,   /* floats are multiples of 1/2 up to 2: sums of products of two are exact in f32,
                     in any order, up to a million terms */
    FILL_SMALL,   /* those over 2^10 */
    FILL_WIDE,    /* floats of either sign and all magnitudes: half of them from 2^-4 to 2^8, the
                     others from 2^-30 to 2^30, in f16 as far as it goes */
    FILL_PEAKS,   /* as FILL_NORMAL; see peaks_fill */
};
void random_fill(enum dtype dtype, int64_t count, uint64_t seed, enum fill fill,
                 int64_t index_extent, void *data);
/* Writes specials over some floats, by rows of so many elements: of eight rows three stay as they
 * are, three get a NaN, half of them near their end, in one an eighth becomes specials, one is all
 * NaN or all specials. So loops over full vectors and what comes behind them meet a NaN each, and
 * sums and maxima of a row or a column meet one, none, and nothing else. The last element is a NaN.
 * A tensor of few rows is taken in pieces of 32. */
void special_rows(enum dtype dtype, int64_t count, int64_t row, uint64_t seed, void *data);
/* Floats for sums of `terms` terms of which few count, so that each that is left out shows: most
 * are near `low`, some 64 among as many as a sum takes, and the ends of each row, near `high`. */
struct peaks {
    int64_t row, terms;
    double low, high;
};
void peaks_fill(enum dtype dtype, int64_t count, const struct peaks *peaks, uint64_t seed,
                void *data);
/* By input of the graph: the largest dim that it indexes; 0: none. */
int64_t *index_extents(const struct graph *graph, const int64_t *dims, struct arena *arena);

/* What a sample is to be of. */
struct sample_request {
    const struct graph *graph;          /* borrowed by the sample, */
    const struct package_param *params; /* these too */
    const int64_t *dims;                /* a value for each named dim */
    uint64_t seed;                      /* of the inputs */
    enum fill fill;
};
/* Shapes at the dims, and random inputs. ERR_LIMIT when a tensor is too large, ERR_INPUT when a
 * dim of the graph has no value there. */
bool sample_make(struct sample *out, const struct sample_request *request, struct arena *arena,
                 struct error *err);
/* The interpreter's sources, inputs then params, as many as the graph has. params: as they came out
 * of another sample of the graph, to be used again; NULL: they are loaded. */
bool sample_sources(const struct sample *sample, const struct interp_tensor *params,
                    struct interp_tensor *sources, struct arena *arena, struct error *err);
/* Runs the reference on the inputs as they stand (a caller may have written them). */
bool sample_expect(struct sample *sample, struct arena *arena, struct error *err);

/* One call with inputs and outputs at these addresses, in the shapes of the sample. The module's
 * own idea of the shapes of the outputs must be the same: ERR_VERIFY. */
bool sample_call(const struct sample *sample, urza_module *module, void *const *inputs,
                 void *const *outputs, struct error *err);

/* The worst difference over all outputs, and in which it lies; undetermined counts all outputs. */
void sample_compare(const struct sample *sample, void *const *outputs,
                    struct interp_difference *out, uint32_t *out_output);
/* The first element of a dense tensor whose bits differ; false when none do. The sign of a NaN is
 * no difference: it follows from the order of an addition's operands, which no compiler keeps. Its
 * other bits must be the same: they tell of memory that was read before it was written. */
bool elements_differ(enum dtype dtype, const void *a, const void *b, size_t bytes,
                     size_t *out_element);
/* The first output and element that differ so; false when none do. */
bool sample_differs(const struct sample *sample, void *const *a, void *const *b,
                    uint32_t *out_output, size_t *out_element);

#endif
