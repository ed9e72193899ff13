#include "package/test_util.h"

struct fixture {
    struct arena arena;
    struct zip zip;
    struct strbuf bytes;
    struct error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    arena_init(&f.arena);
    zip_add(&f.zip, "manifest.json", "{\"a\":1}", 7);
    zip_add(&f.zip, "code/x86-64-v4", "\x90\x90\xc3", 3);
    zip_add(&f.zip, "empty", NULL, 0);
    strbuf_init(&f.bytes, &f.arena);
    must(zip_write(&f.zip, &f.bytes, &f.err), &f.err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static void crc_has_its_check_value(void **state)
{
    (void)state;
    struct crc32 crc;
    crc32_init(&crc);
    assert_int_equal(crc32_of(&crc, "123456789", 9), 0xcbf43926);
    assert_int_equal(crc32_of(&crc, NULL, 0), 0);
    char bytes[64];
    for (int i = 0; i < 64; i++)
        bytes[i] = (char)i;
    assert_int_equal(crc32_of(&crc, bytes, 64), 0x100ece8c); /* the value that zlib computes */
}

/* Bit by bit, from the definition of the polynomial. */
static uint32_t plain_crc(const uint8_t *bytes, size_t size)
{
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ ((sum & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~sum;
}

static void both_ways_to_the_crc_agree(void **state)
{
    (void)state;
    uint8_t bytes[400];
    struct crc32 crc, by_tables;
    crc32_init(&crc);
    by_tables = crc;
    by_tables.by_tables = true;
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t start = 0; start < 3; start++)
        for (size_t size = 0; start + size <= sizeof bytes; size++) {
            uint32_t expected = plain_crc(bytes + start, size);
            assert_int_equal(crc32_of(&crc, bytes + start, size), expected);
            assert_int_equal(crc32_of(&by_tables, bytes + start, size), expected);
        }
}

static void reads_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    struct zip zip;
    must(zip_read(f->bytes.data, f->bytes.size_bytes, &zip, &f->err), &f->err);
    assert_int_equal(zip.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct zip_entry *a = &f->zip.entries[i], *b = &zip.entries[i];
        assert_int_equal(a->name_bytes, b->name_bytes);
        assert_memory_equal(a->name, b->name, a->name_bytes);
        assert_int_equal(a->size_bytes, b->size_bytes);
        if (a->size_bytes > 0)
            assert_memory_equal(a->data, b->data, a->size_bytes);
        assert_int_equal((b->data - (const uint8_t *)f->bytes.data) % 64, 0);
    }
    assert_ptr_equal(zip_find(&zip, "empty"), &zip.entries[2]);
    assert_null(zip_find(&zip, "empt"));
    assert_null(zip_find(&zip, "emptyy"));
}

static void empty_archive(void **state)
{
    struct fixture *f = *state;
    struct zip zip = {0};
    struct strbuf bytes;
    strbuf_init(&bytes, &f->arena);
    must(zip_write(&zip, &bytes, &f->err), &f->err);
    assert_int_equal(bytes.size_bytes, 22);
    must(zip_read(bytes.data, bytes.size_bytes, &zip, &f->err), &f->err);
    assert_int_equal(zip.count, 0);
    must_fail(zip_read("", 0, &zip, &f->err), &f->err, ERR_PACKAGE, "not an archive");
}

static void appends_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    struct strbuf bytes;
    strbuf_init(&bytes, &f->arena);
    strbuf_puts(&bytes, "prefix");
    must(zip_write(&f->zip, &bytes, &f->err), &f->err);
    assert_int_equal(bytes.size_bytes, 6 + f->bytes.size_bytes);
    assert_memory_equal(bytes.data + 6, f->bytes.data, f->bytes.size_bytes);
}

static void refuses_every_flip_and_cut(void **state)
{
    struct fixture *f = *state;
    struct zip zip;
    size_t size = f->bytes.size_bytes;
    char *bytes = f->bytes.data;
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        if (zip_read(bytes, size, &zip, &f->err))
            TEST_FAILED("bit %zu may flip", bit);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        /* A copy of exactly this size, so that a sanitizer detects a read beyond the end. */
        char *copy = test_malloc(cut + 1);
        memcpy(copy, bytes, cut);
        if (zip_read(copy, cut, &zip, &f->err))
            TEST_FAILED("%zu of %zu bytes are enough", cut, size);
        test_free(copy);
    }
    strbuf_add(&f->bytes, "", 1);
    must_fail(zip_read(f->bytes.data, size + 1, &zip, &f->err), &f->err, ERR_PACKAGE,
              "not an archive");
}

static void refuses_a_wrong_crc_in_both_headers(void **state)
{
    struct fixture *f = *state;
    struct zip zip;
    uint32_t crc = f->zip.entries[0].crc;
    int changed = 0;
    for (size_t at = 0; at + 4 <= f->bytes.size_bytes; at++) {
        if (memcmp(f->bytes.data + at, &crc, 4) == 0) {
            f->bytes.data[at]++;
            changed++;
        }
    }
    assert_int_equal(changed, 2);
    must_fail(zip_read(f->bytes.data, f->bytes.size_bytes, &zip, &f->err), &f->err, ERR_PACKAGE,
              "manifest.json");
}

static void names(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",     "/a",   "a/",  "a//b", "..",       "a/../b",
                                      "a..b", "a\\b", "a b", "a\n",  "\xc3\xa4", "a:b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct zip zip = {0};
        zip_add(&zip, bad[i], "", 0);
        must_fail(zip_write(&zip, &f->bytes, &f->err), &f->err, ERR_PACKAGE, "entry name");
    }
    char longest[LIMIT_NAME + 2];
    memset(longest, 'n', sizeof longest);
    assert_true(zip_name_ok(longest, LIMIT_NAME));
    assert_false(zip_name_ok(longest, LIMIT_NAME + 1));
    assert_true(zip_name_ok("a/b-c_d.E9", 10));

    struct zip zip = {0};
    zip_add(&zip, "a", "", 0);
    zip_add(&zip, "a", "", 0);
    must_fail(zip_write(&zip, &f->bytes, &f->err), &f->err, ERR_PACKAGE, "double");
}

static void small_archives_have_no_zip64_fields(void **state)
{
    struct fixture *f = *state;
    char hex[SHA256_HEX_BYTES];
    sha256_hex(f->bytes.data, f->bytes.size_bytes, hex); /* the digest from before ZIP64 was
                                                            supported */
    assert_string_equal(hex, "174517f614a05dff825afbf26cd12855bd960578b6ff5bf4bc1e4ba7c5e6729e");
}

/* Field by field from PKWARE's APPNOTE 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3. */
static void zip64_fields_are_those_of_the_standard(void **state)
{
    struct fixture *f = *state;
#define ONES "\xff\xff\xff\xff"
#define ZEROS "\0\0\0\0"
#define EIGHT_BYTES(low) low "\0\0\0" ZEROS
    static const char expected[] =
        /* local header: version 4.5, sizes in the field of 16 bytes, then alignment */
        "PK\3\4\x2d\0\0\0\0\0\0\0\x21\0\x83\x16\xdc\x8c" ONES ONES "\1\0\x21\0"
        "a"
        "\1\0\x10\0" EIGHT_BYTES("\1")
            EIGHT_BYTES("\1") "\x35\xd9\x09\0\x40\0" ZEROS "\0\0\0"
                              "x"
                              /* central header: the offset, 0, needs no field */
                              "PK\1\2\x2d\3\x2d\0\0\0\0\0\0\0\x21\0\x83\x16\xdc\x8c" ONES ONES
                              "\1\0\x14\0"
                              "\0\0\0\0\0\0"
                              "\0\0\xa4\x81" ZEROS "a"
                              "\1\0\x10\0" EIGHT_BYTES("\1") EIGHT_BYTES("\1")
        /* ZIP64 end record: 44 bytes follow; 67 of directory from 65 on */
        "PK\6\6" EIGHT_BYTES("\x2c") "\x2d\3\x2d\0" ZEROS ZEROS EIGHT_BYTES("\1") EIGHT_BYTES("\1")
            EIGHT_BYTES("\x43") EIGHT_BYTES("\x41")
        /* its locator, then the end record */
        "PK\6\7" ZEROS EIGHT_BYTES("\x84") "\1\0\0\0"
                                           "PK\5\6" ZEROS "\1\0\1\0" ONES ONES "\0\0";
    struct zip zip = {0};
    struct strbuf bytes;
    strbuf_init(&bytes, &f->arena);
    zip_add(&zip, "a", "x", 1);
    must(zip_write_zip64(&zip, 1, &bytes, &f->err), &f->err);
    assert_int_equal(bytes.size_bytes, sizeof expected - 1);
    assert_memory_equal(bytes.data, expected, sizeof expected - 1);
}

/* Every value of zip64_from that makes a difference: all numbers in that form, some sizes, only
 * offsets, none. */
static void reads_what_it_wrote_as_zip64(void **state)
{
    struct fixture *f = *state;
    size_t last = 0;
    for (uint64_t zip64_from = 0; zip64_from < 400; zip64_from++) {
        struct zip zip, written = f->zip;
        struct strbuf bytes;
        strbuf_init(&bytes, &f->arena);
        must(zip_write_zip64(&written, zip64_from, &bytes, &f->err), &f->err);
        must(zip_read_zip64(bytes.data, bytes.size_bytes, zip64_from, &zip, &f->err), &f->err);
        assert_int_equal(zip.count, 3);
        for (uint32_t i = 0; i < zip.count; i++) {
            assert_int_equal(zip.entries[i].size_bytes, f->zip.entries[i].size_bytes);
            assert_int_equal(zip.entries[i].offset, written.entries[i].offset);
            assert_int_equal((zip.entries[i].data - (const uint8_t *)bytes.data) % 64, 0);
        }
        /* The form follows from the sizes: a number in ZIP64 form without need is refused. */
        if (bytes.size_bytes != f->bytes.size_bytes ||
            memcmp(bytes.data, f->bytes.data, bytes.size_bytes) != 0)
            must_fail(zip_read(bytes.data, bytes.size_bytes, &zip, &f->err), &f->err, ERR_PACKAGE,
                      "");
        assert_true(last == 0 || bytes.size_bytes <= last);
        last = bytes.size_bytes;
    }
    assert_int_equal(last, f->bytes.size_bytes);
}

static void refuses_every_flip_and_cut_of_zip64(void **state)
{
    struct fixture *f = *state;
    static const uint64_t forms[] = {0, 4, 64, 150};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct zip zip;
        struct strbuf bytes;
        strbuf_init(&bytes, &f->arena);
        must(zip_write_zip64(&f->zip, forms[i], &bytes, &f->err), &f->err);
        for (size_t bit = 0; bit < bytes.size_bytes * 8; bit++) {
            bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ 1 << bit % 8);
            if (zip_read_zip64(bytes.data, bytes.size_bytes, forms[i], &zip, &f->err))
                TEST_FAILED("form %zu: bit %zu may flip", i, bit);
            bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ 1 << bit % 8);
        }
        for (size_t cut = 0; cut < bytes.size_bytes; cut++) {
            char *copy = test_malloc(cut + 1);
            memcpy(copy, bytes.data, cut);
            if (zip_read_zip64(copy, cut, forms[i], &zip, &f->err))
                TEST_FAILED("form %zu: %zu bytes are enough", i, cut);
            test_free(copy);
        }
    }
}

static void limits(void **state)
{
    struct fixture *f = *state;
    struct zip zip = {0};
    zip_add(&zip, "a", "", (size_t)LIMIT_PACKAGE_BYTES - 100);
    must_fail(zip_write(&zip, &f->bytes, &f->err), &f->err, ERR_LIMIT, "larger");
    zip.count = 0;
    zip_add(&zip, "a", "", SIZE_MAX);
    must_fail(zip_write(&zip, &f->bytes, &f->err), &f->err, ERR_LIMIT, "larger");
    zip.count = 0;
    zip_add(&zip, "a", "", (size_t)LIMIT_PACKAGE_BYTES / 2);
    zip_add(&zip, "b", "", (size_t)LIMIT_PACKAGE_BYTES / 2);
    must_fail(zip_write(&zip, &f->bytes, &f->err), &f->err, ERR_LIMIT, "larger");
    must_fail(zip_read("", (size_t)LIMIT_PACKAGE_BYTES + 1, &zip, &f->err), &f->err, ERR_LIMIT,
              "larger");

    /* As many entries as are allowed, and a directory that looks like one more entry. */
    static char names[LIMIT_PACKAGE_ENTRIES][16];
    struct strbuf bytes;
    strbuf_init(&bytes, &f->arena);
    zip.count = 0;
    for (int i = 0; i < LIMIT_PACKAGE_ENTRIES; i++) {
        snprintf(names[i], sizeof names[i], "e%d", i);
        zip_add(&zip, names[i], "x", 1);
    }
    must(zip_write(&zip, &bytes, &f->err), &f->err);
    must(zip_read(bytes.data, bytes.size_bytes, &zip, &f->err), &f->err);
    size_t central = 0;
    while (memcmp(bytes.data + central, "PK\1\2", 4) != 0)
        central++;
    memcpy(bytes.data + central, "PK\3\4", 4);
    must_fail(zip_read(bytes.data, bytes.size_bytes, &zip, &f->err), &f->err, ERR_LIMIT,
              "256 entries");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(crc_has_its_check_value),
        TEST(both_ways_to_the_crc_agree),
        TEST(reads_what_it_wrote),
        TEST(empty_archive),
        TEST(appends_the_same_bytes),
        TEST(refuses_every_flip_and_cut),
        TEST(refuses_a_wrong_crc_in_both_headers),
        TEST(small_archives_have_no_zip64_fields),
        TEST(zip64_fields_are_those_of_the_standard),
        TEST(reads_what_it_wrote_as_zip64),
        TEST(refuses_every_flip_and_cut_of_zip64),
        TEST(names),
        TEST(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
