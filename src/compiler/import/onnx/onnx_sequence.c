/* Sequences: lists of values whose length is known, so they do not exist in the graph. Likewise it
 * is known of each optional whether it has a value. */
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

#define MAX_LENGTH 1024

static struct onnx_list *make_list(struct onnx_call *c, uint32_t count)
{
    struct onnx_list *list = ARENA_NEW(c->o->arena, struct onnx_list);
    if (count > MAX_LENGTH) {
        onnx_refuse(c, "a sequence of more than %d tensors", MAX_LENGTH);
        return NULL;
    }
    list->count = count;
    list->items = ARENA_ARRAY(c->o->arena, value_id, count);
    return list;
}

static bool return_list(struct onnx_call *c, const struct onnx_list *list)
{
    c->out_lists[0] = list;
    c->out_count = 1;
    return list && !onnx_failed(c);
}

static const struct onnx_list *list_in(struct onnx_call *c)
{
    if (!c->lists[0])
        b_fail(c->b, ERR_BLUEPRINT, "input 0 is no sequence");
    return c->lists[0];
}

/* Reads the position in operand `index`, 0 … most; `absent` if the operand is omitted. */
static bool read_place(struct onnx_call *c, uint32_t index, uint32_t length, uint32_t most,
                       uint32_t absent, uint32_t *out)
{
    int64_t at = 0;
    uint32_t count = 1;
    *out = absent;
    if (!onnx_given(c, index))
        return true;
    if (!onnx_const_ints(c, index, &at, 1, &count))
        return false;
    at = at < 0 ? at + length : at;
    if (count != 1 || at < 0 || at > most)
        return b_fail(c->b, ERR_SHAPE, "position %lld of %u", (long long)at, length);
    *out = (uint32_t)at;
    return true;
}

bool onnx_sequence_construct(struct onnx_call *c)
{
    struct onnx_list *list = make_list(c, c->in_count);
    for (uint32_t i = 0; list && i < c->in_count; i++) {
        if (c->in[i] == VALUE_NONE)
            return onnx_refuse(c, "a sequence of sequences");
        list->items[i] = c->in[i];
    }
    return return_list(c, list);
}

bool onnx_sequence_empty(struct onnx_call *c)
{
    return return_list(c, make_list(c, 0));
}

bool onnx_sequence_length(struct onnx_call *c)
{
    const struct onnx_list *list = list_in(c);
    return list && onnx_return(c, b_const(c->b, DTYPE_I64, list->count));
}

bool onnx_sequence_at(struct onnx_call *c)
{
    const struct onnx_list *list = list_in(c);
    uint32_t at = 0;
    if (!list || !read_place(c, 1, list->count, list->count - 1, 0, &at))
        return false;
    if (list->count == 0)
        return b_fail(c->b, ERR_SHAPE, "the sequence is empty");
    return onnx_return(c, list->items[at]);
}

bool onnx_sequence_insert(struct onnx_call *c)
{
    const struct onnx_list *list = list_in(c);
    uint32_t at = 0;
    if (!list || !read_place(c, 2, list->count, list->count, list->count, &at))
        return false;
    if (!onnx_given(c, 1))
        return b_fail(c->b, ERR_BLUEPRINT, "input 1 is no tensor");
    struct onnx_list *longer = make_list(c, list->count + 1);
    for (uint32_t i = 0; longer && i < longer->count; i++)
        longer->items[i] = i == at ? c->in[1] : list->items[i < at ? i : i - 1];
    return return_list(c, longer);
}

bool onnx_sequence_erase(struct onnx_call *c)
{
    const struct onnx_list *list = list_in(c);
    uint32_t at = 0;
    if (!list)
        return false;
    if (list->count == 0)
        return b_fail(c->b, ERR_SHAPE, "the sequence is empty");
    if (!read_place(c, 1, list->count, list->count - 1, list->count - 1, &at))
        return false;
    struct onnx_list *shorter = make_list(c, list->count - 1);
    for (uint32_t i = 0; shorter && i < shorter->count; i++)
        shorter->items[i] = list->items[i < at ? i : i + 1];
    return return_list(c, shorter);
}

/* Reads the sizes of the parts: a list, or one size for all but the last. */
static bool part_sizes(struct onnx_call *c, int64_t whole, int64_t *sizes, uint32_t *out_count)
{
    uint32_t count = 0;
    bool one = !onnx_given(c, 1) || onnx_rank(c, c->in[1]) == 0;
    sizes[0] = 1;
    if (onnx_given(c, 1) && !onnx_const_ints(c, 1, sizes, MAX_LENGTH, &count))
        return false;
    if (!one) {
        *out_count = count;
        return true;
    }
    int64_t size = sizes[0];
    if (size < 1 || (whole + size - 1) / size > MAX_LENGTH)
        return onnx_refuse(c, "parts of size %lld of a dim of size %lld", (long long)size,
                           (long long)whole);
    for (count = 0; whole > 0; whole -= size)
        sizes[count++] = size < whole ? size : whole;
    *out_count = count;
    return true;
}

bool onnx_split_to_sequence(struct onnx_call *c)
{
    struct builder *b = c->b;
    int axis = b_axis(b, c->in[0], onnx_int(c, "axis", 0));
    int64_t whole = 0, at = 0, sizes[MAX_LENGTH];
    uint32_t count = 0;
    bool squeeze = !onnx_given(c, 1) && onnx_int(c, "keepdims", 1) == 0;
    if (axis < 0)
        return false;
    if (!onnx_is_const(&b->graph->dims, b_dim(b, c->in[0], axis), &whole))
        return onnx_refuse(c, "a dim that is not constant");
    if (!part_sizes(c, whole, sizes, &count))
        return false;
    struct onnx_list *list = make_list(c, count);
    for (uint32_t i = 0; list && i < count && !onnx_failed(c); i++) {
        dim_id start = b_dim_const(b, at), size = b_dim_const(b, sizes[i]);
        value_id part = b_slice(b, c->in[0], axis, start, size, 1);
        list->items[i] = squeeze ? b_squeeze(b, part, axis) : part;
        at += sizes[i];
    }
    return return_list(c, list);
}

bool onnx_concat_from_sequence(struct onnx_call *c)
{
    const struct onnx_list *list = list_in(c);
    int64_t axis = onnx_int(c, "axis", 0);
    if (!list)
        return false;
    if (list->count == 0)
        return b_fail(c->b, ERR_SHAPE, "the sequence is empty");
    if (onnx_int(c, "new_axis", 0) != 0) {
        axis = axis < 0 ? axis + onnx_rank(c, list->items[0]) + 1 : axis;
        return onnx_return(c, onnx_stack(c, list->items, list->count, axis));
    }
    if (list->count > LIMIT_OPERANDS)
        return onnx_refuse(c, "a concatenation of more than %d tensors", LIMIT_OPERANDS);
    return onnx_return(c, b_concat(c->b, list->items, list->count, axis));
}

/* Returns the operand, a tensor or a sequence. */
bool onnx_optional_same(struct onnx_call *c)
{
    if (c->in_count == 0)
        return onnx_refuse(c, "an empty optional");
    return c->lists[0] ? return_list(c, c->lists[0]) : onnx_return(c, c->in[0]);
}

bool onnx_optional_has(struct onnx_call *c)
{
    bool has = onnx_given(c, 0) || (c->in_count > 0 && c->lists[0]);
    return onnx_return(c, b_const(c->b, DTYPE_BOOL, has));
}
