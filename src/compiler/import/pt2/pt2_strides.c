/* Whether a call whose result may be a copy made one: the strides of the archive say so, which are
 * those of the example that the program was exported with. Sizes and strides may be symbols; a
 * symbol is taken to be none of the numbers that are compared with it. */
#include "base/checked.h"
#include "compiler/import/pt2/pt2_training_priv.h"

enum answer { NO, YES, UNKNOWN };

/* The number of a SymInt; false: a symbol, or an expression over some. */
static bool number_of(const json_t *json, int64_t *out)
{
    const json_t *number = json_is_integer(json) ? json : json_object_get(json, "as_int");
    *out = json_integer_value(number);
    return json_is_integer(number);
}

/* Whether a tensor's elements lie one behind the other, in the order of its indices. */
static enum answer is_contiguous(const json_t *meta)
{
    const json_t *sizes = json_object_get(meta, "sizes"),
                 *strides = json_object_get(meta, "strides");
    size_t rank = json_array_size(sizes);
    int64_t size, stride, expected = 1;
    bool known = true, all = true;
    if (!json_is_array(sizes) || !json_is_array(strides) || json_array_size(strides) != rank)
        return UNKNOWN;
    for (size_t i = rank; i-- > 0;) {
        bool is_size = number_of(json_array_get(sizes, i), &size);
        bool is_stride = number_of(json_array_get(strides, i), &stride);
        if (is_size && size == 1)
            continue;
        if (known ? !is_stride || stride != expected : is_stride)
            return NO;
        all = all && known;
        known = known && is_size && size >= 0 && checked_mul_i64(expected, size, &expected);
    }
    return all ? YES : UNKNOWN;
}

enum aten_storage pt2_either(const struct pt2 *p, const char *operand, const char *result)
{
    const json_t *values = json_object_get(p->body, "tensor_values");
    enum answer before = is_contiguous(json_object_get(values, operand)),
                after = is_contiguous(json_object_get(values, result));
    if (before == YES)
        return after == NO ? ATEN_OWN : ATEN_VIEW; /* OWN: put into another order of memory */
    /* A copy is contiguous; a view has the gaps or the order of its operand. */
    return before == NO && after != NO ? ATEN_OWN : ATEN_EITHER;
}
