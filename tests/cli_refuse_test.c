/* What the program `urza` must refuse, with the right class, and without leaving anything behind.
 */
#include "cli_util.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/strbuf.h"
#include "package/package.h"

static void test_usage(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_sum, strlen(blueprint_sum));
    refuse(f, ERR_USAGE, "--json");
    refuse(f, ERR_USAGE, "nothing --json");
    refuse(f, ERR_USAGE, "compile - --json");
    refuse(f, ERR_USAGE, "compile -o x --json");
    refuse(f, ERR_USAGE, "compile net.json other.json -o x --json");
    refuse(f, ERR_USAGE, "compile net.json -o x --fast --json");
    refuse(f, ERR_USAGE, "compile net.json --json -o");
    refuse(f, ERR_USAGE, "compile net.json -o x --seed -1 --json");
    refuse(f, ERR_USAGE, "compile net.json -o x --seed 18446744073709551616 --json");
    refuse(f, ERR_USAGE, "compile net.json -o x --strategy best --json");
    refuse(f, ERR_USAGE, "compile net.json --dump graphs --json");
    refuse(f, ERR_USAGE, "compile net.json -o x --strat fast --json"); /* names are not cut short */
    refuse(f, ERR_USAGE, "compile net.json -o x --strat=fast --json");
    refuse(f, ERR_USAGE, "run x --threads 0 --json");
    refuse(f, ERR_USAGE, "run x --threads 257 --json");
    refuse(f, ERR_USAGE, "bench x --seconds -1 --json");
    refuse(f, ERR_USAGE, "verify x --key abc --json");
    refuse(f, ERR_USAGE, "keys trust me --json");
    refuse(f, ERR_USAGE, "pass simplify --json");
    refuse(f, ERR_USAGE, "pass simplify net.json x --json");
    refuse(f, ERR_USAGE, "pass simplify net.json --target x86-64-v3 --json");
    refuse(f, ERR_USAGE, "pass products net.json --json");
    refuse(f, ERR_TARGET, "pass products net.json --target x86-64-v33 --json");
    refuse(f, ERR_PARSE, "pass simplify net.json --json");
    refuse(f, ERR_NOT_FOUND, "pass simplify none.txt --json");
    static const char dead[] = "graph \"\"\n%1 = input \"x\" : f32[2]\n%2 = neg %1 : f32[2]\n"
                               "output \"y\" %1\n";
    put(f, "dead.txt", dead, strlen(dead));
    refuse(f, ERR_UNSUPPORTED, "pass split-reductions dead.txt --json");
    assert_non_null(
        strstr(expect(f, ERR_USAGE, "pass simplfy net.json").err, "is 'simplify' meant"));
    refuse(f, ERR_NOT_FOUND, "compile none.json -o x --json");
    refuse(f, ERR_NOT_FOUND, "run none.urza --json");
    refuse(f, ERR_IO, "compile net.json -o none/x --strategy fast --json");
    refuse(f, ERR_TARGET, "compile net.json -o x --target z80 --json");
    assert_false(exists(f, "x"));
    struct outcome line = expect(f, ERR_USAGE, "nothing");
    assert_ptr_equal(strstr(line.err, "urza: UsageError: "), line.err);
    assert_ptr_equal(strchr(line.err, '\n'), line.err + line.err_bytes - 1);
}

static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    struct outcome outcome = run_at(f, "home", "/dev/null", "/dev/full", "--help");
    assert_int_equal(outcome.status, error_exit(ERR_IO));
}

static void test_bad_inputs(void **state)
{
    struct fixture *f = *state;
    static const float values[16] = {0};
    static const double doubles[6] = {0};
    static const int64_t fine[2] = {2, 3}, wide[2] = {2, 4}, flat[1] = {6}, long_one[2] = {3, 3};
    compile(f, blueprint_sum, " --strategy fast");
    put_npy(f, "fine.npy", "<f4", 2, fine, values);
    put_npy(f, "wide.npy", "<f4", 2, wide, values);
    put_npy(f, "flat.npy", "<f4", 1, flat, values);
    put_npy(f, "long.npy", "<f4", 2, long_one, values);
    put_npy(f, "double.npy", "<f8", 2, fine, doubles);
    put(f, "text.npy", "no array", 8);
    refuse(f, ERR_INPUT, "run net.urza --in a=fine.npy --out o --json");
    refuse(f, ERR_INPUT, "run net.urza --in a=wide.npy --in b=wide.npy --out o --json");
    refuse(f, ERR_INPUT, "run net.urza --in a=flat.npy --in b=fine.npy --out o --json");
    refuse(f, ERR_INPUT, "run net.urza --in a=long.npy --in b=fine.npy --out o --json");
    refuse(f, ERR_INPUT, "run net.urza --in a=double.npy --in b=fine.npy --out o --json");
    refuse(f, ERR_INPUT, "run net.urza --in z=fine.npy --out o --json");
    refuse(f, ERR_USAGE, "run net.urza --in fine.npy --out o --json");
    refuse(f, ERR_USAGE, "run net.urza --in a=fine.npy --in a=fine.npy --out o --json");
    refuse(f, ERR_PARSE, "run net.urza --in a=text.npy --in b=fine.npy --out o --json");
    refuse(f, ERR_NOT_FOUND, "run net.urza --in a=none.npy --in b=fine.npy --out o --json");
    assert_false(exists(f, "o"));
    /* The given input decides the size of the random one. */
    json_t *ran = answer(f, "run net.urza --in a=long.npy --random 3 --json");
    json_t *output = json_array_get(member(ran, "outputs"), 0);
    assert_int_equal(json_integer_value(json_array_get(member(output, "shape"), 0)), 3);
    json_decref(ran);
}

/* Blueprints that must be refused: each leaves nothing behind and does not touch what was there.
 * In these texts ' stands for a double quote. */
#define NATIVE(nodes)                                                                 \
    "{'format': 'urza.blueprint/1', 'inputs': [{'id': 'x', 'dtype': 'f32', 'shape': " \
    "[4, 4]}], 'nodes': [" nodes "], 'outputs': ['y']}"
#define IR(node, edges)                                                                  \
    "{'nodes': [{'id': 'x', 'op_type': 'input', 'attributes': {'shape': [4, 8]}}, " node \
    "{'id': 'y', 'op_type': 'output', 'attributes': {}}], 'edges': [" edges "]}"
#define EDGE(a, b) "{'source': '" a "', 'target': '" b "'}"
#define FC(attributes) "{'id': 'f', 'op_type': 'linear', 'attributes': {" attributes "}}, "

static const struct bad_blueprint {
    const char *name, *text;
    enum error_code code, other; /* other: also right; ERR_NONE: none */
} bad_blueprints[] = {
    {"empty", "", ERR_JSON, ERR_NONE},
    {"no object", "[]", ERR_JSON, ERR_BLUEPRINT},
    {"malformed", "{'format' 'urza.blueprint/1'}", ERR_JSON, ERR_NONE},
    {"two values", "{} {}", ERR_JSON, ERR_NONE},
    {"not UTF-8", "{'name': '\xff'}", ERR_JSON, ERR_NONE},
    {"duplicate key", "{'format': 'urza.blueprint/1', 'name': 'a', 'name': 'b'}", ERR_JSON,
     ERR_NONE},
    {"unknown field",
     "{'format': 'urza.blueprint/1', 'inputs': [], 'nodes': [], "
     "'outputs': [], 'colour': 1}",
     ERR_JSON, ERR_NONE},
    {"unknown format", "{'format': 'urza.blueprint/9'}", ERR_UNSUPPORTED, ERR_NONE},
    {"unknown op", NATIVE("{'id': 'y', 'op': 'relux', 'in': ['x']}"), ERR_BLUEPRINT, ERR_NONE},
    {"unknown attribute",
     NATIVE("{'id': 'y', 'op': 'relu', 'in': ['x'], 'attrs': "
            "{'slope': 1}}"),
     ERR_BLUEPRINT, ERR_NONE},
    {"cycle",
     NATIVE("{'id': 'y', 'op': 'add', 'in': ['x', 'z']}, {'id': 'z', 'op': "
            "'relu', 'in': ['y']}"),
     ERR_BLUEPRINT, ERR_NONE},
    {"dangling", NATIVE("{'id': 'y', 'op': 'relu', 'in': ['nobody']}"), ERR_BLUEPRINT, ERR_NONE},
    {"wrong shape",
     NATIVE("{'id': 'y', 'op': 'reshape', 'in': ['x'], 'attrs': {'shape': "
            "[3, 5]}}"),
     ERR_SHAPE, ERR_NONE},
    {"unknown dtype",
     "{'format': 'urza.blueprint/1', 'inputs': [{'id': 'x', 'dtype': "
     "'f33', 'shape': [4]}], 'nodes': [], 'outputs': ['x']}",
     ERR_BLUEPRINT, ERR_NONE},
    {"overflow",
     "{'format': 'urza.blueprint/1', 'inputs': [{'id': 'x', 'dtype': 'f32', "
     "'shape': [4294967296, 4294967296, 4294967296]}], 'nodes': [{'id': 'y', 'op': "
     "'relu', 'in': ['x']}], 'outputs': ['y']}",
     ERR_LIMIT, ERR_SHAPE},
    {"negative dim",
     "{'format': 'urza.blueprint/1', 'inputs': [{'id': 'x', 'dtype': 'f32', "
     "'shape': [-4]}], 'nodes': [{'id': 'y', 'op': 'relu', 'in': ['x']}], "
     "'outputs': ['y']}",
     ERR_SHAPE, ERR_BLUEPRINT},
    {"IR unknown op",
     IR("{'id': 'f', 'op_type': 'lineal', 'attributes': {}}, ", EDGE("x", "f") ", " EDGE("f", "y")),
     ERR_BLUEPRINT, ERR_NONE},
    {"IR unknown attribute",
     IR(FC("'in_features': 8, 'out_features': 2, 'rank': 3"), EDGE("x", "f") ", " EDGE("f", "y")),
     ERR_BLUEPRINT, ERR_NONE},
    {"IR missing attribute", IR(FC("'in_features': 8"), EDGE("x", "f") ", " EDGE("f", "y")),
     ERR_BLUEPRINT, ERR_NONE},
    {"IR wrong shape",
     IR(FC("'in_features': 7, 'out_features': 2"), EDGE("x", "f") ", " EDGE("f", "y")), ERR_SHAPE,
     ERR_BLUEPRINT},
    {"IR overflow",
     IR(FC("'in_features': 8, 'out_features': 4611686018427387904"),
        EDGE("x", "f") ", " EDGE("f", "y")),
     ERR_LIMIT, ERR_SHAPE},
    {"IR dangling", IR("", EDGE("x", "y") ", " EDGE("x", "nobody")), ERR_BLUEPRINT, ERR_NONE},
    {"IR cycle",
     IR("{'id': 'a', 'op_type': 'add', 'attributes': {}}, {'id': 'b', "
        "'op_type': 'dropout', 'attributes': {}}, ",
        EDGE("x", "a") ", " EDGE("b", "a") ", " EDGE("a", "b") ", " EDGE("a", "y")),
     ERR_BLUEPRINT, ERR_NONE},
};

static void refuse_blueprint(struct fixture *f, const char *name, const void *text, size_t size,
                             enum error_code code, enum error_code other)
{
    put(f, "bad.json", text, size);
    struct outcome outcome = run(f, "compile bad.json -o out/net.urza --json");
    json_t *error = json_loads(outcome.err, 0, NULL);
    bool is_other = other != ERR_NONE && outcome.status == error_exit(other);
    if ((outcome.status != error_exit(code) && !is_other) || !error)
        TEST_FAILED("%s: exit status %d, expected %d: %s", name, outcome.status, error_exit(code),
                    outcome.err);
    assert_string_equal(json_string_value(member(error, "error")),
                        error_name(is_other ? other : code));
    assert_int_equal(outcome.out_bytes, 0);
    json_decref(error);
}

/* The number of files in a folder. */
static uint32_t count_files(struct fixture *f, const char *name)
{
    uint32_t count = 0;
    DIR *dir = opendir(path_of(f, name));
    assert_non_null(dir);
    for (const struct dirent *file; (file = readdir(dir)) != NULL;)
        count += file->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void test_bad_blueprints(void **state)
{
    struct fixture *f = *state;
    char nested[4096];
    assert_int_equal(mkdir(path_of(f, "out"), 0700), 0);
    for (size_t i = 0; i < sizeof bad_blueprints / sizeof bad_blueprints[0]; i++) {
        const struct bad_blueprint *bad = &bad_blueprints[i];
        char *text = arena_strdup(&f->arena, bad->text);
        for (char *at = text; *at != '\0'; at++)
            *at = *at == '\'' ? '"' : *at;
        refuse_blueprint(f, bad->name, text, strlen(text), bad->code, bad->other);
    }
    for (size_t cut = 1; cut < strlen(blueprint_mlp); cut += 37)
        refuse_blueprint(f, "truncated", blueprint_mlp, cut, ERR_JSON, ERR_NONE);
    memset(nested, '[', sizeof nested);
    refuse_blueprint(f, "nested", nested, sizeof nested, ERR_LIMIT, ERR_NONE);
    char *large = calloc(1, LIMIT_JSON_BYTES + 1);
    assert_non_null(large);
    memset(large, ' ', LIMIT_JSON_BYTES + 1);
    refuse_blueprint(f, "oversized", large, LIMIT_JSON_BYTES + 1, ERR_LIMIT, ERR_NONE);
    free(large);
    assert_int_equal(count_files(f, "out"), 0);

    put(f, "out/net.urza", "precious", 8);
    refuse_blueprint(f, "not JSON", "{", 1, ERR_JSON, ERR_NONE);
    size_t size;
    assert_string_equal(get(f, "out/net.urza", &size), "precious");
    assert_int_equal(count_files(f, "out"), 1);
}

static void refuse_package(struct fixture *f, enum error_code code, const char *name)
{
    static const char *const commands[] = {"run", "verify", "bench", "inspect", "graph"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct strbuf line;
        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "%s %s --json", commands[i], name);
        refuse(f, code, line.data);
    }
}

static void test_damaged_packages(void **state)
{
    struct fixture *f = *state;
    size_t size;
    compile(f, blueprint_mlp, " --strategy fast");
    char *bytes = (char *)get(f, "net.urza", &size);
    for (size_t i = 0; i < 7; i++) {
        size_t at = 4 + (size - 5) * i / 6;
        bytes[at] = (char)(bytes[at] ^ 1);
        put(f, "flipped.urza", bytes, size);
        bytes[at] = (char)(bytes[at] ^ 1);
        refuse(f, ERR_PACKAGE, "inspect flipped.urza --json");
        refuse(f, ERR_PACKAGE, "run flipped.urza --allow-unsigned --json");
    }
    put(f, "short.urza", bytes, size - 1);
    refuse_package(f, ERR_PACKAGE, "short.urza");
    put(f, "half.urza", bytes, size / 2);
    refuse_package(f, ERR_PACKAGE, "half.urza");
    put(f, "long.urza", bytes, size + 1);
    refuse_package(f, ERR_PACKAGE, "long.urza");
    put(f, "none.urza", "", 0);
    refuse(f, ERR_PACKAGE, "run none.urza --json");
}

static uint32_t crc32_of_bytes(const uint8_t *data, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_u32(char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(value >> 8 * i);
}

/* Changes one digit of the signature and mends the checksums around it. */
static void forge_signature(struct fixture *f, char *bytes, size_t size)
{
    const uint8_t *entry;
    size_t entry_size;
    struct error err;
    assert_true(package_entry(bytes, size, "signature", &entry, &entry_size, &err));
    uint32_t old = crc32_of_bytes(entry, entry_size), replaced = 0;
    char *digit = (char *)entry + entry_size - 3; /* before the final quote and brace */
    *digit = *digit == '0' ? '1' : '0';
    uint32_t crc = crc32_of_bytes(entry, entry_size);
    for (size_t at = 0; at + 4 <= size; at++) {
        char wanted[4];
        put_u32(wanted, old);
        if (memcmp(bytes + at, wanted, 4) == 0) {
            put_u32(bytes + at, crc);
            replaced++;
        }
    }
    assert_int_equal(replaced, 2); /* local header and central directory */
    put(f, "forged.urza", bytes, size);
}

static void test_signatures(void **state)
{
    struct fixture *f = *state;
    size_t size;
    compile(f, blueprint_sum, " --strategy fast");
    expect(f, ERR_NONE, "compile net.json -o bare.urza --strategy fast --unsigned");
    refuse_package(f, ERR_SIGNATURE, "bare.urza");
    expect(f, ERR_NONE, "run bare.urza --allow-unsigned");
    expect(f, ERR_NONE, "inspect bare.urza --allow-unsigned");

    char *bytes = (char *)get(f, "net.urza", &size);
    forge_signature(f, bytes, size);
    refuse_package(f, ERR_SIGNATURE, "forged.urza");
    refuse(f, ERR_SIGNATURE, "run forged.urza --allow-unsigned --json");

    /* Somebody else's package: refused until its key is trusted, by option or by name. */
    struct outcome other = run_at(f, "other", "/dev/null", path_of(f, "stdout"),
                                  "compile net.json -o other.urza --strategy fast");
    assert_int_equal(other.status, 0);
    refuse_package(f, ERR_SIGNATURE, "other.urza");
    refuse(f, ERR_SIGNATURE, "run other.urza --allow-unsigned --json");
    struct outcome shown = run_at(f, "other", "/dev/null", path_of(f, "stdout"), "keys show");
    assert_int_equal(shown.out_bytes, 65);
    struct strbuf with_key, trust;
    strbuf_init(&with_key, &f->arena);
    strbuf_init(&trust, &f->arena);
    strbuf_printf(&with_key, "run other.urza --key %.64s", shown.out);
    strbuf_printf(&trust, "keys trust friend %.64s", shown.out);
    expect(f, ERR_NONE, with_key.data);
    refuse(f, ERR_SIGNATURE, "run other.urza --json");
    expect(f, ERR_NONE, trust.data);
    expect(f, ERR_NONE, "run other.urza");
    expect(f, ERR_NONE, "keys distrust friend");
    refuse(f, ERR_SIGNATURE, "run other.urza --json");
}

/* A package in good order whose code computes something else than its graph. */
static void test_wrong_results(void **state)
{
    struct fixture *f = *state;
    struct package_contents *contents = ARENA_NEW(&f->arena, struct package_contents);
    struct strbuf lying;
    struct error err;
    char id[KERNEL_ID_BYTES];
    size_t size;
    uint32_t changed = 0;
    compile(f, blueprint_mlp, " --strategy fast --unsigned");
    expect(f, ERR_NONE, "verify net.urza --allow-unsigned");
    const char *read = get(f, "net.urza", &size);
    char *bytes = arena_alloc(&f->arena, size, 64);
    memcpy(bytes, read, size);
    assert_true(package_read(bytes, size, &(struct trust){TRUST_ALLOW_UNSIGNED, NULL}, &f->arena,
                             contents, &err));
    for (value_id value = 1; value < contents->graph.nodes.count; value++) {
        struct node *node = &contents->graph.nodes.items[value];
        changed += node->prim == PRIM_MAX;
        node->prim = node->prim == PRIM_MAX ? PRIM_MIN : node->prim;
    }
    assert_int_equal(changed, 1);
    strbuf_init(&lying, &f->arena);
    assert_true(package_write(contents, NULL, &lying, id, &err));
    put(f, "lying.urza", lying.data, lying.size_bytes);
    struct outcome outcome = expect(f, ERR_VERIFY, "verify lying.urza --allow-unsigned --json");
    json_t *report = json_loads(outcome.out, 0, NULL), *error = json_loads(outcome.err, 0, NULL);
    assert_non_null(report);
    assert_true(json_is_false(member(report, "pass")));
    assert_non_null(error);
    assert_string_equal(json_string_value(member(error, "error")), error_name(ERR_VERIFY));
    json_decref(report);
    json_decref(error);
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_usage, build),
        CLI_TEST(test_full_disk, build),
        CLI_TEST(test_bad_inputs, build),
        CLI_TEST(test_bad_blueprints, build),
        CLI_TEST(test_damaged_packages, build),
        CLI_TEST(test_signatures, build),
        CLI_TEST(test_wrong_results, build),
    };
    return cmocka_run_group_tests_name("cli-refuse", tests, NULL, NULL);
}
