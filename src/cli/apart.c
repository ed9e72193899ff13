/* Work on what others wrote, in a child process: reading, folding and checking may take any time
 * and memory, or die of them. */
#include "cli/apart_priv.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "compiler/compile.h"
#include "verify/verify.h"

#define LEAST_MEMORY ((uint64_t)8 << 30)
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

/* What the machine has: more cannot end well. */
static uint64_t memory_limit(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    return bytes > LEAST_MEMORY ? bytes : LEAST_MEMORY;
}

bool apart_run(struct cli *cli, apart_fn *work, void *context, uint32_t timeout_ms, const char *who,
               struct child_answer *out, struct error *err)
{
    struct apart apart = {cli, work, context};
    struct child_limits limits = {.timeout_ms = timeout_ms, .memory_bytes = memory_limit()};
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

static bool verify_work(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct verification *v = context;
    struct verify_report report;
    struct verify_summary *summary = ARENA_NEW(cli->arena, struct verify_summary);
    struct strbuf evidence;
    strbuf_init(&evidence, cli->arena);
    if (!verify_package(v->bytes, v->size, v->options, cli->arena, &report, err))
        return false;
    verify_summarise(&report, summary);
    verify_print(&report, &evidence);
    out->parts[0] = (struct child_part){summary, sizeof *summary};
    out->parts[1] = (struct child_part){evidence.data, evidence.size_bytes};
    return true;
}

bool apart_verify(struct cli *cli, const void *bytes, size_t size,
                  const struct verify_options *options, struct verify_summary *out,
                  struct strbuf *evidence, struct error *err)
{
    struct verification verification = {bytes, size, options};
    struct child_answer answer;
    if (!apart_run(cli, verify_work, &verification, 0, "verification", &answer, err))
        return false;
    memcpy(out, answer.parts[0].data, sizeof *out);
    strbuf_add(evidence, answer.parts[1].data, answer.parts[1].size_bytes);
    return true;
}
