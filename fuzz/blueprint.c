/* Blueprints in any JSON dialect. What is accepted is native and canonical: reading it again gives
 * the same text and a graph that verifies. */
#include <string.h>

#include "compiler/import/import.h"
#include "fuzz.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    struct import_options options = {.seed = 1, .training = size % 2 != 0};
    struct blueprint first, second;
    struct error err = {0};
    if (!blueprint_read((const char *)data, size, &options, arena, &first, &err)) {
        fuzz_require(err.code != ERR_NONE && err.code != ERR_BUG);
        return;
    }
    fuzz_require(graph_verify(&first.graph, &err));
    fuzz_require(blueprint_read(first.json, first.json_bytes, &options, arena, &second, &err));
    fuzz_require(first.json_bytes == second.json_bytes &&
                 memcmp(first.json, second.json, first.json_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
