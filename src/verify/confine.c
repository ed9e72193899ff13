/* A list of the system calls that the judge, the runtime and the C library need after the fork; all
 * else is refused. */
#include "verify/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static void drop_descriptors(void)
{
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++) {
        close(fd);
        if (null >= 0 && null != fd)
            dup2(null, fd);
    }
    syscall(SYS_close_range, 3, ~0u, 0);
}

#if defined(__x86_64__)

static const uint32_t allowed[] = {
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_madvise,
    SYS_mremap,
    SYS_brk,
    SYS_futex,
    SYS_exit,
    SYS_exit_group,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_gettid,
    SYS_getpid,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_memfd_create,
    SYS_ftruncate,
    SYS_fcntl,
    SYS_write,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_lseek,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_restart_syscall,
    SYS_getrandom,
    SYS_sysinfo,
    SYS_getrlimit,
};

#define LOAD(field) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define REFUSE(reason) RETURN(SECCOMP_RET_ERRNO | (reason))
/* Skips `over` instructions when what was loaded is value. */
#define SKIP_IF(value, over) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, over, 0)
#define SKIP_UNLESS(value, over) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, over)

static void filter_calls(void)
{
    struct sock_filter code[COUNT_OF(allowed) * 2 + 24];
    uint32_t n = 0;
#define ADD(...) code[n++] = (struct sock_filter)__VA_ARGS__
    ADD(LOAD(arch));
    ADD(SKIP_IF(AUDIT_ARCH_X86_64, 1));
    ADD(REFUSE(EPERM));
    ADD(LOAD(nr));
    for (uint32_t i = 0; i < COUNT_OF(allowed); i++) {
        ADD(SKIP_UNLESS(allowed[i], 1));
        ADD(RETURN(SECCOMP_RET_ALLOW));
    }
    ADD(SKIP_UNLESS(SYS_clone3, 1)); /* whose flags lie in memory: the C library then uses clone */
    ADD(REFUSE(ENOSYS));
    ADD(SKIP_UNLESS(SYS_clone, 4)); /* threads, no processes */
    ADD(LOAD(args[0]));
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(REFUSE(EPERM));
    ADD(SKIP_UNLESS(SYS_tgkill, 4)); /* abort */
    ADD(LOAD(args[0]));
    ADD(SKIP_UNLESS((uint32_t)getpid(), 1));
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(REFUSE(EPERM));
    ADD(REFUSE(EPERM));
#undef ADD
    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

#else

static void filter_calls(void)
{
}

#endif

void confine(void)
{
    drop_descriptors();
    filter_calls();
}
