/* The shelf: bounded, least recently used first, values unchanged while they are read, and no
 * values of kernels that were forgotten while the value was made. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/shelf.h"

#include <cmocka.h>

#define THREADS 8
#define TURNS 20000

static struct shelf_value *make(const char *kernel, size_t size, char fill)
{
    char *data = calloc(1, size + 1);
    assert_non_null(data);
    struct shelf_value *value = shelf_value_new(data, size);
    assert_non_null(value);
    memset(data, fill, size);
    snprintf(value->kernel, sizeof value->kernel, "%s", kernel);
    return value;
}

static void put(struct shelf *shelf, uint32_t number, const char *kernel, size_t size)
{
    uint8_t key[SHA256_BYTES] = {0};
    sha256(&number, sizeof number, key);
    struct shelf_value *value = make(kernel, size, (char)number);
    shelf_add(shelf, key, value, shelf_epoch(shelf));
    shelf_unref(value);
}

static struct shelf_value *get(struct shelf *shelf, uint32_t number)
{
    uint8_t key[SHA256_BYTES];
    sha256(&number, sizeof number, key);
    return shelf_find(shelf, key);
}

static void found_until_forgotten(void **state)
{
    struct shelf *shelf = shelf_new(1 << 20);
    uint64_t count, bytes;
    (void)state;
    put(shelf, 1, "kernel-a", 100);
    put(shelf, 2, "kernel-a", 100);
    put(shelf, 3, "kernel-b", 100);
    struct shelf_value *held = get(shelf, 1);
    assert_non_null(held);
    shelf_forget(shelf, "kernel-a");
    assert_null(get(shelf, 1));
    assert_null(get(shelf, 2));
    assert_int_equal(held->data[99], 1); /* unchanged for those who hold it */
    shelf_unref(held);
    held = get(shelf, 3);
    assert_non_null(held);
    shelf_unref(held);
    put(shelf, 3, "kernel-c", 50); /* replaces the value of the key */
    shelf_size(shelf, &count, &bytes);
    assert_int_equal(count, 1);
    shelf_free(shelf);
}

/* A value made from reads before its kernel was forgotten is not added afterwards. */
static void late_values_are_refused(void **state)
{
    struct shelf *shelf = shelf_new(1 << 20);
    uint8_t key[SHA256_BYTES] = {5};
    (void)state;
    uint64_t epoch = shelf_epoch(shelf);
    struct shelf_value *value = make("kernel-a", 10, 'x');
    shelf_forget(shelf, "kernel-a");
    shelf_add(shelf, key, value, epoch);
    assert_null(shelf_find(shelf, key));
    shelf_add(shelf, key, value, shelf_epoch(shelf));
    struct shelf_value *found = shelf_find(shelf, key);
    assert_ptr_equal(found, value);
    shelf_unref(found);
    shelf_unref(value);
    shelf_free(shelf);
}

static void bounded(void **state)
{
    struct shelf *shelf = shelf_new(1 << 20);
    uint64_t count, bytes;
    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        put(shelf, i, "kernel-a", 1000);
        struct shelf_value *first = get(shelf, 0); /* used all the time */
        assert_non_null(first);
        shelf_unref(first);
        shelf_size(shelf, &count, &bytes);
        assert_true(bytes <= 1 << 20);
    }
    assert_true(count > 500);
    assert_null(get(shelf, 1));
    put(shelf, 9999, "kernel-a", 1 << 20); /* too large for a shard */
    assert_null(get(shelf, 9999));
    shelf_free(shelf);
}

static void *churn(void *context)
{
    struct shelf *shelf = context;
    for (uint32_t i = 0; i < TURNS; i++) {
        uint32_t number = (i * 7919u) % 97;
        struct shelf_value *value = get(shelf, number);
        if (value) {
            for (size_t at = 0; at < value->size_bytes; at++)
                if (value->data[at] != (char)number)
                    abort();
            shelf_unref(value);
        } else
            put(shelf, number, number % 2 ? "kernel-odd" : "kernel-even", 64 + number);
        if (i % 1000 == 0)
            shelf_forget(shelf, i % 2000 ? "kernel-odd" : "kernel-even");
    }
    return NULL;
}

static void many_threads(void **state)
{
    struct shelf *shelf = shelf_new(1 << 16);
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, shelf), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    shelf_free(shelf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_until_forgotten),
                                       cmocka_unit_test(late_values_are_refused),
                                       cmocka_unit_test(bounded), cmocka_unit_test(many_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
