/* Records of what a compilation meets, for whoever wants to look at them or measure them later. */
#include <string.h>

#include "base/error.h"
#include "tuner/tuner_priv.h"

static bool choose(void *context, const struct kernel_question *question, struct config *out,
                   struct error *err)
{
    const struct recorder *recorder = context;
    struct arena arena;
    struct invocation invocation;
    struct error alone;
    bool ok = true;
    arena_init(&arena);
    if (!question->group->prepare && invocation_make(question, &arena, &invocation, &alone))
        ok = recorder->see(recorder->context, invocation.json, err);
    arena_release(&arena);
    sched_default(question->scheduling, out);
    return ok;
}

struct config_chooser recorder_chooser(struct recorder *recorder)
{
    return (struct config_chooser){choose, recorder};
}

bool record_key(const char *record, char out[SHA256_HEX_BYTES], struct error *err)
{
    struct arena arena;
    struct invocation invocation;
    arena_init(&arena);
    bool ok = invocation_read(record, strlen(record), &arena, &invocation, NULL, err);
    arena_release(&arena);
    if (ok)
        memcpy(out, invocation.key, SHA256_HEX_BYTES);
    return ok;
}
