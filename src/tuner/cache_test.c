/* The cache: many processes at once, damaged files, other devices and formats, export. */
#include "tuner/test_util.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct cache_file file_of(struct fixture *f)
{
    struct cache_file file;
    struct device device;
    device_ask(&f->arena, &device);
    cache_file_init(&file, &f->arena, f->folder, device.fingerprint);
    return file;
}

static struct table table_of(struct fixture *f)
{
    struct table table;
    table_init(&table, &f->arena);
    return table;
}

static struct warner warner_of(struct fixture *f)
{
    return (struct warner){note_warning, f};
}

/* A record of no real kernel, for entries that are only stored. */
static struct invocation made_up(struct fixture *f, uint32_t number)
{
    struct strbuf text;
    struct invocation out;
    struct error err;
    strbuf_init(&text, &f->arena);
    strbuf_printf(&text,
                  "{\"compiler\":\"c\",\"features\":\"\",\"graph\":\"%u\",\"op\":\"op%u\","
                  "\"operands\":[\"f32[1]\"],\"result\":\"f32[1]\",\"target\":\"t\"}",
                  number, number % 2);
    assert_true(invocation_read(text.data, text.size_bytes, &f->arena, &out, NULL, &err));
    assert_string_equal(out.json, text.data);
    return out;
}

static void store(struct fixture *f, uint32_t number, int32_t rows, int64_t at)
{
    struct cache_file file = file_of(f);
    struct table table = table_of(f);
    struct warner warner = warner_of(f);
    struct invocation invocation = made_up(f, number);
    struct entry entry = entry_from(f, &invocation, rows, at);
    table_merge(&table, &entry);
    cache_file_merge(&file, &table, true, &warner);
}

static const struct entry *stored(struct fixture *f, uint32_t number)
{
    struct cache_file file = file_of(f);
    struct table *table = ARENA_NEW(&f->arena, struct table);
    struct warner warner = warner_of(f);
    struct invocation invocation = made_up(f, number);
    table_init(table, &f->arena);
    cache_file_read(&file, table, &warner);
    return table_find(table, invocation.key);
}

enum { PROCESSES = 8, OWN = 12, SHARED = 4 };

/* Each process stores entries of its own, and entries that all store. */
static void processes_lose_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t children[PROCESSES];
    for (uint32_t p = 0; p < PROCESSES; p++) {
        children[p] = fork();
        assert_true(children[p] >= 0);
        if (children[p] > 0)
            continue;
        for (uint32_t i = 0; i < OWN; i++) {
            store(f, 1000 + p * OWN + i, (int32_t)(1 + i), 5);
            store(f, i % SHARED, (int32_t)(10 + p), (int64_t)(100 * (i + 1) + p));
        }
        _exit(f->warning_count == 0 ? 0 : 1);
    }
    for (uint32_t p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(children[p], &status, 0), children[p]);
        assert_int_equal(status, 0);
    }
    for (uint32_t n = 1000; n < 1000 + PROCESSES * OWN; n++) {
        const struct entry *entry = stored(f, n);
        assert_non_null(entry);
        assert_int_equal(entry->config.value[CONFIG_ROWS], 1 + (n - 1000) % OWN);
    }
    for (uint32_t n = 0; n < SHARED; n++) {
        const struct entry *entry = stored(f, n);
        assert_non_null(entry); /* the latest measurement, whichever process wrote last */
        assert_int_equal(entry->at, 100 * (OWN - SHARED + n + 1) + PROCESSES - 1);
        assert_int_equal(entry->config.value[CONFIG_ROWS], 10 + PROCESSES - 1);
    }
    assert_int_equal(f->warning_count, 0);
}

static void merging_has_no_order(void **state)
{
    struct fixture *f = *state;
    struct invocation invocation = made_up(f, 1);
    struct entry entries[4] = {
        {.invocation = invocation.json},
        entry_from(f, &invocation, 2, 10),
        entry_from(f, &invocation, 3, 11),
        entry_from(f, &invocation, 4, 11),
    };
    memcpy(entries[0].key, invocation.key, sizeof invocation.key);
    entries[3].ns = 99;
    for (uint32_t order = 0; order < 256; order++) {
        struct table table = table_of(f);
        uint32_t seen = 0;
        for (uint32_t i = 0; i < 4; i++) {
            table_merge(&table, &entries[order >> 2 * i & 3]);
            seen |= 1u << (order >> 2 * i & 3);
        }
        const struct entry *kept = table_find(&table, invocation.key);
        uint32_t best = seen & 8 ? 3 : seen & 4 ? 2 : seen & 2 ? 1 : 0;
        assert_int_equal(kept->config.value[CONFIG_ROWS], entries[best].config.value[CONFIG_ROWS]);
        assert_int_equal(table.entries.count, 1);
    }
}

static void put(const struct cache_file *file, const char *text, size_t size)
{
    struct error err;
    assert_true(file_write_atomic(file->path, text, size, 0644, &err));
}

static bool exists(struct fixture *f, const char *path, const char *suffix)
{
    struct strbuf name;
    struct stat info;
    strbuf_init(&name, &f->arena);
    strbuf_printf(&name, "%s%s", path, suffix);
    return stat(name.data, &info) == 0;
}

/* Returns how many of the file's four entries are read after some damage. If there was a warning,
 * the damaged file must have been saved, and reading again gives the same entries without a
 * warning. */
static uint32_t survivors(struct fixture *f, const char *text, size_t size, uint32_t *warnings)
{
    struct cache_file file = file_of(f);
    struct table table = table_of(f), again = table_of(f);
    struct warner warner = warner_of(f);
    put(&file, text, size);
    f->warning_count = 0;
    f->warnings[0] = '\0';
    cache_file_read(&file, &table, &warner);
    *warnings = f->warning_count;
    if (f->warning_count > 0) {
        struct cache_file fresh = file_of(f);
        struct error err;
        char *aside;
        size_t aside_size;
        struct strbuf name;
        strbuf_init(&name, &f->arena);
        strbuf_printf(&name, "%s.damaged", file.path);
        assert_true(file_read(name.data, 1 << 20, &aside, &aside_size, &err));
        assert_int_equal(aside_size, size);
        assert_memory_equal(aside, text, size);
        free(aside);
        f->warning_count = 0;
        cache_file_read(&fresh, &again, &warner);
        assert_int_equal(f->warning_count, 0);
        assert_int_equal(again.entries.count, table.entries.count);
    }
    return table.entries.count;
}

static void damage_is_a_miss(void **state)
{
    struct fixture *f = *state;
    struct cache_file file = file_of(f);
    struct error err;
    char *text;
    size_t size;
    uint32_t warnings;
    for (uint32_t i = 0; i < 4; i++)
        store(f, i, 2, 7);
    assert_true(file_read(file.path, 1 << 20, &text, &size, &err));
    assert_int_equal(survivors(f, text, size, &warnings), 4);
    assert_int_equal(warnings, 0);
    for (size_t at = 0; at < size; at += 37) {
        text[at] = (char)(text[at] ^ 1 << at % 8);
        uint32_t left = survivors(f, text, size, &warnings);
        assert_true(left >= 2 && left <= 4); /* a flipped newline joins two lines */
        assert_true(warnings > 0);
        text[at] = (char)(text[at] ^ 1 << at % 8);
    }
    for (size_t length = 0; length < size - 1; length += 61) {
        uint32_t left = survivors(f, text, length, &warnings);
        assert_true(left < 4 && warnings > 0);
    }
    assert_int_equal(survivors(f, "\0\n\xff\n\n", 5, &warnings), 0);
    assert_true(warnings > 0);
    assert_true(exists(f, file.path, ".damaged"));
    free(text);
}

static void newer_formats_are_left_alone(void **state)
{
    struct fixture *f = *state;
    static const char line[] = "urza.tuning/2 something else";
    struct cache_file file = file_of(f);
    struct table table = table_of(f);
    struct warner warner = warner_of(f);
    struct strbuf text;
    struct error err;
    char sum[SHA256_HEX_BYTES], *found;
    size_t size;
    sha256_hex(line, sizeof line - 1, sum);
    strbuf_init(&text, &f->arena);
    strbuf_printf(&text, "%s %s\nand more\n", sum, line);
    put(&file, text.data, text.size_bytes);
    cache_file_read(&file, &table, &warner);
    assert_int_equal(table.entries.count, 0);
    assert_int_equal(f->warning_count, 1);
    assert_non_null(strstr(f->warnings, "urza.tuning/2"));
    store(f, 1, 2, 3); /* another handle */
    assert_true(file_read(file.path, 1 << 20, &found, &size, &err));
    assert_string_equal(found, text.data);
    assert_false(exists(f, file.path, ".damaged"));
    free(found);
}

static void folders_may_be_of_no_use(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    struct entry entry = entry_from(f, &product, 3, 1000);
    char path[64], *config = NULL;
    urza_config_source source;
    snprintf(path, sizeof path, "%s/file", f->folder); /* a file in place of a folder */
    assert_true(file_write_atomic(path, "x", 1, 0644, &err));
    urza_tuner_options options = {.directory = path, .on_warning = note_warning, .user = f};
    urza_tuner *tuner;
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    keep(tuner, &entry);
    assert_true(f->warning_count > 0);
    assert_int_equal(urza_tuner_choose(tuner, product.json, &config, &source, NULL), 0);
    assert_int_equal(source, URZA_CONFIG_MEMORY);
    urza_tune_free(config);
    urza_tuner_close(tuner);
}

static void exported_is_imported(void **state)
{
    struct fixture *f = *state;
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("25", "32", "16"));
    struct entry mine = entry_from(f, &a, 3, 1000), foreign = entry_from(f, &b, 4, 1000);
    char *text = NULL, *again = NULL, *list = NULL, *shown = NULL;
    uint32_t count = 0;
    urza_error err;
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    keep(tuner, &mine);
    assert_int_equal(urza_tuner_export(tuner, &text, NULL), 0);
    assert_int_equal(urza_tuner_clear(tuner, PRODUCT_OP, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(urza_tuner_list(tuner, &list, NULL), 0);
    assert_string_equal(list, "[]");
    urza_tune_free(list);
    assert_int_equal(urza_tuner_show(tuner, a.key, &shown, &err), ERR_NOT_FOUND);
    text[100] ^= 1;
    assert_int_equal(urza_tuner_import(tuner, text, strlen(text), &count, &err), ERR_JSON);
    text[100] ^= 1;
    assert_int_equal(urza_tuner_import(tuner, text, strlen(text), &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(urza_tuner_export(tuner, &again, NULL), 0);
    assert_string_equal(text, again);
    urza_tune_free(text);
    urza_tune_free(again);

    struct table table = table_of(f);
    struct strbuf other;
    memset(foreign.device, 'a', sizeof foreign.device - 1);
    table_merge(&table, &foreign);
    strbuf_init(&other, &f->arena);
    cache_print(&table, &other);
    assert_int_equal(urza_tuner_import(tuner, other.data, other.size_bytes, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(urza_tuner_show(tuner, b.key, &shown, &err), ERR_NOT_FOUND);
    struct cache_file file;
    struct table found = table_of(f);
    struct warner warner = warner_of(f);
    cache_file_init(&file, &f->arena, f->folder, foreign.device);
    cache_file_read(&file, &found, &warner);
    assert_non_null(table_find(&found, b.key));

    assert_int_equal(urza_tuner_clear(tuner, "abc", &count, &err), ERR_USAGE);
    assert_int_equal(urza_tuner_clear(tuner, "*", &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(f->warning_count, 0);
    urza_tuner_close(tuner);
}

static void recorded_are_tuned(void **state)
{
    struct fixture *f = *state;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    urza_tuner_options options = {.directory = f->folder,
                                  .record = 1,
                                  .budget_s = 0.1,
                                  .on_warning = note_warning,
                                  .user = f};
    urza_tuner *tuner;
    char *config = NULL, *list = NULL;
    uint32_t tuned = 7;
    urza_config_source source;
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    assert_int_equal(urza_tuner_choose(tuner, product.json, &config, &source, NULL), 0);
    assert_int_equal(source, URZA_CONFIG_HEURISTIC);
    urza_tune_free(config);
    urza_tuner_close(tuner);
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    assert_int_equal(urza_tuner_list(tuner, &list, NULL), 0);
    assert_non_null(strstr(list, product.key));
    assert_null(strstr(list, "heuristic_ns"));
    urza_tune_free(list);
    assert_int_equal(urza_tuner_tune_recorded(tuner, 0.2, &tuned, NULL), 0);
    assert_int_equal(tuned, 1);
    assert_int_equal(urza_tuner_tune_recorded(tuner, 0.2, &tuned, NULL), 0);
    assert_int_equal(tuned, 0);
    urza_tuner_close(tuner);
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    assert_int_equal(urza_tuner_choose(tuner, product.json, &config, &source, NULL), 0);
    assert_int_equal(source, URZA_CONFIG_PERSISTENT);
    urza_tune_free(config);
    urza_tuner_close(tuner);
    assert_int_equal(f->warning_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TUNER_TEST(processes_lose_nothing),   TUNER_TEST(merging_has_no_order),
        TUNER_TEST(damage_is_a_miss),         TUNER_TEST(newer_formats_are_left_alone),
        TUNER_TEST(folders_may_be_of_no_use), TUNER_TEST(exported_is_imported),
        TUNER_TEST(recorded_are_tuned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
