/* Checks whether bytes are a package signed by a trusted key.
 *
 * The package is parsed on a separate thread: nested dims take more stack than a host's thread may
 * have, and numbers must be parsed in the default floating-point mode. */
#include <fenv.h>

#include "client/client_priv.h"

#define STACK_BYTES ((size_t)4 << 20)

struct check {
    const struct urza_client *client;
    const void *bytes;
    size_t size;
    struct arena arena;
    jmp_buf no_memory;
    char id[KERNEL_ID_BYTES]; /* of a valid package */
    bool ok;
    struct error err;
};

static void *read_package(void *context)
{
    struct check *check = context;
    const struct urza_client *client = check->client;
    fesetenv(FE_DFL_ENV);
    arena_init(&check->arena);
    if (setjmp(check->no_memory) != 0) {
        check->ok = fail(&check->err, ERR_NOMEM, "no memory to verify a package");
    } else {
        check->arena.oom = &check->no_memory;
        struct package_contents *contents = ARENA_NEW(&check->arena, struct package_contents);
        const struct trust trust = {client->trust, &client->trusted};
        check->ok =
            package_read(check->bytes, check->size, &trust, &check->arena, contents, &check->err);
        memcpy(check->id, contents->id, sizeof check->id);
    }
    check->arena.oom = NULL;
    arena_release(&check->arena);
    return NULL;
}

bool check_package(const struct urza_client *client, const void *bytes, size_t size,
                   char out_id[KERNEL_ID_BYTES], struct error *err)
{
    struct check check = {.client = client, .bytes = bytes, .size = size};
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    bool started = pthread_create(&thread, &attributes, read_package, &check) == 0;
    pthread_attr_destroy(&attributes);
    if (!started)
        return fail(err, ERR_NOMEM, "cannot start a thread to verify a package");
    pthread_join(thread, NULL);
    if (!check.ok) {
        *err = check.err;
        return false;
    }
    memcpy(out_id, check.id, sizeof check.id);
    return true;
}
