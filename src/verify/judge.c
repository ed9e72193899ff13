/* One launch against the interpreter. */
#include <math.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/verify_priv.h"

/* Cells of a reference run, all together; beyond it a size cannot be judged on a usual machine. */
#define REFERENCE_BYTES ((size_t)8 << 30)
/* Elements of one result that may be undetermined: what a rounding step or a comparison of nearly
 * equal numbers leaves open. More of them, and the result has not been checked. */
#define UNCHECKED_MOST 0.01
#define UNCHECKED_FEW 4 /* or so many, of a small one */

/* "y[3,17]" */
static void print_place(const struct interp_tensor *tensor, int64_t flat, char *out, size_t size)
{
    int64_t index[LIMIT_RANK];
    for (uint32_t i = tensor->rank; i-- > 0;) {
        int64_t dim = tensor->shape[i] > 0 ? tensor->shape[i] : 1;
        index[i] = flat % dim;
        flat /= dim;
    }
    int used = snprintf(out, size, "[");
    for (uint32_t i = 0; i < tensor->rank; i++)
        used += snprintf(out + used, size - (size_t)used, "%s%lld", i > 0 ? "," : "",
                         (long long)index[i]);
    snprintf(out + used, size - (size_t)used, "]");
}

/* Bools are 0 or 1: what other bytes mean differs between readers. */
static bool bools_clean(const struct interp_tensor *tensor, const uint8_t *data, int64_t *out_at)
{
    for (int64_t i = 0; tensor->dtype == DTYPE_BOOL && i < tensor->count; i++) {
        if (data[i] > 1) {
            *out_at = i;
            return false;
        }
    }
    return true;
}

static bool judge_result(const struct interp_tensor *expected, const void *native, bool must,
                         struct verdict *verdict, struct outcome *outcome)
{
    struct interp_difference found = {0};
    int64_t at = 0;
    char place[200];
    if (!bools_clean(expected, native, &at)) {
        print_place(expected, at, place, sizeof place);
        return outcome_fail(outcome, "the bool at %s is the byte %u", place,
                            ((const uint8_t *)native)[at]);
    }
    interp_compare(expected, native, &found);
    double unchecked =
        expected->count > 0 ? (double)found.undetermined / (double)expected->count : 0;
    verdict->elements += expected->count;
    verdict->checked += expected->count - found.undetermined;
    if (must)
        verdict->not_checked = fmax(verdict->not_checked, unchecked);
    verdict->ratio = fmax(verdict->ratio, isnan(found.worst_ratio) ? INFINITY : found.worst_ratio);
    if (!(found.worst_ratio <= 1)) {
        print_place(expected, found.worst_index, place, sizeof place);
        return outcome_fail(outcome, "%s is off by %.3g, bound %.3g", place, found.worst_absolute,
                            found.worst_bound);
    }
    if (must && unchecked > UNCHECKED_MOST && found.undetermined > UNCHECKED_FEW)
        return outcome_fail(outcome, "%lld of %lld elements cannot be checked",
                            (long long)found.undetermined, (long long)expected->count);
    return true;
}

bool judge_launch(const struct launch_case *c, const int64_t *dims, void *const *reads,
                  void *const *writes, bool must, uint32_t threads, struct verdict *out,
                  struct outcome *outcome)
{
    const struct graph *g = &c->graph;
    struct verdict verdict = {0};
    struct error err;
    struct arena arena;
    arena_init(&arena);
    struct interp_tensor *sources = ARENA_ARRAY(&arena, struct interp_tensor, g->inputs.count + 1);
    struct interp_tensor *expected = ARENA_ARRAY(&arena, struct interp_tensor, g->outputs.count);
    bool ok = true;
    for (uint32_t i = 0; ok && i < g->inputs.count; i++) {
        const struct node *node = graph_node(g, g->inputs.items[i]);
        int64_t shape[LIMIT_RANK];
        for (uint32_t d = 0; ok && d < node->rank; d++)
            ok = dim_eval(&g->dims, node->shape[d], dims, &shape[d]) ||
                 fail(&err, ERR_LIMIT, "a dim has no value");
        ok = ok && interp_load(&sources[i], &arena, (enum dtype)node->dtype, node->rank, shape,
                               reads[i], &err);
    }
    const struct interp_options options = {
        .mode = INTERP_REFERENCE, .memory_limit = REFERENCE_BYTES, .threads = threads};
    ok = ok && interp_run(g, &options, dims, sources, g->inputs.count, &arena, expected, &err);
    if (!ok)
        outcome_fail(outcome, "cannot be judged: %s: %s", error_name(err.code), err.message);
    for (uint32_t i = 0; ok && i < g->outputs.count; i++)
        ok = judge_result(&expected[i], writes[i], must, &verdict, outcome);
    arena_release(&arena);
    *out = verdict;
    return ok;
}
