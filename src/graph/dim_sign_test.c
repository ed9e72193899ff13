/* What is proved not to be negative is not negative at any value, by trying all of them; and what
 * has to be proved is. */
#include "graph/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/rng.h"

#include <cmocka.h> /* after error.h: cmocka has a macro named fail */

static const struct dim_name NAMES[] = {
    {"B", 1, 6, 1, 0, NULL}, {"H", 16, 24, 4, 0, NULL}, {"Z", 0, 5, 1, 0, NULL}};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES, TRIES = 20000, MOST = 24 };

struct fixture {
    struct arena arena;
    struct dim_table table;
    uint64_t key, counter;
};

static int set_up(void **state)
{
    static struct fixture f;
    struct error err;
    uint32_t index;
    f = (struct fixture){.key = rng_key(11)};
    arena_init(&f.arena);
    dim_table_init(&f.table, &f.arena);
    for (uint32_t i = 0; i < NAME_COUNT; i++)
        assert_true(dim_declare(&f.table, &NAMES[i], &index, &err));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static dim_id parse(struct fixture *f, const char *text)
{
    struct error err = {0};
    dim_id dim = DIM_NONE;
    assert_true(dim_parse(&f->table, &text, &dim, &err));
    return dim;
}

static void proves_what_terms_outweigh(void **state)
{
    struct fixture *f = *state;
    static const char *const yes[] = {
        "0",
        "B*H - 16*B",
        "5*H*H - 4*(H + 1)*(H + 1)",
        "B*H*H - 14*B*H - 16*B",
        "H - 2*(H//2)",
        "3*B*(H//2) - B*H",
        "2*B*H - B*((H + 7)//8)*8",
        "Z*H - 16*Z",
        "B*B - 2*B + 1*B",
        "(B - 1)*(H - 16)",
        "(6 - B)*(H - 16)",
        "(24 - H)*Z",
        "B*H*Z - 16*B*Z - H*Z + 16*Z",
        "(B + 1)//2 + (-B)//2",
        "(B - 1)//2 + (3 - B)//2",
        "3*((B - 1)//3) - B + 3",
    };
    static const char *const no[] = {
        "-1",        "B*H - 17*B",     "B*Z - B",        "(B - 2)*(H - 16)",
        "(5 - B)*Z", "H - 3*(H//2)",   "B*(H//2) - 9*B", "Z*H - H",
        "Z - B",     "B//2 + (-B)//2",
    };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!dim_never_negative(&f->table, parse(f, yes[i])))
            fail_msg("not proved: %s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (dim_never_negative(&f->table, parse(f, no[i])))
            fail_msg("proved: %s", no[i]);
    assert_false(dim_never_negative(&f->table, DIM_NONE));
}

static dim_id random_dim(struct fixture *f, uint32_t depth)
{
    uint32_t pick = rng_u32(f->key, f->counter++) % (depth == 0 ? 4 : 9);
    if (pick == 0)
        return dim_const(&f->table, (int64_t)(rng_u32(f->key, f->counter++) % 41) - 20);
    if (pick <= NAME_COUNT)
        return dim_named(&f->table, pick - 1);
    dim_id a = random_dim(f, depth - 1);
    if (pick == 4)
        return dim_floordiv(&f->table, a, dim_const(&f->table, 2 + (int64_t)f->counter % 3));
    dim_id b = random_dim(f, depth - 1);
    switch (pick) {
    case 5: return dim_add(&f->table, a, b);
    case 6: return dim_sub(&f->table, a, b);
    case 7: return dim_max(&f->table, a, b);
    default: return dim_mul(&f->table, a, b);
    }
}

static bool is_negative_somewhere(struct fixture *f, dim_id dim)
{
    int64_t values[LIMIT_NAMED_DIMS] = {0}, value;
    for (values[0] = 1; values[0] <= 6; values[0]++)
        for (values[1] = 16; values[1] <= 24; values[1] += 4)
            for (values[2] = 0; values[2] <= 5; values[2]++)
                if (!dim_eval(&f->table, dim, values, &value) || value < 0)
                    return true;
    return false;
}

/* A maximum is one of its operands. */
static void proves_by_cases(void **state)
{
    struct fixture *f = *state;
    static const char *const yes[] = {
        "B - min(Z, B)",
        "3*((B - B//2)//3)",
        "6*((B - B//2)//3) + 12*H",
        "min(Z, B)",
        "B*H - H*min(Z, B)",
        "B - max(min(Z, B), min(H//4, B))",
        "B - min(Z, B) - max(0, min(H//4, B) - min(Z, B))",
        "min(min(Z, B) + H//4, B) - min(Z, B)",
        "B - min(min(Z, B) + H//4, B)",
        "B - 2*((B - min(Z, B))//2)",
        "B - min(Z, B) + 1 - 2*((max(0, min(H//4, B) - min(Z, B)) + 1)//2)",
        "min(min(min(Z, B) + 1, B) + Z*Z, B) - min(min(Z, B) + 1, B)",
    };
    static const char *const no[] = {
        "min(Z, B) - Z",
        "B - max(Z, 2)",
        "max(Z, B) - 2",
        "min(B, H//4) - min(Z, H//4)",
    };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!dim_never_negative(&f->table, parse(f, yes[i])))
            fail_msg("not proved: %s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(dim_never_negative(&f->table, parse(f, no[i])));
}

static void never_proves_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    uint32_t proved = 0, wrong = 0;
    for (uint32_t i = 0; i < TRIES; i++) {
        dim_id dim = random_dim(f, 3);
        if (dim == DIM_NONE)
            continue;
        bool claim = dim_never_negative(&f->table, dim), negative = is_negative_somewhere(f, dim);
        assert_false(claim && negative);
        proved += claim;
        wrong += negative;
    }
    assert_true(proved > TRIES / 10 && wrong > TRIES / 10); /* both kinds were there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(proves_what_terms_outweigh, set_up, tear_down),
        cmocka_unit_test_setup_teardown(proves_by_cases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(never_proves_what_is_wrong, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
