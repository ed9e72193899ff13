/* From nests to an image: one LLVM module for all kernels of a package, light passes, object,
 * image. */
#include "compiler/codegen/codegen_priv.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"

/* Vectors are written out already and addresses placed; what is left for LLVM is to turn locals
 * into registers and to remove what was said twice. */
#define PASSES "function(sroa,early-cse)"

static LLVMTargetMachineRef make_machine(const struct target *target, struct error *err)
{
    LLVMTargetRef llvm_target;
    char *message = NULL;
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    if (LLVMGetTargetFromTriple(target->triple, &llvm_target, &message)) {
        fail(err, ERR_COMPILE, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return NULL;
    }
    return LLVMCreateTargetMachine(llvm_target, target->triple, target->cpu, target->features,
                                   LLVMCodeGenLevelLess, LLVMRelocPIC, LLVMCodeModelSmall);
}

static void emit_nest(LLVMContextRef context, LLVMModuleRef module, LLVMBuilderRef builder,
                      struct nest *nest, uint32_t kernel, const struct target *target)
{
    struct emitter *e = ARENA_NEW(nest->arena, struct emitter);
    e->context = context;
    e->module = module;
    e->builder = builder;
    e->target = target;
    e->nest = nest;
    e->arena = nest->arena;
    e->kernel = kernel;
    e->buffers = ARENA_ARRAY(nest->arena, LLVMValueRef, nest->buffers.count + 1);
    e->locals = ARENA_ARRAY(nest->arena, struct local_state, nest->locals.count + 1);
    emit_kernel(e);
}

static bool dump_assembly(LLVMTargetMachineRef machine, LLVMModuleRef module, struct strbuf *out,
                          struct error *err)
{
    LLVMMemoryBufferRef buffer = NULL;
    char *message = NULL;
    LLVMModuleRef copy = LLVMCloneModule(module); /* emission changes the module */
    bool failed =
        LLVMTargetMachineEmitToMemoryBuffer(machine, copy, LLVMAssemblyFile, &message, &buffer);
    LLVMDisposeModule(copy);
    if (failed) {
        fail(err, ERR_COMPILE, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return false;
    }
    strbuf_add(out, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
    return true;
}

static bool to_image(LLVMTargetMachineRef machine, LLVMModuleRef module, uint32_t count,
                     struct arena *arena, struct code_image *out, struct error *err)
{
    LLVMMemoryBufferRef object = NULL;
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, module, LLVMObjectFile, &message, &object)) {
        fail(err, ERR_COMPILE, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return false;
    }
    bool ok = image_from_object(LLVMGetBufferStart(object), LLVMGetBufferSize(object), count, arena,
                                out, err);
    LLVMDisposeMemoryBuffer(object);
    return ok;
}

static bool verify_module(LLVMModuleRef module, struct error *err)
{
    char *message = NULL;
    bool broken = LLVMVerifyModule(module, LLVMReturnStatusAction, &message);
    if (broken)
        fail(err, ERR_BUG, "invalid LLVM IR: %s", message);
    LLVMDisposeMessage(message);
    return !broken;
}

static bool run_passes(LLVMTargetMachineRef machine, LLVMModuleRef module, struct error *err)
{
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef failure = LLVMRunPasses(module, PASSES, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!failure)
        return true;
    char *message = LLVMGetErrorMessage(failure);
    fail(err, ERR_COMPILE, "LLVM passes: %s", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

bool codegen(struct nest *const *nests, uint32_t count, const struct target *target,
             const struct code_dump *dump, struct arena *arena, struct code_image *out,
             struct error *err)
{
    LLVMTargetMachineRef machine = make_machine(target, err);
    if (!machine)
        return false;
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("urza", context);
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(context);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetTarget(module, target->triple);
    LLVMSetModuleDataLayout(module, layout);
    for (uint32_t i = 0; i < count; i++)
        emit_nest(context, module, builder, nests[i], i, target);
    bool ok = verify_module(module, err) && run_passes(machine, module, err);
    if (ok && dump && dump->llvm) {
        char *text = LLVMPrintModuleToString(module);
        strbuf_puts(dump->llvm, text);
        LLVMDisposeMessage(text);
    }
    if (ok && dump && dump->assembly)
        ok = dump_assembly(machine, module, dump->assembly, err);
    ok = ok && to_image(machine, module, count, arena, out, err);
    LLVMDisposeTargetData(layout);
    LLVMDisposeBuilder(builder);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    LLVMDisposeTargetMachine(machine);
    return ok;
}
