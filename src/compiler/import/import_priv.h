/* Inside the import room: what the native reader and the translators share.
 *
 * The document that is being built owns the JSON values made here; on failure the translator
 * releases the document. If memory runs out while JSON is built, the process ends, as with an
 * arena. */
#ifndef URZA_COMPILER_IMPORT_IMPORT_PRIV_H
#define URZA_COMPILER_IMPORT_IMPORT_PRIV_H

#include <stdarg.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "compiler/import/import.h"

#define NATIVE_FORMAT "urza.blueprint/1"
/* The largest value of a named dim that says nothing: in a model of ONNX or PyTorch, which itself
 * says what it needs of its dims; and in a blueprint. Not 2^31: products of such dims are sizes and
 * indices, of which more can be proved where they are far from 2^63, and a sum over them has one
 * more level of parts for each factor of 32. */
#define DIM_MAX_DEFAULT ((int64_t)1 << 24)
#define DIM_MAX_BLUEPRINT 65536

/* Fields that every document may have and that do not affect its graph, and a check of their types.
 * The canonical form omits them. DOCUMENT_KEYS is for lists of allowed keys. */
#define DOCUMENT_KEYS "id", "name", "version", "tags", "metadata"
bool import_check_document(const json_t *document, struct error *err);

/* Builders; both take ownership of value, which must not be NULL because of a failed allocation. */
void import_set(json_t *object, const char *key, json_t *value);
void import_append(json_t *array, json_t *value);
json_t *import_object(void);
json_t *import_array(void);
json_t *import_text(const char *text);
json_t *import_textf(const char *fmt, ...) URZA_PRINTF(1, 2);
json_t *import_int(int64_t value);
json_t *import_real(double value);
json_t *import_copy(const json_t *value); /* a new reference to the same value */

/* The type of a JSON value, for messages: "an integer". */
const char *import_type_text(const json_t *value);

/* Reads a dtype by any of its names, "fp32" among them. ERR_BLUEPRINT. */
bool import_dtype(const char *name, enum dtype *out, struct error *err);
/* The string field `key` of the object, which must not be empty. ERR_JSON, ERR_BLUEPRINT. */
bool import_id(const json_t *object, const char *key, const char **out, struct error *err);

/* derive.c. If a reading fails because a shape rule could not prove what it needs, the source is
 * read again with named dims restricted so that the rule can prove it:
 *
 *     derive_begin(&d, options, arena);
 *     while (!(ok = read(&d.options, &err)) && derive_more(&d, &graph.dims, &demand, why))
 *         ;
 *
 * demand: what the rule needs; why: names the node. False: no restriction was found, or there were
 * too many readings; the error of the reading is then the result. Everything is allocated in the
 * arena. */
enum derived_kind { DERIVED_LEAST, DERIVED_MOST, DERIVED_MULTIPLE, DERIVED_EQUAL, DERIVED_KINDS };
struct derived_dim {
    const char *name, *why[DERIVED_KINDS];
};
struct derivation {
    struct arena *arena;
    struct import_options options; /* the caller's, with the restrictions found so far */
    VEC(struct dim_name) dims;
    VEC(struct import_equal) equal;
    VEC(struct derived_dim) reasons;
    uint32_t rounds;
    bool changed;
};
void derive_begin(struct derivation *d, const struct import_options *options, struct arena *arena);
bool derive_more(struct derivation *d, const struct dim_table *dims,
                 const struct dim_demand *demand, const char *why);
/* Appends a warning, with a zero byte at its end, for each dim that was restricted. */
void derive_warn(const struct derivation *d, struct strbuf *out);

/* Declares a name as an alias of an expression, whose values must be within the name's range. Names
 * in the expression that the options give ranges for are declared first. ERR_SHAPE. */
bool import_declare_equal(struct dim_table *dims, const struct import_options *options,
                          const struct dim_name *range, const char *expression, struct error *err);
/* Whether the table has each dim of the options. ERR_USAGE lists the names that it has. */
bool import_check_dims(const struct import_options *options, struct dim_table *dims,
                       struct error *err);

/* Whether a source that is neither a model of ONNX nor of PyTorch may be JSON, by its first bytes;
 * otherwise ERR_JSON says which format it has. */
bool import_check_kind(const void *bytes, size_t size, struct error *err);

/* The value that the caller gives for an input; NULL: none. */
const struct import_tensor *import_find_known(const struct import_options *options,
                                              const char *name);
/* Whether the model has each of the inputs whose values the caller gives. ERR_USAGE lists the
 * model's inputs. */
bool import_check_known(const struct import_options *options, const char *const *inputs,
                        uint32_t count, struct error *err);

/* Removes from a message the name of the prim whose rule failed ("contract: …"): the model does not
 * have that op. */
void import_plain(struct error *err);

/* Makes a graph of a native document, which is borrowed; see native.c. */
bool native_read(const json_t *document, const struct import_options *options, struct arena *arena,
                 struct blueprint *out, struct error *err);

/* The same of a document with a field "graph"; see native_graph.c. */
bool native_read_graph(const json_t *document, struct arena *arena, struct blueprint *out,
                       struct error *err);

/* Expands the document's nodes into the graph of *out, which has the dims, inputs and params
 * already, and adds the outputs. */
bool native_read_nodes(const json_t *document, const struct import_options *options,
                       struct blueprint *out, struct error *err);

/* Reads a shape: integers ≥ 0 and dim expressions. any: -1 is legal too, and gives DIM_NONE, which
 * stands for any size. */
bool native_read_shape(struct graph *graph, const json_t *shape, bool any, dim_id out[LIMIT_RANK],
                       uint32_t *out_rank, struct error *err);

/* Whether a path is below the folder that it is relative to, judged by its text alone;
 * file_open_below checks links. ERR_BLUEPRINT. */
bool import_check_path(const char *path, struct error *err);

/* Reads the data of tensor->name from a safetensors file that is open at fd, into the arena; it
 * must have the tensor's dtype, shape and size. path: for messages. ERR_NOT_FOUND, ERR_IO,
 * ERR_PARSE, ERR_JSON, ERR_SHAPE, ERR_LIMIT. */
bool import_safetensors(int fd, const char *path, const struct import_tensor *tensor,
                        struct arena *arena, void **out, struct error *err);

/* Reads the "init" of a param of the given dtype, whose shape is constant. ERR_JSON, ERR_BLUEPRINT,
 * ERR_SHAPE. */
bool init_read(const json_t *init, enum dtype dtype, uint32_t rank, struct arena *arena,
               struct param_init *out, struct error *err);

#endif
