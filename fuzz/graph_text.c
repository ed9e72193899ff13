/* Graphs in text form. What is accepted verifies, and printing and parsing it again is the
 * identity. */
#include <string.h>

#include "base/strbuf.h"
#include "fuzz.h"
#include "graph/graph.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    struct graph first, second;
    struct strbuf text, again;
    struct error err = {0};
    if (!graph_parse(&first, arena, (const char *)data, size, &err)) {
        fuzz_require(err.code != ERR_NONE && err.code != ERR_BUG);
        return;
    }
    fuzz_require(graph_verify(&first, &err));
    strbuf_init(&text, arena);
    strbuf_init(&again, arena);
    graph_print(&first, &text);
    fuzz_require(graph_parse(&second, arena, text.data, text.size_bytes, &err));
    graph_print(&second, &again);
    fuzz_require(text.size_bytes == again.size_bytes &&
                 memcmp(text.data, again.data, text.size_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
