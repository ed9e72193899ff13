/* What gradients do not pass: see aten_detach_priv.h. */
#include "compiler/import/pt2/aten_detach_priv.h"

#include <string.h>

value_id aten_detached(struct builder *b, value_id x)
{
    if (x == VALUE_NONE || !dtype_is_float((enum dtype)b_node(b, x)->dtype) ||
        b_node(b, x)->prim == PRIM_DETACH)
        return x;
    return b_unary(b, PRIM_DETACH, x);
}

value_id aten_detach_constant(struct builder *b, value_id x)
{
    return x != VALUE_NONE && b_node(b, x)->constant ? aten_detached(b, x) : x;
}

/* run_decompositions() writes detach so. */
bool aten_alias(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    return aten_return(c, c->p->decomposed ? aten_detached(c->b, x) : x);
}

bool aten_detach(struct aten_call *c)
{
    return aten_return(c, aten_detached(c->b, aten_in(c, "self")));
}

void aten_detach_results(struct aten_call *c, const uint32_t *operand)
{
    value_id same = operand ? c->p->entries.items[*operand].value : VALUE_NONE;
    bool returns = c->op->storage == ATEN_SAME ||
                   (c->op->storage == ATEN_EITHER && strncmp(c->op->name, "reshape", 7) != 0);
    c->detached = c->p->no_grad;
    for (uint32_t i = 0; i < c->out_count && c->detached; i++) {
        if (returns && c->out[i] == same && !c->copied)
            c->detached = false;
        else
            c->out[i] = aten_detached(c->b, c->out[i]);
    }
}

/* Whether a value hangs on a float that may be differentiated: an input, or a param that is
 * trained. */
static bool has_gradient(const struct pt2 *p, value_id value)
{
    bool *has = ARENA_ARRAY(p->arena, bool, value + 1);
    for (uint32_t i = 0; i < p->graph->params.count; i++)
        if (p->graph->params.items[i] <= value && !p->frozen.items[i])
            has[p->graph->params.items[i]] = true;
    for (value_id v = 1; v <= value; v++) {
        const struct node *n = graph_node(p->graph, v);
        has[v] = (has[v] || n->prim == PRIM_INPUT) && dtype_is_float(n->dtype);
        bool passes = dtype_is_float(n->dtype) && n->prim != PRIM_DETACH;
        for (uint32_t i = 0; i < n->operand_count && passes; i++)
            has[v] |= has[n->operands[i]];
    }
    return has[value];
}

bool aten_write_unseen(struct aten_call *c, uint32_t operand)
{
    struct pt2 *p = c->p;
    bool unseen = p->no_grad;
    uint32_t at = operand;
    for (; p->entries.items[at].depth > 0; at = p->entries.items[at].base)
        unseen |= p->entries.items[at].detached ||
                  (p->entries.items[at].op && p->entries.items[at].op->translate == aten_detach);
    if (!unseen)
        return true;
    c->out[0] = aten_detached(c->b, c->out[0]);
    if (p->options->backward && has_gradient(p, p->entries.items[at].value))
        return aten_refuse(c, "a tensor with a gradient is written to where gradients are off");
    return true;
}
