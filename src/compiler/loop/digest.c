/* The digest of a nest. Lowering and scheduling are deterministic: for two groups that are alike
 * they make expressions with the same ids in the same order. So equal tables and equal trees mean
 * equal code. Unreachable expressions count as well, because ids decide the order of terms.
 *
 * The bytes that are hashed are records of fixed size without padding, one behind the other. */
#include <string.h>

#include "base/hash.h"
#include "base/strbuf.h"
#include "compiler/loop/loop_priv.h"

struct expr_record {
    uint8_t op, dtype, zero[2];
    uint32_t index, operand[3], zeros;
    uint64_t bits; /* of a constant, float or integer */
};

struct stmt_record {
    uint8_t kind, loop_kind, independent, zero;
    uint32_t var, lanes, cond, local, combine, value, buffer, index, guard;
    uint32_t body_count, orelse_count;
};

struct buffer_record {
    uint8_t dtype, role, zero[2];
    uint32_t elements, table_bytes, stream;
};

static void add_exprs(const struct nest *nest, struct strbuf *out)
{
    struct expr_record *records = ARENA_ARRAY(nest->arena, struct expr_record, nest->exprs.count);
    for (uint32_t i = 1; i < nest->exprs.count; i++) {
        const struct expr *e = expr_at(nest, i);
        struct expr_record *r = &records[i];
        r->op = e->op;
        r->dtype = e->dtype;
        r->index = e->index;
        memcpy(r->operand, e->operand, sizeof r->operand);
        memcpy(&r->bits, &e->value, sizeof r->bits);
        r->bits ^= (uint64_t)e->integer; /* one of them is zero */
    }
    strbuf_add(out, records, nest->exprs.count * sizeof *records);
}

/* Ranges of named dims decide for which loops code generation emits a test that they run at all. */
static void add_ranges(const struct nest *nest, struct strbuf *out)
{
    for (uint32_t i = 1; i < nest->exprs.count; i++) {
        if (expr_at(nest, i)->op != EXPR_DIM)
            continue;
        const struct dim_name *name = &nest->dims->names.items[expr_at(nest, i)->index];
        int64_t range[3] = {name->min, name->max, name->multiple_of};
        strbuf_add(out, range, sizeof range);
    }
}

static void add_tables(const struct nest *nest, struct strbuf *out)
{
    uint32_t counts[4] = {nest->exprs.count, nest->vars.count, nest->locals.count,
                          nest->buffers.count};
    strbuf_add(out, counts, sizeof counts);
    add_exprs(nest, out);
    add_ranges(nest, out);
    for (uint32_t i = 0; i < nest->vars.count; i++)
        strbuf_add(out, &nest->vars.items[i].extent, sizeof(expr_id));
    for (uint32_t i = 0; i < nest->locals.count; i++)
        strbuf_add(out, &nest->locals.items[i].dtype, 1);
    for (uint32_t i = 0; i < nest->buffers.count; i++) {
        const struct nest_buffer *b = &nest->buffers.items[i];
        struct buffer_record r = {b->dtype, b->role, {0}, b->elements, b->table_bytes, b->stream};
        strbuf_add(out, &r, sizeof r);
        if (b->table_bytes > 0)
            strbuf_add(out, b->table, b->table_bytes);
    }
}

static void add_block(const struct block *block, struct strbuf *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        struct stmt_record r = {.kind = s->kind,
                                .loop_kind = s->loop_kind,
                                .independent = s->independent,
                                .var = s->var,
                                .lanes = s->lanes,
                                .cond = s->cond,
                                .local = s->local,
                                .combine = s->combine,
                                .value = s->value,
                                .buffer = s->buffer,
                                .index = s->index,
                                .guard = s->guard,
                                .body_count = s->body.stmts.count,
                                .orelse_count = s->orelse.stmts.count};
        strbuf_add(out, &r, sizeof r);
        add_block(&s->body, out);
        add_block(&s->orelse, out);
    }
}

_Static_assert(sizeof(struct expr_record) == 32 && sizeof(struct stmt_record) == 48 &&
                   sizeof(struct buffer_record) == 16,
               "no padding");

void nest_digest(const struct nest *nest, uint8_t out[SHA256_BYTES])
{
    struct strbuf bytes;
    strbuf_init(&bytes, nest->arena);
    add_tables(nest, &bytes);
    add_block(&nest->body, &bytes);
    sha256(bytes.data, bytes.size_bytes, out);
}
