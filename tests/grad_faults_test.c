/* Plants wrong rules of gradients, one at a time, and shows that the cases of compiler/grad notice
 * each: those of grad_faults.txt; and of each prim, what it gives to each operand negated, doubled,
 * dropped, and back to front along the first axis. The rules are compiled again for this program,
 * with the faults in them (grad_plant.py); the library's own have none.
 *
 * A fault counts as noticed where a number is wrong or no gradient can be built. */
#include "grad_faults.h"

#include "base/error.h"
#include "compiler/grad/cases_test_util.h"
#include "graph/interp_test_util.h"
#include <tests/grad_planted_grad_priv.h>

uint32_t grad_fault;

static const char *const rows[] = {
#define ROW(number, text) [number] = text,
#include <tests/grad_planted_rows.h>
#undef ROW
};

enum way { WAY_NONE, WAY_NEGATED, WAY_DOUBLED, WAY_DROPPED, WAY_REVERSED, WAY_COUNT };
static const char *const ways[] = {"", "negated", "doubled", "dropped", "back to front"};

static struct {
    enum prim prim;
    uint32_t operand;
    enum way way;
    bool reached;
} perturbation;

value_id grad_perturbed(const struct grad_call *call, uint32_t operand, value_id cotangent)
{
    struct builder *b = call->b;
    if (call->node.prim != perturbation.prim || operand != perturbation.operand ||
        cotangent == VALUE_NONE ||
        (perturbation.way == WAY_REVERSED && b_node(b, cotangent)->rank == 0))
        return cotangent;
    perturbation.reached = true;
    switch (perturbation.way) {
    case WAY_NEGATED: return b_neg(b, cotangent);
    case WAY_DOUBLED: return b_add(b, cotangent, cotangent);
    case WAY_DROPPED: return b_sub(b, cotangent, cotangent);
    case WAY_REVERSED: return b_reverse(b, cotangent, 0);
    default: return cotangent;
    }
}

/* Whether some case fails; bed->err says which. */
static bool is_noticed(struct bed *bed, bool (*cases)(struct bed *, uint64_t), uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        bed->err = (struct error){0};
        if (!cases(bed, i))
            return true;
    }
    return false;
}

static bool tie(struct bed *bed, uint64_t seed)
{
    return !grad_case_tie_name((uint32_t)seed) || grad_case_tie(bed, (uint32_t)seed);
}

static bool loop(struct bed *bed, uint64_t seed)
{
    uint32_t moving = 0;
    return grad_case_loop(bed, seed, &moving);
}

static bool named(struct bed *bed, uint64_t seed)
{
    uint32_t moving = 0;
    return grad_case_named(bed, seed, &moving);
}

static bool prim_alone(struct bed *bed, enum prim prim, uint64_t seed)
{
    uint32_t moving = 0;
    bool loops = prim >= PRIM_ITER && prim <= PRIM_LOOP;
    return loops || grad_case_prim(bed, prim, seed, &moving);
}

static bool any_prim(struct bed *bed, uint64_t seed)
{
    return prim_alone(bed, (enum prim)(PRIM_NEG + seed % (PRIM_COUNT - PRIM_NEG)), seed / 7);
}

static bool everything(struct bed *bed)
{
    return is_noticed(bed, tie, 64) || is_noticed(bed, loop, 150) || is_noticed(bed, named, 150) ||
           is_noticed(bed, any_prim, 60 * PRIM_COUNT);
}

static void test_nothing_planted(void **state)
{
    struct bed *bed = *state;
    grad_fault = 0;
    if (everything(bed))
        fail_msg("%s: %s", bed->err.place, bed->err.message);
}

static void test_wrong_rules(void **state)
{
    struct bed *bed = *state;
    uint32_t missed = 0, count = sizeof rows / sizeof *rows, refused = 0;
    for (grad_fault = 1; grad_fault < count; grad_fault++) {
        if (!everything(bed)) {
            print_error("not noticed: %s\n", rows[grad_fault]);
            missed++;
        }
        refused += bed->err.code != ERR_VERIFY;
    }
    grad_fault = 0;
    print_message("%u wrong rules, %u of which build no graph\n", count - 1, refused);
    assert_int_equal(missed, 0);
    assert_true(count > 85 && refused < count / 4);
}

static bool notices_perturbation(struct bed *bed)
{
    for (uint64_t seed = 0; seed < 60; seed++) {
        bed->err = (struct error){0};
        if (!prim_alone(bed, perturbation.prim, seed))
            return true;
    }
    return false;
}

static void test_wrong_contributions(void **state)
{
    struct bed *bed = *state;
    uint32_t missed = 0, count = 0;
    for (int prim = PRIM_NEG; prim < PRIM_COUNT; prim++) {
        for (uint32_t operand = 0; operand < 3; operand++) {
            for (int way = WAY_NEGATED; way < WAY_COUNT; way++) {
                perturbation.prim = (enum prim)prim;
                perturbation.operand = operand;
                perturbation.way = (enum way)way;
                perturbation.reached = false;
                bool noticed = notices_perturbation(bed);
                count += perturbation.reached;
                if (noticed || !perturbation.reached)
                    continue;
                print_error("not noticed: %s, operand %u %s\n", prim_info((enum prim)prim)->name,
                            operand, ways[way]);
                missed++;
            }
        }
    }
    perturbation.prim = PRIM_NONE;
    print_message("%u wrong contributions\n", count);
    assert_int_equal(missed, 0);
    assert_true(count > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_planted, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_contributions, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_rules, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
