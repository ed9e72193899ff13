/* Shared by the files of this room: the state of emitting one kernel. */
#ifndef URZA_COMPILER_CODEGEN_CODEGEN_PRIV_H
#define URZA_COMPILER_CODEGEN_CODEGEN_PRIV_H

#include <assert.h>
#include <llvm-c/Core.h>

#include "compiler/codegen/architecture.h"
#include "compiler/codegen/codegen.h"
#include "compiler/loop/loop.h"
#include "compiler/target/target.h"

#define MAX_LEVELS (NEST_MAX_VARS + 8) /* one per loop, a few branches, the entry */

/* An emitted value. It may be reused while the level where it was emitted is open and, if it
 * depends on locals or on memory that the kernel writes, until those change. */
struct memo {
    LLVMValueRef value;
    uint32_t level, level_serial; /* serial: of the opening of that level */
    uint64_t time;                /* of its emission, as emitter.now */
};

/* A level is a loop body or a branch in which code can be placed; level 0 is the function's entry.
 * A value that does not depend on inner loops is placed at the end of its own level's block, before
 * the jump into the inner loop (loop-invariant code motion). */
struct level {
    LLVMBasicBlockRef block;
    LLVMValueRef jump; /* the terminator of block if an inner level is open; NULL for the innermost
                          level */
    uint32_t serial;
    /* Of the body of a loop whose variable, var, goes up by one from start; start is NULL else. */
    uint32_t var;
    LLVMValueRef start;
    LLVMBasicBlockRef before, body;
    struct quotient *quotients; /* in the order in which they are stepped */
};

/* The quotient and the remainder of a loop's variable, or of another such quotient (below, NULL:
 * none), counted by the loop. anew: at the loop's end, whether the remainder starts at 0 again. */
struct quotient {
    expr_id value, divisor;
    uint32_t level;
    const struct quotient *below;
    LLVMValueRef by, first, quotient, rest, anew;
    struct quotient *next;
};

struct local_state {
    LLVMValueRef storage; /* alloca */
    bool vector;          /* one value per lane */
    uint32_t level;       /* at and inside this level, until the next update, its value is
                             constant */
    uint64_t changed;     /* time of the last update, as emitter.now */
};

struct emitter {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMValueRef function, entry_mark; /* allocas are inserted before entry_mark */
    const struct target *target;
    const struct architecture *architecture;
    struct nest *nest;
    struct arena *arena;
    uint32_t kernel; /* its number, for dumps */

    LLVMValueRef *buffers;            /* base pointers */
    LLVMValueRef begin, end;          /* range of the parallel loop */
    LLVMValueRef vars[NEST_MAX_VARS]; /* current value; of a vector variable: that of lane 0 */
    uint32_t var_level[NEST_MAX_VARS];
    struct local_state *locals;

    uint32_t vector_var; /* UINT32_MAX outside vector loops */
    uint32_t lanes;
    LLVMValueRef mask; /* active lanes; NULL: all */
    LLVMValueRef left; /* number of active lanes (i64), the first ones, if there is a mask */

    struct {
        LLVMTypeRef type;
        LLVMValueRef slot;
    } zeros[4]; /* stack slots that hold zeros */

    struct level levels[MAX_LEVELS];
    uint32_t level; /* the innermost open one */
    uint32_t serials;
    uint64_t now, memory_changed;

    struct memo *values; /* by expr id */
    uint32_t value_capacity;
    struct {
        struct memo memo;
        expr_id index;
        uint32_t buffer;
    } pointers[256]; /* partial addresses; a direct-mapped cache */
};

/* emit.c: emits the whole kernel. */
void emit_kernel(struct emitter *e);

/* value.c: the value of an expression at the current place: scalar, or a vector if it varies over
 * lanes. */
LLVMValueRef emit_value(struct emitter *e, expr_id id);
/* The same, but a splat if it is scalar and a vector loop is open. */
LLVMValueRef emit_vector(struct emitter *e, expr_id id);
/* Sets what emit_value gives for id. */
void emit_bind(struct emitter *e, expr_id id, LLVMValueRef value);
void emit_store(struct emitter *e, const struct stmt *s);
void emit_prefetch(struct emitter *e, const struct stmt *s);
/* The address of lane 0 if lanes are `stride` elements apart; NULL if they are not. */
LLVMValueRef emit_first_lane(struct emitter *e, uint32_t buffer, expr_id index, expr_id stride);
/* Whether the value varies over the lanes of the open vector loop. */
bool expr_varies(const struct emitter *e, expr_id id);

/* A vector load of elements of dtype, zeros where mask (NULL: none) is not set. */
LLVMValueRef emit_whole_load(struct emitter *e, LLVMTypeRef type, LLVMValueRef pointer,
                             enum dtype dtype, LLVMValueRef mask);

/* lanes.c: a comparison whose result depends on the lane number only by a bound, emitted at a
 * level; NULL if x is no such comparison. */
LLVMValueRef emit_lane_compare(struct emitter *e, const struct expr *x, uint32_t level);

/* An interval of lanes, first to last, as i64 scalars; NULL: from lane 0, to the last lane.
 * lane_interval narrows it by a guard; false if the guard is no interval of lanes. */
struct lane_interval {
    LLVMValueRef first, last;
};
bool lane_interval(struct emitter *e, expr_id guard, struct lane_interval *out);

/* Loads elements 0, stride, 2·stride … behind pointer, one for each lane within: whole vectors are
 * loaded and shuffled, but nothing before the first or behind the last wanted element is
 * accessed. */
bool strided_lanes(struct emitter *e, expr_id index, int64_t *out_stride);
LLVMValueRef emit_strided_load(struct emitter *e, LLVMValueRef pointer, enum dtype dtype,
                               int64_t stride, const struct lane_interval *within);
/* transpose.c: emits stores from `at` on whose addresses are consecutive from one statement to the
 * next as a transposition in registers, if that is worth it. Returns how many; 0: none. */
uint32_t emit_transposed_stores(struct emitter *e, const struct block *block, uint32_t at);

/* operation.c: a combined with b; in max and min a NaN wins. */
LLVMValueRef emit_combine(struct emitter *e, enum combine combine, enum dtype dtype, LLVMValueRef a,
                          LLVMValueRef b);

/* operation.c: one operation on operands that are all scalars or all vectors. */
LLVMValueRef emit_operation(struct emitter *e, const struct expr *x, LLVMValueRef v[3]);

/* quotients.c: the value of a quotient or remainder that an open loop counts; NULL: x is none.
 * step_quotients makes those of the innermost level ready for the next iteration. */
LLVMValueRef emit_counted_quotient(struct emitter *e, const struct expr *x);
void step_quotients(struct emitter *e);

/* remainder.c: fmod of f64, as a call of a private function of the module. */
LLVMValueRef emit_remainder(struct emitter *e, LLVMValueRef a, LLVMValueRef b);

/* apply.c: a select whose first alternative is an APPLY (chooses_apply, emit_rare_choice), and an
 * APPLY elsewhere, emitted at a level. */
bool chooses_apply(const struct emitter *e, const struct expr *x);
LLVMValueRef emit_rare_choice(struct emitter *e, const struct expr *select, uint32_t level);
LLVMValueRef emit_apply(struct emitter *e, const struct expr *apply, uint32_t level);

/* convert.c: casts between dtypes, and between memory and registers. */
LLVMValueRef emit_cast(struct emitter *e, LLVMValueRef v, enum dtype from, enum dtype to);
/* The loaded bits in register form. */
LLVMValueRef emit_from_memory(struct emitter *e, LLVMValueRef v, enum dtype memory);
/* rounded: v is exact in that dtype. */
LLVMValueRef emit_to_memory(struct emitter *e, LLVMValueRef v, enum dtype memory, bool rounded);

/* emit.c: levels. */
void level_open(struct emitter *e, LLVMBasicBlockRef block);
void level_close(struct emitter *e);
/* A new block; level_continue makes it the one where the innermost level goes on. */
LLVMBasicBlockRef level_block(struct emitter *e);
void level_continue(struct emitter *e, LLVMBasicBlockRef block);
/* Positions the builder at the end of that level's code. */
void level_place(struct emitter *e, uint32_t level);

/* types.c */
void add_attribute(struct emitter *e, LLVMValueRef function, const char *name, uint64_t value);
/* Adds a function with the attributes that the target wants on all functions. */
LLVMValueRef add_function(struct emitter *e, const char *name, LLVMTypeRef type);
/* The type of one element in registers; bool: i1. */
LLVMTypeRef type_of(struct emitter *e, enum dtype dtype);
LLVMTypeRef type_in_memory(struct emitter *e, enum dtype dtype); /* f16, bf16: i16; bool: i8 */
/* element, or a vector of as many as shape has lanes. */
LLVMTypeRef type_like(LLVMTypeRef element, LLVMValueRef shape);
bool is_vector(LLVMValueRef v);
LLVMValueRef splat(struct emitter *e, LLVMValueRef v, uint32_t lanes);
LLVMValueRef splat_like(struct emitter *e, LLVMValueRef v, LLVMValueRef shape);
LLVMValueRef const_int_like(LLVMValueRef shape, int64_t value);
LLVMValueRef const_real_like(LLVMValueRef shape, double value);
LLVMValueRef emit_intrinsic(struct emitter *e, const char *name, LLVMTypeRef *types,
                            uint32_t type_count, LLVMValueRef *args, uint32_t arg_count);
LLVMValueRef lane_numbers(struct emitter *e); /* <0, 1, …> as i64 */
/* Whether any lane of c (i1) is set. */
LLVMValueRef any_lane(struct emitter *e, LLVMValueRef c);

struct cache_value;

/* One kernel: its code, then its constants. */
struct kernel_image {
    const uint8_t *bytes;
    size_t size_bytes;
    uint64_t entry;                 /* offset of its first instruction */
    const struct cache_value *held; /* the cache's value that owns bytes; NULL: an arena does */
};

/* image.c: from an ELF object of one kernel. */
bool image_from_object(const void *object, size_t size, const struct architecture *architecture,
                       struct arena *arena, struct kernel_image *out, struct error *err);

#endif
