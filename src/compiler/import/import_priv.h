/* Inside the import room: what the native reader and the translators share.
 *
 * JSON values made here are owned by the document under construction; a translator releases it on
 * failure. Running out of memory while building JSON ends the process, as it does in an arena. */
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
#define DIM_MAX_DEFAULT 65536 /* of a named dim that says nothing */

/* The fields any document may carry that say nothing about its graph, with their types; the
 * canonical form leaves them out. For lists of allowed keys. */
#define DOCUMENT_KEYS "id", "name", "version", "tags", "metadata"
bool import_check_document(const json_t *document, struct error *err);

/* Builders: both take the value over, which must not be NULL by a failed allocation. */
void import_set(json_t *object, const char *key, json_t *value);
void import_append(json_t *array, json_t *value);
json_t *import_object(void);
json_t *import_array(void);
json_t *import_text(const char *text);
json_t *import_textf(const char *fmt, ...) URZA_PRINTF(1, 2);
json_t *import_int(int64_t value);
json_t *import_real(double value);
json_t *import_copy(const json_t *value); /* a new reference to the same value */

/* What a value is, for messages: "an integer". */
const char *import_type_text(const json_t *value);

/* Reads a dtype by any of its names, "fp32" among them. ERR_BLUEPRINT. */
bool import_dtype(const char *name, enum dtype *out, struct error *err);
/* Object's string field key as an id: not empty. ERR_JSON, ERR_BLUEPRINT. */
bool import_id(const json_t *object, const char *key, const char **out, struct error *err);

/* derive.c. A reading that fails because a shape rule could not prove what it needs is tried again
 * with named dims restricted so that it holds:
 *
 *     derive_begin(&d, options, arena);
 *     while (!(ok = read(&d.options, &err)) && derive_more(&d, &graph.dims, &demand, why))
 *         ;
 *
 * demand is what failed, why names the node that asks. False: nothing can be derived, or too often;
 * the error of the reading stands. Everything lives in the arena. */
enum derived_kind { DERIVED_LEAST, DERIVED_MOST, DERIVED_MULTIPLE, DERIVED_EQUAL, DERIVED_KINDS };
struct derived_dim {
    const char *name, *why[DERIVED_KINDS];
};
struct derivation {
    struct arena *arena;
    struct import_options options; /* the caller's, with what was derived so far */
    VEC(struct dim_name) dims;
    VEC(struct import_equal) equal;
    VEC(struct derived_dim) reasons;
    uint32_t rounds;
    bool changed;
};
void derive_begin(struct derivation *d, const struct import_options *options, struct arena *arena);
bool derive_more(struct derivation *d, const struct dim_table *dims,
                 const struct dim_demand *demand, const char *why);
/* Appends a warning, ended by a zero byte, for each dim that was restricted. */
void derive_warn(const struct derivation *d, struct strbuf *out);

/* Declares a name as another way to write an expression, whose values must lie within the name's
 * range; names of the options that the expression needs are declared before. ERR_SHAPE. */
bool import_declare_equal(struct dim_table *dims, const struct import_options *options,
                          const struct dim_name *range, const char *expression, struct error *err);
/* Whether each dim of the options is one of the table's. ERR_USAGE names the nearest that is. */
bool import_check_dims(const struct import_options *options, struct dim_table *dims,
                       struct error *err);

/* Whether a source that is none of the models may be JSON, by its first bytes; ERR_JSON says what
 * else it is. */
bool import_check_kind(const void *bytes, size_t size, struct error *err);

/* What the caller says an input is; NULL: nothing. */
const struct import_tensor *import_find_known(const struct import_options *options,
                                              const char *name);
/* Whether each known input is one of the model's. ERR_USAGE names those. */
bool import_check_known(const struct import_options *options, const char *const *inputs,
                        uint32_t count, struct error *err);

/* Leaves out of a message the prim whose rule failed ("contract: …"): a model has other ops. */
void import_plain(struct error *err);

/* A native document (borrowed) into a graph; see native.c. */
bool native_read(const json_t *document, const struct import_options *options, struct arena *arena,
                 struct blueprint *out, struct error *err);

/* A document with a field "graph"; see native_graph.c. */
bool native_read_graph(const json_t *document, struct arena *arena, struct blueprint *out,
                       struct error *err);

/* Expands the document's nodes into the graph of `out`, which has its dims, inputs and params, and
 * adds its outputs. */
bool native_read_nodes(const json_t *document, const struct import_options *options,
                       struct blueprint *out, struct error *err);

/* Reads a shape: integers ≥ 0 and dim expressions. any: -1 is legal too and gives DIM_NONE,
 * "matches anything". */
bool native_read_shape(struct graph *graph, const json_t *shape, bool any, dim_id out[LIMIT_RANK],
                       uint32_t *out_rank, struct error *err);

/* Writes blueprint->json for a graph that no JSON dialect describes: the graph as text. */
void import_graph_json(struct blueprint *blueprint, struct arena *arena);

/* Whether a path lies below the folder it is relative to, as far as its text tells: what links may
 * do is file_open_below's to see. ERR_BLUEPRINT. */
bool import_check_path(const char *path, struct error *err);

/* The data of tensor->name in a safetensors file that is open at fd, into the arena; it must have
 * the tensor's dtype, shape and size. path is for messages. ERR_NOT_FOUND, ERR_IO, ERR_PARSE,
 * ERR_JSON, ERR_SHAPE, ERR_LIMIT. */
bool import_safetensors(int fd, const char *path, const struct import_tensor *tensor,
                        struct arena *arena, void **out, struct error *err);

/* Reads the "init" of a param of the given dtype and constant shape. ERR_JSON, ERR_BLUEPRINT,
 * ERR_SHAPE. */
bool init_read(const json_t *init, enum dtype dtype, uint32_t rank, struct arena *arena,
               struct param_init *out, struct error *err);

#endif
