/* The cases of the ONNX project, as Debian packs them: each model is read, compiled for this CPU,
 * run, and compared with the outputs that stand beside it.
 *
 * tests/onnx_cases.txt holds what is expected of each: `pass`, what had to be known at compile time
 * for it to pass, or why the model is refused. The test fails when a case is wrong, crashes, or is
 * worse than it was; --update writes the file again. --data FOLDER and --list FILE stand for other
 * cases and what is expected of them. A word names the cases to run, by a part of their names;
 * their results are printed then.
 *
 * Workers are child processes that share the table of results; one that dies costs its case, no
 * more. The bounds are those of ONNX's own runner: 1e-3 relative, 1e-7 absolute; for bfloat16,
 * whose data were made by cutting bits off, one unit in the last place. Such data lack their shape,
 * too. */
#include <dirent.h>
#include <math.h>
#include <onnx.pb-c.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "compiler/import/import.h"
#include "urza/run.h"

#define DEBIAN_DATA "/usr/share/libonnx-testdata/data"
#define DEBIAN_LIST "tests/onnx_cases.txt"
#define SKIPPED 77
#define MAX_CASES 4096
#define MAX_TENSORS 32
#define WORKERS 2
#define CASE_SECONDS 30
#define RELATIVE 1e-3
#define RELATIVE_F16 0x1p-9
#define RELATIVE_BF16 0x1p-6
#define ABSOLUTE 1e-7

static const char *const suites[] = {"node", "simple", "pytorch-converted", "pytorch-operator"};

struct result {
    char name[160];
    char text[400]; /* empty: not run */
    bool dense;     /* inputs and outputs are dense tensors of numbers */
};

/* What the command line says. */
struct request {
    const char *data, *list, *filter;
    bool update;
};

/* One case under test. */
struct model {
    struct arena *arena;
    char folder[512];
    char *bytes;
    size_t size;
    struct import_tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    uint32_t input_count, output_count;
    const char *names[MAX_TENSORS];                              /* of the inputs */
    bool dense;                                                  /* see struct result */
    int32_t input_types[MAX_TENSORS], output_types[MAX_TENSORS]; /* as the model states them */
    struct error err;
};

/* Debian's cases keep bfloat16 as uint16. */
static bool read_as_bf16(struct model *m, const char *bytes, size_t size, struct import_tensor *out)
{
    Onnx__TensorProto *proto = onnx__tensor_proto__unpack(NULL, size, (const uint8_t *)bytes);
    if (!proto || proto->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__UINT16)
        return false;
    proto->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
    uint8_t *packed = arena_alloc(m->arena, onnx__tensor_proto__get_packed_size(proto), 1);
    size = onnx__tensor_proto__pack(proto, packed);
    onnx__tensor_proto__free_unpacked(proto, NULL);
    return onnx_read_tensor(packed, size, m->arena, out, &m->err);
}

static bool read_tensors(struct model *m, const char *kind, const int32_t *types,
                         struct import_tensor *out, uint32_t *out_count)
{
    *out_count = 0;
    for (uint32_t i = 0; i < MAX_TENSORS; i++) {
        char path[640], *bytes;
        size_t size;
        snprintf(path, sizeof path, "%s/test_data_set_0/%s_%u.pb", m->folder, kind, i);
        if (access(path, R_OK) != 0)
            return true;
        if (!file_read(path, (size_t)1 << 30, &bytes, &size, &m->err))
            return false;
        bool ok = (types[i] == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 &&
                   read_as_bf16(m, bytes, size, &out[i])) ||
                  onnx_read_tensor(bytes, size, m->arena, &out[i], &m->err);
        free(bytes);
        if (!ok)
            return fail_at(&m->err, "%s %u", kind, i);
        *out_count = i + 1;
    }
    return true;
}

static bool is_initializer(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (strcmp(graph->initializer[i]->name, name) == 0)
            return true;
    return false;
}

static int32_t type_of(const Onnx__ValueInfoProto *info)
{
    bool tensor = info->type && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    return tensor ? info->type->tensor_type->elem_type : 0;
}

static bool is_dense(const Onnx__ValueInfoProto *info)
{
    return type_of(info) != ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED &&
           type_of(info) != ONNX__TENSOR_PROTO__DATA_TYPE__STRING;
}

static bool read_signature(struct model *m)
{
    uint32_t count = 0;
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, m->size, (const uint8_t *)m->bytes);
    if (!model)
        return fail(&m->err, ERR_PARSE, "not a model");
    for (size_t i = 0; i < model->graph->n_input && count < MAX_TENSORS; i++)
        if (!is_initializer(model->graph, model->graph->input[i]->name)) {
            m->input_types[count] = type_of(model->graph->input[i]);
            m->names[count++] = arena_strdup(m->arena, model->graph->input[i]->name);
        }
    for (size_t i = 0; i < model->graph->n_output && i < MAX_TENSORS; i++)
        m->output_types[i] = type_of(model->graph->output[i]);
    m->dense = true;
    for (size_t i = 0; i < model->graph->n_input; i++)
        m->dense = m->dense && is_dense(model->graph->input[i]);
    for (size_t i = 0; i < model->graph->n_output; i++)
        m->dense = m->dense && is_dense(model->graph->output[i]);
    onnx__model_proto__free_unpacked(model, NULL);
    return true;
}

/* Which inputs are constants in an attempt: none, integers, all but the first, all. */
static uint32_t choose_fixed(const struct model *m, int attempt, struct import_tensor *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->input_count; i++) {
        bool fixed = attempt == 3 || (attempt == 2 && i > 0) ||
                     (attempt == 1 && !dtype_is_float(m->inputs[i].dtype));
        if (!fixed)
            continue;
        out[count] = m->inputs[i];
        out[count++].name = m->names[i];
    }
    return count;
}

static bool import(struct model *m, struct blueprint *out, struct import_tensor *fixed,
                   uint32_t *out_fixed)
{
    for (int attempt = 0; attempt < 4; attempt++) {
        struct import_options options = {.folder = m->folder, .fixed = fixed};
        options.fixed_count = *out_fixed = choose_fixed(m, attempt, fixed);
        if (onnx_read(m->bytes, m->size, &options, m->arena, out, &m->err))
            return true;
        if (m->err.code != ERR_UNSUPPORTED || !strstr(m->err.message, "not known"))
            return false;
    }
    return false;
}

/* What a package keeps as the blueprint must be the same graph. */
static bool check_json(struct model *m, const struct blueprint *blueprint)
{
    struct import_options options = {.seed = 0};
    struct blueprint *again = ARENA_NEW(m->arena, struct blueprint);
    struct strbuf first, second;
    strbuf_init(&first, m->arena);
    strbuf_init(&second, m->arena);
    if (!blueprint_read(blueprint->json, blueprint->json_bytes, &options, m->arena, again, &m->err))
        return fail_at(&m->err, "blueprint.json");
    graph_print(&blueprint->graph, &first);
    graph_print(&again->graph, &second);
    return strcmp(first.data, second.data) == 0 ||
           fail(&m->err, ERR_VERIFY, "blueprint.json holds another graph");
}

static bool compile_and_load(struct model *m, const struct blueprint *blueprint, urza_module **out)
{
    uint32_t count = blueprint->graph.params.count;
    struct package_param *params = ARENA_ARRAY(m->arena, struct package_param, count);
    struct compile_options options = {.strategy = STRATEGY_FAST};
    struct compile_result *compiled = ARENA_NEW(m->arena, struct compile_result);
    urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 1};
    urza_error failure = {0};
    for (uint32_t i = 0; i < count; i++) {
        void *data;
        params[i].dtype = graph_node(&blueprint->graph, blueprint->graph.params.items[i])->dtype;
        if (!blueprint_param_data(blueprint, i, NULL, m->arena, &data, &params[i].data_bytes,
                                  &m->err))
            return false;
        params[i].data = data;
    }
    for (uint32_t i = 0; target_name_at(i); i++)
        if (target_supported_here(target_name_at(i)) &&
            (!options.targets || target_rank(target_name_at(i)) > target_rank(options.targets)))
            options.targets = target_name_at(i);
    if (!compile_graph(&blueprint->graph, params, blueprint->json, &options, m->arena, compiled,
                       &m->err))
        return fail_at(&m->err, "compile");
    if (urza_load_memory(compiled->package, compiled->package_bytes, &load, out, &failure) != 0)
        return fail(&m->err, (enum error_code)failure.code, "load: %s %s", failure.place,
                    failure.message);
    return true;
}

static double element(const struct import_tensor *t, const void *data, int64_t i)
{
    switch (t->dtype) {
    case DTYPE_F64: return ((const double *)data)[i];
    case DTYPE_F32: return (double)((const float *)data)[i];
    case DTYPE_F16: return f16_to_double(((const uint16_t *)data)[i]);
    case DTYPE_BF16: return bf16_to_double(((const uint16_t *)data)[i]);
    case DTYPE_I64: return (double)((const int64_t *)data)[i];
    case DTYPE_I32: return ((const int32_t *)data)[i];
    case DTYPE_I16: return ((const int16_t *)data)[i];
    case DTYPE_I8: return ((const int8_t *)data)[i];
    case DTYPE_U16: return ((const uint16_t *)data)[i];
    case DTYPE_U32: return ((const uint32_t *)data)[i];
    case DTYPE_U64: return (double)((const uint64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

/* Cases that draw random numbers: any are right, so only types and shapes are compared. */
static bool is_random(const struct model *m)
{
    return strstr(m->folder, "bernoulli") ||
           (strstr(m->folder, "training_dropout") && !strstr(m->folder, "zero_ratio"));
}

/* Debian's data of this case were made with an epsilon that its model does not have. */
static bool is_wrong_data(const struct model *m)
{
    return strcmp(m->folder, DEBIAN_DATA "/node/test_adam_multiple") == 0;
}

static bool compare(struct model *m, uint32_t output, const void *found)
{
    const struct import_tensor *t = &m->outputs[output];
    int64_t count = is_random(m) ? 0 : (int64_t)(t->bytes / dtype_bytes(t->dtype));
    double relative = t->dtype == DTYPE_BF16  ? RELATIVE_BF16
                      : t->dtype == DTYPE_F16 ? RELATIVE_F16
                                              : RELATIVE;
    double absolute = ABSOLUTE;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(element(t, t->data, i)))
            absolute = fmax(absolute, 0x1p-24 * fabs(element(t, t->data, i)));
    for (int64_t i = 0; i < count; i++) {
        double want = element(t, t->data, i), have = element(t, found, i);
        double bound = dtype_is_float(t->dtype) ? absolute + relative * fabs(want) : 0;
        bool same = want == have || (isnan(want) && isnan(have)) || fabs(want - have) <= bound;
        if (!same)
            return fail(&m->err, ERR_VERIFY, "output %u [%lld] is %g, expected %g", output,
                        (long long)i, have, want);
    }
    return true;
}

static bool check_type(struct model *m, uint32_t output, const DLTensor *found,
                       const int64_t *shape)
{
    const struct import_tensor *t = &m->outputs[output];
    bool same = (uint32_t)found->ndim == t->rank &&
                found->dtype.bits == (t->dtype == DTYPE_BOOL ? 8 : 8 * dtype_bytes(t->dtype));
    bool shaped = t->dtype != DTYPE_BF16;
    same = same || (!shaped && found->dtype.bits == 16);
    for (uint32_t i = 0; i < t->rank && same && shaped; i++)
        same = shape[i] == t->shape[i];
    return same || fail(&m->err, ERR_VERIFY, "output %u has another type or shape", output);
}

/* Whether a tensor lacks the shape that the model states. */
static bool is_flat(const struct import_tensor *t, const urza_tensor_info *info)
{
    int64_t count = 1;
    for (int32_t i = 0; i < info->rank; i++)
        count *= info->shape[i];
    return t->rank == 1 && info->rank != 1 && count == t->shape[0];
}

static bool run(struct model *m, urza_module *module, const struct import_tensor *fixed,
                uint32_t fixed_count)
{
    DLTensor in[MAX_TENSORS] = {0}, out[MAX_TENSORS] = {0};
    int64_t shapes[MAX_TENSORS][8];
    uint32_t inputs = 0, outputs = urza_output_count(module);
    urza_error failure = {0};
    for (uint32_t i = 0; i < m->input_count; i++) {
        bool skip = false;
        for (uint32_t k = 0; k < fixed_count; k++)
            skip = skip || strcmp(fixed[k].name, m->names[i]) == 0;
        if (skip)
            continue;
        const urza_tensor_info *info = urza_input_info(module, inputs);
        bool flat = is_flat(&m->inputs[i], info);
        if (!flat && (uint32_t)info->rank != m->inputs[i].rank)
            return fail(&m->err, ERR_UNSUPPORTED, "the data of input %u does not fit the model", i);
        in[inputs] = (DLTensor){.data = (void *)m->inputs[i].data,
                                .device = {.device_type = kDLCPU},
                                .ndim = flat ? info->rank : (int32_t)m->inputs[i].rank,
                                .dtype = info->dtype,
                                .shape = flat ? (int64_t *)info->shape : m->inputs[i].shape};
        inputs++;
    }
    if (inputs != urza_input_count(module) || outputs != m->output_count)
        return fail(&m->err, ERR_VERIFY, "%u inputs and %u outputs", urza_input_count(module),
                    outputs);
    if (urza_output_shapes(module, in, inputs, shapes, &failure) != 0)
        return fail(&m->err, ERR_VERIFY, "%s %s", failure.place, failure.message);
    for (uint32_t i = 0; i < outputs; i++) {
        out[i] = (DLTensor){.data = arena_alloc(m->arena, m->outputs[i].bytes, 64),
                            .device = {.device_type = kDLCPU},
                            .ndim = urza_output_info(module, i)->rank,
                            .dtype = urza_output_info(module, i)->dtype,
                            .shape = shapes[i]};
        if (!check_type(m, i, &out[i], shapes[i]))
            return false;
    }
    if (urza_call(module, in, inputs, out, outputs, NULL, &failure) != 0)
        return fail(&m->err, ERR_VERIFY, "%s %s", failure.place, failure.message);
    for (uint32_t i = 0; i < outputs; i++)
        if (!compare(m, i, out[i].data))
            return false;
    return true;
}

/* One line of text without line breaks. */
static void tell(struct result *result, const char *kind, const char *text)
{
    snprintf(result->text, sizeof result->text, "%s%.380s", kind, text);
    for (char *at = result->text; *at != '\0'; at++)
        if (*at == '\n')
            *at = ' ';
}

static void judge(struct model *m, struct result *result)
{
    struct blueprint *blueprint = ARENA_NEW(m->arena, struct blueprint);
    struct import_tensor fixed[MAX_TENSORS];
    uint32_t fixed_count = 0;
    urza_module *module = NULL;
    char text[400] = "";
    /* Data that is no dense tensor belongs to a model that is refused for it. */
    bool data = read_signature(m) &&
                read_tensors(m, "input", m->input_types, m->inputs, &m->input_count) &&
                read_tensors(m, "output", m->output_types, m->outputs, &m->output_count);
    struct error damage = m->err;
    result->dense = m->dense;
    bool known = import(m, blueprint, fixed, &fixed_count);
    if (known && !data)
        m->err = damage;
    if (!known || !data) {
        bool refused = m->err.code == ERR_UNSUPPORTED;
        snprintf(text, sizeof text, "%.60s%s%.320s", m->err.place, m->err.place[0] ? ": " : "",
                 m->err.message);
        tell(result, refused ? "refused: " : "error: ", text);
        return;
    }
    bool ok = check_json(m, blueprint) && compile_and_load(m, blueprint, &module) &&
              run(m, module, fixed, fixed_count);
    urza_unload(module);
    if (!ok && is_wrong_data(m))
        fail(&m->err, ERR_UNSUPPORTED, "the data are not of this model");
    if (!ok) {
        snprintf(text, sizeof text, "%.60s %.320s", m->err.place, m->err.message);
        tell(result, m->err.code == ERR_UNSUPPORTED ? "refused: " : "wrong: ", text);
        return;
    }
    size_t used = 0;
    for (uint32_t i = 0; i < fixed_count && used < sizeof text / 2; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s",
                                 i == 0 ? ", known:" : ",", fixed[i].name);
    if (is_random(m))
        snprintf(text + used, sizeof text - used, ", random: values are not compared");
    tell(result, "pass", text);
}

static void run_case(const char *data, struct result *result)
{
    struct arena arena;
    char path[560];
    arena_init(&arena);
    struct model *m = ARENA_NEW(&arena, struct model);
    m->arena = &arena;
    snprintf(m->folder, sizeof m->folder, "%s/%s", data, result->name);
    snprintf(path, sizeof path, "%s/model.onnx", m->folder);
    if (file_read(path, (size_t)1 << 30, &m->bytes, &m->size, &m->err)) {
        judge(m, result);
        free(m->bytes);
    } else {
        tell(result, "error: ", m->err.message);
    }
    arena_release(&arena);
}

static void work(const char *data, struct result *results, uint32_t count, uint32_t worker)
{
    for (uint32_t i = worker; i < count; i += WORKERS) {
        if (results[i].text[0] != '\0')
            continue;
        tell(&results[i], "crash", "");
        alarm(CASE_SECONDS);
        run_case(data, &results[i]);
    }
    _exit(0);
}

static void run_all(const char *data, struct result *results, uint32_t count)
{
    pid_t pids[WORKERS];
    uint32_t alive = WORKERS;
    fflush(NULL);
    for (uint32_t w = 0; w < WORKERS; w++)
        if ((pids[w] = fork()) == 0)
            work(data, results, count, w);
    while (alive > 0) {
        int status;
        pid_t pid = wait(&status);
        for (uint32_t w = 0; w < WORKERS; w++) {
            if (pids[w] != pid)
                continue;
            alive--;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                continue;
            alive++; /* its case says "crash"; the next worker goes on behind it */
            if ((pids[w] = fork()) == 0)
                work(data, results, count, w);
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct result *)a)->name, ((const struct result *)b)->name);
}

static uint32_t find_cases(const struct request *request, struct result *results)
{
    uint32_t count = 0;
    for (size_t s = 0; s < sizeof suites / sizeof *suites; s++) {
        char path[256];
        struct dirent *entry;
        snprintf(path, sizeof path, "%s/%s", request->data, suites[s]);
        DIR *folder = opendir(path);
        while (folder && (entry = readdir(folder)) != NULL && count < MAX_CASES) {
            if (entry->d_name[0] == '.' ||
                (request->filter && !strstr(entry->d_name, request->filter)))
                continue;
            snprintf(results[count++].name, sizeof results->name, "%s/%.120s", suites[s],
                     entry->d_name);
        }
        if (folder)
            closedir(folder);
    }
    qsort(results, count, sizeof *results, by_name);
    return count;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* What the list expects of a case; NULL when it does not name it. */
static const char *expected(const char *list, const char *name, char *line, size_t size)
{
    size_t length = strlen(name);
    for (const char *at = list; at && *at != '\0'; at = strchr(at, '\n'), at += at != NULL) {
        if (strncmp(at, name, length) == 0 && at[length] == ' ') {
            snprintf(line, size, "%.*s", (int)strcspn(at + length + 1, "\n"), at + length + 1);
            return line;
        }
    }
    return NULL;
}

static uint32_t count_worse(const struct result *results, uint32_t count, const char *list)
{
    uint32_t worse = 0;
    for (uint32_t i = 0; i < count; i++) {
        char line[600];
        const char *before = expected(list, results[i].name, line, sizeof line);
        const char *now = results[i].text;
        bool pass = starts(now, "pass"), refused = starts(now, "refused");
        bool bad = !pass && (!refused || !before || starts(before, "pass"));
        bool unlisted = before == NULL || strcmp(before, now) != 0;
        if (bad || unlisted)
            printf("%s %s: %s; listed: %s\n", bad ? "FAIL" : "note", results[i].name, now,
                   before ? before : "nothing");
        worse += bad;
    }
    return worse;
}

static bool write_list(const char *path, const struct result *results, uint32_t count)
{
    struct arena arena;
    struct strbuf text;
    struct error err;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    for (uint32_t i = 0; i < count; i++)
        strbuf_printf(&text, "%s %s\n", results[i].name, results[i].text);
    bool ok = file_write_atomic(path, text.data, text.size_bytes, 0644, &err);
    arena_release(&arena);
    return ok;
}

static void print_totals(const struct result *results, uint32_t count)
{
    uint32_t pass = 0, refused = 0, dense = 0, dense_pass = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool passes = starts(results[i].text, "pass");
        pass += passes;
        refused += starts(results[i].text, "refused");
        dense += results[i].dense;
        dense_pass += results[i].dense && passes;
    }
    printf("%u cases: %u pass (%.1f %%), %u refused, %u wrong\n", count, pass, 100.0 * pass / count,
           refused, count - pass - refused);
    if (dense > 0)
        printf("of %u with dense tensors of numbers only, %u pass (%.1f %%)\n", dense, dense_pass,
               100.0 * dense_pass / dense);
}

static bool parse_request(int argc, char **argv, struct request *out)
{
    *out = (struct request){.data = DEBIAN_DATA, .list = DEBIAN_LIST};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--update") == 0)
            out->update = true;
        else if (more && strcmp(argv[i], "--data") == 0)
            out->data = argv[++i];
        else if (more && strcmp(argv[i], "--list") == 0)
            out->list = argv[++i];
        else if (argv[i][0] == '-' || out->filter)
            return false;
        else
            out->filter = argv[i];
    }
    return true;
}

static int check_list(const struct request *request, const struct result *results, uint32_t count)
{
    char *list = NULL;
    size_t size = 0;
    struct error err;
    if (request->update)
        return write_list(request->list, results, count) ? 0 : 1;
    if (!file_read(request->list, (size_t)1 << 20, &list, &size, &err)) {
        printf("cannot read %s: --update writes it\n", request->list);
        return 1;
    }
    uint32_t worse = count_worse(results, count, list);
    free(list);
    return worse > 0;
}

int main(int argc, char **argv)
{
    struct request request;
    struct result *results = mmap(NULL, MAX_CASES * sizeof *results, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!parse_request(argc, argv, &request) || results == MAP_FAILED) {
        printf("usage: test-onnx [--data FOLDER] [--list FILE] [--update] [NAME]\n");
        return 1;
    }
    uint32_t count = find_cases(&request, results);
    if (count == 0) {
        printf("no cases in %s; those of Debian are in libonnx-testdata\n", request.data);
        return SKIPPED;
    }
    run_all(request.data, results, count);
    print_totals(results, count);
    for (uint32_t i = 0; i < count && request.filter; i++)
        printf("%s %s\n", results[i].name, results[i].text);
    return request.filter ? 0 : check_list(&request, results, count);
}
