/* Reading blueprints.
 *
 * Every dialect is first translated to the native one (JSON to JSON), and only the native reader
 * builds graphs, so that what a package keeps as its blueprint is always native and canonical.
 * Unknown fields, ops, attributes and dtypes are errors. The format is in docs/blueprint.md. */
#ifndef URZA_COMPILER_IMPORT_IMPORT_H
#define URZA_COMPILER_IMPORT_IMPORT_H

#include <jansson.h>

#include "graph/graph.h"
#include "package/package.h"

struct error;
struct import_notes;
struct strbuf;

/* How a parameter gets its values when they are not given. uniform: [a, b); normal: mean a,
 * deviation b; constant: a. xavier_* (gain a) and kaiming_* (slope a) derive the range from the
 * shape as torch.nn.init does (a = sqrt(5): PyTorch's default for linear and conv weights). The
 * JSON form is documented in init.c. */
enum init_kind {
    INIT_NONE,
    INIT_ZEROS,
    INIT_ONES,
    INIT_CONSTANT,
    INIT_UNIFORM,
    INIT_NORMAL,
    INIT_XAVIER_UNIFORM,
    INIT_XAVIER_NORMAL,
    INIT_KAIMING_UNIFORM,
    INIT_KAIMING_NORMAL,
    INIT_FILE,        /* .npy file, path relative to the blueprint's folder */
    INIT_SAFETENSORS, /* the tensor of the parameter's name in such a file; path as above */
    INIT_DATA,        /* given with the model; not in the JSON form */
    INIT_COUNT
};
struct param_init {
    uint8_t kind;
    double a, b;
    uint64_t seed; /* combined with the parameter's name, so equal seeds give distinct parameters */
    const char *path; /* INIT_FILE, INIT_SAFETENSORS */
    const void *data; /* INIT_DATA: dense row-major, 64-aligned, in the blueprint's arena */
    size_t data_bytes;
};

struct blueprint {
    struct graph graph;
    struct param_init *inits; /* by the graph's param order */
    const char *json;         /* the blueprint in the native dialect, canonical; in the arena */
    size_t json_bytes;
    const char *warnings; /* about what was read otherwise than the model says: texts, each ended by
                             a zero byte; in the arena */
    size_t warnings_bytes;
};

/* A dense tensor, row-major in its dtype's layout, 64-aligned. */
struct import_tensor {
    const char *name;
    const char *numbers; /* of a known input, in place of what follows: numbers with commas, which
                            get the dtype and shape of the input (import_known); NULL */
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    const void *data;
    size_t bytes;
};

/* A dim that equals an expression of others, which are declared before it. */
struct import_equal {
    const char *name, *expression;
};

struct import_options {
    uint64_t seed; /* for parameters that a dialect implies */
    bool training; /* dropout acts, batch norm uses batch statistics */
    /* For models (onnx_read, pt2_read). */
    const char *folder;                /* where external data lies; NULL: nowhere */
    const struct import_tensor *fixed; /* inputs with known values, which become constants */
    uint32_t fixed_count;
    const struct dim_name *dims; /* ranges of named dims; a range of one value makes it constant */
    uint32_t dim_count;
    const struct import_equal *equal;
    uint32_t equal_count;
    struct strbuf *refused;     /* gets all that was refused, where an error may be cut; or NULL */
    struct import_notes *notes; /* gets what is found (notes.h); or NULL */
};

/* A known input as a tensor of the input's type: given itself, where it has that type, or its
 * numbers, in the arena. ERR_USAGE names what is wrong. */
struct import_type {
    enum dtype dtype;
    bool ranked; /* false: any rank and shape */
    uint32_t rank;
    int64_t shape[LIMIT_RANK]; /* -1: any size */
};
bool import_known(const struct import_tensor *given, const struct import_type *type,
                  struct arena *arena, struct import_tensor *out, struct error *err);

/* What a caller says of named dims, one a line, as sizes and ranges: "N=32", "N=1..512", "N=32*"
 * (multiples of 32), "N=32..512/32" (those within a range). In the arena. ERR_USAGE. */
bool import_dims_parse(const char *text, struct arena *arena, struct dim_name **out,
                       uint32_t *out_count, struct error *err);

/* Reads a model of ONNX (onnx_read), one of PyTorch (pt2_read), or any JSON dialect: native
 * ("format": "urza.blueprint/1"), BlueprintIR ("nodes" with op_type), or an architecture
 * ({"architecture": {…}}). Everything lives in arena; *out is written on success only. The fields
 * id, version, tags and metadata are checked and left out of the canonical form. In training, ops
 * that drop elements draw from the graph's input "seed" (i64, 0-d), which is added when the first
 * one needs it.
 *
 * ERR_JSON (not JSON, unknown field, a field of the wrong type), ERR_BLUEPRINT (op, cycle, edge,
 * attribute, dtype), ERR_SHAPE, ERR_LIMIT, ERR_UNSUPPORTED; the place names node and attribute. */
bool blueprint_read(const char *text, size_t size, const struct import_options *options,
                    struct arena *arena, struct blueprint *out, struct error *err);

/* Reads an ONNX model: opsets up to 28 and the ops of docs/onnx.md. Initialisers become params with
 * INIT_DATA; constants that decide shapes are folded. ERR_UNSUPPORTED lists all nodes that cannot
 * be read and why; ERR_PARSE, ERR_BLUEPRINT, ERR_SHAPE, ERR_LIMIT, ERR_IO. The same arena and
 * output rules as blueprint_read. */
bool onnx_read(const void *bytes, size_t size, const struct import_options *options,
               struct arena *arena, struct blueprint *out, struct error *err);
/* One tensor in ONNX's form, as test data and .pb files hold it; in arena. */
bool onnx_read_tensor(const void *bytes, size_t size, struct arena *arena,
                      struct import_tensor *out, struct error *err);
/* What is read of ONNX, op by op; false behind the last. types: letters F (floats), I (integers), B
 * (bool) of the main operand. since: the first opset. note: what is not read; "". */
#define ONNX_NEWEST_OPSET 28
struct onnx_coverage {
    const char *name, *types, *note;
    int32_t since;
};
bool onnx_covers(uint32_t index, struct onnx_coverage *out);
bool onnx_looks_like(const void *bytes, size_t size); /* by the first bytes */

/* Reads a .pt2 archive of torch.export.save: the ops of docs/pytorch.md. Weights become params with
 * INIT_DATA and their names in the module; nothing is unpickled. Symbols of shapes become named
 * dims, with the ranges of the archive or of options->dims. ERR_UNSUPPORTED lists all calls that
 * cannot be read and why; ERR_PARSE, ERR_JSON, ERR_BLUEPRINT, ERR_SHAPE, ERR_LIMIT. The same arena
 * and output rules as blueprint_read. */
bool pt2_read(const void *bytes, size_t size, const struct import_options *options,
              struct arena *arena, struct blueprint *out, struct error *err);
/* Whether the files of such an archive are those that were written, by their checksums. ERR_PARSE
 * names the first that is damaged, or says that the archive is cut off. */
bool pt2_check(const void *bytes, size_t size, struct arena *arena, struct error *err);
/* What is read of ATen, op by op; false behind the last. note: what is not read; "". */
struct pt2_coverage {
    const char *name, *note;
};
bool pt2_covers(uint32_t index, struct pt2_coverage *out);
bool pt2_looks_like(const void *bytes, size_t size); /* by the first bytes */

/* The translations on their own: new reference, NULL on failure. */
json_t *dialect_from_blueprint_ir(const json_t *document, const struct import_options *options,
                                  struct error *err);
json_t *dialect_from_architecture(const json_t *document, const struct import_options *options,
                                  struct error *err);

/* Values of parameter index, dense row-major in its dtype, 64-aligned, in arena. folder: where
 * relative paths start. Params must have constant shapes. ERR_NOT_FOUND, ERR_IO, ERR_PARSE,
 * ERR_SHAPE for INIT_FILE. */
bool blueprint_param_data(const struct blueprint *blueprint, uint32_t index, const char *folder,
                          struct arena *arena, struct package_param *out, struct error *err);

#endif
