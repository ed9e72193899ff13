/* Keys whose compilation failed. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "registry/registry_priv.h"

enum blames failure_blames(enum error_code code)
{
    switch (code) {
    case ERR_JSON:
    case ERR_BLUEPRINT:
    case ERR_SHAPE:
    case ERR_UNSUPPORTED:
    case ERR_COMPILE:
    case ERR_PARSE:
    case ERR_TARGET:
    case ERR_INPUT:
    case ERR_VERIFY:
    case ERR_BUG: return BLAMES_BLUEPRINT;
    case ERR_COMPILER_DIED:
    case ERR_LIMIT: return BLAMES_COMPILER;
    case ERR_NONE:
    case ERR_USAGE:
    case ERR_IO:
    case ERR_NOT_FOUND:
    case ERR_PACKAGE:
    case ERR_SIGNATURE:
    case ERR_NOMEM:
    case ERR_CANCELLED:
    case ERR_CONFLICT:
    case ERR_BUSY:
    case ERR_TOKEN:
    case ERR_SCOPE:
    case ERR_METHOD:
    case ERR_MEDIA:
    case ERR_CONNECTION:
    case ERR_PROTOCOL:
    case ERR_SPACE:
    case ERR_COUNT: break;
    }
    return BLAMES_NOBODY;
}

/* Whether the failed compiler had a lower limit than this attempt, so that its death does not
 * predict the attempt's. */
static bool had_less(const struct failure_record *failure, const struct attempt *attempt)
{
    return failure->deaths > 0 && (failure->timeout_seconds < attempt->timeout_seconds ||
                                   failure->memory_mb < attempt->memory_mb);
}

struct noting {
    const struct attempt *attempt;
    const struct error *why;
    struct failure_record failure;
};

static bool note_body(struct edit *edit, void *context, struct error *err)
{
    struct noting *noting = context;
    const struct attempt *attempt = noting->attempt;
    void *found = NULL;
    if (!edit_find(edit, RECORD_failure, attempt->key, &found, err))
        return false;
    const struct failure_record *old = found;
    bool death = failure_blames(noting->why->code) == BLAMES_COMPILER;
    int64_t deaths = old && !had_less(old, attempt) ? old->deaths : 0;
    noting->failure = (struct failure_record){.head.id = attempt->key,
                                              .head.revision = old ? old->head.revision : 0,
                                              .error = error_name(noting->why->code),
                                              .message = noting->why->message,
                                              .place = noting->why->place,
                                              .code = error_exit(noting->why->code),
                                              .blueprint = attempt->blueprint,
                                              .deaths = death ? deaths + 1 : 0,
                                              .timeout_seconds = attempt->timeout_seconds,
                                              .memory_mb = attempt->memory_mb,
                                              .compiler = attempt->compiler,
                                              .at_ms = edit->now_ms};
    edit_put(edit, RECORD_failure, old ? EXPECT_SAME : EXPECT_NEW, &noting->failure);
    return true;
}

bool registry_note_failure(struct registry *registry, const struct attempt *attempt,
                           const struct error *why, struct error *err)
{
    struct noting noting = {.attempt = attempt, .why = why};
    return failure_blames(why->code) == BLAMES_NOBODY ||
           registry_edit(registry, note_body, &noting, err);
}

bool registry_find_failure(struct registry *registry, const struct attempt *attempt,
                           struct arena *arena, bool *out_settled, struct error *out_why,
                           struct error *err)
{
    void *found = NULL;
    *out_settled = false;
    if (!catalogue_get(registry->catalogue, RECORD_failure, attempt->key, arena, &found, err))
        return false;
    const struct failure_record *failure = found;
    enum error_code code = failure ? error_of_exit((int)failure->code) : ERR_NONE;
    if (code == ERR_NONE || had_less(failure, attempt) ||
        (failure->deaths > 0 && failure->deaths < FAILURE_DEATHS))
        return true;
    *out_settled = true;
    fail(out_why, code, "%s", failure->message);
    snprintf(out_why->place, sizeof out_why->place, "%s", failure->place);
    return true;
}

static bool forget_body(struct edit *edit, void *context, struct error *err)
{
    void *found;
    if (!edit_get(edit, RECORD_failure, context, &found, err))
        return false;
    edit_remove(edit, RECORD_failure, found);
    return true;
}

bool registry_forget_failure(struct registry *registry, const char *key, struct error *err)
{
    return registry_edit(registry, forget_body, (void *)(uintptr_t)key, err);
}
