/* The translation of each primitive, by its rule in prims.def. A new rule does not compile until it
 * has a row here; a new elementwise primitive is refused until elementwise.c has it. */
#include "compiler/export/export_priv.h"

static const char *source(struct export *e, const struct node *node)
{
    (void)e;
    return node->attrs->name;
}

static const char *size(struct export *e, const struct node *node)
{
    return export_dim(e, node->attrs->shape[0]);
}

static const char *drawn(struct export *e, const struct node *node)
{
    (void)node;
    return export_refuse(e, "ONNX leaves the numbers to the runtime");
}

static const char *bitcast(struct export *e, const struct node *node)
{
    (void)node;
    return export_refuse(e, "ONNX before opset 26 has no such op");
}

static const char *loop(struct export *e, const struct node *node)
{
    (void)node;
    return export_refuse(e, "a loop");
}

static const char *copy(struct export *e, const struct node *node)
{
    return e->names[node->operands[0]];
}

#define RULE_source source
#define RULE_const export_const
#define RULE_literal export_literal
#define RULE_iota export_iota
#define RULE_size size
#define RULE_random drawn
#define RULE_unary_num export_elementwise
#define RULE_unary_bool export_elementwise
#define RULE_unary_float export_elementwise
#define RULE_unary_any copy
#define RULE_iter loop
#define RULE_state loop
#define RULE_loop loop
#define RULE_is_nan export_elementwise
#define RULE_binary_num export_elementwise
#define RULE_binary_float export_elementwise
#define RULE_binary_bool export_elementwise
#define RULE_binary_int export_elementwise
#define RULE_compare export_elementwise
#define RULE_select export_select
#define RULE_cast export_cast_prim
#define RULE_bitcast bitcast
#define RULE_reduce export_reduce
#define RULE_arg_reduce export_arg_reduce
#define RULE_arg_sort export_argsort
#define RULE_scan export_scan
#define RULE_contract export_contract
#define RULE_conv export_conv
#define RULE_window export_window
#define RULE_reshape export_reshape_prim
#define RULE_transpose export_transpose
#define RULE_broadcast export_broadcast
#define RULE_slice export_slice_prim
#define RULE_pad export_pad_prim
#define RULE_concat export_concat
#define RULE_reverse export_reverse
#define RULE_take export_take
#define RULE_gather export_gather
#define RULE_scatter export_scatter

/* Runtimes can move u64 and cast it, but have no wider type to compute it in. */
static bool computes_u64(const struct export *e, const struct node *node)
{
    bool found = node->dtype == DTYPE_U64, floats = dtype_is_float((enum dtype)node->dtype);
    for (uint32_t i = 0; i < node->operand_count; i++) {
        enum dtype dtype = (enum dtype)graph_node(e->graph, node->operands[i])->dtype;
        found = found || dtype == DTYPE_U64;
        floats = floats || dtype_is_float(dtype);
    }
    bool converts = node->prim == PRIM_CAST && !(floats && node->dtype == DTYPE_U64);
    return found && node->prim > PRIM_SIZE && node->prim < PRIM_RESHAPE && !converts;
}

const char *export_prim(struct export *e, const struct node *node)
{
    if (computes_u64(e, node) || (node->dtype == DTYPE_U64 && node->prim == PRIM_SCATTER))
        return export_refuse(e, "arithmetic on u64");
    static export_fn *const translations[] = {
#define PRIM(id, name, n, rule, attrs, ulp, doc) [PRIM_##id] = RULE_##rule,
#include "graph/prims.def"
#undef PRIM
    };
    return translations[node->prim](e, node);
}
