/* The registry's contract, on each pair of stores. */
#include "registry/registry_test_util.h"

#include "registry/blobs_priv.h"

#define HOUR_MS ((int64_t)3600 * 1000)

static void publish(struct fixture *f, const struct sample *sample)
{
    ASSERT_OK(f, sample_publish(f->registry, sample, &f->err));
}

static struct tended tend(struct fixture *f)
{
    struct tended tended = {0};
    uint32_t swept;
    ASSERT_OK(f, registry_tend(f->registry, &tended, &f->err));
    ASSERT_OK(f, registry_sweep(f->registry, &swept, &f->err));
    tended.objects_removed += swept;
    return tended;
}

static void set_status(struct fixture *f, const struct sample *sample, const char *status)
{
    const struct setting setting = {.kind = RECORD_kernel,
                                    .id = sample->kernel_id,
                                    .status = status,
                                    .reason = "because",
                                    .client = "tester"};
    ASSERT_OK(f, registry_set(f->registry, &setting, &f->err));
}

static bool submit(struct fixture *f, const struct blueprint_record *blueprint, const char *source,
                   struct blueprint_record **out)
{
    const struct submission submission = {blueprint, source, strlen(source)};
    return registry_submit(f->registry, &submission, &f->arena, out, &f->err);
}

static void a_kernel_is_published_whole(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct key_record *key;
    struct kernel_record *kernel;
    struct blob blob;
    sample_init(&sample, 1, 1);
    ASSERT_OK(f, registry_find(f->registry, sample.key_id, &f->arena, &key, &kernel, &f->err));
    assert_null(key);
    assert_null(kernel);
    publish(f, &sample);
    ASSERT_OK(f, registry_find(f->registry, sample.key_id, &f->arena, &key, &kernel, &f->err));
    assert_string_equal(key->kernel, sample.kernel_id);
    assert_string_equal(key->content, sample.content);
    assert_string_equal(kernel->status, "VALIDATED");
    assert_int_equal(kernel->version, 1);
    assert_int_equal(kernel->size_bytes, sizeof sample.package);
    ASSERT_OK(f, registry_package(f->registry, kernel, &blob, &f->err));
    assert_int_equal(blob.size_bytes, sizeof sample.package);
    assert_memory_equal(blob.data, sample.package, sizeof sample.package);
    blobs_release(registry_blobs(f->registry), &blob);

    const struct blueprint_record *blueprint = fixture_get(f, RECORD_blueprint, kernel->blueprint);
    assert_string_equal(blueprint->status, "VALIDATED");
    assert_string_equal(blueprint->digest, sample.content);
    assert_true(fixture_has_object(f, blueprint->source));
    assert_int_equal(fixture_count(f, RECORD_compilation, "kernel", sample.kernel_id), 1);
    assert_int_equal(fixture_count(f, RECORD_change, "subject", sample.kernel_id), 1);
    assert_int_equal(fixture_is_sound(f), 0);
}

static void keys_may_share_a_kernel(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    sample_init(&sample, 1, 1);
    publish(f, &sample);
    sample.key.head.id = "another";
    publish(f, &sample);
    publish(f, &sample);
    assert_int_equal(fixture_count(f, RECORD_key, NULL, NULL), 2);
    assert_int_equal(fixture_count(f, RECORD_kernel, NULL, NULL), 1);
    assert_int_equal(fixture_kernel(f, &sample)->version, 1);
    assert_int_equal(fixture_count(f, RECORD_blueprint, NULL, NULL), 1);
}

static void versions_count_among_their_like(void **state)
{
    struct fixture *f = *state;
    struct sample samples[5];
    for (int i = 0; i < 5; i++)
        sample_init(&samples[i], 1 + i / 4, i);
    samples[2].kernel.targets = ",x86-64-v3,x86-64-v4,";
    const int versions[] = {1, 2, 1, 3, 1};
    for (int i = 0; i < 5; i++)
        publish(f, &samples[i]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fixture_kernel(f, &samples[i])->version, versions[i]);
}

static void a_submitted_blueprint_is_validated_by_its_kernel(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct blueprint_record *given = record_new(RECORD_blueprint, &f->arena), *made, *again;
    sample_init(&sample, 1, 1);
    given->head.id = "mine";
    ASSERT_OK(f, submit(f, given, "source", &made));
    assert_string_equal(made->status, "UNVALIDATED");
    ASSERT_OK(f, submit(f, given, "source", &again));
    assert_int_equal(again->head.serial, made->head.serial);
    ASSERT_FAILS(f, ERR_CONFLICT, submit(f, given, "sauce", &made));
    given->head.id = "blueprint-1";
    ASSERT_FAILS(f, ERR_CONFLICT, submit(f, given, "source", &made));
    given->head.id = "";
    ASSERT_OK(f, submit(f, given, "source", &made));
    assert_int_equal(strncmp(made->head.id, "blueprint-", 10), 0);

    sample.blueprint = "nobody's";
    ASSERT_FAILS(f, ERR_NOT_FOUND, sample_publish(f->registry, &sample, &f->err));
    sample.blueprint = "mine";
    publish(f, &sample);
    const struct blueprint_record *mine = fixture_get(f, RECORD_blueprint, "mine");
    assert_string_equal(mine->status, "VALIDATED");
    assert_string_equal(mine->digest, sample.content);
    assert_string_equal(fixture_kernel(f, &sample)->blueprint, "mine");
    struct sample other;
    sample_init(&other, 2, 1);
    other.blueprint = "mine";
    ASSERT_FAILS(f, ERR_CONFLICT, sample_publish(f->registry, &other, &f->err));
    assert_null(fixture_kernel(f, &other));
    fixture_is_sound(f);
}

static void statuses_follow_their_table(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    assert_true(kernel_status_known("TESTING"));
    assert_false(kernel_status_known("COMPILING"));
    assert_false(blueprint_status_known(""));
    sample_init(&sample, 1, 1);
    publish(f, &sample);
    set_status(f, &sample, "TESTING");
    set_status(f, &sample, "TESTING");
    set_status(f, &sample, "RETIRED");
    assert_int_equal(fixture_count(f, RECORD_change, "subject", sample.kernel_id), 3);
    assert_string_equal(fixture_kernel(f, &sample)->reason, "because");
    ASSERT_FAILS(f, ERR_CONFLICT,
                 set_kernel_status(f->registry, sample.kernel_id, "DEPLOYED", &f->err));
    ASSERT_FAILS(f, ERR_NOT_FOUND, set_kernel_status(f->registry, "x", "DEPLOYED", &f->err));
    assert_null(fixture_answer(f, &sample));
    publish(f, &sample);
    assert_string_equal(fixture_answer(f, &sample)->status, "VALIDATED");
    assert_int_equal(fixture_count(f, RECORD_change, "subject", sample.kernel_id), 4);
}

static void aliases_lead_to_kernels(void **state)
{
    struct fixture *f = *state;
    struct sample one, two;
    struct kernel_record *kernel;
    char long_name[102];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[101] = '\0';
    sample_init(&one, 1, 1);
    sample_init(&two, 1, 2);
    publish(f, &one);
    publish(f, &two);
    const char *bad[] = {"", "kernel-1", "a b", "a/b", "\xc3\xa4", long_name};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ASSERT_FAILS(f, ERR_INPUT,
                     registry_set_alias(f->registry, bad[i], one.kernel_id, "", &f->err));
    ASSERT_FAILS(f, ERR_NOT_FOUND, registry_set_alias(f->registry, "a", "kernel-x", "", &f->err));
    ASSERT_FAILS(f, ERR_NOT_FOUND, registry_set_alias(f->registry, "a", "", "", &f->err));
    ASSERT_OK(f, registry_set_alias(f->registry, long_name + 1, one.kernel_id, "", &f->err));
    ASSERT_OK(f, registry_set_alias(f->registry, long_name + 1, two.kernel_id, "", &f->err));
    ASSERT_OK(f, registry_kernel(f->registry, long_name + 1, &f->arena, &kernel, &f->err));
    assert_string_equal(kernel->head.id, two.kernel_id);
    ASSERT_OK(f, registry_kernel(f->registry, one.kernel_id, &f->arena, &kernel, &f->err));
    ASSERT_OK(f, registry_set_alias(f->registry, long_name + 1, "", "", &f->err));
    ASSERT_FAILS(f, ERR_NOT_FOUND,
                 registry_kernel(f->registry, long_name + 1, &f->arena, &kernel, &f->err));
    assert_int_equal(fixture_count(f, RECORD_change, "subject", long_name + 1), 3);
}

static const char *why(struct fixture *f, const struct key_record *wanted)
{
    const char *text;
    ASSERT_OK(f, registry_why(f->registry, wanted, &f->arena, &text, &f->err));
    return text;
}

static void a_miss_says_why(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    char expected[200];
    sample_init(&sample, 1, 1);
    struct key_record wanted = sample.key;
    wanted.head.id = "wanted";
    wanted.content = sample.content;
    assert_string_equal(why(f, &wanted), "no kernel of this blueprint");
    sample.key.hints = "{\"level\":2,\"strategy\":\"fast\"}";
    publish(f, &sample);
    wanted.hints = "{\"level\":2,\"strategy\":\"standard\"}";
    snprintf(expected, sizeof expected, "hint 'strategy' differs from %s: fast", sample.kernel_id);
    assert_string_equal(why(f, &wanted), expected);
    sample.key.head.id = "nearer";
    sample.key.hints = wanted.hints;
    sample.key.compiler = "urza 0.0.9";
    publish(f, &sample);
    assert_string_equal(why(f, &wanted), "the compiler was urza 0.0.9");
    set_status(f, &sample, "RETIRED");
    assert_string_equal(why(f, &wanted), "retired: because");
    wanted.head.id = sample.key_id;
    assert_string_equal(why(f, &wanted), "retired: because");
    publish(f, &sample);
    f->registry->size_limit_bytes = 1;
    tend(f);
    assert_string_equal(why(f, &wanted), "evicted");
}

static void better_evidence_replaces_the_package(void **state)
{
    struct fixture *f = *state;
    struct sample sample, verified;
    struct blob blob;
    sample_init(&sample, 1, 1);
    verified = sample;
    verified.kernel.head.id = verified.kernel_id;
    verified.key.head.id = verified.key_id;
    sample_verify(&verified);
    publish(f, &sample);
    const struct kernel_record *before = fixture_kernel(f, &sample);
    ASSERT_OK(f, registry_replace(f->registry, sample.kernel_id, verified.package,
                                  sizeof verified.package, "verified", &f->err));
    const struct kernel_record *after = fixture_kernel(f, &sample);
    assert_string_equal(after->evidence, "verified");
    assert_string_equal(after->object, verified.digest);
    assert_false(fixture_has_object(f, sample.digest));
    ASSERT_OK(f, registry_package(f->registry, before, &blob, &f->err)); /* the new package */
    assert_memory_equal(blob.data, verified.package, sizeof verified.package);
    blobs_release(registry_blobs(f->registry), &blob);
    publish(f, &sample);
    assert_string_equal(fixture_kernel(f, &sample)->object, verified.digest);
    ASSERT_FAILS(f, ERR_NOT_FOUND,
                 registry_replace(f->registry, "kernel-x", "x", 1, "verified", &f->err));
    fixture_is_sound(f);
}

static void uses_are_written_down(void **state)
{
    struct fixture *f = *state;
    struct sample samples[20];
    int64_t revision;
    for (int i = 0; i < 20; i++) {
        sample_init(&samples[i], i, i);
        publish(f, &samples[i]);
    }
    revision = fixture_kernel(f, &samples[0])->head.revision;
    atomic_store(&f->moved_ms, HOUR_MS);
    for (int i = 0; i < 20; i++)
        for (int use = 0; use <= i; use++)
            registry_used(f->registry, samples[i].kernel_id);
    registry_used(f->registry, "kernel-of-nobody");
    assert_int_equal(fixture_kernel(f, &samples[0])->head.revision, revision);
    f->faults = (struct faults){.fault = FAULT_ERROR, .at = 5};
    struct tended tended;
    ASSERT_FAILS(f, ERR_IO, registry_tend(f->registry, &tended, &f->err));
    f->faults = (struct faults){0};
    tend(f);
    tend(f);
    for (int i = 0; i < 20; i++) {
        const struct kernel_record *kernel = fixture_kernel(f, &samples[i]);
        assert_int_equal(kernel->uses, i + 1);
        assert_true(kernel->used_ms >= kernel->created_ms + HOUR_MS);
    }
    assert_int_equal(f->registry->uses.count, 0);
    registry_used(f->registry, samples[0].kernel_id);
    if (f->stores == &test_stores[0])
        return; /* stores in memory end with the registry */
    fixture_reopen(f);
    assert_int_equal(fixture_kernel(f, &samples[0])->uses, 2);
}

static void the_least_used_are_evicted_beyond_the_size(void **state)
{
    struct fixture *f = *state;
    struct sample samples[6];
    for (int i = 0; i < 6; i++) {
        atomic_store(&f->moved_ms, i * 1000);
        sample_init(&samples[i], i, i);
        publish(f, &samples[i]);
    }
    set_status(f, &samples[0], "DEPLOYED");
    ASSERT_OK(f, registry_set_alias(f->registry, "best", samples[1].kernel_id, "", &f->err));
    atomic_store(&f->moved_ms, HOUR_MS / 2);
    registry_used(f->registry, samples[2].kernel_id);
    f->registry->size_limit_bytes = 4 * sizeof samples[0].package;
    struct tended tended = tend(f);
    assert_int_equal(tended.evicted, 2);
    assert_int_equal(tended.objects_removed, 2);
    assert_int_equal(tended.bytes, 4 * sizeof samples[0].package);
    for (int i = 0; i < 6; i++) {
        bool evicted = i == 3 || i == 4;
        assert_int_equal(fixture_has_object(f, samples[i].digest), !evicted);
        assert_int_equal(fixture_answer(f, &samples[i]) == NULL, evicted);
    }
    f->registry->size_limit_bytes = 1;
    assert_int_equal(tend(f).evicted, 2);
    assert_true(fixture_has_object(f, samples[0].digest));
    assert_true(fixture_has_object(f, samples[1].digest));
    struct blob blob;
    ASSERT_FAILS(f, ERR_NOT_FOUND,
                 registry_package(f->registry, fixture_kernel(f, &samples[3]), &blob, &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT,
                 registry_set_alias(f->registry, "x", samples[3].kernel_id, "", &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT,
                 set_kernel_status(f->registry, samples[3].kernel_id, "DEPLOYED", &f->err));
    publish(f, &samples[3]); /* the same kernel, restored */
    assert_int_equal(fixture_answer(f, &samples[3])->version, 1);
    assert_int_equal(fixture_is_sound(f), 0);
}

static void the_old_are_evicted(void **state)
{
    struct fixture *f = *state;
    struct sample samples[3];
    f->registry->ttl_ms = 10 * HOUR_MS;
    for (int i = 0; i < 3; i++) {
        sample_init(&samples[i], i, i);
        publish(f, &samples[i]);
    }
    atomic_store(&f->moved_ms, 9 * HOUR_MS);
    assert_int_equal(tend(f).evicted, 0);
    registry_used(f->registry, samples[1].kernel_id);
    atomic_store(&f->moved_ms, 11 * HOUR_MS);
    assert_int_equal(tend(f).evicted, 2);
    assert_non_null(fixture_answer(f, &samples[1]));
    assert_int_equal(tend(f).evicted, 0);
}

static void orphans_go_after_an_hour(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct flight flight;
    char orphan[SHA256_HEX_BYTES], request[SHA256_HEX_BYTES];
    sample_init(&sample, 1, 1);
    publish(f, &sample);
    ASSERT_OK(f, blobs_put(registry_blobs(f->registry), "orphan", 6, orphan, &f->err));
    ASSERT_OK(f, blobs_put(registry_blobs(f->registry), "request", 7, request, &f->err));
    struct job_record *job = record_new(RECORD_job, &f->arena);
    job->head.id = "job";
    job->state = "DONE";
    job->request = request;
    ASSERT_OK(f, commit_one(registry_catalogue(f->registry), RECORD_job, EXPECT_NEW, job, &f->err));
    assert_int_equal(fixture_is_sound(f), 1);
    atomic_store(&f->moved_ms, HOUR_MS - 60000);
    assert_int_equal(tend(f).objects_removed, 0);
    atomic_store(&f->moved_ms, HOUR_MS + 60000);
    flight_begin(f->registry, &flight, orphan);
    assert_int_equal(tend(f).objects_removed, 0);
    flight_end(f->registry, &flight);
    assert_int_equal(tend(f).objects_removed, 1);
    assert_false(fixture_has_object(f, orphan));
    assert_true(fixture_has_object(f, request));
    assert_int_equal(fixture_is_sound(f), 0);

    f->registry->alone = false; /* others publish here: an evicted object is an orphan at first */
    f->registry->size_limit_bytes = 1;
    atomic_store(&f->moved_ms, 0);
    ASSERT_OK(f, blobs_put(registry_blobs(f->registry), sample.package, sizeof sample.package,
                           orphan, &f->err));
    struct tended tended = tend(f);
    assert_int_equal(tended.evicted, 1);
    assert_int_equal(tended.objects_removed, 0);
    assert_true(fixture_has_object(f, sample.digest));
}

static void old_compilations_go(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct change changes[1100];
    struct compilation_record records[1100];
    sample_init(&sample, 1, 1);
    for (int i = 0; i < 1100; i++) {
        records[i] = sample.compilation;
        records[i].at_ms = i;
        changes[i] = (struct change){
            .kind = RECORD_compilation, .expect = EXPECT_NEW, .record = &records[i]};
    }
    ASSERT_OK(f, catalogue_commit(registry_catalogue(f->registry), changes, 1100, &f->err));
    ASSERT_OK(f, registry_record(f->registry, &sample.compilation, &f->err));
    tend(f);
    assert_int_equal(fixture_count(f, RECORD_compilation, NULL, NULL), COMPILATIONS_KEPT);
    const struct query query = {.kind = RECORD_compilation, .limit = 1};
    struct records oldest;
    ASSERT_OK(f,
              catalogue_list(registry_catalogue(f->registry), &query, &f->arena, &oldest, &f->err));
    assert_int_equal(((const struct compilation_record *)oldest.items[0])->at_ms, 101);
}

/* Removes an object without the registry's knowledge. */
static void lose(struct fixture *f, const char *digest)
{
    ASSERT_OK(f, blobs_remove(registry_blobs(f->registry), digest, &f->err));
}

/* Stores other bytes under a digest. */
static void damage(struct fixture *f, const char *digest)
{
    struct blobs *blobs = registry_blobs(f->registry);
    char path[200];
    if (f->stores == &test_stores[0]) {
        ASSERT_OK(f, blobs->driver->put(blobs, digest, "damaged", 7, &f->err));
        return;
    }
    snprintf(path, sizeof path, "printf damaged >$(find %s -type f -name '*%.60s')", f->folder,
             digest + 4);
    assert_int_equal(system(path), 0);
}

static void what_is_lost_is_said_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct sample samples[2];
    struct blob blob;
    for (int i = 0; i < 2; i++) {
        sample_init(&samples[i], i, i);
        publish(f, &samples[i]);
    }
    lose(f, samples[0].digest);
    damage(f, samples[1].digest);
    for (int i = 0; i < 2; i++)
        for (int again = 0; again < 3; again++)
            ASSERT_FAILS(
                f, ERR_BUSY,
                registry_package(f->registry, fixture_kernel(f, &samples[i]), &blob, &f->err));
    assert_int_equal(fixture_count(f, RECORD_event, "kind", "damage"), 2);
    for (int i = 0; i < 2; i++) {
        publish(f, &samples[i]);
        assert_true(fixture_has_object(f, samples[i].digest));
    }
    fixture_is_sound(f);
}

static void a_lost_kernel_answers_nothing(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct blob blob;
    const char *why;
    sample_init(&sample, 1, 1);
    publish(f, &sample);
    lose(f, sample.digest);
    assert_non_null(fixture_answer(f, &sample)); /* the damage was not noticed yet */
    ASSERT_FAILS(f, ERR_BUSY,
                 registry_package(f->registry, fixture_kernel(f, &sample), &blob, &f->err));
    assert_null(fixture_answer(f, &sample));
    ASSERT_OK(f, registry_why(f->registry, &sample.key, &f->arena, &why, &f->err));
    assert_string_equal(why, "lost");
    publish(f, &sample);
    assert_non_null(fixture_answer(f, &sample));
    assert_int_equal(fixture_kernel(f, &sample)->lost_ms, 0);
}

static void jobs_that_ended_go_and_others_stay(void **state)
{
    struct fixture *f = *state;
    struct catalogue *catalogue = registry_catalogue(f->registry);
    struct job_record *job = record_new(RECORD_job, &f->arena);
    enum { MANY = 400 };
    struct change changes[MANY];
    job->state = "QUEUED";
    job->head.id = "waits";
    ASSERT_OK(f, commit_one(catalogue, RECORD_job, EXPECT_NEW, job, &f->err));
    job->head.id = "";
    job->state = "DONE";
    for (int i = 0; i < MANY; i++)
        changes[i] = (struct change){.kind = RECORD_job, .expect = EXPECT_NEW, .record = job};
    for (int i = 0; i < JOBS_KEPT + MANY; i += MANY)
        ASSERT_OK(f, catalogue_commit(catalogue, changes, MANY, &f->err));
    assert_int_equal(fixture_count(f, RECORD_job, NULL, NULL), 1 + JOBS_KEPT + MANY);
    tend(f);
    assert_int_equal(fixture_count(f, RECORD_job, "state", "DONE"), JOBS_KEPT);
    assert_non_null(fixture_get(f, RECORD_job, "waits"));
}

static void count_fault(void *context, const char *text)
{
    ++*(int *)context;
    assert_true(strlen(text) > 20);
}

static void fsck_finds_and_repairs(void **state)
{
    struct fixture *f = *state;
    struct catalogue *catalogue = registry_catalogue(f->registry);
    struct sample samples[3];
    struct checked checked;
    struct blueprint_record *blueprint = record_new(RECORD_blueprint, &f->arena), *made;
    int said = 0;
    for (int i = 0; i < 3; i++) {
        sample_init(&samples[i], i, i);
        publish(f, &samples[i]);
    }
    blueprint->head.id = "mine";
    ASSERT_OK(f, submit(f, blueprint, "source", &made));
    samples[0].key.head.id = "lost";
    samples[0].key.kernel = "kernel-lost";
    ASSERT_OK(f, commit_one(catalogue, RECORD_key, EXPECT_NEW, &samples[0].key, &f->err));
    const struct alias_record alias = {.head.id = "alias", .kernel = "kernel-lost"};
    ASSERT_OK(f, commit_one(catalogue, RECORD_alias, EXPECT_NEW, &alias, &f->err));
    struct job_record *job = record_new(RECORD_job, &f->arena);
    job->head.id = "job";
    job->state = "QUEUED";
    job->request = samples[0].content; /* no object has this digest, except the blueprint's source
                                        */
    ASSERT_OK(f, commit_one(catalogue, RECORD_job, EXPECT_NEW, job, &f->err));
    lose(f, samples[0].digest);
    damage(f, samples[1].digest);
    lose(f, made->source);
    lose(f, samples[0].content);
    /* kernels 0 and 1, the key, the alias, two blueprints, the job */
    ASSERT_OK(f, registry_fsck(f->registry, false, count_fault, &said, &checked, &f->err));
    assert_int_equal(checked.faults, 7);
    assert_int_equal(said, 7);
    assert_int_equal(checked.repaired, 0);
    assert_int_equal(checked.kernels, 3);
    ASSERT_OK(f, registry_fsck(f->registry, true, count_fault, &said, &checked, &f->err));
    assert_int_equal(checked.faults, 7);
    assert_int_equal(checked.repaired, 7);
    assert_int_equal(fixture_is_sound(f), 0);
    assert_string_equal(fixture_kernel(f, &samples[0])->object, "");
    assert_string_equal(fixture_kernel(f, &samples[1])->object, "");
    assert_null(fixture_answer(f, &samples[1]));
    assert_non_null(fixture_answer(f, &samples[2]));
    assert_null(fixture_get(f, RECORD_key, "lost"));
    made = fixture_get(f, RECORD_blueprint, "mine");
    assert_string_equal(made->status, "FAILED");
    blueprint->head.id = "mine"; /* and it may be submitted again */
    ASSERT_OK(f, submit(f, blueprint, "source", &made));
    assert_string_equal(made->status, "UNVALIDATED");
    assert_int_equal(fixture_is_sound(f), 0);
}

static void no_repair_while_the_disk_errs(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    struct checked checked;
    sample_init(&sample, 1, 1);
    publish(f, &sample);
    for (long at = 1;; at++) {
        f->faults = (struct faults){.fault = FAULT_ERROR, .at = at};
        bool ok = registry_fsck(f->registry, true, NULL, NULL, &checked, &f->err);
        bool hit = atomic_load(&f->faults.calls) >= at;
        f->faults = (struct faults){0};
        assert_int_equal(ok, !hit);
        assert_non_null(fixture_answer(f, &sample));
        assert_true(fixture_has_object(f, sample.digest));
        if (!hit)
            break;
        assert_int_equal(f->err.code, ERR_IO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_STORES(a_kernel_is_published_whole),
        OVER_STORES(keys_may_share_a_kernel),
        OVER_STORES(versions_count_among_their_like),
        OVER_STORES(a_submitted_blueprint_is_validated_by_its_kernel),
        OVER_STORES(statuses_follow_their_table),
        OVER_STORES(aliases_lead_to_kernels),
        OVER_STORES(a_miss_says_why),
        OVER_STORES(better_evidence_replaces_the_package),
        OVER_STORES(uses_are_written_down),
        OVER_STORES(the_least_used_are_evicted_beyond_the_size),
        OVER_STORES(the_old_are_evicted),
        OVER_STORES(orphans_go_after_an_hour),
        OVER_STORES(old_compilations_go),
        OVER_STORES(what_is_lost_is_said_and_comes_back),
        OVER_STORES(a_lost_kernel_answers_nothing),
        OVER_STORES(jobs_that_ended_go_and_others_stay),
        OVER_STORES(fsck_finds_and_repairs),
        OVER_STORES(no_repair_while_the_disk_errs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
