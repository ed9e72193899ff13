/* Each operation, with each other operation done between its reading and its commit. */
#include "registry/queue_priv.h"
#include "registry/registry_test_util.h"

#define HOUR_MS ((int64_t)3600 * 1000)

/* A catalogue that runs another operation, once, before a commit. */
struct interrupted {
    struct catalogue catalogue;
    struct catalogue *under;
    void (*act)(void *context); /* NULL: no other operation */
    void *context;
};

static struct catalogue *under(struct catalogue *catalogue)
{
    return ((struct interrupted *)catalogue)->under;
}

static void interrupted_close(struct catalogue *catalogue)
{
    catalogue_close(under(catalogue));
    free(catalogue);
}

static bool interrupted_commit(struct catalogue *catalogue, const struct change *changes,
                               uint32_t count, struct error *err)
{
    struct interrupted *interrupted = (struct interrupted *)catalogue;
    void (*act)(void *context) = interrupted->act;
    interrupted->act = NULL;
    if (act)
        act(interrupted->context);
    return catalogue_commit(under(catalogue), changes, count, err);
}

static bool interrupted_get(struct catalogue *catalogue, enum record_kind kind, const char *id,
                            struct arena *arena, void **out, struct error *err)
{
    return catalogue_get(under(catalogue), kind, id, arena, out, err);
}

static bool interrupted_list(struct catalogue *catalogue, const struct query *query,
                             struct arena *arena, struct records *out, struct error *err)
{
    return catalogue_list(under(catalogue), query, arena, out, err);
}

static bool interrupted_total(struct catalogue *catalogue, const struct query *query,
                              const char *field, struct totals *out, struct error *err)
{
    return catalogue_total(under(catalogue), query, field, out, err);
}

static bool interrupted_check(struct catalogue *catalogue, struct error *err)
{
    return catalogue_check(under(catalogue), err);
}

static const struct catalogue_driver interrupted_driver = {
    .name = "interrupted",
    .close = interrupted_close,
    .commit = interrupted_commit,
    .get = interrupted_get,
    .list = interrupted_list,
    .total = interrupted_total,
    .check = interrupted_check,
};

enum operation {
    PUBLISH,
    PUBLISH_VERIFIED,
    PUBLISH_OTHER, /* kernel of the same blueprint */
    EVICT,
    ALIAS,
    DEPLOY,
    RETIRE,
    REPLACE,
    REPAIR,
    OPERATION_COUNT
};

struct race {
    struct fixture *f;
    struct interrupted *interrupted;
    struct sample sample, verified, other;
    enum operation second;
    bool acked[OPERATION_COUNT];
};

static bool evict(struct race *race, struct error *err)
{
    struct tended tended;
    race->f->registry->size_limit_bytes = 1;
    uint32_t swept;
    bool ok = registry_tend(race->f->registry, &tended, err) &&
              registry_sweep(race->f->registry, &swept, err);
    race->f->registry->size_limit_bytes = 0;
    return ok;
}

static bool operate(struct race *race, enum operation operation, struct error *err)
{
    struct registry *r = race->f->registry;
    const char *id = race->sample.kernel_id;
    struct checked checked;
    switch (operation) {
    case PUBLISH: return sample_publish(r, &race->sample, err);
    case PUBLISH_VERIFIED: return sample_publish(r, &race->verified, err);
    case PUBLISH_OTHER: return sample_publish(r, &race->other, err);
    case EVICT: return evict(race, err);
    case ALIAS: return registry_set_alias(r, "alias", id, "", err);
    case DEPLOY: return set_kernel_status(r, id, "DEPLOYED", err);
    case RETIRE: return set_kernel_status(r, id, "RETIRED", err);
    case REPLACE:
        return registry_replace(r, id, race->verified.package, sizeof race->verified.package,
                                "verified", err);
    case REPAIR: return registry_fsck(r, true, NULL, NULL, &checked, err);
    case OPERATION_COUNT: break;
    }
    return false;
}

static void act(void *context)
{
    struct race *race = context;
    struct error err;
    atomic_fetch_add(&race->f->moved_ms, 1000);
    race->acked[race->second] = operate(race, race->second, &err);
}

static void race_init(struct race *race, struct fixture *f)
{
    *race = (struct race){.f = f, .interrupted = calloc(1, sizeof *race->interrupted)};
    assert_non_null(race->interrupted);
    *race->interrupted =
        (struct interrupted){{&interrupted_driver}, f->registry->catalogue, NULL, race};
    f->registry->catalogue = &race->interrupted->catalogue;
    sample_init(&race->sample, 1, 1);
    sample_init(&race->other, 1, 2);
    sample_init(&race->verified, 1, 1);
    sample_verify(&race->verified);
    atomic_store(&f->moved_ms, 2 * HOUR_MS);
}

static void check(struct race *race, enum operation first)
{
    struct fixture *f = race->f;
    const struct kernel_record *kernel = fixture_kernel(f, &race->sample);
    bool there = kernel->object[0] != '\0' && fixture_has_object(f, kernel->object);
    assert_true(kernel->object[0] == '\0' || there);
    if (race->acked[ALIAS] && first != REPAIR)
        assert_true(there);
    if (race->acked[DEPLOY] && first != REPAIR)
        assert_true(there);
    if (first == PUBLISH || first == PUBLISH_VERIFIED || first == REPLACE)
        assert_true(there); /* it committed last */
    if (first == EVICT && (race->second == PUBLISH || race->second == PUBLISH_VERIFIED))
        assert_true(there); /* it was used after it was chosen for eviction */
    if (race->acked[RETIRE] && first != PUBLISH && first != PUBLISH_VERIFIED &&
        race->second != PUBLISH && race->second != PUBLISH_VERIFIED)
        assert_string_equal(kernel->status, "RETIRED");
    if (race->acked[REPLACE] && race->acked[PUBLISH])
        assert_string_equal(kernel->evidence, "verified");
    if (race->acked[PUBLISH_OTHER])
        assert_int_equal(fixture_kernel(f, &race->other)->version, 2);
    fixture_is_sound(f);
}

static void each_operation_meets_each(void **state)
{
    (void)state;
    for (int first = 0; first < OPERATION_COUNT; first++)
        for (int second = 0; second < OPERATION_COUNT; second++) {
            struct fixture *f = fixture_new(&test_stores[0]);
            struct race race;
            struct error err;
            race_init(&race, f);
            ASSERT_OK(f, operate(&race, PUBLISH, &f->err));
            if (first == REPAIR)
                ASSERT_OK(f, blobs_remove(f->registry->blobs, race.sample.digest, &f->err));
            race.second = (enum operation)second;
            race.interrupted->act = act;
            race.acked[first] = operate(&race, (enum operation)first, &err);
            assert_null(race.interrupted->act);
            if (first == REPAIR && second != PUBLISH && second != PUBLISH_VERIFIED &&
                second != REPLACE)
                ASSERT_OK(f, operate(&race, REPAIR, &f->err)); /* records changed meanwhile were
                                                                  skipped */
            check(&race, (enum operation)first);
            fixture_free(f);
        }
}

/* An object that is put again during a repair is not removed. */
static void a_repair_leaves_what_came_back(void **state)
{
    struct fixture *f = *state;
    struct race race;
    race_init(&race, f);
    ASSERT_OK(f, operate(&race, PUBLISH, &f->err));
    ASSERT_OK(f, blobs_remove(f->registry->blobs, race.sample.digest, &f->err));
    race.second = PUBLISH;
    race.interrupted->act = act;
    ASSERT_OK(f, operate(&race, REPAIR, &f->err));
    assert_true(race.acked[PUBLISH]);
    assert_non_null(fixture_answer(f, &race.sample));
    assert_true(fixture_has_object(f, race.sample.digest));
}

/* Another process's queue adds or leases the same job. */
struct rivalry {
    struct fixture *f;
    struct queue *rival;
    bool leases;
    char job[100];
};

static void rival_acts(void *context)
{
    struct rivalry *rivalry = context;
    struct fixture *f = rivalry->f;
    struct job_record *job = record_new(RECORD_job, &f->arena), *added, **jobs;
    uint32_t count;
    bool joined;
    job->key = "key";
    if (rivalry->leases) {
        ASSERT_OK(f, queue_lease(rivalry->rival, &(struct lease_request){"rival", 1, 10}, &f->arena,
                                 &jobs, &count, &f->err));
        assert_int_equal(count, 1);
        return;
    }
    ASSERT_OK(f, queue_add(rivalry->rival, job, &f->arena, &added, &joined, &f->err));
    assert_false(joined);
    snprintf(rivalry->job, sizeof rivalry->job, "%s", added->head.id);
}

static void queues_meet(void **state)
{
    struct fixture *f = *state;
    struct race race;
    race_init(&race, f);
    struct queue *queue = queue_new(f->registry->catalogue, 10);
    struct rivalry rivalry = {.f = f, .rival = queue_new(f->registry->catalogue, 10)};
    struct job_record *job = record_new(RECORD_job, &f->arena), *added, **jobs;
    uint32_t count;
    bool joined;
    job->key = "key";
    race.interrupted->context = &rivalry;
    race.interrupted->act = rival_acts;
    ASSERT_OK(f, queue_add(queue, job, &f->arena, &added, &joined, &f->err));
    assert_true(joined);
    assert_string_equal(added->head.id, rivalry.job);
    rivalry.leases = true;
    race.interrupted->act = rival_acts;
    ASSERT_OK(f, queue_lease(queue, &(struct lease_request){"worker", 1, 10}, &f->arena, &jobs,
                             &count, &f->err));
    assert_int_equal(count, 0);
    queue_free(queue);
    queue_free(rivalry.rival);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_meets_each),
        OVER_STORES(a_repair_leaves_what_came_back),
        OVER_STORES(queues_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
