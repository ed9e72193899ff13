/* Loop nests in text form. What is accepted verifies, and prints as text that reads back as itself.
 */
#include <string.h>

#include "base/strbuf.h"
#include "compiler/loop/loop.h"
#include "compiler/loop/text.h"
#include "fuzz.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    struct nest first, second;
    struct dim_table dims;
    struct strbuf text, again;
    struct error err = {0};
    if (!nest_parse(&first, &dims, arena, (const char *)data, size, &err)) {
        fuzz_require(err.code == ERR_PARSE || err.code == ERR_LIMIT);
        return;
    }
    fuzz_require(nest_verify(&first, &err));
    strbuf_init(&text, arena);
    strbuf_init(&again, arena);
    nest_print(&first, &text);
    fuzz_require(nest_parse(&second, &dims, arena, text.data, text.size_bytes, &err));
    nest_print(&second, &again);
    fuzz_require(text.size_bytes == again.size_bytes &&
                 memcmp(text.data, again.data, text.size_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
