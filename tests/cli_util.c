/* Starting the program and looking at what it leaves. */
#include "cli_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/npy.h"
#include "base/strbuf.h"

#define ARGS_MAX 24

const char blueprint_mlp[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"mlp\","
    " \"dims\": {\"B\": {\"min\": 1, \"max\": 64, \"typical\": 4}},"
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 6]}],"
    " \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [5, 6],"
    " \"init\": {\"kind\": \"normal\", \"seed\": 1}}],"
    " \"nodes\": [{\"id\": \"h\", \"op\": \"linear\", \"in\": [\"x\", \"w\"]},"
    " {\"id\": \"y\", \"op\": \"relu\", \"in\": [\"h\"]}], \"outputs\": [\"y\"]}";

const char blueprint_sum[] =
    "{\"format\": \"urza.blueprint/1\", \"dims\": {\"B\": {\"max\": 16}},"
    " \"inputs\": [{\"id\": \"a\", \"dtype\": \"f32\", \"shape\": [\"B\", 3]},"
    " {\"id\": \"b\", \"dtype\": \"f32\", \"shape\": [\"B\", 3]}],"
    " \"nodes\": [{\"id\": \"c\", \"op\": \"add\", \"in\": [\"a\", \"b\"]}], \"outputs\": [\"c\"]}";

const char blueprint_ir[] =
    "{\"id\": \"net\", \"nodes\": ["
    "{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": {\"shape\": [-1, 8]}},"
    "{\"id\": \"fc\", \"op_type\": \"linear\","
    " \"attributes\": {\"in_features\": 8, \"out_features\": 3}},"
    "{\"id\": \"act\", \"op_type\": \"activation\", \"attributes\": {\"type\": \"gelu\"}},"
    "{\"id\": \"y\", \"op_type\": \"output\", \"attributes\": {}}],"
    "\"edges\": [{\"source\": \"x\", \"target\": \"fc\"},"
    "{\"source\": \"fc\", \"target\": \"act\"},"
    "{\"source\": \"act\", \"target\": \"y\"}]}";

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *build = *state;
    arena_init(&f->arena);
    snprintf(f->folder, sizeof f->folder, "/tmp/urza-cli-XXXXXX");
    if (!build || !mkdtemp(f->folder))
        return -1;
    struct strbuf program;
    strbuf_init(&program, &f->arena);
    strbuf_printf(&program, "%s/urza", build);
    f->program = program.data;
    *state = f;
    return 0;
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *file;
    while (dir && (file = readdir(dir)) != NULL) {
        char inner[512];
        if (strcmp(file->d_name, ".") == 0 || strcmp(file->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, file->d_name);
        if (unlink(inner) != 0)
            remove_tree(inner);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    remove_tree(f->folder);
    arena_release(&f->arena);
    free(f);
    return 0;
}

const char *path_of(struct fixture *f, const char *name)
{
    struct strbuf path;
    strbuf_init(&path, &f->arena);
    strbuf_printf(&path, "%s/%s", f->folder, name);
    return path.data;
}

void put(struct fixture *f, const char *name, const void *data, size_t size)
{
    struct error err;
    if (!file_write_atomic(path_of(f, name), data, size, 0644, &err))
        TEST_FAILED("%s", err.message);
}

const char *get(struct fixture *f, const char *name, size_t *out_size)
{
    struct error err;
    char *data;
    if (!file_read(path_of(f, name), (size_t)1 << 30, &data, out_size, &err))
        TEST_FAILED("%s", err.message);
    const char *copy = arena_memdup(&f->arena, data, *out_size + 1);
    free(data);
    return copy;
}

bool exists(struct fixture *f, const char *name)
{
    return access(path_of(f, name), F_OK) == 0;
}

/* The environment with another URZA_HOME. */
static char **environment(struct fixture *f, const char *home)
{
    struct strbuf own;
    uint32_t count = 0;
    while (environ[count])
        count++;
    char **copy = ARENA_ARRAY(&f->arena, char *, count + 2);
    strbuf_init(&own, &f->arena);
    strbuf_printf(&own, "URZA_HOME=%s/%s", f->folder, home);
    copy[0] = own.data;
    for (uint32_t i = 0, to = 1; i < count; i++)
        if (strncmp(environ[i], "URZA_HOME=", 10) != 0)
            copy[to++] = environ[i];
    return copy;
}

static int spawn_and_wait(struct fixture *f, char **args, char **env, const char *in,
                          const char *out)
{
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, f->folder);
    posix_spawn_file_actions_addopen(&actions, 0, in, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, path_of(f, "stderr"),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&child, f->program, &actions, NULL, args, env), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* line: arguments separated by single spaces; the program runs in the fixture's folder. */
struct outcome run_at(struct fixture *f, const char *home, const char *in, const char *out,
                      const char *line)
{
    char *args[ARGS_MAX + 2] = {(char *)f->program}, *text = arena_strdup(&f->arena, line);
    uint32_t count = 1;
    for (char *word = text; word && count <= ARGS_MAX; count++) {
        char *space = strchr(word, ' ');
        if (space)
            *space = '\0';
        args[count] = word;
        word = space ? space + 1 : NULL;
    }
    struct outcome outcome = {.out_bytes = 0};
    outcome.status = spawn_and_wait(f, args, environment(f, home), in, out);
    outcome.out =
        strncmp(out, f->folder, strlen(f->folder)) == 0 ? get(f, "stdout", &outcome.out_bytes) : "";
    outcome.err = get(f, "stderr", &outcome.err_bytes);
    return outcome;
}

struct outcome run(struct fixture *f, const char *line)
{
    return run_at(f, "home", "/dev/null", path_of(f, "stdout"), line);
}

struct outcome expect(struct fixture *f, enum error_code code, const char *line)
{
    struct outcome outcome = run(f, line);
    if (outcome.status != error_exit(code))
        TEST_FAILED("urza %s: exit status %d, expected %d: %s", line, outcome.status,
                    error_exit(code), outcome.err);
    return outcome;
}

/* A successful run with --json; the caller releases the answer. */
json_t *answer(struct fixture *f, const char *line)
{
    struct outcome outcome = expect(f, ERR_NONE, line);
    json_error_t problem;
    json_t *value = json_loads(outcome.out, 0, &problem);
    if (!value)
        TEST_FAILED("urza %s: %s: %s", line, problem.text, outcome.out);
    return value;
}

json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!value)
        TEST_FAILED("there is no '%s'", key);
    return value;
}

/* An error with --json: the class on standard error, nothing on standard output. */
void refuse(struct fixture *f, enum error_code code, const char *line)
{
    struct outcome outcome = expect(f, code, line);
    json_t *error = json_loads(outcome.err, 0, NULL);
    if (!error)
        TEST_FAILED("urza %s: not JSON: %s", line, outcome.err);
    assert_int_equal(outcome.out_bytes, 0);
    assert_string_equal(json_string_value(member(error, "error")), error_name(code));
    assert_true(strlen(json_string_value(member(error, "message"))) > 0);
    assert_true(json_is_string(member(error, "place")));
    json_decref(error);
}

void compile(struct fixture *f, const char *text, const char *options)
{
    struct strbuf line;
    put(f, "net.json", text, strlen(text));
    strbuf_init(&line, &f->arena);
    strbuf_printf(&line, "compile net.json -o net.urza%s", options);
    expect(f, ERR_NONE, line.data);
}

void put_npy(struct fixture *f, const char *name, const char *descr, uint32_t rank,
             const int64_t *shape, const void *data)
{
    struct error err;
    struct npy npy;
    struct strbuf file;
    strbuf_init(&file, &f->arena);
    assert_true(npy_init(&npy, descr, rank, shape, data, &err));
    npy_format(&npy, &file);
    put(f, name, file.data, file.size_bytes);
}
