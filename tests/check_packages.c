/* Runs packages where there is no compiler, and compares what they give with the float64 reference:
 * those of a folder, or files.
 *
 * check-packages [--verify] [--on TARGET] PATH...
 *
 * For other processors, whose programs are built and packages compiled elsewhere; the runtime and
 * the validator are the whole of it. Each package is called at small sizes, on usual numbers, on
 * zeros, subnormals and the like, and on all magnitudes, with one thread and in many chunks;
 * --verify verifies it in full. --on: whatever else a package has code for, this target's is what
 * must be taken here; "interpreter": none may be. One line for each that is not right; the last
 * line counts.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "package/package.h"
#include "verify/dims.h"
#include "verify/sample.h"
#include "verify/verify.h"

#define PACKAGE_BYTES ((size_t)1 << 30)
#define CHUNKS 5

struct counts {
    uint32_t packages, wrong;
};

struct wish {
    bool in_full;
    const char *target; /* whose code must be taken; NULL: any, but not the interpreter */
    bool interpreted;   /* that is the interpreter */
};

struct checked {
    const char *bytes;
    size_t size;
    struct package_contents contents;
    const struct wish *wish;
    struct arena *arena;
};

static void *const *outputs_of(const struct sample *sample, struct arena *arena)
{
    void **outputs = ARENA_ARRAY(arena, void *, sample->output_count);
    for (uint32_t i = 0; i < sample->output_count; i++) {
        outputs[i] = arena_alloc(arena, sample->outputs[i].bytes, 64);
        memset(outputs[i], 0xa5, sample->outputs[i].bytes);
    }
    return outputs;
}

static urza_module *load(const struct checked *c, uint32_t chunks, struct error *err)
{
    const urza_load_options options = {
        .trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = chunks > 0 ? 2 : 1, .chunks = chunks};
    urza_module *module = NULL;
    urza_error failure = {0};
    if (urza_load_memory(c->bytes, c->size, &options, &module, &failure) != 0)
        fail(err, (enum error_code)failure.code, "%s %s", failure.place, failure.message);
    return module;
}

static bool takes(const struct checked *c, const char *target, struct error *err)
{
    urza_module *module = load(c, 0, err);
    if (!module)
        return false;
    const char *taken = urza_target(module);
    bool ok = strcmp(taken, target) == 0 || fail(err, ERR_VERIFY, "is run by code for %s", taken);
    urza_unload(module);
    return ok;
}

/* By what the wish says, with so many chunks, and as near to the reference as its bounds say. */
static bool call(const struct checked *c, const struct sample *sample, uint32_t chunks,
                 struct error *err)
{
    urza_stats stats;
    struct interp_difference worst;
    uint32_t output;
    urza_module *module = load(c, chunks, err);
    if (!module)
        return false;
    void **inputs = ARENA_ARRAY(c->arena, void *, sample->input_count + 1);
    for (uint32_t i = 0; i < sample->input_count; i++)
        inputs[i] = sample->inputs[i].data;
    void *const *outputs = outputs_of(sample, c->arena);
    bool ok = sample_call(sample, module, inputs, outputs, err);
    urza_stats_get(module, &stats);
    if (ok && !c->wish->interpreted && stats.native_calls != stats.calls)
        ok = fail(err, ERR_VERIFY, "was interpreted: %s", stats.last_fallback);
    urza_unload(module);
    if (!ok)
        return false;
    sample_compare(sample, outputs, &worst, &output);
    return worst.worst_ratio <= 1 || fail(err, ERR_VERIFY, "output %u is off by %g, bound %g",
                                          output, worst.worst_absolute, worst.worst_bound);
}

static bool check_at(const struct checked *c, int64_t wish, enum fill fill, struct error *err)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    const struct dim_table *table = &c->contents.graph.dims;
    struct sample sample;
    for (uint32_t i = 0; i < table->names.count; i++)
        dims[i] = dims_legal(&table->names.items[i], wish + i);
    const struct sample_request wanted = {
        &c->contents.graph, c->contents.params, dims, (uint64_t)wish, fill, NULL};
    return sample_make(&sample, &wanted, c->arena, err) && sample_expect(&sample, c->arena, err) &&
           call(c, &sample, 0, err) && call(c, &sample, CHUNKS, err);
}

static bool check_calls(struct checked *c, struct error *err)
{
    static const struct {
        int64_t wish;
        enum fill fill;
    } tries[] = {{5, FILL_NORMAL}, {13, FILL_FINITE}, {1, FILL_WIDE}};
    bool named = c->contents.graph.dims.names.count > 0;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        if ((i < 2 || named) && !check_at(c, tries[i].wish, tries[i].fill, err))
            return false;
    return true;
}

static bool verify(const struct checked *c, struct error *err)
{
    const struct verify_options options = {
        .seed = 5, .size_count = 1, .allow_unsigned = true, .timeout_s = 3000};
    struct verify_report report;
    struct verify_summary summary;
    if (!verify_package(c->bytes, c->size, &options, c->arena, &report, err))
        return false;
    verify_summarise(&report, &summary);
    return summary.pass || fail(err, ERR_VERIFY, "%s: %s", summary.name, summary.detail);
}

static void check(const char *path, const struct wish *wish, struct counts *counts)
{
    struct arena arena;
    struct checked c = {.arena = &arena, .wish = wish};
    const struct trust anybody = {TRUST_ALLOW_UNSIGNED, NULL};
    struct error err = {0};
    char *bytes = NULL;
    arena_init(&arena);
    counts->packages++;
    bool ok = file_read(path, PACKAGE_BYTES, &bytes, &c.size, &err);
    c.bytes = bytes;
    ok = ok && package_read(bytes, c.size, &anybody, &arena, &c.contents, &err);
    ok = ok && (!wish->target || takes(&c, wish->target, &err));
    /* Behind a comparison the bounds of the whole may not decide; those of each kernel do. */
    ok = ok && ((!wish->in_full && check_calls(&c, &err)) || verify(&c, &err));
    if (!ok) {
        counts->wrong++;
        printf("FAIL %s: %s %s\n", path, err.place, err.message);
        fflush(stdout);
    }
    arena_release(&arena);
    free(bytes);
}

static int is_package(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".urza") == 0;
}

static void check_all(const char *path, const struct wish *wish, struct counts *counts)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_package, alphasort);
    if (count < 0)
        check(path, wish, counts);
    for (int i = 0; i < count; i++) {
        char file[4096];
        if (snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name) < (int)sizeof file)
            check(file, wish, counts);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

int main(int argc, char **argv)
{
    struct counts counts = {0};
    struct wish wish = {.in_full = argc > 1 && strcmp(argv[1], "--verify") == 0};
    int i = wish.in_full ? 2 : 1;
    if (i + 1 < argc && strcmp(argv[i], "--on") == 0) {
        wish.target = argv[i + 1];
        wish.interpreted = strcmp(wish.target, "interpreter") == 0;
        i += 2;
    }
    for (; i < argc; i++)
        check_all(argv[i], &wish, &counts);
    printf("%u packages run, %u wrong\n", counts.packages, counts.wrong);
    return counts.wrong > 0 || counts.packages == 0;
}
