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

/* A check as it crosses the pipe; texts are offsets into the second part. */
struct check_row {
    double figure, bound;
    uint64_t name, detail;
    bool pass;
};

struct verification {
    const void *bytes;
    size_t size;
    const struct verify_options *options;
};

static uint64_t add_text(struct strbuf *texts, const char *text)
{
    uint64_t at = texts->size_bytes;
    strbuf_add(texts, text, strlen(text) + 1);
    return at;
}

static bool verify_work(struct cli *cli, void *context, struct child_answer *out, struct error *err)
{
    const struct verification *v = context;
    struct verify_report report;
    struct strbuf texts;
    if (!verify_package(v->bytes, v->size, v->options, cli->arena, &report, err))
        return false;
    struct check_row *rows = ARENA_ARRAY(cli->arena, struct check_row, report.count);
    strbuf_init(&texts, cli->arena);
    for (uint32_t i = 0; i < report.count; i++) {
        const struct verify_check *check = &report.checks[i];
        rows[i] = (struct check_row){check->figure, check->bound, add_text(&texts, check->name),
                                     add_text(&texts, check->detail), check->pass};
    }
    out->parts[0] = (struct child_part){rows, report.count * sizeof *rows};
    out->parts[1] = (struct child_part){texts.data, texts.size_bytes};
    return true;
}

bool apart_verify(struct cli *cli, const void *bytes, size_t size,
                  const struct verify_options *options, struct verify_report *out,
                  struct error *err)
{
    struct verification verification = {bytes, size, options};
    struct child_answer answer;
    if (!apart_run(cli, verify_work, &verification, 0, "verification", &answer, err))
        return false;
    const struct check_row *rows = answer.parts[0].data;
    const char *texts = answer.parts[1].data;
    size_t count = answer.parts[0].size_bytes / sizeof *rows;
    struct verify_report report = {ARENA_ARRAY(cli->arena, struct verify_check, count),
                                   (uint32_t)count, true};
    for (size_t i = 0; i < count; i++) {
        report.checks[i] = (struct verify_check){texts + rows[i].name, rows[i].pass, rows[i].figure,
                                                 rows[i].bound, texts + rows[i].detail};
        report.pass = report.pass && rows[i].pass;
    }
    *out = report;
    return true;
}
