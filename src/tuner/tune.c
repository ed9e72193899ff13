/* Tuning one kernel: the search over its configs, and the entry made of its results. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

struct telling {
    const struct tune_limits *limits;
    const char *op;
};

static void tell(void *user, const urza_tune_progress *progress)
{
    const struct telling *telling = user;
    urza_tune_progress copy = *progress;
    copy.op = telling->op;
    if (telling->limits->on_progress)
        telling->limits->on_progress(telling->limits->user, &copy);
}

/* The times of the candidates, the fastest first, in tenths of a nanosecond: clocks are no more
 * precise. */
static const char *print_timings(const struct bench *bench, const urza_search_row *rows,
                                 struct arena *arena)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_puts(&text, "[");
    for (uint32_t i = 0; i < bench_count(bench); i++) {
        if (rows[i].state == URZA_SEARCH_UNTRIED)
            continue;
        strbuf_puts(&text, text.size_bytes > 1 ? ",{\"config\":" : "{\"config\":");
        config_print(bench_config(bench, i), &text);
        strbuf_puts(&text, ",\"ns\":");
        strbuf_double(&text, round(rows[i].median * 10) / 10);
        strbuf_printf(&text, ",\"samples\":%u,\"state\":\"%s\"}", rows[i].samples,
                      urza_search_state_name(rows[i].state));
    }
    strbuf_puts(&text, "]");
    return text.data;
}

bool tune_case(struct kernel_case *kernel, const struct invocation *invocation,
               const struct tune_limits *limits, struct arena *arena, struct entry *out,
               struct error *err)
{
    struct bench *bench;
    struct telling telling = {limits, kernel->group->label};
    urza_search_options options = {
        .budget_s = limits->budget_s, .on_progress = tell, .user = &telling};
    uint32_t best;
    if (!bench_new(kernel, limits->candidates_max, arena, &bench, err))
        return fail_at(err, "kernel '%s'", kernel->group->label);
    urza_search_space space = bench_space(bench);
    urza_search_row *rows = ARENA_ARRAY(arena, urza_search_row, space.count);
    bool ok = search(&space, &options, rows, &best, arena, err);
    bench_free(bench);
    if (!ok)
        return fail_at(err, "kernel '%s'", kernel->group->label);
    *out = (struct entry){.invocation = invocation->json,
                          .measured = true,
                          .config = *bench_config(bench, best),
                          .ns = round(rows[best].median * 10) / 10,
                          .heuristic_ns = round(rows[0].median * 10) / 10,
                          .at = (int64_t)time(NULL),
                          .timings = print_timings(bench, rows, arena)};
    memcpy(out->key, invocation->key, sizeof out->key);
    return true;
}
