#include "registry/registry_test_util.h"

const struct stores test_stores[STORES_COUNT] = {
    {"memory:", "memory:"},
    {"sqlite:%s/catalogue", "file:%s/objects"},
};

int64_t fixture_clock(void *context)
{
    struct fixture *f = context;
    return registry_now_ms() + atomic_load(&f->moved_ms);
}

/* The URL with the test's folder filled in. */
static const char *place(const struct fixture *f, const char *url, char out[256])
{
    const char *at = strstr(url, "%s");
    snprintf(out, 256, "%.*s%s%s", at ? (int)(at - url) : (int)strlen(url), url,
             at ? f->folder : "", at ? at + 2 : "");
    return out;
}

static void open_stores(struct fixture *f)
{
    const struct registry_options options = {.alone = true};
    struct catalogue *catalogue;
    struct blobs *blobs;
    char url[256];
    ASSERT_OK(f, catalogue_open(place(f, f->stores->catalogue, url), &catalogue, &f->err));
    ASSERT_OK(f, blobs_open(place(f, f->stores->blobs, url), &blobs, &f->err));
    ASSERT_OK(f, registry_open_over(&options, catalogue_faulty(catalogue, &f->faults),
                                    blobs_faulty(blobs, &f->faults), &f->registry, &f->err));
    registry_set_clock(f->registry, fixture_clock, f);
}

struct fixture *fixture_new(const struct stores *stores)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->stores = stores;
    snprintf(f->folder, sizeof f->folder, "/tmp/urza-registry-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    arena_init(&f->arena);
    open_stores(f);
    return f;
}

void fixture_free(struct fixture *f)
{
    char command[128];
    registry_close(f->registry);
    arena_release(&f->arena);
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
}

void fixture_reopen(struct fixture *f)
{
    registry_close(f->registry);
    open_stores(f);
}

int fixture_setup(void **state)
{
    *state = fixture_new(*state);
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static void fill_package(struct sample *sample, const char *text)
{
    memset(sample->package, '.', sizeof sample->package);
    memcpy(sample->package, text, strlen(text));
    sha256_hex(sample->package, sizeof sample->package, sample->digest);
}

void sample_init(struct sample *sample, int blueprint, int kernel)
{
    char text[200];
    *sample = (struct sample){.blueprint = ""};
    snprintf(sample->source, sizeof sample->source, "blueprint %d", blueprint);
    sha256_hex(sample->source, strlen(sample->source), sample->content);
    snprintf(text, sizeof text, "package %d of blueprint %d", kernel, blueprint);
    fill_package(sample, text);
    snprintf(sample->kernel_id, sizeof sample->kernel_id, "kernel-%s", sample->digest);
    sha256_hex(sample->kernel_id, strlen(sample->kernel_id), sample->key_id);
    struct arena arena; /* for records whose texts are all "" */
    arena_init(&arena);
    memcpy(&sample->kernel, record_new(RECORD_kernel, &arena), sizeof sample->kernel);
    memcpy(&sample->key, record_new(RECORD_key, &arena), sizeof sample->key);
    memcpy(&sample->compilation, record_new(RECORD_compilation, &arena),
           sizeof sample->compilation);
    arena_release(&arena);
    sample->kernel.head.id = sample->kernel_id;
    sample->kernel.targets = ",x86-64-v3,";
    sample->kernel.profile = "B=32";
    sample->kernel.precision = "fp32";
    sample->kernel.strategy = "standard";
    sample->kernel.evidence = "pending";
    sample->kernel.compiler = "urza 0.1.0";
    sample->key.head.id = sample->key_id;
    sample->key.hints = "{\"strategy\":\"standard\"}";
    sample->key.compiler = "urza 0.1.0";
    sample->compilation.status = "success";
}

void sample_verify(struct sample *sample)
{
    char text[200];
    snprintf(text, sizeof text, "%.80s verified", sample->kernel_id);
    fill_package(sample, text);
    sample->kernel.evidence = "verified";
}

bool sample_publish(struct registry *registry, const struct sample *sample, struct error *err)
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
                                            .blueprint = sample->blueprint,
                                            .client = "tester"};
    return registry_publish(registry, &publication, NULL, NULL, err);
}

void *fixture_get(struct fixture *f, enum record_kind kind, const char *id)
{
    void *found = NULL;
    ASSERT_OK(f,
              catalogue_get(registry_catalogue(f->registry), kind, id, &f->arena, &found, &f->err));
    return found;
}

struct kernel_record *fixture_kernel(struct fixture *f, const struct sample *sample)
{
    return fixture_get(f, RECORD_kernel, sample->kernel_id);
}

struct kernel_record *fixture_answer(struct fixture *f, const struct sample *sample)
{
    struct key_record *key;
    struct kernel_record *kernel;
    ASSERT_OK(f, registry_find(f->registry, sample->key_id, &f->arena, &key, &kernel, &f->err));
    return kernel;
}

int64_t fixture_count(struct fixture *f, enum record_kind kind, const char *field,
                      const char *value)
{
    const struct filter filter = {field, FILTER_IS, value, 0};
    const struct query query = {.kind = kind, .filters = &filter, .filter_count = field != NULL};
    struct totals totals = {0};
    ASSERT_OK(f, catalogue_total(registry_catalogue(f->registry), &query, NULL, &totals, &f->err));
    return totals.count;
}

bool set_kernel_status(struct registry *registry, const char *id, const char *status,
                       struct error *err)
{
    const struct setting setting = {
        .kind = RECORD_kernel, .id = id, .status = status, .reason = "", .client = ""};
    return registry_set(registry, &setting, err);
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

static void say_fault(void *context, const char *text)
{
    (void)context;
    print_error("fault: %s\n", text);
}

uint64_t fixture_is_sound(struct fixture *f)
{
    struct checked checked = {.faults = 1};
    ASSERT_OK(f, registry_fsck(f->registry, false, say_fault, NULL, &checked, &f->err));
    assert_int_equal(checked.faults, 0);
    return checked.orphans;
}
