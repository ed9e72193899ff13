/* Packages. What is accepted is written back to the same bytes, but for a signature, which only a
 * key could make again. */
#include <string.h>

#include "base/strbuf.h"
#include "fuzz.h"
#include "package/package.h"

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    static struct package_contents contents; /* plans point into it */
    struct error err = {0};
    char again[KERNEL_ID_BYTES];
    const uint8_t *entry;
    size_t entry_bytes;
    struct strbuf out;
    char *copy = arena_alloc(arena, size, 64);
    if (size > 0)
        memcpy(copy, data, size);
    bool is_signed = package_entry(copy, size, "signature", &entry, &entry_bytes, &err);
    memset(&contents, 0, sizeof contents);
    if (!package_read(copy, size, &(struct trust){TRUST_ALLOW_UNSIGNED, NULL}, arena, &contents,
                      &err)) {
        fuzz_require(err.code != ERR_NONE && err.code != ERR_BUG);
        return;
    }
    strbuf_init(&out, arena);
    fuzz_require(package_write(&contents, NULL, &out, again, &err));
    fuzz_require(strcmp(contents.id, again) == 0);
    fuzz_require(is_signed || (out.size_bytes == size && memcmp(out.data, data, size) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
