/* Helpers of the tests of this folder: models are built with the packer generated from the schema,
 * read and run. Everything that a model points at is released at the end of the test; a failed
 * assertion ends the test. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_KIT_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_KIT_PRIV_H

#include "base/arena.h"
#include "base/error.h"
#include "compiler/import/onnx/onnx_priv.h"
#include "graph/interp.h"

typedef struct Onnx__AttributeProto Onnx__AttributeProto;
typedef struct Onnx__OperatorSetIdProto Onnx__OperatorSetIdProto;
typedef struct Onnx__ValueInfoProto Onnx__ValueInfoProto;

#define MAX_ITEMS 8

/* A model that is being built. */
struct model {
    struct arena arena;
    Onnx__ModelProto *proto;
    Onnx__GraphProto *graph;
    Onnx__OperatorSetIdProto *opset, *opsets[1];
    Onnx__NodeProto *nodes[MAX_ITEMS];
    Onnx__TensorProto *initializers[MAX_ITEMS];
    Onnx__ValueInfoProto *inputs[MAX_ITEMS], *outputs[MAX_ITEMS];
    struct import_options options;
    struct blueprint blueprint;
    struct error err;
};

int begin(void **state);
int end(void **state);
/* dims: numbers or names; "?": nothing is stated. */
void add_input(struct model *m, const char *name, int32_t type, const char *const *dims);
void add_output(struct model *m, const char *name);
Onnx__NodeProto *add_node(struct model *m, const char *op, const char *in, const char *in2,
                          const char *out);
/* A graph of one node that reads x, as an attribute that is not added to a node yet. */
Onnx__AttributeProto *add_branch(struct model *m, const char *name, const char *op);
void add_int(struct model *m, Onnx__NodeProto *node, const char *name, int64_t value);
Onnx__TensorProto *add_initializer(struct model *m, const char *name, int32_t type, int64_t count,
                                   const void *data, size_t bytes);
bool read_bytes(struct model *m, const void *bytes, size_t size);
uint8_t *pack(struct model *m, size_t *out_size);
bool read_model(struct model *m);
void assert_shape(const struct model *m, const char *expected);
void assert_refused(struct model *m, int code, const char *part);
/* Runs a model with one input, of rank 1, and one output, both without named dims. */
struct interp_tensor run_model(struct model *m, enum dtype dtype, int64_t count, const void *data);
void start_over(struct model *m);

#endif
