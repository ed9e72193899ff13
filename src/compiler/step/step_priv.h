/* Shared by the files of this room. */
#ifndef URZA_COMPILER_STEP_STEP_PRIV_H
#define URZA_COMPILER_STEP_STEP_PRIV_H

#include "compiler/ops/ops.h"
#include "compiler/step/step.h"
#include "package/step_spec.h"

/* NAME or NAME(WORD, KEY=VALUE, …): an operation, an operand at most, and attributes. */
struct step_text {
    const char *name, *operand; /* operand: NULL if there is none */
    struct op_value attrs[OP_MAX_ATTRS];
    uint32_t attr_count;
};
/* ERR_USAGE. */
bool step_text_parse(const char *text, struct arena *arena, struct step_text *out,
                     struct error *err);
/* Takes an attribute out; NULL: it is not there. Valid until the next one is taken. */
const struct op_value *step_text_take(struct step_text *text, const char *name);

/* The step's own options, taken out of the optimizer's text. */
#define STEP_OPTIONS "clip_norm, schedule, warmup, steps, floor, loss_scale"
enum schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE };
struct step_options {
    double clip_norm; /* 0: none */
    enum schedule schedule;
    double warmup, steps, floor;
    double loss_scale; /* 0: none */
    bool dynamic_scale;
};
bool step_options_take(struct step_text *text, struct step_options *out, struct error *err);

/* spec.c: what a step says of itself. params: by place, those that are trained; optimizer: without
 * the step's own options. */
struct step_parts {
    const struct graph *block, *joint; /* joint has the params */
    const struct op_row *row;
    const struct step_text *optimizer;
    const struct step_options *options;
    const struct step_request *request;
    const value_id *params;
    uint32_t count;
};
void step_describe(const struct step_parts *parts, struct arena *arena, struct step_spec *out);

#endif
