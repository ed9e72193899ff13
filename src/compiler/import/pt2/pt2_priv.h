/* Inside the reader of PyTorch's exported programs.
 *
 * An archive is a ZIP of uncompressed files: a JSON document with a graph of ATen calls, its
 * signature and the ranges of its symbols; and the weights, as raw files that other JSON documents
 * describe. Each call is translated by the function of its row in aten_ops.def, which reads
 * arguments by their names in ATen's schemas. Shapes are inferred from the calls, not taken from
 * the archive.
 *
 * Everything is allocated in the arena of the import, except the JSON documents, which are released
 * at its end. A translator reports failures through its builder's error: ERR_UNSUPPORTED refuses
 * the call, and translation continues with the others; any other error ends the import. No contents
 * of a file can violate an assertion. */
#ifndef URZA_COMPILER_IMPORT_PT2_PT2_PRIV_H
#define URZA_COMPILER_IMPORT_PT2_PT2_PRIV_H

#include "compiler/import/import_priv.h"
#include "compiler/ops/ops.h"

/* A file inside an archive; borrows the archive's bytes. */
struct pt2_file {
    const char *name; /* in the arena */
    const uint8_t *data;
    size_t size;
    uint32_t crc; /* CRC-32 of the data, from the directory */
};
struct pt2_archive {
    VEC(struct pt2_file) files;
};
/* Reads the directory of a ZIP file, ZIP64 included. ERR_UNSUPPORTED: entries that are compressed
 * or encrypted; ERR_PARSE: also files that overlap; ERR_LIMIT. */
bool pt2_archive_open(const void *bytes, size_t size, struct arena *arena, struct pt2_archive *out,
                      struct error *err);
/* Fails with what an archive without an exported program is, as its files tell. */
bool pt2_no_program(const struct pt2_archive *archive, struct error *err);
/* The file whose path below the archive's root folder is `path`; NULL: there is none. */
const struct pt2_file *pt2_archive_find(const struct pt2_archive *archive, const char *path);
/* A tensor in a storage; offset and strides in elements. */
struct pt2_view {
    enum dtype dtype;
    uint32_t rank;
    int64_t sizes[LIMIT_RANK], strides[LIMIT_RANK], offset; /* each 0 … LIMIT_DIM_VALUE */
};
/* The tensors of a file of torch.save, by name. */
struct pt2_pickled {
    const char *name;
    struct pt2_view view;
    const struct pt2_file *file;
};
struct pt2_state {
    const struct pt2_pickled *tensors;
    uint32_t count;
};
/* The storage that a tensor and its views share. */
struct pt2_storage {
    uint32_t family;  /* storages that may be the same memory, depending on strides */
    uint32_t version; /* number of writes */
    bool lost;        /* its contents are not known */
};
/* An entry: what a name of the graph stands for, a tensor, or an integer in shapes. */
struct pt2_name {
    value_id value, first;     /* VALUE_NONE: an integer, or not read; before any write */
    dim_id dim;                /* DIM_NONE: a tensor */
    uint32_t storage, version; /* value is that of this version of the storage */
    uint32_t depth;            /* length of the chain of views; 0: not a view */
    uint32_t base, result; /* of a view: its base, as an entry; the index among the results of its
                              call */
    const struct aten_op *op; /* of a view: the call that made it; NULL: the base itself */
    const json_t *inputs, *body;
    bool refused, detached; /* it depends on a refused call; a view: made without gradients */
    const char *why;        /* why it cannot be read; NULL: it can */
    const json_t *spec;     /* of a weight that was not used yet: its input_spec */
};

struct pt2_refusal {
    const char *what, *why;
    const char *node; /* the first call that was refused for this reason; NULL: not a call */
    uint32_t count;
};

struct pt2 {
    struct graph *graph;
    struct arena *arena;
    const struct import_options *options;
    struct pt2_archive archive;
    json_t *document, *weights, *constants; /* released by pt2_read */
    struct pt2_state pickled[2];            /* weights and constants of older archives */
    const json_t *body;                     /* document: graph_module.graph */
    const json_t *ranges, *signature;       /* document: range_constraints; of the graph module */
    struct strmap names;                    /* → entries */
    VEC(struct pt2_name) entries;
    VEC(struct pt2_refusal) refusals;
    struct pt2_training *training; /* pt2_training_priv.h */
    bool no_grad, decomposed;      /* in a block of torch.no_grad(); of run_decompositions() */
    VEC(const struct import_tensor *) param_data; /* in the order of the graph's params */
    VEC(bool) frozen;                             /* the same of struct param_init */
    VEC(struct pt2_storage) storages;
    const char *call;    /* name of the call that is being translated; NULL: none */
    size_t weight_bytes; /* size of the weights copied so far */
};

/* Describe a program whose document is open, and what was refused; if the caller asked for
 * notes. */
void pt2_note_program(struct pt2 *p);
void pt2_note_refused(struct pt2 *p);
/* Records something that cannot be read; one error reports all of it. */
void pt2_refuse(struct pt2 *p, const char *what, const char *why);
/* The dtype for a number of PyTorch's ScalarType. ERR_UNSUPPORTED if there is none. */
bool pt2_dtype(int64_t scalar_type, enum dtype *out, struct error *err);

/* Reads a SymInt: {"as_int": 8} or {"as_expr": {"expr_str": …}}. declare: new symbols become named
 * dims, with the ranges of the document; otherwise they are refused. ERR_PARSE, ERR_LIMIT,
 * ERR_UNSUPPORTED. */
bool pt2_sym_int(struct pt2 *p, const json_t *json, bool declare, dim_id *out, struct error *err);
/* The dtype and shape of a tensor, from its TensorMeta. */
struct pt2_type {
    enum dtype dtype;
    uint32_t rank;
    dim_id shape[LIMIT_RANK];
};
bool pt2_tensor_type(struct pt2 *p, const json_t *meta, bool declare, struct pt2_type *out,
                     struct error *err);

/* The values of a parameter, buffer or constant, by its name in the module. ERR_PARSE, ERR_SHAPE,
 * ERR_LIMIT, ERR_UNSUPPORTED. */
bool pt2_weight(struct pt2 *p, const char *name, struct import_tensor *out, struct error *err);
/* Reads the tensors' names, types and positions in a state dict. ERR_UNSUPPORTED if its pickle has
 * more than tensors; ERR_PARSE, ERR_LIMIT. */
bool pt2_state_dict(struct pt2 *p, const struct pt2_file *file, struct pt2_state *out,
                    struct error *err);
void pt2_aliases(struct pt2 *p, struct blueprint *out); /* names of weights stored as a param is */
/* Opens the documents or pickles that describe the weights. */
bool pt2_weights_open(struct pt2 *p, struct error *err);

/* The entry of a name; a weight is read at its first use. NULL: there is none, or after failing. */
struct pt2_name *pt2_find(struct pt2 *p, const char *name, struct error *err);
bool pt2_add(struct pt2 *p, const char *name, const struct pt2_name *entry, struct error *err);
bool pt2_inputs(struct pt2 *p, struct error *err);

struct aten_op; /* a row of aten_ops.def */
/* A new storage, in the family of relative's; relative NULL: in a family of its own. */
uint32_t pt2_storage(struct pt2 *p, const struct pt2_name *relative);
/* Fills *view, which is not an entry yet, as a view of entry `base`; the caller fills in the
 * call. */
void pt2_make_view(struct pt2 *p, struct pt2_name *view, uint32_t base);
/* Updates an entry to the current version of its storage; sets `why` if its value is not known.
 * False: a failure other than ERR_UNSUPPORTED. */
bool pt2_refresh(struct pt2 *p, uint32_t entry, struct error *err);
/* Writes `value`, of the same dtype and shape, to the entry's tensor, and so to its base.
 * ERR_UNSUPPORTED if the entry is a view by other prims than reshapes, transposes and slices. */
bool pt2_write(struct pt2 *p, uint32_t entry, value_id value, struct error *err);

/* The storage of a result: OWN its own; VIEW the first operand's; SAME the first operand's if it is
 * the same value; EITHER one or the other, depending on strides. */
enum aten_storage { ATEN_OWN = 1, ATEN_VIEW, ATEN_SAME, ATEN_EITHER };

/* A call that is being translated. */
struct aten_call {
    struct pt2 *p;
    struct builder *b;
    const struct aten_op *op;
    const json_t *inputs;
    bool refused, training; /* an operand depends on a refused call; for op_arguments */
    bool copied, detached;  /* the result is a copy, though the same value; it has no gradient */
    uint64_t used;          /* arguments that were read, one bit each */
    struct op_value attr;   /* one more attribute besides those of the row; name NULL: none */
    value_id out[OP_MAX_OUTPUTS]; /* VALUE_NONE behind the first: not computed */
    uint32_t out_count;
};

struct aten_op {
    const char *name; /* without overload */
    enum aten_storage storage;
    bool (*translate)(struct aten_call *c);
    /* For aten_composite and others: one of our ops; ATen's names for its operands and attributes;
     * "ours=theirs" if the names of an attribute differ. */
    const char *with, *operands, *attrs;
    const char *note; /* which uses are not read; "" if all are */
};
bool aten_nodes(struct pt2 *p, struct error *err);

bool aten_failed(const struct aten_call *c);
value_id aten_refuse(struct aten_call *c, const char *fmt, ...) URZA_PRINTF(2, 3);
bool aten_return(struct aten_call *c, value_id out); /* the first result */

/* Arguments by name. If the type is wrong, the builder fails and the result is the default. NULL of
 * aten_arg: absent, or None. */
const json_t *aten_arg(struct aten_call *c, const char *name, const char **out_kind);
bool aten_has(struct aten_call *c, const char *name);
bool aten_is_tensor(struct aten_call *c, const char *name);
/* A tensor; a number becomes a 0-d constant. VALUE_NONE: absent, or after failing. */
value_id aten_in(struct aten_call *c, const char *name);
uint32_t aten_tensors(struct aten_call *c, const char *name, value_id *out, uint32_t max);
int64_t aten_int(struct aten_call *c, const char *name, int64_t absent);
double aten_float(struct aten_call *c, const char *name, double absent);
bool aten_bool(struct aten_call *c, const char *name, bool absent);
const char *aten_text(struct aten_call *c, const char *name, const char *absent);
enum dtype aten_dtype(struct aten_call *c, const char *name, enum dtype absent);
dim_id aten_dim(struct aten_call *c, const char *name, int64_t absent);
uint32_t aten_dims(struct aten_call *c, const char *name, dim_id *out, uint32_t max);
uint32_t aten_ints(struct aten_call *c, const char *name, int64_t *out, uint32_t max);

uint32_t aten_rank(const struct aten_call *c, value_id x);
enum dtype aten_type(const struct aten_call *c, value_id x);
/* The first result of one of our ops. attrs ends with a row whose name is NULL. */
value_id aten_expand(struct aten_call *c, const char *op, const value_id *in, uint32_t count,
                     const struct op_value *attrs);
/* Expands op with the operands and attributes of the row; the results go to c->out. */
bool aten_expand_row(struct aten_call *c, const char *op);
/* Casts two arguments, tensors or numbers, to the dtype to which PyTorch promotes them. */
bool aten_promote(struct aten_call *c, const char *first, const char *second, value_id out[2]);
/* x; cast to f32 if its dtype is not a float. */
value_id aten_as_float(struct aten_call *c, value_id x);
/* The elements start, start + step, … of a dim. */
struct aten_range {
    dim_id start, count;
    int64_t step;
};
/* x with a range of dim replaced by `part`, which has x's dtype. */
value_id aten_write_slice(struct builder *b, value_id x, int64_t dim,
                          const struct aten_range *range, value_id part);
/* The range of a slice, from the arguments "start", "end" and "step"; the position of a select,
 * from "index". */
bool aten_slice_range(struct aten_call *c, value_id x, int64_t dim, struct aten_range *out);
bool aten_select_place(struct aten_call *c, value_id x, int64_t dim, dim_id *out);
/* Moves `count` dims of x, the first at `from`, to `to`. */
value_id aten_move_dims(struct builder *b, value_id x, uint32_t from, uint32_t count, uint32_t to);
/* x[list], where VALUE_NONE in the list stands for ":". table: x with the indexed dims in front,
 * merged into one; index: positions in that dim. */
struct aten_places {
    value_id table, index;
    uint32_t first;           /* index of the first dim of `index` in the result */
    uint8_t axes[LIMIT_RANK]; /* x's dims in the order of the table, before merging */
    uint32_t indexed;         /* number of indexed dims */
};
bool aten_places(struct aten_call *c, value_id x, const value_id *list, uint32_t count,
                 struct aten_places *out);
/* Inverse: a value of the table's shape in the shape of x. */
value_id aten_places_back(struct aten_call *c, value_id x, const struct aten_places *at,
                          value_id table);
/* The dtype to which two operands of the same precedence are promoted; DTYPE_NONE is neutral. */
enum dtype aten_join_types(enum dtype a, enum dtype b);
/* Checks indices whose ends follow from the graph. ERR_SHAPE. wraps: negative ones are legal;
 * *out_negative: whether there may be some; or NULL. aten_check_along: of a dim of x, ≥ 0. */
bool aten_check_index(struct aten_call *c, value_id index, dim_id size, bool wraps,
                      bool *out_negative);
bool aten_check_along(struct aten_call *c, value_id x, value_id index, int64_t dim);
/* Adds size to negative indices, which count from the end of the dim. Checks them. */
value_id aten_wrap_index(struct aten_call *c, value_id index, dim_id size);

#endif
