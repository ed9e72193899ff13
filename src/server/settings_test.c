/* Settings: every row by name, limits, files, and that printed settings are read back unchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "server/settings.h"

#include <cmocka.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static void defaults_are_legal(void **state)
{
    struct settings settings;
    struct error err;
    (void)state;
    settings_default(&settings);
    assert_int_equal(settings.port, 8080);
    assert_string_equal(settings.strategy, "standard");
    assert_true(settings.enable_kernel_cache);
    assert_true(settings_check(&settings, &err));
    for (uint32_t i = 0; setting_at(i); i++) {
        assert_true(
            settings_set(&settings, setting_at(i)->name, setting_at(i)->text, &arena, &err));
        assert_true(strlen(setting_at(i)->doc) > 10);
    }
}

static void wrong_values(void **state)
{
    static const char *const wrong[][2] = {{"port", "65536"},
                                           {"port", "-1"},
                                           {"port", ""},
                                           {"port", "80x"},
                                           {"port", "99999999999999999999"},
                                           {"queue_limit", "0"},
                                           {"max_cache_size_gb", "1e3"},
                                           {"max_cache_size_gb", "-1"},
                                           {"max_cache_size_gb", "0.1.2"},
                                           {"enable_kernel_cache", "yes"},
                                           {"enable_kernel_cache", ""},
                                           {"optimization_level", "3"},
                                           {"Port", "80"},
                                           {"", "1"},
                                           {"queue-limit", "5"}};
    struct settings settings;
    struct error err;
    (void)state;
    settings_default(&settings);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (settings_set(&settings, wrong[i][0], wrong[i][1], &arena, &err))
            fail_msg("%s = '%s' was taken", wrong[i][0], wrong[i][1]);
        assert_int_equal(err.code, ERR_USAGE);
    }
    assert_int_equal(settings.port, 8080);
}

static void what_does_not_go_together(void **state)
{
    struct settings settings;
    struct error err;
    (void)state;
    settings_default(&settings);
    settings.host = "0.0.0.0";
    assert_false(settings_check(&settings, &err));
    assert_non_null(strstr(err.message, "tokens"));
    settings.tokens = "tokens";
    assert_true(settings_check(&settings, &err));
    settings.tls_key = "key.pem";
    assert_false(settings_check(&settings, &err));
    settings.tls_certificate = "cert.pem";
    assert_true(settings_check(&settings, &err));
    settings.log_level = "loud";
    assert_false(settings_check(&settings, &err));
    settings.log_level = "debug";
    settings.strategy = "reckless";
    assert_false(settings_check(&settings, &err));
}

static bool read_text(struct settings *settings, const char *text, struct error *err)
{
    char path[] = "/tmp/urza-settings-XXXXXX";
    struct error ignored;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_true(file_write_atomic(path, text, strlen(text), 0600, &ignored));
    bool ok = settings_read(settings, path, &arena, err);
    unlink(path);
    return ok;
}

static void files(void **state)
{
    struct settings settings, again;
    struct error err;
    struct strbuf text, text_again;
    (void)state;
    settings_default(&settings);
    assert_true(read_text(&settings,
                          "# a comment\r\n[urza]\n; another\n  port =  99  \nstrategy=fast\n\n"
                          "enable_kernel_cache = false\nhost =\nmax_cache_size_gb = 0.25\n",
                          &err));
    assert_true(settings.max_cache_size_gb > 0.24 && settings.max_cache_size_gb < 0.26);
    assert_int_equal(settings.port, 99);
    assert_string_equal(settings.strategy, "fast");
    assert_string_equal(settings.host, "");
    assert_false(settings.enable_kernel_cache);
    strbuf_init(&text, &arena);
    strbuf_init(&text_again, &arena);
    settings_print(&settings, &text);
    settings_default(&again);
    assert_true(read_text(&again, text.data, &err));
    settings_print(&again, &text_again);
    assert_string_equal(text.data, text_again.data);

    assert_false(read_text(&settings, "port = 1\nnonsense\n", &err));
    assert_non_null(strstr(err.place, "line 2"));
    assert_false(read_text(&settings, "\n\nport = x", &err));
    assert_non_null(strstr(err.place, "line 3"));
    assert_false(settings_read(&settings, "/nowhere/at/all", &arena, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(defaults_are_legal), TEST(wrong_values),
                                       TEST(what_does_not_go_together), TEST(files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
