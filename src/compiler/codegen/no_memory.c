/* Handlers for LLVM and the C++ library running out of memory. By default both end the process with
 * SIGABRT, which does not tell the reason, and their C interfaces have no such handlers. The
 * functions that set them exist in C++ only, so they are looked up by their mangled names. If a
 * library does not have them, the default stays. */
#include "compiler/codegen/codegen.h"

#include <dlfcn.h>
#include <string.h>

typedef void new_handler(void);
typedef void llvm_handler(void *context, const char *reason, bool crash);

/* std::set_new_handler(void (*)()) and llvm::install_bad_alloc_error_handler */
#define SET_NEW_HANDLER "_ZSt15set_new_handlerPFvvE"
#define SET_LLVM_HANDLER "_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_"
#define REMOVE_LLVM_HANDLER "_ZN4llvm30remove_bad_alloc_error_handlerEv"

/* context: the address of the handler. */
static void found_no_memory(void *context, const char *reason, bool crash)
{
    codegen_handler *const *handler = context;
    (void)reason, (void)crash;
    (*handler)();
}

void codegen_on_no_memory(codegen_handler *const *handler)
{
    new_handler *(*set_new)(new_handler *);
    void (*set_llvm)(llvm_handler *, void *), (*remove_llvm)(void);
    /* ISO C has no conversion between pointers to objects and to functions. */
    void *found = dlsym(RTLD_DEFAULT, SET_NEW_HANDLER);
    memcpy(&set_new, &found, sizeof found);
    if (found)
        set_new(*handler);
    found = dlsym(RTLD_DEFAULT, REMOVE_LLVM_HANDLER);
    memcpy(&remove_llvm, &found, sizeof found);
    if (found)
        remove_llvm();
    found = dlsym(RTLD_DEFAULT, SET_LLVM_HANDLER);
    memcpy(&set_llvm, &found, sizeof found);
    if (found && remove_llvm)
        set_llvm(found_no_memory, (void *)(uintptr_t)handler);
}
