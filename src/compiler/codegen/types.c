/* LLVM types, constants as scalars or vectors, and functions of the target. */
#include "compiler/codegen/codegen_priv.h"

#include <string.h>

void add_attribute(struct emitter *e, LLVMValueRef function, const char *name, uint64_t value)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, kind, value));
}

/* vscale_range: the least in the upper half, the most in the lower one. */
LLVMValueRef add_function(struct emitter *e, const char *name, LLVMTypeRef type)
{
    LLVMValueRef function = LLVMAddFunction(e->module, name, type);
    uint64_t vscale = e->target->vscale;
    if (vscale > 0)
        add_attribute(e, function, "vscale_range", vscale << 32 | vscale);
    return function;
}

LLVMTypeRef type_of(struct emitter *e, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F64: return LLVMDoubleTypeInContext(e->context);
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16: return LLVMFloatTypeInContext(e->context);
    case DTYPE_BOOL: return LLVMInt1TypeInContext(e->context);
    default: return LLVMIntTypeInContext(e->context, (unsigned)(8 * dtype_bytes(dtype)));
    }
}

LLVMTypeRef type_in_memory(struct emitter *e, enum dtype dtype)
{
    if (dtype == DTYPE_F16 || dtype == DTYPE_BF16)
        return LLVMInt16TypeInContext(e->context);
    return dtype == DTYPE_BOOL ? LLVMInt8TypeInContext(e->context) : type_of(e, dtype);
}

bool is_vector(LLVMValueRef v)
{
    return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind;
}

LLVMTypeRef type_like(LLVMTypeRef element, LLVMValueRef shape)
{
    return is_vector(shape) ? LLVMVectorType(element, LLVMGetVectorSize(LLVMTypeOf(shape)))
                            : element;
}

LLVMValueRef splat(struct emitter *e, LLVMValueRef v, uint32_t lanes)
{
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(v), lanes),
                i32 = LLVMInt32TypeInContext(e->context);
    LLVMValueRef one =
        LLVMBuildInsertElement(e->builder, LLVMGetPoison(type), v, LLVMConstInt(i32, 0, 0), "");
    return LLVMBuildShuffleVector(e->builder, one, LLVMGetPoison(type),
                                  LLVMConstNull(LLVMVectorType(i32, lanes)), "");
}

LLVMValueRef splat_like(struct emitter *e, LLVMValueRef v, LLVMValueRef shape)
{
    return is_vector(shape) && !is_vector(v) ? splat(e, v, LLVMGetVectorSize(LLVMTypeOf(shape)))
                                             : v;
}

static LLVMValueRef repeat(LLVMValueRef element, LLVMValueRef shape)
{
    LLVMValueRef all[1024];
    if (!is_vector(shape))
        return element;
    uint32_t lanes = LLVMGetVectorSize(LLVMTypeOf(shape));
    assert(lanes <= 1024);
    for (uint32_t i = 0; i < lanes; i++)
        all[i] = element;
    return LLVMConstVector(all, lanes);
}

static LLVMTypeRef element_type(LLVMValueRef shape)
{
    return is_vector(shape) ? LLVMGetElementType(LLVMTypeOf(shape)) : LLVMTypeOf(shape);
}

LLVMValueRef const_int_like(LLVMValueRef shape, int64_t value)
{
    return repeat(LLVMConstInt(element_type(shape), (unsigned long long)value, 1), shape);
}

LLVMValueRef const_real_like(LLVMValueRef shape, double value)
{
    return repeat(LLVMConstReal(element_type(shape), value), shape);
}

LLVMValueRef emit_intrinsic(struct emitter *e, const char *name, LLVMTypeRef *types,
                            uint32_t type_count, LLVMValueRef *args, uint32_t arg_count)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(e->module, id, types, type_count);
    LLVMTypeRef type = LLVMIntrinsicGetType(e->context, id, types, type_count);
    return LLVMBuildCall2(e->builder, type, function, args, arg_count, "");
}

LLVMValueRef lane_numbers(struct emitter *e)
{
    LLVMValueRef numbers[1024];
    for (uint32_t i = 0; i < e->lanes; i++)
        numbers[i] = LLVMConstInt(LLVMInt64TypeInContext(e->context), i, 0);
    return LLVMConstVector(numbers, e->lanes);
}

LLVMValueRef any_lane(struct emitter *e, LLVMValueRef c)
{
    LLVMTypeRef type = LLVMTypeOf(c);
    return is_vector(c) ? emit_intrinsic(e, "llvm.vector.reduce.or", &type, 1, &c, 1) : c;
}
