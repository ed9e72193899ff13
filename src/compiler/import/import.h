/* Reading blueprints and models.
 *
 * Every JSON dialect is first translated to the native one, JSON to JSON, and only the native
 * reader builds a graph from it, so the blueprint in a package is always native and canonical.
 * Unknown fields, ops, attributes and dtypes are errors. docs/blueprint.md describes the format. */
#ifndef URZA_COMPILER_IMPORT_IMPORT_H
#define URZA_COMPILER_IMPORT_IMPORT_H

#include <jansson.h>

#include "graph/graph.h"
#include "package/package.h"

struct error;
struct graft_spec;
struct import_notes;
struct step_spec;
struct strbuf;

/* How the values of a parameter are made if they are not given. uniform: [a, b); normal: mean a,
 * standard deviation b; constant: a. xavier_* (gain a) and kaiming_* (slope a) derive the range
 * from the shape as torch.nn.init does (a = sqrt(5): PyTorch's default for the weights of Linear
 * and Conv). init.c documents the JSON form. */
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
    INIT_DATA,        /* values that the model contains; it has no JSON form */
    INIT_COUNT
};
struct param_init {
    uint8_t kind;
    double a, b;
    uint64_t seed; /* combined with the parameter's name, so equal seeds give distinct parameters */
    const char *path; /* INIT_FILE, INIT_SAFETENSORS */
    const void *data; /* INIT_DATA: dense row-major, 64-aligned, in the blueprint's arena */
    size_t data_bytes;
    bool frozen; /* it has a gradient only where one asks for it by name: a buffer, or a parameter
                    that does not require gradients */
    uint32_t copies; /* not 0: along the first dim are so many, each made by itself: of other random
                        numbers, or of the same values where these are given */
};
/* Another name of a param: weights that are tied. */
struct import_alias {
    const char *name, *of;
};

/* In training mode, a param with a running statistic, and the output that is its next value. */
struct import_running {
    const char *param, *output;
};

struct blueprint {
    struct graph graph;
    struct param_init *inits; /* in the order of the graph's params */
    const struct import_alias *aliases;
    uint32_t alias_count;
    const struct import_running *running; /* their outputs are the last ones */
    uint32_t running_count;
    bool draws;                     /* in training mode: the input "seed" was added */
    const struct step_spec *step;   /* of a training step: what it is of; NULL: it says nothing */
    const struct graft_spec *graft; /* of a graft; NULL: it is none */
    const char *json; /* the blueprint in the native dialect, canonical; in the arena */
    size_t json_bytes;
    const char *warnings; /* strings, each with a zero byte at its end, about parts of the model
                             that were not read exactly as they say; in the arena */
    size_t warnings_bytes;
};

/* A dense tensor, row-major in its dtype's layout, 64-aligned. */
struct import_tensor {
    const char *name;
    const char *numbers; /* for a known input, instead of the fields below: numbers, separated by
                            commas, which get the dtype and shape of the input (import_known);
                            otherwise NULL */
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    const void *data;
    size_t bytes;
};

/* A dim that equals an expression over other dims, which must be declared before it. */
struct import_equal {
    const char *name, *expression;
};

struct import_options {
    uint64_t seed; /* for parameters that the source does not list, such as those of a BlueprintIR
                      node */
    /* Dropout drops elements, batch norm uses batch statistics, and params that are its running
     * ones have next values, as outputs "new.NAME"; such params are frozen. Refused for models and
     * for graphs in text, which have the mode that they were exported in. */
    bool training;
    bool backward; /* gradients are wanted: what has others than the source says is refused */
    /* For models (onnx_read, pt2_read). */
    const char *folder;                /* folder of external data; NULL: external data is refused */
    const struct import_tensor *fixed; /* inputs with known values, which become constants */
    uint32_t fixed_count;
    const struct dim_name *dims; /* ranges of named dims; a range of one value makes it constant */
    uint32_t dim_count;
    const struct import_equal *equal;
    uint32_t equal_count;
    struct strbuf *refused;     /* NULL, or gets the complete list of what was refused, which is
                                   truncated in the error */
    struct import_notes *notes; /* NULL, or gets a description of the source (notes.h) */
};

/* Converts a known input to a tensor of the input's dtype and shape, in the arena: a tensor must
 * have that type already; numbers get it. ERR_USAGE says what does not fit. */
struct import_type {
    enum dtype dtype;
    bool ranked; /* false: any rank and shape */
    uint32_t rank;
    int64_t shape[LIMIT_RANK]; /* -1: any size */
};
bool import_known(const struct import_tensor *given, const struct import_type *type,
                  struct arena *arena, struct import_tensor *out, struct error *err);

/* Sizes and ranges of named dims as a caller gives them, one dim a line: "N=32", "N=1..512",
 * "N=32*" (multiples of 32), "N=32..512/32" (multiples of 32 in a range). In the arena.
 * ERR_USAGE. */
bool import_dims_parse(const char *text, struct arena *arena, struct dim_name **out,
                       uint32_t *out_count, struct error *err);

/* Reads a model of ONNX (onnx_read), a model of PyTorch (pt2_read), or a document in one of the
 * JSON dialects: native ("format": "urza.blueprint/1"), BlueprintIR ("nodes" with op_type), or an
 * architecture ({"architecture": {…}}). Everything is allocated in arena; *out is written only on
 * success. The fields id, version, tags and metadata are checked, but are no part of the canonical
 * form. In training mode, ops that drop elements draw random numbers from the graph's input "seed"
 * (i64, 0-d), which is added if there is such an op.
 *
 * ERR_JSON (not JSON, an unknown field, a field of the wrong type), ERR_BLUEPRINT (op, cycle, edge,
 * attribute, dtype), ERR_SHAPE, ERR_LIMIT, ERR_UNSUPPORTED; the place names the node and the
 * attribute. */
bool blueprint_read(const char *text, size_t size, const struct import_options *options,
                    struct arena *arena, struct blueprint *out, struct error *err);

/* Sets blueprint->json to a document that has the graph as text, for graphs that come from no
 * JSON. */
void import_graph_json(struct blueprint *blueprint, struct arena *arena);

/* Reads an ONNX model: opsets up to 28 and the ops of docs/onnx.md. Initialisers become params with
 * INIT_DATA; constants that decide shapes are folded. ERR_UNSUPPORTED lists all nodes that cannot
 * be read, with the reasons; ERR_PARSE, ERR_BLUEPRINT, ERR_SHAPE, ERR_LIMIT, ERR_IO. Arena and *out
 * as for blueprint_read. */
bool onnx_read(const void *bytes, size_t size, const struct import_options *options,
               struct arena *arena, struct blueprint *out, struct error *err);
/* Reads one TensorProto, the form of .pb files and test data; in arena. */
bool onnx_read_tensor(const void *bytes, size_t size, struct arena *arena,
                      struct import_tensor *out, struct error *err);
/* The ops of ONNX that can be read, by index; false for an index behind the last. types: the main
 * operand's dtypes, as letters F (floats), I (integers), B (bool). since: the first opset. note:
 * which uses are not read; "" if all are. */
#define ONNX_NEWEST_OPSET 28
struct onnx_coverage {
    const char *name, *types, *note;
    int32_t since;
};
bool onnx_covers(uint32_t index, struct onnx_coverage *out);
bool onnx_looks_like(const void *bytes, size_t size); /* by the first bytes */

/* Reads a .pt2 archive of torch.export.save: the ops of docs/pytorch.md. Weights become params with
 * INIT_DATA and have the names that they have in the module; no pickled code runs. Symbols in
 * shapes become named dims, with the ranges of the archive or of options->dims. ERR_UNSUPPORTED
 * lists all calls that cannot be read, with the reasons; ERR_PARSE, ERR_JSON, ERR_BLUEPRINT,
 * ERR_SHAPE, ERR_LIMIT. Arena and *out as for blueprint_read. */
bool pt2_read(const void *bytes, size_t size, const struct import_options *options,
              struct arena *arena, struct blueprint *out, struct error *err);
/* Checks the checksums of the files in such an archive. ERR_PARSE names the first file that is
 * damaged, or says that the archive is truncated. */
bool pt2_check(const void *bytes, size_t size, struct arena *arena, struct error *err);
/* The ops of ATen that can be read, by index; false for an index behind the last. note: which uses
 * are not read; "" if all are. */
struct pt2_coverage {
    const char *name, *note;
};
bool pt2_covers(uint32_t index, struct pt2_coverage *out);
bool pt2_looks_like(const void *bytes, size_t size); /* by the first bytes */

/* The translations alone: a new reference, NULL on failure. */
json_t *dialect_from_blueprint_ir(const json_t *document, const struct import_options *options,
                                  struct error *err);
json_t *dialect_from_architecture(const json_t *document, const struct import_options *options,
                                  struct error *err);

/* The values of parameter `index`, dense and row-major in its dtype, 64-aligned, in arena. folder:
 * relative paths start there. The parameter must have a constant shape. For INIT_FILE and
 * INIT_SAFETENSORS: ERR_NOT_FOUND, ERR_IO, ERR_PARSE, ERR_SHAPE. */
bool blueprint_param_data(const struct blueprint *blueprint, uint32_t index, const char *folder,
                          struct arena *arena, struct package_param *out, struct error *err);

#endif
