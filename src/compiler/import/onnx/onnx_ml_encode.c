/* Domain ai.onnx.ml: encoding numbers as categories. */
#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import/onnx/onnx_ml_priv.h"
#include "graph/interp.h"

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool check_categories(struct onnx_call *c, const struct ml_ints *list)
{
    int64_t *sorted = ARENA_ARRAY(c->o->arena, int64_t, list->count);
    if (list->count == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'cats_int64s' has no elements");
    memcpy(sorted, list->at, list->count * sizeof *sorted);
    qsort(sorted, list->count, sizeof *sorted, by_number);
    for (uint32_t i = 1; i < list->count; i++)
        if (sorted[i] == sorted[i - 1])
            return b_fail(c->b, ERR_BLUEPRINT, "attribute 'cats_int64s' has %lld twice",
                          (long long)sorted[i]);
    return true;
}

bool onnx_ml_one_hot_encoder(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct ml_ints list = ml_ints(c, "cats_int64s");
    int64_t count = list.count;
    if (ml_texts(c, "cats_strings").count > 0)
        return onnx_refuse(c, "attribute 'cats_strings': there are no tensors of strings");
    if (onnx_failed(c) || !check_categories(c, &list))
        return false;
    if (onnx_int(c, "zeros", 1) == 0)
        onnx_warn(c, "a category that is not in 'cats_int64s' gives zeros, though 'zeros' is 0: "
                     "compiled code does not fail on a value");
    value_id x = b_unsqueeze(b, b_cast(b, c->in[0], DTYPE_I64), -1);
    value_id is =
        b_binary(b, PRIM_EQ, x, ml_table(c, "cats_int64s", DTYPE_I64, &count, 1, list.at));
    return onnx_return(c, b_cast(b, is, DTYPE_F32));
}

/* A list of numbers of any dtype; DTYPE_NONE: no attribute has one. */
struct numbers {
    enum dtype dtype;
    uint32_t count;
    union cell *cells;
};

static bool read_tensor(struct onnx_call *c, const char *name, struct numbers *out)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    struct import_tensor tensor;
    struct interp_tensor cells;
    if (!attr || onnx_failed(c))
        return !onnx_failed(c);
    if (!attr->t)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' is no tensor", name);
    if (!onnx_tensor(attr->t, c->o->options->folder, c->o->arena, &tensor, c->b->err))
        return fail_at(c->b->err, "attribute '%s'", name);
    const struct native_tensor native = {tensor.dtype, tensor.rank, tensor.shape, tensor.data};
    if (!interp_load(&cells, c->o->arena, &native, c->b->err))
        return false;
    *out = (struct numbers){tensor.dtype, (uint32_t)cells.count, cells.cells};
    return true;
}

/* Reads the attributes keys_int64s, keys_floats and keys_tensor, or the same for values. */
static bool read_numbers(struct onnx_call *c, const char *kind, struct numbers *out)
{
    char name[32];
    *out = (struct numbers){.dtype = DTYPE_NONE};
    snprintf(name, sizeof name, "%s_strings", kind);
    if (ml_texts(c, name).given)
        return onnx_refuse(c, "attribute '%s': there are no tensors of strings", name);
    snprintf(name, sizeof name, "%s_tensor", kind);
    if (!read_tensor(c, name, out))
        return false;
    snprintf(name, sizeof name, "%s_int64s", kind);
    struct ml_ints ints = ml_ints(c, name);
    snprintf(name, sizeof name, "%s_floats", kind);
    struct ml_reals reals = ml_reals(c, name);
    if (onnx_failed(c))
        return false;
    if ((out->dtype != DTYPE_NONE) + ints.given + reals.given != 1)
        return b_fail(c->b, ERR_BLUEPRINT,
                      "just one of the attributes '%s_int64s', '%s_floats' and '%s_tensor' is "
                      "needed",
                      kind, kind, kind);
    if (out->dtype != DTYPE_NONE)
        return true;
    out->dtype = ints.given ? DTYPE_I64 : DTYPE_F32;
    out->count = ints.count + reals.count;
    out->cells = ARENA_ARRAY(c->o->arena, union cell, out->count);
    for (uint32_t i = 0; i < out->count; i++)
        if (ints.given)
            out->cells[i].i = ints.at[i];
        else
            out->cells[i].f = reals.at[i];
    return true;
}

/* Reads the default, for keys that are not in the dictionary, in the dtype of the values. */
static bool read_default(struct onnx_call *c, enum dtype dtype, union cell *out)
{
    struct numbers given = {.dtype = DTYPE_NONE};
    if (!read_tensor(c, "default_tensor", &given))
        return false;
    if (given.dtype != DTYPE_NONE && (given.dtype != dtype || given.count != 1))
        return b_fail(c->b, ERR_BLUEPRINT,
                      "attribute 'default_tensor' is no single %s, as values are",
                      dtype_name(dtype));
    if (given.dtype != DTYPE_NONE)
        *out = given.cells[0];
    else if (dtype_is_float(dtype))
        out->f = onnx_float(c, "default_float", -0.0);
    else
        out->i = dtype_wrap(dtype, onnx_int(c, "default_int64", -1));
    return !onnx_failed(c);
}

static value_id table_of(struct onnx_call *c, const char *what, enum dtype dtype, union cell *cells,
                         int64_t count, uint32_t rank)
{
    struct interp_tensor tensor = {.dtype = dtype, .rank = 1, .count = count, .cells = cells};
    void *data = arena_alloc(c->o->arena, (size_t)count * dtype_bytes(dtype), 64);
    interp_store(&tensor, data);
    return ml_table(c, what, dtype, &count, rank, data);
}

/* A key and its value; sorted by key. */
struct entry {
    union cell key, value;
    bool is_float;
    uint32_t place;
};

/* Of equal keys, the last one in the attribute comes first. */
static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    bool less = x->is_float ? x->key.f < y->key.f : x->key.i < y->key.i;
    bool more = x->is_float ? x->key.f > y->key.f : x->key.i > y->key.i;
    return less ? -1 : more ? 1 : x->place > y->place ? -1 : x->place < y->place;
}

struct dictionary {
    enum dtype key_dtype, value_dtype;
    union cell *keys, *values; /* 2^steps elements; the last one is repeated */
    uint32_t steps;
    bool any, nan; /* any: some key is a number; nan: some key is NaN */
    union cell nan_value, absent;
};

static void sort_keys(struct onnx_call *c, const struct numbers *keys, const struct numbers *values,
                      struct dictionary *out)
{
    struct entry *entries = ARENA_ARRAY(c->o->arena, struct entry, keys->count);
    uint32_t count = 0, unique = 0;
    bool is_float = dtype_is_float(keys->dtype);
    for (uint32_t i = 0; i < keys->count; i++) {
        if (is_float && isnan(keys->cells[i].f)) {
            out->nan = true;
            out->nan_value = values->cells[i];
        } else {
            entries[count++] = (struct entry){keys->cells[i], values->cells[i], is_float, i};
        }
    }
    qsort(entries, count, sizeof *entries, by_key);
    for (uint32_t i = 0; i < count; i++) {
        bool same = unique > 0 && (is_float ? entries[i].key.f == entries[unique - 1].key.f
                                            : entries[i].key.i == entries[unique - 1].key.i);
        if (!same)
            entries[unique++] = entries[i];
    }
    while (((uint32_t)1 << out->steps) < unique)
        out->steps++;
    out->any = unique > 0;
    uint32_t room = out->any ? (uint32_t)1 << out->steps : 0;
    out->keys = ARENA_ARRAY(c->o->arena, union cell, room);
    out->values = ARENA_ARRAY(c->o->arena, union cell, room);
    for (uint32_t i = 0; i < room; i++) {
        uint32_t from = i < unique ? i : unique - 1;
        out->keys[i] = entries[from].key;
        out->values[i] = entries[from].value;
    }
}

/* The value of each key, by binary search in the sorted keys. */
static value_id look_up(struct onnx_call *c, const struct dictionary *d, value_id x)
{
    struct builder *b = c->b;
    value_id absent = table_of(c, "default", d->value_dtype, (union cell[]){d->absent}, 1, 0);
    value_id y = absent;
    if (d->any) {
        value_id keys = table_of(c, "keys", d->key_dtype, d->keys, (int64_t)1 << d->steps, 1);
        value_id values =
            table_of(c, "values", d->value_dtype, d->values, (int64_t)1 << d->steps, 1);
        value_id at = b_const(b, DTYPE_I32, 0);
        for (uint32_t i = d->steps; i-- > 0;) {
            value_id further = b_shift(b, at, (double)((uint32_t)1 << i));
            value_id reaches = b_binary(b, PRIM_LE, b_take(b, keys, further, 0), x);
            at = b_select(b, reaches, further, at);
        }
        value_id found = b_binary(b, PRIM_EQ, b_take(b, keys, at, 0), x);
        y = b_select(b, found, b_take(b, values, at, 0), absent);
    }
    if (d->nan)
        y = b_select(b, b_unary(b, PRIM_IS_NAN, x),
                     table_of(c, "nan", d->value_dtype, (union cell[]){d->nan_value}, 1, 0), y);
    return y;
}

bool onnx_ml_label_encoder(struct onnx_call *c)
{
    struct numbers keys, values;
    struct dictionary dictionary = {.steps = 0};
    value_id x = c->in[0];
    if (onnx_has(c, "classes_strings"))
        return onnx_refuse(c, "attribute 'classes_strings': there are no tensors of strings");
    if (!read_numbers(c, "keys", &keys) || !read_numbers(c, "values", &values))
        return false;
    if (keys.count != values.count || keys.count == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "%u keys and %u values", keys.count, values.count);
    if (keys.dtype != onnx_type(c, x))
        return b_fail(c->b, ERR_BLUEPRINT, "keys are %s, and the input is %s",
                      dtype_name(keys.dtype), dtype_name(onnx_type(c, x)));
    dictionary.key_dtype = keys.dtype;
    dictionary.value_dtype = values.dtype;
    if (keys.count > LIMIT_NODES * 16)
        return b_fail(c->b, ERR_LIMIT, "%u keys", keys.count);
    if (!read_default(c, values.dtype, &dictionary.absent))
        return false;
    sort_keys(c, &keys, &values, &dictionary);
    value_id y = look_up(c, &dictionary, x);
    const struct node *node = b_node(c->b, x);
    return onnx_return(c, onnx_failed(c) ? VALUE_NONE
                                         : b_broadcast_to(c->b, y, node->shape, node->rank));
}
