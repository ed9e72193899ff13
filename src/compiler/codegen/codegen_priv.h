/* Inside code generation: the state of emitting one kernel. */
#ifndef URZA_COMPILER_CODEGEN_CODEGEN_PRIV_H
#define URZA_COMPILER_CODEGEN_CODEGEN_PRIV_H

#include <assert.h>
#include <llvm-c/Core.h>

#include "compiler/codegen/architecture.h"
#include "compiler/codegen/codegen.h"
#include "compiler/loop/loop.h"
#include "compiler/target/target.h"

#define MAX_LEVELS (NEST_MAX_VARS + 8) /* a loop each, a few branches, the entry */

/* An emitted value. It may be used while the level it was emitted at is open and, for values that
 * depend on locals or on memory the kernel writes, until those change. */
struct memo {
    LLVMValueRef value;
    uint32_t level, level_serial; /* serial: which opening of that level */
    uint64_t time;                /* when it was emitted */
};

/* A level is a loop body or a branch: where code may be placed. Level 0 is the function's entry.
 * Code that does not depend on inner loops is placed at the end of its own level's block, before
 * the jump into the loop. */
struct level {
    LLVMBasicBlockRef block;
    LLVMValueRef jump; /* the terminator of block once an inner level is open; NULL while it is the
                          innermost */
    uint32_t serial;
};

struct local_state {
    LLVMValueRef storage; /* alloca */
    bool vector;          /* one value per lane */
    uint32_t level;       /* where its value stands still */
    uint64_t changed;     /* time of the last update */
};

struct emitter {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMValueRef function, entry_mark; /* allocas go before entry_mark */
    const struct target *target;
    const struct architecture *architecture;
    struct nest *nest;
    struct arena *arena;
    uint32_t kernel; /* its number, for dumps */

    LLVMValueRef *buffers;            /* base pointers */
    LLVMValueRef begin, end;          /* of the parallel loop */
    LLVMValueRef vars[NEST_MAX_VARS]; /* present scalar value; of a vector variable: of lane 0 */
    uint32_t var_level[NEST_MAX_VARS];
    struct local_state *locals;

    uint32_t vector_var; /* UINT32_MAX outside vector loops */
    uint32_t lanes;
    LLVMValueRef mask; /* active lanes; NULL: all … */
    LLVMValueRef left; /* … which are the first so many (i64), when there is a mask */

    struct {
        LLVMTypeRef type;
        LLVMValueRef slot;
    } zeros[4]; /* memory of the stack that holds zeros */

    struct level levels[MAX_LEVELS];
    uint32_t level; /* innermost open one */
    uint32_t serials;
    uint64_t now, memory_changed;

    struct memo *values; /* by expr id */
    uint32_t value_capacity;
    struct {
        struct memo memo;
        expr_id index;
        uint32_t buffer;
    } pointers[256]; /* partial addresses, direct mapped */
};

/* codegen.c → emit.c */
void emit_kernel(struct emitter *e);

/* value.c: the value of an expression at the present place: scalar, or a vector when it varies over
 * lanes. */
LLVMValueRef emit_value(struct emitter *e, expr_id id);
LLVMValueRef emit_vector(struct emitter *e, expr_id id); /* splat if it is scalar and a vector loop
                                                            is open */
void emit_bind(struct emitter *e, expr_id id, LLVMValueRef value); /* says what emit_value gives */
void emit_store(struct emitter *e, const struct stmt *s);
void emit_prefetch(struct emitter *e, const struct stmt *s);
/* The address of lane 0 when lanes are stride elements apart; NULL when they are not. */
LLVMValueRef emit_first_lane(struct emitter *e, uint32_t buffer, expr_id index, expr_id stride);
bool expr_varies(const struct emitter *e, expr_id id); /* over the lanes of the open vector loop */

/* One vector from type's element in memory, zeros where mask (NULL: none) is not set. */
LLVMValueRef emit_whole_load(struct emitter *e, LLVMTypeRef type, LLVMValueRef pointer,
                             enum dtype dtype, LLVMValueRef mask);

/* lanes.c: a comparison of lane numbers, placed at a level; NULL when x is none. */
LLVMValueRef emit_lane_compare(struct emitter *e, const struct expr *x, uint32_t level);

/* The lanes first … last, as i64 scalars; NULL: from the first, to the last. Narrowed by a guard;
 * false when that is no interval of lanes. */
struct lane_interval {
    LLVMValueRef first, last;
};
bool lane_interval(struct emitter *e, expr_id guard, struct lane_interval *out);

/* Elements 0, stride, 2·stride … behind pointer, one for each lane within. Whole vectors are loaded
 * and what is between left out; nothing outside of the first and the last wanted is touched. */
bool strided_lanes(struct emitter *e, expr_id index, int64_t *out_stride);
LLVMValueRef emit_strided_load(struct emitter *e, LLVMValueRef pointer, enum dtype dtype,
                               int64_t stride, const struct lane_interval *within);
/* transpose.c: as many of the stores from at on as lie together from one to the next and are worth
 * transposing in registers; 0: none. */
uint32_t emit_transposed_stores(struct emitter *e, const struct block *block, uint32_t at);

/* operation.c: a combined with b; max and min: NaN wins. */
LLVMValueRef emit_combine(struct emitter *e, enum combine combine, enum dtype dtype, LLVMValueRef a,
                          LLVMValueRef b);

/* operation.c: one operation on operands of one shape. */
LLVMValueRef emit_operation(struct emitter *e, const struct expr *x, LLVMValueRef v[3]);

/* remainder.c: fmod of f64, by a call of a function of the module. */
LLVMValueRef emit_remainder(struct emitter *e, LLVMValueRef a, LLVMValueRef b);

/* apply.c: a select whose first alternative is an APPLY, and an APPLY elsewhere, at a level. */
bool chooses_apply(const struct emitter *e, const struct expr *x);
LLVMValueRef emit_rare_choice(struct emitter *e, const struct expr *select, uint32_t level);
LLVMValueRef emit_apply(struct emitter *e, const struct expr *apply, uint32_t level);

/* convert.c: casts between dtypes, and between memory and registers. */
LLVMValueRef emit_cast(struct emitter *e, LLVMValueRef v, enum dtype from, enum dtype to);
LLVMValueRef emit_from_memory(struct emitter *e, LLVMValueRef v, enum dtype memory); /* bits as
                                                                                        loaded →
                                                                                        register
                                                                                        form */
/* rounded: v is known to be a number of that dtype. */
LLVMValueRef emit_to_memory(struct emitter *e, LLVMValueRef v, enum dtype memory, bool rounded);

/* emit.c: levels. */
void level_open(struct emitter *e, LLVMBasicBlockRef block);
void level_close(struct emitter *e);
LLVMBasicBlockRef level_block(struct emitter *e);                /* a new one … */
void level_continue(struct emitter *e, LLVMBasicBlockRef block); /* … where the innermost level
                                                                     goes on */
void level_place(struct emitter *e, uint32_t level); /* positions the builder at the end of that
                                                        level's code */

/* types.c */
void add_attribute(struct emitter *e, LLVMValueRef function, const char *name, uint64_t value);
/* With what the target says of all its functions. */
LLVMValueRef add_function(struct emitter *e, const char *name, LLVMTypeRef type);
LLVMTypeRef type_of(struct emitter *e, enum dtype dtype); /* register form of one element; bool: i1
                                                           */
LLVMTypeRef type_in_memory(struct emitter *e, enum dtype dtype); /* f16, bf16: i16; bool: i8 */
LLVMTypeRef type_like(LLVMTypeRef element, LLVMValueRef shape);  /* element, or as many of them as
                                                                    shape has lanes */
bool is_vector(LLVMValueRef v);
LLVMValueRef splat(struct emitter *e, LLVMValueRef v, uint32_t lanes);
LLVMValueRef splat_like(struct emitter *e, LLVMValueRef v, LLVMValueRef shape);
LLVMValueRef const_int_like(LLVMValueRef shape, int64_t value);
LLVMValueRef const_real_like(LLVMValueRef shape, double value);
LLVMValueRef emit_intrinsic(struct emitter *e, const char *name, LLVMTypeRef *types,
                            uint32_t type_count, LLVMValueRef *args, uint32_t arg_count);
LLVMValueRef lane_numbers(struct emitter *e);             /* <0, 1, …> as i64 */
LLVMValueRef any_lane(struct emitter *e, LLVMValueRef c); /* whether one of c (i1) is set */

struct cache_value;

/* One kernel's code, then its constants. */
struct kernel_image {
    const uint8_t *bytes;
    size_t size_bytes;
    uint64_t entry;                 /* offset of its first instruction */
    const struct cache_value *held; /* bytes are the cache's; NULL: in an arena */
};

/* image.c: an ELF object of one function. */
bool image_from_object(const void *object, size_t size, const struct architecture *architecture,
                       struct arena *arena, struct kernel_image *out, struct error *err);

#endif
