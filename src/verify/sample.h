/* A graph at one size: its tensors, random inputs, and the reference results.
 *
 * Used by all checks of compiled code. Everything lives in the arena it was made with and is
 * read-only afterwards, so that forked children share the pages. Thread-safe on distinct arenas. */
#ifndef URZA_VERIFY_SAMPLE_H
#define URZA_VERIFY_SAMPLE_H

#include "graph/interp.h"
#include "urza/run.h"

struct arena;
struct error;
struct package_contents;
struct package_param;

/* Memory limit of one interpretation, for graphs whose elements cannot be drawn. */
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
    const struct package_param *params; /* in the graph's param order */
    /* By param: other elements than those in params, which then give dtype and size; NULL: none. */
    const struct interp_lazy *const *other_params;
    int64_t dims[LIMIT_NAMED_DIMS];
    struct tensor *inputs, *outputs;
    uint32_t input_count, output_count;
    struct interp_tensor *expected; /* one per output; set by sample_expect */
};

/* What random inputs hold. Floats are nearly standard normal; integers mostly lie within -8 … 7,
 * some anywhere; bool is fair (but FILL_NORMAL: in pieces, mostly true or mostly false). An integer
 * that indexes a dim of index_extent elements (0: it is no index) is drawn from the whole dim, and
 * sometimes from outside, where indices are clamped or dropped.
 */
enum fill {
    FILL_NORMAL,
    FILL_SPECIAL, /* some floats are NaN, infinite, zeros of either sign, subnormal, the smallest
                     normal, small or large whole numbers, the largest finite number */
    FILL_FINITE,  /* FILL_SPECIAL without NaN, infinities and the largest finite number */
    FILL_EXACT, /* floats are multiples of 1/2 up to 2: sums of up to a million products of two are
                   exact in f32, in any order */
    FILL_SMALL, /* FILL_EXACT divided by 2^10 */
    FILL_WIDE,  /* floats of either sign and all magnitudes: half of them from 2^-4 to 2^8, the
                   others from 2^-30 to 2^30 (f16: its normal range) */
    FILL_PEAKS, /* as FILL_NORMAL; see peaks_fill */
};
void random_fill(enum dtype dtype, int64_t count, uint64_t seed, enum fill fill,
                 int64_t index_extent, void *data);
/* Overwrites some floats with special values, by rows of `row` elements. Of eight rows three stay
 * unchanged, three get a NaN (half of these near the end), in one an eighth of the elements becomes
 * special, and one is all NaN or all special values. So both the loop over full vectors and the
 * remainder after it meet a NaN, and sums and maxima over rows or columns meet one NaN, none, and
 * only NaNs. The last element is a NaN. A tensor of few rows is treated in pieces of 32. */
void special_rows(enum dtype dtype, int64_t count, int64_t row, uint64_t seed, void *data);
/* Floats for sums of `terms` terms in which few terms dominate, so that leaving one out is
 * detected: most are near `low`; about 64 of the terms of a sum, and the ends of each row, are near
 * `high`. */
struct peaks {
    int64_t row, terms;
    double low, high;
};
void peaks_fill(enum dtype dtype, int64_t count, const struct peaks *peaks, uint64_t seed,
                void *data);
/* By input of the graph: the size of the largest dim that it indexes; 0: none. */
int64_t *index_extents(const struct graph *graph, const int64_t *dims, struct arena *arena);

/* The graph, size and seed of a sample. */
struct sample_request {
    const struct graph *graph;          /* borrowed by the sample, */
    const struct package_param *params; /* and these */
    const int64_t *dims;                /* a value for each named dim */
    uint64_t seed;                      /* of the inputs */
    enum fill fill;
    /* Of a training step, whose params are inputs: the block's package. FILL_NORMAL gives them its
     * values. NULL: none. */
    const struct package_contents *block;
};
/* Fills shapes at the dims, and random inputs. ERR_LIMIT when a tensor is too large, ERR_INPUT when
 * a dim of the graph has no value there. */
bool sample_make(struct sample *out, const struct sample_request *request, struct arena *arena,
                 struct error *err);
/* The interpreter's sources: inputs, then params, as many as the graph has. Params are borrowed:
 * they are converted where they are needed. params: those of an earlier sample of the same graph,
 * which a memo may know; NULL: they are made here. */
bool sample_sources(const struct sample *sample, const struct interp_tensor *params,
                    struct interp_tensor *sources, struct arena *arena, struct error *err);
/* Runs the reference on the current inputs, which a caller may have overwritten. */
bool sample_expect(struct sample *sample, struct arena *arena, struct error *err);

/* One call with inputs and outputs at these addresses, in the shapes of the sample. ERR_VERIFY if
 * the module computes other output shapes. */
bool sample_call(const struct sample *sample, urza_module *module, void *const *inputs,
                 void *const *outputs, struct error *err);

/* One call of urza_step, of a graph that updates inputs: these are copied to the outputs that
 * replace them, and updated there. */
bool sample_step(const struct sample *sample, urza_module *module, void *const *inputs,
                 void *const *outputs, struct error *err);

/* The largest difference over all outputs, and the output that has it; `undetermined` counts all
 * outputs. */
void sample_compare(const struct sample *sample, void *const *outputs,
                    struct interp_difference *out, uint32_t *out_output);
/* Finds the first element of a dense tensor whose bits differ; false when none do. The sign of a
 * NaN is ignored, since it depends on the order of an addition's operands, which no compiler
 * preserves. Its other bits must be equal: they show whether memory was read before it was
 * written. */
bool elements_differ(enum dtype dtype, const void *a, const void *b, size_t bytes,
                     size_t *out_element);
/* Finds the first output and element that differ by elements_differ; false when none do. */
bool sample_differs(const struct sample *sample, void *const *a, void *const *b,
                    uint32_t *out_output, size_t *out_element);

#endif
