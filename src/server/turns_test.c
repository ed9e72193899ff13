/* Clients in turn: no client starves, whatever others add; no client gets the last quarter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "server/turns.h"

#include <cmocka.h>

struct thing {
    struct turn turn;
    char client;
    uint32_t number;
};

static struct thing *add(struct turns *turns, char client, uint32_t number, uint32_t priority,
                         struct error *err)
{
    struct thing *thing = calloc(1, sizeof *thing);
    const char name[] = {client, '\0'};
    *thing = (struct thing){.client = client, .number = number};
    thing->turn = (struct turn){.priority = priority, .item = thing};
    if (turns_add(turns, name, &thing->turn, err))
        return thing;
    free(thing);
    return NULL;
}

/* Takes an item, checks its client and number, and frees it. */
static void take(struct turns *turns, char client, uint32_t number)
{
    struct thing *thing = turns_take(turns);
    assert_non_null(thing);
    assert_int_equal(thing->client, client);
    assert_int_equal(thing->number, number);
    free(thing);
}

static void one_of_each_in_turn(void **state)
{
    struct turns turns = {.most = 100};
    struct error err;
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        assert_non_null(add(&turns, 'a', i, 0, &err));
    assert_non_null(add(&turns, 'b', 0, 0, &err));
    assert_non_null(add(&turns, 'c', 0, 0, &err));
    take(&turns, 'a', 0);
    take(&turns, 'b', 0);
    take(&turns, 'c', 0);
    for (uint32_t i = 1; i < 5; i++)
        take(&turns, 'a', i);
    assert_null(turns_take(&turns));
    assert_int_equal(turns.count, 0);
}

static void priority_orders_within_a_client(void **state)
{
    struct turns turns = {.most = 100};
    struct error err;
    (void)state;
    add(&turns, 'a', 0, 0, &err);
    add(&turns, 'a', 1, 5, &err);
    add(&turns, 'a', 2, 9, &err);
    add(&turns, 'a', 3, 5, &err);
    take(&turns, 'a', 2);
    take(&turns, 'a', 1);
    take(&turns, 'a', 3);
    take(&turns, 'a', 0);
}

/* A client that always has an urgent item gets at most every second turn. */
static void priority_starves_nobody(void **state)
{
    struct turns turns = {.most = 100};
    struct error err;
    uint32_t urgent = 0, others = 0;
    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        add(&turns, 'u', i, 9, &err);
        add(&turns, 'o', i, 0, &err);
    }
    for (uint32_t i = 0; i < 20; i++) {
        struct thing *thing = turns_take(&turns);
        urgent += thing->client == 'u';
        others += thing->client == 'o';
        free(thing);
    }
    assert_true(urgent >= others);
    assert_true(others >= 5);
    for (struct thing *thing; (thing = turns_take(&turns)) != NULL;)
        free(thing);
}

static void the_last_quarter_is_for_others(void **state)
{
    struct turns turns = {.most = 8};
    struct error err;
    (void)state;
    for (uint32_t i = 0; i < 6; i++)
        assert_non_null(add(&turns, 'a', i, 0, &err));
    assert_null(add(&turns, 'a', 6, 9, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_non_null(strstr(err.message, "'a'"));
    assert_non_null(add(&turns, 'b', 0, 0, &err));
    assert_non_null(add(&turns, 'c', 0, 0, &err));
    assert_null(add(&turns, 'd', 0, 0, &err));
    assert_int_equal(err.code, ERR_BUSY);
    for (struct thing *thing; (thing = turns_take(&turns)) != NULL;)
        free(thing);
}

/* Compared with a list that is searched: each item is taken once, each client's in order. */
static void nothing_is_lost(void **state)
{
    struct turns turns = {.most = 64};
    uint64_t key = rng_key(7), drawn = 0;
    struct error err;
    uint32_t added[4] = {0}, taken[4] = {0};
    (void)state;
    for (int round = 0; round < 20000; round++) {
        uint32_t client = rng_u32(key, drawn++) % 4;
        if (rng_u32(key, drawn++) % 2 == 0) {
            added[client] += add(&turns, (char)('a' + client), added[client], 0, &err) != NULL;
            continue;
        }
        struct thing *thing = turns_take(&turns);
        if (!thing)
            continue;
        assert_int_equal(thing->number, taken[thing->client - 'a']++);
        free(thing);
    }
    for (struct thing *thing; (thing = turns_take(&turns)) != NULL;) {
        assert_int_equal(thing->number, taken[thing->client - 'a']++);
        free(thing);
    }
    assert_memory_equal(added, taken, sizeof added);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_each_in_turn),
        cmocka_unit_test(priority_orders_within_a_client),
        cmocka_unit_test(priority_starves_nobody),
        cmocka_unit_test(the_last_quarter_is_for_others),
        cmocka_unit_test(nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
