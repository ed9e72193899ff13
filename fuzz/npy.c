/* NumPy files. What is accepted formats to a file that parses to the same elements. */
#include <string.h>

#include "base/npy.h"
#include "base/strbuf.h"
#include "fuzz.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    struct npy first, second;
    struct strbuf file;
    struct error err = {0};
    if (!npy_parse(data, size, arena, &first, &err)) {
        fuzz_require(err.code == ERR_PARSE || err.code == ERR_LIMIT);
        return;
    }
    strbuf_init(&file, arena);
    npy_format(&first, &file);
    fuzz_require(npy_parse(file.data, file.size_bytes, arena, &second, &err));
    fuzz_require(first.rank == second.rank && first.data_bytes == second.data_bytes &&
                 memcmp(first.data, second.data, first.data_bytes) == 0 &&
                 memcmp(first.shape, second.shape, first.rank * sizeof first.shape[0]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
