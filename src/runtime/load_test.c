#include "runtime/borrow.h"
#include "runtime/test_util.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"

/* Allocation failures by counting. The program's own malloc replaces the C library's, so that every
 * allocation is counted, those of libcrypto included. jansson's are not: its lexer (2.14) crashes
 * when one fails. Sanitizers have a malloc of their own. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS_ALLOCATIONS 0
#else
#define COUNTS_ALLOCATIONS 1
#endif

static struct {
    _Atomic bool on;
    _Atomic uint64_t count, fail_at; /* fail_at: 1 fails the first; 0: none fails */
    _Atomic int64_t live;            /* allocated and not freed */
} counted;

#if COUNTS_ALLOCATIONS
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *memory);

static bool fails(void)
{
    if (!counted.on || atomic_fetch_add(&counted.count, 1) + 1 != counted.fail_at)
        return false;
    errno = ENOMEM;
    return true;
}

static void *count_live(void *memory)
{
    if (memory && counted.on)
        atomic_fetch_add(&counted.live, 1);
    return memory;
}

URZA_EXPORT void *malloc(size_t size)
{
    return fails() ? NULL : count_live(__libc_malloc(size));
}

URZA_EXPORT void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : count_live(__libc_calloc(count, size));
}

URZA_EXPORT void *realloc(void *memory, size_t size)
{
    if (fails())
        return NULL;
    return memory ? __libc_realloc(memory, size) : count_live(__libc_malloc(size));
}

URZA_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : count_live(__libc_memalign(align, size));
}

URZA_EXPORT void free(void *memory)
{
    if (memory && counted.on)
        atomic_fetch_sub(&counted.live, 1);
    __libc_free(memory);
}
#endif

static const urza_load_options unsigned_ones = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 2};

/* The key pair of test 1 of RFC 8032. */
static struct signing_key known_key(void)
{
    struct signing_key key;
    assert_true(hex_decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                           key.private_key, 32));
    assert_true(hex_decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                           key.public_key, 32));
    return key;
}

static void needs_counting(void)
{
    if (COUNTS_ALLOCATIONS)
        return;
    print_message("allocations cannot be counted under a sanitizer\n");
    skip();
}

static void loading_survives_every_failed_allocation(void **state)
{
    (void)state;
    needs_counting();
    struct test_package package;
    struct signing_key key = known_key();
    urza_load_options options = {
        .trusted_keys = &key.public_key, .trusted_key_count = 1, .threads = 2};
    test_package_make(&package, "4*B", &key);
    uint64_t n = 0; /* in the first round none fails; it fills the caches of the libraries */
    for (;; n++) {
        urza_module *module = NULL;
        urza_error err = {0};
        counted.count = 0;
        counted.live = 0;
        counted.fail_at = n;
        counted.on = true;
        int code =
            urza_load_memory(package.bytes.data, package.bytes.size_bytes, &options, &module, &err);
        counted.on = false;
        if (code != 0) {
            assert_null(module);
            assert_int_equal(counted.live, 0);
            assert_true(err.code == code && strlen(err.message) > 0);
            continue;
        }
        test_call(module, 3); /* a pool with fewer threads than asked for still works */
        urza_unload(module);
        if (n > 0 && counted.count < n)
            break;
    }
    assert_true(n > 20);
    test_package_free(&package);
}

/* Repeats the first call with a new shape until every allocation of it has failed once. */
static void walk_first_call(const char *temp_elements, uint64_t at_least)
{
    float x[12], y[12], s[12];
    struct test_tensor in, out[2];
    for (int i = 0; i < 12; i++)
        x[i] = test_x(i);
    test_tensor_init(&in, x, 3);
    test_tensor_init(&out[0], y, 3);
    test_tensor_init(&out[1], s, 3);
    memcpy(in.strides, (int64_t[]){-4, 1}, 16);
    in.dl.strides = in.strides; /* so that staging memory is allocated too */
    in.dl.byte_offset = 8 * sizeof(float);
    uint64_t n = 1;
    for (int code = -1; code != 0; n++) {
        urza_module *module = test_load(temp_elements, NULL);
        DLTensor outputs[2] = {out[0].dl, out[1].dl};
        outputs[1].data = NULL;
        urza_result *hold = NULL;
        urza_error err = {0};
        counted.count = 0;
        counted.fail_at = n;
        counted.on = true;
        code = urza_call(module, &in.dl, 1, outputs, 2, &hold, &err);
        counted.on = false;
        if (code != 0) {
            assert_int_equal(code, ERR_NOMEM);
            assert_null(hold);
            assert_null(outputs[1].data);
            outputs[1].data = NULL;
            must_work(urza_call(module, &in.dl, 1, outputs, 2, &hold, &err), &err);
        }
        assert_true(((float *)outputs[1].data)[0] == x[8] + 2 * test_w[0] + (x[8] + 2 * test_w[0]));
        urza_result_release(hold);
        urza_unload(module);
    }
    assert_true(n > at_least);
}

static void first_calls_survive_every_failed_allocation(void **state)
{
    (void)state;
    needs_counting();
    walk_first_call("4*B", 6);
    walk_first_call(NULL, 5);
}

static void later_calls_allocate_nothing(void **state)
{
    (void)state;
    needs_counting();
    urza_module *module = test_load("4*B", &unsigned_ones);
    static float x[80000], y[80000], s[80000];
    struct test_tensor in, out[2];
    urza_error err;
    for (int round = 0; round < 3; round++) {
        if (round > 0) {
            counted.count = 0;
            counted.fail_at = 0;
            counted.on = true;
        }
        for (int64_t i = 0; i < 30; i++) {
            int64_t rows = i < 20 ? i : i * 600;
            test_tensor_init(&in, x, rows);
            test_tensor_init(&out[0], y, rows);
            test_tensor_init(&out[1], s, rows);
            memcpy(in.strides, (int64_t[]){1, rows}, 16);
            in.dl.strides = i % 2 ? in.strides : NULL;
            DLTensor outputs[2] = {out[0].dl, out[1].dl};
            urza_result *hold = NULL;
            if (i % 3 == 0)
                outputs[0].data = NULL;
            int code = urza_call(module, &in.dl, 1, outputs, 2, &hold, &err);
            urza_result_release(hold);
            assert_int_equal(code, 0);
        }
        counted.on = false;
    }
    assert_int_equal(counted.count, 0);
    urza_unload(module);
}

static void trusts_as_told(void **state)
{
    (void)state;
    struct signing_key key = known_key();
    struct test_package with, without;
    test_package_make(&with, "4*B", &key);
    test_package_make(&without, "4*B", NULL);
    urza_module *module = NULL;
    urza_error err;
    uint8_t others[2][32] = {{1}, {2}};
    urza_load_options options = {.trusted_keys = others, .trusted_key_count = 2};
    must_give(urza_load_memory(with.bytes.data, with.bytes.size_bytes, &options, &module, &err),
              ERR_SIGNATURE, &err, "not trusted");
    must_give(
        urza_load_memory(without.bytes.data, without.bytes.size_bytes, &options, &module, &err),
        ERR_SIGNATURE, &err, "not signed");
    must_give(urza_load_memory(without.bytes.data, without.bytes.size_bytes, NULL, &module, &err),
              ERR_SIGNATURE, &err, "not signed");
    memcpy(others[1], key.public_key, 32);
    must_work(urza_load_memory(with.bytes.data, with.bytes.size_bytes, &options, &module, &err),
              &err);
    assert_string_equal(urza_kernel_id(module), with.id);
    test_call(module, 4);
    urza_unload(module);
    test_package_free(&with);
    test_package_free(&without);
}

/* Keys of a folder are trusted besides those that are given; a folder that others may write to is
 * refused, whatever else is trusted. */
static void trusts_keys_of_a_folder(void **state)
{
    (void)state;
    char home[] = "/tmp/urza-load-XXXXXX", command[80];
    struct test_package package;
    struct signing_key key;
    struct error error;
    urza_error err;
    urza_module *module = NULL;
    assert_non_null(mkdtemp(home));
    const urza_load_options options = {.home = home};
    assert_true(keys_open(home, &key, &error));
    test_package_make(&package, "4*B", &key);
    const void *bytes = package.bytes.data;
    size_t size = package.bytes.size_bytes;
    must_work(urza_load_memory(bytes, size, &options, &module, &err), &err);
    test_call(module, 2);
    urza_unload(module);
    module = NULL;
    must_give(urza_load_memory(bytes, size, NULL, &module, &err), ERR_SIGNATURE, &err, "trusted");
    const urza_load_options both = {
        .home = home, .trusted_keys = &key.public_key, .trusted_key_count = 1};
    assert_int_equal(chmod(home, 0777), 0);
    must_give(urza_load_memory(bytes, size, &both, &module, &err), ERR_SIGNATURE, &err, home);
    assert_null(module);
    snprintf(command, sizeof command, "rm -rf %s", home);
    assert_int_equal(system(command), 0);
    must_work(urza_load_memory(bytes, size, &both, &module, &err), &err); /* no folder, no keys */
    urza_unload(module);
    test_package_free(&package);
}

static void refuses_damage(void **state)
{
    (void)state;
    struct test_package package;
    test_package_make(&package, "4*B", NULL);
    urza_module *module = NULL;
    urza_error err;
    size_t size = package.bytes.size_bytes;
    char *bytes = package.bytes.data;
    for (size_t at = 0; at < size; at += 13) {
        bytes[at] ^= 0x10;
        assert_int_not_equal(urza_load_memory(bytes, size, &unsigned_ones, &module, &err), 0);
        bytes[at] ^= 0x10;
    }
    for (size_t cut = 0; cut < size; cut += 97)
        assert_int_not_equal(urza_load_memory(bytes, cut, &unsigned_ones, &module, &err), 0);
    must_give(urza_load_memory(NULL, 0, &unsigned_ones, &module, &err), ERR_PACKAGE, &err, "");
    assert_null(module);
    test_package_free(&package);
}

static void refuses_wrong_options(void **state)
{
    (void)state;
    struct test_package package;
    test_package_make(&package, "4*B", NULL);
    const char *bytes = package.bytes.data;
    size_t size = package.bytes.size_bytes;
    urza_module *module = NULL;
    urza_error err;
    urza_load_options options = unsigned_ones;
    options.threads = LIMIT_THREADS + 1;
    must_give(urza_load_memory(bytes, size, &options, &module, &err), ERR_LIMIT, &err, "threads");
    options = unsigned_ones;
    options.trust = (urza_trust)7;
    must_give(urza_load_memory(bytes, size, &options, &module, &err), ERR_USAGE, &err, "trust");
    options = unsigned_ones;
    options.trusted_key_count = 1;
    must_give(urza_load_memory(bytes, size, &options, &module, &err), ERR_USAGE, &err, "keys");
    options = unsigned_ones;
    options.target = "x86-64-v4";
    must_give(urza_load_memory(bytes, size, &options, &module, &err), ERR_TARGET, &err, "no code");
    options.target = "x86-64-v2";
    must_give(urza_load_memory(bytes, size, &options, NULL, &err), ERR_USAGE, &err, "NULL");
    must_give(urza_load_memory(NULL, 3, &options, &module, &err), ERR_USAGE, &err, "NULL");
    assert_null(module);
    must_work(urza_load_memory(bytes, size, &options, &module, &err), &err);
    assert_string_equal(urza_target(module), "x86-64-v2");
    urza_unload(module);
    urza_unload(NULL);
    test_package_free(&package);
}

static void loads_files(void **state)
{
    (void)state;
    struct test_package package;
    test_package_make(&package, "4*B", NULL);
    char path[] = "urza-load-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    ssize_t written = write(fd, package.bytes.data, package.bytes.size_bytes);
    close(fd);
    urza_module *module = NULL;
    urza_error err;
    int code = urza_load(path, &unsigned_ones, &module, &err);
    unlink(path);
    assert_int_equal(written, package.bytes.size_bytes);
    must_work(code, &err);
    test_call(module, 2);
    urza_unload(module);
    module = NULL;
    must_give(urza_load(path, &unsigned_ones, &module, &err), ERR_NOT_FOUND, &err, path);
    must_give(urza_load(NULL, &unsigned_ones, &module, &err), ERR_USAGE, &err, "NULL");
    assert_null(module);
    test_package_free(&package);
}

/* The param of a borrowed package is not copied, and not written. */
static void borrows_packages(void **state)
{
    (void)state;
    struct test_package package;
    test_package_make(&package, "4*B", NULL);
    size_t size = package.bytes.size_bytes, room = (size + 63) / 64 * 64;
    char *bytes = aligned_alloc(URZA_BORROW_ALIGN, room);
    assert_non_null(bytes);
    memcpy(bytes, package.bytes.data, size);
    urza_module *module = NULL;
    urza_error err;
    must_work(urza_load_borrowed(bytes, size, &unsigned_ones, &module, &err), &err);
    const char *param = module->params[0];
    assert_true(param > bytes && param < bytes + size);
    test_call(module, 2);
    float data[4] = {0};
    int64_t shape[1] = {4};
    DLTensor value = {data, {kDLCPU, 0}, 1, {kDLFloat, 32, 1}, shape, NULL, 0};
    must_give(urza_param_set(module, "w", &value, &err), ERR_USAGE, &err, "borrowed");
    urza_unload(module);
    assert_memory_equal(bytes, package.bytes.data, size);
    must_work(urza_load_memory(bytes, size, &unsigned_ones, &module, &err), &err);
    param = module->params[0];
    assert_false(param > bytes && param < bytes + size);
    must_work(urza_param_set(module, "w", &value, &err), &err);
    urza_unload(module);
    free(bytes);
    module = NULL;
    must_give(urza_load_borrowed(NULL, 3, &unsigned_ones, &module, &err), ERR_USAGE, &err, "NULL");
    test_package_free(&package);
}

int main(void)
{
#if COUNTS_ALLOCATIONS
    json_set_alloc_funcs(__libc_malloc, __libc_free);
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_survives_every_failed_allocation),
        cmocka_unit_test(first_calls_survive_every_failed_allocation),
        cmocka_unit_test(later_calls_allocate_nothing),
        cmocka_unit_test(trusts_as_told),
        cmocka_unit_test(trusts_keys_of_a_folder),
        cmocka_unit_test(refuses_damage),
        cmocka_unit_test(refuses_wrong_options),
        cmocka_unit_test(loads_files),
        cmocka_unit_test(borrows_packages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
