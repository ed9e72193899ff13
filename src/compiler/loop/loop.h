/* Loop nests: the intermediate representation between a kernel group and LLVM.
 *
 * A nest is a tree of statements over scalar expressions. Expressions are pure and interned: equal
 * expressions have the same u32 id. Index arithmetic (i64) is in a polynomial normal form, so equal
 * indices have the same id and the stride of a variable can be read off. A loop says how it runs:
 *
 *   serial    one iteration after the other
 *   parallel  divided among threads by the caller of the kernel
 *   vector    `lanes` iterations at once
 *   jam       unroll-and-jam: each statement inside runs for all values of the variable before the
 *             next one; a local inside becomes one register per value
 *   apart     a reduction with partial sums of its own, added to those around it when it ends
 *
 * Loops over results are `independent`: their iterations write different elements, so they may run
 * in any order or at once. Loops that only update locals are reductions; as vector loops they have
 * one partial result per lane, merged at the end.
 *
 * Loads of f16 and bf16 give f32 and stores round to them; no other expression has those dtypes but
 * CAST to them (a rounding). Where the graph has a value of such a dtype, every use is rounded.
 * Everything lives in one arena and is used by one thread. */
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
    bool loads;     /* contains a LOAD */
    bool unstable;  /* contains a LOAD from a buffer that the nest stores into */
    uint32_t index; /* of the variable, dim, local or buffer (LOAD) */
    expr_id operand[3];
    double value;          /* CONST of float dtype */
    int64_t integer;       /* CONST of integer dtype or bool */
    uint64_t vars, locals; /* those that occur in it, as bits; locals modulo 64 */
};

#define VAR_NONE UINT32_MAX
struct nest_var {
    const char *name;
    uint8_t role;   /* enum loop_role; a step that derives a loop from another copies it */
    expr_id extent; /* 0 ≤ var < extent; EXPR_NONE while unbound */
    expr_id full;   /* a larger extent with the same results: iterations from extent on contribute
                       nothing (masked keys). EXPR_NONE: none */
};

enum buffer_role { ROLE_OUT = 1, ROLE_IN, ROLE_SCRATCH, ROLE_TABLE };
struct nest_buffer {
    const char *name;
    uint8_t dtype, role;
    expr_id elements;  /* how many; without loop variables */
    expr_id stream;    /* OUT: vector stores bypass the caches where this condition on sizes holds;
                          EXPR_NONE: never */
    const void *table; /* ROLE_TABLE: constant elements in native layout, in the graph's arena */
    uint32_t table_bytes;
    uint32_t value;    /* OUT, IN: the graph value that it holds; 0: none */
    uint32_t argument; /* OUT, IN: its place among the kernel's arguments; set by nest_buffer */
};

/* A size (without loop variables) at which the nest's code takes another way; becomes a
 * plan_edge. */
struct nest_edge {
    expr_id size;
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
    /* FOR: var runs from 0 below its extent. IF: cond has one value for all iterations of the
     * vector and jam loops around it */
    uint8_t loop_kind;
    bool independent;
    uint32_t var, lanes; /* lanes: of a vector loop; a power of two */
    expr_id cond;
    struct block body, orelse;
    /* LOCAL: declares a local with its initial value. UPDATE: local = local combine value; a NaN
     * wins in max and min. From its declaration to the end of the last loop that updates it, only
     * statements in that loop behind the update read the local. */
    uint32_t local, combine;
    expr_id value;
    /* STORE: buffer[index] = value where guard holds (EXPR_NONE: always). PREFETCH: a hint that
     * buffer[index] is read soon; the index may lie outside of the buffer */
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
    VEC(uint32_t) arguments; /* buffers by argument of the kernel, outputs first; read only */
    VEC(struct nest_local) locals;
    VEC(struct nest_edge) edges; /* recorded by schedule steps; not part of the code */
    struct block body;
    struct { /* memo of expr_exchange_next, by id: the result, valid in the exchange of that
                number */
        expr_id *became;
        uint32_t *numbers, capacity, number;
    } exchanged;
};

void nest_init(struct nest *nest, struct arena *arena, const struct dim_table *dims,
               const char *name);
/* A number is appended to the name if another variable has it. */
uint32_t nest_var(struct nest *nest, const char *name, enum loop_role role, expr_id extent);
uint32_t nest_buffer(struct nest *nest, const struct nest_buffer *buffer);
static inline const struct nest_buffer *nest_argument(const struct nest *nest, uint32_t argument)
{
    return &nest->buffers.items[nest->arguments.items[argument]];
}
uint32_t nest_local(struct nest *nest, const char *name, enum dtype dtype);

/* Expressions. Constructors fold constants and identities that hold exactly, so no algebra on
 * floats. */
static inline const struct expr *expr_at(const struct nest *nest, expr_id e)
{
    return &nest->exprs.items[e];
}
/* Integer dtypes get (int64_t)value. */
expr_id expr_const(struct nest *nest, enum dtype dtype, double value);
expr_id expr_int(struct nest *nest, enum dtype dtype, int64_t value); /* integer dtypes and bool */
expr_id expr_var(struct nest *nest, uint32_t var);
expr_id expr_dim(struct nest *nest, dim_id dim); /* any dim expression, i64 */
expr_id expr_local(struct nest *nest, uint32_t local);
expr_id expr_load(struct nest *nest, uint32_t buffer, expr_id index, expr_id guard);
expr_id expr_unary(struct nest *nest, enum expr_op op, expr_id a);
/* Of one dtype; i64 ADD, SUB, MUL, MIN and MAX go to index_*. */
expr_id expr_binary(struct nest *nest, enum expr_op op, expr_id a, expr_id b);
expr_id expr_select(struct nest *nest, expr_id c, expr_id a, expr_id b);
expr_id expr_fma(struct nest *nest, expr_id a, expr_id b, expr_id c);
expr_id expr_param(struct nest *nest, enum dtype dtype);
expr_id expr_apply(struct nest *nest, expr_id x, expr_id f); /* f(x), f without APPLY */
expr_id expr_cast(struct nest *nest, expr_id a, enum dtype dtype);
expr_id expr_convert(struct nest *nest, expr_id a, enum dtype dtype);
expr_id expr_bitcast(struct nest *nest, expr_id a, enum dtype dtype);
/* e (of any dtype) rounded to a narrow float dtype, as f32. */
expr_id expr_round(struct nest *nest, expr_id e, enum dtype narrow);
/* Whether e (f32) is provably exact in a narrow dtype, or a NaN: rounding it changes nothing. */
bool expr_is_rounded(const struct nest *nest, expr_id e, enum dtype dtype);
/* If e is a rounding of an f32 value to dtype, that value; otherwise e. */
expr_id expr_before_rounding(const struct nest *nest, expr_id e, enum dtype dtype);

/* Index arithmetic (i64) in normal form: a sum of coefficient × product of atoms, where an atom is
 * any other expression (graph/dim.h says why dims have a table of their own). Operands of divisions
 * are not negative: the caller sees to it. */
expr_id index_const(struct nest *nest, int64_t value);
expr_id index_add(struct nest *nest, expr_id a, expr_id b);
expr_id index_sub(struct nest *nest, expr_id a, expr_id b);
expr_id index_mul(struct nest *nest, expr_id a, expr_id b);
expr_id index_div(struct nest *nest, expr_id a, expr_id b);
expr_id index_mod(struct nest *nest, expr_id a, expr_id b);
expr_id index_min(struct nest *nest, expr_id a, expr_id b);
expr_id index_max(struct nest *nest, expr_id a, expr_id b);
bool index_is_const(const struct nest *nest, expr_id e, int64_t *out_value);
/* Bounds over all values of variables and dims; they saturate. */
void index_range(const struct nest *nest, expr_id e, int64_t *out_min, int64_t *out_max);
/* Whether a ≤ b is proven for all values of variables and dims. */
bool index_le(struct nest *nest, expr_id a, expr_id b);
/* The coefficient of var if e is linear in it, without var; otherwise EXPR_NONE. */
expr_id index_stride(struct nest *nest, expr_id e, uint32_t var);
/* The terms of a sum; returns their number, 0 if there are more than max. */
uint32_t index_terms(const struct nest *nest, expr_id e, expr_id *out, uint32_t max);

/* Substitution in e: of a variable, or of any expression `what`. */
expr_id expr_replace(struct nest *nest, expr_id e, uint32_t var, expr_id value);
expr_id expr_exchange(struct nest *nest, expr_id e, expr_id what, expr_id value);
/* Substitution in many expressions, with one memo for all of them. */
struct expr_exchange {
    expr_id what, value;
    uint32_t number;
};
void expr_exchange_begin(struct nest *nest, expr_id what, expr_id value, struct expr_exchange *out);
expr_id expr_exchange_next(struct nest *nest, const struct expr_exchange *exchange, expr_id e);

/* Substitution of a local's value. */
expr_id expr_replace_local(struct nest *nest, expr_id e, uint32_t local, expr_id value);

/* Calls visit once for each distinct expression in e, operands first. Expressions are a DAG: a walk
 * without a memo takes exponential time. */
typedef void expr_visitor(struct nest *nest, expr_id e, void *context);
void expr_walk(struct nest *nest, expr_id e, expr_visitor *visit, void *context);

/* Statements. stmt_store drops a rounding that the store does anyway. */
struct stmt *stmt_for(struct nest *nest, uint32_t var, bool independent);
struct stmt *stmt_if(struct nest *nest, expr_id cond);
struct stmt *stmt_local(struct nest *nest, uint32_t local, expr_id init);
struct stmt *stmt_update(struct nest *nest, uint32_t local, enum combine combine, expr_id value);
struct stmt *stmt_store(struct nest *nest, uint32_t buffer, expr_id index, expr_id value,
                        expr_id guard);
struct stmt *stmt_prefetch(struct nest *nest, uint32_t buffer, expr_id index);
void block_add(struct nest *nest, struct block *block, struct stmt *stmt);
/* A deep copy with var replaced by value; loops and locals inside get new variables and locals. */
void block_copy(struct nest *nest, const struct block *from, struct block *to, uint32_t var,
                expr_id value);
/* SHA-256 of everything that decides a nest's code on a target. Names (kernel, buffers, loops,
 * locals) and roles of loops do not count. Equal in every process. Uses the nest's arena. */
void nest_digest(const struct nest *nest, uint8_t out[32]);

/* The neutral element of a reduction: 0, 1, -inf or the least integer, … */
expr_id combine_identity(struct nest *nest, enum combine combine, enum dtype dtype);

/* Replaces jammed loops by copies of each statement; the last transformation before code
 * generation. */
void nest_expand_jam(struct nest *nest);

/* in_place.c: whether the result is proven to be fit for writing over an argument (values). */
bool nest_in_place(struct nest *nest, uint32_t out, uint32_t in);
/* Checks every invariant: ids in range, dtypes of operands, variables used only inside their loop,
 * locals declared before use and updated where allowed, at most one vector loop around a statement,
 * one parallel loop and it outermost, lanes a power of two, stores only to ROLE_OUT and
 * ROLE_SCRATCH. ERR_BUG. */
bool nest_verify(struct nest *nest, struct error *err);

#endif
