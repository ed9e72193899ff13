/* Initial values compared with numbers that an independent program computed (Python: hashlib, the
 * squares generator, and the formulas of torch.nn.init). */
#include "compiler/import/import_test_util.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/npy.h"

static const char *document(struct arena *arena, const char *dtype, const char *shape,
                            const char *init)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text,
                  "{\"format\": \"urza.blueprint/1\", \"inputs\": [], \"params\": [{\"id\": \"w\", "
                  "\"dtype\": \"%s\", \"shape\": %s%s%s}], \"nodes\": [], \"outputs\": [\"w\"]}",
                  dtype, shape, init[0] ? ", \"init\": " : "", init);
    return text.data;
}

static const void *values(struct arena *arena, const char *dtype, const char *shape,
                          const char *init, size_t bytes)
{
    struct error err = {0};
    struct blueprint b = must_read(arena, document(arena, dtype, shape, init));
    struct package_param param;
    if (!blueprint_param_data(&b, 0, NULL, arena, &param, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
    assert_int_equal(param.data_bytes, bytes);
    assert_int_equal((uintptr_t)param.data % 64, 0);
    return param.data;
}

static void expect_f64(const char *shape, const char *init, size_t count, double first,
                       double second)
{
    struct arena arena;
    arena_init(&arena);
    const double *data = values(&arena, "f64", shape, init, 8 * count);
    if (fabs(data[0] - first) > 1e-15 || fabs(data[1] - second) > 1e-15)
        TEST_FAILED("%s: %.17g, %.17g", init, data[0], data[1]);
    arena_release(&arena);
}

static void test_fixed_numbers(void **state)
{
    (void)state;
    expect_f64("[3]", "{\"kind\": \"uniform\", \"low\": -2, \"high\": 3, \"seed\": 1}", 3,
               0.40501950844191015, 1.3138563332613558);
    expect_f64("[3]", "{\"kind\": \"normal\", \"mean\": 1, \"std\": 0.5, \"seed\": 1}", 3,
               0.701623185539005, 1.6092663978787372);
    expect_f64("[4, 3, 2, 2]", "{\"kind\": \"kaiming_uniform\", \"seed\": 1}", 48,
               -0.010967402473765209, 0.09397603461802512);
    expect_f64("[4, 3, 2, 2]", "{\"kind\": \"kaiming_normal\", \"seed\": 1}", 48,
               -0.24362364883550888, 0.4974639307421405);
    expect_f64("[4, 3, 2, 2]", "{\"kind\": \"xavier_uniform\", \"gain\": 2, \"seed\": 1}", 48,
               -0.0351739392683027, 0.3013938206642206);
    expect_f64("[4, 3, 2, 2]", "{\"kind\": \"xavier_normal\", \"gain\": 2, \"seed\": 1}", 48,
               -0.31897823196287417, 0.6513331766103223);
    expect_f64("[9]", "{\"kind\": \"bias_uniform\", \"fan_in\": 9, \"seed\": 1}", 9,
               -0.012664065541078628, 0.10851417776818079);
    expect_f64("[2]", "{\"kind\": \"bias_uniform\", \"fan_in\": 0, \"seed\": 1}", 2, 0, 0);
    expect_f64("[2]", "{\"kind\": \"zeros\"}", 2, 0, 0);
    expect_f64("[2]", "{\"kind\": \"ones\"}", 2, 1, 1);
    expect_f64("[2]", "{\"kind\": \"constant\", \"value\": 0.3}", 2, 0.3, 0.3);
}

/* The random numbers depend on the whole name, however long it is. */
static void test_long_names(void **state)
{
    (void)state;
    struct arena arena;
    double drawn[3];
    arena_init(&arena);
    for (int i = 0; i < 3; i++) {
        struct strbuf text;
        struct error err = {0};
        struct package_param param;
        char name[5000];
        memset(name, 'w', sizeof name);
        snprintf(name + sizeof name - 2, 2, "%d", i % 2);
        strbuf_init(&text, &arena);
        strbuf_printf(&text,
                      "{\"format\": \"urza.blueprint/1\", \"inputs\": [], \"params\": [{\"id\": "
                      "\"%s\", \"dtype\": \"f64\", \"shape\": [1], \"init\": {\"kind\": "
                      "\"normal\"}}], \"nodes\": [], \"outputs\": [\"%s\"]}",
                      name, name);
        struct blueprint b = must_read(&arena, text.data);
        assert_true(blueprint_param_data(&b, 0, NULL, &arena, &param, &err));
        memcpy(&drawn[i], param.data, sizeof drawn[i]);
    }
    assert_true(drawn[0] == drawn[2] && drawn[0] != drawn[1]);
    arena_release(&arena);
}

static void test_dtypes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const char *third = "{\"kind\": \"constant\", \"value\": 0.3333333333333333}";
    assert_true(*(float *)values(&arena, "f32", "[]", third, 4) == 1.0f / 3.0f);
    assert_int_equal(*(uint16_t *)values(&arena, "f16", "[]", third, 2), 0x3555);
    assert_int_equal(*(uint16_t *)values(&arena, "bf16", "[]", third, 2), 0x3eab);
    const char *minus = "{\"kind\": \"constant\", \"value\": -100}", *ones = "{\"kind\": \"ones\"}";
    assert_int_equal(((int64_t *)values(&arena, "i64", "[2]", minus, 16))[1], -100);
    assert_int_equal(((int32_t *)values(&arena, "i32", "[2]", minus, 8))[1], -100);
    assert_int_equal(((int16_t *)values(&arena, "i16", "[2]", minus, 4))[1], -100);
    assert_int_equal(((int8_t *)values(&arena, "i8", "[2]", minus, 2))[1], -100);
    assert_int_equal(((uint8_t *)values(&arena, "u8", "[2]", ones, 2))[1], 1);
    assert_int_equal(((uint8_t *)values(&arena, "bool", "[2]", ones, 2))[1], 1);
    const char *kaiming = "{\"kind\": \"kaiming_uniform\"}";
    (void)values(&arena, "f32", "[4, 0]", kaiming, 0);
    (void)values(&arena, "f32", "[0, 4]", kaiming, 0);
    arena_release(&arena);
}

static void test_distributions(void **state)
{
    (void)state;
    enum { COUNT = 40000 };
    struct arena arena;
    arena_init(&arena);
    double sum = 0, squares = 0, low = 9, high = -9;
    const float *normal = values(&arena, "f32", "[200, 200]", "{\"kind\": \"normal\"}", 4 * COUNT);
    const float *uniform =
        values(&arena, "f32", "[200, 200]", "{\"kind\": \"kaiming_uniform\"}", 4 * COUNT);
    for (int i = 0; i < COUNT; i++) {
        sum += (double)normal[i];
        squares += (double)normal[i] * (double)normal[i];
        low = fmin(low, (double)uniform[i]);
        high = fmax(high, (double)uniform[i]);
    }
    /* Within five standard errors of the mean and of the variance. */
    assert_true(fabs(sum / COUNT) < 5 / sqrt(COUNT));
    assert_true(fabs(squares / COUNT - 1) < 5 * sqrt(2.0 / COUNT));
    double bound = 1 / sqrt(200);
    assert_true(low >= -bound && low < -0.999 * bound && high <= bound && high > 0.999 * bound);
    arena_release(&arena);
}

static void test_seed_and_name(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    arena_init(&arena);
    const char *text = "{\"format\": \"urza.blueprint/1\", \"inputs\": [], \"params\": ["
                       "{\"id\": \"a\", \"dtype\": \"f64\", \"shape\": [], "
                       "\"init\": {\"kind\": \"uniform\", \"seed\": 1}},"
                       "{\"id\": \"b\", \"dtype\": \"f64\", \"shape\": [], "
                       "\"init\": {\"kind\": \"uniform\", \"seed\": 1}},"
                       "{\"id\": \"c\", \"dtype\": \"f64\", \"shape\": []}],"
                       "\"nodes\": [], \"outputs\": [\"a\"]}";
    struct blueprint blueprint = must_read(&arena, text);
    struct package_param params[3];
    assert_true(blueprint_param_data(&blueprint, 0, NULL, &arena, &params[0], &err));
    assert_true(blueprint_param_data(&blueprint, 1, NULL, &arena, &params[1], &err));
    assert_true(*(const double *)params[0].data != *(const double *)params[1].data);
    blueprint.inits[0].seed = 2;
    assert_true(blueprint_param_data(&blueprint, 0, NULL, &arena, &params[2], &err));
    assert_true(*(const double *)params[0].data != *(const double *)params[2].data);
    assert_false(blueprint_param_data(&blueprint, 2, NULL, &arena, &params[2], &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.place, "param 'c'");
    arena_release(&arena);
}

static void refuse(const char *dtype, const char *shape, const char *init, enum error_code code,
                   const char *part)
{
    struct arena arena;
    arena_init(&arena);
    must_refuse(document(&arena, dtype, shape, init), code, "param 'w', init", part);
    arena_release(&arena);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("f32", "[3]", "{\"kind\": \"kaiming_uniform\"}", ERR_SHAPE, "at least 2 dims");
    refuse("f32", "[3]", "{\"kind\": \"ones\", \"seed\": 1}", ERR_JSON, "unknown field 'seed'");
    refuse("f32", "[3]", "{\"kind\": \"constant\"}", ERR_JSON, "'value' is missing");
    refuse("f32", "[3]", "{\"kind\": \"uniform\", \"low\": 2, \"high\": 1}", ERR_BLUEPRINT,
           "is empty");
    refuse("f32", "[3]", "{\"kind\": \"normal\", \"std\": -1}", ERR_BLUEPRINT, "negative");
    refuse("f32", "[3]", "{\"kind\": \"bias_uniform\", \"fan_in\": -1}", ERR_BLUEPRINT,
           "fan_in is -1");
    refuse("i32", "[3]", "{\"kind\": \"normal\"}", ERR_BLUEPRINT, "for floats");
    refuse("i8", "[3]", "{\"kind\": \"constant\", \"value\": 128}", ERR_BLUEPRINT,
           "128 is not a value");
    refuse("i32", "[3]", "{\"kind\": \"constant\", \"value\": 1.5}", ERR_BLUEPRINT,
           "1.5 is not a value");
    refuse("bool", "[3]", "{\"kind\": \"constant\", \"value\": 2}", ERR_BLUEPRINT,
           "2 is not a value");
    refuse("f32", "[3]", "{\"seed\": 1}", ERR_JSON, "'kind' is missing");
    refuse("f32", "[3]", "{\"kind\": \"file\"}", ERR_JSON, "'path' is missing");
    const char *const paths[] = {"/etc/passwd", "..", "a/../../b", "../x", "", "a/.."};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char init[80];
        snprintf(init, sizeof init, "{\"kind\": \"file\", \"path\": \"%s\"}", paths[i]);
        refuse("f32", "[3]", init, ERR_BLUEPRINT, "below the blueprint's folder");
    }
}

static bool load(struct arena *arena, const char *dtype, const char *shape, const char *folder,
                 float *out, struct error *err)
{
    struct package_param param;
    struct blueprint b = must_read(
        arena, document(arena, dtype, shape, "{\"kind\": \"file\", \"path\": \"w..1.npy\"}"));
    if (!blueprint_param_data(&b, 0, folder, arena, &param, err))
        return false;
    memcpy(out, param.data, param.data_bytes);
    return true;
}

static void test_file(void **state)
{
    (void)state;
    static const float stored[6] = {1, 2, 3, 4, 5, 6};
    char folder[] = "/tmp/import-init-XXXXXX", path[64];
    float read[6];
    struct arena arena;
    struct error err = {0};
    struct npy npy;
    struct strbuf bytes;
    arena_init(&arena);
    strbuf_init(&bytes, &arena);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w..1.npy", folder);
    assert_true(npy_init(&npy, "<f4", 2, (int64_t[]){2, 3}, stored, &err));
    npy_format(&npy, &bytes);
    assert_true(file_write_atomic(path, bytes.data, bytes.size_bytes, 0600, &err));

    assert_true(load(&arena, "f32", "[2, 3]", folder, read, &err));
    assert_memory_equal(read, stored, sizeof stored);
    assert_false(load(&arena, "f32", "[3, 2]", folder, read, &err));
    assert_int_equal(err.code, ERR_SHAPE);
    assert_false(load(&arena, "f32", "[6]", folder, read, &err));
    assert_int_equal(err.code, ERR_SHAPE);
    assert_false(load(&arena, "i32", "[2, 3]", folder, read, &err));
    assert_int_equal(err.code, ERR_SHAPE);
    assert_false(load(&arena, "f32", "[2, 3]", NULL, read, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_true(file_write_atomic(path, bytes.data, bytes.size_bytes - 1, 0600, &err));
    assert_false(load(&arena, "f32", "[2, 3]", folder, read, &err));
    assert_int_equal(err.code, ERR_PARSE);
    assert_int_equal(unlink(path), 0);
    assert_false(load(&arena, "f32", "[2, 3]", folder, read, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    /* A link to a file outside must be refused, and a named pipe must not block the reader. */
    char outside[] = "/tmp/import-init-XXXXXX";
    int fd = mkstemp(outside);
    assert_true(fd >= 0 && write(fd, bytes.data, bytes.size_bytes) == (ssize_t)bytes.size_bytes);
    close(fd);
    assert_int_equal(symlink(outside, path), 0);
    assert_false(load(&arena, "f32", "[2, 3]", folder, read, &err));
    assert_int_equal(err.code, ERR_BLUEPRINT);
    assert_non_null(strstr(err.message, "leads out of the folder"));
    assert_int_equal(unlink(path) + unlink(outside), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(load(&arena, "f32", "[2, 3]", folder, read, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(unlink(path), 0);
    assert_false(load(&arena, "f32", "[2, 3]", folder, read, &err));
    assert_string_equal(err.place, "param 'w'");
    assert_int_equal(rmdir(folder), 0);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_numbers), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_dtypes),        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_seed_and_name), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
