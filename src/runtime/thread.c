/* Threads of the runtime. They block all signals, so that the host's threads handle them. */
#include <signal.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/parts_priv.h"

/* The system keeps twice that free below the first thread's stack. */
#define FIRST_STACK_MAX ((size_t)64 << 20)
#define PAGE_BYTES 4096

bool thread_start(pthread_t *out, const pthread_attr_t *attributes, void *(*work)(void *),
                  void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return false;
    bool ok = pthread_create(out, attributes, work, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

/* The first thread's stack lies just below the strings that the program was started with, and far
 * above everything else. pthread_getattr_np would have to read all of /proc/self/maps to find
 * it. */
static size_t first_stack_left(uintptr_t here)
{
    uintptr_t top = getauxval(AT_EXECFN);
    size_t most = FIRST_STACK_MAX, used = PAGE_BYTES + top - here;
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || here > top)
        return 0;
    if (limit.rlim_cur < most)
        most = (size_t)limit.rlim_cur;
    return used < most ? most - used : 0;
}

/* 0 where the host runs on a stack that is not the thread's (a coroutine's), since its bounds are
 * unknown. */
size_t thread_stack_left(void)
{
    pthread_attr_t attributes;
    char here;
    void *low;
    size_t size, left = 0;
    if (getpid() == gettid())
        return first_stack_left((uintptr_t)&here);
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return 0;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0 && (uintptr_t)&here > (uintptr_t)low)
        left = (uintptr_t)&here - (uintptr_t)low;
    pthread_attr_destroy(&attributes);
    return left <= size ? left : 0;
}

struct work {
    void (*run)(void *argument);
    void *argument;
};

static void *run_work(void *argument)
{
    const struct work *work = argument;
    work->run(work->argument);
    return NULL;
}

bool thread_run(size_t stack_bytes, void (*run)(void *argument), void *argument)
{
    struct work work = {run, argument};
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    bool ok = pthread_attr_setstacksize(&attributes, stack_bytes) == 0 &&
              thread_start(&thread, &attributes, run_work, &work);
    pthread_attr_destroy(&attributes);
    return ok && pthread_join(thread, NULL) == 0;
}
