/* A whole training step as one block: forward, loss, gradients, optimizer.
 *
 * The graph of a step has these inputs, in this order but for states, all read where they lie:
 *   the block's inputs (with "seed" and "step" where it draws numbers in training mode); then its
 *   params, trained or not;
 *   "target", where the loss is an operation;
 *   "step", i64: the number of steps that were made;
 *   "lr", f32, or f64 where some trained param is: the learning rate, which a schedule multiplies;
 *   the optimizer's states: "m.W" for state m of param W, "low.W" of a param in f16 or bf16;
 *   "scale" (f32) and "good" (i64), with a dynamic loss scale.
 * Its outputs are the loss, "grad_norm" where gradients are clipped, those of the block that update
 * inputs, under their names, and "new.NAME" for each trained param and each state, which update the
 * inputs of these names (graph_update). All states begin as zeros.
 *
 * The params' master copies in f32 are the sum of a param in f16 or bf16 and "low.W", which is
 * exact: what rounding took away. So no weight is kept twice.
 *
 * A dynamic loss scale is 2^(16 + scale): it is halved where a gradient is not finite, which leaves
 * everything else as it is (but "scale" and "good"), and doubled after 2,000 good steps. */
#ifndef URZA_COMPILER_STEP_STEP_H
#define URZA_COMPILER_STEP_STEP_H

#include "graph/graph.h"

struct step_spec;

struct step_request {
    /* An operation whose operands begin with w, g, lr (compiler/ops), with its attributes and these
     * of the step: "adamw(weight_decay=0.1, clip_norm=1, schedule=cosine, warmup=100, steps=5000)".
     *   clip_norm=C       gradients are scaled so that the norm of all together is at most C
     *   schedule=KIND     constant, linear or cosine: lr rises linearly over the first `warmup`
     *                     steps; behind them it falls, from all of it, to `floor` of it behind
     *                     `steps` steps in all
     *   loss_scale=S      gradients are computed of S times the loss; "dynamic": see above */
    const char *optimizer;
    /* An output of the block, a float without dims; or an operation on an output and "target":
     * "cross_entropy(logits, label_smoothing=0.1)", of the only output: "mse_loss". NULL: "loss" */
    const char *loss;
    const char *const *wrt; /* names of the inputs and params that are trained */
    uint32_t wrt_count;
    /* Of a block in training mode: params with running statistics, and the outputs that are their
     * next values, behind all others. An input "step" of the block is the step's own. */
    const struct step_running {
        const char *param, *output;
    } *running;
    uint32_t running_count;
    bool training, reads_step;
};
/* *to is initialised in the arena; out_spec, which may be NULL, gets what the step is of.
 * ERR_USAGE: a text that is none of these; ERR_BLUEPRINT: a name is unknown or taken, an operation
 * refuses its attributes, or as grad_add. The place begins with "--step" or "--loss" where one of
 * the two is wrong. */
bool step_graph(struct graph *to, struct arena *arena, const struct graph *from,
                const struct step_request *request, struct step_spec *out_spec, struct error *err);

#endif
