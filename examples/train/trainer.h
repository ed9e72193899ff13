/* A block and its training step, as two packages, and the memory that a step works on.
 *
 * A step package says all there is to say: the block's inputs, the params, "step", "lr" and the
 * optimizer's states are its inputs, and those that a step updates have an output that says so. So
 * these functions know neither the block nor the optimizer. Failures end the program. */
#ifndef EXAMPLES_TRAIN_TRAINER_H
#define EXAMPLES_TRAIN_TRAINER_H

#include <stdbool.h>
#include <stddef.h>

#include "urza/run.h"

#include "options.h"

struct trainer {
    urza_module *net, *step;
    uint32_t net_inputs, count; /* the first inputs of the step are those of the block */
    DLTensor *inputs;           /* of the step, dense */
    bool *updated;              /* for each of them: what a checkpoint keeps */
    float results[2];           /* the loss, and the norm of gradients where the step has it */
    uint32_t result_count;
    double seconds, fastest; /* of steps but the first one, which lays out memory */
    uint64_t data;           /* a number that tells this run's data from others, for checkpoints */
};

/* Params begin with what NET holds, all else with zeros. */
void trainer_open(struct trainer *out, const struct options *options);
void trainer_close(struct trainer *t);

/* The memory of an input of the step, of that dtype; its shape is in *out_shape, if that is not
 * NULL. */
void *trainer_input(const struct trainer *t, const char *name, DLDataTypeCode code, uint8_t bits,
                    const int64_t **out_shape);
size_t tensor_bytes(const DLTensor *tensor);

/* Trains until so many steps are made: fill writes the batch of a step into the inputs. Prints
 * lines and a progress bar, writes checkpoints and the curve. */
void trainer_run(struct trainer *t, const struct options *options,
                 void (*fill)(void *user, uint64_t step), void *user);

/* Gives the params to NET; then runs it on the first inputs. Outputs are in the runtime's memory,
 * until the result is released; shapes[i] has room for 8 dims. */
void trainer_hand_over(struct trainer *t);
urza_result *trainer_evaluate(struct trainer *t, const DLTensor *inputs, DLTensor *outputs,
                              int64_t (*shapes)[8], uint32_t output_count);

#endif
