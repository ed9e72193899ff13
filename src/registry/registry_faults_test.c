/* A sequence of all operations that change the registry and its queue, in which the n-th call of a
 * store fails, for every n and in every way. Afterwards everything acknowledged is there, nothing
 * is incomplete, fsck finds no fault, and everything can be done again. */
#include "registry/queue_priv.h"
#include "registry/registry_test_util.h"

#define HOUR_MS ((int64_t)3600 * 1000)

enum step {
    PUBLISH_A,
    PUBLISH_B,
    SUBMIT,
    PUBLISH_C,
    ALIAS_A,
    DEPLOY_B,
    REPLACE_B,
    EVICT_C,
    PUBLISH_C_AGAIN,
    ADD,
    LEASE,
    COMPLETE,
    TEND,
    STEP_COUNT
};

struct script {
    struct fixture *f;
    struct queue *queue;
    struct sample a, b, c, b_verified;
    struct blueprint_record *mine;
    char job[100], token[TOKEN_BYTES];
    bool acked[STEP_COUNT];
};

static void init(struct script *s, const struct stores *stores)
{
    *s = (struct script){.f = fixture_new(stores)};
    s->queue = queue_new(registry_catalogue(s->f->registry), 10);
    queue_set_clock(s->queue, fixture_clock, s->f);
    sample_init(&s->a, 1, 1);
    sample_init(&s->b, 1, 2);
    sample_init(&s->c, 2, 3);
    sample_init(&s->b_verified, 1, 2);
    sample_verify(&s->b_verified);
    s->mine = record_new(RECORD_blueprint, &s->f->arena);
    s->mine->head.id = "mine";
    s->c.blueprint = "mine";
}

static bool add(struct script *s, struct error *err)
{
    struct job_record *job = record_new(RECORD_job, &s->f->arena), *added;
    bool joined;
    job->key = s->a.key_id;
    if (!queue_add(s->queue, job, &s->f->arena, &added, &joined, err))
        return false;
    snprintf(s->job, sizeof s->job, "%s", added->head.id);
    return true;
}

/* A lease that was not acknowledged expires, and counts as a death. */
static bool lease(struct script *s, struct error *err)
{
    struct job_record **jobs;
    uint32_t count;
    if (!queue_lease(s->queue, &(struct lease_request){"worker", 1, 600}, &s->f->arena, &jobs,
                     &count, err) ||
        count == 0)
        return false;
    snprintf(s->token, sizeof s->token, "%s", jobs[0]->token);
    return true;
}

static bool tend(struct script *s, uint64_t limit, struct error *err)
{
    struct tended tended;
    s->f->registry->size_limit_bytes = limit;
    registry_used(s->f->registry, s->a.kernel_id);
    atomic_fetch_add(&s->f->moved_ms, 2 * HOUR_MS);
    uint32_t swept;
    return registry_tend(s->f->registry, &tended, err) &&
           registry_sweep(s->f->registry, &swept, err);
}

static bool do_step(struct script *s, enum step step, struct error *err)
{
    struct registry *r = s->f->registry;
    struct blueprint_record *made;
    switch (step) {
    case PUBLISH_A: return sample_publish(r, &s->a, err);
    case PUBLISH_B: return sample_publish(r, &s->b, err);
    case SUBMIT:
        return registry_submit(r, &(struct submission){s->mine, s->c.source, strlen(s->c.source)},
                               &s->f->arena, &made, err);
    case PUBLISH_C:
    case PUBLISH_C_AGAIN: return sample_publish(r, &s->c, err);
    case ALIAS_A: return registry_set_alias(r, "best", s->a.kernel_id, "", err);
    case DEPLOY_B: return set_kernel_status(r, s->b.kernel_id, "DEPLOYED", err);
    case REPLACE_B:
        return registry_replace(r, s->b.kernel_id, s->b_verified.package,
                                sizeof s->b_verified.package, "verified", err);
    case EVICT_C: return tend(s, 1, err);
    case ADD: return add(s, err);
    case LEASE: return lease(s, err);
    case COMPLETE: return queue_complete(s->queue, s->job, s->token, s->a.kernel_id, err);
    case TEND: return tend(s, 0, err);
    case STEP_COUNT: break;
    }
    return false;
}

/* Checks that everything of a publication is there, or nothing. */
static void check_whole(struct script *s, const struct sample *sample, bool acked)
{
    const struct kernel_record *kernel = fixture_kernel(s->f, sample);
    const struct key_record *key = fixture_get(s->f, RECORD_key, sample->key_id);
    assert_true(kernel || !acked);
    assert_int_equal(kernel != NULL, key != NULL);
    assert_int_equal(kernel != NULL,
                     fixture_count(s->f, RECORD_change, "subject", sample->kernel_id) > 0);
    assert_int_equal(kernel != NULL,
                     fixture_count(s->f, RECORD_compilation, "kernel", sample->kernel_id) > 0);
    if (!kernel)
        return;
    assert_string_equal(key->kernel, sample->kernel_id);
    const struct blueprint_record *blueprint =
        fixture_get(s->f, RECORD_blueprint, kernel->blueprint);
    assert_string_equal(blueprint->status, "VALIDATED");
    assert_true(kernel->object[0] == '\0' || fixture_has_object(s->f, kernel->object));
}

static void check_acknowledged(struct script *s)
{
    const bool *acked = s->acked;
    check_whole(s, &s->a, acked[PUBLISH_A]);
    check_whole(s, &s->b, acked[PUBLISH_B]);
    check_whole(s, &s->c, acked[PUBLISH_C] || acked[PUBLISH_C_AGAIN]);
    assert_true(fixture_get(s->f, RECORD_blueprint, "mine") || !acked[SUBMIT]);
    if (acked[ALIAS_A])
        assert_true(fixture_has_object(s->f, fixture_kernel(s->f, &s->a)->object));
    if (acked[DEPLOY_B]) {
        const struct kernel_record *kernel = fixture_kernel(s->f, &s->b);
        assert_string_equal(kernel->status, "DEPLOYED");
        assert_true(fixture_has_object(s->f, kernel->object));
    }
    if (acked[REPLACE_B])
        assert_string_equal(fixture_kernel(s->f, &s->b)->evidence, "verified");
    if (acked[PUBLISH_C_AGAIN])
        assert_non_null(fixture_answer(s->f, &s->c));
    const struct job_record *job = acked[ADD] ? fixture_get(s->f, RECORD_job, s->job) : NULL;
    assert_true(job || !acked[ADD]);
    if (acked[COMPLETE])
        assert_string_equal(job->state, "DONE");
    assert_true(fixture_count(s->f, RECORD_job, NULL, NULL) <= 1);
}

/* Repeats the sequence without faults, after a time in which leases have expired. */
static void do_again(struct script *s)
{
    struct error *err = &s->f->err;
    for (int step = 0; step < STEP_COUNT; step++) {
        bool job_is_done = fixture_count(s->f, RECORD_job, "state", "DONE") > 0;
        if (step < ADD || step > COMPLETE || !job_is_done)
            ASSERT_OK(s->f, do_step(s, (enum step)step, err));
        if (step == SUBMIT) /* an evicted kernel must be restored before it is deployed */
            fixture_is_sound(s->f);
    }
    assert_non_null(fixture_answer(s->f, &s->a));
    assert_non_null(fixture_answer(s->f, &s->b));
    assert_non_null(fixture_answer(s->f, &s->c));
    assert_int_equal(fixture_is_sound(s->f), 0);
    assert_true(fixture_kernel(s->f, &s->a)->uses > 0);
}

/* False: the sequence has fewer than `at` calls. */
static bool walk_one(const struct stores *stores, enum fault fault, long at, bool on)
{
    struct script s;
    struct error err;
    init(&s, stores);
    s.f->faults.fault = fault;
    s.f->faults.on = on;
    s.f->faults.at = atomic_load(&s.f->faults.calls) + at;
    for (int step = 0; step < STEP_COUNT; step++)
        s.acked[step] = do_step(&s, (enum step)step, &err);
    bool hit = atomic_load(&s.f->faults.calls) >= s.f->faults.at;
    s.f->faults.at = 0;
    for (int step = 0; !hit && step < STEP_COUNT; step++)
        assert_true(s.acked[step]);
    check_acknowledged(&s);
    fixture_is_sound(s.f);
    atomic_fetch_add(&s.f->moved_ms, HOUR_MS); /* so that leases expire */
    do_again(&s);
    queue_free(s.queue);
    fixture_free(s.f);
    return hit;
}

static void memory_fails_at_each_call(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++)
        for (enum fault fault = FAULT_ERROR; fault < FAULT_COUNT; fault++) {
            long at = 1;
            while (fault != FAULT_DELAY && walk_one(&test_stores[0], fault, at, on))
                at++;
            assert_true(fault == FAULT_DELAY || at > 50);
        }
}

/* Here each write waits for the disk, so only some calls fail, and not in every way. */
static void files_fail_at_some_calls(void **state)
{
    (void)state;
    for (long at = 1; walk_one(&test_stores[1], at % 2 ? FAULT_LOST : FAULT_ERROR, at, false);)
        at += 3;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_fails_at_each_call),
        cmocka_unit_test(files_fail_at_some_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
