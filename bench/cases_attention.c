/* Attention of all heads at once: one query over what was kept, and sequences. */
#include "base/strbuf.h"
#include "bench.h"

static void add_attention(struct case_list *list, int64_t heads, int64_t size, int64_t queries,
                          int64_t keys, bool causal)
{
    struct strbuf text;
    struct bench_case *one =
        case_add(list, CASE_GRAPH, NULL, "h%lld e%lld q%lld k%lld%s", (long long)heads,
                 (long long)size, (long long)queries, (long long)keys, causal ? " causal" : "");
    static const char *const names[] = {"q", "k", "v"};
    strbuf_init(&text, list->arena);
    strbuf_puts(&text, "{\"format\": \"urza.blueprint/1\", \"name\": \"attention\", \"inputs\": [");
    for (int i = 0; i < 3; i++)
        strbuf_printf(&text,
                      "%s{\"id\": \"%s\", \"dtype\": \"f32\", \"shape\": [1, %lld, %lld, %lld]}",
                      i > 0 ? ", " : "", names[i], (long long)heads,
                      (long long)(i == 0 ? queries : keys), (long long)size);
    strbuf_printf(&text,
                  "], \"nodes\": [{\"id\": \"y\", \"op\": \"scaled_dot_product_attention\", "
                  "\"in\": [\"q\", \"k\", \"v\"], \"attrs\": {\"is_causal\": %s}}], "
                  "\"outputs\": [\"y\"]}",
                  causal ? "true" : "false");
    one->blueprint = text.data;
}

void cases_attention(struct case_list *list, const char *variant)
{
    static const int64_t lengths[] = {128, 512, 2048};
    (void)variant;
    for (int64_t heads = 8; heads <= 16; heads += 8)
        for (int64_t size = 64; size <= 128; size += 64) {
            add_attention(list, heads, size, 1, 4096, false);
            for (int i = 0; i < 3; i++) {
                add_attention(list, heads, size, lengths[i], lengths[i], false);
                add_attention(list, heads, size, lengths[i], lengths[i], true);
            }
        }
}
