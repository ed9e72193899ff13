/* Has a blueprint compiled by a registry, and loads what came of it.
 * Usage: fetch URL FILE KEYFOLDER CACHEFOLDER */
#include <stdio.h>
#include <stdlib.h>

#include "urza/client.h"

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(code);
}

int main(int argc, char **argv)
{
    static char source[1 << 20];
    FILE *file = argc == 5 ? fopen(argv[2], "rb") : NULL;
    size_t size = file ? fread(source, 1, sizeof source, file) : 0;
    if (size == 0 || size == sizeof source)
        return 64;
    fclose(file);

    urza_client_options options = {.home = argv[3], .cache_dir = argv[4]};
    urza_request request = {.source = source, .size = size, .hints = "{\"optimization_level\": 2}"};
    urza_load_options load = {.threads = 1};
    urza_client *client;
    urza_answer *answer;
    urza_package *package;
    urza_module *module;
    urza_error err;
    check(urza_client_open(argv[1], &options, &client, &err), &err);
    check(urza_client_compile(client, &request, &answer, &err), &err);
    check(urza_client_fetch(client, urza_answer_kernel_id(answer), URZA_FETCH_DEFAULT, &package,
                            &err),
          &err);
    const void *bytes = urza_package_bytes(package, &size);
    load.trusted_keys = urza_client_keys(client, &load.trusted_key_count);
    check(urza_load_memory(bytes, size, &load, &module, &err), &err);
    printf("%s from %s: %u inputs, %u outputs, on %s\n", urza_package_kernel_id(package),
           urza_package_from_cache(package) ? "the folder" : "the registry",
           urza_input_count(module), urza_output_count(module), urza_target(module));

    urza_unload(module);
    urza_package_free(package);
    urza_answer_free(answer);
    urza_client_close(client);
    return 0;
}
