/* Lower peaks of plans: whatever is changed, each output is the same function of the inputs. That
 * is checked by running plans on symbols: what a launch writes is a hash of its kernel and of what
 * it reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "compiler/compile_priv.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

struct bed {
    struct arena arena;
    struct dim_table dims;
    struct plan plan;
};

static void bed_init(struct bed *bed)
{
    arena_init(&bed->arena);
    dim_table_init(&bed->dims, &bed->arena);
    bed->plan = (struct plan){.arena = &bed->arena, .dims = &bed->dims, .kernel_count = 1000};
}

static uint32_t add_buffer(struct bed *bed, enum buffer_kind kind, uint32_t index, int64_t elements)
{
    const struct plan_buffer buffer = {.kind = (uint8_t)kind,
                                       .dtype = DTYPE_F32,
                                       .index = index,
                                       .elements = dim_const(&bed->dims, elements)};
    VEC_PUSH(&bed->arena, &bed->plan.buffers, buffer);
    return bed->plan.buffers.count - 1;
}

/* args: those that are written first. */
static void add_launch(struct bed *bed, uint32_t kernel, int64_t asked, uint32_t writes,
                       const uint32_t *args, uint32_t count)
{
    uint32_t *own = ARENA_ARRAY(&bed->arena, uint32_t, count);
    memcpy(own, args, count * sizeof *own);
    dim_id one = dim_const(&bed->dims, 1), work = dim_const(&bed->dims, asked);
    const struct plan_launch launch = {.code = {.kernel = kernel,
                                                .extent = one,
                                                .work = work,
                                                .scratch_bytes = dim_const(&bed->dims, 0)},
                                       .arg_count = count,
                                       .args = own,
                                       .written = (1u << writes) - 1,
                                       .asked = work,
                                       .done = work};
    VEC_PUSH(&bed->arena, &bed->plan.forward, launch);
}

static void add_entries(struct bed *bed, uint32_t first)
{
    const struct plan_entry entries[] = {{"forward_train", 0, first},
                                         {"backward", first, bed->plan.forward.count - first}};
    VEC_PUSH(&bed->arena, &bed->plan.entries, entries[0]);
    VEC_PUSH(&bed->arena, &bed->plan.entries, entries[1]);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    return rng_key(a ^ rng_key(b + 1));
}

#define HELD 600

static void run_launch(const struct plan_launch *launch, uint64_t *held)
{
    uint64_t hash = mix(3, launch->code.kernel);
    for (uint32_t k = 0; k < launch->arg_count; k++) {
        if (launch_writes(launch, k))
            continue;
        assert_int_not_equal(held[launch->args[k]], 0);
        hash = mix(hash, held[launch->args[k]]);
    }
    for (uint32_t k = 0; k < launch->arg_count; k++)
        if (launch_writes(launch, k))
            held[launch->args[k]] = mix(hash, k);
}

static void run_loop(const struct plan *plan, const struct plan_loop *loop, uint64_t *held)
{
    int64_t trips = 0;
    assert_true(dim_is_const(plan->dims, loop->trips, &trips));
    for (uint32_t i = 0; i < loop->state_count; i++)
        held[loop->states[i].state] = held[loop->states[i].from];
    for (int64_t trip = 0; trip < trips; trip++) {
        for (uint32_t i = 0; i < loop->count; i++)
            run_launch(&plan->forward.items[loop->first + i], held);
        for (uint32_t i = 0; i < loop->row_count; i++)
            held[loop->rows[i].result] = mix(held[loop->rows[i].result], held[loop->rows[i].row]);
        for (uint32_t i = 0; i < loop->state_count; i++)
            held[loop->states[i].state] = held[loop->states[i].next];
    }
    for (uint32_t i = 0; i < loop->state_count; i++)
        held[loop->states[i].result] = held[loop->states[i].state];
}

/* What output `index` is, as a hash. Reads of what is not written are an error. */
static uint64_t output_of(const struct plan *plan, uint32_t index, uint32_t launches)
{
    uint64_t held[HELD] = {0}, out = 0;
    assert_true(plan->buffers.count <= HELD);
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_INPUT)
            held[i] = mix(17, plan->buffers.items[i].index);
    for (uint32_t i = 0; i < launches;) {
        uint32_t loop = plan_loop_of(plan, i);
        if (loop > 0)
            run_loop(plan, &plan->loops.items[loop - 1], held);
        else
            run_launch(&plan->forward.items[i], held);
        i += loop > 0 ? plan->loops.items[loop - 1].count : 1;
    }
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_OUTPUT && plan->buffers.items[i].index == index)
            out = held[i];
    return out;
}

/* Of a plan whose lifetimes are known (plan_finish). */
static int64_t peak_of(const struct plan *plan)
{
    int64_t most = 0;
    for (uint32_t launch = 0; launch < plan->forward.count; launch++) {
        int64_t alive = 0, elements = 0;
        for (uint32_t i = 0; i < plan->buffers.count; i++) {
            const struct plan_buffer *b = &plan->buffers.items[i];
            if (b->kind == BUFFER_TEMP && !b->displaced && b->first_launch <= launch &&
                launch <= b->last_launch && dim_is_const(plan->dims, b->elements, &elements))
                alive += (elements * 4 + 63) / 64 * 64;
        }
        most = alive > most ? alive : most;
    }
    return most;
}

/* x ─► a ─► b ─► y, where backward wants a and b again, and a is cheap. 1000 floats each. */
static void chain(struct bed *bed, int64_t asked)
{
    uint32_t x = add_buffer(bed, BUFFER_INPUT, 0, 1000), g = add_buffer(bed, BUFFER_INPUT, 1, 1000);
    uint32_t a = add_buffer(bed, BUFFER_TEMP, 0, 1000), b = add_buffer(bed, BUFFER_TEMP, 0, 1000);
    uint32_t y = add_buffer(bed, BUFFER_OUTPUT, 0, 1000);
    uint32_t t = add_buffer(bed, BUFFER_TEMP, 0, 1000), d = add_buffer(bed, BUFFER_OUTPUT, 1, 1000);
    add_launch(bed, 1, asked, 1, (uint32_t[]){a, x}, 2);
    add_launch(bed, 2, 1000000, 1, (uint32_t[]){b, a}, 2);
    add_launch(bed, 3, 1000000, 1, (uint32_t[]){y, b}, 2);
    add_launch(bed, 4, 1000000, 1, (uint32_t[]){t, b, g}, 3);
    add_launch(bed, 5, 1000000, 1, (uint32_t[]){d, t, a}, 3);
    add_entries(bed, 3);
}

static void cheap_ones_run_again(void **state)
{
    (void)state;
    static const struct {
        int64_t asked;
        uint32_t launches;
        int64_t peak;
    } rows[] = {{1000, 6, 2 * 4032}, {98000, 6, 2 * 4032}, {100000, 5, 3 * 4032}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bed bed;
        bed_init(&bed);
        chain(&bed, rows[i].asked);
        uint64_t y = output_of(&bed.plan, 0, 3), d = output_of(&bed.plan, 1, 5);
        plan_lower_peak(&bed.plan, NULL, 0, &bed.arena);
        plan_finish(&bed.plan);
        assert_int_equal(bed.plan.forward.count, rows[i].launches);
        assert_int_equal(bed.plan.entries.items[0].count, 3);
        assert_int_equal(bed.plan.entries.items[1].count, rows[i].launches - 3);
        assert_int_equal(peak_of(&bed.plan), rows[i].peak);
        assert_true(y == output_of(&bed.plan, 0, 3));
        assert_true(d == output_of(&bed.plan, 1, bed.plan.forward.count));
        arena_release(&bed.arena);
    }
}

/* Whatever it costs, where there is a budget, and no more than that takes. */
static void a_budget_makes_dear_ones_run_again(void **state)
{
    (void)state;
    static const struct {
        int64_t budget;
        uint32_t launches;
        int64_t peak;
    } rows[] = {{3 * 4032, 5, 3 * 4032},
                {3 * 4032 - 1, 6, 2 * 4032},
                {2 * 4032, 6, 2 * 4032},
                {1, 6, 2 * 4032}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bed bed;
        bed_init(&bed);
        chain(&bed, 100000000);
        uint64_t y = output_of(&bed.plan, 0, 3), d = output_of(&bed.plan, 1, 5);
        plan_lower_peak(&bed.plan, NULL, rows[i].budget, &bed.arena);
        assert_int_equal(plan_peak(&bed.plan, &bed.arena), rows[i].peak);
        plan_finish(&bed.plan);
        assert_int_equal(bed.plan.forward.count, rows[i].launches);
        assert_int_equal(peak_of(&bed.plan), rows[i].peak);
        assert_true(y == output_of(&bed.plan, 0, 3));
        assert_true(d == output_of(&bed.plan, 1, bed.plan.forward.count));
        arena_release(&bed.arena);
    }
}

/* x ─► t ─► a ─► b ─► y, where backward wants a, and t is gone by then: both run again, or t would
 * be saved in the place of a. */
static void what_they_read_runs_again(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    uint32_t x = add_buffer(&bed, BUFFER_INPUT, 0, 1000),
             g = add_buffer(&bed, BUFFER_INPUT, 1, 1000);
    uint32_t t = add_buffer(&bed, BUFFER_TEMP, 0, 1000), a = add_buffer(&bed, BUFFER_TEMP, 0, 1000);
    uint32_t b = add_buffer(&bed, BUFFER_TEMP, 0, 2000),
             y = add_buffer(&bed, BUFFER_OUTPUT, 0, 1000);
    uint32_t u = add_buffer(&bed, BUFFER_TEMP, 0, 200),
             d = add_buffer(&bed, BUFFER_OUTPUT, 1, 1000);
    add_launch(&bed, 1, 1000, 1, (uint32_t[]){t, x}, 2);
    add_launch(&bed, 2, 1000, 1, (uint32_t[]){a, t}, 2);
    add_launch(&bed, 3, 1000000, 1, (uint32_t[]){b, a}, 2);
    add_launch(&bed, 4, 1000000, 1, (uint32_t[]){y, b}, 2);
    add_launch(&bed, 5, 1000000, 1, (uint32_t[]){u, b, g}, 3);
    add_launch(&bed, 6, 1000000, 1, (uint32_t[]){d, u, a}, 3);
    add_entries(&bed, 4);
    uint64_t before = output_of(&bed.plan, 1, 6);
    plan_lower_peak(&bed.plan, NULL, 0, &bed.arena);
    plan_finish(&bed.plan);
    static const uint32_t order[] = {1, 2, 3, 4, 5, 1, 2, 6};
    assert_int_equal(bed.plan.forward.count, 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(bed.plan.forward.items[i].code.kernel, order[i]);
    assert_true(before == output_of(&bed.plan, 1, 8));
    assert_int_equal(peak_of(&bed.plan), 4032 + 8000);
    arena_release(&bed.arena);
}

/* a and b are there; c is made of a, and the sum of b is taken, which ends b. */
static void what_ends_more_comes_first(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    uint32_t x = add_buffer(&bed, BUFFER_INPUT, 0, 1600);
    uint32_t a = add_buffer(&bed, BUFFER_TEMP, 0, 1600), b = add_buffer(&bed, BUFFER_TEMP, 0, 1600);
    uint32_t c = add_buffer(&bed, BUFFER_TEMP, 0, 1600), s = add_buffer(&bed, BUFFER_TEMP, 0, 16);
    uint32_t y = add_buffer(&bed, BUFFER_OUTPUT, 0, 1600);
    add_launch(&bed, 1, 1600, 1, (uint32_t[]){a, x}, 2);
    add_launch(&bed, 2, 1600, 1, (uint32_t[]){b, x, a, a}, 4);
    add_launch(&bed, 3, 1600, 1, (uint32_t[]){c, a}, 2);
    add_launch(&bed, 4, 1600, 1, (uint32_t[]){s, b, a}, 3);
    add_launch(&bed, 5, 1600, 1, (uint32_t[]){y, c, s}, 3);
    uint64_t before = output_of(&bed.plan, 0, 5);
    plan_lower_peak(&bed.plan, NULL, 0, &bed.arena);
    plan_finish(&bed.plan);
    static const uint32_t order[] = {1, 2, 4, 3, 5};
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(bed.plan.forward.items[i].code.kernel, order[i]);
    assert_true(before == output_of(&bed.plan, 0, 5));
    assert_int_equal(peak_of(&bed.plan), 2 * 6400 + 64);
    arena_release(&bed.arena);
}

/* a and b are there; a loop makes c of a, another one takes the sum of b, which ends b: the second
 * one comes first, as a whole. */
static void loops_move(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    uint32_t x = add_buffer(&bed, BUFFER_INPUT, 0, 1600);
    uint32_t a = add_buffer(&bed, BUFFER_TEMP, 0, 1600), b = add_buffer(&bed, BUFFER_TEMP, 0, 1600);
    uint32_t c = add_buffer(&bed, BUFFER_TEMP, 0, 1600), s = add_buffer(&bed, BUFFER_TEMP, 0, 16);
    uint32_t y = add_buffer(&bed, BUFFER_OUTPUT, 0, 1600);
    uint32_t row = add_buffer(&bed, BUFFER_TEMP, 0, 800),
             part = add_buffer(&bed, BUFFER_TEMP, 0, 8);
    dim_id two = dim_const(&bed.dims, 2);
    add_launch(&bed, 1, 1600, 1, (uint32_t[]){a, x}, 2);
    add_launch(&bed, 2, 1600, 1, (uint32_t[]){b, x, a, a}, 4);
    add_launch(&bed, 3, 1600, 1, (uint32_t[]){row, a}, 2);
    add_launch(&bed, 4, 1600, 1, (uint32_t[]){part, b, a}, 3);
    add_launch(&bed, 5, 1600, 1, (uint32_t[]){y, c, s}, 3);
    const struct plan_row rows[] = {{row, c}, {part, s}};
    for (uint32_t i = 0; i < 2; i++)
        VEC_PUSH(&bed.arena, &bed.plan.loops,
                 ((struct plan_loop){.first = 2 + i,
                                     .count = 1,
                                     .trips = two,
                                     .iter = PLAN_NONE,
                                     .rows = &rows[i],
                                     .row_count = 1}));
    uint64_t before = output_of(&bed.plan, 0, 5);
    plan_lower_peak(&bed.plan, NULL, 0, &bed.arena);
    plan_finish(&bed.plan);
    static const uint32_t order[] = {1, 2, 4, 3, 5};
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(bed.plan.forward.items[i].code.kernel, order[i]);
    assert_int_equal(bed.plan.loops.items[0].rows->result, s);
    assert_int_equal(bed.plan.loops.items[1].rows->result, c);
    assert_true(before == output_of(&bed.plan, 0, 5));
    assert_int_equal(peak_of(&bed.plan), 2 * 6400 + 64);
    assert_int_equal(plan_peak(&bed.plan, &bed.arena), 2 * 6400 + 64);
    arena_release(&bed.arena);
}

/* So many layers, x ─► h ─► a, that buffers are not tried one by one. */
static void deep_plans_run_again(void **state)
{
    (void)state;
    enum { LAYERS = 1500 };
    struct bed bed;
    bed_init(&bed);
    uint32_t h[LAYERS], a[LAYERS];
    uint32_t x = add_buffer(&bed, BUFFER_INPUT, 0, 1000),
             g = add_buffer(&bed, BUFFER_INPUT, 1, 1000);
    for (uint32_t i = 0; i < LAYERS; i++) {
        h[i] = add_buffer(&bed, BUFFER_TEMP, 0, 1000);
        a[i] = i + 1 < LAYERS ? add_buffer(&bed, BUFFER_TEMP, 0, 1000)
                              : add_buffer(&bed, BUFFER_OUTPUT, 0, 1000);
        add_launch(&bed, 1, 100000, 1, (uint32_t[]){h[i], i > 0 ? a[i - 1] : x}, 2);
        add_launch(&bed, 2, 2000, 1, (uint32_t[]){a[i], h[i]}, 2);
    }
    for (uint32_t i = LAYERS; i-- > 0;) {
        uint32_t d = i > 0 ? add_buffer(&bed, BUFFER_TEMP, 0, 1000)
                           : add_buffer(&bed, BUFFER_OUTPUT, 1, 1000);
        add_launch(&bed, 3, 100000, 1, (uint32_t[]){d, g, h[i], i > 0 ? a[i - 1] : x}, 4);
        g = d;
    }
    add_entries(&bed, 2 * LAYERS);
    plan_finish(&bed.plan);
    int64_t before = peak_of(&bed.plan);
    plan_lower_peak(&bed.plan, NULL, 0, &bed.arena);
    plan_finish(&bed.plan);
    assert_true(before >= (int64_t)2 * LAYERS * 4032 - 4032);
    if (peak_of(&bed.plan) * 100 > before * 53)
        TEST_FAILED("%lld of %lld bytes", (long long)peak_of(&bed.plan), (long long)before);
    arena_release(&bed.arena);
}

/* A loop of two trips and two launches, with a state and a row:
 *      inner ◄ state, x     next, row ◄ inner, y
 * Adds its results to what is made. */
static void draw_loop(struct bed *bed, uint64_t key, uint64_t *n, uint32_t *made, uint32_t *count)
{
    uint32_t x = made[rng_u32(key, (*n)++) % *count], y = made[*count - 1];
    uint32_t from = made[rng_u32(key, (*n)++) % 3]; /* an input: as large as the state */
    uint32_t outer = UINT32_MAX, half = UINT32_MAX;
    if (rng_u32(key, (*n)++) % 2 == 0) {
        outer = add_buffer(bed, BUFFER_TEMP, 0, 100);
        half = add_buffer(bed, BUFFER_TEMP, 0, 50);
        add_launch(bed, bed->plan.forward.count, 20000, 2, (uint32_t[]){outer, half, x}, 3);
    }
    uint32_t first = bed->plan.forward.count;
    uint32_t state = add_buffer(bed, BUFFER_TEMP, 0, 100);
    uint32_t inner = add_buffer(bed, BUFFER_TEMP, 0, rng_u32(key, (*n)++) % 1000);
    uint32_t next = add_buffer(bed, BUFFER_TEMP, 0, 100), row = add_buffer(bed, BUFFER_TEMP, 0, 50);
    uint32_t last = add_buffer(bed, BUFFER_TEMP, 0, 100),
             all = add_buffer(bed, BUFFER_TEMP, 0, 100);
    add_launch(bed, first, 20000, 1, (uint32_t[]){inner, state, x}, 3);
    add_launch(bed, first + 1, 20000, 2, (uint32_t[]){next, row, inner, y}, 4);
    struct plan_state *states = ARENA_NEW(&bed->arena, struct plan_state);
    struct plan_row *rows = ARENA_NEW(&bed->arena, struct plan_row);
    *states = (struct plan_state){from, state, next, last};
    *rows = (struct plan_row){row, all};
    if (outer != UINT32_MAX) { /* the same after each trip, from outside */
        states->next = outer;
        rows->row = half;
    }
    const struct plan_loop loop = {.first = first,
                                   .count = 2,
                                   .trips = dim_const(&bed->dims, 2),
                                   .iter = PLAN_NONE,
                                   .states = states,
                                   .rows = rows,
                                   .state_count = 1,
                                   .row_count = 1};
    VEC_PUSH(&bed->arena, &bed->plan.loops, loop);
    made[(*count)++] = last;
    made[(*count)++] = all;
}

/* A plan of up to 40 launches in each part, each of which reads what was made shortly before, or
 * anything of the first part; of every third plan, some are loops. Each part has an output at its
 * end. */
static void draw(struct bed *bed, uint64_t key, uint64_t *n)
{
    uint32_t made[300], count = 0, parts[2];
    bool loops = rng_u32(key, (*n)++) % 3 == 0;
    for (uint32_t i = 0; i < 3; i++)
        made[count++] = add_buffer(bed, BUFFER_INPUT, i, 100);
    for (uint32_t part = 0; part < 2; part++) {
        parts[part] = 2 + rng_u32(key, (*n)++) % 39;
        uint32_t before = bed->plan.forward.count;
        for (uint32_t i = 0; i < parts[part]; i++) {
            if (loops && rng_u32(key, (*n)++) % 6 == 0)
                draw_loop(bed, key, n, made, &count);
            uint32_t args[6], writes = 1 + (rng_u32(key, (*n)++) % 8 == 0), reads = 0, used = 0;
            bool last = i + 1 == parts[part];
            for (uint32_t k = 0; k < writes; k++)
                args[used++] = last && k == 0
                                   ? add_buffer(bed, BUFFER_OUTPUT, part, 50)
                                   : add_buffer(bed, BUFFER_TEMP, 0, rng_u32(key, (*n)++) % 1000);
            reads = 1 + rng_u32(key, (*n)++) % 4;
            for (uint32_t k = 0; k < reads; k++) {
                uint32_t far = rng_u32(key, (*n)++) % 3;
                uint32_t span = far > 0 && count > 4 ? 4 : count;
                args[used++] = made[count - 1 - rng_u32(key, (*n)++) % span];
            }
            int64_t asked = rng_u32(key, (*n)++) % 2 ? 15000 : 20000;
            add_launch(bed, bed->plan.forward.count, asked, writes, args, used);
            for (uint32_t k = 0; k < writes; k++)
                made[count++] = args[k];
        }
        parts[part] = bed->plan.forward.count - before;
    }
    add_entries(bed, parts[0]);
}

static void drawn_plans_do_the_same(void **state)
{
    (void)state;
    uint64_t key = rng_key(5), n = 0;
    uint32_t lower = 0, longer = 0, reached = 0;
    for (uint32_t round = 0; round < 600; round++) {
        struct bed bed;
        bed_init(&bed);
        draw(&bed, key, &n);
        struct plan *plan = &bed.plan;
        plan_finish(plan);
        uint32_t first = plan->entries.items[0].count, count = plan->forward.count;
        uint32_t runs[200] = {0};
        int64_t before = peak_of(plan), all = 0, more = 0, asked = 0;
        uint64_t y = output_of(plan, 0, first), d = output_of(plan, 1, count);
        for (uint32_t i = 0; i < count; i++)
            all += dim_is_const(plan->dims, plan->forward.items[i].asked, &asked)
                       ? asked * (plan_loop_of(plan, i) > 0 ? 2 : 1)
                       : 0;
        int64_t budget = round % 3 == 0 ? before * 3 / 4 : 0;
        plan_lower_peak(plan, NULL, budget, &bed.arena);
        plan_finish(plan);
        assert_int_equal(plan->entries.items[0].count, first);
        for (uint32_t i = 0; i < plan->forward.count; i++) {
            const struct plan_launch *launch = &plan->forward.items[i];
            assert_true(i >= first || launch->code.kernel < first);
            if (runs[launch->code.kernel]++ > 0) { /* it runs again, in backward */
                assert_true(i >= first && launch->code.kernel < first &&
                            runs[launch->code.kernel] == 2);
                more += dim_is_const(plan->dims, launch->asked, &asked) ? asked : 0;
            }
        }
        for (uint32_t i = 0; i < count; i++)
            assert_true(runs[i] > 0);
        assert_true(y == output_of(plan, 0, first));
        assert_true(d == output_of(plan, 1, plan->forward.count));
        assert_true(budget > 0 || more * 32 <= all);
        reached += budget > 0 && peak_of(plan) <= budget;
        assert_true(peak_of(plan) <= before);
        lower += peak_of(plan) < before;
        longer += plan->forward.count > count;
        arena_release(&bed.arena);
    }
    print_message("%u peaks are lower, %u plans run something again, %u of 200 reach a budget\n",
                  lower, longer, reached);
    assert_true(lower > 200 && longer > 100 && reached > 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_makes_dear_ones_run_again),
        cmocka_unit_test(cheap_ones_run_again),
        cmocka_unit_test(what_they_read_runs_again),
        cmocka_unit_test(what_ends_more_comes_first),
        cmocka_unit_test(loops_move),
        cmocka_unit_test(deep_plans_run_again),
        cmocka_unit_test(drawn_plans_do_the_same),
    };
    return cmocka_run_group_tests_name("plan-memory", tests, NULL, NULL);
}
