/* The printer of nests; text.h has the grammar.
 *
 * Expressions are DAGs, and written out as trees they could grow exponentially. So a subexpression
 * that a statement uses more than once gets a name on a line before it, and so does one that is
 * nested too deeply for the parser. Names are given operands first, in the order of printing and
 * not of ids, because a nest that was parsed back has other ids. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/strbuf.h"
#include "compiler/loop/loop_priv.h"
#include "compiler/loop/text.h"
#include "graph/text.h"

#define SHORT_NODES 8   /* indices and loads of at most so many nodes are repeated, not named */
#define NAMED_HEIGHT 24 /* nested brackets; well below PARSE_NESTING */

const char *expr_op_text(enum expr_op op)
{
    static const char *const texts[EXPR_OP_COUNT] = {
#define EXPR(id, text, n) [EXPR_##id] = text,
#include "compiler/loop/exprs.def"
#undef EXPR
    };
    return texts[op];
}

const char *expr_op_infix(enum expr_op op)
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

int expr_op_level(enum expr_op op)
{
    switch (op) {
    case EXPR_OR: return 1;
    case EXPR_AND: return 2;
    case EXPR_EQ:
    case EXPR_NE:
    case EXPR_LT:
    case EXPR_LE: return 3;
    case EXPR_ADD:
    case EXPR_SUB: return 4;
    case EXPR_MUL:
    case EXPR_DIV: return 5;
    default: return EXPR_PRIMARY;
    }
}

bool expr_is_opaque(const struct expr *e)
{
    return e->dtype == DTYPE_I64 && (e->op == EXPR_ADD || e->op == EXPR_MUL) &&
           e->index == EXPR_OPAQUE;
}

static int level_of(const struct expr *x)
{
    return expr_is_opaque(x) ? EXPR_PRIMARY : expr_op_level((enum expr_op)x->op);
}

/* The least precedence that an operand of an infix sign may have without brackets. A comparison as
 * left operand of a comparison gets brackets that the grammar does not need: (a < b) == c is easier
 * to read than a < b == c. */
static int level_of_operand(const struct expr *x, int which)
{
    return level_of(x) + (which > 0 || level_of(x) == expr_op_level(EXPR_EQ));
}

struct printer {
    const struct nest *nest;
    struct strbuf *out;
    uint64_t vars, locals; /* those with a loop or a declaration in the body, as bits */
    /* By expression, for the line that is being printed. */
    uint8_t *uses, *size, *height; /* uses up to 2; nodes and nested brackets of the printed tree,
                                      up to 255 */
    uint32_t *name;                /* 0: it has no name */
    VEC(expr_id) seen;             /* in the order operands first */
    uint32_t names;
};

/* The index is added where several buffers or locals have the name. */
static void print_buffer(const struct printer *p, uint32_t buffer)
{
    const char *name = p->nest->buffers.items[buffer].name;
    bool twice = false;
    for (uint32_t i = 0; i < p->nest->buffers.count; i++)
        twice |= i != buffer && strcmp(p->nest->buffers.items[i].name, name) == 0;
    strbuf_puts(p->out, name);
    if (twice)
        strbuf_printf(p->out, "@%u", buffer);
}

static void print_local(const struct printer *p, uint32_t local)
{
    const char *name = p->nest->locals.items[local].name;
    bool twice = false;
    for (uint32_t i = 0; i < p->nest->locals.count; i++)
        twice |= i != local && strcmp(p->nest->locals.items[i].name, name) == 0;
    strbuf_puts(p->out, name);
    if (twice)
        strbuf_printf(p->out, "@%u", local);
}

static bool is_var(const struct nest *nest, const char *name)
{
    uint32_t var;
    return nest_find_var(nest, name, &var);
}

static bool is_local(const struct nest *nest, const char *name)
{
    for (uint32_t i = 0; i < nest->locals.count; i++)
        if (strcmp(nest->locals.items[i].name, name) == 0)
            return true;
    return false;
}

static void print_const(const struct expr *x, struct strbuf *out)
{
    double usual = (double)NAN;
    if (dtype_is_float(x->dtype) && isnan(x->value) &&
        memcmp(&usual, &x->value, sizeof usual) != 0) {
        uint64_t bits;
        memcpy(&bits, &x->value, sizeof bits);
        strbuf_printf(out, "0x%" PRIx64, bits);
    } else {
        text_print_number((enum dtype)x->dtype, x->value, x->integer, out);
    }
    if (x->dtype == DTYPE_F32 && isfinite(x->value))
        strbuf_puts(out, "f");
    else if (x->dtype != DTYPE_I64)
        strbuf_printf(out, ":%s", dtype_name((enum dtype)x->dtype));
}

/* For a constant ≤ -1 its magnitude, which is printed behind " - "; otherwise 0. */
static int64_t taken_off(const struct expr *x)
{
    return x->op == EXPR_CONST && x->dtype == DTYPE_I64 && x->integer < 0 && x->integer != INT64_MIN
               ? -x->integer
               : 0;
}

static void print_operation(const struct printer *p, expr_id e);

static void print_at(const struct printer *p, expr_id e, int level)
{
    bool named = p->name && p->name[e];
    bool brackets = !named && level_of(expr_at(p->nest, e)) < level;
    strbuf_puts(p->out, brackets ? "(" : "");
    if (named)
        strbuf_printf(p->out, "%%%u", p->name[e]);
    else
        print_operation(p, e);
    strbuf_puts(p->out, brackets ? ")" : "");
}

static void print_whole(const struct printer *p, expr_id e)
{
    print_at(p, e, 0);
}

/* Prints an i64 sum whose last term is negative as a difference: "a - 3", "a - x*3". */
static bool print_difference(const struct printer *p, const struct expr *sum)
{
    const struct expr *term = expr_at(p->nest, sum->operand[1]);
    bool product = term->op == EXPR_MUL && !expr_is_opaque(term);
    if (sum->op != EXPR_ADD || sum->dtype != DTYPE_I64 || (p->name && p->name[sum->operand[1]]))
        return false;
    int64_t off = taken_off(product ? expr_at(p->nest, term->operand[1]) : term);
    if (off == 0 || (product && p->name && p->name[term->operand[1]]))
        return false;
    print_at(p, sum->operand[0], expr_op_level(EXPR_ADD));
    strbuf_puts(p->out, " - ");
    if (product)
        print_at(p, term->operand[0], expr_op_level(EXPR_MUL));
    if (!product || off != 1)
        strbuf_printf(p->out, "%s%" PRId64, product ? "*" : "", off);
    return true;
}

static void print_infix(const struct printer *p, const struct expr *x)
{
    if (print_difference(p, x))
        return;
    print_at(p, x->operand[0], level_of_operand(x, 0));
    strbuf_puts(p->out, expr_op_infix((enum expr_op)x->op));
    print_at(p, x->operand[1], level_of_operand(x, 1));
}

static void print_call(const struct printer *p, const struct expr *x)
{
    if (x->op != EXPR_CAST)
        strbuf_puts(p->out, expr_op_text((enum expr_op)x->op));
    if (x->op == EXPR_CONVERT || x->op == EXPR_BITCAST)
        strbuf_puts(p->out, ":");
    if (x->op == EXPR_CAST || x->op == EXPR_CONVERT || x->op == EXPR_BITCAST)
        strbuf_puts(p->out, dtype_name((enum dtype)x->dtype));
    for (int i = 0; i < 3 && x->operand[i] != EXPR_NONE; i++) {
        strbuf_puts(p->out, i ? ", " : "(");
        print_whole(p, x->operand[i]);
    }
    strbuf_puts(p->out, ")");
}

static void print_dim(const struct printer *p, const char *name)
{
    bool hidden = is_var(p->nest, name) || is_local(p->nest, name);
    strbuf_printf(p->out, hidden ? "dim(%s)" : "%s", name);
}

static void print_operation(const struct printer *p, expr_id e)
{
    const struct nest *nest = p->nest;
    const struct expr *x = expr_at(nest, e);
    switch ((enum expr_op)x->op) {
    case EXPR_CONST: print_const(x, p->out); return;
    case EXPR_VAR: strbuf_puts(p->out, nest->vars.items[x->index].name); return;
    case EXPR_DIM: print_dim(p, nest->dims->names.items[x->index].name); return;
    case EXPR_PARAM: strbuf_printf(p->out, "param:%s", dtype_name((enum dtype)x->dtype)); return;
    case EXPR_LOCAL: {
        bool hidden = is_var(nest, nest->locals.items[x->index].name);
        strbuf_puts(p->out, hidden ? "local(" : "");
        print_local(p, x->index);
        strbuf_puts(p->out, hidden ? ")" : "");
        return;
    }
    case EXPR_LOAD:
        print_buffer(p, x->index);
        strbuf_puts(p->out, "[");
        print_whole(p, x->operand[0]);
        if (x->operand[1] != EXPR_NONE) {
            strbuf_puts(p->out, " if ");
            print_whole(p, x->operand[1]);
        }
        strbuf_puts(p->out, "]");
        return;
    default: break;
    }
    if (level_of(x) < EXPR_PRIMARY)
        print_infix(p, x);
    else
        print_call(p, x);
}

static void count_use(struct printer *p, expr_id e)
{
    if (e == EXPR_NONE || p->uses[e] == 2 || p->uses[e]++ > 0)
        return;
    for (int i = 0; i < 3; i++)
        count_use(p, expr_at(p->nest, e)->operand[i]);
    VEC_PUSH(p->nest->arena, &p->seen, e);
}

/* Sets size and height of an expression whose operands have theirs. */
static void measure(struct printer *p, expr_id e)
{
    const struct expr *x = expr_at(p->nest, e);
    uint32_t size = 1, height = 0;
    for (int i = 0; i < 3 && x->operand[i] != EXPR_NONE; i++) {
        expr_id o = x->operand[i];
        bool bare =
            level_of(x) < EXPR_PRIMARY && level_of(expr_at(p->nest, o)) >= level_of(x) + (i > 0);
        uint32_t inside = p->height[o] + !bare;
        size += p->name[o] ? 1 : p->size[o];
        height = !p->name[o] && inside > height ? inside : height;
    }
    p->size[e] = (uint8_t)(size < UINT8_MAX ? size : UINT8_MAX);
    p->height[e] = (uint8_t)height;
}

static bool needs_name(const struct printer *p, expr_id e)
{
    const struct expr *x = expr_at(p->nest, e);
    bool again = x->op == EXPR_LOAD || (x->dtype == DTYPE_I64 && !x->loads);
    if (x->op == EXPR_CAST || x->operand[0] == EXPR_NONE)
        again = true;
    return (p->uses[e] > 1 && p->size[e] > (again ? SHORT_NODES : 1)) ||
           p->height[e] >= NAMED_HEIGHT;
}

static void indent(const struct printer *p, int depth)
{
    strbuf_printf(p->out, "%*s", 2 * depth, "");
}

/* Gives names to expressions [from, to) of `seen` that need one, a line each. open: a line has been
 * started and is ended before the first name. */
static void name_seen(struct printer *p, uint32_t from, uint32_t to, int depth, bool *open)
{
    for (uint32_t i = from; i < to; i++) {
        expr_id e = p->seen.items[i];
        measure(p, e);
        if (!needs_name(p, e))
            continue;
        strbuf_puts(p->out, *open ? "\n" : "");
        *open = false;
        indent(p, depth);
        strbuf_printf(p->out, "%%%u = ", p->names + 1);
        print_operation(p, e);
        strbuf_puts(p->out, "\n");
        p->name[e] = ++p->names;
    }
}

/* Prints the names that a line with these roots needs; end_names forgets them. */
static void begin_names(struct printer *p, const expr_id *roots, uint32_t count, int depth)
{
    bool open = false;
    for (uint32_t i = 0; i < count; i++)
        count_use(p, roots[i]);
    name_seen(p, 0, p->seen.count, depth, &open);
}

static void end_names(struct printer *p)
{
    for (uint32_t i = 0; i < p->seen.count; i++)
        p->uses[p->seen.items[i]] = 0, p->name[p->seen.items[i]] = 0;
    p->seen.count = 0;
    p->names = 0;
}

static void print_for(const struct printer *p, const struct stmt *s)
{
    static const char *const kinds[] = {"", "for", "parallel", "vector", "jam", "apart"};
    const struct nest_var *v = &p->nest->vars.items[s->var];
    strbuf_puts(p->out, kinds[s->loop_kind]);
    if (s->loop_kind == LOOP_VECTOR)
        strbuf_printf(p->out, "(%u)", s->lanes);
    strbuf_printf(p->out, " %s", v->name);
    if (v->role != OVER_NONE)
        strbuf_printf(p->out, " over %s", loop_role_name((enum loop_role)v->role));
    strbuf_puts(p->out, " in ");
    print_whole(p, v->extent);
    if (v->full != EXPR_NONE) {
        strbuf_puts(p->out, " to ");
        print_whole(p, v->full);
    }
    strbuf_puts(p->out, s->independent ? "" : " reduce");
}

static void print_stmt(const struct printer *p, const struct stmt *s)
{
    static const char *const combines[] = {"", "+=", "*=", "max=", "min="};
    switch ((enum stmt_kind)s->kind) {
    case STMT_FOR: print_for(p, s); return;
    case STMT_IF:
        strbuf_puts(p->out, "if ");
        print_whole(p, s->cond);
        return;
    case STMT_LOCAL:
        strbuf_puts(p->out, "local ");
        print_local(p, s->local);
        strbuf_puts(p->out, " = ");
        break;
    case STMT_UPDATE:
        print_local(p, s->local);
        strbuf_printf(p->out, " %s ", combines[s->combine]);
        break;
    case STMT_PREFETCH:
    case STMT_STORE:
        strbuf_puts(p->out, s->kind == STMT_PREFETCH ? "prefetch " : "");
        print_buffer(p, s->buffer);
        strbuf_puts(p->out, "[");
        print_whole(p, s->index);
        strbuf_puts(p->out, s->kind == STMT_PREFETCH ? "]" : "] = ");
        if (s->kind == STMT_PREFETCH)
            return;
        break;
    }
    print_whole(p, s->value);
    if (s->guard != EXPR_NONE) {
        strbuf_puts(p->out, " if ");
        print_whole(p, s->guard);
    }
}

static void print_block(struct printer *p, const struct block *block, int depth)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        const struct nest_var *v = s->kind == STMT_FOR ? &p->nest->vars.items[s->var] : NULL;
        const expr_id roots[] = {s->index,
                                 s->value,
                                 s->guard,
                                 s->cond,
                                 v ? v->extent : EXPR_NONE,
                                 v ? v->full : EXPR_NONE};
        begin_names(p, roots, sizeof roots / sizeof *roots, depth);
        indent(p, depth);
        print_stmt(p, s);
        strbuf_puts(p->out, "\n");
        end_names(p);
        print_block(p, &s->body, depth + 1);
        if (s->orelse.stmts.count) {
            indent(p, depth);
            strbuf_puts(p->out, "else\n");
            print_block(p, &s->orelse, depth + 1);
        }
    }
}

static void print_buffers(const struct printer *p)
{
    static const char *const roles[] = {"", "out", "in", "scratch", "table"};
    for (uint32_t i = 0; i < p->nest->buffers.count; i++) {
        const struct nest_buffer *b = &p->nest->buffers.items[i];
        strbuf_printf(p->out, "  %s %s %s[", roles[b->role], b->name,
                      dtype_name((enum dtype)b->dtype));
        print_whole(p, b->elements);
        strbuf_puts(p->out, "]");
        if (b->stream != EXPR_NONE) {
            strbuf_puts(p->out, " stream if ");
            print_whole(p, b->stream);
        }
        if (b->role == ROLE_TABLE) {
            strbuf_puts(p->out, " ");
            text_print_hex(b->table, b->table_bytes, p->out);
        }
        strbuf_puts(p->out, "\n");
    }
}

static void find_live(struct printer *p, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR)
            p->vars |= (uint64_t)1 << s->var;
        if (s->kind == STMT_LOCAL)
            p->locals |= (uint64_t)1 << s->local % 64;
        find_live(p, &s->body);
        find_live(p, &s->orelse);
    }
}

/* Whether e is an atom of index arithmetic whose variables and locals still occur in the nest. */
static bool is_live_atom(const struct printer *p, expr_id e)
{
    const struct expr *x = expr_at(p->nest, e);
    bool inner = (x->op == EXPR_ADD || x->op == EXPR_MUL) && !expr_is_opaque(x);
    return x->dtype == DTYPE_I64 && x->op != EXPR_CONST && !inner && !(x->vars & ~p->vars) &&
           !(x->locals & ~p->locals);
}

/* Prints all live atoms in the order of their ids. A name is printed only after all older atoms,
 * because printing it makes the named expression. */
static void print_order(struct printer *p)
{
    uint32_t *ends = ARENA_ARRAY(p->nest->arena, uint32_t, p->nest->exprs.count), from = 0;
    bool open = false;
    find_live(p, &p->nest->body);
    for (expr_id e = 1; e < p->nest->exprs.count; e++) {
        if (is_live_atom(p, e))
            count_use(p, e);
        ends[e] = p->seen.count;
    }
    for (expr_id e = 1; e < p->nest->exprs.count; e++) {
        if (!is_live_atom(p, e))
            continue;
        name_seen(p, from, ends[e], 1, &open);
        from = ends[e];
        strbuf_puts(p->out, open ? ", " : "  order ");
        open = true;
        print_whole(p, e);
    }
    strbuf_puts(p->out, open ? "\n" : "");
    end_names(p);
}

static void print_lists(const struct printer *p)
{
    const struct nest *nest = p->nest;
    for (uint32_t i = 0; i < nest->vars.count; i++) {
        const char *name = nest->vars.items[i].name;
        strbuf_printf(p->out, "%s%s", i ? ", " : "  loops ", *name ? name : "\"\"");
    }
    strbuf_puts(p->out, nest->vars.count ? "\n" : "");
    for (uint32_t i = 0; i < nest->locals.count; i++)
        strbuf_printf(p->out, "%s%s %s", i ? ", " : "  locals ", nest->locals.items[i].name,
                      dtype_name((enum dtype)nest->locals.items[i].dtype));
    strbuf_puts(p->out, nest->locals.count ? "\n" : "");
}

void nest_print(const struct nest *nest, struct strbuf *out)
{
    uint32_t count = nest->exprs.count;
    struct printer p = {.nest = nest, .out = out};
    strbuf_puts(out, "kernel ");
    text_print_string(nest->name, out);
    strbuf_puts(out, "\n");
    text_print_dims(nest->dims, "  ", out);
    print_buffers(&p);
    print_lists(&p);
    p.uses = ARENA_ARRAY(nest->arena, uint8_t, count);
    p.size = ARENA_ARRAY(nest->arena, uint8_t, count);
    p.height = ARENA_ARRAY(nest->arena, uint8_t, count);
    p.name = ARENA_ARRAY(nest->arena, uint32_t, count);
    print_order(&p);
    for (uint32_t i = 0; i < nest->edges.count; i++) {
        strbuf_puts(out, "  edge ");
        print_whole(&p, nest->edges.items[i].size);
        strbuf_printf(out, " at %" PRId64 "\n", nest->edges.items[i].at);
    }
    print_block(&p, &nest->body, 1);
}
