/* Recording the invocations that a compilation asks for, for inspection or later measuring. */
#include <string.h>

#include "base/error.h"
#include "tuner/visit_priv.h"

struct meeting {
    const struct recorder *recorder;
    const struct kernel_question *question;
};

static bool see(struct visit *visit, void *context, struct error *err)
{
    const struct meeting *meeting = context;
    const struct recorder *recorder = meeting->recorder;
    struct invocation invocation;
    struct error alone;
    if (meeting->question->group->prepare ||
        !invocation_make(meeting->question, &visit->arena, &invocation, &alone))
        return true;
    return recorder->see(recorder->context, invocation.json, err);
}

static bool choose(void *context, const struct kernel_question *question, struct config *out,
                   struct error *err)
{
    struct meeting meeting = {context, question};
    bool ok = visit_run(NULL, see, &meeting, err);
    sched_default(question->scheduling, out);
    return ok;
}

struct config_chooser recorder_chooser(struct recorder *recorder)
{
    return (struct config_chooser){choose, recorder};
}

struct keying {
    const char *record;
    char *out;
};

static bool find_key(struct visit *visit, void *context, struct error *err)
{
    const struct keying *keying = context;
    struct invocation invocation;
    if (!invocation_read(keying->record, strlen(keying->record), &visit->arena, &invocation, NULL,
                         err))
        return false;
    memcpy(keying->out, invocation.key, SHA256_HEX_BYTES);
    return true;
}

bool record_key(const char *record, char out[SHA256_HEX_BYTES], struct error *err)
{
    struct keying keying = {record, out};
    return visit_run(NULL, find_key, &keying, err);
}
