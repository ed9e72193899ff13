#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "compiler/import/import_test_util.h"

static const float numbers[] = {1, 2, 3, 4, 5, 6};

struct fixture {
    struct arena arena;
    char folder[32], path[64];
    struct error err;
};

/* Writes a file of a header and six numbers. size_change: added to the size of the header that the
 * file states. */
static void write_file(struct fixture *f, const char *header, int size_change)
{
    struct strbuf bytes;
    uint8_t size[8] = {(uint8_t)((int)strlen(header) + size_change)};
    strbuf_init(&bytes, &f->arena);
    strbuf_add(&bytes, size, sizeof size);
    strbuf_puts(&bytes, header);
    strbuf_add(&bytes, numbers, sizeof numbers);
    assert_true(file_write_atomic(f->path, bytes.data, bytes.size_bytes, 0600, &f->err));
}

static const float *read_w(struct fixture *f)
{
    struct import_tensor w = {
        .name = "w", .dtype = DTYPE_F32, .rank = 2, .shape = {2, 2}, .bytes = 4 * sizeof(float)};
    void *out = NULL;
    f->err.code = ERR_NONE;
    int fd = file_open(f->path, &f->err);
    bool ok = fd >= 0 && import_safetensors(fd, f->path, &w, &f->arena, &out, &f->err);
    if (fd >= 0)
        close(fd);
    return ok ? out : NULL;
}

static void expect_failure(struct fixture *f, const char *header, enum error_code code)
{
    write_file(f, header, 0);
    assert_null(read_w(f));
    assert_int_equal(f->err.code, code);
}

static void test_reads_one_tensor(void **state)
{
    (void)state;
    struct fixture f = {.folder = "/tmp/safetensors-XXXXXX"};
    arena_init(&f.arena);
    assert_non_null(mkdtemp(f.folder));
    snprintf(f.path, sizeof f.path, "%s/p.safetensors", f.folder);
    assert_null(read_w(&f));
    assert_int_equal(f.err.code, ERR_NOT_FOUND);

#define ENTRY(dtype, shape, offsets) \
    "{\"w\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    write_file(&f, ENTRY("F32", "[2,2]", "[8,24]"), 0);
    const float *w = read_w(&f);
    assert_non_null(w);
    assert_memory_equal(w, numbers + 2, 4 * sizeof *w);

    expect_failure(&f, "{}", ERR_NOT_FOUND);
    expect_failure(&f, "{", ERR_JSON);
    expect_failure(&f, ENTRY("F64", "[2,2]", "[8,24]"), ERR_SHAPE);
    expect_failure(&f, ENTRY("F32", "[4]", "[8,24]"), ERR_SHAPE);
    expect_failure(&f, ENTRY("F32", "[2,2]", "[8,20]"), ERR_PARSE);
    expect_failure(&f, ENTRY("F32", "[2,2]", "[-8,8]"), ERR_PARSE);
    expect_failure(&f, ENTRY("F32", "[2,2]", "[16,32]"), ERR_PARSE);
    write_file(&f, ENTRY("F32", "[2,2]", "[8,24]"), 120);
    assert_null(read_w(&f));
    assert_int_equal(f.err.code, ERR_PARSE);

    unlink(f.path);
    rmdir(f.folder);
    arena_release(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_one_tensor)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
