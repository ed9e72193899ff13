/* Reading state dicts that torch.save wrote, without a general unpickler.
 *
 * The file is a ZIP: data.pkl, a pickle of protocol 2, and data/KEY, the storages. Only the part of
 * the pickle language that such a file needs is implemented: numbers, strings, tuples, dicts, the
 * memo, and three names with fixed meanings: OrderedDict, a tensor over a storage, a parameter of a
 * tensor. Nothing is looked up, imported or called; all other names are refused. */
#include <stdio.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define MAX_STACK 4096
#define MAX_MEMO ((uint32_t)1 << 20)
#define MAX_TUPLE 64

enum kind { NOTHING = 1, INTEGER, TEXT, NAME, TUPLE, DICT, STORAGE, TENSOR, MARK };

struct value;
struct dict {
    VEC(struct pt2_pickled) tensors;
};
struct value {
    enum kind kind;
    int64_t integer;
    const char *text; /* of TEXT and NAME; of STORAGE: its key */
    const struct value *items;
    uint32_t count;
    struct dict *dict;
    struct pt2_pickled tensor; /* of STORAGE: dtype and file only */
};

struct machine {
    struct pt2 *p;
    struct pt2_archive archive;
    const uint8_t *at, *end;
    struct value stack[MAX_STACK];
    uint32_t depth;
    VEC(struct value) memo;
    struct error *err;
};

static bool bad(struct machine *m)
{
    return m->err->code == ERR_NONE && fail(m->err, ERR_PARSE, "its pickle is damaged");
}

static bool push(struct machine *m, struct value value)
{
    if (m->depth >= MAX_STACK)
        return fail(m->err, ERR_LIMIT, "its pickle is deeper than %d", MAX_STACK);
    m->stack[m->depth++] = value;
    return true;
}

static const struct value *pop(struct machine *m)
{
    return m->depth > 0 ? &m->stack[--m->depth] : NULL;
}

static bool number(struct machine *m, int width, uint64_t *out)
{
    if (m->end - m->at < width)
        return bad(m);
    *out = 0;
    for (int i = width - 1; i >= 0; i--)
        *out = *out << 8 | m->at[i];
    m->at += width;
    return true;
}

static bool push_text(struct machine *m, int width)
{
    uint64_t size = 0;
    if (!number(m, width, &size) || size > (uint64_t)(m->end - m->at))
        return bad(m);
    const char *text = arena_strndup(m->p->arena, (const char *)m->at, (size_t)size);
    m->at += size;
    return push(m, (struct value){.kind = TEXT, .text = text});
}

static bool push_number(struct machine *m, int width)
{
    uint64_t value = 0;
    if (!number(m, width, &value))
        return false;
    int64_t integer = width == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
    return push(m, (struct value){.kind = INTEGER, .integer = integer});
}

/* LONG1: a size, then that many bytes of a two's complement integer. */
static bool push_long(struct machine *m)
{
    uint64_t size = 0, value = 0;
    if (!number(m, 1, &size) || size > 8 || !number(m, (int)size, &value))
        return bad(m);
    if (size > 0 && size < 8 && (value >> (8 * size - 1) & 1) != 0)
        value |= UINT64_MAX << 8 * size;
    return push(m, (struct value){.kind = INTEGER, .integer = (int64_t)value});
}

/* Two lines, module and name; pushed as "module name". */
static bool push_name(struct machine *m)
{
    const uint8_t *first = memchr(m->at, '\n', (size_t)(m->end - m->at));
    const uint8_t *second = first ? memchr(first + 1, '\n', (size_t)(m->end - first - 1)) : NULL;
    if (!second)
        return bad(m);
    char *text = arena_strndup(m->p->arena, (const char *)m->at, (size_t)(second - m->at));
    text[first - m->at] = ' ';
    m->at = second + 1;
    return push(m, (struct value){.kind = NAME, .text = text});
}

static bool push_tuple(struct machine *m, uint32_t count)
{
    if (count > m->depth || count > MAX_TUPLE)
        return bad(m);
    m->depth -= count;
    const struct value *items =
        arena_memdup(m->p->arena, &m->stack[m->depth], count * sizeof *items);
    for (uint32_t i = 0; i < count; i++)
        if (items[i].kind == MARK)
            return bad(m);
    return push(m, (struct value){.kind = TUPLE, .items = items, .count = count});
}

/* The number of values above the last mark; removes the mark. */
static bool above_mark(struct machine *m, uint32_t *out)
{
    uint32_t at = m->depth;
    while (at > 0 && m->stack[at - 1].kind != MARK)
        at--;
    if (at == 0)
        return bad(m);
    *out = m->depth - at;
    memmove(&m->stack[at - 1], &m->stack[at], *out * sizeof m->stack[0]);
    m->depth--;
    return true;
}

static bool put(struct machine *m, uint64_t index)
{
    if (m->depth == 0 || index != m->memo.count || index >= MAX_MEMO)
        return bad(m); /* torch.save uses indices in order */
    VEC_PUSH(m->p->arena, &m->memo, m->stack[m->depth - 1]);
    return true;
}

static bool get(struct machine *m, uint64_t index)
{
    return index < m->memo.count ? push(m, m->memo.items[index]) : bad(m);
}

static struct value new_dict(struct machine *m)
{
    return (struct value){.kind = DICT, .dict = ARENA_NEW(m->p->arena, struct dict)};
}

/* Stores pairs in the dict below them; values that are not tensors are ignored. */
static bool set_items(struct machine *m, uint32_t count)
{
    if (count % 2 != 0 || m->depth < count + 1 || m->stack[m->depth - count - 1].kind != DICT)
        return bad(m);
    m->depth -= count;
    struct dict *dict = m->stack[m->depth - 1].dict;
    for (uint32_t i = 0; i < count; i += 2) {
        const struct value *key = &m->stack[m->depth + i], *item = key + 1;
        struct pt2_pickled tensor = item->tensor;
        tensor.name = key->text;
        if (key->kind == TEXT && item->kind == TENSOR)
            VEC_PUSH(m->p->arena, &dict->tensors, tensor);
    }
    return true;
}

static bool storage_type(const char *name, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {
        {"torch FloatStorage", DTYPE_F32}, {"torch DoubleStorage", DTYPE_F64},
        {"torch HalfStorage", DTYPE_F16},  {"torch BFloat16Storage", DTYPE_BF16},
        {"torch LongStorage", DTYPE_I64},  {"torch IntStorage", DTYPE_I32},
        {"torch ShortStorage", DTYPE_I16}, {"torch CharStorage", DTYPE_I8},
        {"torch ByteStorage", DTYPE_U8},   {"torch BoolStorage", DTYPE_BOOL},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) {
            *out = types[i].dtype;
            return true;
        }
    return false;
}

/* ('storage', type, key, device, count) */
static bool push_storage(struct machine *m)
{
    const struct value *id = pop(m);
    char path[LIMIT_NAME + 8];
    struct value storage = {.kind = STORAGE};
    if (!id || id->kind != TUPLE || id->count != 5 || id->items[1].kind != NAME ||
        id->items[2].kind != TEXT || strlen(id->items[2].text) > LIMIT_NAME)
        return bad(m);
    if (!storage_type(id->items[1].text, &storage.tensor.view.dtype))
        return fail(m->err, ERR_UNSUPPORTED, "a storage of '%.60s'", id->items[1].text);
    snprintf(path, sizeof path, "data/%s", id->items[2].text);
    storage.tensor.file = pt2_archive_find(&m->archive, path);
    if (!storage.tensor.file)
        return fail(m->err, ERR_PARSE, "the file '%.80s' is missing", path);
    return push(m, storage);
}

static bool read_extents(const struct value *tuple, int64_t out[LIMIT_RANK], uint32_t *count)
{
    if (tuple->kind != TUPLE || tuple->count > LIMIT_RANK)
        return false;
    *count = tuple->count;
    for (uint32_t i = 0; i < *count; i++) {
        out[i] = tuple->items[i].integer;
        if (tuple->items[i].kind != INTEGER || out[i] < 0 || out[i] > LIMIT_DIM_VALUE)
            return false;
    }
    return true;
}

/* (storage, offset, sizes, strides, …) */
static bool push_tensor(struct machine *m, const struct value *args)
{
    uint32_t rank = 0;
    if (args->count < 4 || args->items[0].kind != STORAGE || args->items[1].kind != INTEGER)
        return bad(m);
    struct value tensor = {.kind = TENSOR, .tensor = args->items[0].tensor};
    struct pt2_view *view = &tensor.tensor.view;
    view->offset = args->items[1].integer;
    if (view->offset < 0 || view->offset > LIMIT_DIM_VALUE ||
        !read_extents(&args->items[2], view->sizes, &view->rank) ||
        !read_extents(&args->items[3], view->strides, &rank) || rank != view->rank)
        return bad(m);
    return push(m, tensor);
}

static bool reduce(struct machine *m)
{
    const struct value *args = pop(m), *name = pop(m);
    if (!args || !name || args->kind != TUPLE || name->kind != NAME)
        return bad(m);
    struct value own = *args;
    if (strcmp(name->text, "collections OrderedDict") == 0)
        return push(m, new_dict(m));
    if (strcmp(name->text, "torch._utils _rebuild_tensor_v2") == 0)
        return push_tensor(m, &own);
    if (strcmp(name->text, "torch._utils _rebuild_parameter") == 0)
        return own.count > 0 && own.items[0].kind == TENSOR ? push(m, own.items[0]) : bad(m);
    return fail(m->err, ERR_UNSUPPORTED,
                "its pickle asks for '%.80s'; PyTorch 2.9 and newer pickle nothing", name->text);
}

/* Opcodes whose operands are the values above the last mark. */
static bool marked(struct machine *m, uint8_t op)
{
    uint32_t count = 0;
    if (!above_mark(m, &count))
        return false;
    return op == 't' ? push_tuple(m, count) : set_items(m, count);
}

static bool step(struct machine *m, uint8_t op)
{
    uint64_t index = 0;
    switch (op) {
    case 0x80: /* PROTO */ return number(m, 1, &index);
    case '(': return push(m, (struct value){.kind = MARK});
    case ')': return push_tuple(m, 0);
    case 0x85:
    case 0x86:
    case 0x87: return push_tuple(m, op - 0x84u);
    case 't':
    case 'u': return marked(m, op);
    case 's': return set_items(m, 2);
    case '}': return push(m, new_dict(m));
    case 'c': return push_name(m);
    case 'q':
    case 'r': return number(m, op == 'q' ? 1 : 4, &index) && put(m, index);
    case 'h':
    case 'j': return number(m, op == 'h' ? 1 : 4, &index) && get(m, index);
    case 'X': return push_text(m, 4);
    case 'K':
    case 'M':
    case 'J': return push_number(m, op == 'K' ? 1 : op == 'M' ? 2 : 4);
    case 0x8a: return push_long(m);
    case 'N': return push(m, (struct value){.kind = NOTHING});
    case 0x88:
    case 0x89: return push(m, (struct value){.kind = INTEGER, .integer = op == 0x88});
    case 'Q': return push_storage(m);
    case 'R': return reduce(m);
    case 'b': /* BUILD: sets attributes, which are not needed */
        return pop(m) && m->depth > 0 && m->stack[m->depth - 1].kind == DICT ? true : bad(m);
    default: return fail(m->err, ERR_UNSUPPORTED, "its pickle has opcode 0x%02x", op);
    }
}

static bool run(struct machine *m)
{
    while (m->at < m->end) {
        uint8_t op = *m->at++;
        if (op == '.')
            return (m->depth == 1 && m->stack[0].kind == DICT) || bad(m);
        if (!step(m, op))
            return false;
    }
    return bad(m);
}

bool pt2_state_dict(struct pt2 *p, const struct pt2_file *file, struct pt2_state *out,
                    struct error *err)
{
    struct error failure = {.code = ERR_NONE};
    struct machine *m = ARENA_NEW(p->arena, struct machine);
    m->p = p;
    m->err = &failure;
    bool ok = pt2_archive_open(file->data, file->size, p->arena, &m->archive, &failure);
    const struct pt2_file *pickle = ok ? pt2_archive_find(&m->archive, "data.pkl") : NULL;
    const struct pt2_file *order = ok ? pt2_archive_find(&m->archive, "byteorder") : NULL;
    if (ok && !pickle)
        ok = fail(&failure, ERR_PARSE, "no data.pkl");
    if (ok && order && (order->size != 6 || memcmp(order->data, "little", 6) != 0))
        ok = fail(&failure, ERR_UNSUPPORTED, "its bytes are in big-endian order");
    if (ok) {
        m->at = pickle->data;
        m->end = pickle->data + pickle->size;
        ok = run(m);
    }
    if (!ok) {
        *err = failure;
        return fail_at(err, "%.100s", file->name);
    }
    out->tensors = m->stack[0].dict->tensors.items;
    out->count = m->stack[0].dict->tensors.count;
    return true;
}
