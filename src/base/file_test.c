/* Reading, atomic writing and folders, with their failures. */
#include "base/file.h"
#include "base/error.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64]; /* a fresh one for each test */

static int enter(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/file_test.XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static int entries(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void test_write_then_read(void **state)
{
    (void)state;
    struct error err = {0};
    char *data;
    size_t size;
    assert_true(file_write_atomic("f", "a\0b", 3, 0600, &err));
    assert_true(file_read("f", 3, &data, &size, &err));
    assert_int_equal(size, 3);
    assert_memory_equal(data, "a\0b\0", 4);
    free(data);
    struct stat info;
    assert_int_equal(stat("f", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);

    char path[100];
    snprintf(path, sizeof path, "%s/f", folder);
    assert_true(file_write_atomic(path, NULL, 0, 0644, &err)); /* replaces */
    assert_true(file_read("f", 0, &data, &size, &err));
    assert_int_equal(size, 0);
    assert_int_equal(data[0], 0);
    free(data);
    assert_int_equal(entries("."), 1);
    assert_int_equal(err.code, ERR_NONE);
}

static void test_read_large_and_of_unknown_size(void **state)
{
    (void)state;
    struct error err = {0};
    size_t count = 3000000, size;
    char *data = malloc(count), *back;
    assert_non_null(data);
    for (size_t i = 0; i < count; i++)
        data[i] = (char)(i * 7);
    assert_true(file_write_atomic("big", data, count, 0644, &err));
    assert_true(file_read("big", SIZE_MAX, &back, &size, &err));
    assert_int_equal(size, count);
    assert_memory_equal(data, back, count);
    free(data);
    free(back);
    if (access("/proc/self/status", R_OK) == 0) {
        assert_true(file_read("/proc/self/status", 1 << 20, &back, &size, &err));
        assert_true(size > 100 && strlen(back) == size);
        free(back);
        assert_false(file_read("/proc/self/status", 100, &back, &size, &err));
        assert_int_equal(err.code, ERR_LIMIT);
    }
}

static void test_read_failures(void **state)
{
    (void)state;
    struct error err = {0};
    char *data = NULL;
    size_t size = 5;
    assert_false(file_read("absent", 10, &data, &size, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.message, "cannot open 'absent': No such file or directory");
    assert_false(file_read(".", 10, &data, &size, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_false(file_read("pipe", 10, &data, &size, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_true(file_write_atomic("f", "abcd", 4, 0644, &err));
    assert_false(file_read("f", 3, &data, &size, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(file_read("f/g", 10, &data, &size, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_true(data == NULL && size == 5);
}

static void test_write_failures_leave_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    assert_false(file_write_atomic("no/f", "x", 1, 0644, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(mkdir("dir/inner", 0700), 0);
    assert_false(file_write_atomic("dir", "x", 1, 0644, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(entries("."), 1);
    assert_int_equal(entries("dir"), 1);
}

static void test_make_dirs(void **state)
{
    (void)state;
    struct error err = {0};
    struct stat info;
    assert_true(file_make_dirs("a/b//c/", 0700, &err));
    assert_int_equal(stat("a/b/c", &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_true(file_make_dirs("a/b/c", 0700, &err));
    assert_true(file_make_dirs("/", 0700, &err));
    char path[100];
    snprintf(path, sizeof path, "%s/x/y", folder);
    assert_true(file_make_dirs(path, 0700, &err));
    assert_true(file_write_atomic("f", "x", 1, 0644, &err));
    assert_false(file_make_dirs("f", 0700, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_false(file_make_dirs("f/g", 0700, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_false(file_make_dirs("", 0700, &err));
    assert_int_equal(err.code, ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_then_read, enter, leave),
        cmocka_unit_test_setup_teardown(test_read_large_and_of_unknown_size, enter, leave),
        cmocka_unit_test_setup_teardown(test_read_failures, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_failures_leave_nothing, enter, leave),
        cmocka_unit_test_setup_teardown(test_make_dirs, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
