/* Streams of server-sent events: in whatever pieces a stream arrives, its events are the same. The
 * first byte says how large the pieces are. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "client/events.h"
#include "fuzz.h"

static bool add(void *context, const char *kind, const char *data)
{
    uint64_t *hash = context;
    *hash = hash64(kind, strlen(kind), *hash);
    *hash = hash64(data, strlen(data), *hash);
    return *hash % 16 != 0; /* some streams are given up */
}

static uint64_t read_pieces(const char *data, size_t size, size_t piece, bool *out_ok)
{
    uint64_t hash = 1;
    struct events *events = calloc(1, sizeof *events);
    fuzz_require(events != NULL);
    events->tell = add;
    events->context = &hash;
    events_begin(events);
    *out_ok = true;
    for (size_t at = 0; *out_ok && at < size; at += piece)
        *out_ok = events_take(events, data + at, size - at < piece ? size - at : piece);
    free(events);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool whole_ok, pieces_ok;
    if (size < 2)
        return 0;
    uint64_t whole = read_pieces((const char *)data + 1, size - 1, size, &whole_ok);
    uint64_t pieces = read_pieces((const char *)data + 1, size - 1, data[0] % 16 + 1u, &pieces_ok);
    fuzz_require(whole == pieces && whole_ok == pieces_ok);
    return 0;
}
