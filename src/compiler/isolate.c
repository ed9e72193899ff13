/* Compiling in a child process; see base/child.h. The answer has four parts: the result, whose
 * pointers are meaningless here, the package, the dump, the warnings. */
#include <stddef.h>
#include <string.h>

#include "base/child.h"
#include "compiler/compile_priv.h"

#define TIMEOUT_MS 120000

struct request {
    const char *text;
    size_t size;
    const struct compile_options *options;
};

void compile_in_child(void)
{
    static codegen_handler *const no_memory = child_no_memory;
    codegen_on_no_memory(&no_memory);
}

void compile_answer(const struct compile_result *result, struct arena *arena,
                    struct child_answer *out)
{
    struct compile_result *copy = ARENA_NEW(arena, struct compile_result);
    *copy = *result;
    out->parts[0] = (struct child_part){copy, sizeof *copy};
    out->parts[1] = (struct child_part){result->package, result->package_bytes};
    out->parts[3] = (struct child_part){result->warnings, result->warnings_bytes};
    if (result->dump)
        out->parts[2] = (struct child_part){result->dump, strlen(result->dump)};
}

static double sane(double ms)
{
    return ms >= 0 && ms < 1e9 ? ms : 0;
}

static bool is_kernel_id(const char id[KERNEL_ID_BYTES])
{
    return memcmp(id, "kernel-", 7) == 0 && id[KERNEL_ID_BYTES - 1] == '\0' &&
           strspn(id + 7, "0123456789abcdef") == KERNEL_ID_BYTES - 8;
}

bool compile_take_answer(const struct child_answer *answer, struct compile_result *out,
                         struct error *err)
{
    struct compile_result result;
    const unsigned char *bytes = answer->parts[0].data;
    char *warnings = (char *)(uintptr_t)answer->parts[3].data; /* in the receiver's arena, so
                                                                  writable */
    size_t warnings_bytes = answer->parts[3].size_bytes,
           cacheable = offsetof(struct compile_result, cacheable);
    if (answer->parts[0].size_bytes != sizeof result ||
        (warnings_bytes > 0 && warnings[warnings_bytes - 1] != '\0'))
        return fail(err, ERR_COMPILER_DIED, "the compiler's answer is damaged");
    memcpy(&result, bytes, sizeof result);
    result.cacheable = bytes[cacheable] == 1; /* a byte of the child may have any value, but a
                                               bool may not */
    result.package = answer->parts[1].data;
    result.package_bytes = answer->parts[1].size_bytes;
    result.dump = result.dump ? answer->parts[2].data : NULL;
    if (!is_kernel_id(result.kernel_id))
        return fail(err, ERR_COMPILER_DIED, "the compiler's answer names no kernel");
    for (size_t at = 0; at < warnings_bytes; at += strlen(warnings + at) + 1)
        child_clean(warnings + at, true);
    result.found = CACHE_NONE;
    result.held = NULL;
    result.warnings = warnings;
    result.warnings_bytes = warnings_bytes;
    for (int i = 0; i < STAGE_COUNT; i++)
        result.stages_ms[i] = sane(result.stages_ms[i]);
    result.total_ms = sane(result.total_ms);
    *out = result;
    return true;
}

static bool compile_body(void *context, struct arena *arena, struct child_answer *out,
                         struct error *err)
{
    const struct request *request = context;
    struct compile_result result;
    compile_in_child();
    if (!compile_blueprint(request->text, request->size, request->options, arena, &result, err))
        return false;
    compile_answer(&result, arena, out);
    return true;
}

bool compile_isolated(const char *text, size_t size, const struct compile_options *options,
                      struct arena *arena, struct compile_result *out, struct error *err)
{
    struct request request = {text, size, options};
    struct child_limits limits = {
        .timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS,
        .memory_bytes = options->memory_bytes ? options->memory_bytes : child_memory_most()};
    struct child_answer answer;
    if (compile_find(text, size, options, out))
        return true;
    struct child_exit end = child_run(compile_body, &request, &limits, arena, &answer, err);
    if (end.end != CHILD_DONE)
        return child_fail(end, &limits, "the compiler", ERR_COMPILER_DIED, err);
    return compile_take_answer(&answer, out, err);
}
