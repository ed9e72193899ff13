/* What the registry promises, over each pair of stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdlib.h>
#include <string.h>

#include "registry/registry_test_util.h"

#include <cmocka.h>

#define assert_ok(call)                     \
    do {                                    \
        if (!(call))                        \
            fail_msg("%s", f->err.message); \
    } while (0)
#define assert_refused(call, wanted)           \
    do {                                       \
        assert_false(call);                    \
        assert_int_equal(f->err.code, wanted); \
    } while (0)

static void a_kernel_is_published_whole(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct key_record *key;
    struct kernel_record *kernel;
    struct blob blob;
    sample_init(&sample, 1, 1);
    assert_ok(registry_find(f->registry, sample.key_id, &f->arena, &key, &kernel, &f->err));
    assert_null(key);
    assert_null(kernel);
    assert_ok(sample_publish(f, &sample));
    assert_ok(registry_find(f->registry, sample.key_id, &f->arena, &key, &kernel, &f->err));
    assert_string_equal(key->kernel, sample.kernel_id);
    assert_string_equal(key->content, sample.content);
    assert_string_equal(kernel->status, "VALIDATED");
    assert_int_equal(kernel->version, 1);
    assert_int_equal(kernel->size_bytes, sizeof sample.package);
    assert_ok(registry_package(f->registry, kernel, &blob, &f->err));
    assert_int_equal(blob.size_bytes, sizeof sample.package);
    assert_memory_equal(blob.data, sample.package, sizeof sample.package);
    blobs_release(registry_blobs(f->registry), &blob);

    const struct blueprint_record *blueprint = fixture_get(f, RECORD_blueprint, kernel->blueprint);
    assert_string_equal(blueprint->status, "VALIDATED");
    assert_string_equal(blueprint->digest, sample.content);
    assert_true(fixture_has_object(f, blueprint->source));
    assert_int_equal(fixture_count(f, RECORD_compilation), 1);
    assert_int_equal(fixture_count(f, RECORD_change), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_STORES(a_kernel_is_published_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
