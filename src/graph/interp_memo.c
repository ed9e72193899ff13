/* Two tables: tensors by their content, and nodes by the prim and the operand tensors. A tensor's
 * number is its index in the first table. A tensor that does not fit into the memory gets a number
 * without content: it is computed again when needed, and known again by its digest. That has 128
 * bits, and never differs for tensors that are equal. Tensors that differ in at most one word of
 * each lane of hash_words have different lanes; for others these agree by chance, one in 2^64. */
#include "graph/interp_memo_priv.h"

#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "graph/graph_priv.h"

struct known_node {
    enum prim prim;
    struct attrs attrs; /* without shapes and names */
    bool reference;
    double constant_error;
    enum dtype dtype;
    uint32_t rank, in_count, result;
    int64_t shape[LIMIT_RANK], start[LIMIT_RANK], low[LIMIT_RANK];
    const uint32_t *operands;
};

#define LOADED_AT_ONCE 512
/* Of all bytes, what one value may take; and one that depends on params only, since packed weights
 * would leave no room for the values that cost more. */
#define VALUE_PART 4
#define FIXED_PART 256

/* A tensor's content: the first word is the key of the table. */
struct digest {
    uint64_t key, more;
};

struct lazy_number {
    const struct interp_lazy *lazy;
    uint32_t number;
};

struct interp_memo {
    struct arena *arena;
    size_t bytes, bytes_left;
    uint32_t found;
    struct pool pool; /* reused from run to run */
    /* By number. Without cells: a lazy source, or a value that did not fit. */
    VEC(struct interp_tensor) tensors;
    VEC(struct digest) digests; /* by number */
    VEC(struct lazy_number) lazies;
    struct map by_content;
    VEC(struct known_node) nodes;
    struct map by_node;
};

struct interp_memo *interp_memo_new(struct arena *arena, size_t bytes)
{
    struct interp_memo *memo = ARENA_NEW(arena, struct interp_memo);
    *memo = (struct interp_memo){.arena = arena, .bytes = bytes, .bytes_left = bytes};
    return memo;
}

uint32_t interp_memo_found(const struct interp_memo *memo)
{
    return memo->found;
}

struct arena *memo_arena(const struct interp_memo *memo)
{
    return memo->arena;
}

struct pool *memo_pool(struct interp_memo *memo)
{
    return &memo->pool;
}

static inline uint64_t mix_word(uint64_t lane, const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    lane = (lane ^ word) * 0x9e3779b97f4a7c15u;
    return lane ^ lane >> 29;
}

/* Hashes 64-bit words, four at a time: a multiplication waits for the one before it in its lane. */
static struct digest hash_words(const void *words, int64_t count, struct digest seed)
{
    uint64_t a = seed.key, b = seed.key + 1, c = seed.more, d = seed.more + 1;
    const char *at = words;
    int64_t i = 0;
    for (; i + 4 <= count; i += 4, at += 32) {
        a = mix_word(a, at);
        b = mix_word(b, at + 8);
        c = mix_word(c, at + 16);
        d = mix_word(d, at + 24);
    }
    for (; i < count; i++, at += 8)
        a = mix_word(a, at);
    const uint64_t lanes[4] = {a, b, c, d};
    return (struct digest){hash64(lanes, sizeof lanes, (uint64_t)count),
                           hash64(lanes, sizeof lanes, ~(uint64_t)count)};
}

static struct digest digest_of(const struct interp_tensor *t)
{
    uint64_t shape = hash64(t->shape, t->rank * sizeof t->shape[0], (uint64_t)t->dtype);
    struct digest digest = hash_words(t->cells, t->count, (struct digest){shape, ~shape});
    return t->bounds ? hash_words(t->bounds, t->count, digest) : digest;
}

/* a: one of the memo's that is lazy. */
static bool same_cells(const struct interp_tensor *a, const struct interp_tensor *b)
{
    union cell cells[LOADED_AT_ONCE];
    for (int64_t first = 0; first < a->count; first += LOADED_AT_ONCE) {
        int64_t left = a->count - first, count = left < LOADED_AT_ONCE ? left : LOADED_AT_ONCE;
        a->lazy->load(a->lazy, first, count, cells);
        if (memcmp(cells, b->cells + first, (size_t)count * sizeof *cells) != 0)
            return false;
    }
    return true;
}

/* Whether a number stands for a tensor whose elements are gone. */
static bool is_forgotten(const struct interp_tensor *tensor)
{
    return !tensor->cells && !tensor->lazy && tensor->count > 0;
}

/* a: one of the memo's that has its elements. */
static bool same_elements(const struct interp_tensor *a, const struct interp_tensor *b)
{
    size_t bytes = (size_t)a->count * sizeof *a->cells;
    return (a->bounds != NULL) == (b->bounds != NULL) &&
           (bytes == 0 || (a->lazy ? same_cells(a, b) : memcmp(a->cells, b->cells, bytes) == 0)) &&
           (bytes == 0 || !a->bounds || memcmp(a->bounds, b->bounds, bytes) == 0);
}

static bool find_tensor(const struct interp_memo *memo, const struct interp_tensor *t,
                        struct digest digest, uint32_t *out_number)
{
    uint32_t cursor = 0;
    while (map_next(&memo->by_content, digest.key, &cursor, out_number)) {
        const struct interp_tensor *known = &memo->tensors.items[*out_number];
        if (memo->digests.items[*out_number].more == digest.more && known->dtype == t->dtype &&
            known->rank == t->rank && known->count == t->count &&
            memcmp(known->shape, t->shape, t->rank * sizeof t->shape[0]) == 0 &&
            (is_forgotten(known) || same_elements(known, t)))
            return true;
    }
    return false;
}

static uint32_t add_tensor(struct interp_memo *memo, const struct interp_tensor *t,
                           struct digest digest)
{
    map_add(&memo->by_content, memo->arena, digest.key, memo->tensors.count);
    VEC_PUSH(memo->arena, &memo->tensors, *t);
    VEC_PUSH(memo->arena, &memo->digests, digest);
    return memo->tensors.count - 1;
}

uint32_t memo_lazy(const struct interp_memo *memo, const struct interp_lazy *lazy)
{
    for (uint32_t i = 0; i < memo->lazies.count; i++)
        if (memo->lazies.items[i].lazy == lazy)
            return memo->lazies.items[i].number;
    return MEMO_UNKNOWN;
}

uint32_t memo_source(struct interp_memo *memo, const struct interp_tensor *source)
{
    struct interp_tensor own = *source;
    for (uint32_t i = 0; i < memo->tensors.count; i++)
        if (source->count > 0 && memo->tensors.items[i].cells == source->cells)
            return i;
    struct digest digest = digest_of(source);
    struct lazy_number lazy = {source->lazy, 0};
    if (source->lazy)
        own.cells = NULL;
    if (!find_tensor(memo, source, digest, &lazy.number))
        lazy.number = add_tensor(memo, &own, digest);
    else if (is_forgotten(&memo->tensors.items[lazy.number]))
        memo->tensors.items[lazy.number] = own;
    if (source->lazy)
        VEC_PUSH(memo->arena, &memo->lazies, lazy);
    return lazy.number;
}

/* Dim ids differ between graphs, so attributes are compared without dims, and the values of the
 * dims are stored beside them. */
static struct known_node describe(const struct op *op, const uint32_t *operands)
{
    struct known_node node = {.prim = op->prim,
                              .attrs = *op->attrs,
                              .reference = op->reference,
                              .constant_error = op->constant_error,
                              .dtype = op->out->dtype,
                              .rank = op->out->rank,
                              .in_count = op->in_count,
                              .operands = operands};
    node.attrs.name = NULL;
    memset(node.attrs.shape, 0, sizeof node.attrs.shape);
    memset(node.attrs.start, 0, sizeof node.attrs.start);
    memset(node.attrs.low, 0, sizeof node.attrs.low);
    memset(node.attrs.high, 0, sizeof node.attrs.high);
    memcpy(node.shape, op->out->shape, node.rank * sizeof node.shape[0]);
    memcpy(node.start, op->start, sizeof node.start);
    memcpy(node.low, op->low, sizeof node.low);
    return node;
}

static uint64_t hash_node(const struct known_node *node)
{
    uint64_t hash = attrs_hash(&node->attrs, (uint64_t)node->prim);
    hash = hash64(node->operands, node->in_count * sizeof node->operands[0], hash);
    hash = hash64(node->shape, sizeof node->shape, hash);
    return hash64(node->start, sizeof node->start, hash);
}

static bool same_node(const struct known_node *a, const struct known_node *b)
{
    return a->prim == b->prim && a->reference == b->reference &&
           a->constant_error == b->constant_error && a->dtype == b->dtype && a->rank == b->rank &&
           a->in_count == b->in_count && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
           memcmp(a->start, b->start, sizeof a->start) == 0 &&
           memcmp(a->low, b->low, sizeof a->low) == 0 &&
           memcmp(a->operands, b->operands, a->in_count * sizeof a->operands[0]) == 0 &&
           attrs_equal(&a->attrs, &b->attrs);
}

/* The first node of the table from the cursor on that is the same one; NULL: there is none. */
static const struct known_node *next_known(const struct interp_memo *memo,
                                           const struct known_node *node, uint32_t *cursor)
{
    uint32_t at;
    while (map_next(&memo->by_node, hash_node(node), cursor, &at))
        if (same_node(&memo->nodes.items[at], node))
            return &memo->nodes.items[at];
    return NULL;
}

bool memo_number(const struct interp_memo *memo, const struct op *op, const uint32_t *operands,
                 uint32_t *out_number)
{
    struct known_node node = describe(op, operands);
    uint32_t cursor = 0;
    const struct known_node *known = next_known(memo, &node, &cursor);
    if (known)
        *out_number = known->result;
    return known != NULL;
}

bool memo_elements(const struct interp_memo *memo, uint32_t number, struct interp_tensor *out)
{
    if (is_forgotten(&memo->tensors.items[number]))
        return false;
    *out = memo->tensors.items[number];
    return true;
}

bool memo_find(struct interp_memo *memo, const struct op *op, const uint32_t *operands,
               uint32_t *out_number, struct interp_tensor *result)
{
    if (!memo_number(memo, op, operands, out_number) || !memo_elements(memo, *out_number, result))
        return false;
    memo->found++;
    return true;
}

void memo_set_found(struct interp_memo *memo, uint32_t count)
{
    memo->found = count;
}

void memo_result(struct interp_memo *memo, uint32_t number, const struct interp_tensor *result)
{
    if (number != MEMO_UNKNOWN && is_forgotten(&memo->tensors.items[number]))
        memo->tensors.items[number] = *result;
}

/* most: bytes of a value that is kept. */
static enum memo_kept number_tensor(struct interp_memo *memo, size_t most, struct interp_tensor *t,
                                    uint32_t *out_number)
{
    size_t bytes = (size_t)t->count * sizeof *t->cells * (t->bounds ? 2 : 1);
    struct digest digest = digest_of(t);
    struct interp_tensor nothing = *t;
    nothing.cells = NULL;
    nothing.bounds = NULL;
    bool is_new = !find_tensor(memo, t, digest, out_number);
    if (is_new)
        *out_number = add_tensor(memo, &nothing, digest);
    struct interp_tensor *known = &memo->tensors.items[*out_number];
    if (known->lazy)
        return MEMO_LEFT;
    if (!is_new && !is_forgotten(known)) {
        *t = *known;
        return MEMO_KNOWN;
    }
    if (bytes > memo->bytes_left || bytes > most)
        return MEMO_LEFT;
    memo->bytes_left -= bytes;
    *known = *t;
    return MEMO_KEPT;
}

enum memo_kept memo_keep(struct interp_memo *memo, const struct op *op, const uint32_t *operands,
                         uint32_t *out_number, struct interp_tensor *result)
{
    size_t most = op->fixed ? memo->bytes / FIXED_PART : memo->bytes / VALUE_PART;
    enum memo_kept kept = number_tensor(memo, most, result, out_number);
    struct known_node node = describe(op, operands);
    uint32_t cursor = 0;
    if (next_known(memo, &node, &cursor))
        return kept;
    uint32_t *copy = ARENA_ARRAY(memo->arena, uint32_t, op->in_count + 1);
    memcpy(copy, operands, op->in_count * sizeof *copy);
    node.operands = copy;
    node.result = *out_number;
    map_add(&memo->by_node, memo->arena, hash_node(&node), memo->nodes.count);
    VEC_PUSH(memo->arena, &memo->nodes, node);
    return kept;
}
