/* Reading, atomic writing and folders, with their failures. */
#include "base/file.h"
#include "base/arena.h"
#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64]; /* a new one for each test */

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

/* Makes a file at path that behaves as /dev/NAME. Root gets a device node of its own, because code
 * that wrongly replaces its target must not harm the machine's /dev. Other users cannot make nodes
 * and get a symbolic link. False where devices cannot be used. */
static bool make_device(const char *path, const char *real, unsigned minor_number)
{
    if (geteuid() != 0)
        return symlink(real, path) == 0;
    int fd = -1;
    if (mknod(path, S_IFCHR | 0600, makedev(1, minor_number)) == 0)
        fd = open(path, O_WRONLY);
    if (fd >= 0)
        close(fd);
    else
        unlink(path);
    return fd >= 0;
}

/* Targets that `-o` may name: a device is written to in place, a symbolic link stays a link. */
static void test_write_where_things_are(void **state)
{
    (void)state;
    struct error err = {0};
    struct stat info;
    char buffer[8];
    char *data;
    size_t size;
    if (make_device("null", "/dev/null", 3)) {
        assert_int_equal(symlink("null", "link"), 0);
        assert_true(file_write_atomic("null", "x", 1, 0644, &err));
        assert_true(file_write_atomic("link", "x", 1, 0644, &err));
        assert_int_equal(stat("null", &info), 0);
        assert_true(S_ISCHR(info.st_mode));
        assert_int_equal(lstat("link", &info), 0);
        assert_true(S_ISLNK(info.st_mode));
    }
    if (make_device("full", "/dev/full", 7)) {
        assert_false(file_write_atomic("full", "x", 1, 0644, &err));
        assert_int_equal(err.code, ERR_IO);
        assert_non_null(strstr(err.message, "No space left"));
    }

    assert_int_equal(mkfifo("pipe", 0600), 0);
    int reader = open("pipe", O_RDONLY | O_NONBLOCK);
    assert_true(file_write_atomic("pipe", "abc", 3, 0644, &err));
    assert_int_equal(read(reader, buffer, sizeof buffer), 3);
    close(reader);
    assert_int_equal(lstat("pipe", &info), 0);
    assert_true(S_ISFIFO(info.st_mode));

    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(symlink("second", "dir/first"), 0);
    assert_int_equal(symlink("target", "dir/second"), 0);
    for (int i = 0; i < 2; i++) { /* the link's target is made first, then replaced */
        assert_true(file_write_atomic("dir/first", "12", (size_t)i + 1, 0644, &err));
        assert_true(file_read("dir/target", 9, &data, &size, &err));
        assert_int_equal(size, i + 1);
        free(data);
        assert_int_equal(lstat("dir/first", &info), 0);
        assert_true(S_ISLNK(info.st_mode));
        assert_int_equal(entries("dir"), 3);
    }
    assert_int_equal(symlink("around", "around"), 0);
    assert_false(file_write_atomic("around", "x", 1, 0644, &err));
    assert_int_equal(err.code, ERR_IO);
}

static int open_and_close(const char *folder_path, const char *path, struct error *err)
{
    int fd = file_open_below(folder_path, path, err);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : (int)err->code;
}

/* links: whether links that stay inside the folder are followed. */
static void check_below(bool links)
{
    struct error err = {0};
    assert_true(file_make_dirs("in/sub", 0700, &err));
    assert_true(file_write_atomic("in/sub/f", "x", 1, 0644, &err));
    assert_true(file_write_atomic("out", "x", 1, 0644, &err));
    assert_int_equal(symlink("sub/f", "in/inner"), 0);
    assert_int_equal(symlink("../out", "in/outer"), 0);
    assert_int_equal(symlink("..", "in/up"), 0);
    assert_int_equal(symlink("/", "in/root"), 0);
    assert_int_equal(mkfifo("in/pipe", 0600), 0);
    assert_int_equal(open_and_close("in", "sub/f", &err), 0);
    assert_int_equal(open_and_close("in", "./sub//f", &err), 0);
    assert_int_equal(open_and_close("in", "inner", &err), links ? 0 : ERR_BLUEPRINT);
    static const char *const leaving[] = {"outer",  "../out",      "sub/../../out",
                                          "up/out", "/etc/passwd", "root/etc/passwd"};
    for (size_t i = 0; i < sizeof leaving / sizeof leaving[0]; i++) {
        assert_int_equal(open_and_close("in", leaving[i], &err), ERR_BLUEPRINT);
        assert_non_null(strstr(err.message, "leads out of the folder 'in'"));
    }
    static const char key[] = "-----BEGIN PRIVATE KEY-----\n";
    assert_true(file_write_atomic("in/key", key, sizeof key - 1, 0600, &err));
    assert_int_equal(open_and_close("in", "key", &err), ERR_BLUEPRINT);
    assert_int_equal(unlink("in/key"), 0);
    assert_int_equal(open_and_close("in", "none", &err), ERR_NOT_FOUND);
    assert_int_equal(open_and_close("none", "f", &err), ERR_NOT_FOUND);
    assert_int_equal(open_and_close("in", "sub", &err), ERR_IO);
    assert_int_equal(open_and_close("in", "pipe", &err), ERR_IO);
}

static void test_open_below(void **state)
{
    (void)state;
    check_below(true);
}

/* A kernel without openat2, simulated by a system call filter. */
static void test_open_below_on_old_kernels(void **state)
{
    (void)state;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    pid_t child = fork();
    int status;
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
            check_below(false); /* a failure ends the child with another status */
        _exit(7);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void test_peek(void **state)
{
    (void)state;
    struct error err = {0};
    char head[4];
    size_t size = 0;
    assert_true(file_write_atomic("f", "abcdef", 6, 0644, &err));
    assert_true(file_peek("f", head, sizeof head, &size, &err));
    assert_int_equal(size, 4);
    assert_memory_equal(head, "abcd", 4);
    assert_true(file_write_atomic("f", "ab", 2, 0644, &err));
    assert_true(file_peek("f", head, sizeof head, &size, &err));
    assert_int_equal(size, 2);
    assert_false(file_peek("none", head, sizeof head, &size, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
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

/* A part of a file is the same whether it is mapped or copied, is aligned, and may be changed
 * without the file. */
static void test_parts(void **state)
{
    enum { BYTES = 3 << 20 };
    struct arena arena;
    struct error err;
    char path[] = "/tmp/urza-file-part-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    arena_init(&arena);
    unsigned char *bytes = arena_alloc(&arena, BYTES, 64), *part;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_true(file_write_all(fd, bytes, BYTES));
    static const struct file_range ranges[] = {{0, BYTES},   {64, 2 << 20}, {4096 + 128, 1 << 20},
                                               {3, 2 << 20}, {100, 1000},   {BYTES, 0}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        size_t before = arena.used_bytes, size = ranges[i].size_bytes;
        assert_true(file_part(fd, path, ranges[i], &arena, (void **)&part, &err));
        assert_int_equal((uintptr_t)part % 64, 0);
        assert_memory_equal(part, bytes + ranges[i].offset, size);
        bool mapped = size >= 1 << 20 && ranges[i].offset % 64 == 0;
        assert_int_equal(arena.used_bytes - before < 1000, mapped || size < 1000);
        if (size > 0)
            part[0] ^= 1;
    }
    assert_true(file_part(fd, path, ranges[0], &arena, (void **)&part, &err));
    assert_memory_equal(part, bytes, BYTES);
    const struct file_range beyond[] = {{1, BYTES}, {BYTES + 1, 0}, {UINT64_MAX, 1}};
    for (size_t i = 0; i < 3; i++) {
        assert_false(file_part(fd, path, beyond[i], &arena, (void **)&part, &err));
        assert_int_equal(err.code, ERR_PARSE);
    }
    arena_release(&arena);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test_setup_teardown(test_write_then_read, enter, leave),
        cmocka_unit_test_setup_teardown(test_read_large_and_of_unknown_size, enter, leave),
        cmocka_unit_test_setup_teardown(test_read_failures, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_failures_leave_nothing, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_where_things_are, enter, leave),
        cmocka_unit_test_setup_teardown(test_open_below, enter, leave),
        cmocka_unit_test_setup_teardown(test_open_below_on_old_kernels, enter, leave),
        cmocka_unit_test_setup_teardown(test_peek, enter, leave),
        cmocka_unit_test_setup_teardown(test_make_dirs, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
