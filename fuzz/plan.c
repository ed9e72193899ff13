/* Plans, over two named dims. What is accepted is canonical after one printing. */
#include <string.h>

#include "base/strbuf.h"
#include "fuzz.h"
#include "package/plan.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    static const struct dim_name names[] = {{"B", 0, 64, 1, 8}, {"S", 4, 1 << 20, 4, 0}};
    struct dim_table dims;
    struct plan first, second;
    struct strbuf text, again, description;
    struct error err = {0};
    uint32_t index;
    dim_table_init(&dims, arena);
    for (int i = 0; i < 2; i++)
        fuzz_require(dim_declare(&dims, &names[i], &index, &err));
    if (!plan_parse(&first, arena, &dims, (const char *)data, size, &err)) {
        fuzz_require(err.code != ERR_NONE && err.code != ERR_BUG);
        return;
    }
    static const int64_t sizes[][2] = {{8, 4}, {1, 128}};
    for (uint32_t i = 0; i < first.forward.count; i++)
        for (int k = 0; k < 2; k++)
            fuzz_require(plan_code_at(&first, &first.forward.items[i], sizes[k])->kernel <
                         first.kernel_count);
    strbuf_init(&text, arena);
    strbuf_init(&again, arena);
    strbuf_init(&description, arena);
    plan_print(&first, &text);
    plan_describe(&first, &description);
    fuzz_require(plan_parse(&second, arena, &dims, text.data, text.size_bytes, &err));
    plan_print(&second, &again);
    fuzz_require(text.size_bytes == again.size_bytes &&
                 memcmp(text.data, again.data, text.size_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
