/* The chain: each level answers when those above it have nothing, and says so; records, overlays,
 * policies, a real measurement. */
#include "tuner/test_util.h"

#include <jansson.h>
#include <pthread.h>

/* Asks and compares config and source. */
static void expect(urza_tuner *tuner, const struct invocation *invocation, const char *config,
                   urza_config_source source)
{
    char *found = NULL;
    urza_config_source from;
    urza_error err = {0};
    if (urza_tuner_choose(tuner, invocation->json, &found, &from, &err) != 0)
        fail_msg("%s: %s", err.place, err.message);
    if (config)
        assert_string_equal(found, config);
    assert_string_equal(urza_config_source_name(from), urza_config_source_name(source));
    urza_tune_free(found);
}

static void each_level_answers(void **state)
{
    struct fixture *f = *state;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    struct entry stored = entry_from(f, &product, 3, 1000);
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC), *other;
    uint64_t counts[URZA_CONFIG_SOURCES];

    expect(tuner, &product, NULL, URZA_CONFIG_HEURISTIC);
    expect(tuner, &product, NULL, URZA_CONFIG_HEURISTIC); /* the answer was not kept */
    other = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    tuner_keep(other, &stored);
    urza_tuner_close(other);
    expect(tuner, &product, "{\"rows\":3}", URZA_CONFIG_PERSISTENT);
    expect(tuner, &product, "{\"rows\":3}", URZA_CONFIG_MEMORY);
    assert_int_equal(urza_tuner_overlay_push(tuner, PRODUCT_OP, "{\"rows\":4}", NULL), 0);
    expect(tuner, &product, "{\"rows\":4}", URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_override(tuner, product.key, "{\"rows\":5}", NULL), 0);
    expect(tuner, &product, "{\"rows\":5}", URZA_CONFIG_OVERRIDE);
    assert_int_equal(urza_tuner_override(tuner, product.key, NULL, NULL), 0);
    expect(tuner, &product, "{\"rows\":4}", URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    expect(tuner, &product, "{\"rows\":3}", URZA_CONFIG_MEMORY);

    urza_tuner_counts(tuner, counts);
    assert_int_equal(counts[URZA_CONFIG_HEURISTIC], 2);
    assert_int_equal(counts[URZA_CONFIG_PERSISTENT], 1);
    assert_int_equal(counts[URZA_CONFIG_MEMORY], 2);
    assert_int_equal(counts[URZA_CONFIG_OVERLAY], 2);
    assert_int_equal(counts[URZA_CONFIG_OVERRIDE], 1);
    assert_int_equal(counts[URZA_CONFIG_AUTOTUNE], 0);
    assert_string_equal(f->choices, "heuristic heuristic persistent memory overlay override "
                                    "overlay memory ");
    assert_int_equal(f->warning_count, 0);
    urza_tuner_close(tuner);
}

static void overlays_nest(void **state)
{
    struct fixture *f = *state;
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("24", "32", "17"));
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    urza_error err;
    assert_string_not_equal(a.key, b.key);
    assert_int_equal(urza_tuner_overlay_push(tuner, "*", "{\"rows\":1}", NULL), 0);
    assert_int_equal(urza_tuner_overlay_push(tuner, NULL, NULL, NULL), 0);
    expect(tuner, &a, "{\"rows\":1}", URZA_CONFIG_OVERLAY); /* an empty scope hides nothing */
    assert_int_equal(urza_tuner_overlay_add(tuner, a.key, "{\"rows\":2}", NULL), 0);
    expect(tuner, &a, "{\"rows\":2}", URZA_CONFIG_OVERLAY);
    expect(tuner, &b, "{\"rows\":1}", URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_add(tuner, PRODUCT_OP, "{\"rows\":3}", NULL), 0);
    expect(tuner, &a, "{\"rows\":2}", URZA_CONFIG_OVERLAY); /* a key says more than an op */
    expect(tuner, &b, "{\"rows\":3}", URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    expect(tuner, &a, "{\"rows\":1}", URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    expect(tuner, &a, NULL, URZA_CONFIG_HEURISTIC);
    assert_int_equal(urza_tuner_overlay_pop(tuner, &err), ERR_USAGE);
    assert_int_equal(urza_tuner_overlay_add(tuner, "*", "{}", &err), ERR_USAGE);
    assert_int_equal(urza_tuner_overlay_push(tuner, "*", NULL, &err), ERR_USAGE);
    assert_int_equal(urza_tuner_override(tuner, "*", NULL, &err), ERR_NOT_FOUND);
    urza_tuner_close(tuner);
}

struct beside {
    urza_tuner *tuner;
    const struct invocation *invocation;
};

static void *ask_beside(void *argument)
{
    struct beside *beside = argument;
    expect(beside->tuner, beside->invocation, NULL, URZA_CONFIG_HEURISTIC);
    assert_int_equal(urza_tuner_overlay_pop(beside->tuner, NULL), ERR_USAGE);
    return NULL;
}

static void scopes_are_of_a_thread(void **state)
{
    struct fixture *f = *state;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    struct beside beside = {open_tuner_in(f, URZA_TUNE_HEURISTIC), &product};
    pthread_t thread;
    assert_int_equal(urza_tuner_overlay_push(beside.tuner, "*", "{\"rows\":1}", NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, ask_beside, &beside), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect(beside.tuner, &product, "{\"rows\":1}", URZA_CONFIG_OVERLAY);
    urza_tuner_close(beside.tuner);
}

static void policies_are_scopes(void **state)
{
    struct fixture *f = *state;
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_REQUIRE);
    urza_error err;
    char *config;
    assert_int_equal(urza_tuner_choose(tuner, product.json, &config, NULL, &err), ERR_NOT_FOUND);
    assert_int_equal(urza_tuner_policy_push(tuner, URZA_TUNE_HEURISTIC, NULL), 0);
    expect(tuner, &product, NULL, URZA_CONFIG_HEURISTIC);
    assert_int_equal(urza_tuner_policy_push(tuner, URZA_TUNE_AUTOTUNE, NULL), 0);
    expect(tuner, &product, NULL, URZA_CONFIG_AUTOTUNE);
    expect(tuner, &product, NULL, URZA_CONFIG_MEMORY);
    assert_int_equal(urza_tuner_policy_pop(tuner, NULL), 0);
    assert_int_equal(urza_tuner_policy_pop(tuner, NULL), 0);
    assert_int_equal(urza_tuner_policy_pop(tuner, &err), ERR_USAGE);
    expect(tuner, &product, NULL, URZA_CONFIG_MEMORY); /* what is known is there for `require` */
    assert_int_equal(urza_tuner_policy_push(tuner, (urza_tune_policy)9, &err), ERR_USAGE);
    urza_tuner_close(tuner);
    tuner = open_tuner_in(f, URZA_TUNE_REQUIRE);
    expect(tuner, &product, NULL, URZA_CONFIG_PERSISTENT);
    urza_tuner_close(tuner);
}

/* Chosen by clock, so no config is expected: but that it was measured against the default, that all
 * that ran gave the right result, and that the winner is not slower by the tuner's own account. */
static void measures(void **state)
{
    struct fixture *f = *state;
    static const char *const graphs[] = {
        PRODUCT("64", "96", "80"),
        "graph \"\"\ndim B 1..64 multiple 1 typical 12\n%1 = input \"a0\" : f32[B, 100]\n"
        "%2 = exp %1 : f32[B, 100]\n%3 = reduce_sum %2 {axes [1]} : f32[B]\noutput \"y\" %3\n",
        "graph \"\"\n%1 = input \"a0\" : f16[70, 100]\n%2 = input \"a1\" : f16[70, 100]\n"
        "%3 = tanh %1 : f16[70, 100]\n%4 = mul %3, %2 : f16[70, 100]\noutput \"y\" %4\n",
    };
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    for (size_t i = 0; i < sizeof graphs / sizeof graphs[0]; i++) {
        struct invocation invocation = invocation_from(f, graphs[i]);
        char *text = NULL;
        urza_error err = {0};
        if (urza_tuner_tune(tuner, invocation.json, 0.3, &text, &err) != 0)
            fail_msg("%s: %s", err.place, err.message);
        json_t *entry = json_loads(text, 0, NULL), *timing;
        json_t *measured = json_object_get(entry, "measured");
        json_t *timings = json_object_get(measured, "timings");
        double ns = json_number_value(json_object_get(measured, "ns"));
        assert_true(ns > 0 && ns <= json_number_value(json_object_get(measured, "heuristic_ns")));
        size_t at;
        uint32_t best = 0;
        json_array_foreach(timings, at, timing)
        {
            const char *was = json_string_value(json_object_get(timing, "state"));
            assert_string_not_equal(was, "wrong");
            best += strcmp(was, "best") == 0;
        }
        assert_int_equal(best, 1);
        expect(tuner, &invocation, NULL, URZA_CONFIG_MEMORY);
        json_decref(entry);
        urza_tune_free(text);
    }
    assert_int_equal(f->warning_count, 0);
    urza_tuner_close(tuner);
}

static void configs_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place;
    } bad[] = {
        {"{\"rows\":65}", "config, key 'rows'"},  {"{\"rows\":-1}", "config, key 'rows'"},
        {"{\"rows\":1.5}", "config, key 'rows'"}, {"{\"rows\":\"1\"}", "config, key 'rows'"},
        {"{\"tiles\":1}", "config, key 'tiles'"}, {"[1]", "config"},
        {"{\"rows\":1", "config, line 1"},        {"{\"rows\":1,\"rows\":2}", "config, line 1"},
    };
    struct arena arena;
    struct config config, again;
    struct strbuf text;
    struct error err;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(config_parse(bad[i].text, &config, &err));
        assert_int_equal(err.code, ERR_JSON);
        assert_ptr_equal(strstr(err.place, bad[i].place), err.place);
    }
    for (int i = 0; i < CONFIG_COUNT; i++)
        config.value[i] = i % 3 == 0 ? 0 : config_key_most((enum config_key)i);
    strbuf_init(&text, &arena);
    config_print(&config, &text);
    assert_true(config_parse(text.data, &again, &err));
    assert_true(config_equal(&config, &again));

    char *schema = NULL;
    assert_int_equal(urza_config_schema(&schema, NULL), 0);
    json_t *rows = json_loads(schema, 0, NULL);
    assert_int_equal(json_array_size(rows), CONFIG_COUNT);
    json_decref(rows);
    urza_tune_free(schema);
    arena_release(&arena);
}

static void records_are_checked(void **state)
{
    struct fixture *f = *state;
    struct invocation good = invocation_from(f, PRODUCT("24", "32", "16"));
    static const struct {
        const char *from, *to;
        enum error_code code;
    } changes[] = {
        {"\"op\":", "\"ob\":", ERR_JSON},
        {"f32[24, 32]\",\"target", "f32[24, 33]\",\"target", ERR_JSON},
        {"x86-64-v2\"}", "x86-64-v9\"}", ERR_TARGET},
        {"urza ", "urzb ", ERR_UNSUPPORTED},
        {"%7 = add", "%7 = adb", ERR_PARSE},
        {"output \\\"y\\\" %7", "output \\\"y\\\" %5", ERR_JSON},
        {"[\"f32", "[7,\"f32", ERR_JSON},
    };
    urza_tuner *tuner = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    urza_error err;
    char *config;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *at = strstr(good.json, changes[i].from);
        assert_non_null(at);
        struct strbuf text;
        strbuf_init(&text, &f->arena);
        strbuf_add(&text, good.json, (size_t)(at - good.json));
        strbuf_puts(&text, changes[i].to);
        strbuf_puts(&text, at + strlen(changes[i].from));
        assert_int_equal(urza_tuner_choose(tuner, text.data, &config, NULL, &err), changes[i].code);
        assert_ptr_equal(strstr(err.place, "invocation"), err.place);
    }
    assert_int_equal(urza_tuner_choose(tuner, "[]", &config, NULL, &err), ERR_JSON);
    urza_tuner_close(tuner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TUNER_TEST(each_level_answers),
        TUNER_TEST(overlays_nest),
        TUNER_TEST(scopes_are_of_a_thread),
        TUNER_TEST(policies_are_scopes),
        TUNER_TEST(measures),
        cmocka_unit_test(configs_are_checked),
        TUNER_TEST(records_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
