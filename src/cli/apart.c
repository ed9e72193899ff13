/* Work on what others wrote, in a child process: reading, folding and checking may take any time
 * and memory, or die of them. */
#include "cli/apart_priv.h"

#include "base/confine.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "build/work.h"
#include "cli/cli_priv.h"
#include "compiler/compile.h"
#include "verify/verify.h"

#define READ_MS 600000

struct apart {
    const struct cli *cli;
    apart_fn *work;
    void *context;
};

static bool work_apart(void *context, struct arena *arena, struct child_answer *out,
                       struct error *err)
{
    const struct apart *apart = context;
    struct cli cli = *apart->cli;
    cli.arena = arena; /* the other one jumps to where the parent would end */
    compile_in_child();
    return apart->work(&cli, apart->context, out, err);
}

void apart_confine(struct cli *cli, const char *folder)
{
    confine_calls(&(struct confinement){.reads = folder, .closed = bundle_keys(cli)});
}

bool apart_run(struct cli *cli, apart_fn *work, void *context, uint32_t timeout_ms, const char *who,
               struct child_answer *out, struct error *err)
{
    struct apart apart = {cli, work, context};
    struct child_limits limits = {.timeout_ms = timeout_ms, .memory_bytes = child_memory_most()};
    limits.answer_bytes = limits.memory_bytes;
    struct child_exit end = child_run(work_apart, &apart, &limits, cli->arena, out, err);
    return end.end == CHILD_DONE || child_fail(end, &limits, who, ERR_COMPILER_DIED, err);
}

bool apart_read(struct cli *cli, apart_fn *work, void *context, struct child_answer *out,
                struct error *err)
{
    return apart_run(cli, work, context, READ_MS, "the process that reads the file", out, err);
}

struct verification {
    const void *bytes;
    size_t size;
    const struct verify_options *options;
};

static bool verify_work(void *context, struct arena *arena, struct child_answer *out,
                        struct error *err)
{
    const struct verification *v = context;
    compile_in_child();
    return work_verify_here(v->bytes, v->size, v->options, arena, out, err);
}

bool apart_verify(struct cli *cli, const void *bytes, size_t size,
                  const struct verify_options *options, struct verify_summary *out,
                  struct strbuf *evidence, struct error *err)
{
    struct verification verification = {bytes, size, options};
    struct child_answer answer;
    struct work_order work; /* for its limits: the options have trusted keys beside */
    const char *text;
    size_t bytes_of_text;
    work_verify(bytes, size, options, cli->arena, &work);
    struct child_exit end =
        child_run(verify_work, &verification, &work.limits, cli->arena, &answer, err);
    if (end.end != CHILD_DONE)
        return child_fail(end, &work.limits, "verification", ERR_COMPILER_DIED, err);
    if (!work_take_verified(&answer, out, &text, &bytes_of_text, err))
        return false;
    strbuf_add(evidence, text, bytes_of_text);
    return true;
}
