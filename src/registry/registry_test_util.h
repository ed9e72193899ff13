/* For tests of the registry and its queue: a registry on each pair of stores, with planned faults
 * and a clock that tests can advance; and publications that differ where a test wants them to.
 */
#ifndef URZA_REGISTRY_REGISTRY_TEST_UTIL_H
#define URZA_REGISTRY_REGISTRY_TEST_UTIL_H

#include "registry/faults.h"
#include "registry/registry_priv.h"
#include "registry/test_util.h"

struct stores {
    const char *catalogue, *blobs; /* "memory:", or "sqlite:%s/…": in a folder of the test */
};
#define STORES_COUNT 2
extern const struct stores test_stores[STORES_COUNT];

struct fixture {
    const struct stores *stores;
    struct registry *registry;
    struct faults faults;
    struct arena arena;
    struct error err;
    _Atomic int64_t moved_ms; /* how far the registry's clock is ahead of the wall clock */
    char folder[64];
};

struct fixture *fixture_new(const struct stores *stores);
void fixture_free(struct fixture *f);
/* Closes the registry and opens it again; stores in memory are then empty. */
void fixture_reopen(struct fixture *f);
/* For cmocka: before, *state is a struct stores; afterwards, a struct fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* The registry's clock; context: the fixture. */
int64_t fixture_clock(void *context);

/* A publication with its records. */
struct sample {
    struct kernel_record kernel;
    struct key_record key;
    struct compilation_record compilation;
    const char *blueprint;
    char content[SHA256_HEX_BYTES], kernel_id[80], key_id[SHA256_HEX_BYTES],
        digest[SHA256_HEX_BYTES];
    char package[1000], source[64];
};
/* Kernel number `kernel` of blueprint number `blueprint`, under a key of both. */
void sample_init(struct sample *sample, int blueprint, int kernel);
/* The same kernel with other evidence: other bytes, the same id. */
void sample_verify(struct sample *sample);
bool sample_publish(struct registry *registry, const struct sample *sample, struct error *err);
/* registry_set of a kernel's status, without client and reason. */
bool set_kernel_status(struct registry *registry, const char *id, const char *status,
                       struct error *err);

/* NULL: no such record. */
void *fixture_get(struct fixture *f, enum record_kind kind, const char *id);
struct kernel_record *fixture_kernel(struct fixture *f, const struct sample *sample);
/* The kernel of a key; NULL: none. */
struct kernel_record *fixture_answer(struct fixture *f, const struct sample *sample);
int64_t fixture_count(struct fixture *f, enum record_kind kind, const char *field,
                      const char *value);
bool fixture_has_object(struct fixture *f, const char *digest);
/* Asserts that registry_fsck finds no fault; returns the number of orphans. */
uint64_t fixture_is_sound(struct fixture *f);

/* cmocka's table entry for a test on a pair of stores. */
#define OVER(stores_index, test)        \
    {.name = #test " " #stores_index,   \
     .test_func = test,                 \
     .setup_func = fixture_setup,       \
     .teardown_func = fixture_teardown, \
     .initial_state = (void *)(uintptr_t)&test_stores[stores_index]}
#define OVER_STORES(test) OVER(0, test), OVER(1, test)

#endif
