/* Grafts that are compiled here, and one place in a host's step: tensors of a slot's calls. Helpers
 * end the test where what they do must work. */
#ifndef URZA_TESTS_SUPPORT_GRAFTED_H
#define URZA_TESTS_SUPPORT_GRAFTED_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "urza/layer.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static inline void must(int code, const urza_error *err)
{
    if (code != 0)
        TEST_FAILED("%s: %s: %s", urza_error_name(code), err->place, err->message);
}

static inline void must_give(int code, const char *name, const urza_error *err, const char *words)
{
    if (strcmp(urza_error_name(code), name) != 0 || !strstr(err->message, words))
        TEST_FAILED("expected %s '%s', got %s: %s: %s", name, words, urza_error_name(code),
                    code ? err->place : "", code ? err->message : "");
}

/* s = tanh(x w1ᵀ + b1) w2ᵀ + b2, with GRAFT_FEATURES features and GRAFT_HIDDEN between. */
enum { GRAFT_FEATURES = 6, GRAFT_HIDDEN = 5 };
enum { GRAFT_W1, GRAFT_B1, GRAFT_W2, GRAFT_B2, GRAFT_GATE_W, GRAFT_GATE_B };
enum graft_form {
    GRAFT_PLAIN,
    GRAFT_DROPOUT,   /* of a half, behind tanh */
    GRAFT_REORDERED, /* with params declared from the last to the first */
    GRAFT_DETACHED,  /* no gradient goes through tanh */
    GRAFT_NAN,       /* NaN where x is negative */
};
struct arena;
struct compile_result;
struct signing_key;
struct grafted {
    const char *dtype, *blend; /* "f32", "residual"; blend NULL: no graft */
    enum graft_form form;
    const char *targets;           /* NULL: the best one here */
    const struct signing_key *key; /* NULL: unsigned */
};
/* The package's bytes are the arena's. */
void grafted_package(const struct grafted *what, struct arena *arena, struct compile_result *out);
/* dtype and blend as above. */
urza_module *grafted_module(const char *dtype, const char *blend, enum graft_form form,
                            const urza_load_options *options);

#define PLACE_ROWS_MOST 64
#define PLACE_PARAMS_MOST 8
/* Tensors of f32 or f64. */
struct place {
    urza_module *module;
    const char *dtype;
    int64_t rows;
    uint32_t params;
    int64_t shape[2], alpha_shape[1], param_shapes[PLACE_PARAMS_MOST][2];
    DLTensor h, y, dy, dh, factors;
    DLTensor param[PLACE_PARAMS_MOST], dparam[PLACE_PARAMS_MOST];
    double memory[5][PLACE_ROWS_MOST * GRAFT_FEATURES];
    double param_memory[2][PLACE_PARAMS_MOST][64];
};
/* h, dy and parameters are random numbers of `seed`; y, dh and gradients NaN. */
void place_init(struct place *place, urza_module *module, const char *dtype, int64_t rows,
                uint64_t seed);
/* y and dh are their own memory again, filled with NaN, as are gradients. */
void place_clear(struct place *place);
double place_get(const DLTensor *tensor, int64_t at);
void place_set(const DLTensor *tensor, int64_t at, double value);
int64_t place_count(const DLTensor *tensor);

urza_slot_call place_call(struct place *place, uint64_t step, const DLTensor *factors);
/* A slot that trains for 2 ticks and blends for 4, if the options do not say, and is called "one".
 */
urza_slot *place_slot(urza_slot_options options);
void place_plant(urza_slot *slot, urza_module *module);
void place_command(urza_slot *slot, urza_command_kind kind, uint32_t ticks, double target);
/* Takes all events; how many of them are of a kind, and have these words. */
uint32_t place_events(urza_slot *slot, urza_slot_event_kind kind, const char *words);

/* Forward and backward; factors NULL: none. */
void place_step(struct place *place, urza_slot *slot, uint64_t step, const DLTensor *factors);
/* Ticks until it is in this state, with a step before each; fails after `most` ticks. */
void place_reach(struct place *place, urza_slot *slot, urza_slot_state state, int most);
int place_is_host(const struct place *place); /* whether y is h itself */

#endif
