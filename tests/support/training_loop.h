/* A training loop around one slot whose steps go wrong in ways that are drawn: numbers, tensors and
 * whatever the test lets fail between loop_begin and loop_end. What each step gave is compared with
 * the definition in float64: h itself or the blend, dy itself or the gradient. Ends the test where
 * it is neither. */
#ifndef URZA_TESTS_SUPPORT_TRAINING_LOOP_H
#define URZA_TESTS_SUPPORT_TRAINING_LOOP_H

#include "grafted.h"

struct loop {
    urza_slot *slot;
    struct place place;
    uint64_t key, counter;  /* of drawn numbers */
    uint64_t helped, hosts; /* steps that gave the blend, and h */
    /* Of the step that has begun. */
    double alpha, was_h, was_dy, was_p;
    double p[4][64];
};

enum loop_fault {
    LOOP_GOOD,
    LOOP_NO_MEMORY, /* the test lets an allocation fail */
    LOOP_NAN_PARAM, /* NaN or infinity */
    LOOP_BAD_PARAM, /* of another dtype */
    LOOP_NAN_HOST,
    LOOP_NAN_GRADIENT,
    LOOP_FAULTS
};

/* Of grafted_module("f32", "residual", GRAFT_PLAIN, …), whose parameters are the place's. */
void loop_init(struct loop *loop, urza_module *module, urza_slot *slot, uint64_t seed);
uint32_t loop_draw(struct loop *loop, uint32_t below);
/* Between the two comes place_step. */
void loop_begin(struct loop *loop, enum loop_fault fault);
void loop_end(struct loop *loop, enum loop_fault fault);

#endif
