/* What this machine can do: multiply-adds in registers, copying and reading, on several threads at
 * once.
 *
 * A round starts all threads together and ends when the last is done. Rounds are made long enough
 * for the clock, and the fastest of several counts: whatever disturbs a round makes it slower. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "package/package.h"
#include "profile/profile.h"

#define ROUND_NS 15000000u
#define ROUNDS 4
#define STEPS 1024           /* multiply-adds of each accumulator in one repetition */
#define PART_UNIT_BYTES 1024 /* whole loops of every read_fn */
#define MEMORY_MAX_BYTES (512.0 * 1024 * 1024)

/* Sums 12 chains of multiply-adds, which hides their latency; returns the sum so that they are
 * made. */
typedef float multiply_add_fn(void);
/* Sums count floats, a multiple of PART_UNIT_BYTES / 4 and aligned as much. */
typedef float read_fn(const float *data, size_t count);

/* As memcpy, past the caches, of a multiple of PART_UNIT_BYTES / 2 bytes; aligned as much. */
typedef void *copy_fn(void *to, const void *from, size_t bytes);

struct variant {
    const char *target;
    uint32_t lanes;
    multiply_add_fn *multiply_add;
    read_fn *read;
};

#if defined(__x86_64__)
#define CHAINS 12
#define READ_CHAINS 8

URZA_TARGET("avx512f") static float multiply_add_avx512(void)
{
    __m512 sums[CHAINS], factor = _mm512_set1_ps(0.5f), term = _mm512_set1_ps(1.0f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_fmadd_ps(sums[i], factor, term);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_cvtss_f32(sums[0]);
}

URZA_TARGET("avx512f") static float read_avx512(const float *data, size_t count)
{
    __m512 sums[READ_CHAINS], sum = _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sums[i] = sum;
    for (size_t at = 0; at + 16 * READ_CHAINS <= count; at += 16 * READ_CHAINS)
#pragma GCC unroll 8
        for (int i = 0; i < READ_CHAINS; i++)
            sums[i] = _mm512_add_ps(sums[i], _mm512_load_ps(data + at + 16 * i));
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sum = _mm512_add_ps(sum, sums[i]);
    return _mm512_cvtss_f32(sum);
}

URZA_TARGET("avx2,fma") static float multiply_add_avx2(void)
{
    __m256 sums[CHAINS], factor = _mm256_set1_ps(0.5f), term = _mm256_set1_ps(1.0f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm256_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm256_fmadd_ps(sums[i], factor, term);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm256_add_ps(sums[0], sums[i]);
    return _mm256_cvtss_f32(sums[0]);
}

URZA_TARGET("avx2") static float read_avx2(const float *data, size_t count)
{
    __m256 sums[READ_CHAINS], sum = _mm256_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sums[i] = sum;
    for (size_t at = 0; at + 8 * READ_CHAINS <= count; at += 8 * READ_CHAINS)
#pragma GCC unroll 8
        for (int i = 0; i < READ_CHAINS; i++)
            sums[i] = _mm256_add_ps(sums[i], _mm256_load_ps(data + at + 8 * i));
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sum = _mm256_add_ps(sum, sums[i]);
    return _mm256_cvtss_f32(sum);
}

static float multiply_add_sse(void)
{
    __m128 sums[CHAINS], factor = _mm_set1_ps(0.5f), term = _mm_set1_ps(1.0f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm_add_ps(_mm_mul_ps(sums[i], factor), term);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm_add_ps(sums[0], sums[i]);
    return _mm_cvtss_f32(sums[0]);
}

static float read_sse(const float *data, size_t count)
{
    __m128 sums[READ_CHAINS], sum = _mm_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sums[i] = sum;
    for (size_t at = 0; at + 4 * READ_CHAINS <= count; at += 4 * READ_CHAINS)
#pragma GCC unroll 8
        for (int i = 0; i < READ_CHAINS; i++)
            sums[i] = _mm_add_ps(sums[i], _mm_load_ps(data + at + 4 * i));
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sum = _mm_add_ps(sum, sums[i]);
    return _mm_cvtss_f32(sum);
}

/* The C library does so, too, but not from every size on where it pays, nor in order. */
static void *copy_past_caches(void *to, const void *from, size_t bytes)
{
    float *out = to;
    const float *in = from;
    for (size_t at = 0; at < bytes / sizeof(float); at += 16)
#pragma GCC unroll 4
        for (size_t i = 0; i < 16; i += 4)
            _mm_stream_ps(out + at + i, _mm_load_ps(in + at + i));
    _mm_sfence();
    return to;
}

static const struct variant variants[] = {
    {"x86-64-v4", 16, multiply_add_avx512, read_avx512},
    {"x86-64-v3", 8, multiply_add_avx2, read_avx2},
    {"x86-64-v2", 4, multiply_add_sse, read_sse},
};
#else
#define CHAINS 16

/* Whatever vectors the compiler makes of it. */
static float multiply_add_plain(void)
{
    float sums[CHAINS], sum = 0;
    for (int i = 0; i < CHAINS; i++)
        sums[i] = (float)i;
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            sums[i] = sums[i] * 0.5f + 1.0f;
    for (int i = 0; i < CHAINS; i++)
        sum += sums[i];
    return sum;
}

static float read_plain(const float *data, size_t count)
{
    float sums[CHAINS] = {0}, sum = 0;
    for (size_t at = 0; at + CHAINS <= count; at += CHAINS)
#pragma GCC unroll 16
        for (size_t i = 0; i < CHAINS; i++)
            sums[i] += data[at + i];
    for (int i = 0; i < CHAINS; i++)
        sum += sums[i];
    return sum;
}

static copy_fn *const copy_past_caches = memcpy;

static const struct variant variants[] = {{"", 1, multiply_add_plain, read_plain}};
#endif

static const struct variant *find_variant(const char *target)
{
    const struct variant *widest = NULL;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        const struct variant *variant = &variants[i];
        if (variant->target[0] != '\0' && !target_supported_here(variant->target))
            continue;
        if (strcmp(variant->target, target) == 0)
            return variant;
        if (!widest)
            widest = variant;
    }
    return widest ? widest : &variants[sizeof variants / sizeof variants[0] - 1];
}

enum signal { SIGNAL_WAIT, SIGNAL_GO, SIGNAL_QUIT };

enum probe_kind { PROBE_NONE, PROBE_MULTIPLY_ADD, PROBE_COPY, PROBE_STREAM, PROBE_READ };

struct probe {
    enum probe_kind kind;
    const struct variant *variant;
    copy_fn *volatile copy; /* volatile: each copy is made */
    uint64_t (*clock)(void);
    char *memory;
    size_t part_bytes; /* of each thread */
    uint64_t repetitions;
    _Atomic int signal;
};

struct worker {
    struct probe *probe;
    uint32_t index;
    volatile float sum;
    pthread_t thread;
};

static void work(struct worker *worker)
{
    struct probe *probe = worker->probe;
    char *part = probe->memory + worker->index * probe->part_bytes;
    size_t half = probe->part_bytes / 2;
    for (uint64_t i = 0; i < probe->repetitions; i++) {
        if (probe->kind == PROBE_MULTIPLY_ADD)
            worker->sum = probe->variant->multiply_add();
        else if (probe->kind == PROBE_COPY)
            probe->copy(part + half, part, half);
        else if (probe->kind == PROBE_STREAM)
            copy_past_caches(part + half, part, half);
        else
            worker->sum =
                probe->variant->read((const float *)part, probe->part_bytes / sizeof(float));
    }
}

static void *wait_and_work(void *argument)
{
    struct worker *worker = argument;
    int signal;
    while ((signal = atomic_load(&worker->probe->signal)) == SIGNAL_WAIT)
        sched_yield();
    if (signal == SIGNAL_GO)
        work(worker);
    return NULL;
}

static bool run_round(struct probe *probe, struct worker *workers, uint32_t threads,
                      uint64_t *out_ns, struct error *err)
{
    uint32_t started = 1; /* worker 0 is the calling thread */
    atomic_store(&probe->signal, SIGNAL_WAIT);
    for (uint32_t i = 0; i < threads; i++)
        workers[i] = (struct worker){.probe = probe, .index = i};
    while (started < threads &&
           pthread_create(&workers[started].thread, NULL, wait_and_work, &workers[started]) == 0)
        started++;
    uint64_t begin = probe->clock();
    atomic_store(&probe->signal, started == threads ? SIGNAL_GO : SIGNAL_QUIT);
    if (started == threads)
        work(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    *out_ns = probe->clock() - begin;
    return started == threads || fail(err, ERR_NOMEM, "cannot start %u threads", threads);
}

/* Repetitions per second and thread. */
static bool measure(struct probe *probe, enum probe_kind kind, struct worker *workers,
                    uint32_t threads, double *out, struct error *err)
{
    uint64_t ns;
    probe->kind = kind;
    double best = 0;
    for (probe->repetitions = 1;; probe->repetitions *= 2) {
        if (!run_round(probe, workers, threads, &ns, err))
            return false;
        if (ns >= ROUND_NS)
            break;
    }
    for (int round = 0; round < ROUNDS; round++) {
        if (!run_round(probe, workers, threads, &ns, err))
            return false;
        double rate = (double)probe->repetitions * 1e9 / (double)ns;
        if (rate > best)
            best = rate;
    }
    *out = best;
    return true;
}

bool peak_measure(const char *target, uint32_t threads, double bytes, bool thread_time,
                  struct peak *out, struct error *err)
{
    double total = bytes < MEMORY_MAX_BYTES ? bytes : MEMORY_MAX_BYTES;
    size_t parts = (size_t)(total / PART_UNIT_BYTES / threads) + 1;
    struct probe probe = {.variant = find_variant(target),
                          .copy = memcpy,
                          .clock = thread_time && threads == 1 ? clock_thread_ns : clock_ns,
                          .part_bytes = parts * PART_UNIT_BYTES};
    struct worker *workers = calloc(threads, sizeof *workers);
    probe.memory = aligned_alloc(PART_UNIT_BYTES, threads * probe.part_bytes);
    double adds = 0, copies = 0, streams = 0, reads = 0;
    bool ok = workers && probe.memory;
    if (!ok) {
        fail(err, ERR_NOMEM, "no memory to measure the speed of memory");
    } else {
        memset(probe.memory, 0, threads * probe.part_bytes);
        ok = measure(&probe, PROBE_COPY, workers, threads, &copies, err) &&
             measure(&probe, PROBE_STREAM, workers, threads, &streams, err) &&
             measure(&probe, PROBE_READ, workers, threads, &reads, err) &&
             measure(&probe, PROBE_MULTIPLY_ADD, workers, threads, &adds, err);
    }
    free(probe.memory);
    free(workers);
    if (ok)
        *out = (struct peak){
            .flops = adds * threads * 2 * STEPS * CHAINS * probe.variant->lanes,
            .bytes_per_s = fmax(fmax(copies, streams), reads) * threads * (double)probe.part_bytes,
        };
    return ok;
}
