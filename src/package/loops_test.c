/* What a loop's buffers need of memory: which of them turn, and how long they live. */
#include "package/test_util.h"

#define COUNT 12

enum { X, Y, FROM, INNER, STATE, NEXT, ROW, LAST, ROWS, FREE, FLAG, FLAGS };

struct bed {
    struct arena arena;
    struct dim_table dims;
    struct plan plan;
    struct plan_state states[2];
    struct plan_row rows[2];
};

static void add_launch(struct bed *bed, uint32_t writes, const uint32_t *args, uint32_t count)
{
    dim_id one = dim_const(&bed->dims, 1);
    const struct plan_launch launch = {
        .arg_count = count,
        .args = arena_memdup(&bed->arena, args, count * sizeof *args),
        .written = (1u << writes) - 1,
        .code = {.extent = one, .work = one, .scratch_bytes = dim_const(&bed->dims, 0)},
    };
    VEC_PUSH(&bed->arena, &bed->plan.forward, launch);
}

/* from; then in a loop of two trips, launches 1 to 3: inner ◄ state; next, row ◄ inner; free ◄ x;
 * and behind it y. */
static struct plan_loop *bed_init(struct bed *bed)
{
    *bed = (struct bed){0};
    arena_init(&bed->arena);
    dim_table_init(&bed->dims, &bed->arena);
    bed->plan = (struct plan){.arena = &bed->arena, .dims = &bed->dims, .kernel_count = 1};
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct plan_buffer buffer = {
            .kind = i == X   ? BUFFER_INPUT
                    : i == Y ? BUFFER_OUTPUT
                             : BUFFER_TEMP,
            .dtype = i >= FLAG ? DTYPE_BOOL : DTYPE_F32,
            .elements = dim_const(&bed->dims, i >= FLAG   ? 1
                                              : i == ROWS ? 200
                                                          : 100),
        };
        VEC_PUSH(&bed->arena, &bed->plan.buffers, buffer);
    }
    add_launch(bed, 2, (uint32_t[]){FROM, FLAG, X}, 3);
    add_launch(bed, 1, (uint32_t[]){INNER, STATE}, 2);
    add_launch(bed, 2, (uint32_t[]){NEXT, ROW, INNER}, 3);
    add_launch(bed, 1, (uint32_t[]){FREE, X}, 2);
    add_launch(bed, 1, (uint32_t[]){Y, LAST, ROWS}, 3);
    bed->states[0] = (struct plan_state){FROM, STATE, NEXT, LAST};
    bed->rows[0] = (struct plan_row){ROW, ROWS};
    VEC_PUSH(&bed->arena, &bed->plan.loops,
             ((struct plan_loop){.first = 1,
                                 .count = 3,
                                 .trips = dim_const(&bed->dims, 2),
                                 .iter = PLAN_NONE,
                                 .states = bed->states,
                                 .rows = bed->rows,
                                 .state_count = 1,
                                 .row_count = 1}));
    return &bed->plan.loops.items[0];
}

static void must_live(const struct bed *bed, uint32_t buffer, uint32_t first, uint32_t last)
{
    const struct plan_buffer *b = &bed->plan.buffers.items[buffer];
    assert_int_equal(b->first_launch, first);
    assert_int_equal(b->last_launch, last);
    assert_false(b->displaced);
}

/* In trip 0 the state is read in FROM, then where NEXT or LAST have it. */
static void a_state_turns(void **state)
{
    (void)state;
    struct bed bed;
    const struct plan_loop *loop = bed_init(&bed);
    plan_finish(&bed.plan);
    assert_true(plan_state_turns(&bed.plan, loop, 0) && plan_row_turns(&bed.plan, loop, 0));
    assert_true(bed.plan.buffers.items[STATE].displaced && bed.plan.buffers.items[ROW].displaced);
    must_live(&bed, FROM, 0, 3);
    must_live(&bed, INNER, 1, 2);
    must_live(&bed, NEXT, 1, 3);
    must_live(&bed, LAST, 1, 4);
    must_live(&bed, ROWS, 1, 4);
    must_live(&bed, FREE, 3, 3);
    arena_release(&bed.arena);
}

/* Without a result STATE and NEXT take turns. */
static void without_a_result(void **state)
{
    (void)state;
    struct bed bed;
    const struct plan_loop *loop = bed_init(&bed);
    bed.states[0].result = PLAN_NONE;
    bed.plan.forward.count--;
    plan_finish(&bed.plan);
    assert_true(plan_state_turns(&bed.plan, loop, 0));
    must_live(&bed, STATE, 1, 3);
    must_live(&bed, NEXT, 1, 3);
    must_live(&bed, FROM, 0, 3);
    arena_release(&bed.arena);
}

/* Nobody knows which trip is the last. */
static void with_a_condition(void **state)
{
    (void)state;
    struct bed bed;
    struct plan_loop *loop = bed_init(&bed);
    bed.states[1] = (struct plan_state){FLAG, FLAGS, FLAG, PLAN_NONE};
    loop->state_count = loop->condition = 2;
    plan_finish(&bed.plan);
    assert_true(plan_state_turns(&bed.plan, loop, 0));
    assert_false(plan_state_turns(&bed.plan, loop, 1));
    must_live(&bed, STATE, 1, 3);
    must_live(&bed, NEXT, 1, 3);
    must_live(&bed, LAST, 3, 4);
    arena_release(&bed.arena);
}

/* Where one buffer is a row and the next value, or two rows, and where something outside reads it,
 * it stays where it is. */
static void shared_buffers_stay(void **state)
{
    (void)state;
    for (int row = 0; row < 4; row++) {
        struct bed bed;
        const struct plan_loop *loop = bed_init(&bed);
        if (row == 0)
            bed.rows[0].row = NEXT;
        if (row == 1)
            bed.rows[0].row = STATE;
        if (row == 2)
            add_launch(&bed, 1, (uint32_t[]){FLAGS, NEXT, ROW}, 3);
        if (row == 3)
            bed.states[0].next = X; /* the same in all trips */
        plan_finish(&bed.plan);
        assert_false(plan_state_turns(&bed.plan, loop, 0));
        assert_false(bed.plan.buffers.items[STATE].displaced);
        assert_int_equal(plan_row_turns(&bed.plan, loop, 0), row == 3);
        arena_release(&bed.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_turns),
        cmocka_unit_test(without_a_result),
        cmocka_unit_test(with_a_condition),
        cmocka_unit_test(shared_buffers_stay),
    };
    return cmocka_run_group_tests_name("loops", tests, NULL, NULL);
}
