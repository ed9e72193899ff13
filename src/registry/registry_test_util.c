#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "registry/registry_test_util.h"

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct stores test_stores[STORES_COUNT] = {
    {"memory:", "memory:"},
};

static int64_t moved_clock(void *context)
{
    struct fixture *f = context;
    return registry_now_ms() + atomic_load(&f->moved_ms);
}

void fixture_open(struct fixture *f, const struct registry_options *options)
{
    struct registry_options filled = *options;
    char catalogue[128], blobs[128];
    registry_close(f->registry);
    f->registry = NULL;
    snprintf(catalogue, sizeof catalogue, "%s%s", f->stores->catalogue,
             strcmp(f->stores->catalogue, "memory:") == 0 ? "" : f->folder);
    snprintf(blobs, sizeof blobs, "%s%s", f->stores->blobs,
             strcmp(f->stores->blobs, "memory:") == 0 ? "" : f->folder);
    filled.catalogue = catalogue;
    filled.blobs = blobs;
    if (!registry_open(&filled, &f->registry, &f->err))
        fail_msg("%s", f->err.message);
    registry_set_clock(f->registry, moved_clock, f);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->stores = *state;
    snprintf(f->folder, sizeof f->folder, "/tmp/urza-registry-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    arena_init(&f->arena);
    fixture_open(f, &(struct registry_options){.alone = true});
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    registry_close(f->registry);
    arena_release(&f->arena);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

void sample_init(struct sample *sample, int blueprint, int kernel)
{
    *sample = (struct sample){0};
    sha256_hex(&blueprint, sizeof blueprint, sample->content);
    char digest[SHA256_HEX_BYTES];
    const int both[] = {blueprint, kernel};
    sha256_hex(both, sizeof both, digest);
    snprintf(sample->kernel_id, sizeof sample->kernel_id, "kernel-%s", digest);
    sha256_hex(digest, 64, sample->key_id);
    int length = snprintf(sample->package, sizeof sample->package, "package %d of blueprint %d",
                          kernel, blueprint);
    memset(sample->package + length, '.', sizeof sample->package - (size_t)length);
    snprintf(sample->source, sizeof sample->source, "blueprint %d", blueprint);
    sample->kernel = (struct kernel_record){.head.id = sample->kernel_id,
                                            .blueprint = "",
                                            .targets = ",x86-64-v3,",
                                            .profile = "B=32",
                                            .precision = "fp32",
                                            .strategy = "standard",
                                            .status = "",
                                            .reason = "",
                                            .parent = "",
                                            .object = "",
                                            .evidence = "pending",
                                            .tags = "",
                                            .degraded = "",
                                            .details = "",
                                            .hints = "",
                                            .compiler = "urza 0.1.0"};
    sample->key = (struct key_record){.head.id = sample->key_id,
                                      .kernel = "",
                                      .content = "",
                                      .hints = "{\"strategy\":\"standard\"}",
                                      .compiler = "urza 0.1.0",
                                      .name = "",
                                      .answer = "{}"};
    sample->compilation = (struct compilation_record){.head.id = "",
                                                      .kernel = "",
                                                      .blueprint = "",
                                                      .status = "success",
                                                      .strategy = "standard",
                                                      .error = "",
                                                      .stages_ms = "",
                                                      .miss = ""};
}

bool sample_publish(struct fixture *f, const struct sample *sample)
{
    const struct publication publication = {.package = sample->package,
                                            .package_bytes = sizeof sample->package,
                                            .source = sample->source,
                                            .source_bytes = strlen(sample->source),
                                            .content = sample->content,
                                            .kernel = &sample->kernel,
                                            .key = &sample->key,
                                            .compilation = &sample->compilation,
                                            .blueprint_name = "",
                                            .blueprint = "",
                                            .client = "tester"};
    return registry_publish(f->registry, &publication, NULL, NULL, &f->err);
}

void *fixture_get(struct fixture *f, enum record_kind kind, const char *id)
{
    void *found = NULL;
    if (!catalogue_get(registry_catalogue(f->registry), kind, id, &f->arena, &found, &f->err))
        fail_msg("%s", f->err.message);
    return found;
}

int64_t fixture_count(struct fixture *f, enum record_kind kind)
{
    const struct query query = {.kind = kind};
    struct totals totals;
    if (!catalogue_total(registry_catalogue(f->registry), &query, NULL, &totals, &f->err))
        fail_msg("%s", f->err.message);
    return totals.count;
}

bool fixture_has_object(struct fixture *f, const char *digest)
{
    struct blob blob;
    struct error err;
    if (!blobs_get(registry_blobs(f->registry), digest, &blob, &err))
        return false;
    blobs_release(registry_blobs(f->registry), &blob);
    return true;
}
