/* Compiles the example networks and runs them; prints a line about each.
 *
 *     demo BUILD EXAMPLES WORK     folders: programs, blueprints, a place for packages
 *
 * Works as a user does, through the command `urza` and a host program: runner. */
#include <jansson.h>
#include <math.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_BYTES ((size_t)16 << 20)

extern char **environ;

/* Large inputs are verified at small sizes only: the reference computes in float64, element by
 * element. */
static const struct example {
    const char *name, *verify_dims; /* NULL: at several sizes */
} examples[] = {
    {"mlp", NULL},
    {"gated_mlp_rmsnorm", "B=1,S=7"},
    {"attention_arch", "B=2,S=13"},
    {"transformer_block", "B=2,S=13"},
    {"conv_arch", "B=1"},
    {"resnet_bottleneck", "B=1"},
    {"mobilenet_inverted_residual", "B=1"},
    {"custom_graph", NULL},
};

/* In the order in which they happen. */
static const char *const stages[] = {"read",    "optimise", "lower", "schedule",
                                     "codegen", "package",  "verify"};
#define STAGES (sizeof stages / sizeof stages[0])

struct folders {
    const char *build, *examples, *work;
    char key[65]; /* signs the packages; hex */
};

/* Runs a program and returns what it prints on standard output, for free(); NULL if it fails. */
static char *run(char *const argv[])
{
    int ends[2], status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe(ends) != 0)
        return NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    bool spawned = posix_spawn(&child, argv[0], &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    char *text = malloc(OUTPUT_BYTES);
    size_t size = from && text && spawned ? fread(text, 1, OUTPUT_BYTES - 1, from) : 0;
    if (from)
        fclose(from);
    bool ok = spawned && text && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
              WEXITSTATUS(status) == 0;
    if (!ok) {
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

static json_t *run_json(char *const argv[])
{
    char *text = run(argv);
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    if (!object)
        fprintf(stderr, "demo: %s fails\n", argv[0]);
    free(text);
    return object;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static bool read_key(struct folders *folders)
{
    char urza[4096];
    snprintf(urza, sizeof urza, "%s/urza", folders->build);
    char *text = run((char *[]){urza, "keys", "show", NULL});
    bool ok = text && strlen(text) == sizeof folders->key;
    if (ok)
        snprintf(folders->key, sizeof folders->key, "%.64s", text);
    free(text);
    return ok;
}

/* The largest |difference| from the reference over its bound, of all elements that were compared
 * in all runs; infinite when there is no such figure. */
static double worst_error(const json_t *inspected)
{
    json_t *checks = json_object_get(json_object_get(inspected, "evidence"), "checks"), *check;
    double worst = -1;
    size_t i;
    json_array_foreach(checks, i, check)
    {
        const char *name = json_string_value(json_object_get(check, "name"));
        double figure = number(check, "figure");
        if (name && strncmp(name, "kernels", 7) == 0 && !(figure <= worst))
            worst = isnan(figure) ? (double)INFINITY : figure;
    }
    return worst < 0 ? (double)INFINITY : worst;
}

static void print_head(void)
{
    printf("%-28s %7s |", "", "");
    printf(" %-*s | %9s | %9s %8s %17s | %s\n", (int)STAGES * 9 - 1, "compiling, ms", "package",
           "one call", "", "temporaries, kB", "worst error");
    printf("%-28s %7s |", "example", "kernels");
    for (size_t i = 0; i < STAGES; i++)
        printf(" %8s", stages[i]);
    printf(" | %9s | %9s %8s %8s %8s | %s\n", "kB", "p50 us", "launches", "taken", "in all",
           "of bound");
}

static void print_row(const char *name, const json_t *compiled, const json_t *ran,
                      const json_t *inspected)
{
    const json_t *times = json_object_get(compiled, "stages_ms");
    printf("%-28s %7.0f |", name, number(compiled, "kernels"));
    for (size_t i = 0; i < STAGES; i++)
        printf(" %8.1f", number(times, stages[i]));
    printf(" | %9.1f | %9.1f %8.0f %8.1f %8.1f | %.1g\n", number(compiled, "size_bytes") / 1e3,
           number(ran, "p50_us"), number(ran, "launches"), number(ran, "arena_bytes") / 1e3,
           number(ran, "intermediate_bytes") / 1e3, worst_error(inspected));
    fflush(stdout);
}

static bool show(struct folders *folders, const struct example *example)
{
    const char *name = example->name;
    char urza[4096], runner[4096], blueprint[4096], package[4096];
    snprintf(urza, sizeof urza, "%s/urza", folders->build);
    snprintf(runner, sizeof runner, "%s/runner", folders->build);
    snprintf(blueprint, sizeof blueprint, "%s/%s.json", folders->examples, name);
    snprintf(package, sizeof package, "%s/%s.urza", folders->work, name);
    json_t *ran = NULL, *inspected = NULL;
    json_t *compiled = run_json((char *[]){urza, "compile", blueprint, "-o", package, "--json",
                                           example->verify_dims ? "--verify-dims" : NULL,
                                           (char *)example->verify_dims, NULL});
    if (compiled)
        ran = run_json((char *[]){runner, package, "--key", folders->key, NULL});
    if (ran)
        inspected = run_json((char *[]){urza, "inspect", package, "--json", NULL});
    if (inspected)
        print_row(name, compiled, ran, inspected);
    else
        printf("%-28s fails\n", name);
    bool ok = inspected && number(ran, "fallback_calls") == 0 && worst_error(inspected) <= 1;
    json_decref(compiled);
    json_decref(ran);
    json_decref(inspected);
    return ok;
}

int main(int argc, char **argv)
{
    bool ok = true;
    if (argc != 4) {
        fputs("usage: demo BUILD EXAMPLES WORK\n", stderr);
        return 64;
    }
    struct folders folders = {.build = argv[1], .examples = argv[2], .work = argv[3]};
    if (!read_key(&folders)) {
        fputs("demo: there is no key to sign with\n", stderr);
        return 1;
    }
    print_head();
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
        ok = show(&folders, &examples[i]) && ok;
    return ok ? 0 : 1;
}
