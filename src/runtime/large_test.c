#include "runtime/test_util.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static const urza_load_options unsigned_ones = {.trust = URZA_TRUST_ALLOW_UNSIGNED};

static int open_test_file(char *path)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    return fd;
}

/* Sparse files, which have a large size but use no disk space. */
static void what_is_too_large_is_not_read(void **state)
{
    (void)state;
    const off_t sizes[] = {(off_t)memory_half() + 1, (off_t)LIMIT_PACKAGE_BYTES + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char path[] = "urza-large-test-XXXXXX";
        int fd = open_test_file(path);
        bool made = ftruncate(fd, sizes[i]) == 0;
        close(fd);
        urza_module *module = NULL;
        urza_error err;
        int code = urza_load(path, &unsigned_ones, &module, &err);
        unlink(path);
        if (!made) {
            print_message("no file can have %jd bytes here\n", (intmax_t)sizes[i]);
            skip();
        }
        must_give(code, ERR_LIMIT, &err, "are allowed");
        assert_null(module);
    }
}

static void bytes_that_are_too_many_are_not_read(void **state)
{
    (void)state;
    urza_module *module = NULL;
    urza_error err;
    must_give(
        urza_load_memory("PK", (size_t)LIMIT_PACKAGE_BYTES + 1, &unsigned_ones, &module, &err),
        ERR_LIMIT, &err, "more than");
    assert_null(module);
}

#define W_ELEMENTS 1100000000 /* 4.4 GB of f32 */
static const char graph_text[] = "graph \"large\"\n"
                                 "%1 = input \"x\" : f32[4]\n"
                                 "%2 = param \"w\" : f32[1100000000]\n"
                                 "%3 = param \"v\" : f32[4]\n"
                                 "%4 = add %1, %3 : f32[4]\n"
                                 "output \"y\" %4\n";
static const float v[4] = {1, -2, 3, 0.5f};

/* Writes only non-zero blocks; the rest of the file takes no disk space. */
static void write_sparse(int fd, const char *bytes, size_t size)
{
    enum { BLOCK = 1 << 16 };
    static const char zeros[BLOCK];
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    for (size_t at = 0; at < size; at += BLOCK) {
        size_t count = size - at < BLOCK ? size - at : BLOCK;
        if (memcmp(bytes + at, zeros, count) != 0)
            assert_int_equal(pwrite(fd, bytes + at, count, (off_t)at), count);
    }
}

/* w is almost all zeros in pages that take no memory either. */
static void write_large_package(int fd, float *w, char id[KERNEL_ID_BYTES])
{
    struct arena arena;
    struct error err;
    struct strbuf bytes;
    arena_init(&arena);
    struct package_param params[] = {{DTYPE_F32, w, W_ELEMENTS * sizeof *w},
                                     {DTYPE_F32, v, sizeof v}};
    struct package_contents *contents = ARENA_NEW(&arena, struct package_contents);
    *contents = (struct package_contents){
        .name = "large",
        .compiler = "by hand",
        .strategy = "emergency",
        .blueprint_json = "{}",
        .blueprint_bytes = 2,
        .params = params,
        .evidence_json = "{}",
        .evidence_bytes = 2,
    };
    must(graph_parse(&contents->graph, &arena, graph_text, strlen(graph_text), &err), &err);
    strbuf_init(&bytes, &arena);
    must(package_write(contents, NULL, &bytes, id, &err), &err);
    assert_true(bytes.size_bytes > UINT32_MAX);
    write_sparse(fd, bytes.data, bytes.size_bytes);
    arena_release(&arena);
}

static void a_package_above_4_gib_loads(void **state)
{
    (void)state;
    size_t w_bytes = W_ELEMENTS * sizeof(float);
    float *w = mmap(NULL, w_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(w, MAP_FAILED);
    w[0] = 3;
    w[W_ELEMENTS - 1] = 7;
    char path[] = "urza-large-test-XXXXXX", id[KERNEL_ID_BYTES];
    int fd = open_test_file(path);
    write_large_package(fd, w, id);
    close(fd);
    munmap(w, w_bytes);
    urza_module *module = NULL;
    urza_error err;
    int code = urza_load(path, &unsigned_ones, &module, &err);
    unlink(path);
    must_work(code, &err);
    assert_string_equal(urza_kernel_id(module), id);
    const float *loaded = module->params[0];
    assert_true(loaded[0] == 3 && loaded[1] == 0 && loaded[W_ELEMENTS - 1] == 7);
    assert_memory_equal(module->params[1], v, sizeof v);
    urza_unload(module);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_too_large_is_not_read),
        cmocka_unit_test(bytes_that_are_too_many_are_not_read),
    };
    const struct CMUnitTest exhaustive[] = {
        cmocka_unit_test(a_package_above_4_gib_loads),
    };
    return argc > 1 && strcmp(argv[1], "--exhaustive") == 0
               ? cmocka_run_group_tests(exhaustive, NULL, NULL)
               : cmocka_run_group_tests(tests, NULL, NULL);
}
