/* For tests of the registry: a temporary folder, catalogues by name, and small records.
 */
#ifndef URZA_REGISTRY_TEST_UTIL_H
#define URZA_REGISTRY_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/arena.h"
#include "base/error.h"
#include "registry/catalogue.h"

/* A test's folder, arena and error. */
struct bed {
    char folder[64];
    struct arena arena;
    struct error err;
};

static inline int bed_setup(void **state)
{
    struct bed *bed = calloc(1, sizeof *bed);
    assert_non_null(bed);
    snprintf(bed->folder, sizeof bed->folder, "/tmp/urza-registry-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    arena_init(&bed->arena);
    *state = bed;
    return 0;
}

static inline int bed_teardown(void **state)
{
    struct bed *bed = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", bed->folder);
    assert_int_equal(system(command), 0);
    arena_release(&bed->arena);
    free(bed);
    return 0;
}

/* Asserts success; prints the error's text. */
#define ASSERT_OK(bed, call)                                                          \
    do {                                                                              \
        if (!(call)) {                                                                \
            print_error("%s: %s\n", error_name((bed)->err.code), (bed)->err.message); \
            assert_string_equal(#call, "successful");                                 \
        }                                                                             \
    } while (0)
#define ASSERT_FAILS(bed, expected, call)                                       \
    do {                                                                        \
        (bed)->err = (struct error){.code = ERR_NONE};                          \
        assert_false(call);                                                     \
        assert_string_equal(error_name((bed)->err.code), error_name(expected)); \
    } while (0)

/* Compares all fields but serial and revision. */
static inline void assert_same_fields(enum record_kind kind, const void *a, const void *b)
{
    const struct record_type *type = record_type(kind);
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(((const struct record *)a)->id, ((const struct record *)b)->id);
    for (uint32_t i = 0; i < type->field_count; i++) {
        const char *x = (const char *)a + type->fields[i].offset;
        const char *y = (const char *)b + type->fields[i].offset;
        if (type->fields[i].type == FIELD_INTEGER || type->fields[i].type == FIELD_REAL)
            assert_memory_equal(x, y, 8);
        else
            assert_string_equal(*(const char *const *)x, *(const char *const *)y);
    }
}

/* Commits one change of a record. */
static inline bool commit_one(struct catalogue *catalogue, enum record_kind kind,
                              enum expect expect, const void *record, struct error *err)
{
    struct change change = {.kind = kind, .expect = expect, .record = record};
    return catalogue_commit(catalogue, &change, 1, err);
}

static inline bool remove_one(struct catalogue *catalogue, enum record_kind kind,
                              enum expect expect, const void *record, struct error *err)
{
    struct change change = {.kind = kind, .expect = expect, .remove = true, .record = record};
    return catalogue_commit(catalogue, &change, 1, err);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

#endif
