/* Inside the reader of PyTorch's exported programs: what programs do in training mode. They draw
 * random numbers, and they change buffers. */
#ifndef URZA_COMPILER_IMPORT_PT2_PT2_TRAINING_PRIV_H
#define URZA_COMPILER_IMPORT_PT2_PT2_TRAINING_PRIV_H

#include "compiler/import/pt2/pt2_priv.h"

#define PT2_SEED "seed" /* the input that random numbers are drawn from */

struct pt2_training {
    struct strmap written; /* labels of the weights that the program writes to */
    value_id seed;         /* the input PT2_SEED; VALUE_NONE until a call needs it */
    uint32_t draws;        /* calls that drew random numbers */
};

/* Finds which weights the program writes to, before its calls are translated: small ones would
 * become constants. ERR_LIMIT. */
bool pt2_find_writes(struct pt2 *p, struct error *err);
/* Adds the outputs "new.NAME": the values that inputs and weights have after the program, if it
 * changes them. Those of weights come last, and are listed in *out. Refuses what cannot be told. */
bool pt2_changes(struct pt2 *p, struct blueprint *out, struct error *err);
/* The name in the module of the weight that an input_spec describes; NULL: it is not a weight. */
const char *pt2_weight_name(const json_t *spec);
/* Whether an input of the graph has this name. */
bool pt2_is_input(const struct pt2 *p, const char *name);

/* What the result of a call is that copies or not, depending on strides: ATEN_OWN, ATEN_VIEW, or
 * ATEN_EITHER where the archive does not tell. */
enum aten_storage pt2_either(const struct pt2 *p, const char *operand, const char *result);
/* Whether a call's result may be its first operand, or a view of it; out_in_place: the call writes
 * to it. */
bool aten_aliases(const char *target, bool *out_in_place);
/* Writes a value to the tensor that is an argument; gradients do not see it. */
bool aten_write_argument(struct aten_call *c, const char *name, value_id value);
/* A seed of its own for a call that draws random numbers, i64, 0-d. */
value_id aten_seed(struct aten_call *c);
/* x, of which elements are 0 with the probability `rate`, the others divided by 1 - rate. */
value_id aten_drop(struct aten_call *c, value_id x, double rate);

#endif
