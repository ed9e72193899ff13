/* Archives of PyTorch. What is accepted verifies, and its blueprint reads back as the same graph.
 */
#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/import.h"
#include "fuzz.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    struct import_options options = {.seed = 1};
    struct blueprint first, second;
    struct strbuf before, after;
    struct error err = {0};
    if (!pt2_read(data, size, &options, arena, &first, &err)) {
        fuzz_require(err.code != ERR_NONE && err.code != ERR_BUG);
        return;
    }
    strbuf_init(&before, arena);
    strbuf_init(&after, arena);
    fuzz_require(graph_verify(&first.graph, &err));
    fuzz_require(blueprint_read(first.json, first.json_bytes, &options, arena, &second, &err));
    graph_print(&first.graph, &before);
    graph_print(&second.graph, &after);
    fuzz_require(strcmp(before.data, after.data) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
