/* What moves more than it computes: normalisations and chains of elementwise operations. */

#include "base/strbuf.h"
#include "bench.h"

struct chain {
    const char *name;
    enum case_kind kind;
    const char *params[2]; /* of the rows' width, with their initial values' kind */
    bool residual;         /* a second input r */
    const char *nodes;
};

#define NODE(id, op, in) "{\"id\": \"" id "\", \"op\": \"" op "\", \"in\": [" in "]}"

static const struct chain chains[] = {
    {"softmax", CASE_SOFTMAX, {NULL}, false, NODE("y", "softmax", "\"x\"")},
    {"layer_norm",
     CASE_LAYER_NORM,
     {"uniform", "uniform"},
     false,
     NODE("y", "layer_norm", "\"x\", \"p0\", \"p1\"")},
    {"rms_norm", CASE_GRAPH, {"uniform"}, false, NODE("y", "rms_norm", "\"x\", \"p0\"")},
    {"gelu", CASE_GELU, {NULL}, false, NODE("y", "gelu", "\"x\"")},
    {"bias gelu",
     CASE_BIAS_GELU,
     {"uniform"},
     false,
     NODE("a", "add", "\"x\", \"p0\"") ", " NODE("y", "gelu", "\"a\"")},
    {"bias relu residual",
     CASE_BIAS_RELU_RESIDUAL,
     {"uniform"},
     true,
     NODE("a", "add", "\"x\", \"p0\"") ", " NODE("b", "relu", "\"a\"") ", " NODE("y", "add",
                                                                                 "\"b\", \"r\"")},
};

static const int64_t sizes[][2] = {
    {16, 256}, {128, 512}, {512, 1024}, {4096, 1024}, {16384, 1024}, /* 16 KB … 64 MB */
};

static const char *write_blueprint(struct arena *arena, const struct chain *chain, int64_t rows,
                                   int64_t width)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_puts(&text, "{\"format\": \"urza.blueprint/1\", \"name\": \"fused\", \"inputs\": [");
    for (int i = 0; i < 1 + chain->residual; i++)
        strbuf_printf(&text, "%s{\"id\": \"%s\", \"dtype\": \"f32\", \"shape\": [%lld, %lld]}",
                      i > 0 ? ", " : "", i == 0 ? "x" : "r", (long long)rows, (long long)width);
    strbuf_puts(&text, "], \"params\": [");
    for (int i = 0; i < 2 && chain->params[i]; i++)
        strbuf_printf(&text,
                      "%s{\"id\": \"p%d\", \"dtype\": \"f32\", \"shape\": [%lld], \"init\": "
                      "{\"kind\": \"%s\"}}",
                      i > 0 ? ", " : "", i, (long long)width, chain->params[i]);
    strbuf_printf(&text, "], \"nodes\": [%s], \"outputs\": [\"y\"]}", chain->nodes);
    return text.data;
}

void cases_fused(struct case_list *list, const char *variant)
{
    (void)variant;
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            const int64_t rows = sizes[k][0], width = sizes[k][1];
            struct bench_case *one = case_add(list, chains[i].kind, NULL, "%s %lldx%lld",
                                              chains[i].name, (long long)rows, (long long)width);
            one->rows.count = rows;
            one->rows.width = width;
            one->blueprint = write_blueprint(list->arena, &chains[i], rows, width);
        }
}
