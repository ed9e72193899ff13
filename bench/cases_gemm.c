/* Matrix products: squares, single rows, and the shapes of layers in known networks. */
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "bench.h"

static const int64_t shapes[][3] = {
    /* m, n, k */
    {64, 64, 64},       {128, 128, 128},  {256, 256, 256},  {512, 512, 512}, {1024, 1024, 1024},
    {2048, 2048, 2048}, {1, 1024, 1024},  {1, 4096, 4096},  {8, 4096, 1024}, {32, 1024, 4096},
    {128, 768, 768},    {128, 3072, 768}, {512, 64, 64},    {3136, 64, 576}, {196, 512, 2304},
    {197, 768, 768},    {49, 2048, 512},  {2048, 2048, 64},
};

/* x[M, K] times y[K, N], or times the transpose of a parameter w[N, K]. */
static const char *write_blueprint(struct arena *arena, const struct gemm *gemm, bool dynamic)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_puts(&text, "{\"format\": \"urza.blueprint/1\", \"name\": \"gemm\", ");
    if (dynamic)
        strbuf_puts(&text, "\"dims\": {\"M\": {\"min\": 1, \"max\": 8192}}, ");
    strbuf_puts(&text, "\"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [");
    if (dynamic)
        strbuf_puts(&text, "\"M\"");
    else
        strbuf_printf(&text, "%lld", (long long)gemm->m);
    strbuf_printf(&text, ", %lld]}", (long long)gemm->k);
    if (!gemm->packed)
        strbuf_printf(&text, ", {\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [%lld, %lld]}],",
                      (long long)gemm->k, (long long)gemm->n);
    else
        strbuf_printf(&text,
                      "], \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [%lld, %lld],"
                      " \"init\": {\"kind\": \"kaiming_uniform\"}}],",
                      (long long)gemm->n, (long long)gemm->k);
    strbuf_printf(&text,
                  "\"nodes\": [{\"id\": \"y\", \"op\": \"%s\", \"in\": [\"x\", \"w\"]}],"
                  "\"outputs\": [\"y\"]}",
                  gemm->packed ? "linear" : "matmul");
    return text.data;
}

static void add_variant(struct case_list *list, const char *variant)
{
    bool dynamic = strcmp(variant, "dynamic") == 0;
    bool packed = dynamic || strcmp(variant, "packed") == 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char dims[32];
        const int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
        snprintf(dims, sizeof dims, "M=%lld", (long long)m);
        struct bench_case *one =
            case_add(list, CASE_GEMM, dynamic ? dims : NULL, "%lldx%lldx%lld %s", (long long)m,
                     (long long)n, (long long)k, variant);
        one->gemm = (struct gemm){.m = m, .n = n, .k = k, .packed = packed};
        one->terms = k;
        one->blueprint = write_blueprint(list->arena, &one->gemm, dynamic);
    }
}

void cases_gemm(struct case_list *list, const char *variant)
{
    static const char *const variants[] = {"plain", "packed", "dynamic"};
    for (int i = 0; i < 3; i++)
        if (variant ? strcmp(variant, variants[i]) == 0 : i < 2)
            add_variant(list, variants[i]);
}
