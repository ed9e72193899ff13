/* The only place that names compiler extensions. */
#ifndef URZA_BASE_COMPILER_H
#define URZA_BASE_COMPILER_H

#define URZA_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define URZA_NODISCARD __attribute__((warn_unused_result))
#define URZA_NORETURN __attribute__((noreturn))
#define URZA_EXPORT __attribute__((visibility("default")))
#define URZA_TARGET(features) __attribute__((target(features)))
#define URZA_LIKELY(x) __builtin_expect(!!(x), 1)
#define URZA_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* True when the exact result does not fit; *out then holds it wrapped. */
#define URZA_ADD_OVERFLOW(a, b, out) __builtin_add_overflow(a, b, out)
#define URZA_SUB_OVERFLOW(a, b, out) __builtin_sub_overflow(a, b, out)
#define URZA_MUL_OVERFLOW(a, b, out) __builtin_mul_overflow(a, b, out)

/* Whether the CPU, and the operating system where it has a part in it, can do what one of GCC's
 * feature names says. */
#if defined(__x86_64__)
#define URZA_CPU_SUPPORTS(feature) (__builtin_cpu_supports(feature) != 0)
#else
#define URZA_CPU_SUPPORTS(feature) 0
#endif

/* Tells the core that this is a spinning loop. */
#if defined(__x86_64__)
#define URZA_CPU_RELAX() __builtin_ia32_pause()
#else
#define URZA_CPU_RELAX() ((void)0)
#endif

/* The word that holds rounding, flushing, masks and flags of floating point. Where there is none
 * <fenv.h> has to do. */
#if defined(__x86_64__)
#define URZA_HAS_MXCSR 1
#define URZA_MXCSR_GET() __builtin_ia32_stmxcsr()
#define URZA_MXCSR_SET(word) __builtin_ia32_ldmxcsr(word)
#else
#define URZA_HAS_MXCSR 0
#endif

/* The low half of XCR0: which register state the system saves. Only where CPUID reports OSXSAVE. */
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
