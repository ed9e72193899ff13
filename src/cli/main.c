/* The program `urza`: selects the command and reads the environment, which no other code does. */
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/error.h"
#include "base/json.h"
#include "base/nearest.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "compiler/compile.h"

static const struct command commands[] = {
#define COMMAND(id, name, usage, function, doc, example) {name, usage, doc, example, function},
#include "cli/commands.def"
#undef COMMAND
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_help(void)
{
    puts("Usage: urza COMMAND [ARGUMENT...]\n"
         "\n"
         "Compiles networks to native kernels and runs them.\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].doc);
    puts("\n"
         "  urza COMMAND --help shows the options of a command and an example.\n"
         "  urza --version shows the version.\n"
         "\n"
         "Keys are kept in $URZA_HOME, else $XDG_CONFIG_HOME/urza, else ~/.config/urza; what was\n"
         "compiled in $URZA_HOME/cache, else $XDG_CACHE_HOME/urza, else ~/.cache/urza.\n"
         "An error is a line on standard error; the exit status tells its class.");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static const char *command_at(uint32_t index)
{
    return index < COMMAND_COUNT ? commands[index].name : NULL;
}

/* A folder in $URZA_HOME, else urza in the folder that a variable names, else in a folder of $HOME;
 * NULL when none is set. Relative paths in XDG variables are ignored, as the XDG specification
 * demands. */
static const char *find_folder(struct arena *arena, const char *of_own, const char *variable,
                               const char *of_user)
{
    const char *own = getenv("URZA_HOME"), *given = getenv(variable), *user = getenv("HOME");
    struct strbuf path;
    strbuf_init(&path, arena);
    if (own && *own != '\0')
        strbuf_printf(&path, "%s%s", own, of_own);
    else if (given && *given == '/')
        strbuf_printf(&path, "%s/urza", given);
    else if (user && *user != '\0')
        strbuf_printf(&path, "%s/%s/urza", user, of_user);
    else
        return NULL;
    return path.data;
}

/* Detected before parsing, so that a wrong command line is reported in the requested form.
 */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static void *crypto_allocate(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    void *made = size > 0 ? malloc(size) : NULL;
    if (!made && size > 0)
        child_no_memory();
    return made;
}

static void *crypto_resize(void *old, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    if (size == 0) {
        free(old);
        return NULL;
    }
    void *made = realloc(old, size);
    if (!made)
        child_no_memory();
    return made;
}

static void crypto_free(void *old, const char *file, int line)
{
    (void)file, (void)line;
    free(old);
}

/* False with err unchanged: help was printed, which is success. */
static bool run(struct cli *cli, int argc, char **argv, struct error *err)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help();
        return true;
    }
    if (strcmp(name, "--version") == 0) {
        puts(compiler_version());
        return true;
    }
    /* If the machine lacks the memory that a request needs, that is reported as an error. */
    jmp_buf no_memory;
    if (setjmp(no_memory) != 0) {
        cli->arena->oom = NULL;
        return fail(err, ERR_NOMEM, "out of memory");
    }
    cli->arena->oom = &no_memory;
    cli->command = find_command(name);
    if (!cli->command && argc < 2)
        return fail(err, ERR_USAGE, "no command; see urza --help");
    if (!cli->command)
        return fail(err, ERR_USAGE, "'%s' is no command, the nearest is '%s'; see urza --help",
                    name, name_nearest(name, command_at));
    /* libcrypto (3.0) may crash where it has no memory for its tables. A service has had them from
     * its start on, and goes on without memory for a signature. */
    if (cli->command->run != cmd_serve)
        CRYPTO_set_mem_functions(crypto_allocate, crypto_resize, crypto_free);
    bool ok = cli->command->run(cli, argc - 1, argv + 1, err);
    cli->arena->oom = NULL;
    return ok;
}

static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* where nobody listens, the exit status tells */
}

static void say_no_memory(void)
{
    say("urza: OutOfMemoryError: out of memory\n");
}

static void say_no_memory_in_json(void)
{
    say("{\"error\":\"OutOfMemoryError\",\"message\":\"out of memory\",\"place\":\"\"}\n");
}

static const char *variable(const char *name)
{
    return getenv(name);
}

int main(int argc, char **argv)
{
    struct arena arena;
    struct error err = {.code = ERR_NONE};
    arena_init(&arena);
    /* Code that cannot return an error ends the program: LLVM, jansson, some arenas. */
    child_on_no_memory(wants_json(argc, argv) ? say_no_memory_in_json : say_no_memory);
    json_end_without_memory();
    compile_in_child();
    signal(SIGXFSZ, SIG_IGN); /* so that exceeding a file size limit is an error of writing */
    struct cli cli = {.arena = &arena,
                      .home = find_folder(&arena, "", "XDG_CONFIG_HOME", ".config"),
                      .cache = find_folder(&arena, "/cache", "XDG_CACHE_HOME", ".cache"),
                      .variable = variable,
                      .json = wants_json(argc, argv),
                      .progress = isatty(STDERR_FILENO) == 1 && !wants_json(argc, argv)};
    bool ok = run(&cli, argc, argv, &err) || err.code == ERR_NONE;
    progress_end(&cli);
    OPENSSL_cleanse(&cli.key, sizeof cli.key);
    if ((fflush(stdout) != 0 || ferror(stdout)) && ok)
        ok = fail(&err, ERR_IO, "cannot write to standard output");
    if (!ok)
        report_error(cli.json, &err);
    arena_release(&arena);
    return ok ? 0 : error_exit(err.code);
}
