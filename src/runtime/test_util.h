/* Shared by the tests of this folder: a small package with handwritten machine code, so that no
 * compiler is needed.
 *
 *     y = (x + 2w) + x,  s = (x + 2w) + (x + 2w)     x f32[B, 4], w f32[4]
 *
 * 2w is a prepared buffer; x + 2w is a temporary, computed in scratch memory. */
#ifndef URZA_RUNTIME_TEST_UTIL_H
#define URZA_RUNTIME_TEST_UTIL_H

/* cmocka.h needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/strbuf.h"
#include "runtime/runtime_priv.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static inline void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

/* As must_fail, for the public functions. */
static inline void must_give(int code, enum error_code expected, const urza_error *err,
                             const char *text)
{
    if (code != (int)expected ||
        (code != 0 && !strstr(err->message, text) && !strstr(err->place, text)))
        TEST_FAILED("expected %s '%s', got %s: %s: %s", error_name(expected), text,
                    urza_error_name(code), code ? err->place : "", code ? err->message : "");
}

static inline void must_work(int code, const urza_error *err)
{
    must_give(code, ERR_NONE, err, "");
}

/* x86-64 in the System V convention: rdi buffers, rdx scratch, rcx begin, r8 end. */
static const uint8_t test_code[] = {
    /* 0x00: for (i) out[i] = a[i] + a[i] */
    0x48, 0x8b, 0x17, 0x48, 0x8b, 0x47, 0x08, 0x4c, 0x39, 0xc1, 0x7d, 0x17, 0xf3, 0x0f, 0x10, 0x04,
    0x88, 0xf3, 0x0f, 0x58, 0xc0, 0xf3, 0x0f, 0x11, 0x04, 0x8a, 0x48, 0x83, 0xc1, 0x01, 0x49, 0x39,
    0xc8, 0x75, 0xe9, 0xc3,
    /* 0x24: for (i) { scratch = a[4i …]; out[4i …] = scratch + b } */
    0x4c, 0x8b, 0x17, 0x48, 0x8b, 0x47, 0x08, 0x4c, 0x8b, 0x4f, 0x10, 0x4c, 0x39, 0xc1, 0x7d, 0x62,
    0x48, 0xc1, 0xe1, 0x04, 0x49, 0x8d, 0x34, 0x0a, 0x48, 0x8d, 0x3c, 0x08, 0x49, 0xc1, 0xe0, 0x04,
    0x4d, 0x01, 0xd0, 0xeb, 0x0d, 0x48, 0x83, 0xc6, 0x10, 0x48, 0x83, 0xc7, 0x10, 0x4c, 0x39, 0xc6,
    0x74, 0x40, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x48, 0x8d, 0x0c, 0x10, 0xf3, 0x0f, 0x10, 0x04, 0x07,
    0xf3, 0x0f, 0x11, 0x01, 0x48, 0x83, 0xc0, 0x04, 0x48, 0x83, 0xf8, 0x10, 0x75, 0xe9, 0xb8, 0x00,
    0x00, 0x00, 0x00, 0x48, 0x8d, 0x0c, 0x02, 0xf3, 0x0f, 0x10, 0x01, 0xf3, 0x41, 0x0f, 0x58, 0x04,
    0x01, 0xf3, 0x0f, 0x11, 0x04, 0x06, 0x48, 0x83, 0xc0, 0x04, 0x48, 0x83, 0xf8, 0x10, 0x75, 0xe3,
    0xeb, 0xb3, 0xc3,
    /* 0x97: for (i) out[i] = a[i] + b[i] */
    0x48, 0x8b, 0x37, 0x48, 0x8b, 0x57, 0x08, 0x48, 0x8b, 0x47, 0x10, 0x4c, 0x39, 0xc1, 0x7d, 0x18,
    0xf3, 0x0f, 0x10, 0x04, 0x8a, 0xf3, 0x0f, 0x58, 0x04, 0x88, 0xf3, 0x0f, 0x11, 0x04, 0x8e, 0x48,
    0x83, 0xc1, 0x01, 0x49, 0x39, 0xc8, 0x75, 0xe8, 0xc3};

static const char test_graph[] = "graph \"t\"\n"
                                 "dim B 0..4194304 multiple 1 typical 8\n"
                                 "%1 = input \"x\" : f32[B, 4]\n"
                                 "%2 = param \"w\" : f32[4]\n"
                                 "%3 = add %2, %2 : f32[4]\n"
                                 "%4 = broadcast %3 {axes [1]} : f32[B, 4]\n"
                                 "%5 = add %1, %4 : f32[B, 4]\n"
                                 "%6 = add %5, %1 : f32[B, 4]\n"
                                 "%7 = add %5, %5 : f32[B, 4]\n"
                                 "output \"y\" %6\n"
                                 "output \"s\" %7\n";

/* %s: elements of the temporary. */
static const char test_plan[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"4*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"4*B\",\"index\":0,\"kind\":\"output\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"4*B\",\"index\":1,\"kind\":\"output\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"4\",\"index\":0,\"kind\":\"param\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"4\",\"kind\":\"prepared\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"%s\",\"kind\":\"temp\",\"value\":1}],"
    "\"format\":\"urza.plan/2\",\"forward\":["
    "{\"args\":[5,0,4],\"edges\":[],\"extent\":\"B\","
    "\"kernel\":1,\"label\":\"row\",\"scratch_bytes\":\"16\","
    "\"work\":\"8*B\",\"written\":1},"
    "{\"args\":[1,5,0],\"edges\":[],\"extent\":\"4*B\","
    "\"kernel\":2,\"label\":\"y\",\"scratch_bytes\":\"0\","
    "\"work\":\"4*B\",\"written\":1},"
    "{\"args\":[2,5,5],\"edges\":[],\"extent\":\"4*B\","
    "\"kernel\":2,\"label\":\"s\",\"scratch_bytes\":\"0\","
    "\"work\":\"4*B\",\"written\":1}],"
    "\"kernels\":3,\"prepare\":["
    "{\"args\":[4,3],\"edges\":[],\"extent\":\"4\","
    "\"kernel\":0,\"label\":\"double\",\"scratch_bytes\":\"0\","
    "\"work\":\"4\",\"written\":1}]}";

static const float test_w[4] = {0.5f, -1.25f, 3, 1e-3f};

struct test_package {
    struct arena arena;
    struct strbuf bytes;
    char id[KERNEL_ID_BYTES];
};

/* temp_elements NULL: no native code. key NULL: unsigned. */
static inline void test_package_make(struct test_package *out, const char *temp_elements,
                                     const struct signing_key *key)
{
    static const uint32_t offsets[] = {0, 0x24, 0x97};
    static const char *const names[] = {"double", "row", "add"};
    static const char *const configs[] = {"", "", ""};
    struct error err;
    arena_init(&out->arena);
    struct package_param param = {DTYPE_F32, test_w, sizeof test_w};
    struct package_contents *contents = ARENA_NEW(&out->arena, struct package_contents);
    *contents = (struct package_contents){
        .name = "t",
        .compiler = "by hand",
        .strategy = "fast",
        .blueprint_json = "{}",
        .blueprint_bytes = 2,
        .params = &param,
        .target_count = temp_elements ? 1 : 0,
        .evidence_json = "{}",
        .evidence_bytes = 2,
        .targets[0] = {.name = "x86-64-v2",
                       .code = test_code,
                       .code_bytes = sizeof test_code,
                       .kernel_count = 3,
                       .kernel_offsets = offsets,
                       .kernel_names = names,
                       .kernel_configs = configs},
    };
    must(graph_parse(&contents->graph, &out->arena, test_graph, strlen(test_graph), &err), &err);
    if (temp_elements) {
        struct strbuf plan;
        strbuf_init(&plan, &out->arena);
        const char *place = strstr(test_plan, "%s");
        strbuf_add(&plan, test_plan, (size_t)(place - test_plan));
        strbuf_puts(&plan, temp_elements);
        strbuf_puts(&plan, place + 2);
        must(plan_parse(&contents->targets[0].plan, &out->arena, &contents->graph.dims, plan.data,
                        plan.size_bytes, &err),
             &err);
    }
    strbuf_init(&out->bytes, &out->arena);
    must(package_write(contents, key, &out->bytes, out->id, &err), &err);
}

static inline void test_package_free(struct test_package *package)
{
    arena_release(&package->arena);
}

/* Loads the package; options NULL: unsigned packages are allowed. */
static inline urza_module *test_load(const char *temp_elements, const urza_load_options *options)
{
    urza_load_options allow = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    struct test_package package;
    urza_module *module = NULL;
    urza_error err;
    test_package_make(&package, temp_elements, NULL);
    must_work(urza_load_memory(package.bytes.data, package.bytes.size_bytes,
                               options ? options : &allow, &module, &err),
              &err);
    test_package_free(&package);
    return module;
}

/* A tensor and the memory of its shape and strides; f32[rows, 4] unless changed. */
struct test_tensor {
    DLTensor dl;
    int64_t shape[8];
    int64_t strides[8];
};

static inline void test_tensor_init(struct test_tensor *out, float *data, int64_t rows)
{
    *out = (struct test_tensor){.shape = {rows, 4}};
    out->dl = (DLTensor){
        .data = data,
        .device = {.device_type = kDLCPU},
        .ndim = 2,
        .dtype = {kDLFloat, 32, 1},
        .shape = out->shape,
    };
}

static inline float test_x(int64_t i)
{
    return (float)(i % 1000) * 0.37f - 11;
}

static inline float test_y(int64_t i)
{
    return test_x(i) + (test_w[i % 4] + test_w[i % 4]) + test_x(i);
}

static inline float test_s(int64_t i)
{
    float h = test_x(i) + (test_w[i % 4] + test_w[i % 4]);
    return h + h;
}

/* One call with `rows` rows in newly allocated dense memory; checks every element. */
static inline void test_call(urza_module *module, int64_t rows)
{
    size_t count = (size_t)rows * 4;
    float *x = malloc(count * sizeof *x + 1), *y = malloc(2 * count * sizeof *y + 1);
    float *s = y + count;
    urza_error err;
    struct test_tensor in, out[2];
    for (size_t i = 0; i < count; i++)
        x[i] = test_x((int64_t)i);
    test_tensor_init(&in, x, rows);
    test_tensor_init(&out[0], y, rows);
    test_tensor_init(&out[1], s, rows);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    must_work(urza_call(module, &in.dl, 1, outputs, 2, NULL, &err), &err);
    for (size_t i = 0; i < count; i++)
        if (y[i] != test_y((int64_t)i) || s[i] != test_s((int64_t)i))
            TEST_FAILED("%lld rows, element %zu: %g %g", (long long)rows, i, (double)y[i],
                        (double)s[i]);
    free(x);
    free(y);
}

static inline urza_stats test_stats(const urza_module *module)
{
    urza_stats stats;
    urza_stats_get(module, &stats);
    return stats;
}

#endif
