/* Axes that a reshape merged from dims that are no neighbours in memory, as those of a group norm
 * behind a product with pixels as columns: an index along such an axis is divided at each element,
 * and nothing is contiguous. A loop for each of the dims needs no division; where they are
 * neighbours after all, the scheduler fuses their loops again. */
#include "compiler/lower/lower_priv.h"

#define DEPTH_MOST 16 /* values on the way to the reshape */

/* Whether the value is an expression here, and no load. */
static bool is_made_here(const struct lowering *l, value_id value)
{
    return l->partition->values[value].place == PLACE_INLINE && l->group->staged != value &&
           l->weights != value;
}

/* The dims of a reshape's source that end where the axis does. */
static void pieces_of_reshape(struct lowering *l, const struct node *to, uint32_t axis,
                              struct pieces *out)
{
    struct dim_table *dims = &l->graph->dims;
    const struct node *from = graph_node(l->graph, to->operands[0]);
    dim_id behind = dim_product(dims, to->shape + axis + 1, to->rank - axis - 1);
    int64_t whole, part, size = 1;
    uint32_t end = from->rank;
    while (end > 0 && dim_product(dims, from->shape + end, from->rank - end) != behind)
        end--;
    if (!dim_is_const(dims, to->shape[axis], &whole))
        return;
    while (end > 0 && dim_is_const(dims, from->shape[--end], &part) && part > 0 &&
           part <= whole / size && size * part < whole && whole % (size * part) == 0) {
        size *= part;
        if (part > 1)
            out->sizes[out->count++] = size;
    }
}

static void search(struct lowering *l, value_id value, uint32_t axis, uint32_t depth,
                   struct pieces *out)
{
    const struct node *node = graph_node(l->graph, value);
    bool root = value == l->group->root;
    if (depth == DEPTH_MOST || (!root && !is_made_here(l, value)) || node->operand_count == 0)
        return;
    if (node->prim == PRIM_RESHAPE && is_made_here(l, node->operands[0]))
        pieces_of_reshape(l, node, axis, out);
    else if (node->prim == PRIM_TRANSPOSE)
        search(l, node->operands[0], node->attrs->axes[axis], depth + 1, out);
    else if (prim_is_elementwise((enum prim)node->prim) || node->prim == PRIM_COPY)
        for (uint32_t i = 0; i < node->operand_count && out->count == 0; i++)
            search(l, node->operands[i], axis, depth + 1, out);
}

void find_pieces(struct lowering *l, value_id value, uint32_t axis, struct pieces *out)
{
    out->count = 0;
    search(l, value, axis, 0, out);
}

expr_id open_pieces(struct lowering *l, enum loop_role role, dim_id extent,
                    const struct pieces *pieces)
{
    struct dim_table *dims = &l->graph->dims;
    int64_t whole = 0, size;
    expr_id index = index_const(l->nest, 0), part;
    dim_is_const(dims, extent, &whole);
    for (uint32_t k = pieces->count + 1; k-- > 0; whole = size) {
        size = k > 0 ? pieces->sizes[k - 1] : 1;
        open_loop(l, role, dim_const(dims, whole / size), role != OVER_REDUCED, &part);
        index = index_add(l->nest, index, index_mul(l->nest, part, index_const(l->nest, size)));
    }
    struct whole_index whole_index = {index, extent};
    if (role == OVER_REDUCED)
        VEC_PUSH(l->nest->arena, &l->wholes, whole_index);
    return index;
}
