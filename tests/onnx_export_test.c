/* Blueprints as models of ONNX, by another runtime: every example of examples/, and every example
 * of every operation, is exported, run by ONNX Runtime, and compared with the reference.
 *
 * Its elementary functions have bounds of their own, so that it may lie outside of ours by a
 * factor; what is further off is wrong. Where ONNX Runtime has no code for a type, it says so, and
 * the case counts as not run.
 *
 * test-onnx-export [-v] [PART]: all cases, or those whose names hold PART; -v names what was
 * refused, was not run, or lay outside our bounds, and prints graphs that are wrong. ONNX Runtime
 * is that of the environment that bench/peers/run makes, or of python3; without it the test is
 * skipped. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "compiler/export/export.h"
#include "compiler/import/import.h"
#include "support/op_case.h"
#include "support/random_graph.h"

#define SKIPPED 77
#define MAX_DIM 9
#define RANDOM_GRAPHS 300
#define MAX_RATIO 16 /* of an error to our bound */

enum fate { FATE_NONE, FATE_REFUSED, FATE_AGREES, FATE_NEAR, FATE_NOT_RUN, FATE_WRONG, FATE_COUNT };

/* Cases are made twice, the same way: to be written, and to be compared. */
struct run {
    char folder[64];
    const char *part;
    bool verbose, comparing;
    uint32_t index, counts[FATE_COUNT];
};

struct subject {
    const char *name;
    const struct graph *graph;
    const struct package_param *params;
    const int64_t *dims;
    uint64_t seed;
    const struct op_example *example; /* or NULL */
    struct arena *arena;
};

static void count(struct run *run, const char *name, enum fate fate, const char *why)
{
    static const char *const words[] = {"", "refused", "agrees", "is near", "not run", "FAIL"};
    run->counts[fate]++;
    if (fate == FATE_WRONG || (run->verbose && fate != FATE_AGREES))
        printf("%s %s: %s\n", words[fate], name, why);
}

static const char *path_of(const struct run *run, const struct subject *s, const char *suffix)
{
    struct strbuf path;
    strbuf_init(&path, s->arena);
    strbuf_printf(&path, "%s/%05u%s", run->folder, run->index, suffix);
    return path.data;
}

static bool write_tensor(const struct run *run, const struct subject *s,
                         const struct sample *sample, uint32_t index, struct error *err)
{
    const struct tensor *t = &sample->inputs[index];
    struct strbuf text;
    struct npy npy;
    char suffix[32];
    snprintf(suffix, sizeof suffix, ".in%u.npy", index);
    strbuf_init(&text, s->arena);
    if (!npy_init(&npy, dtype_npy(t->dtype), t->rank, t->shape, t->data, err))
        return false;
    npy_format(&npy, &text);
    return file_write_atomic(path_of(run, s, suffix), text.data, text.size_bytes, 0600, err);
}

/* False for errors other than refusals. */
static bool write_case(struct run *run, const struct subject *s, const struct sample *sample,
                       struct error *err)
{
    struct onnx_file model;
    if (!onnx_write(s->graph, s->params, s->arena, NULL, &model, err)) {
        if (err->code != ERR_UNSUPPORTED)
            return false;
        count(run, s->name, FATE_REFUSED, err->message);
        return true;
    }
    for (uint32_t i = 0; i < sample->input_count; i++)
        if (!write_tensor(run, s, sample, i, err))
            return false;
    return file_write_atomic(path_of(run, s, ".onnx"), model.data, model.size_bytes, 0600, err);
}

static bool read_output(const struct run *run, const struct subject *s, uint32_t index,
                        const struct tensor *like, void **out, struct error *err)
{
    struct npy npy;
    char suffix[32], *bytes;
    size_t size;
    snprintf(suffix, sizeof suffix, ".out%u.npy", index);
    if (!file_read(path_of(run, s, suffix), (size_t)1 << 31, &bytes, &size, err))
        return false;
    bool ok = npy_parse(bytes, size, s->arena, &npy, err);
    free(bytes);
    if (!ok)
        return false;
    if (npy.rank != like->rank || memcmp(npy.shape, like->shape, npy.rank * sizeof(int64_t)) != 0 ||
        dtype_from_npy(npy.descr) != like->dtype)
        return fail(err, ERR_VERIFY, "output %u has another shape or type", index);
    *out = (void *)(uintptr_t)npy.data;
    return true;
}

static bool compare_case(struct run *run, const struct subject *s, struct sample *sample,
                         struct error *err)
{
    void *outputs[LIMIT_OPERANDS];
    struct interp_difference worst;
    uint32_t which;
    char *text, why[128];
    size_t size;
    if (access(path_of(run, s, ".onnx"), R_OK) != 0)
        return true; /* was refused */
    if (file_read(path_of(run, s, ".error"), 1 << 20, &text, &size, err)) {
        bool lacks = strstr(text, "NOT_IMPLEMENTED") != NULL;
        count(run, s->name, lacks ? FATE_NOT_RUN : FATE_WRONG, text);
        free(text);
        return true;
    }
    for (uint32_t i = 0; i < sample->output_count; i++)
        if (!read_output(run, s, i, &sample->outputs[i], &outputs[i], err))
            return false;
    if (!sample_expect(sample, s->arena, err))
        return false;
    sample_compare(sample, outputs, &worst, &which);
    snprintf(why, sizeof why, "output %u, element %lld: %.3g times the bound %.3g", which,
             (long long)worst.worst_index, worst.worst_ratio, worst.worst_bound);
    bool near = worst.worst_ratio <= MAX_RATIO;
    count(run, s->name, worst.worst_ratio <= 1 ? FATE_AGREES : near ? FATE_NEAR : FATE_WRONG, why);
    return true;
}

static void run_case(struct run *run, const struct subject *s)
{
    struct sample sample;
    struct error err = {0};
    if (run->part && !strstr(s->name, run->part))
        return;
    uint32_t wrong = run->counts[FATE_WRONG];
    run->index++;
    bool ok = sample_make(
        &sample, &(struct sample_request){s->graph, s->params, s->dims, s->seed, FILL_NORMAL, NULL},
        s->arena, &err);
    for (uint32_t i = 0; ok && s->example && i < sample.input_count; i++)
        op_case_fill(s->example, i, &sample.inputs[i], s->seed + i);
    ok = ok &&
         (run->comparing ? compare_case(run, s, &sample, &err) : write_case(run, s, &sample, &err));
    if (!ok)
        count(run, s->name, FATE_WRONG, err.message);
    if (run->verbose && run->counts[FATE_WRONG] > wrong) {
        struct strbuf text;
        strbuf_init(&text, s->arena);
        graph_print(s->graph, &text);
        printf("%s", text.data);
    }
}

static void run_op(struct run *run, const struct op_row *row, uint32_t index, enum dtype dtype,
                   bool symbolic)
{
    struct arena arena;
    struct graph graph;
    struct op_example example;
    struct error err = {0};
    char name[96];
    uint64_t seed = 31 * index + dtype;
    arena_init(&arena);
    graph_init(&graph, &arena);
    snprintf(name, sizeof name, "%s example %u %s%s", row->name, index, dtype_name(dtype),
             symbolic ? " named dims" : "");
    bool ok =
        op_example_build(row, &(struct op_example_request){index, seed, MAX_DIM, dtype, symbolic},
                         &graph, &example, &err) &&
        op_case_bind(&graph, &err);
    struct subject s = {name, &graph, NULL, example.dim_values, seed, &example, &arena};
    if (!ok)
        count(run, name, FATE_WRONG, err.message);
    else if ((dtype == DTYPE_F32 || op_case_has(&example, dtype)) &&
             (!symbolic || graph.dims.names.count > 0))
        run_case(run, &s);
    arena_release(&arena);
}

/* Inputs of bf16 have no .npy form that NumPy knows. */
static bool takes_bf16(const struct graph *graph)
{
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        if (graph_node(graph, graph->inputs.items[i])->dtype == DTYPE_BF16)
            return true;
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (graph_node(graph, graph->outputs.items[i].value)->dtype == DTYPE_BF16)
            return true;
    return false;
}

static void run_random(struct run *run, uint64_t seed)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    int64_t sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS];
    char name[64];
    arena_init(&arena);
    graph_init(&graph, &arena);
    snprintf(name, sizeof name, "random graph %llu", (unsigned long long)seed);
    if (!random_graph(&graph, seed, sizes, &err)) {
        count(run, name, FATE_WRONG, err.message);
    } else if (!takes_bf16(&graph)) {
        struct package_param *params =
            ARENA_ARRAY(&arena, struct package_param, graph.params.count);
        for (uint32_t i = 0; i < graph.params.count; i++) {
            const struct node *node = graph_node(&graph, graph.params.items[i]);
            enum dtype dtype = (enum dtype)node->dtype;
            int64_t elements = 0;
            dim_is_const(&graph.dims, graph_elements(&graph, graph.params.items[i]), &elements);
            size_t bytes = (size_t)elements * dtype_bytes(dtype);
            void *data = arena_alloc(&arena, bytes, 64);
            random_fill(dtype, elements, seed + 7919 * (i + 1), FILL_NORMAL, 0, data);
            params[i] = (struct package_param){dtype, data, bytes};
        }
        struct subject s = {name, &graph, params, sizes[0], seed, NULL, &arena};
        run_case(run, &s);
    }
    arena_release(&arena);
}

static void run_blueprint(struct run *run, const char *name)
{
    struct arena arena;
    struct error err = {0};
    struct import_options options = {.folder = "examples"};
    struct package_param *params = NULL;
    int64_t dims[LIMIT_NAMED_DIMS];
    char path[128], *text = NULL;
    size_t size;
    arena_init(&arena);
    struct blueprint *b = ARENA_NEW(&arena, struct blueprint);
    snprintf(path, sizeof path, "examples/%s.json", name);
    bool ok = file_read(path, LIMIT_JSON_BYTES, &text, &size, &err) &&
              blueprint_read(text, size, &options, &arena, b, &err);
    if (ok)
        params = ARENA_ARRAY(&arena, struct package_param, b->graph.params.count);
    for (uint32_t i = 0; ok && i < b->graph.params.count; i++)
        ok = blueprint_param_data(b, i, "examples", &arena, &params[i], &err);
    for (uint32_t n = 0; ok && n < b->graph.dims.names.count; n++) {
        const struct dim_name *dim = &b->graph.dims.names.items[n];
        dims[n] = dim->min < 3 && dim->max >= 3 && dim->multiple_of == 1 ? 3 : dim->min;
    }
    struct subject s = {name, &b->graph, params, dims, 7, NULL, &arena};
    if (ok)
        run_case(run, &s);
    else
        count(run, name, FATE_WRONG, err.message);
    free(text);
    arena_release(&arena);
}

static void run_all(struct run *run)
{
    static const char *const blueprints[] = {"attention_arch",
                                             "conv_arch",
                                             "custom_graph",
                                             "gated_mlp_rmsnorm",
                                             "mlp",
                                             "mobilenet_inverted_residual",
                                             "resnet_bottleneck",
                                             "transformer_block"};
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16};
    const struct op_row *row;
    run->index = 0;
    for (size_t i = 0; i < sizeof blueprints / sizeof *blueprints; i++)
        run_blueprint(run, blueprints[i]);
    for (uint64_t seed = 1; seed <= RANDOM_GRAPHS; seed++)
        run_random(run, seed);
    for (uint32_t r = 0; (row = op_at(r)) != NULL; r++)
        for (uint32_t e = 0; e < op_example_count(row); e++)
            for (uint32_t d = 0; d < 3; d++)
                for (int symbolic = 0; symbolic < (dtypes[d] == DTYPE_F32 ? 2 : 1); symbolic++)
                    run_op(run, row, e, dtypes[d], symbolic != 0);
}

/* The exit status of the other runtime's program over a folder. */
static int run_peer(const char *folder)
{
    const char *home = getenv("URZA_PEERS_DIR");
    char python[512];
    int status;
    snprintf(python, sizeof python, "%s/venv/bin/python", home ? home : "build/peers");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        const char *program = access(python, X_OK) == 0 ? python : "python3";
        execlp(program, program, "tests/onnx_export_peer.py", folder, (char *)NULL);
        _exit(SKIPPED);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void remove_folder(const char *folder)
{
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", folder, (char *)NULL);
        _exit(1);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    struct run run = {.folder = "/tmp/urza-export-XXXXXX"};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0)
            run.verbose = true;
        else
            run.part = argv[i];
    }
    if (!mkdtemp(run.folder))
        return 1;
    int status = run_peer(run.folder); /* an empty folder: is it there? */
    if (status == 0) {
        run_all(&run);
        run.comparing = true;
        status = run_peer(run.folder);
        run_all(&run);
    }
    remove_folder(run.folder);
    if (status == SKIPPED) {
        printf("onnx-export: skipped, ONNX Runtime is not installed\n");
        return SKIPPED;
    }
    const uint32_t *counts = run.counts;
    printf("onnx-export: %u agree, %u within %d bounds, %u wrong, %u not run (no code for a type), "
           "%u refused\n",
           counts[FATE_AGREES], counts[FATE_NEAR], MAX_RATIO, counts[FATE_WRONG],
           counts[FATE_NOT_RUN], counts[FATE_REFUSED]);
    return status != 0 || counts[FATE_WRONG] > 0 || counts[FATE_AGREES] == 0;
}
