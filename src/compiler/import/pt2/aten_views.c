/* Writes to tensors and views, translated to values.
 *
 * A view is an entry with a base, the tensor that it was made of, and the call that made it. A
 * write gives the view a new value. From that, the chain of reshapes, transposes and slices between
 * base and view is inverted, which gives a new value of the base; and so on, up to a tensor that is
 * not a view. Then the version of their storage is increased by one. If a name of an older version
 * is read, its call is translated again, with the current value of its base.
 *
 * Some results are views or copies depending on strides (reshape, contiguous). Where those of the
 * archive do not tell (pt2_strides.c) such a result gets a storage of its own, in the same family
 * as its operand's. After a write to one storage of a family the contents of the others are not
 * known (lost), and their names cannot be read any more. */
#include "compiler/import/pt2/aten_detach_priv.h"
#include "compiler/import/pt2/pt2_training_priv.h"

#define MAX_VIEWS 64 /* depth of views of views; a deeper view counts as one that may be a copy */
#define LOST "a view of a tensor that is written to later"

uint32_t pt2_storage(struct pt2 *p, const struct pt2_name *relative)
{
    struct pt2_storage own = {.family = p->storages.count};
    if (relative)
        own.family = p->storages.items[relative->storage].family;
    VEC_PUSH(p->arena, &p->storages, own);
    return p->storages.count - 1;
}

void pt2_make_view(struct pt2 *p, struct pt2_name *view, uint32_t base)
{
    const struct pt2_name *of = &p->entries.items[base];
    if (of->depth >= MAX_VIEWS) {
        view->storage = pt2_storage(p, of);
        return;
    }
    view->storage = of->storage;
    view->version = p->storages.items[of->storage].version;
    view->base = base;
    view->depth = of->depth + 1;
    view->body = p->body;
}

/* Translates the view's call again. The names of its operands belong to the graph in which the call
 * is. */
static value_id made_again(struct pt2 *p, const struct pt2_name *view, struct error *err)
{
    struct builder b = {.graph = p->graph, .err = err};
    struct aten_call call = {.p = p, .b = &b, .op = view->op, .inputs = view->inputs};
    if (!view->op)
        return p->entries.items[view->base].value;
    if (!view->op->translate(&call) || view->result >= call.out_count)
        return VALUE_NONE;
    value_id value = call.out[view->result];
    return view->detached ? aten_detached(&b, value) : value;
}

bool pt2_refresh(struct pt2 *p, uint32_t at, struct error *err)
{
    struct pt2_name *entry = &p->entries.items[at];
    if (entry->dim != DIM_NONE || entry->refused || entry->why)
        return true;
    const struct pt2_storage storage = p->storages.items[entry->storage];
    if (entry->version == storage.version && !storage.lost)
        return true;
    if (storage.lost || entry->depth == 0 || (entry->op && entry->body != p->body)) {
        entry->why = LOST;
        return true;
    }
    const struct pt2_name view = *entry;
    if (!pt2_refresh(p, view.base, err))
        return false;
    value_id value = made_again(p, &view, err);
    entry = &p->entries.items[at];
    entry->version = storage.version;
    entry->value = value;
    if (value == VALUE_NONE && (err->code == ERR_NONE || err->code == ERR_UNSUPPORTED)) {
        err->code = ERR_NONE;
        entry->why = LOST;
    }
    return err->code == ERR_NONE;
}

value_id aten_write_slice(struct builder *b, value_id x, int64_t dim,
                          const struct aten_range *range, value_id part)
{
    int axis = b_axis(b, x, dim);
    if (axis < 0 || part == VALUE_NONE)
        return VALUE_NONE;
    dim_id size = b_dim(b, x, axis), zero = b_dim_const(b, 0);
    if (range->step == 1) {
        dim_id end = b_dim_add(b, range->start, range->count);
        value_id parts[3];
        uint32_t count = 0;
        if (range->start != zero)
            parts[count++] = b_slice(b, x, axis, zero, range->start, 1);
        parts[count++] = part;
        if (end != size)
            parts[count++] = b_slice(b, x, axis, end, b_dim_sub(b, size, end), 1);
        return count == 1 ? part : b_concat(b, parts, count, axis);
    }
    if (range->count == zero)
        return x;
    /* Element i is replaced by element (i - start)/step of the part, if that is an integer within
     * the part. */
    value_id place = b_iota(b, DTYPE_I64, &size, 1, 0);
    value_id step = b_const(b, DTYPE_I64, (double)range->step);
    value_id from = b_sub(b, place, b_size(b, range->start));
    value_id number = b_div(b, from, step), none = b_const(b, DTYPE_I64, 0);
    value_id whole = b_binary(b, PRIM_EQ, b_mul(b, number, step), from);
    value_id low = b_binary(b, PRIM_LE, none, from);
    value_id high = b_binary(b, PRIM_LT, number, b_size(b, range->count));
    value_id inside = b_binary(b, PRIM_AND, whole, b_binary(b, PRIM_AND, low, high));
    for (int i = axis + 1; i < b_node(b, x)->rank; i++)
        inside = b_unsqueeze(b, inside, -1);
    return b_select(b, inside, b_take(b, part, number, axis), x);
}

/* x with the elements that the slice has replaced by `part`, from axis on. */
static value_id undo_slice(struct builder *b, const struct node *slice, value_id x, uint32_t axis,
                           value_id part)
{
    const struct attrs *attrs = slice->attrs;
    if (x == VALUE_NONE || axis == attrs->rank)
        return part;
    const struct aten_range range = {attrs->start[axis], attrs->shape[axis], attrs->step[axis]};
    if (range.start == b_dim_const(b, 0) && range.count == b_dim(b, x, axis) && range.step == 1)
        return undo_slice(b, slice, x, axis + 1, part);
    value_id own = b_slice(b, x, axis, range.start, range.count, range.step);
    return aten_write_slice(b, x, axis, &range, undo_slice(b, slice, own, axis + 1, part));
}

/* The new value of the base, if `view`, made of `base` by reshapes, transposes and slices, becomes
 * `value`. */
static value_id undo(struct builder *b, value_id view, value_id base, value_id value)
{
    uint8_t axes[LIMIT_RANK];
    while (view != base && value != VALUE_NONE) {
        const struct node node = *b_node(b, view);
        if (node.prim != PRIM_RESHAPE && node.prim != PRIM_TRANSPOSE && node.prim != PRIM_SLICE &&
            node.prim != PRIM_DETACH)
            return b_fail(
                b, ERR_UNSUPPORTED,
                "written to through a view that is not a reshape, transpose or slice of it");
        value_id from = node.operands[0];
        const struct node source = *b_node(b, from);
        if (node.prim == PRIM_RESHAPE) {
            value = b_reshape(b, value, source.shape, source.rank);
        } else if (node.prim == PRIM_SLICE) {
            value = undo_slice(b, &node, from, 0, value);
        } else if (node.prim == PRIM_TRANSPOSE) {
            for (uint8_t i = 0; i < node.rank; i++)
                axes[node.attrs->axes[i]] = i;
            value = b_transpose(b, value, axes);
        }
        view = from;
    }
    return value;
}

static void lose_others(struct pt2 *p, uint32_t storage)
{
    uint32_t family = p->storages.items[storage].family;
    for (uint32_t i = 0; i < p->storages.count; i++)
        if (i != storage && p->storages.items[i].family == family)
            p->storages.items[i].lost = true;
}

bool pt2_write(struct pt2 *p, uint32_t at, value_id value, struct error *err)
{
    struct builder b = {.graph = p->graph, .err = err};
    uint32_t storage = p->entries.items[at].storage;
    uint32_t version = p->storages.items[storage].version + 1;
    lose_others(p, storage);
    for (bool last = false; !last;) {
        value_id before = VALUE_NONE;
        if (!pt2_refresh(p, at, err))
            return false;
        struct pt2_name *entry = &p->entries.items[at];
        before = entry->value;
        entry->value = value;
        entry->version = version;
        last = entry->depth == 0;
        if (!last) {
            at = entry->base;
            if (!pt2_refresh(p, at, err))
                return false;
            value = undo(&b, before, p->entries.items[at].value, value);
        }
        if (value == VALUE_NONE) {
            p->storages.items[storage].lost = true;
            return false;
        }
    }
    p->storages.items[storage].version = version;
    return true;
}

bool aten_write_argument(struct aten_call *c, const char *name, value_id value)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    const char *tensor = json_string_value(json_object_get(arg, "name"));
    const struct pt2_name *entry = tensor ? pt2_find(c->p, tensor, c->b->err) : NULL;
    if (!entry || value == VALUE_NONE)
        return aten_failed(c) ? false
                              : b_fail(c->b, ERR_BLUEPRINT, "'%.60s' is no tensor to write to",
                                       name) != VALUE_NONE;
    return pt2_write(c->p, (uint32_t)(entry - c->p->entries.items), aten_detached(c->b, value),
                     c->b->err);
}
