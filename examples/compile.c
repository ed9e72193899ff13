/* Compiles a blueprint or model and loads what came of it, in one process.
 * Usage: compile FILE KEYFOLDER */
#include <stdio.h>
#include <stdlib.h>

#include "urza/compile.h"

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

static void show_step(void *user, const char *step)
{
    printf("%s %s\n", step, (const char *)user);
}

int main(int argc, char **argv)
{
    static char source[1 << 20];
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    size_t size = file ? fread(source, 1, sizeof source, file) : 0;
    if (size == 0 || size == sizeof source)
        return 64;
    fclose(file);

    urza_compiler_options options = {.home = argv[2]};
    urza_compile_options wish = {.degrade = 1, .on_step = show_step, .user = argv[1]};
    uint8_t key[1][32];
    urza_load_options load = {.trusted_keys = key, .trusted_key_count = 1};
    urza_compiler *compiler;
    urza_job *job;
    urza_module *module;
    urza_error err;
    check(urza_compiler_open(&options, &compiler, &err), &err);
    check(urza_compile(compiler, source, size, &wish, &job, &err), &err);
    printf("%s\n%s\n", urza_job_kernel_id(job), urza_job_details(job));

    const void *package = urza_job_package(job, &size);
    urza_compiler_key(compiler, key[0]);
    check(urza_load_memory(package, size, &load, &module, &err), &err);
    printf("%u inputs, %u outputs, on %s\n", urza_input_count(module), urza_output_count(module),
           urza_target(module));
    urza_unload(module);
    urza_job_free(job);
    urza_compiler_close(compiler);
    return 0;
}
