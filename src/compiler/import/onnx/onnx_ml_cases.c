/* Cases of ai.onnx.ml, for tests. */
#include "compiler/import/onnx/onnx_ml_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <onnx.pb-c.h>
/* cmocka defines a macro fail, so our headers come first. */
#include <cmocka.h>

/* The next word after *at, which is advanced; "" at the end. */
static const char *next_word(struct model *m, const char **at)
{
    *at += strspn(*at, " ");
    size_t length = strcspn(*at, " ");
    const char *word = arena_strndup(&m->arena, *at, length);
    *at += length;
    return word;
}

static Onnx__AttributeProto *add_attribute(struct model *m, Onnx__NodeProto *node, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *attr = ARENA_NEW(&m->arena, Onnx__AttributeProto);
    onnx__attribute_proto__init(attr);
    attr->name = (char *)name;
    attr->has_type = 1;
    attr->type = type;
    assert_true(node->n_attribute < MAX_ATTRIBUTES);
    node->attribute[node->n_attribute++] = attr;
    return attr;
}

void add_list(struct model *m, Onnx__NodeProto *node, const char *name, const int64_t *ints,
              const float *floats, size_t count)
{
    Onnx__AttributeProto *attr =
        add_attribute(m, node, name,
                      ints ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS
                           : ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
    attr->n_ints = ints ? count : 0;
    attr->ints = (int64_t *)(uintptr_t)ints;
    attr->n_floats = ints ? 0 : count;
    attr->floats = (float *)(uintptr_t)floats;
}

void add_texts(struct model *m, Onnx__NodeProto *node, const char *name, const char *const *texts,
               size_t count)
{
    Onnx__AttributeProto *attr =
        add_attribute(m, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS);
    attr->n_strings = count;
    attr->strings = ARENA_ARRAY(&m->arena, ProtobufCBinaryData, count);
    for (size_t i = 0; i < count; i++)
        attr->strings[i] = (ProtobufCBinaryData){strlen(texts[i]), (uint8_t *)(uintptr_t)texts[i]};
}

struct words {
    const char *items[256];
    double numbers[256];
    size_t count;
};

static void split_words(struct model *m, const char *text, struct words *out)
{
    out->count = 0;
    for (const char *at = text; at[strspn(at, " ")] != '\0'; out->count++) {
        assert_true(out->count < 256);
        out->items[out->count] = next_word(m, &at);
        out->numbers[out->count] = strtod(out->items[out->count], NULL);
    }
}

/* Converts numbers to the layout of a dtype. */
static void *pack_numbers(struct model *m, enum dtype dtype, const struct words *words)
{
    struct interp_tensor tensor = {.dtype = dtype, .rank = 1, .count = (int64_t)words->count};
    tensor.cells = ARENA_ARRAY(&m->arena, union cell, words->count);
    for (size_t i = 0; i < words->count; i++)
        if (dtype_is_float(dtype))
            tensor.cells[i].f = dtype_round(dtype, words->numbers[i]);
        else
            tensor.cells[i].i = strtoll(words->items[i], NULL, 10);
    void *data = arena_alloc(&m->arena, words->count * dtype_bytes(dtype), 64);
    interp_store(&tensor, data);
    return data;
}

static int32_t type_of(enum dtype dtype)
{
    static const struct {
        enum dtype dtype;
        int32_t type;
    } types[] = {{DTYPE_F32, 1}, {DTYPE_U8, 2},   {DTYPE_I16, 5}, {DTYPE_I32, 6},
                 {DTYPE_I64, 7}, {DTYPE_F16, 10}, {DTYPE_F64, 11}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype)
            return types[i].type;
    fail_msg("no type");
    return 0;
}

static void add_tensor(struct model *m, Onnx__NodeProto *node, const char *name, enum dtype dtype,
                       const struct words *words)
{
    Onnx__AttributeProto *attr =
        add_attribute(m, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
    Onnx__TensorProto *tensor = ARENA_NEW(&m->arena, Onnx__TensorProto);
    onnx__tensor_proto__init(tensor);
    attr->t = tensor;
    tensor->has_data_type = 1;
    tensor->data_type = type_of(dtype);
    tensor->n_dims = 1;
    tensor->dims = ARENA_ARRAY(&m->arena, int64_t, 1);
    tensor->dims[0] = (int64_t)words->count;
    tensor->has_raw_data = 1;
    tensor->raw_data =
        (ProtobufCBinaryData){words->count * dtype_bytes(dtype), pack_numbers(m, dtype, words)};
}

/* "name kind values" */
static void parse_attribute(struct model *m, Onnx__NodeProto *node, const char *text)
{
    const char *name = next_word(m, &text), *kind = next_word(m, &text);
    struct words words;
    split_words(m, text, &words);
    int64_t *ints = ARENA_ARRAY(&m->arena, int64_t, words.count);
    float *floats = ARENA_ARRAY(&m->arena, float, words.count);
    for (size_t i = 0; i < words.count; i++) {
        ints[i] = strtoll(words.items[i], NULL, 10);
        floats[i] = (float)words.numbers[i];
    }
    if (strcmp(kind, "i") == 0) {
        Onnx__AttributeProto *attr =
            add_attribute(m, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
        attr->has_i = 1;
        attr->i = ints[0];
    } else if (strcmp(kind, "f") == 0) {
        Onnx__AttributeProto *attr =
            add_attribute(m, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
        attr->has_f = 1;
        attr->f = floats[0];
    } else if (strcmp(kind, "s") == 0) {
        Onnx__AttributeProto *attr =
            add_attribute(m, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
        attr->has_s = 1;
        attr->s =
            (ProtobufCBinaryData){strlen(words.items[0]), (uint8_t *)(uintptr_t)words.items[0]};
    } else if (strcmp(kind, "ss") == 0) {
        add_texts(m, node, name, words.items, words.count);
    } else if (strcmp(kind, "ii") == 0 || strcmp(kind, "ff") == 0) {
        add_list(m, node, name, kind[0] == 'i' ? ints : NULL, floats, words.count);
    } else {
        add_tensor(m, node, name, dtype_from_name(kind), &words);
    }
}

Onnx__NodeProto *begin_case(struct model *m, const char *op, int opset, const char *attrs)
{
    Onnx__OperatorSetIdProto *ml = ARENA_NEW(&m->arena, Onnx__OperatorSetIdProto);
    Onnx__OperatorSetIdProto **opsets = ARENA_ARRAY(&m->arena, Onnx__OperatorSetIdProto *, 2);
    start_over(m);
    *ml = *m->opset;
    ml->domain = (char *)"ai.onnx.ml";
    ml->version = opset;
    opsets[0] = m->opset;
    opsets[1] = ml;
    m->proto->n_opset_import = 2;
    m->proto->opset_import = opsets;
    Onnx__NodeProto *node = add_node(m, op, "x", NULL, "y");
    node->domain = (char *)"ai.onnx.ml";
    node->output = ARENA_ARRAY(&m->arena, char *, 2);
    node->output[0] = (char *)"y";
    node->output[1] = (char *)"z";
    node->attribute = ARENA_ARRAY(&m->arena, Onnx__AttributeProto *, MAX_ATTRIBUTES);
    for (const char *at = attrs; *at != '\0';) {
        size_t length = strcspn(at, ";");
        parse_attribute(m, node, arena_strndup(&m->arena, at, length));
        at += length + (at[length] == ';');
        at += strspn(at, " ");
    }
    return node;
}

/* "f32 2x3 1 2 3 4 5 6" */
static void parse_tensor(struct model *m, const char *text, struct interp_tensor *out)
{
    int64_t shape[LIMIT_RANK], count = 1;
    struct words words;
    struct error err;
    enum dtype dtype = dtype_from_name(next_word(m, &text));
    uint32_t rank = 0;
    char *at = (char *)(uintptr_t)next_word(m, &text);
    for (; *at != '\0' && rank < LIMIT_RANK; at += *at == 'x') {
        shape[rank] = strtoll(at, &at, 10);
        count *= shape[rank++];
    }
    split_words(m, text, &words);
    assert_int_equal(words.count, count);
    const struct native_tensor native = {dtype, rank, shape, pack_numbers(m, dtype, &words)};
    assert_true(interp_load(out, &m->arena, &native, &err));
}

static void add_text_input(struct model *m, const struct interp_tensor *x)
{
    const char **dims = ARENA_ARRAY(&m->arena, const char *, LIMIT_RANK + 1);
    for (uint32_t i = 0; i < x->rank; i++) {
        char size[24];
        snprintf(size, sizeof size, "%lld", (long long)x->shape[i]);
        dims[i] = arena_strdup(&m->arena, size);
    }
    add_input(m, "x", type_of(x->dtype), dims);
}

const struct interp_tensor *run_text(struct model *m, const char *text)
{
    struct interp_tensor x, *out = ARENA_ARRAY(&m->arena, struct interp_tensor, MAX_ITEMS);
    parse_tensor(m, text, &x);
    add_text_input(m, &x);
    if (!read_model(m) ||
        !interp_run(&m->blueprint.graph, &(struct interp_options){.mode = INTERP_NATIVE},
                    &(struct interp_arguments){NULL, &x, 1}, &m->arena, out, &m->err))
        fail_msg("%s: %s %s", m->nodes[0]->op_type, m->err.place, m->err.message);
    return out;
}

void assert_tensor(const char *what, const struct interp_tensor *found, const char *text)
{
    struct model m;
    struct interp_tensor right;
    double largest = 0;
    arena_init(&m.arena);
    parse_tensor(&m, text, &right);
    if (found->dtype != right.dtype || found->rank != right.rank || found->count != right.count)
        fail_msg("%s: %lld elements of %s in %u dims", what, (long long)found->count,
                 dtype_name(found->dtype), found->rank);
    bool floats = dtype_is_float(right.dtype);
    for (int64_t i = 0; i < right.count && floats; i++)
        largest = isfinite(right.cells[i].f) ? fmax(largest, fabs(right.cells[i].f)) : largest;
    for (int64_t i = 0; i < right.count; i++) {
        double x = floats ? found->cells[i].f : (double)found->cells[i].i;
        double y = floats ? right.cells[i].f : (double)right.cells[i].i;
        bool same = floats && isfinite(y) ? fabs(x - y) <= 2e-6 * largest
                                          : x == y || (isnan(x) && isnan(y));
        if (!same || (!floats && found->cells[i].i != right.cells[i].i))
            fail_msg("%s: [%lld] is %.9g, right is %.9g", what, (long long)i, x, y);
    }
    arena_release(&m.arena);
}

void check_cases(struct model *m, const struct ml_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char what[300];
        const struct ml_case *k = &cases[i];
        Onnx__NodeProto *node = begin_case(m, k->op, k->opset, k->attrs);
        snprintf(what, sizeof what, "%s {%s}", k->op, k->attrs);
        node->n_output = k->z ? 2 : 1;
        if (k->y)
            add_output(m, "y");
        if (k->z)
            add_output(m, "z");
        const struct interp_tensor *found = run_text(m, k->x);
        if (k->y)
            assert_tensor(what, found++, k->y);
        if (k->z)
            assert_tensor(what, found, k->z);
    }
}

void check_bad(struct model *m, const struct ml_bad *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct interp_tensor x;
        Onnx__NodeProto *node = begin_case(m, cases[i].op, cases[i].opset, cases[i].attrs);
        node->n_output = strstr(cases[i].op, "Classifier") ? 2 : 1;
        parse_tensor(m, cases[i].x, &x);
        add_text_input(m, &x);
        add_output(m, "y");
        assert_refused(m, cases[i].code, cases[i].part);
    }
}
