/* Inside the reader of PyTorch's exported programs: where gradients stop, after detach() and in
 * blocks of torch.no_grad(). */
#ifndef URZA_COMPILER_IMPORT_PT2_ATEN_DETACH_PRIV_H
#define URZA_COMPILER_IMPORT_PT2_ATEN_DETACH_PRIV_H

#include "compiler/import/pt2/pt2_priv.h"

/* x, as a constant to gradients. */
value_id aten_detached(struct builder *b, value_id x);
/* x; detached if it is a constant, so that min and max share their gradient with it. */
value_id aten_detach_constant(struct builder *b, value_id x);
/* The call detach. */
bool aten_detach(struct aten_call *c);
/* In a block of torch.no_grad() all results are constants to gradients, except the operand itself,
 * which some calls return. operand: the entry of the first operand; NULL: it is no tensor. */
void aten_detach_results(struct aten_call *c, const uint32_t *operand);
/* Called before a write of the call's result to an entry. A write that gradients do not see, within
 * torch.no_grad() or to a detached tensor, writes constants. A tensor that has a gradient would
 * keep it beside other numbers, which no prim does: that is refused if gradients are wanted. */
bool aten_write_unseen(struct aten_call *c, uint32_t operand);

#endif
