/* The search, on spaces with simulated times: noise, wrong results, candidates that cannot be
 * built, ties. */
#include "tuner/test_util.h"

#include <math.h>

#include "base/rng.h"

enum { COUNT = 60 };
struct made_up {
    double time[COUNT]; /* negative: the run fails */
    bool unbuildable[COUNT], wrong[COUNT];
    double noise;   /* relative noise of one run */
    uint32_t burst; /* one run in this many takes three times as long; 0: none does */
    uint64_t key, runs;
    int built[COUNT]; /* number of builds minus number of discards */
    uint32_t checks;
};

static int build(void *user, uint32_t candidate)
{
    struct made_up *m = user;
    if (m->unbuildable[candidate])
        return 1;
    m->built[candidate]++;
    return 0;
}

static double run(void *user, uint32_t candidate)
{
    struct made_up *m = user;
    double slow = 1 + m->noise * fabs(rng_normal(m->key, ++m->runs));
    assert_int_equal(m->built[candidate], 1);
    if (m->burst && m->runs % m->burst == 0)
        slow *= 3;
    return m->time[candidate] * slow;
}

static int check(void *user, uint32_t candidate)
{
    struct made_up *m = user;
    m->checks++;
    return m->wrong[candidate];
}

static void discard(void *user, uint32_t candidate)
{
    struct made_up *m = user;
    m->built[candidate]--;
}

/* Times between 100 and 200; `best` is the fastest candidate. */
static struct made_up landscape(uint32_t best, uint64_t seed)
{
    struct made_up m = {.key = rng_key(seed)};
    for (uint32_t i = 0; i < COUNT; i++)
        m.time[i] = 100 + 100 * fabs((double)i - best) / COUNT;
    return m;
}

static uint32_t find(struct made_up *m, urza_search_row *rows)
{
    urza_search_space space = {
        .count = COUNT, .user = m, .build = build, .run = run, .check = check, .discard = discard};
    urza_search_options options = {.budget_s = 20}; /* never reached: the times are simulated */
    uint32_t best = COUNT;
    urza_error err = {0};
    if (urza_search(&space, &options, rows, &best, &err) != 0)
        fail_msg("%s", err.message);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(m->built[i], 0);
    assert_int_equal(rows[best].state, URZA_SEARCH_BEST);
    return best;
}

static void finds_the_best(void **state)
{
    (void)state;
    urza_search_row rows[COUNT];
    for (uint64_t seed = 0; seed < 50; seed++) {
        uint32_t where = (uint32_t)(7 * seed + 3) % COUNT;
        struct made_up m = landscape(where, seed);
        m.noise = 0.03;
        m.burst = 11;
        uint32_t best = find(&m, rows);
        assert_true(m.time[best] <= 1.03 * m.time[where]);
        assert_true(rows[best].low <= rows[best].median && rows[best].median <= rows[best].high);
    }
}

static void without_noise_exactly(void **state)
{
    (void)state;
    urza_search_row rows[COUNT];
    struct made_up m = landscape(41, 1);
    assert_int_equal(find(&m, rows), 41);
    uint32_t slower = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        slower += rows[i].state == URZA_SEARCH_SLOWER;
    assert_true(slower >= COUNT - 4);           /* most were excluded early … */
    assert_true(m.runs < (uint64_t)COUNT * 14); /* … and did not run again */
}

static void broken_and_wrong_ones_never_win(void **state)
{
    (void)state;
    urza_search_row rows[COUNT];
    struct made_up m = landscape(20, 2);
    m.wrong[20] = true;
    m.unbuildable[21] = true;
    m.time[19] = -1;
    uint32_t best = find(&m, rows);
    assert_true(best == 18 || best == 22);
    assert_int_equal(rows[20].state, URZA_SEARCH_WRONG);
    assert_int_equal(rows[21].state, URZA_SEARCH_LEFT_OUT);
    assert_int_equal(rows[19].state, URZA_SEARCH_LEFT_OUT);
    assert_int_equal(m.checks, COUNT - 2);
}

static void the_baseline_wins_ties(void **state)
{
    (void)state;
    urza_search_row rows[COUNT];
    struct made_up m = landscape(30, 3);
    m.time[0] = 100.5; /* the fastest candidate is half a percent faster */
    assert_int_equal(find(&m, rows), 0);
    m = landscape(30, 3);
    m.time[0] = 103;
    assert_int_equal(find(&m, rows), 30);
}

static void a_broken_baseline_is_replaced(void **state)
{
    (void)state;
    urza_search_row rows[COUNT];
    struct made_up m = landscape(5, 4);
    m.wrong[0] = true;
    assert_int_equal(find(&m, rows), 5);
    for (uint32_t i = 0; i < COUNT; i++)
        m.wrong[i] = true;
    urza_search_space space = {
        .count = COUNT, .user = &m, .run = run, .build = build, .check = check, .discard = discard};
    uint32_t best;
    urza_error err;
    assert_int_equal(urza_search(&space, NULL, rows, &best, &err), ERR_NOT_FOUND);
    space.count = 0;
    assert_int_equal(urza_search(&space, NULL, rows, &best, &err), ERR_USAGE);
}

static void no_time_is_the_baseline(void **state)
{
    (void)state;
    urza_search_row rows[COUNT];
    struct made_up m = landscape(30, 5);
    urza_search_space space = {
        .count = COUNT, .user = &m, .run = run, .build = build, .discard = discard};
    urza_search_options options = {.budget_s = 1e-9};
    uint32_t best = COUNT;
    assert_int_equal(urza_search(&space, &options, rows, &best, NULL), 0);
    assert_int_equal(best, 0);
    assert_int_equal(rows[1].state, URZA_SEARCH_UNTRIED);
    assert_int_equal(rows[0].samples, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_best),
        cmocka_unit_test(without_noise_exactly),
        cmocka_unit_test(broken_and_wrong_ones_never_win),
        cmocka_unit_test(the_baseline_wins_ties),
        cmocka_unit_test(a_broken_baseline_is_replaced),
        cmocka_unit_test(no_time_is_the_baseline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
