/* The printed parts of the docs, from the rows that the compiler itself uses.
 *
 *     docgen blueprint       dtypes, operations, primitives, gradients
 *     docgen architecture    passes, schedule steps
 *     docgen onnx            operations of ONNX
 *     docgen pytorch         operations of PyTorch
 *     docgen registry        endpoints, settings and figures of the service
 *
 * What an operation gives is not written down anywhere: its first example is built, and the shapes
 * that were inferred are printed. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/grad/grad.h"
#include "compiler/import/import.h"
#include "compiler/ops/ops.h"
#include "compiler/opt/opt.h"
#include "server/server.h"

struct prim_row {
    const char *name, *rule, *doc;
    int operands;
    uint32_t attrs;
    double ulp;
};

static const struct prim_row prims[] = {
#define PRIM(id, name, n, rule, attrs, ulp, doc) {name, #rule, doc, n, attrs, ulp},
#define V -1
#include "graph/prims.def"
#undef V
#undef PRIM
};

/* What the shape rules give, in words. */
static const struct {
    const char *rule, *gives;
} rules[] = {
    {"source", "as declared"},
    {"const", "0-d of dtype"},
    {"literal", "shape of dtype; constant dims"},
    {"iota", "shape of dtype, any but bool"},
    {"size", "0-d i64"},
    {"random", "shape of i64"},
    {"unary_num", "as the operand; floats and integers"},
    {"unary_float", "as the operand; floats"},
    {"unary_bool", "as the operand; integers and bool"},
    {"unary_any", "as the operand"},
    {"is_nan", "bool in the operand's shape; floats"},
    {"binary_num", "as the operands, which are alike; floats and integers"},
    {"binary_float", "as the operands, which are alike; floats"},
    {"binary_bool", "as the operands, which are alike; integers and bool"},
    {"binary_int", "as the operands, which are alike; integers"},
    {"compare", "bool in the shape of the operands, which are alike"},
    {"select", "as the second and third operand, which are alike"},
    {"cast", "the operand's shape in dtype"},
    {"bitcast", "the operand's shape in dtype, of the same width"},
    {"reduce", "the operand without axes; maxima and minima of bool, too"},
    {"arg_reduce", "i64, the operand's shape without axis"},
    {"arg_sort", "i64 in the operand's shape"},
    {"scan", "as the operand"},
    {"contract", "batch, m and n dims; operands of one dtype, floats or integers"},
    {"conv", "[N, O, ...]; each spatial dim by the formula below"},
    {"window", "the leading dims, then each spatial dim by the formula below"},
    {"reshape", "shape; as many elements as before"},
    {"transpose", "the operand's dims in the order of axes"},
    {"broadcast", "shape"},
    {"slice", "shape; provably inside the operand"},
    {"pad", "each dim of the operand + low + high"},
    {"concat", "as the operands; along axis the sum of their dims"},
    {"reverse", "as the operand"},
    {"take", "the operand's shape, axis replaced by the shape of the indices"},
    {"gather", "the shape of the indices"},
    {"scatter", "as the first operand"},
    {"iter", "i64, 0-d"},
    {"state", "as the operand"},
    {"loop", "a state's shape; or dim, then the shape of a row"},
};

static const struct {
    uint32_t bit;
    const char *name;
} attr_names[] = {
    {ATTR_SHAPE, "shape"},         {ATTR_DTYPE, "dtype"},
    {ATTR_NAME, "name"},           {ATTR_VALUE, "value"},
    {ATTR_DATA, "data"},           {ATTR_AXIS, "axis"},
    {ATTR_AXES, "axes"},           {ATTR_START, "start"},
    {ATTR_STEP, "step"},           {ATTR_LOW, "low"},
    {ATTR_HIGH, "high"},           {ATTR_MODE, "mode"},
    {ATTR_EXCLUSIVE, "exclusive"}, {ATTR_REVERSE, "reverse"},
    {ATTR_BATCH, "batch"},         {ATTR_CONTRACT, "contract"},
    {ATTR_WINDOW, "window"},       {ATTR_GROUPS, "groups"},
    {ATTR_LOOP, "loop"},           {ATTR_INDEX, "index"},
    {ATTR_STATES, "states"},       {ATTR_DIM, "shape"},
    {ATTR_WHILE, "while"},
};

/* Bytes of text, with a backslash before those in special. */
static void put_escaped(struct strbuf *out, const char *text, size_t size, const char *special)
{
    for (size_t i = 0; i < size; i++)
        strbuf_printf(out, strchr(special, text[i]) ? "\\%c" : "%c", text[i]);
}

/* Code in a cell of a table, where a bar would end the cell. */
static void put_code(struct strbuf *out, const char *text, size_t size)
{
    put_escaped(out, text, size, "|");
}

static void put_text(struct strbuf *out, const char *text)
{
    put_escaped(out, text, strlen(text), "|*_<");
}

static void put_dtypes(struct strbuf *out)
{
    static const char *const kinds[] = {"", "float", "integer", "truth value", "unsigned integer"};
    strbuf_puts(out, "## Data types\n\n"
                     "| name | bytes | kind | in .npy files | in .safetensors files |\n"
                     "| --- | --- | --- | --- | --- |\n");
    for (int d = 1; d < DTYPE_COUNT; d++) {
        strbuf_printf(out, "| `%s` | %zu | %s | `", dtype_name((enum dtype)d),
                      dtype_bytes((enum dtype)d), kinds[dtype_kind((enum dtype)d)]);
        put_code(out, dtype_npy((enum dtype)d), strlen(dtype_npy((enum dtype)d)));
        strbuf_printf(out, "` | `%s` |\n", dtype_safetensors((enum dtype)d));
    }
}

/* "stride:ints=1 size:ints=?" as "`stride` ints = 1, `size` ints, optional". */
static void put_attributes(struct strbuf *out, const char *schema)
{
    for (const char *at = schema; *at != '\0';) {
        size_t size = strcspn(at, " "), name = strcspn(at, ":"), type = strcspn(at, "= ");
        strbuf_puts(out, at == schema ? "`" : "; `");
        put_code(out, at, name);
        strbuf_puts(out, "` ");
        put_code(out, at + name + 1, type - name - 1);
        if (type + 2 == size && at[type + 1] == '?') {
            strbuf_puts(out, ", optional");
        } else if (type < size) {
            strbuf_puts(out, " = ");
            put_code(out, at + type + 1, size - type - 1);
        }
        at += size;
        at += strspn(at, " ");
    }
}

static void put_result(struct strbuf *out, const struct graph *graph)
{
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const struct node *node = graph_node(graph, graph->outputs.items[i].value);
        strbuf_puts(out, i > 0 ? ", " : "");
        if (node->dtype != DTYPE_F32)
            strbuf_puts(out, dtype_name(node->dtype));
        strbuf_puts(out, "[");
        for (uint32_t axis = 0; axis < node->rank; axis++) {
            strbuf_puts(out, axis > 0 ? ", " : "");
            dim_print(&graph->dims, node->shape[axis], out);
        }
        strbuf_puts(out, "]");
    }
}

static bool put_op(struct strbuf *out, const struct op_row *row, struct error *err)
{
    struct op_example *example = ARENA_NEW(out->arena, struct op_example);
    struct graph graph;
    graph_init(&graph, out->arena);
    if (!op_example_build(row, &(struct op_example_request){0, 1, 4, DTYPE_F32, true}, &graph,
                          example, err))
        return fail_at(err, "op '%s'", row->name);
    strbuf_printf(out, "| `%s` | `%s` | ", row->name, row->operands);
    put_attributes(out, row->attrs);
    strbuf_puts(out, " | `");
    put_code(out, row->examples, strcspn(row->examples, ";"));
    strbuf_puts(out, "` | `");
    put_result(out, &graph);
    strbuf_puts(out, "` | ");
    put_text(out, row->doc);
    strbuf_puts(out, " |\n");
    return true;
}

static bool put_ops(struct strbuf *out, struct error *err)
{
    strbuf_puts(out,
                "\n## Operations\n\n"
                "Names, operands and attributes are PyTorch's. An operand with `?` may be left "
                "out, one with `...` may be repeated. An attribute without a value behind `=` must "
                "be given, unless it is optional; where a list of integers (`ints`) is expected, "
                "one integer stands for as many as are needed. In the examples capital letters "
                "are dims, `x:i64<N>` holds integers from 0 to N - 1, and `<a,b>` is a range of "
                "values.\n\n"
                "| op | operands | attributes | example | gives | meaning |\n"
                "| --- | --- | --- | --- | --- | --- |\n");
    for (uint32_t i = 0; op_at(i); i++)
        if (!put_op(out, op_at(i), err))
            return false;
    return true;
}

static const char *rule_in_words(const char *rule)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rules[i].rule, rule) == 0)
            return rules[i].gives;
    return NULL;
}

static bool put_prims(struct strbuf *out, struct error *err)
{
    strbuf_puts(out,
                "\n## Primitives\n\n"
                "All operations expand into these; `urza graph` prints them. `ulp` is how far "
                "compiled f32 code may be off, in units in the last place. A window's size, "
                "stride, low, high, dilation and base dilation make of a spatial dim x: "
                "((base\\_dilation\\*(x - 1) + 1 + low + high - (dilation\\*(size - 1) + 1)) // "
                "stride) + 1.\n\n"
                "| prim | operands | attributes | gives | ulp | meaning |\n"
                "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < sizeof prims / sizeof prims[0]; i++) {
        const struct prim_row *prim = &prims[i];
        strbuf_printf(out, "| `%s` | ", prim->name);
        strbuf_printf(out, prim->operands < 0 ? "1 and more" : "%d", prim->operands);
        strbuf_puts(out, " | ");
        const char *between = "";
        for (size_t k = 0; k < sizeof attr_names / sizeof attr_names[0]; k++) {
            if (!(prim->attrs & attr_names[k].bit))
                continue;
            strbuf_printf(out, "%s`%s`", between, attr_names[k].name);
            between = ", ";
        }
        const char *gives = rule_in_words(prim->rule);
        if (!gives)
            return fail(err, ERR_BUG, "rule '%s' has no words", prim->rule);
        strbuf_puts(out, " | ");
        put_text(out, gives);
        strbuf_puts(out, " | ");
        strbuf_double(out, prim->ulp);
        strbuf_puts(out, " | ");
        put_text(out, prim->doc);
        strbuf_puts(out, " |\n");
    }
    return true;
}

/* What gradients do where it does not go without saying. */
static void put_gradients(struct strbuf *out)
{
    strbuf_puts(
        out, "\n## Gradients\n\n"
             "Where an operation has no derivative, its gradient is a subgradient: PyTorch's, "
             "where PyTorch has the operation. Integers and bools have no gradient, and what "
             "hangs on them, on comparisons or on roundings is a constant. A composite operation "
             "has the gradient of the primitives that it expands into.\n\n"
             "| prim | gradient |\n"
             "| --- | --- |\n");
    for (int prim = PRIM_NONE + 1; prim < PRIM_COUNT; prim++) {
        const char *doc = grad_doc((enum prim)prim);
        if (doc[0] == '\0')
            continue;
        strbuf_printf(out, "| `%s` | ", prim_info((enum prim)prim)->name);
        put_text(out, doc);
        strbuf_puts(out, " |\n");
    }
}

static bool put_blueprint(struct strbuf *out, struct error *err)
{
    put_dtypes(out);
    if (!put_ops(out, err) || !put_prims(out, err))
        return false;
    put_gradients(out);
    return true;
}

static void put_properties(struct strbuf *out, uint32_t set)
{
    const char *before = " ";
    for (int p = 0; p < PROPERTY_COUNT; p++) {
        if (!(set >> p & 1))
            continue;
        strbuf_printf(out, "%s%s", before, property_name((enum property)p));
        before = ", ";
    }
    strbuf_puts(out, " |");
}

static void put_passes(struct strbuf *out)
{
    strbuf_puts(out, "| pass | needs | gives | keeps | what it does |\n"
                     "| --- | --- | --- | --- | --- |\n");
    for (uint32_t i = 0; pass_at(i); i++) {
        const struct pass_row *pass = pass_at(i);
        strbuf_printf(out, "| `%s` |", pass->name);
        put_properties(out, pass->needs);
        put_properties(out, pass->gives);
        put_properties(out, pass->keeps);
        strbuf_puts(out, " ");
        put_text(out, pass->doc);
        strbuf_puts(out, " |\n");
    }
    strbuf_puts(out, "\n| property | what holds |\n| --- | --- |\n");
    for (int p = 0; p < PROPERTY_COUNT; p++) {
        strbuf_printf(out, "| %s | ", property_name((enum property)p));
        put_text(out, property_doc((enum property)p));
        strbuf_puts(out, " |\n");
    }
}

static bool put_architecture(struct strbuf *out, struct error *err)
{
    static const struct {
        const char *text, *doc;
    } steps[] = {
#define STEP(id, text, loops, number, doc) {text, doc},
#include "compiler/sched/steps.def"
#undef STEP
    };
    (void)err;
    put_passes(out);
    strbuf_puts(out, "\n| schedule step | what becomes of the loops |\n| --- | --- |\n");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        strbuf_printf(out, "| `%s` | ", steps[i].text);
        put_text(out, steps[i].doc);
        strbuf_puts(out, " |\n");
    }
    return true;
}

static bool put_onnx(struct strbuf *out, struct error *err)
{
    struct onnx_coverage op;
    (void)err;
    strbuf_puts(out, "| op | opsets | types | note |\n| --- | --- | --- | --- |\n");
    for (uint32_t i = 0; onnx_covers(i, &op); i++)
        strbuf_printf(out, "| %s | %d–%d | %s | %s |\n", op.name, op.since, ONNX_NEWEST_OPSET,
                      op.types, op.note);
    return true;
}

static bool put_pytorch(struct strbuf *out, struct error *err)
{
    struct pt2_coverage op;
    (void)err;
    strbuf_puts(out, "| op | not read |\n| --- | --- |\n");
    for (uint32_t i = 0; pt2_covers(i, &op); i++)
        strbuf_printf(out, "| `%s` | %s |\n", op.name, op.note);
    return true;
}

static bool put_registry(struct strbuf *out, struct error *err)
{
    struct endpoint at;
    static const struct {
        const char *name, *label, *doc;
    } metrics[] = {
#define METRIC(id, kind, name, label, doc) {name, label, doc},
#include "server/metrics.def"
#undef METRIC
    };
    (void)err;
    strbuf_puts(out, "| endpoint | scope | what it does |\n| --- | --- | --- |\n");
    for (uint32_t i = 0; server_endpoint(i, &at); i++)
        strbuf_printf(out, "| `%s %s` | %s | %s |\n", at.method, at.path, at.scope, at.doc);
    strbuf_puts(out, "\n| setting | default | what it is |\n| --- | --- | --- |\n");
    for (uint32_t i = 0; setting_at(i); i++)
        strbuf_printf(out, "| `%s` | %s | %s |\n", setting_at(i)->name, setting_at(i)->text,
                      setting_at(i)->doc);
    strbuf_puts(out, "\n| figure | label | what it is |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        strbuf_printf(out, "| `%s` | %s | %s |\n", metrics[i].name, metrics[i].label,
                      metrics[i].doc);
    return true;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*put)(struct strbuf *out, struct error *err);
    } parts[] = {{"blueprint", put_blueprint},
                 {"architecture", put_architecture},
                 {"onnx", put_onnx},
                 {"pytorch", put_pytorch},
                 {"registry", put_registry}};
    struct arena arena;
    struct strbuf out;
    struct error err = {.code = ERR_NONE};
    bool ok = false, found = false;
    arena_init(&arena);
    strbuf_init(&out, &arena);
    for (size_t i = 0; argc == 2 && i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(argv[1], parts[i].name) == 0) {
            found = true;
            ok = parts[i].put(&out, &err);
        }
    if (!found)
        fail(&err, ERR_USAGE, "usage: docgen blueprint | architecture | onnx | pytorch | registry");
    if (ok)
        ok = fwrite(out.data, 1, out.size_bytes, stdout) == out.size_bytes && fflush(stdout) == 0;
    else
        fprintf(stderr, "docgen: %s: %s\n", err.place, err.message);
    arena_release(&arena);
    return ok ? 0 : 1;
}
