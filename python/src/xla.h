/* The part of XLA's foreign function interface (its C API, version 0, as xla/ffi/api/c_api.h of
 * jaxlib documents it) that a handler of custom calls on the CPU needs: buffers, attributes, errors
 * and the question which version the handler speaks. Plain structs, fixed by XLA within a major
 * version: a newer minor version only adds members behind those that are here, and each struct says
 * its size, without the padding at its end (XLA_SIZE).
 *
 * A handler gets a call frame and returns NULL, or an error that XLA then owns. It may be called by
 * any thread, by several at once. Everything in a frame is borrowed for the call. */
#ifndef URZA_PYTHON_XLA_H
#define URZA_PYTHON_XLA_H

#include <stddef.h>
#include <stdint.h>

#define XLA_MAJOR 0
#define XLA_MINOR 3 /* the newest of which anything here was read */
#define XLA_SIZE(type, last) (offsetof(type, last) + sizeof((type){0}.last))

typedef struct xla_error xla_error; /* opaque */

typedef enum { XLA_EXTENSION_METADATA = 1 } xla_extension_type;
typedef struct xla_extension {
    size_t struct_size;
    xla_extension_type type;
    struct xla_extension *next;
} xla_extension;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    int major, minor;
} xla_version;

/* Of absl::Status. */
typedef enum {
    XLA_CANCELLED = 1,
    XLA_INVALID_ARGUMENT = 3,
    XLA_RESOURCE_EXHAUSTED = 8,
    XLA_FAILED_PRECONDITION = 9,
    XLA_UNIMPLEMENTED = 12,
    XLA_INTERNAL = 13,
} xla_code;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    const char *message; /* copied */
    xla_code code;
} xla_error_args;

typedef struct {
    const char *text; /* not terminated */
    size_t length;
} xla_span;

/* A type of states, which executables hold: XLA gives it a number, and calls `free` for each. */
typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    void (*free)(void *state);
} xla_type;
typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    xla_span name;
    int64_t *id; /* 0: give it one */
    const xla_type *type;
} xla_type_args;

typedef enum { XLA_STAGE_INSTANTIATE = 0, XLA_STAGE_EXECUTE = 3 } xla_stage;

/* Makes a state that of this call's place in the executable, which owns it if there is no error. */
typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    void *context;
    xla_stage stage;
    int64_t *id;
    void *state;
} xla_state_args;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    xla_version version;
    const void *internal;
    xla_error *(*error_new)(xla_error_args *args);
    const void *unused[4]; /* two more of errors, one of handlers, one of streams */
    xla_error *(*type_register)(xla_type_args *args);
    const void *context_get;
    xla_error *(*state_set)(xla_state_args *args); /* so since version 0.3 */
    /* More functions follow. */
} xla_api;

/* Numbers of XLA's element types. */
typedef enum {
    XLA_PRED = 1,
    XLA_S8 = 2,
    XLA_S16 = 3,
    XLA_S32 = 4,
    XLA_S64 = 5,
    XLA_U8 = 6,
    XLA_U16 = 7,
    XLA_U32 = 8,
    XLA_U64 = 9,
    XLA_F16 = 10,
    XLA_F32 = 11,
    XLA_F64 = 12,
    XLA_BF16 = 16,
} xla_dtype;

/* Dense in rows, as jax.ffi lowers operands and results unless told otherwise. */
typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    xla_dtype dtype;
    void *data;
    int64_t rank;
    int64_t *dims;
} xla_buffer;

typedef enum { XLA_ATTR_STRING = 4 } xla_attr_type;

/* Of arguments and of results; the only type of both is a buffer, 1. */
typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    int64_t count;
    int *types;
    void **items;
} xla_buffers;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    int64_t count;
    xla_attr_type *types;
    xla_span **names;
    void **values; /* of a string: xla_span * */
} xla_attrs;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    const xla_api *api;
    void *context;
    xla_stage stage;
    xla_buffers args, results;
    xla_attrs attrs;
    /* An asynchronous handler's future follows. */
} xla_frame;

typedef xla_error *xla_handler(xla_frame *frame);

/* A frame with this extension asks what the handler is, and calls nothing. */
typedef struct {
    size_t struct_size;
    xla_version version; /* the handler writes it */
    uint32_t traits;     /* likewise */
    int64_t state_id;    /* the number of the type of its states, since version 0.3 */
} xla_metadata;
typedef struct {
    xla_extension base;
    xla_metadata *metadata;
} xla_metadata_extension;

#endif
