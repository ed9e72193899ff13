/* For tests of the registry: one over each pair of stores, with a clock that tests move, and
 * publications that differ where a test wants them to. */
#ifndef URZA_REGISTRY_REGISTRY_TEST_UTIL_H
#define URZA_REGISTRY_REGISTRY_TEST_UTIL_H

#include <stdatomic.h>
#include <stdio.h>

#include "base/arena.h"
#include "registry/registry_priv.h"

struct stores {
    const char *catalogue, *blobs; /* URLs; %s: a folder of the test's own */
};
#define STORES_COUNT 1
extern const struct stores test_stores[STORES_COUNT];

struct fixture {
    const struct stores *stores;
    struct registry *registry;
    struct arena arena;
    struct error err;
    _Atomic int64_t moved_ms; /* the registry's clock before the wall's */
    char folder[64];
};

/* For cmocka: *state is a struct stores before, a struct fixture after. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* The same stores opened anew; those in memory stay open. */
void fixture_open(struct fixture *f, const struct registry_options *options);

/* A publication with its records; texts are borrowed. */
struct sample {
    struct publication publication;
    struct kernel_record kernel;
    struct key_record key;
    struct compilation_record compilation;
    char content[SHA256_HEX_BYTES], kernel_id[80], key_id[SHA256_HEX_BYTES], package[4096],
        source[64];
};
/* Kernel `kernel` of blueprint `blueprint` under the key of both. */
void sample_init(struct sample *sample, int blueprint, int kernel);
bool sample_publish(struct fixture *f, const struct sample *sample);

/* A record by its id; NULL: there is none. */
void *fixture_get(struct fixture *f, enum record_kind kind, const char *id);
int64_t fixture_count(struct fixture *f, enum record_kind kind);
bool fixture_has_object(struct fixture *f, const char *digest);
/* Asserts that registry_fsck finds no fault. */
void fixture_is_sound(struct fixture *f);

/* cmocka's rows of a test over all stores. */
#define OVER_STORES(test)               \
    {.name = #test,                     \
     .test_func = test,                 \
     .setup_func = fixture_setup,       \
     .teardown_func = fixture_teardown, \
     .initial_state = (void *)(uintptr_t)&test_stores[0]}

#endif
