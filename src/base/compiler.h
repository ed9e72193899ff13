/* The only file that names compiler extensions and, with the drivers of cpu.h, the only one that
 * checks which processor a program is built for. */
#ifndef URZA_BASE_COMPILER_H
#define URZA_BASE_COMPILER_H

#include <stdint.h>

#define URZA_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define URZA_NODISCARD __attribute__((warn_unused_result))
#define URZA_NORETURN __attribute__((noreturn))
#define URZA_EXPORT __attribute__((visibility("default")))
/* For functions that are called in loops of functions compiled for another target: a real call
 * would mix vector encodings (VEX and SSE), which is slow. */
#define URZA_ALWAYS_INLINE inline __attribute__((always_inline))
#define URZA_TARGET(features) __attribute__((target(features)))
#define URZA_LIKELY(x) __builtin_expect(!!(x), 1)
#define URZA_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* True when the exact result does not fit; *out then holds it wrapped. */
#define URZA_ADD_OVERFLOW(a, b, out) __builtin_add_overflow(a, b, out)
#define URZA_SUB_OVERFLOW(a, b, out) __builtin_sub_overflow(a, b, out)
#define URZA_MUL_OVERFLOW(a, b, out) __builtin_mul_overflow(a, b, out)

/* For a function of plain loops: the C compiler vectorises them, once for each level of x86-64, and
 * the program picks the best version for its CPU at start. All versions give the same bits:
 * vectorising does not change the order of additions, and -ffp-contract=off keeps multiplications
 * and additions from being fused. A callee is inlined only if its options differ from the caller's
 * in nothing but the level. */
#if defined(__SANITIZE_THREAD__) /* which cannot run before start, as choosing a version would */
#define URZA_VECTORISED
#elif defined(__clang__) && defined(__x86_64__)
#define URZA_VECTORISED \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__clang__)
#define URZA_VECTORISED
#elif defined(__x86_64__)
#define URZA_VECTORISED \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define URZA_VECTORISED __attribute__((optimize("O3")))
#endif

/* Four doubles that are added and multiplied lane by lane, and the integer vector of their bits.
 * They need only the alignment of a double. */
typedef double urza_f64x4 __attribute__((vector_size(32), aligned(8)));
typedef int64_t urza_i64x4 __attribute__((vector_size(32), aligned(8)));
/* Lane by lane: a where mask, the result of a comparison, is set; b elsewhere. */
#define URZA_F64X4_SELECT(mask, a, b) \
    ((urza_f64x4)(((urza_i64x4)(a) & (mask)) | ((urza_i64x4)(b) & ~(mask))))
#define URZA_F64X4(address) (*(const urza_f64x4 *)(address))
#define URZA_F64X4_ADD(address, x) (*(urza_f64x4 *)(address) += (x))
#define URZA_F64X4_ABS(x) \
    ((urza_f64x4)((urza_i64x4)(x) & (urza_i64x4){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}))

/* Eight floats, in the same way. */
typedef float urza_f32x8 __attribute__((vector_size(32), aligned(4)));
#define URZA_F32X8(address) (*(const urza_f32x8 *)(address))

/* Hints to the core that this is a spin loop. */
#if defined(__x86_64__)
#define URZA_CPU_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define URZA_CPU_RELAX() __asm__ volatile("yield")
#elif defined(__riscv)
#define URZA_CPU_RELAX() __asm__ volatile(".word 0x0100000f") /* PAUSE, a hint anywhere */
#else
#define URZA_CPU_RELAX() ((void)0)
#endif

/* MXCSR, the register with the rounding mode, flush to zero, exception masks and flags; only x86-64
 * has it. */
#if defined(__x86_64__)
#define URZA_HAS_MXCSR 1
#define URZA_MXCSR_GET() __builtin_ia32_stmxcsr()
#define URZA_MXCSR_SET(word) __builtin_ia32_ldmxcsr(word)
#else
#define URZA_HAS_MXCSR 0
#endif

/* The architecture that a system call filter checks for; where it is not defined, calls are not
 * filtered (confine.c). */
#if defined(__x86_64__)
#define URZA_AUDIT_ARCH AUDIT_ARCH_X86_64
#endif

/* The low half of XCR0: the register state that the system saves. Only where CPUID reports
 * OSXSAVE. */
#if defined(__x86_64__)
#define URZA_XGETBV(out_low)                                                 \
    do {                                                                     \
        unsigned high_;                                                      \
        __asm__ volatile("xgetbv" : "=a"(*(out_low)), "=d"(high_) : "c"(0)); \
    } while (0)
#endif

/* 1 in builds with AddressSanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define URZA_SANITIZED 1
#elif defined(__has_feature)
#define URZA_SANITIZED __has_feature(address_sanitizer)
#else
#define URZA_SANITIZED 0
#endif

#endif
