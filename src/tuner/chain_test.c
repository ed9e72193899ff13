/* The order of sources: each one answers only if those before it have no answer, and the source is
 * returned; records, overlays, policies, one real measurement. */
#include "tuner/test_util.h"

#include <jansson.h>
#include <pthread.h>

/* Asks for the config of the invocation and compares config and source. */
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
    expect(tuner, &product, NULL, URZA_CONFIG_HEURISTIC); /* the answer was not stored */
    other = open_tuner_in(f, URZA_TUNE_HEURISTIC);
    keep(other, &stored);
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
    expect(tuner, &a, "{\"rows\":1}", URZA_CONFIG_OVERLAY); /* an empty scope changes nothing */
    assert_int_equal(urza_tuner_overlay_add(tuner, a.key, "{\"rows\":2}", NULL), 0);
    expect(tuner, &a, "{\"rows\":2}", URZA_CONFIG_OVERLAY);
    expect(tuner, &b, "{\"rows\":1}", URZA_CONFIG_OVERLAY);
    assert_int_equal(urza_tuner_overlay_add(tuner, PRODUCT_OP, "{\"rows\":3}", NULL), 0);
    expect(tuner, &a, "{\"rows\":2}", URZA_CONFIG_OVERLAY); /* a rule for a key takes precedence
                                                               over one for an op */
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

/* One of several threads that open scopes, ask for configs and list entries at the same time. */
static void *use_at_once(void *argument)
{
    struct beside *beside = argument;
    for (int i = 0; i < 20; i++) {
        char *config = NULL, *list = NULL;
        assert_int_equal(urza_tuner_overlay_push(beside->tuner, "*", "{\"rows\":7}", NULL), 0);
        assert_int_equal(
            urza_tuner_choose(beside->tuner, beside->invocation->json, &config, NULL, NULL), 0);
        assert_string_equal(config, "{\"rows\":7}");
        assert_int_equal(urza_tuner_overlay_pop(beside->tuner, NULL), 0);
        assert_int_equal(urza_tuner_list(beside->tuner, &list, NULL), 0);
        urza_tune_free(config);
        urza_tune_free(list);
    }
    return NULL;
}

static void threads_share_a_tuner(void **state)
{
    struct fixture *f = *state;
    enum { THREADS = 4 };
    struct invocation product = invocation_from(f, PRODUCT("24", "32", "16"));
    urza_tuner_options options = {.directory = f->folder, .record = 1};
    urza_tuner *tuner;
    uint64_t counts[URZA_CONFIG_SOURCES];
    pthread_t threads[THREADS];
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    struct beside beside = {tuner, &product};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_at_once, &beside), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    urza_tuner_counts(tuner, counts);
    assert_int_equal(counts[URZA_CONFIG_OVERLAY], THREADS * 20);
    urza_tuner_close(tuner);
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
    expect(tuner, &product, NULL, URZA_CONFIG_MEMORY); /* a measured entry also answers under the
                                                          policy `require` */
    assert_int_equal(urza_tuner_policy_push(tuner, (urza_tune_policy)9, &err), ERR_USAGE);
    urza_tuner_close(tuner);
    tuner = open_tuner_in(f, URZA_TUNE_REQUIRE);
    expect(tuner, &product, NULL, URZA_CONFIG_PERSISTENT);
    urza_tuner_close(tuner);
}

/* Times decide, so the test expects no particular config, only that there is a time for the default
 * config, that every candidate that ran gave the right result, and that by the tuner's own times
 * the winner is not slower than the default. */
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

/* Compiles an example for one target, with the tuner as its chooser. */
static void compile_with(struct fixture *f, urza_tuner *tuner, const char *path,
                         struct compile_result *out)
{
    struct config_chooser chooser = tuner_chooser(tuner);
    struct compile_options options = {
        .chooser = &chooser, .targets = TEST_TARGET, .strategy = STRATEGY_STANDARD};
    struct error err = {0};
    size_t size;
    char *text;
    if (!file_read(path, 1 << 20, &text, &size, &err) ||
        !compile_blueprint(text, size, &options, &f->arena, out, &err))
        fail_msg("%s: %s: %s", path, err.place, err.message);
    free(text);
}

static void compilations_ask(void **state)
{
    struct fixture *f = *state;
    urza_tuner_options options = {.directory = f->folder, .record = 1};
    struct compile_result plain, overlaid, again;
    uint64_t counts[URZA_CONFIG_SOURCES];
    urza_tuner *tuner;
    char *list = NULL;
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    compile_with(f, tuner, "examples/mlp.json", &plain);
    urza_tuner_counts(tuner, counts);
    assert_int_equal(counts[URZA_CONFIG_HEURISTIC], 6);
    assert_int_equal(urza_tuner_list(tuner, &list, NULL), 0);
    json_t *recorded = json_loads(list, 0, NULL);
    assert_int_equal(json_array_size(recorded), 3); /* the others are kernels of `prepare`, which
                                                       run once after loading */
    json_decref(recorded);
    urza_tune_free(list);
    assert_int_equal(urza_tuner_overlay_push(tuner, "*", "{\"rows\":2,\"columns\":8}", NULL), 0);
    compile_with(f, tuner, "examples/mlp.json", &overlaid);
    assert_string_not_equal(plain.kernel_id, overlaid.kernel_id);
    assert_int_equal(urza_tuner_overlay_pop(tuner, NULL), 0);
    compile_with(f, tuner, "examples/mlp.json", &again);
    assert_string_equal(plain.kernel_id, again.kernel_id);
    urza_tuner_counts(tuner, counts);
    assert_int_equal(counts[URZA_CONFIG_HEURISTIC], 12);
    assert_int_equal(counts[URZA_CONFIG_OVERLAY], 6);
    urza_tuner_close(tuner);
}

struct keep {
    json_t *records;
    uint32_t kernels;
};

static bool keep_record(void *context, const char *record, struct error *err)
{
    struct keep *keep = context;
    (void)err;
    keep->kernels++;
    json_array_append_new(keep->records, json_loads(record, 0, NULL));
    return true;
}

/* Every kernel of every example can be taken out of its graph, and is then the same kernel. */
static void kernels_stand_alone(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"attention_arch", "conv_arch", "gated_mlp_rmsnorm",
                                        "mobilenet_inverted_residual", "transformer_block"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct keep keep = {json_array(), 0};
        struct recorder recorder = {keep_record, &keep};
        struct config_chooser chooser = recorder_chooser(&recorder);
        struct compile_options options = {
            .chooser = &chooser, .targets = TEST_TARGET, .strategy = STRATEGY_FAST};
        struct compile_result result;
        struct error err = {0};
        char path[64], *text;
        size_t size, at;
        json_t *record;
        snprintf(path, sizeof path, "examples/%s.json", names[i]);
        assert_true(file_read(path, 1 << 20, &text, &size, &err));
        if (!compile_blueprint(text, size, &options, &f->arena, &result, &err))
            fail_msg("%s: %s: %s", path, err.place, err.message);
        assert_true(keep.kernels >= 3);
        json_array_foreach(keep.records, at, record)
        {
            struct kernel_case *kernel = ARENA_NEW(&f->arena, struct kernel_case);
            struct invocation found;
            char *json = json_dumps(record, JSON_COMPACT);
            if (!invocation_read(json, strlen(json), &f->arena, &found, kernel, &err))
                fail_msg("%s: %s: %s", path, err.place, err.message);
            free(json);
        }
        json_decref(keep.records);
        free(text);
    }
}

/* Dims that a kernel does not have are not part of its record. */
static void idle_dims_do_not_count(void **state)
{
    struct fixture *f = *state;
    static const char one[] = "graph \"\"\n" /* the first line; the nodes follow */
                              "%1 = input \"a\" : f32[8, 16]\n%2 = exp %1 : f32[8, 16]\n"
                              "output \"y\" %2\n";
    struct strbuf other;
    struct kernel_case *kernel = ARENA_NEW(&f->arena, struct kernel_case);
    struct nest *nest = ARENA_NEW(&f->arena, struct nest);
    struct kernel_question question;
    struct invocation a, b;
    struct error err;
    strbuf_init(&other, &f->arena);
    strbuf_printf(&other, "graph \"\"\ndim B 1..8 multiple 1\ndim C 1..9 multiple 1\n%s",
                  strchr(one, '\n') + 1);
    for (int i = 0; i < 2; i++) {
        assert_true(case_parse(i ? other.data : one, TEST_TARGET, &f->arena, kernel, &err));
        assert_true(case_question(kernel, &f->arena, nest, &question, &err));
        assert_true(invocation_make(&question, &f->arena, i ? &b : &a, &err));
    }
    assert_string_equal(a.key, b.key);
    assert_null(strstr(b.json, "dim B"));
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
        TUNER_TEST(each_level_answers),        TUNER_TEST(overlays_nest),
        TUNER_TEST(scopes_are_of_a_thread),    TUNER_TEST(threads_share_a_tuner),
        TUNER_TEST(policies_are_scopes),       TUNER_TEST(measures),
        cmocka_unit_test(configs_are_checked), TUNER_TEST(records_are_checked),
        TUNER_TEST(compilations_ask),          TUNER_TEST(kernels_stand_alone),
        TUNER_TEST(idle_dims_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
