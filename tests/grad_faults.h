/* What the planted sources of gradients ask (grad_plant.py). */
#ifndef URZA_TESTS_GRAD_FAULTS_H
#define URZA_TESTS_GRAD_FAULTS_H

#include "graph/graph.h"

struct grad_call;

extern uint32_t grad_fault; /* the number of the wrong rule; 0: none */

/* What a rule gives to an operand, or something else. */
value_id grad_perturbed(const struct grad_call *call, uint32_t operand, value_id cotangent);

#endif
