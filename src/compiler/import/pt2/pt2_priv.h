/* Inside the reader of PyTorch's exported programs.
 *
 * An archive is a ZIP of stored files: one JSON document with a graph of ATen calls, its signature
 * and the ranges of its symbols, and the weights as raw files that other JSON documents describe.
 * Each call is translated by the function of its row in aten_ops.def, by the names its arguments
 * have in ATen's schemas. Shapes follow from the calls themselves; what the archive says of results
 * is not needed and not believed.
 *
 * Everything lives in the arena of the import, but for the documents, which end with it. A
 * translator fails through its builder's error: ERR_UNSUPPORTED refuses the call and lets the
 * others be looked at, any other error ends the import. Nothing that a file may say reaches an
 * assertion. */
#ifndef URZA_COMPILER_IMPORT_PT2_PT2_PRIV_H
#define URZA_COMPILER_IMPORT_PT2_PT2_PRIV_H

#include "compiler/import/import_priv.h"
#include "compiler/ops/ops.h"

/* A file inside an archive; borrows the archive's bytes. */
struct pt2_file {
    const char *name; /* in the arena */
    const uint8_t *data;
    size_t size;
    uint32_t crc; /* of the data, as the directory says */
};
struct pt2_archive {
    VEC(struct pt2_file) files;
};
/* Reads the directory of a ZIP file, ZIP64 included. Entries that are compressed or encrypted are
 * refused (ERR_UNSUPPORTED); ERR_PARSE, ERR_LIMIT. */
bool pt2_archive_open(const void *bytes, size_t size, struct arena *arena, struct pt2_archive *out,
                      struct error *err);
/* The file whose name behind the archive's one root folder is `path`; NULL: there is none. */
const struct pt2_file *pt2_archive_find(const struct pt2_archive *archive, const char *path);

/* A tensor inside a storage; offset and strides in elements. */
struct pt2_view {
    enum dtype dtype;
    uint32_t rank;
    int64_t sizes[LIMIT_RANK], strides[LIMIT_RANK], offset; /* each 0 … LIMIT_DIM_VALUE */
};
/* Tensors of a file of torch.save, by name. */
struct pt2_pickled {
    const char *name;
    struct pt2_view view;
    const struct pt2_file *file;
};
struct pt2_state {
    const struct pt2_pickled *tensors;
    uint32_t count;
};

/* What tensors that are views of one another share. */
struct pt2_storage {
    uint32_t family;  /* storages that may be the same memory, by strides */
    uint32_t version; /* the number of writes into it */
    bool lost;        /* what it holds is not known */
};
/* A name of the graph: a tensor, or an integer that shapes are made of. */
struct pt2_name {
    value_id value;            /* VALUE_NONE: an integer, or not read */
    dim_id dim;                /* DIM_NONE: a tensor */
    uint32_t storage, version; /* value is what the name stood for at this version */
    uint32_t depth;            /* of a view of a view of …; 0: no view */
    uint32_t base, result;     /* of a view: the entry it was made of, which result it is */
    const struct aten_op *op;  /* of a view: the call that made it; NULL: the base itself */
    const json_t *inputs, *body;
    bool refused;       /* comes, at some distance, from a call that was refused */
    const char *why;    /* it cannot be read; NULL: it can */
    const json_t *spec; /* of a weight that nothing has used so far */
};

struct pt2_refusal {
    const char *what, *why;
    const char *node; /* the first call that was refused so; NULL: it is none */
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
    const json_t *ranges;                   /* document: range_constraints */
    const json_t *signature;
    struct strmap names; /* → entries */
    VEC(struct pt2_name) entries;
    VEC(struct pt2_refusal) refusals;
    VEC(const struct import_tensor *) param_data; /* by the graph's params */
    VEC(struct pt2_storage) storages;
    const char *call;    /* the call that is read; NULL: none */
    size_t weight_bytes; /* copied so far */
};

/* Notes of a program whose document is open, and of what was refused in it; nothing where nobody
 * asked. */
void pt2_note_program(struct pt2 *p);
void pt2_note_refused(struct pt2 *p);
/* Remembers what cannot be read; all of it makes one error. */
void pt2_refuse(struct pt2 *p, const char *what, const char *why);
/* ERR_UNSUPPORTED for those of PyTorch's numbers that are none of our dtypes. */
bool pt2_dtype(int64_t scalar_type, enum dtype *out, struct error *err);

/* A SymInt: {"as_int": 8} or {"as_expr": {"expr_str": …}}. declare: symbols that are new become
 * named dims, with the ranges of the document; otherwise they are refused. ERR_PARSE, ERR_LIMIT,
 * ERR_UNSUPPORTED. */
bool pt2_sym_int(struct pt2 *p, const json_t *json, bool declare, dim_id *out, struct error *err);
/* A tensor's dtype and shape, from its TensorMeta. */
struct pt2_type {
    enum dtype dtype;
    uint32_t rank;
    dim_id shape[LIMIT_RANK];
};
bool pt2_tensor_type(struct pt2 *p, const json_t *meta, bool declare, struct pt2_type *out,
                     struct error *err);

/* The values of a parameter, buffer or constant by its name in the module. ERR_PARSE, ERR_SHAPE,
 * ERR_LIMIT, ERR_UNSUPPORTED. */
bool pt2_weight(struct pt2 *p, const char *name, struct import_tensor *out, struct error *err);
/* Reads the directory of a state dict. ERR_UNSUPPORTED when it needs more of pickle than tensors
 * do; ERR_PARSE, ERR_LIMIT. */
bool pt2_state_dict(struct pt2 *p, const struct pt2_file *file, struct pt2_state *out,
                    struct error *err);
/* Opens what describes the weights. */
bool pt2_weights_open(struct pt2 *p, struct error *err);

/* The entry of a name, its weight read at the first use. NULL: there is none, or after failing. */
struct pt2_name *pt2_find(struct pt2 *p, const char *name, struct error *err);
bool pt2_add(struct pt2 *p, const char *name, const struct pt2_name *entry, struct error *err);
bool pt2_inputs(struct pt2 *p, struct error *err);

/* A row of aten_ops.def. */
struct aten_op;

/* A new storage; of the family of relative's, where that is not NULL. */
uint32_t pt2_storage(struct pt2 *p, const struct pt2_name *relative);
/* Makes *view, which is no entry yet, a view of entry `base`; its call is filled by the caller. */
void pt2_make_view(struct pt2 *p, struct pt2_name *view, uint32_t base);
/* Brings an entry to the version of its storage; `why` is set where it cannot be known. False: a
 * failure other than ERR_UNSUPPORTED. */
bool pt2_refresh(struct pt2 *p, uint32_t entry, struct error *err);
/* Entry's tensor becomes `value`, of the same dtype and shape, and so what it is a view of.
 * ERR_UNSUPPORTED where it is a view of another kind than parts and movements. */
bool pt2_write(struct pt2 *p, uint32_t entry, value_id value, struct error *err);

/* What the result's storage is: its own; the first operand's; the first operand's where it is the
 * same value; or, by strides, its own or the first operand's. */
enum aten_storage { ATEN_OWN = 1, ATEN_VIEW, ATEN_SAME, ATEN_EITHER };

/* One call under translation. */
struct aten_call {
    struct pt2 *p;
    struct builder *b;
    const struct aten_op *op;
    const json_t *inputs;
    bool refused;         /* an operand was */
    bool copied;          /* the result is a copy, though it is the same value */
    uint64_t used;        /* arguments that were looked at, a bit each */
    struct op_value attr; /* given besides those of the row; its name is NULL: none */
    value_id out[OP_MAX_OUTPUTS];
    uint32_t out_count;
};

struct aten_op {
    const char *name; /* without overload */
    enum aten_storage storage;
    bool (*translate)(struct aten_call *c);
    /* For aten_composite and others: one of our ops, the names of its operands, and those of its
     * attributes, in ATen's schema; "ours=theirs" where the names differ. */
    const char *with, *operands, *attrs;
    const char *note; /* what is not covered; "" */
};
bool aten_nodes(struct pt2 *p, struct error *err);

bool aten_failed(const struct aten_call *c);
value_id aten_refuse(struct aten_call *c, const char *fmt, ...) URZA_PRINTF(2, 3);
bool aten_return(struct aten_call *c, value_id out); /* the first result */

/* Arguments by name. A wrong type fails the builder and gives the default. */
const json_t *aten_arg(struct aten_call *c, const char *name, const char **out_kind); /* NULL:
                                                                       absent, or none */
bool aten_has(struct aten_call *c, const char *name);
bool aten_is_tensor(struct aten_call *c, const char *name);
/* The tensor; a number becomes a 0-d constant. VALUE_NONE: absent, or after failing. */
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
/* The first result of one of ours. attrs ends with a row without a name. */
value_id aten_expand(struct aten_call *c, const char *op, const value_id *in, uint32_t count,
                     const struct op_value *attrs);
/* By the row's own operands and attributes; the results go to c->out. */
bool aten_expand_row(struct aten_call *c, const char *op);
/* Brings two arguments, tensors or numbers, to the dtype PyTorch computes their result in. */
bool aten_promote(struct aten_call *c, const char *first, const char *second, value_id out[2]);
/* x as it is, or in f32 when it holds integers. */
value_id aten_as_float(struct aten_call *c, value_id x);
/* Elements start, start + step, … of a dim. */
struct aten_range {
    dim_id start, count;
    int64_t step;
};
/* x with `part`, of x's dtype, in place of a range of dim. */
value_id aten_write_slice(struct builder *b, value_id x, int64_t dim,
                          const struct aten_range *range, value_id part);
/* The range of a slice, from "start", "end" and "step"; and the place of a select, from "index". */
bool aten_slice_range(struct aten_call *c, value_id x, int64_t dim, struct aten_range *out);
bool aten_select_place(struct aten_call *c, value_id x, int64_t dim, dim_id *out);
/* x with `count` dims from `from` on moved to `to`. */
value_id aten_move_dims(struct builder *b, value_id x, uint32_t from, uint32_t count, uint32_t to);
/* x[list], where VALUE_NONE stands for a whole dim: the indexed dims in front, as one, and the
 * index into it. */
struct aten_places {
    value_id table, index;
    uint32_t first;           /* where the dims of the index stand in the result */
    uint8_t axes[LIMIT_RANK]; /* of x, in the table's order before dims were merged */
    uint32_t indexed;         /* how many of them are */
};
bool aten_places(struct aten_call *c, value_id x, const value_id *list, uint32_t count,
                 struct aten_places *out);
/* A table of that shape as x's. */
value_id aten_places_back(struct aten_call *c, value_id x, const struct aten_places *at,
                          value_id table);
/* The dtype two operands of the same precedence meet in; DTYPE_NONE is neutral. */
enum dtype aten_join_types(enum dtype a, enum dtype b);
/* Indices from 0, where negative ones count from the end of a dim. */
value_id aten_wrap_index(struct aten_call *c, value_id index, dim_id size);

#endif
