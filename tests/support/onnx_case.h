/* One case of the ONNX project: a model, inputs and the outputs that stand beside it.
 *
 * The model is read, compiled for this CPU and run. The float64 reference interpreter runs what was
 * read on the same inputs, and judges twice: what compiled code gives must lie within the bound
 * that the reference has for each element, and the outputs of the case, which NumPy computed,
 * within that bound and a few roundings more (onnx_compare.c). No shared state. */
#ifndef URZA_TESTS_SUPPORT_ONNX_CASE_H
#define URZA_TESTS_SUPPORT_ONNX_CASE_H

#include <stdbool.h>

#include "urza/run.h"

struct arena;
struct error;
struct import_tensor;
struct interp_tensor;

#define ONNX_DEBIAN_DATA "/usr/share/libonnx-testdata/data"

/* Where the values of a case that passes come from. */
enum onnx_answer {
    ONNX_NO_ANSWER,
    ONNX_COMPILED, /* kernels compute them from inputs, params or indices */
    ONNX_FOLDED,   /* all outputs were constants before there was any code */
    ONNX_ANSWER_COUNT
};

/* How far two answers to one output, or to all of a case, lie from the reference. */
struct onnx_distance {
    int64_t elements;
    int64_t undetermined; /* the reference has no bound: compared with the data alone */
    double worst_ratio;   /* of compiled code: |difference| / bound */
    double data_ulp;      /* of the data: how far beyond the bound, in units in the last place */
};

/* The data of a case may be off by so many units in the last place beyond the reference's bound. */
#define ONNX_DATA_ULP 2

/* Where the data of a case are known to be further off. */
struct onnx_exception {
    const char *name; /* how the names of the cases begin */
    bool debian;      /* of Debian's package, or of newer ones */
    double ulp;       /* so many units in the last place … */
    bool of_largest;  /* … of the largest element of the output, instead of each */
    const char *reason;
};
/* NULL when nothing is known. */
const struct onnx_exception *onnx_exception_of(const char *name, bool debian);

struct onnx_result {
    char name[160]; /* "node/test_abs" */
    char text[400]; /* "pass", "refused: …", "wrong: …", "error: …", in one line; empty: not run */
    bool dense;     /* inputs and outputs are dense tensors of numbers */
    enum onnx_answer answer;
    uint32_t launches;       /* of kernels in one call, and once before it */
    uint32_t constant_count; /* inputs that had to be constants when the model was read */
    struct onnx_distance distance;
    const struct onnx_exception *exception; /* that was made for it; NULL: none */
};

/* Runs result->name of the folder data and fills the rest of *result. */
void onnx_case_run(const char *data, struct onnx_result *result);

/* Why more than 1 % of an output (and than 4 elements) of a case may have no bound; NULL: no more
 * may. */
const char *onnx_unchecked_because(const char *name);
/* found, what compiled code gave, must lie within the reference's bounds, and few of
 * them be lacking: ERR_VERIFY. Counts the elements of the output, and those that have no bound. */
bool onnx_compare_compiled(const struct interp_tensor *reference, const void *found,
                           const char *unchecked_because, struct onnx_distance *distance,
                           struct error *err);
/* So must what the case expects, which may be ONNX_DATA_ULP further away, or as far as the
 * exception says (NULL: none). found is compared with it only where the reference has no bound.
 * ERR_VERIFY. */
bool onnx_compare_data(const struct interp_tensor *reference, const void *found,
                       const struct import_tensor *expected, const struct onnx_exception *exception,
                       struct arena *arena, struct onnx_distance *distance, struct error *err);

/* How many outputs behind the first `outputs` are counts of these (docs/onnx.md). */
uint32_t onnx_counts(const urza_module *module, uint32_t outputs);
/* Cuts output i, and what the reference made of it, to what counts, if it has a count. In place;
 * what is cut off must be 0: ERR_VERIFY. tensors: all outputs, with their shapes; expected: what
 * output i should be, which says the axis. */
bool onnx_cut(const urza_module *module, DLTensor *tensors, uint32_t i,
              const struct import_tensor *expected, struct interp_tensor *reference,
              struct error *err);

#endif
