/* Work on untrusted input in a child process: parsing, folding and checking may take any time and
 * memory, or crash. */
#include "cli/isolated_priv.h"

#include "base/confine.h"
#include "base/error.h"
#include "build/order.h"
#include "cli/cli_priv.h"
#include "compiler/compile.h"

#define READ_MS 600000

struct task {
    const struct cli *cli;
    const struct isolated *isolated;
};

static bool work_isolated(void *context, struct arena *arena, struct child_answer *out,
                          struct error *err)
{
    const struct task *task = context;
    struct cli cli = *task->cli;
    cli.arena = arena; /* cli->arena jumps to a place in the parent */
    compile_in_child();
    return task->isolated->work(&cli, task->isolated->context, out, err);
}

void isolated_confine(struct cli *cli, const char *folder)
{
    confine_calls(&(struct confinement){.reads = folder, .closed = bundle_keys(cli)});
}

bool isolated_run(struct cli *cli, const struct isolated *isolated, struct child_answer *out,
                  struct error *err)
{
    struct task task = {cli, isolated};
    struct child_limits limits = {.timeout_ms = isolated->timeout_ms,
                                  .memory_bytes = child_memory_most()};
    limits.answer_bytes = limits.memory_bytes;
    struct child_exit end = child_run(work_isolated, &task, &limits, cli->arena, out, err);
    return end.end == CHILD_DONE || child_fail(end, &limits, isolated->who, ERR_COMPILER_DIED, err);
}

bool isolated_read(struct cli *cli, isolated_fn *work, void *context, struct child_answer *out,
                   struct error *err)
{
    const struct isolated isolated = {work, context, READ_MS, "the process that reads the file"};
    progress_begin(cli, "reading");
    bool ok = isolated_run(cli, &isolated, out, err);
    progress_end(cli);
    return ok;
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
    return order_verify_here(v->bytes, v->size, v->options, arena, out, err);
}

bool isolated_verify(struct cli *cli, const void *bytes, size_t size,
                     const struct verify_options *options, struct isolated_verdict *out,
                     struct error *err)
{
    struct verification verification = {bytes, size, options};
    struct child_answer answer;
    struct work_order work; /* for its limits only: the options contain trusted keys, which it
                               cannot encode */
    order_verify(bytes, size, options, cli->arena, &work);
    struct child_exit end =
        child_run(verify_work, &verification, &work.limits, cli->arena, &answer, err);
    if (end.end != CHILD_DONE)
        return child_fail(end, &work.limits, "verification", ERR_COMPILER_DIED, err);
    return order_take_verified(&answer, &out->summary, &out->evidence, &out->evidence_bytes, err);
}

void isolated_print_graph(const struct cli *cli, const struct child_answer *answer)
{
    if (cli->json)
        report_json(json_pack("{s:o}", "graph", report_text(answer->parts[0].data)));
    else
        report_block(stdout, answer->parts[0].data, answer->parts[0].size_bytes);
}
