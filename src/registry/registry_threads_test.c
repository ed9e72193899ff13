/* Publishers, readers and evictions in parallel, on each pair of stores. The registry's clock is
 * two hours ahead of the wall clock, so no object is protected by its age. */
#include <pthread.h>

#include "registry/registry_test_util.h"

#define HOUR_MS ((int64_t)3600 * 1000)
#define THREADS 8
#define ROUNDS 40
#define KERNELS 6

struct crowd {
    struct fixture *f;
    struct sample samples[KERNELS];
    atomic_int next, failures, stopped;
};

static void count_failure(struct crowd *crowd, const char *what, const struct error *err)
{
    atomic_fetch_add(&crowd->failures, 1);
    print_error("%s: %s: %s\n", what, error_name(err->code), err->message);
}

/* Whether the kernel's package exists; *out_gone: it was evicted. */
static bool read_package(struct crowd *crowd, const char *id, bool *out_gone, struct error *err)
{
    struct registry *registry = crowd->f->registry;
    struct arena arena;
    struct kernel_record *kernel;
    struct blob blob;
    arena_init(&arena);
    bool ok = registry_kernel(registry, id, &arena, &kernel, err) &&
              registry_package(registry, kernel, &blob, err);
    arena_release(&arena);
    *out_gone = !ok && err->code == ERR_NOT_FOUND;
    if (ok)
        blobs_release(registry_blobs(registry), &blob);
    return ok;
}

/* Publishes and reads repeatedly; its first kernel gets an alias, and must exist from then on. */
static void *publish_and_read(void *context)
{
    struct crowd *crowd = context;
    int self = atomic_fetch_add(&crowd->next, 1);
    struct error err;
    char alias[16];
    bool gone, named = false;
    snprintf(alias, sizeof alias, "alias-%d", self);
    for (int i = 0; i < ROUNDS; i++) {
        struct sample *sample = &crowd->samples[i == 0 ? self % 2 : (self + i) % KERNELS];
        if (!sample_publish(crowd->f->registry, sample, &err))
            count_failure(crowd, "publish", &err);
        registry_used(crowd->f->registry, sample->kernel_id);
        if (!named && i > ROUNDS / 2) {
            named = registry_set_alias(crowd->f->registry, alias,
                                       crowd->samples[self % 2].kernel_id, "", &err);
            if (!named && err.code != ERR_CONFLICT) /* evicted before the alias was set */
                count_failure(crowd, "alias", &err);
        }
        if (named && !read_package(crowd, alias, &gone, &err))
            count_failure(crowd, "aliased", &err);
        if (!read_package(crowd, sample->kernel_id, &gone, &err) && !gone)
            count_failure(crowd, "read", &err);
    }
    return NULL;
}

static void *evict_all(void *context)
{
    struct crowd *crowd = context;
    struct error err;
    while (!atomic_load(&crowd->stopped)) {
        struct tended tended;
        uint32_t swept;
        if (!registry_tend(crowd->f->registry, &tended, &err) ||
            !registry_sweep(crowd->f->registry, &swept, &err))
            count_failure(crowd, "tend", &err);
    }
    return NULL;
}

static void publishers_and_evictions(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd = {.f = f};
    pthread_t threads[THREADS], tender;
    atomic_store(&f->moved_ms, 2 * HOUR_MS);
    f->registry->size_limit_bytes = 1;
    for (int i = 0; i < KERNELS; i++)
        sample_init(&crowd.samples[i], i / 2, i);
    assert_int_equal(pthread_create(&tender, NULL, evict_all, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_and_read, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&crowd.stopped, 1);
    pthread_join(tender, NULL);
    assert_int_equal(crowd.failures, 0);
    fixture_is_sound(f);
    f->registry->size_limit_bytes = 0;
    for (int i = 0; i < KERNELS; i++) {
        ASSERT_OK(f, sample_publish(f->registry, &crowd.samples[i], &f->err));
        assert_non_null(fixture_answer(f, &crowd.samples[i]));
    }
    assert_int_equal(fixture_count(f, RECORD_kernel, NULL, NULL), KERNELS);
    assert_int_equal(fixture_count(f, RECORD_blueprint, NULL, NULL), KERNELS / 2);
}

static void *publish_new(void *context)
{
    struct crowd *crowd = context;
    struct error err;
    int self = atomic_fetch_add(&crowd->next, 1);
    for (int i = 0; i < 10; i++) {
        struct sample sample;
        /* Some are the same for all threads. */
        sample_init(&sample, 1, i % 5 == 0 ? i : self * 100 + i);
        if (!sample_publish(crowd->f->registry, &sample, &err))
            count_failure(crowd, "publish", &err);
    }
    return NULL;
}

static void versions_are_given_once(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd = {.f = f};
    pthread_t threads[THREADS];
    bool given[THREADS * 10 + 1] = {false};
    atomic_store(&crowd.next, 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_new, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.failures, 0);
    const struct query query = {.kind = RECORD_kernel, .limit = 1000};
    struct records kernels;
    ASSERT_OK(
        f, catalogue_list(registry_catalogue(f->registry), &query, &f->arena, &kernels, &f->err));
    assert_int_equal(kernels.count, THREADS * 8 + 2);
    for (uint32_t i = 0; i < kernels.count; i++) {
        const struct kernel_record *kernel = kernels.items[i];
        assert_in_range(kernel->version, 1, kernels.count);
        assert_false(given[kernel->version]);
        given[kernel->version] = true;
    }
    assert_int_equal(fixture_count(f, RECORD_blueprint, NULL, NULL), 1);
    assert_int_equal(fixture_is_sound(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_STORES(publishers_and_evictions),
        OVER_STORES(versions_are_given_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
