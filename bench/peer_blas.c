/* OpenBLAS and BLIS. Both export cblas_sgemm, so each is opened by its path with names of its own.
 *
 * Neither of Debian's versions knows processors newer than itself; both are told to use their
 * kernels for AVX-512 where this machine has it. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bench.h"

#define FOLDER "/usr/lib/x86_64-linux-gnu/"

enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111 };
typedef void sgemm_fn(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

struct blas_job {
    sgemm_fn *sgemm;
    int m, n, k;
    const float *a, *b;
    float *own_b, *c;
};

/* A function of the library; NULL fills err. */
static void *symbol(void *library, const char *name, struct error *err)
{
    void *found = library ? dlsym(library, name) : NULL;
    if (!found)
        fail(err, ERR_NOT_FOUND, "%s", dlerror());
    return found;
}

static bool open_openblas(struct peer *peer, uint32_t threads, struct error *err)
{
    if (target_supported_here("x86-64-v4"))
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
    setenv("OPENBLAS_THREAD_TIMEOUT", "20", 1); /* idle threads spin for 2^20 cycles, not 2^26 */
    void *library = dlopen(FOLDER "openblas-pthread/libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void (*set_threads)(int) = symbol(library, "openblas_set_num_threads", err);
    char *(*config)(void) = symbol(library, "openblas_get_config", err);
    peer->state = symbol(library, "cblas_sgemm", err);
    if (!set_threads || !config || !peer->state)
        return false;
    set_threads((int)threads);
    snprintf(peer->version, sizeof peer->version, "%s", config());
    return true;
}

static bool open_blis(struct peer *peer, uint32_t threads, struct error *err)
{
    if (target_supported_here("x86-64-v4"))
        setenv("BLIS_ARCH_TYPE", "0", 1); /* skx */
    void *library = dlopen(FOLDER "blis-pthread/libblis.so.4", RTLD_NOW | RTLD_LOCAL);
    void (*set_threads)(int64_t) = symbol(library, "bli_thread_set_num_threads", err);
    const char *(*version)(void) = symbol(library, "bli_info_get_version_str", err);
    int (*arch)(void) = symbol(library, "bli_arch_query_id", err);
    const char *(*arch_name)(int) = symbol(library, "bli_arch_string", err);
    peer->state = symbol(library, "cblas_sgemm", err);
    if (!set_threads || !version || !arch || !arch_name || !peer->state)
        return false;
    set_threads(threads);
    snprintf(peer->version, sizeof peer->version, "BLIS %s, kernels for %s", version(),
             arch_name(arch()));
    return true;
}

static void *prepare(struct peer *peer, const struct subject *subject, struct error *err)
{
    const struct gemm *gemm = &subject->test->gemm;
    if (subject->test->kind != CASE_GEMM)
        return NULL;
    struct blas_job *job = calloc(1, sizeof *job);
    *job = (struct blas_job){.sgemm = (sgemm_fn *)peer->state,
                             .m = (int)gemm->m,
                             .n = (int)gemm->n,
                             .k = (int)gemm->k,
                             .a = subject_input(subject, 0)};
    size_t c_bytes = (size_t)(gemm->m * gemm->n) * sizeof(float);
    job->c = aligned_alloc(64, (c_bytes + 63) / 64 * 64);
    job->b = subject_right_operand(subject, &job->own_b);
    (void)err;
    return job;
}

static uint64_t run(void *state, uint64_t repetitions)
{
    const struct blas_job *job = state;
    uint64_t begin = clock_ns();
    for (uint64_t i = 0; i < repetitions; i++)
        job->sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, job->m, job->n, job->k, 1, job->a, job->k,
                   job->b, job->n, 0, job->c, job->n);
    return clock_ns() - begin;
}

static const float *result(void *state)
{
    return ((struct blas_job *)state)->c;
}

static void release(void *state)
{
    struct blas_job *job = state;
    free(job->own_b);
    free(job->c);
    free(job);
}

static void close_peer(struct peer *peer)
{
    peer->state = NULL; /* libraries with threads are not unloaded */
}

const struct peer_driver peer_openblas = {"OpenBLAS", open_openblas, prepare,   run,
                                          result,     release,       close_peer};
const struct peer_driver peer_blis = {"BLIS", open_blis, prepare, run, result, release, close_peer};
