/* The program `urza` on what files, names and sizes may be: what it writes to, what it prints of
 * what others wrote, and that nothing of theirs ends it other than by an error. */
#include "cli_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/strbuf.h"

/* A limit of this process, which the program inherits, around a run. */
static struct outcome run_limited(struct fixture *f, __rlimit_resource_t what, rlim_t bytes,
                                  const char *line)
{
    struct rlimit before;
    assert_int_equal(getrlimit(what, &before), 0);
    assert_int_equal(setrlimit(what, &(struct rlimit){bytes, before.rlim_max}), 0);
    struct outcome outcome = run(f, line);
    assert_int_equal(setrlimit(what, &before), 0);
    return outcome;
}

/* 2^35 elements: legal, and more than fits. */
static const char huge_input[] =
    "{\"format\": \"urza.blueprint/1\","
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [34359738368]}],"
    " \"nodes\": [{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"]}], \"outputs\": [\"y\"]}";
static const char huge_param[] =
    "{\"format\": \"urza.blueprint/1\","
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [1]}],"
    " \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [34359738368],"
    " \"init\": {\"kind\": \"ones\"}}],"
    " \"nodes\": [{\"id\": \"y\", \"op\": \"add\", \"in\": [\"x\", \"w\"]}],"
    " \"outputs\": [\"y\"]}";

static void test_huge_tensors(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *line;
        enum error_code code;
    } cases[] = {
        {"compile input.json -o out", ERR_NOMEM}, /* seen before anything is checked */
        {"compile param.json -o out", ERR_NOMEM},
        {"compile param.json -o out --strategy fast", ERR_NOMEM},
        {"export param.json -o out", ERR_NOMEM},
        {"tune param.json --budget 1", ERR_NOMEM},
        {"run input.urza --out out", ERR_NOMEM},
        {"bench input.urza --seconds 0.1", ERR_NOMEM},
        {"verify input.urza", ERR_NOMEM},
    };
    put(f, "input.json", huge_input, strlen(huge_input));
    put(f, "param.json", huge_param, strlen(huge_param));
    expect(f, ERR_NONE, "compile input.json -o input.urza --strategy fast");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0] && !URZA_SANITIZED; i++) {
        struct outcome outcome = run_limited(f, RLIMIT_AS, (rlim_t)4 << 30, cases[i].line);
        if (outcome.status != error_exit(cases[i].code) ||
            !strstr(outcome.err, error_name(cases[i].code)) || !strstr(outcome.err, "memory"))
            TEST_FAILED("urza %s: exit status %d: %s", cases[i].line, outcome.status, outcome.err);
        assert_false(exists(f, "out"));
    }
    /* What checks would take is known before they run. */
    struct outcome outcome = expect(f, ERR_NOMEM, "compile input.json -o out");
    assert_non_null(strstr(outcome.err, "checking a package with"));
}

/* Sparse, so that only reading it would take what it claims to be. */
static void put_sparse(struct fixture *f, const char *name, const char *head, off_t size)
{
    put(f, name, head, strlen(head));
    assert_int_equal(truncate(path_of(f, name), size), 0);
}

static void test_size_is_seen_before_reading(void **state)
{
    struct fixture *f = *state;
    static const char *const lines[] = {
        "compile large.json -o out",
        "graph large.json",
        "import large.json -o out",
        "export large.json -o out",
        "tune large.json",
        "config import large.json",
        "run net.urza --in a=large.npy --out out",
    };
    compile(f, blueprint_sum, " --strategy fast");
    put_sparse(f, "large.json", "{", (off_t)1 << 30);
    put_sparse(f, "large.npy", "\x93NUMPY", (off_t)1 << 30);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0] && !URZA_SANITIZED; i++) {
        struct outcome outcome = run_limited(f, RLIMIT_AS, (rlim_t)768 << 20, lines[i]);
        if (outcome.status != error_exit(ERR_LIMIT) || !strstr(outcome.err, "1073741824 bytes"))
            TEST_FAILED("urza %s: exit status %d: %s", lines[i], outcome.status, outcome.err);
    }
    assert_false(exists(f, "out"));
}

/* As /dev/null and /dev/full, in our folder. Root gets devices of its own: a program that replaces
 * what it should write to must not do so to the machine's. Others cannot, and get links. */
static bool make_devices(struct fixture *f)
{
    static const char *const names[] = {"null", "full"}, *const real[] = {"/dev/null", "/dev/full"};
    static const unsigned minors[] = {3, 7};
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++) {
        const char *path = path_of(f, names[i]);
        ok = geteuid() != 0 ? symlink(real[i], path) == 0
                            : mknod(path, S_IFCHR | 0600, makedev(1, minors[i])) == 0;
        int fd = ok ? open(path, O_WRONLY) : -1;
        ok = fd >= 0 && close(fd) == 0;
    }
    return ok;
}

static bool is_device(struct fixture *f, const char *name)
{
    struct stat info;
    return stat(path_of(f, name), &info) == 0 && S_ISCHR(info.st_mode);
}

static void test_special_outputs(void **state)
{
    struct fixture *f = *state;
    struct stat info;
    size_t size;
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    assert_int_equal(mkdir(path_of(f, "there"), 0700), 0);
    assert_int_equal(symlink("there/real", path_of(f, "link")), 0);
    if (!make_devices(f))
        skip(); /* a file system without devices */
    static const char *const verbs[] = {"compile --strategy fast", "import", "export"};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        struct strbuf line;
        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "%s net.json -o null", verbs[i]);
        expect(f, ERR_NONE, line.data);
        assert_true(is_device(f, "null"));

        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "%s net.json -o link", verbs[i]);
        expect(f, ERR_NONE, line.data);
        assert_int_equal(lstat(path_of(f, "link"), &info), 0);
        assert_true(S_ISLNK(info.st_mode));
        get(f, "there/real", &size);
        assert_true(size > 0);
        assert_int_equal(unlink(path_of(f, "there/real")), 0);

        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "%s net.json -o full --json", verbs[i]);
        refuse(f, ERR_IO, line.data);
        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "%s net.json -o none/out --json", verbs[i]);
        refuse(f, ERR_IO, line.data);
    }
    assert_true(is_device(f, "full"));
    struct outcome full = run_at(f, "home", "/dev/null", "/dev/full", "graph net.json");
    assert_int_equal(full.status, error_exit(ERR_IO));
}

static uint32_t count_files(struct fixture *f, const char *name)
{
    uint32_t count = 0;
    DIR *dir = opendir(path_of(f, name));
    assert_non_null(dir);
    for (const struct dirent *file; (file = readdir(dir)) != NULL;)
        count += strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0;
    closedir(dir);
    return count;
}

/* A disk that takes a kilobyte, and a folder that takes nothing: an error, and nothing by half. */
static void test_disk_that_is_full(void **state)
{
    struct fixture *f = *state;
    size_t size;
    static const char *const lines[] = {
        "compile net.json -o out/file --strategy fast --no-cache",
        "export net.json -o out/file",
        "run net.urza --dims B=64 --out out",
    };
    compile(f, blueprint_mlp, " --strategy fast");
    assert_int_equal(mkdir(path_of(f, "out"), 0700), 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct outcome outcome = run_limited(f, RLIMIT_FSIZE, 256, lines[i]);
        if (outcome.status != error_exit(ERR_IO))
            TEST_FAILED("urza %s: exit status %d: %s", lines[i], outcome.status, outcome.err);
        assert_int_equal(count_files(f, "out"), 0);
    }
    put(f, "out/file", "precious", 8);
    run_limited(f, RLIMIT_FSIZE, 256, lines[0]);
    assert_string_equal(get(f, "out/file", &size), "precious");
    assert_int_equal(chmod(path_of(f, "out"), 0500), 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0] && geteuid() != 0; i++)
        expect(f, ERR_IO, lines[i]);
    assert_int_equal(count_files(f, "out"), 1);
    assert_int_equal(chmod(path_of(f, "out"), 0700), 0);
}

/* Links out of the folder of a blueprint, and pipes in it. */
static void test_data_outside(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\","
        " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [2]}],"
        " \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [2],"
        " \"init\": {\"kind\": \"file\", \"path\": \"sub/w.npy\"}}],"
        " \"nodes\": [{\"id\": \"y\", \"op\": \"add\", \"in\": [\"x\", \"w\"]}],"
        " \"outputs\": [\"y\"]}";
    static const float values[2] = {1, 2};
    static const int64_t shape[1] = {2};
    assert_int_equal(mkdir(path_of(f, "in"), 0700), 0);
    assert_int_equal(mkdir(path_of(f, "in/sub"), 0700), 0);
    put(f, "in/net.json", text, strlen(text));
    put_npy(f, "in/sub/w.npy", "<f4", 1, shape, values);
    expect(f, ERR_NONE, "compile in/net.json -o fine --strategy fast");
    assert_int_equal(rename(path_of(f, "in/sub/w.npy"), path_of(f, "w.npy")), 0);
    assert_int_equal(mkfifo(path_of(f, "in/sub/w.npy"), 0600), 0);
    refuse(f, ERR_IO, "compile in/net.json -o out --json");
    assert_int_equal(unlink(path_of(f, "in/sub/w.npy")), 0);
    assert_int_equal(symlink("../../w.npy", path_of(f, "in/sub/w.npy")), 0);
    refuse(f, ERR_BLUEPRINT, "compile in/net.json -o out --json");
    assert_int_equal(unlink(path_of(f, "in/sub/w.npy")), 0);
    assert_int_equal(rmdir(path_of(f, "in/sub")), 0);
    assert_int_equal(symlink("..", path_of(f, "in/sub")), 0);
    refuse(f, ERR_BLUEPRINT, "compile in/net.json -o out --json");
    refuse(f, ERR_BLUEPRINT, "export in/net.json -o out --json");
    assert_false(exists(f, "out"));
}

/* Only what a terminal shows as it is: no control but the line end, none of C1, none that turns
 * the direction of writing, and all of it UTF-8. */
static void assert_harmless(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i], next = (uint8_t)text[i + 1];
        bool control = (byte < 0x20 && byte != '\n') || byte == 0x7f ||
                       (byte == 0xc2 && next < 0xa0) || byte == 0xff || byte == 0x9b;
        bool turns = strncmp(text + i, "\xe2\x80\xae", 3) == 0;
        if (control || turns)
            TEST_FAILED("a byte %02x at %zu of: %s", byte, i, text);
    }
}

static void assert_shown(const struct outcome *outcome, const char *expected)
{
    assert_harmless(outcome->out, outcome->out_bytes);
    assert_harmless(outcome->err, outcome->err_bytes);
    if (expected && !strstr(outcome->out, expected) && !strstr(outcome->err, expected))
        TEST_FAILED("no '%s' in: %s%s", expected, outcome->out, outcome->err);
}

/* ESC, CSI of C1, an override of the direction, a line end; and é, which is a letter. */
#define EVIL_JSON "e\\u001b[2J\\u009bc\\u202ed\\nf\\u00e9"
#define EVIL_SHOWN "e\\x1b[2J\\u009bc\\u202ed\\x0af\xc3\xa9"

static void test_terminals_obey_nobody(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"name\": \"" EVIL_JSON "\","
        " \"inputs\": [{\"id\": \"" EVIL_JSON "\", \"dtype\": \"f32\", \"shape\": [2]}],"
        " \"nodes\": [{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"" EVIL_JSON "\"]}],"
        " \"outputs\": [{\"name\": \"" EVIL_JSON "\", \"value\": \"y\"}]}";
    static const char broken[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [],"
        " \"nodes\": [{\"id\": \"y\", \"op\": \"" EVIL_JSON "\", \"in\": []}], \"outputs\": []}";
    compile(f, text, " --strategy fast");
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_shown(&seen, "input     " EVIL_SHOWN "  f32[2]");
    assert_shown(&seen, "output    " EVIL_SHOWN "  f32[2]");
    seen = expect(f, ERR_NONE, "run net.urza");
    assert_shown(&seen, EVIL_SHOWN "  f32[2]");
    seen = expect(f, ERR_NONE, "inspect net.urza --dump manifest");
    assert_shown(&seen, NULL);
    json_t *manifest = json_loads(seen.out, 0, NULL); /* still JSON, of the same meaning */
    assert_non_null(manifest);
    json_decref(manifest);
    seen = expect(f, ERR_NONE, "graph net.urza");
    assert_shown(&seen, NULL);
    seen = expect(f, ERR_NONE, "compile net.json --dump plan --strategy fast");
    assert_shown(&seen, NULL);
    json_t *about = answer(f, "inspect net.urza --json");
    const char *name =
        json_string_value(member(json_array_get(member(about, "inputs"), 0), "name"));
    assert_string_equal(name, "e\x1b[2J\xc2\x9b"
                              "c\xe2\x80\xae"
                              "d\nf\xc3\xa9");
    json_decref(about);
    seen = expect(f, ERR_NONE, "inspect net.urza --json");
    assert_shown(&seen, NULL);

    put(f, "broken.json", broken, strlen(broken));
    seen = expect(f, ERR_BLUEPRINT, "compile broken.json -o out");
    assert_shown(&seen, EVIL_SHOWN);
    seen = expect(f, ERR_NOT_FOUND, "run \x1b[2J\xff\xc2\x9b\xe2\x80\xae.urza");
    assert_shown(&seen, "'\\x1b[2J\\xff\\u009b\\u202e.urza'");
    seen = expect(f, ERR_USAGE, "\x1b]0;title\x07");
    assert_shown(&seen, "\\x1b]0;title\\x07");
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_huge_tensors, build),    CLI_TEST(test_size_is_seen_before_reading, build),
        CLI_TEST(test_special_outputs, build), CLI_TEST(test_disk_that_is_full, build),
        CLI_TEST(test_data_outside, build),    CLI_TEST(test_terminals_obey_nobody, build),
    };
    return cmocka_run_group_tests_name("cli-files", tests, NULL, NULL);
}
