/* libxsmm: kernels made for the very shape. It has no blocking for large shapes of its own, so two
 * ways are tried and the faster one competes: one kernel for all, and blocks of B that stay in the
 * cache. Its matrices are column-major: C = A·B by rows is Cᵀ = Bᵀ·Aᵀ by columns. */
#include "bench.h"

#ifdef HAVE_LIBXSMM
#include <libxsmm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define BLOCK_M 96
#define BLOCK_N 64
#define BLOCK_K 256

struct xsmm_job {
    int m, n, k;
    bool blocked;
    const float *a, *b;
    float *own_b, *c;
};

static bool open_libxsmm(struct peer *peer, uint32_t threads, struct error *err)
{
    if (threads > 1)
        return fail(err, ERR_UNSUPPORTED, "its kernels run on one thread");
    libxsmm_init();
    snprintf(peer->version, sizeof peer->version, "libxsmm %s, code for %s", LIBXSMM_VERSION,
             libxsmm_get_target_arch());
    return true;
}

static bool multiply(const struct xsmm_job *job, int m, int n, int k, const float *a,
                     const float *b, float *c, bool add)
{
    float alpha = 1, beta = add ? 1 : 0;
    int flags = LIBXSMM_GEMM_FLAG_NONE;
    libxsmm_smmfunction kernel =
        libxsmm_smmdispatch(n, m, k, &job->n, &job->k, &job->n, &alpha, &beta, &flags, NULL);
    if (!kernel)
        return false;
    kernel(b, a, c);
    return true;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static bool multiply_all(const struct xsmm_job *job)
{
    if (!job->blocked)
        return multiply(job, job->m, job->n, job->k, job->a, job->b, job->c, false);
    for (int k = 0; k < job->k; k += BLOCK_K)
        for (int m = 0; m < job->m; m += BLOCK_M)
            for (int n = 0; n < job->n; n += BLOCK_N)
                if (!multiply(job, least(BLOCK_M, job->m - m), least(BLOCK_N, job->n - n),
                              least(BLOCK_K, job->k - k), job->a + (int64_t)m * job->k + k,
                              job->b + (int64_t)k * job->n + n, job->c + (int64_t)m * job->n + n,
                              k > 0))
                    return false;
    return true;
}

static uint64_t run(void *state, uint64_t repetitions)
{
    uint64_t begin = clock_ns();
    for (uint64_t i = 0; i < repetitions; i++)
        if (!multiply_all(state))
            return 0;
    return clock_ns() - begin;
}

static void choose_way(struct xsmm_job *job)
{
    double least_ns[2];
    for (int way = 0; way < 2; way++) {
        job->blocked = way == 1;
        uint64_t first = run(job, 1), second = run(job, 1); /* the first makes the code */
        least_ns[way] = first == 0 || second == 0 ? INFINITY : (double)second;
    }
    job->blocked = least_ns[1] < least_ns[0];
}

static void *prepare(struct peer *peer, const struct subject *subject, struct error *err)
{
    const struct gemm *gemm = &subject->test->gemm;
    (void)peer, (void)err;
    if (subject->test->kind != CASE_GEMM)
        return NULL;
    struct xsmm_job *job = calloc(1, sizeof *job);
    *job = (struct xsmm_job){
        .m = (int)gemm->m, .n = (int)gemm->n, .k = (int)gemm->k, .a = subject_input(subject, 0)};
    size_t c_bytes = (size_t)(gemm->m * gemm->n) * sizeof(float);
    job->c = aligned_alloc(64, (c_bytes + 63) / 64 * 64);
    job->b = subject_right_operand(subject, &job->own_b);
    choose_way(job);
    return job;
}

static const float *result(void *state)
{
    return ((struct xsmm_job *)state)->c;
}

static void release(void *state)
{
    struct xsmm_job *job = state;
    free(job->own_b);
    free(job->c);
    free(job);
}

static void close_peer(struct peer *peer)
{
    (void)peer;
    libxsmm_finalize();
}

const struct peer_driver peer_libxsmm = {"libxsmm", open_libxsmm, prepare,   run,
                                         result,    release,      close_peer};
#else
static bool open_libxsmm(struct peer *peer, uint32_t threads, struct error *err)
{
    (void)peer, (void)threads;
    return fail(err, ERR_NOT_FOUND, "built without libxsmm-dev");
}

const struct peer_driver peer_libxsmm = {.name = "libxsmm", .open = open_libxsmm};
#endif
