/* The driver: chooses sizes, makes one sample of each with its reference results, and runs every
 * check on every target of the package that this CPU has, each in a child of its own. What dies
 * becomes a failed check. */
#include "verify/verify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "verify/dims.h"
#include "verify/isolate.h"
#include "verify/verify_priv.h"

#define CHECK_SECONDS 300
#define DEFAULT_RANDOM_SIZES 2
#define MAX_RANDOM_SIZES 64
#define ODD_SIZE 13     /* beside every vector width */
#define RANDOM_SIZES 48 /* random sizes lie below, where ranges allow */
#define SIZE_COST \
    3e8 /* multiplications of the reference at any size but the typical one: a second or so */

struct size {
    int64_t dims[LIMIT_NAMED_DIMS];
    bool special;
};

struct run {
    const struct verify_options *options;
    struct package_contents contents;
    const char *targets[PACKAGE_TARGETS + 1];
    uint32_t target_count;
    VEC(struct size) sizes;
    struct arena *arena; /* of the report */
    VEC(struct verify_check) checks;
};

/* The size unless it is there already. */
static void add_size(struct run *run, const struct size *size)
{
    uint32_t names = run->contents.graph.dims.names.count;
    for (uint32_t i = 0; i < run->sizes.count; i++)
        if (memcmp(run->sizes.items[i].dims, size->dims, names * sizeof size->dims[0]) == 0 &&
            run->sizes.items[i].special == size->special)
            return;
    VEC_PUSH(run->arena, &run->sizes, *size);
}

/* What the interpreter multiplies, roughly: elements of all values, times the depth of sums of
 * products. */
static double size_cost(const struct graph *graph, const struct size *size)
{
    double cost = 0;
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        double elements = 1, depth = 1;
        int64_t dim = 0;
        for (uint32_t i = 0; i < n->rank; i++)
            elements *= dim_eval(&graph->dims, n->shape[i], size->dims, &dim) ? (double)dim : 1;
        const struct node *w = n->operand_count == 2 ? graph_node(graph, n->operands[1]) : NULL;
        uint32_t first = n->prim == PRIM_CONV ? 1 : w ? (uint32_t)w->rank - n->attrs->contract : 0;
        for (uint32_t i = first; (n->prim == PRIM_CONV || n->prim == PRIM_CONTRACT) && i < w->rank;
             i++)
            depth *= dim_eval(&graph->dims, w->shape[i], size->dims, &dim) ? (double)dim : 1;
        cost += elements * depth;
    }
    return cost;
}

/* Every dim at wish, or drawn by key; smaller where that costs too much. */
static void add_wish(struct run *run, int64_t wish, uint64_t key, bool special)
{
    const struct dim_table *dims = &run->contents.graph.dims;
    struct size size = {.special = special};
    for (int64_t shrink = 1; shrink <= RANDOM_SIZES; shrink *= 2) {
        for (uint32_t i = 0; i < dims->names.count; i++) {
            int64_t at = key != 0 ? 1 + rng_u32(key, i) % RANDOM_SIZES : wish;
            size.dims[i] = dims_legal(&dims->names.items[i], at / shrink);
        }
        if (size_cost(&run->contents.graph, &size) <= SIZE_COST)
            break;
    }
    add_size(run, &size);
}

/* Typical first: the checks that need one size take that. */
static bool choose_sizes(struct run *run, struct error *err)
{
    const struct verify_options *options = run->options;
    struct size first = {0};
    if (!dims_choose(&run->contents.graph.dims, options->dims, first.dims, err))
        return false;
    add_size(run, &first);
    if (options->dims) {
        first.special = true;
        add_size(run, &first);
        return true;
    }
    add_wish(run, 0, 0, false);
    add_wish(run, ODD_SIZE, 0, false);
    add_wish(run, ODD_SIZE, 0, true);
    uint32_t count = options->size_count > 0 ? options->size_count : DEFAULT_RANDOM_SIZES;
    for (uint32_t i = 0; i < count && i < MAX_RANDOM_SIZES; i++)
        add_wish(run, 0, rng_key(options->seed + i), false);
    return true;
}

/* "function x86-64-v4 B=8 S=3" */
static const char *check_name(struct run *run, const char *what, const char *target,
                              const struct size *size)
{
    const struct dim_table *dims = &run->contents.graph.dims;
    struct strbuf name;
    strbuf_init(&name, run->arena);
    strbuf_printf(&name, "%s %s", what, target);
    for (uint32_t i = 0; size && i < dims->names.count; i++)
        strbuf_printf(&name, " %s=%lld", dims->names.items[i].name, (long long)size->dims[i]);
    if (size && size->special)
        strbuf_puts(&name, " special");
    return name.data;
}

struct job {
    check_fn *check;
    const struct subject *subject;
};

static void run_job(const void *argument, void *out)
{
    const struct job *job = argument;
    job->check(job->subject, out);
}

static bool add_check(struct run *run, check_fn *check, const struct subject *subject,
                      const char *name, struct error *err)
{
    struct job job = {check, subject};
    struct outcome outcome = {0};
    struct error death = {0};
    if (!isolate(run_job, &job, &outcome, sizeof outcome, CHECK_SECONDS, &death)) {
        if (death.code != ERR_VERIFY) {
            *err = death;
            return false;
        }
        outcome.bound = check == check_function ? 1 : 0;
        outcome_fail(&outcome, "%s", death.message);
    }
    struct verify_check row = {name, outcome.pass, outcome.figure, outcome.bound,
                               arena_strdup(run->arena, outcome.detail)};
    VEC_PUSH(run->arena, &run->checks, row);
    return true;
}

/* Checks of one target that need one size only. */
static bool check_once(struct run *run, const struct subject *subject, struct error *err)
{
    static const struct {
        check_fn *check;
        const char *name;
    } rows[] = {
        {check_repeat, "repeatable"},
        {check_threads, "threads"},
        {check_reshaping, "resizing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].check == check_reshaping && !subject->other)
            continue;
        const char *name = check_name(run, rows[i].name, subject->target, NULL);
        if (!add_check(run, rows[i].check, subject, name, err))
            return false;
    }
    return true;
}

static bool check_size(struct run *run, uint32_t index, const void *bytes, size_t size,
                       struct error *err)
{
    const struct size *dims = &run->sizes.items[index];
    const struct package_contents *contents = &run->contents;
    struct sample sample, other;
    struct arena arena;
    arena_init(&arena);
    uint64_t seed = run->options->seed + index * 1000003u;
    bool ok = sample_make(&sample, &contents->graph, contents->params, dims->dims, seed,
                          dims->special, &arena, err) &&
              sample_expect(&sample, &arena, err);
    bool once = index == 0, resize = once && !run->options->dims &&
                                     contents->graph.dims.names.count > 0 && run->sizes.count > 1;
    ok = ok && (!resize || sample_make(&other, &contents->graph, contents->params,
                                       run->sizes.items[1].dims, seed, false, &arena, err));
    for (uint32_t i = 0; ok && i < run->target_count; i++) {
        struct subject subject = {bytes,           size,    run->options,
                                  run->targets[i], &sample, resize ? &other : NULL};
        bool interpreted = i + 1 == run->target_count;
        if (interpreted) { /* slow, and none of the package's code: once, at the smallest size there
                              is */
            if (index == (run->sizes.count > 1 && !run->options->dims ? 1u : 0u))
                ok = add_check(run, check_function, &subject,
                               check_name(run, "function", subject.target, dims), err);
            continue;
        }
        ok = add_check(run, check_function, &subject,
                       check_name(run, "function", subject.target, dims), err) &&
             add_check(run, check_bounds, &subject, check_name(run, "bounds", subject.target, dims),
                       err) &&
             (!once || check_once(run, &subject, err));
    }
    arena_release(&arena);
    return ok;
}

bool verify_package(const void *bytes, size_t size, const struct verify_options *options,
                    struct arena *arena, struct verify_report *out, struct error *err)
{
    struct run run = {.options = options, .arena = arena};
    char id[KERNEL_ID_BYTES];
    void *copy = arena_alloc(arena, size, 64); /* package_read wants it aligned */
    memcpy(copy, bytes, size);
    if (!package_read(copy, size, options->allow_unsigned ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE,
                      options->trusted, arena, &run.contents, id, err) ||
        !choose_sizes(&run, err))
        return false;
    for (uint32_t i = 0; i < run.contents.target_count; i++)
        if (target_supported_here(run.contents.targets[i].name))
            run.targets[run.target_count++] = run.contents.targets[i].name;
    run.targets[run.target_count++] = "interpreter";
    for (uint32_t i = 0; i < run.sizes.count; i++)
        if (!check_size(&run, i, copy, size, err))
            return false;
    struct verify_report report = {run.checks.items, run.checks.count, true};
    for (uint32_t i = 0; i < report.count; i++)
        report.pass = report.pass && report.checks[i].pass;
    *out = report;
    return true;
}

/* JSON has no infinity: null stands for "beyond all bounds". */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Details quote what failed, cut to size: what is no UTF-8 loses its other characters. */
static json_t *detail(const char *text)
{
    json_t *whole = json_string(text);
    char ascii[sizeof((struct outcome *)0)->detail] = "";
    for (size_t i = 0; !whole && text[i] && i + 1 < sizeof ascii; i++)
        ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    return whole ? whole : json_string(ascii);
}

void verify_print(const struct verify_report *report, struct strbuf *out)
{
    json_t *checks = json_array();
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *c = &report->checks[i];
        json_array_append_new(checks,
                              json_pack("{s:s, s:b, s:o, s:o, s:o}", "name", c->name, "pass",
                                        c->pass, "figure", number(c->figure), "bound",
                                        number(c->bound), "detail", detail(c->detail)));
    }
    json_t *root = json_pack("{s:s, s:b, s:o}", "format", "urza.evidence/1", "pass", report->pass,
                             "checks", checks);
    json_write_canonical(root, out);
    json_decref(root);
}
