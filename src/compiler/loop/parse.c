/* The parser of nests; text.h has the grammar. Recursive descent over blocks, at most MAX_BLOCKS of
 * them nested, a line at a time.
 *
 * Buffers are declared before loops, locals and `order`, but their sizes must be made after these.
 * So the lines of buffers are read twice: for names and dtypes, then for sizes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/loop/parse_priv.h"
#include "compiler/loop/text.h"

#define MAX_BLOCKS (2 * NEST_MAX_VARS)

static bool too_many(struct nest_parser *p, const char *what, int limit)
{
    fail(p->in.err, ERR_LIMIT, "more than %d %s", limit, what);
    return text_place(&p->in, p->in.at);
}

/* A name: it starts with a letter or _ and is no word that could start another kind of line. ("in"
 * and "table" are allowed: no statement starts with the name of such a buffer, which is never
 * stored into.) */
static bool parse_name(struct nest_parser *p, char out[LIMIT_NAME + 1], const char *what)
{
    static const char *const taken[] = {
        "dim",      "out",    "scratch", "loops", "locals", "order", "edge",  "for",
        "parallel", "vector", "jam",     "apart", "if",     "else",  "local", "prefetch",
    };
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if ((*at >= '0' && *at <= '9') || *at == '.')
        return text_expected(&p->in, what);
    if (!text_word(&p->in, out, what))
        return false;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(out, taken[i]) == 0)
            return nest_expected(p, at, what);
    return true;
}

/* Declarations. */

static bool take_buffer_role(struct nest_parser *p, uint8_t *out)
{
    static const char *const roles[] = {"", "out", "in", "scratch", "table"};
    for (uint8_t role = ROLE_OUT; role <= ROLE_TABLE; role++) {
        if (text_take(&p->in, roles[role])) {
            *out = role;
            return true;
        }
    }
    return false;
}

/* First reading of a buffer's line, behind the word for its role: name and dtype. */
static bool declare_buffer(struct nest_parser *p, uint8_t role)
{
    char name[LIMIT_NAME + 1];
    enum dtype dtype;
    if (p->nest->buffers.count == LIMIT_KERNEL_BUFFERS)
        return too_many(p, "buffers", LIMIT_KERNEL_BUFFERS);
    if (!parse_name(p, name, "the name of a buffer") || !nest_dtype(p, &dtype))
        return false;
    nest_buffer(p->nest, &(struct nest_buffer){.name = arena_strdup(p->nest->arena, name),
                                               .dtype = (uint8_t)dtype,
                                               .role = role});
    p->in.at += strcspn(p->in.at, "\n");
    return true;
}

/* Second reading, from the bracket on: size, condition, bytes. */
static bool size_buffer(struct nest_parser *p, struct nest_buffer *b)
{
    if (!text_expect(&p->in, "[") || !nest_typed(p, DTYPE_I64, &b->elements) ||
        !text_expect(&p->in, "]"))
        return false;
    if (text_take(&p->in, "stream") &&
        (!text_expect(&p->in, "if") || !nest_typed(p, DTYPE_BOOL, &b->stream)))
        return false;
    if (b->role != ROLE_TABLE)
        return text_end_line(&p->in);
    text_skip_space(&p->in);
    const char *at = p->in.at;
    int64_t elements = -1;
    if (!text_hex(&p->in, p->nest->arena, LIMIT_LITERAL_ELEMENTS * sizeof(double), &b->table,
                  &b->table_bytes))
        return false;
    if (!index_is_const(p->nest, b->elements, &elements) || elements < 0 ||
        elements > LIMIT_LITERAL_ELEMENTS ||
        b->table_bytes != (size_t)elements * dtype_bytes((enum dtype)b->dtype))
        return nest_expected(p, at, "as many bytes as the table's elements have");
    return text_end_line(&p->in);
}

static bool size_buffers(struct nest_parser *p, const char *lines)
{
    struct nest_parser back = *p;
    back.in.at = lines;
    for (uint32_t i = 0; i < p->nest->buffers.count; i++) {
        char name[LIMIT_NAME + 1];
        enum dtype dtype;
        uint8_t role;
        text_next_line(&back.in);
        if (!take_buffer_role(&back, &role) || !parse_name(&back, name, "a buffer") ||
            !nest_dtype(&back, &dtype) || !size_buffer(&back, &p->nest->buffers.items[i]))
            return false;
    }
    return true;
}

static bool parse_loops(struct nest_parser *p)
{
    struct nest *nest = p->nest;
    do {
        char name[LIMIT_NAME + 1] = "";
        uint32_t other;
        if (nest->vars.count == NEST_MAX_VARS)
            return too_many(p, "loops", NEST_MAX_VARS);
        text_skip_space(&p->in);
        const char *at = p->in.at;
        if (!text_take(&p->in, "\"\"") && !parse_name(p, name, "the name of a loop"))
            return false;
        if (*name && nest_find_var(nest, name, &other))
            return nest_expected(p, at, "a name that no other loop has");
        VEC_PUSH(nest->arena, &nest->vars,
                 ((struct nest_var){.name = arena_strdup(nest->arena, name)}));
    } while (text_take(&p->in, ","));
    return text_end_line(&p->in);
}

static bool parse_locals(struct nest_parser *p)
{
    do {
        char name[LIMIT_NAME + 1];
        enum dtype dtype;
        if (p->nest->locals.count == NEST_MAX_LOCALS)
            return too_many(p, "locals", NEST_MAX_LOCALS);
        if (!parse_name(p, name, "the name of a local") || !nest_dtype(p, &dtype))
            return false;
        nest_local(p->nest, arena_strdup(p->nest->arena, name), dtype);
    } while (text_take(&p->in, ","));
    return text_end_line(&p->in);
}

/* "%3 = VALUE", behind the %. */
static bool parse_percent(struct nest_parser *p)
{
    int64_t number;
    expr_id value;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!text_int(&p->in, 1, (int64_t)p->names.count + 1, &number))
        return false;
    if (number != 1 && number != (int64_t)p->names.count + 1)
        return nest_expected(p, at, "the next number, or 1");
    if (number == 1)
        p->names.count = 0;
    if (!text_expect(&p->in, "=") || !nest_expr(p, &value))
        return false;
    VEC_PUSH(p->nest->arena, &p->names, value);
    return text_end_line(&p->in);
}

static bool parse_order(struct nest_parser *p)
{
    expr_id made;
    do {
        if (!nest_expr(p, &made))
            return false;
    } while (text_take(&p->in, ","));
    return text_end_line(&p->in);
}

static bool parse_edge(struct nest_parser *p)
{
    struct nest_edge edge;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (p->nest->edges.count == LIMIT_KERNEL_EDGES)
        return too_many(p, "edges", LIMIT_KERNEL_EDGES);
    if (!nest_typed(p, DTYPE_I64, &edge.size))
        return false;
    if (expr_at(p->nest, edge.size)->vars || expr_at(p->nest, edge.size)->locals)
        return nest_expected(p, at, "a size");
    if (!text_expect(&p->in, "at") || !text_int(&p->in, INT64_MIN, INT64_MAX, &edge.at))
        return false;
    VEC_PUSH(p->nest->arena, &p->nest->edges, edge);
    return text_end_line(&p->in);
}

/* Moves to the next line and accepts a word at its start. */
static bool line_starts(struct nest_parser *p, const char *word)
{
    return text_next_line(&p->in) && text_take(&p->in, word);
}

static bool parse_header(struct nest_parser *p, struct dim_table *dims)
{
    uint8_t role;
    if (!text_next_line(&p->in) || !text_expect(&p->in, "kernel"))
        return p->in.at != p->in.end ? false : text_expected(&p->in, "'kernel'");
    if (!text_string(&p->in, p->nest->arena, &p->nest->name) || !text_end_line(&p->in))
        return false;
    while (line_starts(p, "dim"))
        if (!text_dim(&p->in, dims))
            return false;
    const char *buffers = p->in.at;
    while (text_next_line(&p->in) && take_buffer_role(p, &role))
        if (!declare_buffer(p, role))
            return false;
    if (line_starts(p, "loops") && !parse_loops(p))
        return false;
    if (line_starts(p, "locals") && !parse_locals(p))
        return false;
    for (bool more = true; more;) {
        bool percent = line_starts(p, "%");
        more = percent || line_starts(p, "order");
        if (more && !(percent ? parse_percent(p) : parse_order(p)))
            return false;
    }
    if (!size_buffers(p, buffers))
        return false;
    while (line_starts(p, "edge"))
        if (!parse_edge(p))
            return false;
    return true;
}

/* Statements. */

static bool parse_block(struct nest_parser *p, int level, struct block *out);

static bool take_loop_kind(struct nest_parser *p, uint8_t *out)
{
    static const char *const kinds[] = {"", "for", "parallel", "vector", "jam", "apart"};
    for (uint8_t kind = LOOP_SERIAL; kind <= LOOP_APART; kind++) {
        if (text_take(&p->in, kinds[kind])) {
            *out = kind;
            return true;
        }
    }
    return false;
}

/* Several loops may share a variable, if role, extent and full extent are the same. */
static bool bind_var(struct nest_parser *p, uint32_t var, const struct nest_var *given,
                     const char *at)
{
    struct nest_var *v = &p->nest->vars.items[var];
    if (v->extent != EXPR_NONE &&
        (v->extent != given->extent || v->full != given->full || v->role != given->role))
        return nest_expected(p, at, "the role, extent and full extent of the loop's first place");
    *v = (struct nest_var){v->name, given->role, given->extent, given->full};
    return true;
}

static bool parse_role(struct nest_parser *p, uint8_t *out)
{
    char word[LIMIT_NAME + 1];
    if (!text_take(&p->in, "over"))
        return true;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!text_word(&p->in, word, "a role"))
        return false;
    *out = (uint8_t)loop_role_from_name(word);
    return *out != OVER_NONE || nest_expected(p, at, "a role");
}

static bool parse_for(struct nest_parser *p, uint8_t kind, int level, struct block *out)
{
    char name[LIMIT_NAME + 1];
    struct nest_var given = {.role = OVER_NONE};
    int64_t lanes = 0;
    uint32_t var;
    if (kind == LOOP_VECTOR &&
        (!text_expect(&p->in, "(") || !text_int(&p->in, 1, UINT32_MAX, &lanes) ||
         !text_expect(&p->in, ")")))
        return false;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!parse_name(p, name, "a loop"))
        return false;
    if (!nest_find_var(p->nest, name, &var))
        return nest_expected(p, at, "a loop of the list");
    if (!parse_role(p, &given.role) || !text_expect(&p->in, "in") ||
        !nest_typed(p, DTYPE_I64, &given.extent) ||
        (text_take(&p->in, "to") && !nest_typed(p, DTYPE_I64, &given.full)) ||
        !bind_var(p, var, &given, at))
        return false;
    struct stmt *loop = stmt_for(p->nest, var, !text_take(&p->in, "reduce"));
    loop->loop_kind = kind;
    loop->lanes = (uint32_t)lanes;
    block_add(p->nest, out, loop);
    return text_end_line(&p->in) && parse_block(p, level + 1, &loop->body);
}

/* *out: the next line has this level; false: it has a smaller one. Fails on any other
 * indentation. */
static bool at_level(struct nest_parser *p, int level, bool *out)
{
    if (!text_next_line(&p->in)) {
        *out = false;
        return true;
    }
    const char *start = p->in.at;
    while (start > p->in.start && start[-1] == ' ')
        start--;
    bool whole = start == p->in.start || start[-1] == '\n';
    size_t spaces = (size_t)(p->in.at - start);
    *out = spaces == 2 * (size_t)level;
    if (whole && (*out || (spaces % 2 == 0 && spaces < 2 * (size_t)level)))
        return true;
    char what[48];
    snprintf(what, sizeof what, "at most %d spaces before the line", 2 * level);
    return text_expected(&p->in, what);
}

static bool parse_if(struct nest_parser *p, int level, struct block *out)
{
    expr_id cond;
    bool here;
    if (!nest_typed(p, DTYPE_BOOL, &cond) || !text_end_line(&p->in))
        return false;
    struct stmt *branch = stmt_if(p->nest, cond);
    block_add(p->nest, out, branch);
    if (!parse_block(p, level + 1, &branch->body) || !at_level(p, level, &here))
        return false;
    if (!here || !text_take(&p->in, "else"))
        return true;
    return text_end_line(&p->in) && parse_block(p, level + 1, &branch->orelse);
}

static bool parse_value(struct nest_parser *p, enum dtype dtype, expr_id *out)
{
    bool narrow = dtype == DTYPE_F16 || dtype == DTYPE_BF16;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!nest_expr(p, out))
        return false;
    enum dtype found = (enum dtype)expr_at(p->nest, *out)->dtype;
    return found == dtype || (narrow && found == DTYPE_F32) ||
           nest_expected(p, at, "a value of the dtype of what it goes to");
}

static bool parse_local(struct nest_parser *p, struct block *out)
{
    char name[LIMIT_NAME + 1];
    uint32_t local;
    expr_id value;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!parse_name(p, name, "a local") || !nest_find_local(p, name, at, &local) ||
        !text_expect(&p->in, "=") ||
        !nest_typed(p, (enum dtype)p->nest->locals.items[local].dtype, &value))
        return false;
    block_add(p->nest, out, stmt_local(p->nest, local, value));
    return text_end_line(&p->in);
}

static bool parse_prefetch(struct nest_parser *p, struct block *out)
{
    char name[LIMIT_NAME + 1];
    uint32_t buffer;
    expr_id index;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!parse_name(p, name, "a buffer") || !nest_find_buffer(p, name, at, &buffer) ||
        !text_expect(&p->in, "[") || !nest_typed(p, DTYPE_I64, &index) || !text_expect(&p->in, "]"))
        return false;
    block_add(p->nest, out, stmt_prefetch(p->nest, buffer, index));
    return text_end_line(&p->in);
}

/* The rest of a store, behind the buffer's name. */
static bool parse_store(struct nest_parser *p, uint32_t buffer, struct block *out)
{
    expr_id index, value, guard = EXPR_NONE;
    if (!text_expect(&p->in, "[") || !nest_typed(p, DTYPE_I64, &index) ||
        !text_expect(&p->in, "]") || !text_expect(&p->in, "=") ||
        !parse_value(p, (enum dtype)p->nest->buffers.items[buffer].dtype, &value) ||
        (text_take(&p->in, "if") && !nest_typed(p, DTYPE_BOOL, &guard)))
        return false;
    struct stmt *store = stmt_store(p->nest, buffer, index, value, guard);
    store->value = value; /* without stmt_store's simplification */
    block_add(p->nest, out, store);
    return text_end_line(&p->in);
}

/* The rest of an update, behind the local's name. */
static bool parse_update(struct nest_parser *p, uint32_t local, struct block *out)
{
    static const char *const signs[] = {"", "+=", "*=", "max=", "min="};
    enum combine combine = COMBINE_SUM;
    expr_id value;
    text_skip_space(&p->in);
    while (combine <= COMBINE_MIN && strncmp(p->in.at, signs[combine], strlen(signs[combine])) != 0)
        combine++;
    if (combine > COMBINE_MIN)
        return text_expected(&p->in, "+=, *=, max= or min=");
    p->in.at += strlen(signs[combine]);
    if (!nest_typed(p, (enum dtype)p->nest->locals.items[local].dtype, &value))
        return false;
    block_add(p->nest, out, stmt_update(p->nest, local, combine, value));
    return text_end_line(&p->in);
}

static bool parse_stmt(struct nest_parser *p, int level, struct block *out)
{
    char name[LIMIT_NAME + 1];
    uint8_t kind;
    uint32_t place;
    const char *at = p->in.at;
    if (text_take(&p->in, "%"))
        return parse_percent(p);
    if (take_loop_kind(p, &kind))
        return parse_for(p, kind, level, out);
    if (text_take(&p->in, "if"))
        return parse_if(p, level, out);
    if (text_take(&p->in, "local"))
        return parse_local(p, out);
    if (text_take(&p->in, "prefetch"))
        return parse_prefetch(p, out);
    if (!parse_name(p, name, "a statement"))
        return false;
    const char *behind = p->in.at + strspn(p->in.at, "@0123456789");
    if (*behind == '[')
        return nest_find_buffer(p, name, at, &place) && parse_store(p, place, out);
    return nest_find_local(p, name, at, &place) && parse_update(p, place, out);
}

static bool parse_block(struct nest_parser *p, int level, struct block *out)
{
    bool here;
    if (level > MAX_BLOCKS)
        return too_many(p, "blocks inside each other", MAX_BLOCKS);
    for (;;) {
        if (!at_level(p, level, &here))
            return false;
        if (!here || strncmp(p->in.at, "else", 4) == 0)
            return true;
        if (!parse_stmt(p, level, out))
            return false;
    }
}

static bool parse(struct nest_parser *p, struct dim_table *dims)
{
    if (!parse_header(p, dims) || !parse_block(p, 1, &p->nest->body))
        return false;
    text_next_line(&p->in);
    return p->in.at == p->in.end || text_expected(&p->in, "a statement of the kernel");
}

bool nest_parse(struct nest *nest, struct dim_table *dims, struct arena *arena, const char *text,
                size_t size, struct error *err)
{
    struct nest_parser p = {.nest = nest};
    dim_table_init(dims, arena);
    nest_init(nest, arena, dims, "");
    if (!text_open(&p.in, arena, text, size, err))
        return false;
    bool read = parse(&p, dims);
    if (!read || !nest_verify(nest, err)) {
        if (read)
            text_place(&p.in, p.in.start);
        if (err->code != ERR_LIMIT)
            err->code = ERR_PARSE;
        return false;
    }
    return true;
}
