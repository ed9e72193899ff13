/* The entry point: recognising dialects, text that is not JSON, the examples, values of parameters
 * that a dialect implies, and randomly damaged documents. */
#include "compiler/import/import_test_util.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/rng.h"

static void test_text(void **state)
{
    (void)state;
    must_refuse("", ERR_JSON, "", "the file is empty");
    must_refuse(" <html>", ERR_JSON, "", "neither a model");
    must_refuse("[]", ERR_JSON, "", "found an array");
    must_refuse("null", ERR_JSON, "", "found null");
    must_refuse("{}", ERR_JSON, "", "found none of them");
    must_refuse("{\"nodes\": [", ERR_JSON, "line 1, column 11", "");
    must_refuse("{\"nodes\": [], \"nodes\": []}", ERR_JSON, "line 1, column 21", "duplicate");
    must_refuse("{\"nodes\": [], 'edges': []}", ERR_JSON, "line 1, column 15", "");
    struct arena arena;
    struct strbuf deep;
    arena_init(&arena);
    strbuf_init(&deep, &arena);
    for (int i = 0; i < 100000; i++)
        strbuf_puts(&deep, "{\"nodes\":[");
    must_refuse(deep.data, ERR_LIMIT, "line 1, column 321", "too deep");
    struct error err = {0};
    struct blueprint b;
    assert_false(blueprint_read(deep.data, LIMIT_JSON_BYTES + 1, &test_options, &arena, &b, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_release(&arena);
}

static const char *const examples[] = {
    "mlp.json",          "resnet_bottleneck.json", "mobilenet_inverted_residual.json",
    "conv_arch.json",    "attention_arch.json",    "transformer_block.json",
    "custom_graph.json", "gated_mlp_rmsnorm.json",
};
#define EXAMPLE_COUNT (sizeof examples / sizeof *examples)

static char *read_example(size_t index, size_t *size)
{
    char path[96], *text = NULL;
    struct error err = {0};
    snprintf(path, sizeof path, "examples/%s", examples[index]);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, size, &err))
        TEST_FAILED("%s: %s (tests run at the top of the source tree)", path, err.message);
    return text;
}

static void test_examples(void **state)
{
    (void)state;
    static const char *const types[EXAMPLE_COUNT] = {
        "f32[B, 10]",     "f32[B, 256, 28, 28]", "f32[B, 32, 28, 28]", "f32[B, 256]",
        "f32[B, S, 256]", "f32[B, S, 256]",      "f32[B, 10]",         "f32[B, S, 512]",
    };
    struct import_options training = {.training = true};
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        struct arena arena;
        size_t size = 0;
        struct package_param param;
        struct error err = {0};
        char *text = read_example(i, &size);
        arena_init(&arena);
        struct blueprint b = must_read(&arena, text);
        assert_string_equal(output_type(&b, 0), types[i]);
        (void)must_read_with(&arena, text, &training);
        for (uint32_t k = 0; k < b.graph.params.count; k++)
            assert_true(blueprint_param_data(&b, k, NULL, &arena, &param, &err));
        arena_release(&arena);
        free(text);
    }
}

/* Values of parameters that a dialect implies: determined by seed and name, and within PyTorch's
 * ranges. */
static void test_implied_values(void **state)
{
    (void)state;
    const char *text =
        "{\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", "
        "\"attributes\": {\"shape\": [4], \"dtype\": \"f64\"}}, "
        "{\"id\": \"fc\", \"op_type\": \"linear\", \"attributes\": {\"in_features\": 4, "
        "\"out_features\": 9}}, "
        "{\"id\": \"y\", \"op_type\": \"output\"}], \"edges\": [{\"source\": \"x\", "
        "\"target\": \"fc\"}, "
        "{\"source\": \"fc\", \"target\": \"y\"}]}";
    struct arena arena;
    struct error err = {0};
    struct package_param weight, bias, again;
    arena_init(&arena);
    struct blueprint b = must_read(&arena, text);
    assert_true(blueprint_param_data(&b, 0, NULL, &arena, &weight, &err));
    assert_int_equal(weight.data_bytes, 4 * 9 * 8);
    assert_true(fabs(((const double *)weight.data)[0] - -0.1770641675684601) < 1e-15);
    assert_true(fabs(((const double *)weight.data)[1] - -0.03188768611289561) < 1e-15);
    assert_true(blueprint_param_data(&b, 1, NULL, &arena, &bias, &err));
    for (int i = 0; i < 9; i++)
        assert_true(fabs(((const double *)bias.data)[i]) <= 0.5);
    struct blueprint native = must_read(&arena, b.json);
    assert_true(blueprint_param_data(&native, 0, NULL, &arena, &again, &err));
    assert_memory_equal(weight.data, again.data, again.data_bytes);
    struct import_options other = {.seed = UINT64_MAX};
    struct blueprint c = must_read_with(&arena, text, &other);
    assert_true(c.inits[0].seed == UINT64_MAX);
    assert_true(blueprint_param_data(&c, 0, NULL, &arena, &again, &err));
    assert_memory_not_equal(weight.data, again.data, again.data_bytes);
    arena_release(&arena);
}

static void put_word(struct strbuf *out, const char *text, size_t from)
{
    const char *word = strchr(text + from, '"');
    if (word)
        strbuf_add(out, word, strcspn(word + 1, "\"") + 2);
}

/* Replaces a random part: a number by a number, a string by a string of the document, or a few
 * bytes by anything. */
static void damage(struct strbuf *out, const char *text, size_t size, uint64_t key, uint64_t *draw)
{
    static const char *const numbers[] = {
        "0",
        "1",
        "2",
        "3",
        "4",
        "8",
        "64",
        "-1",
        "0.5",
        "1e300",
        "2147483648",
        "99999999999",
        "9223372036854775807",
        "-9223372036854775808",
    };
    static const char *const pieces[] = {
        "[]", "null", "{}", "\"\"", "true", "[[]]", "{", "]", "\"", ",", "\\u0000", "\xff", "",
    };
    size_t from = rng_u32(key, (*draw)++) % size, end = from + rng_u32(key, (*draw)++) % 3;
    uint32_t choice = rng_u32(key, (*draw)++), kind = choice % 4;
    if (kind < 3)
        from += strcspn(text + from, kind < 2 ? "0123456789" : "\"");
    if (kind < 2)
        end = from + strspn(text + from, "0123456789.");
    else if (kind == 2 && from < size)
        end = from + 1 + strcspn(text + from + 1, "\"") + 1;
    from = from < size ? from : size;
    end = end < size ? end : size;
    strbuf_add(out, text, from);
    if (kind < 2)
        strbuf_puts(out, numbers[(choice >> 8) % (sizeof numbers / sizeof *numbers)]);
    else if (kind == 2)
        put_word(out, text, (choice >> 8) % size);
    else
        strbuf_puts(out, pieces[(choice >> 8) % (sizeof pieces / sizeof *pieces)]);
    strbuf_add(out, text + end, size - end);
}

static void test_damage(void **state)
{
    (void)state;
    uint64_t key = rng_key(2026), draw = 0;
    uint32_t legal = 0, refused = 0;
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        size_t size = 0;
        char *text = read_example(i, &size);
        for (int round = 0; round < 600; round++) {
            struct arena arena;
            struct strbuf bad;
            struct error err = {0};
            struct blueprint b;
            struct import_options options = {.seed = 1, .training = round % 2 == 0};
            arena_init(&arena);
            strbuf_init(&bad, &arena);
            damage(&bad, text, size, key, &draw);
            for (int more = round % 3; more > 0; more--) {
                struct strbuf before = bad;
                strbuf_init(&bad, &arena);
                damage(&bad, before.data, before.size_bytes, key, &draw);
            }
            if (blueprint_read(bad.data, bad.size_bytes, &options, &arena, &b, &err)) {
                legal++;
                if (!graph_verify(&b.graph, &err))
                    TEST_FAILED("%s: %s\n%s", err.place, err.message, bad.data);
            } else {
                refused++;
                if (err.code == ERR_NONE || err.code == ERR_BUG || err.message[0] == '\0')
                    TEST_FAILED("%s: %s\n%s", err.place, err.message, bad.data);
            }
            arena_release(&arena);
        }
        free(text);
    }
    assert_true(legal > 100 && refused > 1000); /* enough documents pass the JSON parser to test the
                                                   readers too */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_implied_values),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
