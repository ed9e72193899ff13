/* The text form of nests: buffers, then statements, one a line. Inside a statement an operation
 * that is used more than once is named on a line of its own first: written out as trees,
 * expressions would grow without bound. */
#include <inttypes.h>

#include "base/strbuf.h"
#include "compiler/loop/loop_priv.h"

static const char *const op_text[EXPR_OP_COUNT] = {
#define EXPR(id, text, n) [EXPR_##id] = text,
#include "compiler/loop/exprs.def"
#undef EXPR
};

static const char *infix(enum expr_op op)
{
    switch (op) {
    case EXPR_ADD: return " + ";
    case EXPR_SUB: return " - ";
    case EXPR_MUL: return "*";
    case EXPR_DIV: return " / ";
    case EXPR_EQ: return " == ";
    case EXPR_NE: return " != ";
    case EXPR_LT: return " < ";
    case EXPR_LE: return " <= ";
    case EXPR_AND: return " & ";
    case EXPR_OR: return " | ";
    default: return NULL;
    }
}

static void print_const(const struct expr *x, struct strbuf *out)
{
    if (dtype_is_float(x->dtype)) {
        strbuf_double(out, x->value);
        if (x->dtype == DTYPE_F32)
            strbuf_puts(out, "f");
    } else
        strbuf_printf(out, "%" PRId64, x->integer);
}

/* uses: how often each expression is used in the statement; those used more than once have a name.
 * NULL: none. */
static void print_operation(const struct nest *nest, expr_id e, const uint8_t *uses,
                            struct strbuf *out);

static void print_expr(const struct nest *nest, expr_id e, const uint8_t *uses, struct strbuf *out)
{
    if (uses && uses[e] > 1)
        strbuf_printf(out, "t%u", e);
    else
        print_operation(nest, e, uses, out);
}

static void print_operation(const struct nest *nest, expr_id e, const uint8_t *uses,
                            struct strbuf *out)
{
    const struct expr *x = expr_at(nest, e);
    if (x->op == EXPR_CONST)
        print_const(x, out);
    else if (x->op == EXPR_VAR)
        strbuf_puts(out, nest->vars.items[x->index].name);
    else if (x->op == EXPR_DIM)
        strbuf_puts(out, nest->dims->names.items[x->index].name);
    else if (x->op == EXPR_LOCAL)
        strbuf_puts(out, nest->locals.items[x->index].name);
    else if (x->op == EXPR_PARAM)
        strbuf_puts(out, op_text[x->op]);
    else if (x->op == EXPR_LOAD) {
        strbuf_printf(out, "%s[", nest->buffers.items[x->index].name);
        print_expr(nest, x->operand[0], uses, out);
        if (x->operand[1] != EXPR_NONE) {
            strbuf_puts(out, " if ");
            print_expr(nest, x->operand[1], uses, out);
        }
        strbuf_puts(out, "]");
    } else if (infix((enum expr_op)x->op)) {
        strbuf_puts(out, "(");
        print_expr(nest, x->operand[0], uses, out);
        strbuf_puts(out, infix((enum expr_op)x->op));
        print_expr(nest, x->operand[1], uses, out);
        strbuf_puts(out, ")");
    } else {
        strbuf_printf(out, "%s",
                      x->op == EXPR_CAST || x->op == EXPR_CONVERT || x->op == EXPR_BITCAST
                          ? dtype_name(x->dtype)
                          : op_text[x->op]);
        for (int i = 0; i < 3 && x->operand[i] != EXPR_NONE; i++) {
            strbuf_puts(out, i ? ", " : "(");
            print_expr(nest, x->operand[i], uses, out);
        }
        strbuf_puts(out, ")");
    }
}

void expr_print(const struct nest *nest, expr_id e, struct strbuf *out)
{
    print_operation(nest, e, NULL, out);
}

static void count_use(const struct nest *nest, expr_id e, uint8_t *uses)
{
    const struct expr *x = expr_at(nest, e);
    if (e == EXPR_NONE || uses[e] == 2)
        return;
    if (uses[e]++ == 0)
        for (int i = 0; i < 3; i++)
            count_use(nest, x->operand[i], uses);
}

/* Names what the statement uses more than once, operands first (ids ascend). Leaves, loads and
 * index arithmetic keep being written out where they are short. */
static void print_names(const struct nest *nest, const struct stmt *s, int indent, uint8_t *uses,
                        struct strbuf *out)
{
    count_use(nest, s->value, uses);
    for (expr_id e = 1; e <= s->value; e++) {
        const struct expr *x = expr_at(nest, e);
        if (uses[e] > 1 && (x->operand[0] == EXPR_NONE || x->op == EXPR_LOAD ||
                            (x->dtype == DTYPE_I64 && !x->loads)))
            uses[e] = 1;
        if (uses[e] < 2)
            continue;
        strbuf_printf(out, "t%u = ", e);
        print_operation(nest, e, uses, out);
        strbuf_printf(out, "\n%*s", 2 * indent, "");
    }
}

static void print_for(const struct nest *nest, const struct stmt *s, struct strbuf *out)
{
    static const char *const kinds[] = {"", "for", "parallel", "vector", "jam", "apart"};
    strbuf_printf(out, "%s", kinds[s->loop_kind]);
    if (s->loop_kind == LOOP_VECTOR)
        strbuf_printf(out, "(%u)", s->lanes);
    strbuf_printf(out, " %s in ", nest->vars.items[s->var].name);
    expr_print(nest, nest->vars.items[s->var].extent, out);
    strbuf_puts(out, s->independent ? "\n" : " reduce\n");
}

static void print_block(const struct nest *nest, const struct block *block, int indent,
                        struct strbuf *out);

static void print_stmt(const struct nest *nest, const struct stmt *s, int indent,
                       struct strbuf *out)
{
    static const char *const combines[] = {"", "+=", "*=", "max=", "min="};
    strbuf_printf(out, "%*s", 2 * indent, "");
    uint8_t *uses = s->value ? ARENA_ARRAY(nest->arena, uint8_t, s->value + 1) : NULL;
    if (uses)
        print_names(nest, s, indent, uses, out);
    switch ((enum stmt_kind)s->kind) {
    case STMT_FOR:
        print_for(nest, s, out);
        print_block(nest, &s->body, indent + 1, out);
        return;
    case STMT_IF:
        strbuf_puts(out, "if ");
        expr_print(nest, s->cond, out);
        strbuf_puts(out, "\n");
        print_block(nest, &s->body, indent + 1, out);
        if (s->orelse.stmts.count) {
            strbuf_printf(out, "%*selse\n", 2 * indent, "");
            print_block(nest, &s->orelse, indent + 1, out);
        }
        return;
    case STMT_LOCAL:
        strbuf_printf(out, "local %s %s = ", nest->locals.items[s->local].name,
                      dtype_name(nest->locals.items[s->local].dtype));
        break;
    case STMT_UPDATE:
        strbuf_printf(out, "%s %s ", nest->locals.items[s->local].name, combines[s->combine]);
        break;
    case STMT_PREFETCH:
        strbuf_printf(out, "prefetch %s[", nest->buffers.items[s->buffer].name);
        expr_print(nest, s->index, out);
        strbuf_puts(out, "]\n");
        return;
    case STMT_STORE:
        strbuf_printf(out, "%s[", nest->buffers.items[s->buffer].name);
        expr_print(nest, s->index, out);
        strbuf_puts(out, "] = ");
        break;
    }
    print_expr(nest, s->value, uses, out);
    if (s->guard != EXPR_NONE) {
        strbuf_puts(out, " if ");
        expr_print(nest, s->guard, out);
    }
    strbuf_puts(out, "\n");
}

static void print_block(const struct nest *nest, const struct block *block, int indent,
                        struct strbuf *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++)
        print_stmt(nest, block->stmts.items[i], indent, out);
}

void nest_print(const struct nest *nest, struct strbuf *out)
{
    static const char *const roles[] = {"", "out", "in", "scratch", "table"};
    strbuf_printf(out, "kernel %s(", nest->name);
    for (uint32_t i = 0; i < nest->buffers.count; i++) {
        const struct nest_buffer *b = &nest->buffers.items[i];
        strbuf_printf(out, "%s%s %s[", i ? ", " : "", b->name, dtype_name(b->dtype));
        expr_print(nest, b->elements, out);
        strbuf_printf(out, "] %s", roles[b->role]);
        if (b->stream != EXPR_NONE) {
            strbuf_puts(out, " stream if ");
            expr_print(nest, b->stream, out);
        }
    }
    strbuf_puts(out, ")\n");
    print_block(nest, &nest->body, 1, out);
}
