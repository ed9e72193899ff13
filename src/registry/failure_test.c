/* Records of compilations that failed, and of kernels that failed verification. */
#include "registry/registry_test_util.h"

static bool is_settled(struct fixture *f, const struct attempt *attempt, struct error *why)
{
    bool settled;
    ASSERT_OK(f, registry_find_failure(f->registry, attempt, &f->arena, &settled, why, &f->err));
    return settled;
}

static void note(struct fixture *f, const struct attempt *attempt, enum error_code code)
{
    struct error why;
    fail(&why, code, "it went wrong");
    fail_at(&why, "node 'x'");
    ASSERT_OK(f, registry_note_failure(f->registry, attempt, &why, &f->err));
}

static const struct attempt some_attempt = {.key = "key",
                                            .blueprint = "own",
                                            .compiler = "urza 1",
                                            .timeout_seconds = 10,
                                            .memory_mb = 100};

static void a_wrong_blueprint_settles_its_key(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt = some_attempt;
    struct error why;
    assert_false(is_settled(f, &attempt, &why));
    note(f, &attempt, ERR_SHAPE);
    attempt.timeout_seconds = 1000;
    assert_true(is_settled(f, &attempt, &why));
    assert_int_equal(why.code, ERR_SHAPE);
    assert_string_equal(why.message, "it went wrong");
    assert_string_equal(why.place, "node 'x'");
    attempt.key = "another";
    assert_false(is_settled(f, &attempt, &why));
    ASSERT_OK(f, registry_forget_failure(f->registry, "key", &f->err));
    assert_false(is_settled(f, &some_attempt, &why));
    ASSERT_FAILS(f, ERR_NOT_FOUND, registry_forget_failure(f->registry, "key", &f->err));
}

static void deaths_settle_a_key_for_their_limits(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt = some_attempt;
    struct error why;
    for (int death = 1; death <= FAILURE_DEATHS; death++) {
        assert_false(is_settled(f, &attempt, &why));
        note(f, &attempt, death == 2 ? ERR_LIMIT : ERR_COMPILER_DIED);
        attempt.timeout_seconds--; /* with a lower limit it fails, too */
    }
    assert_true(is_settled(f, &attempt, &why));
    assert_int_equal(why.code, ERR_COMPILER_DIED);
    attempt.memory_mb++;
    assert_false(is_settled(f, &attempt, &why));
    note(f, &attempt, ERR_COMPILER_DIED); /* the first death at these limits */
    assert_false(is_settled(f, &attempt, &why));
}

static void what_says_nothing_of_a_key_is_not_kept(void **state)
{
    struct fixture *f = *state;
    static const enum error_code codes[] = {ERR_IO, ERR_CANCELLED, ERR_BUSY, ERR_NOMEM, ERR_SPACE};
    struct error why;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        for (int again = 0; again < 5; again++)
            note(f, &some_attempt, codes[i]);
    assert_false(is_settled(f, &some_attempt, &why));
    assert_int_equal(fixture_count(f, RECORD_failure, NULL, NULL), 0);
}

static void what_was_refuted_comes_back_verified_only(void **state)
{
    struct fixture *f = *state;
    struct sample sample;
    sample_init(&sample, 1, 1);
    ASSERT_OK(f, sample_publish(f->registry, &sample, &f->err));
    ASSERT_OK(f, registry_refute(f->registry, sample.kernel_id, "off by one", &f->err));
    assert_null(fixture_answer(f, &sample));
    assert_string_equal(fixture_kernel(f, &sample)->status, "RETIRED");
    ASSERT_FAILS(f, ERR_VERIFY, sample_publish(f->registry, &sample, &f->err));
    assert_string_equal(f->err.message, "off by one");
    sample_verify(&sample);
    ASSERT_OK(f, sample_publish(f->registry, &sample, &f->err));
    assert_non_null(fixture_answer(f, &sample));
    assert_string_equal(fixture_kernel(f, &sample)->evidence, "verified");
    ASSERT_FAILS(f, ERR_NOT_FOUND, registry_refute(f->registry, "none", "", &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_STORES(a_wrong_blueprint_settles_its_key),
        OVER_STORES(deaths_settle_a_key_for_their_limits),
        OVER_STORES(what_says_nothing_of_a_key_is_not_kept),
        OVER_STORES(what_was_refuted_comes_back_verified_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
