/* What a step says of itself: what is read is what was written; anything else is refused. */
#include "package/step_spec.h"

#include "base/json.h"
#include "base/strbuf.h"
#include "package/test_util.h"

static const char *text_of(const struct step_spec *spec, struct arena *arena)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    json_t *object = step_spec_json(spec);
    json_write_canonical(object, &out);
    json_decref(object);
    return out.data;
}

static bool parse(const char *text, struct arena *arena, struct step_spec *out, struct error *err)
{
    json_t *object = json_read(text, strlen(text), err);
    assert_non_null(object);
    bool ok = step_spec_parse(object, arena, out, err);
    json_decref(object);
    return ok;
}

static void round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"frozen\":[],\"loss\":\"loss\",\"optimizer\":{\"name\":\"sgd\"},\"trained\":[\"w\"]}",
        "{\"clip_norm\":0.1,\"floor\":0.25,\"frozen\":[\"mean\"],"
        "\"loss\":\"cross_entropy(y, label_smoothing=0.1)\",\"loss_scale\":1024,"
        "\"optimizer\":{\"beta1\":0.9,\"beta2\":0.999,\"eps\":1e-8,\"name\":\"adamw\"},"
        "\"running\":[\"mean\"],\"schedule\":\"cosine\",\"steps\":400,"
        "\"trained\":[\"w\",\"b\"],\"training\":true,\"warmup\":20}",
        "{\"frozen\":[],\"loss\":\"loss\",\"loss_scale\":\"dynamic\","
        "\"optimizer\":{\"name\":\"sgd\"},\"trained\":[]}",
    };
    static const char *const lines[] = {
        "sgd of loss",
        "adamw(beta1=0.9, beta2=0.999, eps=1e-08, clip_norm=0.1, loss_scale=1024, warmup=20, "
        "steps=400, floor=0.25, schedule=cosine) of cross_entropy(y, label_smoothing=0.1), in "
        "training mode",
        "sgd(loss_scale=dynamic) of loss",
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct step_spec spec;
        struct error err = {0};
        if (!parse(texts[i], &arena, &spec, &err))
            TEST_FAILED("%s: %s", err.place, err.message);
        assert_string_equal(text_of(&spec, &arena), texts[i]);
        struct strbuf line;
        strbuf_init(&line, &arena);
        step_spec_print(&spec, &line);
        assert_string_equal(line.data, lines[i]);
        if (i == 1) {
            assert_true(step_spec_attr(&spec, "beta2") == 0.999);
            assert_true(step_spec_attr(&spec, "momentum") == 0);
            assert_true(spec.clip_norm == 0.1 && spec.floor == 0.25 && spec.warmup == 20);
        }
    }
    arena_release(&arena);
}

static void refused(void **state)
{
    (void)state;
#define REST "\"frozen\":[],\"trained\":[]"
#define SGD "\"optimizer\":{\"name\":\"sgd\"},"
    static const char *const texts[] = {
        "[]",
        "{" REST "}",
        "{\"loss\":1," SGD REST "}",
        "{\"loss\":\"l\",\"optimizer\":\"sgd\"," REST "}",
        "{\"loss\":\"l\",\"optimizer\":{}," REST "}",
        "{\"loss\":\"l\",\"optimizer\":{\"name\":\"sgd\",\"momentum\":\"0\"}," REST "}",
        "{\"loss\":\"l\"," SGD "\"frozen\":[]}",
        "{\"loss\":\"l\"," SGD "\"frozen\":[1],\"trained\":[]}",
        "{\"loss\":\"l\"," SGD "\"schedule\":\"stairs\"," REST "}",
        "{\"loss\":\"l\"," SGD "\"loss_scale\":\"static\"," REST "}",
        "{\"loss\":\"l\"," SGD "\"clip_norm\":true," REST "}",
        "{\"loss\":\"l\"," SGD "\"more\":1," REST "}",
        "{\"loss\":\"l\",\"optimizer\":{\"name\":\"o\",\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,"
        "\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,"
        "\"q\":1}," REST "}",
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct step_spec spec;
        struct error err = {0};
        if (parse(texts[i], &arena, &spec, &err))
            TEST_FAILED("accepted: %s", texts[i]);
        assert_int_equal(err.code, ERR_JSON);
        assert_true(err.message[0] != '\0');
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
