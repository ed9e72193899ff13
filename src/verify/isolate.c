/* Adapts base/child.h to checks: a child that dies is a check that failed. */
#include "verify/isolate.h"

#include <signal.h>
#include <string.h>

#include "base/arena.h"
#include "base/child.h"

struct call {
    void (*body)(const void *argument, void *out);
    const void *argument;
    size_t out_bytes;
};

static bool call_body(void *context, struct arena *arena, struct child_answer *out,
                      struct error *err)
{
    const struct call *call = context;
    void *answer = arena_alloc(arena, call->out_bytes, 64);
    (void)err;
    call->body(call->argument, answer);
    out->parts[0] = (struct child_part){answer, call->out_bytes};
    return true;
}

static bool died(struct child_exit end, uint32_t timeout_s, struct error *err)
{
    if (end.end == CHILD_TIMED_OUT)
        return fail(err, ERR_VERIFY, "SIGALRM: still running after %u s", timeout_s);
    if (end.end == CHILD_NO_MEMORY)
        return fail(err, ERR_NOMEM, "a check ran out of memory");
    if (end.end != CHILD_SIGNAL)
        return fail(err, ERR_VERIFY, "the process ended with status %d", end.number);
    const char *name = sigabbrev_np(end.number);
    if (!name)
        return fail(err, ERR_VERIFY, "signal %d", end.number);
    return fail(err, ERR_VERIFY, "SIG%s: %s", name, sigdescr_np(end.number));
}

bool isolate(void (*body)(const void *argument, void *out), const void *argument, void *out,
             size_t out_bytes, uint32_t timeout_s, struct error *err)
{
    struct call call = {body, argument, out_bytes};
    struct child_limits limits = {.timeout_ms = timeout_s * 1000, .answer_bytes = out_bytes};
    struct child_answer answer;
    struct arena arena;
    arena_init(&arena);
    struct child_exit end = child_run(call_body, &call, &limits, &arena, &answer, err);
    bool ok = end.end == CHILD_DONE;
    if (ok)
        memcpy(out, answer.parts[0].data, out_bytes);
    arena_release(&arena);
    return ok || (end.end != CHILD_FAILED && died(end, timeout_s, err));
}
