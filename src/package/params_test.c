#include "package/test_util.h"

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    arena_init(&f.arena);
    static const char text[] = "graph \"g\"\n"
                               "%1 = param \"scale\" : u8[3]\n"
                               "%2 = param \"fc \\\"1\\\"\" : f32[2, 2]\n"
                               "%3 = param \"h\" : bf16[1]\n"
                               "%4 = param \"none\" : f32[0, 1099511627776, 1099511627776]\n"
                               "%5 = param \"step\" : i64[]\n"
                               "output \"y\" %2\n";
    must(graph_parse(&f.graph, &f.arena, text, strlen(text), &f.err), &f.err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static const float weights[] = {1, 2, 3, 4};
static const int64_t step = 9;

static const struct package_param params[] = {
    {DTYPE_U8, "\1\2\3", 3}, {DTYPE_F32, weights, 16}, {DTYPE_BF16, "\x80\x3f", 2},
    {DTYPE_F32, NULL, 0},    {DTYPE_I64, &step, 8},
};

static struct strbuf written(struct fixture *f)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must(params_write(&f->graph, params, &out, &f->err), &f->err);
    return out;
}

static void layout(void **state)
{
    struct fixture *f = *state;
    struct strbuf file = written(f);
    static const char json[] =
        "{\"step\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"fc \\\"1\\\"\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,1099511627776,1099511627776],"
        "\"data_offsets\":[24,24]},"
        "\"h\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[24,26]},"
        "\"scale\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[26,29]}}";
    uint64_t header_bytes;
    memcpy(&header_bytes, file.data, 8);
    assert_int_equal((8 + header_bytes) % 64, 0);
    assert_true(header_bytes >= strlen(json) && header_bytes < strlen(json) + 64);
    assert_memory_equal(file.data + 8, json, strlen(json));
    for (size_t i = strlen(json); i < header_bytes; i++)
        assert_int_equal(file.data[8 + i], ' ');
    assert_int_equal(file.size_bytes, 8 + header_bytes + 29);
    assert_memory_equal(file.data + 8 + header_bytes, &step, 8);
}

static void reads_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    struct strbuf file = written(f);
    const char *aligned = arena_alloc(&f->arena, file.size_bytes, 64);
    memcpy((char *)aligned, file.data, file.size_bytes);
    struct package_param found[5];
    must(params_read(&f->graph, aligned, file.size_bytes, &f->arena, found, &f->err), &f->err);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(found[i].dtype, params[i].dtype);
        assert_int_equal(found[i].data_bytes, params[i].data_bytes);
        if (params[i].data_bytes > 0)
            assert_memory_equal(found[i].data, params[i].data, params[i].data_bytes);
        assert_int_equal((uintptr_t)found[i].data % dtype_bytes(found[i].dtype), 0);
    }
}

static void refuses_other_headers_and_sizes(void **state)
{
    struct fixture *f = *state;
    struct strbuf file = written(f);
    struct package_param found[5];
    size_t header_bytes = file.size_bytes - 29;
    for (size_t bit = 0; bit < header_bytes * 8; bit++) {
        file.data[bit / 8] = (char)(file.data[bit / 8] ^ 1 << bit % 8);
        must_fail(params_read(&f->graph, file.data, file.size_bytes, &f->arena, found, &f->err),
                  &f->err, ERR_PACKAGE, "header");
        file.data[bit / 8] = (char)(file.data[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t size = 0; size < file.size_bytes; size += 7)
        must_fail(params_read(&f->graph, file.data, size, &f->arena, found, &f->err), &f->err,
                  ERR_PACKAGE, "");
    strbuf_puts(&file, "x");
    must_fail(params_read(&f->graph, file.data, file.size_bytes, &f->arena, found, &f->err),
              &f->err, ERR_PACKAGE, "expected 29");
}

static void refuses_bad_params(void **state)
{
    struct fixture *f = *state;
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    struct package_param bad[5];
    memcpy(bad, params, sizeof bad);
    bad[1].data_bytes = 15;
    must_fail(params_write(&f->graph, bad, &out, &f->err), &f->err, ERR_PACKAGE, "fc \"1\"");
    bad[1] = params[1];
    bad[2].dtype = DTYPE_F16;
    must_fail(params_write(&f->graph, bad, &out, &f->err), &f->err, ERR_PACKAGE, "'h'");

    static const char *const texts[] = {
        "graph \"g\"\ndim B 1..4 multiple 1\n%1 = param \"w\" : f32[B]\noutput \"y\" %1\n",
        "graph \"g\"\n%1 = param \"__metadata__\" : f32[1]\noutput \"y\" %1\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct graph graph;
        must(graph_parse(&graph, &f->arena, texts[i], strlen(texts[i]), &f->err), &f->err);
        bool ok = params_write(&graph, params + 1, &out, &f->err);
        must_fail(ok, &f->err, ERR_PACKAGE, "");
        ok = params_read(&graph, out.data, out.size_bytes, &f->arena, bad, &f->err);
        must_fail(ok, &f->err, ERR_PACKAGE, "");
    }
}

static void no_params(void **state)
{
    struct fixture *f = *state;
    struct graph graph;
    graph_init(&graph, &f->arena);
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must(params_write(&graph, NULL, &out, &f->err), &f->err);
    assert_int_equal(out.size_bytes, 64);
    assert_memory_equal(out.data, "\x38\0\0\0\0\0\0\0{}  ", 12);
    must(params_read(&graph, out.data, 64, &f->arena, NULL, &f->err), &f->err);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(layout),
        TEST(reads_what_it_wrote),
        TEST(refuses_other_headers_and_sizes),
        TEST(refuses_bad_params),
        TEST(no_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
