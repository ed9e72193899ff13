/* What the wheel's static libraries ask for, and do not get from the C library that they are linked
 * with, on x86-64. All of it is hidden from everybody else.
 *
 * 1. Before glibc 2.33 stat had another name, gettid came with 2.30, and pthread_atfork was in no
 *    shared library before 2.34. A wheel for older ones is linked with stubs that do not have them
 *    (glibc_stubs.py).
 * 2. Debian's libjansson.a is no code for shared libraries where it names stdin, a variable of
 *    another library: it compares files with it, for messages. It is never given a file here. */
#undef _FILE_OFFSET_BITS /* struct stat is the same with and without on x86-64; names are not */
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAT_VERSION 1 /* of struct stat, the only one there is on x86-64 */

int __fxstat(int version, int fd, struct stat *out);
int __xstat(int version, const char *path, struct stat *out);
int __lxstat(int version, const char *path, struct stat *out);
int __fxstatat(int version, int folder, const char *path, struct stat *out, int flags);
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
extern void *__dso_handle __attribute__((visibility("hidden")));

#pragma GCC visibility push(hidden)

#undef stdin
FILE *stdin;

int fstat(int fd, struct stat *out)
{
    return __fxstat(STAT_VERSION, fd, out);
}

int stat(const char *path, struct stat *out)
{
    return __xstat(STAT_VERSION, path, out);
}

int lstat(const char *path, struct stat *out)
{
    return __lxstat(STAT_VERSION, path, out);
}

int fstatat(int folder, const char *path, struct stat *out, int flags)
{
    return __fxstatat(STAT_VERSION, folder, path, out, flags);
}

pid_t gettid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return __register_atfork(prepare, parent, child, __dso_handle);
}

int fstat64(int fd, struct stat64 *out) __attribute__((alias("fstat")));
int stat64(const char *path, struct stat64 *out) __attribute__((alias("stat")));
int lstat64(const char *path, struct stat64 *out) __attribute__((alias("lstat")));
int fstatat64(int folder, const char *path, struct stat64 *out, int flags)
    __attribute__((alias("fstatat")));

#pragma GCC visibility pop
