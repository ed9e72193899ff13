/* Loop nests: what a kernel group becomes before code generation.
 *
 * A nest is a tree of statements over scalar expressions. Expressions are interned u32 ids and
 * pure; index arithmetic (i64) is kept in a polynomial normal form, so that equal indices are the
 * same id and strides can be read off. Statements are arena objects. A loop says how it runs:
 * serial, parallel (split over threads by the caller of the kernel), vector (lanes), or jam
 * (unrolled through everything inside: each statement runs for all values of the variable before
 * the next does; its locals become one register per value), or apart (a reduction that starts its
 * sums anew and adds them to those around it at its end).
 *
 * Loops that lowering makes over results are `independent`: their iterations write different
 * elements, so they may run in any order or together. Loops that only update locals are reductions;
 * they may run as vectors, lane by lane, merged at the end.
 *
 * Narrow floats: loads of f16 and bf16 give f32, stores round; no expression has those dtypes but
 * CAST to them and back (a rounding). A value of the graph with such a dtype is rounded wherever it
 * is used. Everything lives in one arena, one thread. */
#ifndef URZA_COMPILER_LOOP_LOOP_H
#define URZA_COMPILER_LOOP_LOOP_H

#include "base/limits.h"
#include "compiler/loop/role.h"
#include "graph/dim.h"
#include "graph/dtype.h"

struct error;

typedef uint32_t expr_id;
#define EXPR_NONE 0u
#define NEST_MAX_VARS 64     /* loop variables of one nest: bits of a word */
#define NEST_MAX_LOCALS 64   /* before jams are expanded */
#define NEST_MAX_JAM 64      /* copies of a statement in jammed loops */
#define NEST_MAX_JAM_DEPTH 8 /* jammed loops around a statement */

enum expr_op {
    EXPR_OP_NONE,
#define EXPR(id, text, n) EXPR_##id,
#include "compiler/loop/exprs.def"
#undef EXPR
    EXPR_OP_COUNT
};

struct expr {
    uint8_t op, dtype;
    bool loads;     /* a load is in it */
    bool unstable;  /* a load from memory that the nest writes is in it */
    uint32_t index; /* VAR, DIM, LOCAL, LOAD: which */
    expr_id operand[3];
    double value;          /* CONST of float dtype */
    int64_t integer;       /* CONST of integer dtype or bool */
    uint64_t vars, locals; /* what it depends on, as bits; locals modulo 64 */
};

#define VAR_NONE UINT32_MAX
struct nest_var {
    const char *name;
    uint8_t role;   /* what the loop runs over; one made from another has that one's */
    expr_id extent; /* 0 ≤ var < extent; EXPR_NONE while unbound */
    expr_id full;   /* a larger extent that gives the same: iterations beyond add nothing, as masked
                       keys do; EXPR_NONE: none */
};

enum buffer_role { ROLE_OUT = 1, ROLE_IN, ROLE_SCRATCH, ROLE_TABLE };
struct nest_buffer {
    const char *name;
    uint8_t dtype, role;
    expr_id elements; /* size; no loop variables */
    expr_id stream;   /* OUT: if this holds (of sizes only), vectors pass the caches; EXPR_NONE: not
                       */
    const void *table; /* ROLE_TABLE: constant elements, native layout; of the graph's arena */
    uint32_t table_bytes;
    uint32_t value;    /* OUT, IN: the graph's value whose memory it is; 0: of no graph */
    uint32_t argument; /* OUT, IN: which of the kernel's arguments it is; nest_buffer says it */
};

/* A loop's extent around which its code differs: for plan_edge. */
struct nest_edge {
    expr_id size; /* no loop variables */
    int64_t at;
};

struct nest_local {
    const char *name;
    uint8_t dtype;
};

enum loop_kind { LOOP_SERIAL = 1, LOOP_PARALLEL, LOOP_VECTOR, LOOP_JAM, LOOP_APART };
enum stmt_kind { STMT_FOR = 1, STMT_IF, STMT_LOCAL, STMT_UPDATE, STMT_STORE, STMT_PREFETCH };
enum combine { COMBINE_NONE, COMBINE_SUM, COMBINE_PROD, COMBINE_MAX, COMBINE_MIN };

struct block {
    VEC(struct stmt *) stmts;
};

struct stmt {
    uint8_t kind;
    /* FOR: var runs from 0 to its extent; IF: cond is uniform over all vector and jam loops around
     * it */
    uint8_t loop_kind;
    bool independent;
    uint32_t var, lanes; /* lanes: of a vector loop, a power of two */
    expr_id cond;
    struct block body, orelse;
    /* LOCAL: declares with initial value; UPDATE: local = local combine value (max, min: NaN
     * wins). Between its declaration and the end of the last loop that updates it a local is
     * read only by statements in that loop behind the update. */
    uint32_t local, combine;
    expr_id value;
    /* STORE: buffer[index] = value where guard (EXPR_NONE: always). PREFETCH: buffer[index], which
     * may lie outside, is about to be read; changes nothing */
    uint32_t buffer;
    expr_id index, guard;
};

struct nest {
    struct arena *arena;
    const struct dim_table *dims;
    const char *name;
    VEC(struct expr) exprs; /* [0] unused */
    struct map interned;
    VEC(struct nest_var) vars;
    VEC(struct nest_buffer) buffers;
    VEC(uint32_t) arguments; /* the kernel's, in order: buffers, outs first; for all to read */
    VEC(struct nest_local) locals;
    VEC(struct nest_edge) edges; /* noted by schedule steps; decide nothing */
    struct block body;
    struct { /* of expr_exchange_next, by id: what it became, in the exchange of that number */
        expr_id *became;
        uint32_t *numbers, capacity, number;
    } exchanged;
};

void nest_init(struct nest *nest, struct arena *arena, const struct dim_table *dims,
               const char *name);
/* The name is made unique. */
uint32_t nest_var(struct nest *nest, const char *name, enum loop_role role, expr_id extent);
uint32_t nest_buffer(struct nest *nest, const struct nest_buffer *buffer);
static inline const struct nest_buffer *nest_argument(const struct nest *nest, uint32_t argument)
{
    return &nest->buffers.items[nest->arguments.items[argument]];
}
uint32_t nest_local(struct nest *nest, const char *name, enum dtype dtype);

/* Expressions. Constructors fold constants and simple identities that hold exactly (never float
 * algebra). */
static inline const struct expr *expr_at(const struct nest *nest, expr_id e)
{
    return &nest->exprs.items[e];
}
/* Of an integer dtype: (int64_t)value. */
expr_id expr_const(struct nest *nest, enum dtype dtype, double value);
expr_id expr_int(struct nest *nest, enum dtype dtype, int64_t value); /* integer dtypes and bool */
expr_id expr_var(struct nest *nest, uint32_t var);
expr_id expr_dim(struct nest *nest, dim_id dim); /* any dim expression, i64 */
expr_id expr_local(struct nest *nest, uint32_t local);
expr_id expr_load(struct nest *nest, uint32_t buffer, expr_id index, expr_id guard);
expr_id expr_unary(struct nest *nest, enum expr_op op, expr_id a);
expr_id expr_binary(struct nest *nest, enum expr_op op, expr_id a, expr_id b); /* same dtype; i64
                                                                                  ADD SUB MUL go to
                                                                                  index_* */
expr_id expr_select(struct nest *nest, expr_id c, expr_id a, expr_id b);
expr_id expr_fma(struct nest *nest, expr_id a, expr_id b, expr_id c);
expr_id expr_param(struct nest *nest, enum dtype dtype);
expr_id expr_apply(struct nest *nest, expr_id x, expr_id f); /* f: no apply in it */
expr_id expr_cast(struct nest *nest, expr_id a, enum dtype dtype);
expr_id expr_convert(struct nest *nest, expr_id a, enum dtype dtype);
expr_id expr_bitcast(struct nest *nest, expr_id a, enum dtype dtype);
/* The number of a narrow float dtype that is nearest to e, as f32; e may be of any dtype. */
expr_id expr_round(struct nest *nest, expr_id e, enum dtype narrow);
/* Whether e, of f32, is known to be a number of a narrow dtype, or a NaN. */
bool expr_is_rounded(const struct nest *nest, expr_id e, enum dtype dtype);
/* What e rounds to dtype; e itself where it is none. */
expr_id expr_before_rounding(const struct nest *nest, expr_id e, enum dtype dtype);

/* Index arithmetic (i64), in normal form: sums of coefficient × product of atoms, which are any
 * other expressions (graph/dim.h says why dims are not kept so). Non-negative by contract where a
 * division is involved. */
expr_id index_const(struct nest *nest, int64_t value);
expr_id index_add(struct nest *nest, expr_id a, expr_id b);
expr_id index_sub(struct nest *nest, expr_id a, expr_id b);
expr_id index_mul(struct nest *nest, expr_id a, expr_id b);
expr_id index_div(struct nest *nest, expr_id a, expr_id b);
expr_id index_mod(struct nest *nest, expr_id a, expr_id b);
expr_id index_min(struct nest *nest, expr_id a, expr_id b);
expr_id index_max(struct nest *nest, expr_id a, expr_id b);
bool index_is_const(const struct nest *nest, expr_id e, int64_t *out_value);
/* Bounds over all values of variables and dims; saturating. */
void index_range(const struct nest *nest, expr_id e, int64_t *out_min, int64_t *out_max);
/* Whether a ≤ b provably, for all values. */
bool index_le(struct nest *nest, expr_id a, expr_id b);
/* The coefficient of var when e is linear in it (EXPR_NONE when it is not); does not depend on var
 * itself. */
expr_id index_stride(struct nest *nest, expr_id e, uint32_t var);
/* Terms of a sum, at most max of them; returns their number, or 0 when there are more. */
uint32_t index_terms(const struct nest *nest, expr_id e, expr_id *out, uint32_t max);

/* e with var replaced by value, everywhere; with any expression inside it replaced. */
expr_id expr_replace(struct nest *nest, expr_id e, uint32_t var, expr_id value);
expr_id expr_exchange(struct nest *nest, expr_id e, expr_id what, expr_id value);
/* The same in many expressions: what was found in one is remembered for the next. */
struct expr_exchange {
    expr_id what, value;
    uint32_t number;
};
void expr_exchange_begin(struct nest *nest, expr_id what, expr_id value, struct expr_exchange *out);
expr_id expr_exchange_next(struct nest *nest, const struct expr_exchange *exchange, expr_id e);

/* e with the value of a local replaced. */
expr_id expr_replace_local(struct nest *nest, expr_id e, uint32_t local, expr_id value);

/* Calls visit once for each distinct expression in e, operands first. Expressions share operands,
 * so whoever walks them without remembering where it was may walk for ever. */
typedef void expr_visitor(struct nest *nest, expr_id e, void *context);
void expr_walk(struct nest *nest, expr_id e, expr_visitor *visit, void *context);

/* Statements. A store of a rounded value rounds itself. */
struct stmt *stmt_for(struct nest *nest, uint32_t var, bool independent);
struct stmt *stmt_if(struct nest *nest, expr_id cond);
struct stmt *stmt_local(struct nest *nest, uint32_t local, expr_id init);
struct stmt *stmt_update(struct nest *nest, uint32_t local, enum combine combine, expr_id value);
struct stmt *stmt_store(struct nest *nest, uint32_t buffer, expr_id index, expr_id value,
                        expr_id guard);
struct stmt *stmt_prefetch(struct nest *nest, uint32_t buffer, expr_id index);
void block_add(struct nest *nest, struct block *block, struct stmt *stmt);
/* A deep copy with var replaced by value; loops and locals inside get fresh variables and locals.
 */
void block_copy(struct nest *nest, const struct block *from, struct block *to, uint32_t var,
                expr_id value);
/* SHA-256 of all that decides a nest's code on a target: equal for nests that are equal but for the
 * names of kernel, buffers, loops and locals, and for the roles of loops. The same in every
 * process. Uses the nest's arena. */
void nest_digest(const struct nest *nest, uint8_t out[32]);

/* The start value of a reduction: 0, 1, -inf or the least integer, … */
expr_id combine_identity(struct nest *nest, enum combine combine, enum dtype dtype);

/* Replaces jammed loops by copies, statement by statement; the last step before code generation. */
void nest_expand_jam(struct nest *nest);

/* Every invariant: ids in range, dtypes of operands, variables used inside their loop only, locals
 * declared before use and updated where allowed, at most one vector loop around a statement, one
 * parallel loop and it outermost, vector lanes a power of two, stores only to ROLE_OUT and
 * ROLE_SCRATCH. ERR_BUG. */
bool nest_verify(struct nest *nest, struct error *err);

#endif
