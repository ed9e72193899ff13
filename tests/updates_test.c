/* urza_step gives the bits of urza_call, over inputs that it updates in place: whatever of an input
 * an output reads, in whatever order launches stand, at every number of threads and chunks, and in
 * the interpreter. Several steps follow each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "support/updated.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

enum { MAY_BE_STAGED, IN_PLACE, STAGED };
struct update_case {
    const char *name;
    int where; /* of output 0, where there is native code */
    int64_t sizes[4];
    const char *text;
};

#define DIM "dim N 0..5000 multiple 1 typical 64\n"
#define ONE "dim N 1..5000 multiple 1 typical 64\n"

static const struct update_case CASES[] = {
    {"elementwise",
     IN_PLACE,
     {0, 1, 7, 4099},
     DIM "%1 = input \"w\" : f32[N]\n%2 = input \"g\" : f32[N]\n%3 = input \"lr\" : f32[]\n"
         "%4 = broadcast %3 {axes []} : f32[N]\n%5 = mul %2, %4 : f32[N]\n"
         "%6 = sub %1, %5 : f32[N]\noutput \"w2\" %6\nupdate \"w\" by \"w2\"\n"},
    {"rows",
     IN_PLACE,
     {0, 1, 9, 1025},
     DIM "%1 = input \"w\" : bf16[N, 5]\n%2 = exp %1 : bf16[N, 5]\noutput \"w2\" %2\n"
         "update \"w\" by \"w2\"\n"},
    {"counter",
     IN_PLACE,
     {1, 1, 1, 1},
     "%1 = input \"t\" : i64[]\n%2 = const 1 : i64[]\n%3 = add %1, %2 : i64[]\n"
     "output \"t2\" %3\nupdate \"t\" by \"t2\"\n"},
    {"transpose",
     STAGED,
     {0, 1, 9, 131},
     DIM "%1 = input \"w\" : f32[N, N]\n%2 = transpose %1 {axes [1, 0]} : f32[N, N]\n"
         "output \"w2\" %2\nupdate \"w\" by \"w2\"\n"},
    {"reverse",
     STAGED,
     {0, 2, 9, 4099},
     DIM "%1 = input \"w\" : f32[N]\n%2 = reverse %1 {axes [0]} : f32[N]\noutput \"w2\" %2\n"
         "update \"w\" by \"w2\"\n"},
    {"running sum",
     MAY_BE_STAGED,
     {0, 2, 9, 4099},
     DIM "%1 = input \"w\" : f32[N]\n%2 = cum_sum %1 {axis 0, exclusive false, reverse false}"
         " : f32[N]\noutput \"w2\" %2\nupdate \"w\" by \"w2\"\n"},
    {"softmax",
     STAGED,
     {0, 1, 9, 300},
     DIM "%1 = input \"w\" : f32[N, 37]\n%2 = reduce_max %1 {axes [1]} : f32[N]\n"
         "%3 = broadcast %2 {axes [0]} : f32[N, 37]\n%4 = sub %1, %3 : f32[N, 37]\n"
         "%5 = exp %4 : f32[N, 37]\n%6 = reduce_sum %5 {axes [1]} : f32[N]\n"
         "%7 = broadcast %6 {axes [0]} : f32[N, 37]\n%8 = div %5, %7 : f32[N, 37]\n"
         "output \"w2\" %8\nupdate \"w\" by \"w2\"\n"},
    {"product of itself",
     STAGED,
     {1, 2, 9, 67},
     DIM "%1 = input \"w\" : f32[N, N]\n%2 = contract %1, %1 {batch 0, contract 1} : f32[N, N]\n"
         "output \"w2\" %2\nupdate \"w\" by \"w2\"\n"},
    {"product epilogue",
     IN_PLACE,
     {0, 1, 9, 67},
     DIM "%1 = input \"w\" : f32[24, 40]\n%2 = input \"g\" : f32[24, N]\n"
         "%3 = input \"x\" : f32[40, N]\n%4 = contract %2, %3 {batch 0, contract 1} : f32[24, 40]\n"
         "%5 = sub %1, %4 : f32[24, 40]\noutput \"w2\" %5\nupdate \"w\" by \"w2\"\n"},
    {"product epilogue, whose blocks overlap",
     MAY_BE_STAGED,
     {1, 5, 33, 131},
     DIM "%1 = input \"w\" : f32[N, N]\n%2 = input \"g\" : f32[N, 16]\n"
         "%3 = input \"x\" : f32[N, 16]\n%4 = contract %2, %3 {batch 0, contract 1} : f32[N, N]\n"
         "%5 = sub %1, %4 : f32[N, N]\noutput \"w2\" %5\nupdate \"w\" by \"w2\"\n"},
    {"swap",
     MAY_BE_STAGED,
     {0, 1, 9, 4099},
     DIM "%1 = input \"a\" : f32[N]\n%2 = input \"b\" : f32[N]\noutput \"a2\" %2\n"
         "output \"b2\" %1\nupdate \"a\" by \"a2\"\nupdate \"b\" by \"b2\"\n"},
    {"rotation",
     MAY_BE_STAGED,
     {0, 1, 9, 4099},
     DIM "%1 = input \"a\" : f32[N]\n%2 = input \"b\" : f32[N]\n%3 = input \"c\" : f32[N]\n"
         "%4 = add %1, %2 : f32[N]\n%5 = sub %2, %3 : f32[N]\n%6 = mul %3, %1 : f32[N]\n"
         "output \"c2\" %4\noutput \"a2\" %5\noutput \"b2\" %6\n"
         "update \"a\" by \"a2\"\nupdate \"b\" by \"b2\"\nupdate \"c\" by \"c2\"\n"},
    {"unchanged",
     MAY_BE_STAGED,
     {0, 1, 9, 4099},
     DIM "%1 = input \"w\" : f32[N]\n%2 = neg %1 : f32[N]\noutput \"w2\" %1\noutput \"y\" %2\n"
         "output \"z\" %1\nupdate \"w\" by \"w2\"\n"},
    {"one value updates two",
     MAY_BE_STAGED,
     {0, 1, 9, 4099},
     DIM "%1 = input \"a\" : f32[N]\n%2 = input \"b\" : f32[N]\n%3 = add %1, %2 : f32[N]\n"
         "output \"a2\" %3\noutput \"b2\" %3\noutput \"y\" %3\nupdate \"a\" by \"a2\"\n"
         "update \"b\" by \"b2\"\n"},
    {"read later",
     MAY_BE_STAGED,
     {1, 2, 9, 515},
     DIM "%1 = input \"w\" : f32[N]\n%2 = neg %1 : f32[N]\n%3 = reduce_sum %2 {axes [0]} : f32[]\n"
         "%4 = reduce_max %1 {axes [0]} : f32[]\noutput \"w2\" %2\noutput \"s\" %3\n"
         "output \"m\" %4\nupdate \"w\" by \"w2\"\n"},
    {"read through a reshape",
     MAY_BE_STAGED,
     {0, 1, 9, 515},
     DIM "%1 = input \"w\" : f32[N, 4]\n%2 = reshape %1 : f32[4, N]\n"
         "%3 = reduce_sum %2 {axes [0]} : f32[N]\n%4 = broadcast %3 {axes [0]} : f32[N, 4]\n"
         "%5 = sub %1, %4 : f32[N, 4]\noutput \"w2\" %5\nupdate \"w\" by \"w2\"\n"},
    {"a cache that moves on",
     STAGED,
     {1, 2, 9, 515},
     ONE "%1 = input \"w\" : f32[N, 3]\n%2 = input \"x\" : f32[1, 3]\n"
         "%3 = slice %1 {start [1, 0], step [1, 1]} : f32[N - 1, 3]\n"
         "%4 = concat %3, %2 {axis 0} : f32[N, 3]\noutput \"w2\" %4\nupdate \"w\" by \"w2\"\n"},
    {"a cache with a row set",
     IN_PLACE,
     {1, 2, 9, 515},
     DIM "%1 = input \"w\" : f32[N]\n%2 = input \"at\" : i64[3]\n%3 = input \"x\" : f32[3]\n"
         "%4 = scatter %1, %2, %3 {axis 0, mode set} : f32[N]\noutput \"w2\" %4\n"
         "update \"w\" by \"w2\"\n"},
    {"a cache with rows added",
     IN_PLACE,
     {1, 2, 9, 515},
     DIM "%1 = input \"w\" : f32[N]\n%2 = input \"at\" : i64[7]\n%3 = input \"x\" : f32[7]\n"
         "%4 = scatter %1, %2, %3 {axis 0, mode add} : f32[N]\noutput \"w2\" %4\n"
         "update \"w\" by \"w2\"\n"},
    {"gathered",
     STAGED,
     {1, 2, 9, 515},
     ONE "%1 = input \"w\" : f32[N]\n%2 = input \"at\" : i64[N]\n"
         "%3 = take %1, %2 {axis 0} : f32[N]\noutput \"w2\" %3\nupdate \"w\" by \"w2\"\n"},
    {"sorted",
     MAY_BE_STAGED,
     {1, 2, 9, 515},
     ONE "%1 = input \"w\" : i64[N]\n%2 = argsort %1 {axis 0, reverse false} : i64[N]\n"
         "output \"w2\" %2\nupdate \"w\" by \"w2\"\n"},
    {"the state of a loop",
     MAY_BE_STAGED,
     {1, 2, 9, 33},
     ONE "%1 = input \"h\" : f32[6]\n%2 = input \"x\" : f32[N, 6]\n"
         "%3 = state %1 {loop 1, index 0} : f32[6]\n%4 = iter {loop 1} : i64[]\n"
         "%5 = take %2, %4 {axis 0} : f32[6]\n%6 = add %3, %5 : f32[6]\n%7 = tanh %6 : f32[6]\n"
         "%8 = copy %7 : f32[6]\n"
         "%9 = loop %3, %8 {loop 1, index 0, states 1, dim [N]} : f32[6]\n"
         "output \"h2\" %9\nupdate \"h\" by \"h2\"\n"},
    {"rows of a loop",
     MAY_BE_STAGED,
     {1, 2, 9, 33},
     ONE "%1 = input \"h\" : f32[6]\n%2 = input \"x\" : f32[N, 6]\n"
         "%3 = state %1 {loop 1, index 0} : f32[6]\n%4 = iter {loop 1} : i64[]\n"
         "%5 = take %2, %4 {axis 0} : f32[6]\n%6 = add %3, %5 : f32[6]\n%7 = tanh %6 : f32[6]\n"
         "%8 = copy %7 : f32[6]\n"
         "%9 = loop %3, %8, %8 {loop 1, index 0, states 1, dim [N]} : f32[6]\n"
         "%10 = loop %3, %8, %8 {loop 1, index 1, states 1, dim [N]} : f32[N, 6]\n"
         "%11 = neg %9 : f32[6]\n"
         "output \"x2\" %10\noutput \"h2\" %11\nupdate \"h\" by \"h2\"\nupdate \"x\" by \"x2\"\n"},
    {"beside a loop that reads it",
     MAY_BE_STAGED,
     {1, 2, 9, 33},
     "%1 = input \"w\" : f32[6]\n%2 = const 0 : f32[]\n%3 = broadcast %2 {axes []} : f32[6]\n"
     "%4 = neg %1 : f32[6]\n"
     "%5 = copy %3 : f32[6]\n%6 = state %5 {loop 1, index 0} : f32[6]\n"
     "%7 = add %6, %1 : f32[6]\n%8 = exp %7 : f32[6]\n%9 = copy %8 : f32[6]\n"
     "%10 = loop %6, %9 {loop 1, index 0, states 1, dim [7]} : f32[6]\n"
     "output \"w2\" %4\noutput \"y\" %10\nupdate \"w\" by \"w2\"\n"},
};

static void compile(struct updated *u, const struct update_case *c)
{
    char text[2048];
    snprintf(text, sizeof text, "graph \"g\"\n%s", c->text);
    updated_compile(u, text, NULL);
}

static void compare(struct updated *u, const struct update_case *c, const char *what)
{
    uint32_t output = 0;
    size_t element = 0;
    if (sample_differs(&u->sample, u->called, u->stepped, &output, &element))
        TEST_FAILED("%s, %s: output '%s' differs at %zu", c->name, what,
                    u->graph.outputs.items[output].name, element);
}

/* Steps that follow each other, with the same memory of inputs; the results of calls are copied. */
static void follow(struct updated *u, const struct update_case *c, urza_module *module,
                   const char *what)
{
    struct error err = {0};
    uint32_t count = u->sample.input_count;
    void **before = ARENA_ARRAY(&u->arena, void *, count);
    for (uint32_t i = 0; i < count; i++) {
        before[i] = arena_alloc(&u->arena, u->sample.inputs[i].bytes + 1, 64);
        if (u->sample.inputs[i].bytes > 0)
            memcpy(before[i], u->sample.inputs[i].data, u->sample.inputs[i].bytes);
    }
    for (int step = 0; step < 3; step++) {
        if (!sample_call(&u->sample, module, before, u->called, &err) ||
            !sample_step(&u->sample, module, before, u->stepped, &err))
            TEST_FAILED("%s, %s: %s: %s", c->name, what, err.place, err.message);
        compare(u, c, what);
        for (uint32_t i = 0; i < u->sample.output_count; i++) {
            uint32_t input = graph_updates_input(&u->graph, i);
            assert_int_equal(urza_output_updates(module, i), input);
            if (input != UPDATE_NONE && u->sample.outputs[i].bytes > 0)
                memcpy(before[input], u->called[i], u->sample.outputs[i].bytes);
        }
    }
    assert_int_equal(urza_output_updates(module, u->sample.output_count), URZA_NO_INPUT);
}

static void steps_give_the_bits_of_calls(void **state)
{
    (void)state;
    static const struct {
        uint32_t threads, chunks;
        const char *target, *name;
    } ways[] = {{1, 0, NULL, "1 thread"},   {2, 0, NULL, "2 threads"},
                {1, 5, NULL, "5 chunks"},   {2, 3, NULL, "2 threads, 3 chunks"},
                {3, 64, NULL, "64 chunks"}, {1, 0, "interpreter", "interpreter"}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct update_case *c = &CASES[i];
        struct updated u;
        compile(&u, c);
        bool in_place = updated_in_place(&u, 0);
        if (target_best_here() && c->where != MAY_BE_STAGED && in_place != (c->where == IN_PLACE))
            TEST_FAILED("%s is %s", c->name, in_place ? "in place" : "staged");
        for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
            urza_module *module = updated_load(&u, &(urza_load_options){
                                                       .threads = ways[way].threads,
                                                       .chunks = ways[way].chunks,
                                                       .target = ways[way].target,
                                                   });
            for (int size = 0; size < 4; size++) {
                updated_size(&u, c->sizes[size], 100 * i + (size_t)size);
                follow(&u, c, module, ways[way].name);
            }
            urza_unload(module);
        }
        updated_release(&u);
    }
}

/* What calls give is right: so is what steps give. */
static void calls_give_what_the_reference_gives(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct update_case *c = &CASES[i];
        struct updated u;
        struct error err = {0};
        struct interp_difference worst;
        uint32_t output;
        compile(&u, c);
        urza_module *module = updated_load(&u, NULL);
        updated_size(&u, c->sizes[2], i);
        void *inputs[8];
        for (uint32_t k = 0; k < u.sample.input_count; k++)
            inputs[k] = u.sample.inputs[k].data;
        if (!sample_expect(&u.sample, &u.arena, &err) ||
            !sample_step(&u.sample, module, inputs, u.stepped, &err))
            TEST_FAILED("%s: %s: %s", c->name, err.place, err.message);
        sample_compare(&u.sample, u.stepped, &worst, &output);
        if (!(worst.worst_ratio <= 1))
            TEST_FAILED("%s: output %u is off by %g", c->name, output, worst.worst_absolute);
        urza_unload(module);
        updated_release(&u);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_give_the_bits_of_calls),
        cmocka_unit_test(calls_give_what_the_reference_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
