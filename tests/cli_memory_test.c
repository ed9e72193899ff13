/* The program `urza`: inspect --memory. The layout that it shows is judged from its own numbers:
 * nothing that is alive at one time overlaps, the peak is what the addresses say, and the bound is
 * added up again. */
#include "cli_util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/strbuf.h"

/* Three layers and names that are markup; B rows. */
static const char net[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"n\", \"dims\": {\"B\": {\"min\": 1,"
    " \"max\": 64, \"typical\": 4}}, \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
    " \"shape\": [\"B\", 6]}], \"params\": ["
    "{\"id\": \"w1\", \"dtype\": \"f32\", \"shape\": [40, 6],"
    " \"init\": {\"kind\": \"normal\", \"seed\": 1}},"
    "{\"id\": \"w2\", \"dtype\": \"f32\", \"shape\": [30, 40],"
    " \"init\": {\"kind\": \"normal\", \"seed\": 2}},"
    "{\"id\": \"w3\", \"dtype\": \"f32\", \"shape\": [5, 30],"
    " \"init\": {\"kind\": \"normal\", \"seed\": 3}}],"
    " \"nodes\": [{\"id\": \"a<b>&\\\"c\", \"op\": \"linear\", \"in\": [\"x\", \"w1\"]},"
    " {\"id\": \"t\", \"op\": \"gelu\", \"in\": [\"a<b>&\\\"c\"]},"
    " {\"id\": \"u\", \"op\": \"linear\", \"in\": [\"t\", \"w2\"]},"
    " {\"id\": \"v\", \"op\": \"softmax\", \"in\": [\"u\"], \"attrs\": {\"dim\": 1}},"
    " {\"id\": \"y\", \"op\": \"linear\", \"in\": [\"v\", \"w3\"]}], \"outputs\": [\"y\"]}";

static json_int_t number(const json_t *object, const char *key)
{
    json_t *value = member(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static json_int_t rounded(json_int_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Judges the answer of inspect --memory --json. */
static void judge(const json_t *memory)
{
    json_t *buffers = member(memory, "buffers");
    json_int_t launches = number(memory, "launches"), peak = 0, bound = 0, at = 0, saved = 0;
    size_t count = json_array_size(buffers);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        const json_t *a = json_array_get(buffers, i);
        json_int_t low = number(a, "address"), high = low + rounded(number(a, "bytes"));
        assert_true(number(a, "bytes") > 0 && low >= 0 && low % 64 == 0);
        assert_true(number(a, "first") <= number(a, "last") && number(a, "last") < launches);
        peak = high > peak ? high : peak;
        for (size_t k = 0; k < i; k++) {
            const json_t *b = json_array_get(buffers, k);
            json_int_t other = number(b, "address"), end = other + rounded(number(b, "bytes"));
            bool together =
                number(a, "first") <= number(b, "last") && number(b, "first") <= number(a, "last");
            assert_true(!together || high <= other || end <= low);
        }
        bool kept = number(a, "first") < number(memory, "forward_train") &&
                    number(a, "last") >= number(memory, "forward_train");
        assert_int_equal(json_is_true(member(a, "saved")), kept);
        saved += kept ? number(a, "bytes") : 0;
    }
    for (json_int_t launch = 0; launch < launches; launch++) {
        json_int_t alive = 0;
        for (size_t i = 0; i < count; i++) {
            const json_t *a = json_array_get(buffers, i);
            if (number(a, "first") <= launch && launch <= number(a, "last"))
                alive += rounded(number(a, "bytes"));
        }
        at = alive > bound ? launch : at;
        bound = alive > bound ? alive : bound;
    }
    assert_int_equal(number(memory, "peak_bytes"), peak);
    assert_int_equal(number(memory, "bound_bytes"), bound);
    assert_int_equal(number(memory, "bound_launch"), at);
    assert_int_equal(number(memory, "saved_bytes"), saved);
    double ratio = json_number_value(member(memory, "ratio"));
    assert_true(fabs(ratio - (double)peak / (double)bound) < 1e-9);
    assert_true(ratio >= 1 && ratio <= 1.05);
}

static void test_numbers(void **state)
{
    struct fixture *f = *state;
    compile(f, net, " --backward --strategy fast --target x86-64-v2");
    json_t *memory = answer(f, "inspect net.urza --memory --json");
    judge(memory);
    assert_string_equal(json_string_value(member(memory, "target")), "x86-64-v2");
    assert_int_equal(number(member(memory, "dims"), "B"), 4);
    assert_int_equal(number(memory, "forward_train"), 0);
    assert_int_equal(number(memory, "inputs_bytes"), 4 * 6 * 4);
    assert_int_equal(number(memory, "outputs_bytes"), 4 * 5 * 4);
    assert_int_equal(number(memory, "gradients_bytes"), 0);
    json_decref(memory);

    memory = answer(f, "inspect net.urza --memory --backward --dims B=48 --json");
    judge(memory);
    json_int_t params = (40 * 6 + 30 * 40 + 5 * 30) * 4;
    assert_int_equal(number(member(memory, "dims"), "B"), 48);
    assert_true(number(memory, "forward_train") > 0);
    assert_true(number(memory, "forward_train") < number(memory, "launches"));
    assert_true(number(memory, "saved_bytes") > 0);
    assert_int_equal(number(memory, "inputs_bytes"), 48 * 6 * 4);
    assert_int_equal(number(memory, "params_bytes"), params);
    assert_int_equal(number(memory, "prepared_bytes"), 0);
    assert_int_equal(number(memory, "outputs_bytes"), 48 * 5 * 4);
    assert_int_equal(number(memory, "cotangents_bytes"), 48 * 5 * 4);
    assert_int_equal(number(memory, "gradients_bytes"), 48 * 6 * 4 + params);
    json_int_t saved = number(memory, "saved_bytes");
    json_decref(memory);

    /* What inspect says of the step at typical sizes, and the table. */
    memory = answer(f, "inspect net.urza --memory --backward --json");
    assert_true(number(memory, "saved_bytes") < saved);
    json_t *plain = answer(f, "inspect net.urza --json");
    json_t *target = json_array_get(member(member(plain, "training"), "targets"), 0);
    assert_int_equal(number(target, "saved_bytes"), number(memory, "saved_bytes"));
    assert_int_equal(number(target, "forward_train"), number(memory, "forward_train"));
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza --memory --backward");
    char line[64];
    snprintf(line, sizeof line, "\npeak       %14lld bytes\n",
             (long long)number(memory, "peak_bytes"));
    assert_non_null(strstr(seen.out, line));
    assert_non_null(strstr(seen.out, "x86-64-v2, training, B=4, "));
    assert_non_null(strstr(seen.out, " saved a<b>&\"c: "));
    json_decref(memory);
    json_decref(plain);
}

/* y = relu(x w1ᵀ + b) w2ᵀ: the backward pass needs relu's result, for the product, and says by it
 * where the slope is 0. So that is all that is saved, not relu's operand. */
static void test_relu_saves_its_result(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
        " \"shape\": [32, 6]}], \"params\": ["
        "{\"id\": \"w1\", \"dtype\": \"f32\", \"shape\": [48, 6],"
        " \"init\": {\"kind\": \"normal\", \"seed\": 1}},"
        "{\"id\": \"w2\", \"dtype\": \"f32\", \"shape\": [5, 48],"
        " \"init\": {\"kind\": \"normal\", \"seed\": 2}}],"
        " \"nodes\": [{\"id\": \"h\", \"op\": \"linear\", \"in\": [\"x\", \"w1\"]},"
        " {\"id\": \"a\", \"op\": \"relu\", \"in\": [\"h\"]},"
        " {\"id\": \"y\", \"op\": \"linear\", \"in\": [\"a\", \"w2\"]}],"
        " \"outputs\": [\"y\"]}";
    compile(f, text, " --backward --strategy fast --target x86-64-v2");
    json_t *memory = answer(f, "inspect net.urza --memory --backward --json");
    judge(memory);
    assert_int_equal(number(memory, "saved_bytes"), 32 * 48 * 4);
    json_decref(memory);
}

static void says(struct fixture *f, enum error_code code, const char *line, const char *words)
{
    struct outcome outcome = expect(f, code, line);
    if (!strstr(outcome.err, words))
        TEST_FAILED("%s\nsays %s\nand not %s", line, outcome.err, words);
    assert_string_equal(outcome.out, "");
}

/* Of the only target: its launches, those that run again, and what they cost. */
static void training_of(struct fixture *f, json_int_t *launches, json_int_t *again, double *percent)
{
    json_t *object = answer(f, "inspect net.urza --json");
    const json_t *target = json_array_get(member(member(object, "training"), "targets"), 0);
    *launches = number(target, "forward_train") + number(target, "backward");
    *again = number(target, "again");
    *percent = json_number_value(member(target, "again_percent"));
    json_decref(object);
}

/* Six layers of tanh, whose results backward reads: with a budget some are made again, by their
 * products. */
static void test_budget(void **state)
{
    struct fixture *f = *state;
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    strbuf_puts(&text, "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"h0\", \"dtype\":"
                       " \"f32\", \"shape\": [64, 32]}], \"params\": [");
    for (int i = 0; i < 6; i++)
        strbuf_printf(&text,
                      "%s{\"id\": \"w%d\", \"dtype\": \"f32\", \"shape\": [32, 32], \"init\":"
                      " {\"kind\": \"kaiming_uniform\", \"seed\": %d}}",
                      i > 0 ? ", " : "", i, i);
    strbuf_puts(&text, "], \"nodes\": [");
    for (int i = 0; i < 6; i++)
        strbuf_printf(&text,
                      "%s{\"id\": \"l%d\", \"op\": \"linear\", \"in\": [\"h%d\", \"w%d\"]},"
                      "{\"id\": \"h%d\", \"op\": \"tanh\", \"in\": [\"l%d\"]}",
                      i > 0 ? ", " : "", i, i, i, i + 1, i);
    strbuf_puts(&text, "], \"outputs\": [\"h6\"]}");
    compile(f, text.data, " --backward --strategy fast --target x86-64-v2");
    json_t *memory = answer(f, "inspect net.urza --memory --backward --json");
    json_int_t all = number(memory, "peak_bytes");
    json_decref(memory);
    json_int_t launches, more, again;
    double percent;
    training_of(f, &launches, &again, &percent);
    assert_true(again == 0 && percent == 0);
    put(f, "net.json", text.data, text.size_bytes);
    struct outcome seen = expect(f, ERR_NONE, /* verified */
                                 "compile net.json -o net.urza --backward --target x86-64-v2 "
                                 "--memory 0.05");
    assert_non_null(strstr(seen.out, " launches run again in backward, "));
    training_of(f, &more, &again, &percent);
    assert_int_equal(more - launches, again);
    /* at least one of the six products that run forward, beside the twelve that are gradients */
    assert_true(again > 0 && percent > 100.0 / 20 && percent < 100.0 / 17 * (double)again);
    seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_non_null(strstr(seen.out, " launches run again in backward, "));
    memory = answer(f, "inspect net.urza --memory --backward --json");
    judge(memory);
    assert_true(all > 52000 && number(memory, "peak_bytes") <= 50000);
    json_decref(memory);
    says(f, ERR_LIMIT, "compile net.json --backward --memory 0.01 -o net.urza",
         "which allows 10000");
    says(f, ERR_USAGE, "compile net.json --memory 1", "--memory goes with --backward");
    says(f, ERR_USAGE, "compile net.json --backward --memory -1", "above 0");
    says(f, ERR_USAGE, "compile net.json --step sgd --memory 1", "a whole step");
}

/* Steps of two blocks, with room for other packing: 19.4 and 3.6 MB once. PyTorch 2.15 in eager
 * mode has 9.99 and 3.61 MB alive (bench/peers/memory.py). */
static void test_examples(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path;
        json_int_t most, saved;
    } rows[] = {{"examples/transformer_block.json", 9200000, 7000000},
                {"examples/resnet_bottleneck.json", 2600000, 1500000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        size_t size;
        char *text;
        if (!file_read(rows[i].path, LIMIT_JSON_BYTES, &text, &size, &err))
            TEST_FAILED("%s: %s", rows[i].path, err.message);
        compile(f, text, " --backward --strategy fast --target x86-64-v3");
        json_t *memory = answer(f, "inspect net.urza --memory --backward --json");
        judge(memory);
        if (number(memory, "peak_bytes") > rows[i].most ||
            number(memory, "saved_bytes") > rows[i].saved)
            TEST_FAILED("%s: %lld bytes, %lld of them saved", rows[i].path,
                        (long long)number(memory, "peak_bytes"),
                        (long long)number(memory, "saved_bytes"));
        json_decref(memory);
        free(text);
    }
}

/* Well-formed in the XML that is in use: elements, attributes, text, four entities. */
static const char *xml_text(const char *at, const char *stop)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    for (; *at && !strchr(stop, *at); at++) {
        bool known = *at != '&';
        for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
            known |= strncmp(at, entities[i], strlen(entities[i])) == 0;
        if (!known || ((unsigned char)*at < ' ' && *at != '\n'))
            TEST_FAILED("may not stand here: %.40s", at);
    }
    return at;
}

static const char *xml_element(const char *at, int depth)
{
    char name[32];
    int size = 0;
    assert_true(depth < 8);
    if (sscanf(at, "<%31[a-z]%n", name, &size) != 1)
        TEST_FAILED("no element: %.40s", at);
    for (at += size; *at == ' ';) {
        at += 1 + strcspn(at + 1, "= \">");
        assert_memory_equal(at, "=\"", 2);
        at = xml_text(at + 2, "\"<");
        assert_int_equal(*at++, '"');
    }
    if (strncmp(at, "/>", 2) == 0)
        return at + 2;
    assert_int_equal(*at++, '>');
    while (strncmp(at = xml_text(at, "<"), "</", 2) != 0)
        at = xml_element(at, depth + 1);
    assert_memory_equal(at + 2, name, strlen(name));
    at += 2 + strlen(name);
    assert_int_equal(*at++, '>');
    return at;
}

static void test_picture(void **state)
{
    struct fixture *f = *state;
    size_t size, boxes = 0;
    compile(f, net, " --backward --strategy fast --target x86-64-v2");
    json_t *memory = answer(f, "inspect net.urza --memory --backward --svg m.svg --json");
    const char *svg = get(f, "m.svg", &size);
    assert_int_equal(strlen(svg), size);
    assert_string_equal(xml_element(svg, 0), "\n");
    for (const char *at = svg; (at = strstr(at, "<title>")) != NULL; at++)
        boxes++;
    assert_int_equal(boxes, json_array_size(member(memory, "buffers")));
    assert_non_null(strstr(svg, "a&lt;b&gt;&amp;&quot;c: "));
    assert_null(strstr(svg, "a<b"));
    assert_non_null(strstr(svg, "<path class=\"bound\""));
    assert_non_null(strstr(svg, ">lower bound "));
    assert_non_null(strstr(svg, ">backward</text>"));
    /* Each box is inside the axes. */
    for (const char *at = svg; (at = strstr(at, "<rect")) != NULL; at++) {
        double x, y, width, height;
        assert_int_equal(sscanf(strstr(at, " x="),
                                " x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf", &x, &y, &width,
                                &height),
                         4);
        assert_true(x >= 90 && x + width <= 1180.02 && y >= 69.98 && y + height <= 670.3);
        assert_true(width > 0 && height > 0);
    }
    json_decref(memory);
    expect(f, ERR_NONE, "inspect net.urza --memory --svg m.svg");
    svg = get(f, "m.svg", &size);
    assert_string_equal(xml_element(svg, 0), "\n");
    assert_null(strstr(svg, ">backward</text>"));
}

static void test_refuses(void **state)
{
    struct fixture *f = *state;
    compile(f, net, " --strategy fast --target x86-64-v2");
    static const struct {
        enum error_code code;
        const char *line, *words;
    } rows[] = {
        {ERR_USAGE, "inspect net.urza --dims B=4", "--dims goes with --memory"},
        {ERR_USAGE, "inspect net.urza --target x86-64-v2", "--target goes with --memory"},
        {ERR_USAGE, "inspect net.urza --svg m.svg", "--svg goes with --memory"},
        {ERR_USAGE, "inspect net.urza --backward", "--backward goes with --memory"},
        {ERR_USAGE, "inspect net.urza --memory --dump plan", "--dump and --memory"},
        {ERR_USAGE, "inspect net.urza --memory --dims C=4", "C"},
        {ERR_USAGE, "inspect net.urza --memory --dims B=65", "B"},
        {ERR_USAGE, "inspect net.urza --memory --dims B", "B"},
        {ERR_USAGE, "inspect net.urza --memory --target x86-64-v9", "no code for the target"},
        {ERR_UNSUPPORTED, "inspect net.urza --memory --backward", "compile it with --backward"},
        {ERR_IO, "inspect net.urza --memory --svg none/m.svg", "none/m.svg"},
        {ERR_USAGE, "inspect net.json --memory", "--memory is for packages"},
    };
    put(f, "net.json", net, strlen(net));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        says(f, rows[i].code, rows[i].line, rows[i].words);
    assert_false(exists(f, "m.svg"));
    compile(f, net, " --strategy emergency");
    says(f, ERR_UNSUPPORTED, "inspect net.urza --memory", "no code");
    /* A block of one launch has no temporaries. */
    compile(f, blueprint_sum, " --strategy fast --target x86-64-v2");
    json_t *memory = answer(f, "inspect net.urza --memory --json --svg m.svg");
    assert_int_equal(json_array_size(member(memory, "buffers")), 0);
    assert_int_equal(number(memory, "peak_bytes"), 0);
    json_decref(memory);
    size_t size;
    assert_string_equal(xml_element(get(f, "m.svg", &size), 0), "\n");
}

/* A whole step: what it updates in place takes no memory beside the inputs. */
static void test_step(void **state)
{
    struct fixture *f = *state;
    const int floats = 40 * 6 + 30 * 40 + 5 * 30;
    compile(f, net, " --strategy fast --target x86-64-v2 --loss mse_loss --step lion");
    json_t *memory = answer(f, "inspect net.urza --memory --json");
    judge(memory);
    assert_int_equal(number(memory, "params_bytes"), 4 * floats);
    assert_int_equal(number(memory, "states_bytes"), 4 * floats + 8); /* and the number */
    assert_int_equal(number(memory, "inputs_bytes"), 4 * 6 * 4 + 4 * 5 * 4 + 4); /* x, target, lr */
    assert_int_equal(number(memory, "outputs_bytes"), 4);
    assert_int_equal(number(memory, "in_place_bytes") + number(memory, "staged_bytes"),
                     2 * 4 * floats + 8);
    assert_true(number(memory, "in_place_bytes") > 4 * floats);
    json_decref(memory);
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza --memory");
    assert_non_null(strstr(seen.out, "bytes of inputs are written where they lie"));
    says(f, ERR_USAGE, "inspect net.urza --memory --backward", "--memory without --backward");
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_numbers, build), CLI_TEST(test_relu_saves_its_result, build),
        CLI_TEST(test_budget, build),  CLI_TEST(test_examples, build),
        CLI_TEST(test_picture, build), CLI_TEST(test_refuses, build),
        CLI_TEST(test_step, build),
    };
    return cmocka_run_group_tests_name("cli-memory", tests, NULL, NULL);
}
