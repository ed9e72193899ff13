/* Plants miscompilations, one at a time, and says which of them verification notices.
 *
 * test-mutants [--subject NAME|own|examples|models|all] [--kind NAME] [--targets LIST] [--sites N]
 *              [--seed N] [--limit-s N] [--json]
 *
 * Without arguments: one mutant of every kind, on the blueprints beside this file by turns; some
 * kinds on each of them and on two deep networks. It fails when the share that is caught lies below
 * MIN_SHARE, or a kernel that does not do its work is missed. With
 * --subject or --kind: --sites mutants of each such kind on each such blueprint, and no judgement.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "report.h"
#include "verify/verify.h"

/* What verification notices of the selection at least. What it misses are ties and special values
 * that no drawn input of a pass brings together. */
#define MIN_SHARE 0.95
/* Seconds for each child of a mutant: of what the right package took, and at least. */
#define TIMES_SLOWER 10
#define LEAST_SECONDS 20
#define TRIES 4 /* sites for one mutant that changes something */

enum folder { FOLDER_NONE, FOLDER_OWN, FOLDER_EXAMPLES, FOLDER_MODELS };

static const struct {
    enum folder folder;
    const char *name, *path;
} subjects[] = {
#define OWN(name) {FOLDER_OWN, name, "tests/mutants/subjects/" name ".json"}
#define EXAMPLE(name) {FOLDER_EXAMPLES, name, "examples/" name ".json"}
#define MODEL(name, file) {FOLDER_MODELS, name "/" file, "tests/data/models/" name "/model." file}
    OWN("rows"),
    OWN("attention"),
    OWN("images"),
    OWN("picks"),
    OWN("numbers"),
    OWN("halves"),
    EXAMPLE("mlp"),
    EXAMPLE("custom_graph"),
    EXAMPLE("gated_mlp_rmsnorm"),
    EXAMPLE("resnet_bottleneck"),
    EXAMPLE("mobilenet_inverted_residual"),
    EXAMPLE("transformer_block"),
    EXAMPLE("attention_arch"),
    EXAMPLE("conv_arch"),
    MODEL("resnet50", "onnx"),
    MODEL("resnet50", "pt2"),
    MODEL("mobilenet_v3", "onnx"),
    MODEL("mobilenet_v3", "pt2"),
    MODEL("efficientnet_b0", "onnx"),
    MODEL("efficientnet_b0", "pt2"),
    MODEL("convnext_t", "onnx"),
    MODEL("convnext_t", "pt2"),
    MODEL("vit_b_16", "onnx"),
    MODEL("vit_b_16", "pt2"),
    MODEL("unet", "onnx"),
    MODEL("unet", "pt2"),
    MODEL("bert_base", "onnx"),
    MODEL("bert_base", "pt2"),
    MODEL("gpt2", "onnx"),
    MODEL("gpt2", "pt2"),
    MODEL("llama", "onnx"),
    MODEL("llama", "pt2"),
    MODEL("lstm_tagger", "onnx"),
    MODEL("lstm_tagger", "pt2"),
};
#define SUBJECTS (sizeof subjects / sizeof subjects[0])

struct arguments {
    const char *subject, *kind, *targets;
    uint32_t sites, limit_s;
    uint64_t seed;
    bool json, selection;
};

static bool read_arguments(int count, char **texts, struct arguments *out)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(texts[i], "--json") == 0) {
            out->json = true;
            continue;
        }
        const char *value = i + 1 < count ? texts[i + 1] : NULL;
        char *end = "";
        uint64_t number = value ? strtoull(value, &end, 10) : 0;
        if (!value)
            return false;
        if (strcmp(texts[i], "--subject") == 0)
            out->subject = value;
        else if (strcmp(texts[i], "--kind") == 0)
            out->kind = value;
        else if (strcmp(texts[i], "--targets") == 0)
            out->targets = value;
        else if (strcmp(texts[i], "--sites") == 0 && *end == '\0')
            out->sites = (uint32_t)number;
        else if (strcmp(texts[i], "--seed") == 0 && *end == '\0')
            out->seed = number;
        else if (strcmp(texts[i], "--limit-s") == 0 && *end == '\0')
            out->limit_s = (uint32_t)number;
        else
            return false;
        i++;
    }
    out->selection = !out->subject && !out->kind;
    return out->sites > 0;
}

/* Deep networks of the selection: of results behind many layers little is determined. */
static bool is_deep(const char *name)
{
    return strcmp(name, "resnet50/onnx") == 0 || strcmp(name, "gpt2/onnx") == 0;
}

static bool wanted(const struct arguments *arguments, size_t index)
{
    static const char *const groups[] = {"", "own", "examples", "models"};
    const char *name = arguments->subject ? arguments->subject : "own";
    if (arguments->selection && is_deep(subjects[index].name))
        return true;
    return strcmp(name, "all") == 0 || strcmp(name, groups[subjects[index].folder]) == 0 ||
           strcmp(name, subjects[index].name) == 0;
}

/* A key of our own, made in a folder that is gone again. */
static bool make_key(struct signing_key *out, struct error *err)
{
    char folder[] = "/tmp/urza-mutants-XXXXXX", path[64];
    if (!mkdtemp(folder))
        return fail(err, ERR_IO, "cannot make a folder in /tmp");
    bool ok = keys_open(folder, out, err);
    snprintf(path, sizeof path, "%s/keys/signing.pem", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/keys", folder);
    rmdir(path);
    rmdir(folder);
    return ok;
}

/* The right package must pass, or the mutants of it say nothing. */
static bool check_honest(struct subject *s, uint64_t seed, struct error *err)
{
    uint64_t start_ns = clock_ns();
    struct trusted_keys trusted = {(const uint8_t(*)[32]) & s->key.public_key, 1};
    struct verify_options options = {.seed = seed, .trusted = &trusted};
    struct verify_report report;
    struct arena arena;
    arena_init(&arena);
    bool ok = verify_package(s->package, s->package_bytes, &options, &arena, &report, err);
    for (uint32_t i = 0; ok && i < report.count; i++)
        if (!report.checks[i].pass)
            ok = fail(err, ERR_VERIFY, "the right package fails: %s: %s", report.checks[i].name,
                      report.checks[i].detail);
    s->timeout_s = LEAST_SECONDS + (uint32_t)(TIMES_SLOWER * (clock_ns() - start_ns) / 1000000000);
    arena_release(&arena);
    return ok;
}

static struct subject *open_subject(const struct arguments *arguments, size_t index,
                                    const struct signing_key *key, struct arena *arena)
{
    struct error err = {0};
    struct subject *s = ARENA_NEW(arena, struct subject);
    const char *targets = arguments->targets ? arguments->targets : target_best_here();
    if (subject_open(s, subjects[index].name, subjects[index].path, targets, key, &err) &&
        trials_make(s, arguments->seed, &err) && check_honest(s, arguments->seed, &err))
        return s;
    fprintf(stderr, "FAIL %s: %s: %s\n", subjects[index].name, err.place, err.message);
    subject_close(s);
    return NULL;
}

/* Up to count distinct sites of many, the same for the same seed, whatever else is planted. */
static uint32_t choose_sites(const struct subject *s, uint32_t kind, uint64_t seed, uint32_t count,
                             uint32_t *out)
{
    uint32_t many = s->sites[kind], chosen = 0;
    const char *name = kind_at(kind)->name;
    uint64_t key = rng_key(hash64(s->name, strlen(s->name), hash64(name, strlen(name), seed)));
    for (uint64_t draw = 0; chosen < count && chosen < many; draw++) {
        uint32_t site = rng_u32(key, draw) % many;
        bool known = false;
        for (uint32_t i = 0; i < chosen; i++)
            known |= out[i] == site;
        if (!known)
            out[chosen++] = site;
    }
    return chosen;
}

struct run {
    const struct arguments *arguments;
    struct subject *subjects[SUBJECTS];
    uint32_t subject_count;
    struct results results;
    uint64_t deadline_ns;
};

/* Mutants of sites in their random order, until there are so many that change something. */
static uint32_t plant_kind(struct run *run, const struct subject *s, uint32_t kind, uint32_t sites)
{
    uint32_t chosen[256], found = 0, tries = TRIES * sites;
    uint32_t count = choose_sites(s, kind, run->arguments->seed, tries < 256 ? tries : 256, chosen);
    for (uint32_t i = 0; i < count && found < sites; i++) {
        struct mutant mutant = {.subject = s, .kind = kind_at(kind), .site = chosen[i]};
        if (clock_ns() > run->deadline_ns) {
            run->results.left_out++;
            continue;
        }
        judge(&mutant, run->arguments->seed);
        found += mutant.verdict >= VERDICT_CAUGHT;
        VEC_PUSH(run->results.arena, &run->results.mutants, mutant);
        if (!run->arguments->selection && !run->arguments->json) {
            printf("%s %s %u: %s %s\n", s->name, mutant.kind->name, mutant.site,
                   verdict_name(mutant.verdict), mutant.check);
            fflush(stdout);
        }
    }
    return found;
}

/* On the subjects by turns, until one shows it. */
static void plant_selected(struct run *run, uint32_t kind)
{
    bool always = (kind_at(kind)->flags & KIND_ALWAYS) != 0, found = false;
    for (uint32_t i = 0; i < run->subject_count && (always || !found); i++) {
        const struct subject *s = run->subjects[(i + kind) % run->subject_count];
        if (always || !is_deep(s->name))
            found = plant_kind(run, s, kind, run->arguments->sites) > 0;
    }
}

static int judge_share(const struct results *results)
{
    double share = results_share(results);
    uint32_t idle = 0;
    for (uint32_t i = 0; i < results->mutants.count; i++) {
        const struct mutant *m = &results->mutants.items[i];
        if (m->verdict != VERDICT_MISSED || !(m->kind->flags & KIND_MUST))
            continue;
        printf("FAIL: %s of %s is missed\n", m->kind->name, m->subject->name);
        idle++;
    }
    if (share >= MIN_SHARE)
        return idle > 0;
    printf("FAIL: %.1f %% are caught, at least %.1f %% must be\n", 100 * share, 100 * MIN_SHARE);
    return 1;
}

/* Opens what is wanted. Without a selection, plants on each as it comes. */
static bool open_subjects(struct run *run, const struct signing_key *key)
{
    const struct arguments *arguments = run->arguments;
    for (size_t i = 0; i < SUBJECTS; i++) {
        if (!wanted(arguments, i))
            continue;
        struct subject *s = open_subject(arguments, i, key, run->results.arena);
        if (!s)
            return false;
        run->subjects[run->subject_count++] = s;
        for (uint32_t k = 0; !arguments->selection && kind_at(k); k++)
            if (!arguments->kind || strcmp(arguments->kind, kind_at(k)->name) == 0)
                plant_kind(run, s, k, arguments->sites);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.sites = 1, .seed = 1};
    struct signing_key key;
    struct error err = {0};
    struct arena arena;
    struct run run = {.arguments = &arguments, .results.arena = &arena, .deadline_ns = UINT64_MAX};
    if (!read_arguments(argc, argv, &arguments)) {
        fprintf(stderr,
                "usage: %s [--subject NAME|own|examples|models|all] [--kind NAME] [--targets LIST] "
                "[--sites N] [--seed N] [--limit-s N] [--json]\n",
                argv[0]);
        return 64;
    }
    arena_init(&arena);
    if (!make_key(&key, &err)) {
        fprintf(stderr, "FAIL: %s\n", err.message);
        return 1;
    }
    if (arguments.limit_s > 0)
        run.deadline_ns = clock_ns() + (uint64_t)arguments.limit_s * 1000000000;
    bool opened = open_subjects(&run, &key);
    for (uint32_t k = 0; opened && arguments.selection && kind_at(k); k++)
        plant_selected(&run, k);
    if (opened && arguments.json)
        results_print_json(&run.results);
    else if (opened)
        results_print(&run.results);
    int status = !opened || (arguments.selection && judge_share(&run.results) != 0);
    for (uint32_t i = 0; i < run.subject_count; i++)
        subject_close(run.subjects[i]);
    arena_release(&arena);
    return status;
}
