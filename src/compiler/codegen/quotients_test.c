/* Quotients and remainders that a loop counts: in ranges that start anywhere, by divisors that end
 * with a loop's iteration or within it, in inner loops, in branches, and by divisors of 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "compiler/codegen/codegen_kit_priv.h"
#include <cmocka.h>

#define PER_S 40

static expr_id number(struct kit *kit, int64_t value)
{
    return index_const(&kit->nest, value);
}

static expr_id plus(struct kit *kit, expr_id a, int64_t b)
{
    return index_add(&kit->nest, a, number(kit, b));
}

static void store(struct kit *kit, struct block *block, uint32_t buffer, expr_id at, expr_id value)
{
    block_add(&kit->nest, block, stmt_store(&kit->nest, buffer, at, value, EXPR_NONE));
}

/* i as digits of a number whose places have S, S + 1 and S + 2 values: the places as one number. */
static expr_id places(struct kit *kit, expr_id i)
{
    struct nest *n = &kit->nest;
    expr_id a = kit->S, b = plus(kit, a, 1), c = plus(kit, a, 2), rest = i, sum = number(kit, 0);
    expr_id by[] = {a, b, c};
    for (int64_t k = 0, scale = 1; k < 3; k++, scale *= 1000) {
        sum = index_add(n, sum, index_mul(n, index_mod(n, rest, by[k]), number(kit, scale)));
        rest = index_div(n, rest, by[k]);
    }
    return index_add(n, sum, index_mul(n, rest, number(kit, 1000000000)));
}

static void ranges_start_anywhere(void **state)
{
    (void)state;
    for (int64_t s = 1; s <= 6; s++) {
        for (int64_t pieces = 1; pieces <= 9; pieces += 4) {
            struct kit kit;
            expr_id i;
            kit_init(&kit);
            uint32_t out = kit_buffer(&kit, DTYPE_I64, true, PER_S, 0, NULL);
            struct stmt *loop =
                kit_loop(&kit, NULL, index_mul(&kit.nest, kit.S, number(&kit, PER_S)), 0, true, &i);
            loop->loop_kind = LOOP_PARALLEL;
            store(&kit, &loop->body, out, i, places(&kit, i));
            kit_check(
                &kit, "ranges",
                &(struct kit_check){.s = &s, .s_count = 1, .extent = PER_S * s, .pieces = pieces});
            kit_release(&kit);
        }
    }
}

/* for i: if i < 5: for j: vector k: y = places of i, of j, and i / (j + 1), whose divisor changes
 * inside; else: y = places of i, of k. What an inner loop asks of the outer one is counted there.
 * With S = 0 the loops have no iteration, and no divisor is 0 that is divided by. */
static void inside_of_loops_and_branches(void **state)
{
    (void)state;
    struct kit kit;
    expr_id i, j, k, m;
    static const int64_t s[] = {0, 1, 2, 3, 4, 9};
    kit_init(&kit);
    struct nest *n = &kit.nest;
    uint32_t out = kit_buffer(&kit, DTYPE_I64, true, 3 * 35, 0, NULL);
    struct stmt *outer = kit_loop(&kit, NULL, index_mul(n, kit.S, number(&kit, 3)), 0, true, &i);
    struct stmt *branch = stmt_if(n, expr_binary(n, EXPR_LT, i, number(&kit, 5)));
    block_add(n, &outer->body, branch);
    struct stmt *middle = kit_loop(&kit, NULL, number(&kit, 5), 0, true, &j);
    kit.nest.body.stmts.count--; /* it belongs into the branch */
    block_add(n, &branch->body, middle);
    struct stmt *inner = kit_loop(&kit, middle, number(&kit, 7), 4, true, &k);
    expr_id at = index_add(n, index_mul(n, i, number(&kit, 35)),
                           index_add(n, index_mul(n, j, number(&kit, 7)), k));
    expr_id value = index_add(n, places(&kit, i), index_add(n, places(&kit, j), k));
    value = index_add(n, value, index_div(n, i, plus(&kit, j, 1)));
    store(&kit, &inner->body, out, at, value);
    struct stmt *other = kit_loop(&kit, NULL, number(&kit, 35), 0, true, &m);
    kit.nest.body.stmts.count--;
    block_add(n, &branch->orelse, other);
    at = index_add(n, index_mul(n, i, number(&kit, 35)), m);
    store(&kit, &other->body, out, at, index_add(n, places(&kit, i), places(&kit, m)));
    kit_check(&kit, "inside", &(struct kit_check){.s = s, .s_count = sizeof s / sizeof *s});
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_start_anywhere),
        cmocka_unit_test(inside_of_loops_and_branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
