/* Worker threads that take requests of clients in turn. */
#include <stdlib.h>

#include "server/metrics.h"
#include "server/server_priv.h"

#define WAITING_MOST 4096

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct turns turns; /* waiting requests */
    uint32_t count;
    bool stopping;
    pthread_t threads[];
};

void request_complete(struct request *request, route_fn *fill, void *context)
{
    struct error err;
    jmp_buf no_memory;
    enum handled handled = HANDLED_FAILED;
    request->context = context;
    if (setjmp(no_memory) != 0) {
        fail(&err, ERR_NOMEM, "no memory for this request");
        handled = HANDLED_FAILED;
    } else {
        request->arena.oom = &no_memory;
        handled = fill(request, &err);
        if (handled == HANDLED_WAITS)
            return;
    }
    request->arena.oom = NULL;
    if (handled == HANDLED_FAILED)
        reply_error(request, &err);
    request_finish(request);
}

enum handled request_later(struct request *request, route_fn *then, struct error *err)
{
    request->then = then;
    request_wait(request);
    if (workers_add(request->server->workers, request, err))
        return HANDLED_WAITS;
    metrics_add(request->server->metrics, METRIC_REFUSED, "requests", 1);
    fail_at(err, "requests");
    reply_error(request, err);
    request_finish(request);
    return HANDLED_WAITS;
}

static void *work(void *context)
{
    struct workers *workers = context;
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (workers->turns.count == 0 && !workers->stopping)
            pthread_cond_wait(&workers->changed, &workers->lock);
        struct request *request = turns_take(&workers->turns);
        if (!request)
            break;
        pthread_mutex_unlock(&workers->lock);
        request_complete(request, request->then, request->context);
        pthread_mutex_lock(&workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

struct workers *workers_start(uint32_t count, struct error *err)
{
    struct workers *workers = calloc(1, sizeof *workers + count * sizeof workers->threads[0]);
    if (!workers) {
        fail(err, ERR_NOMEM, "no memory for threads");
        return NULL;
    }
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->changed, NULL);
    workers->turns.most = WAITING_MOST;
    for (; workers->count < count; workers->count++)
        if (pthread_create(&workers->threads[workers->count], NULL, work, workers) != 0)
            break;
    if (workers->count > 0)
        return workers;
    workers_free(workers);
    fail(err, ERR_NOMEM, "cannot start a thread");
    return NULL;
}

bool workers_add(struct workers *workers, struct request *request, struct error *err)
{
    pthread_mutex_lock(&workers->lock);
    request->turn = (struct turn){.item = request};
    bool ok = workers->stopping ? fail(err, ERR_BUSY, "the service is being stopped")
                                : turns_add(&workers->turns, request->client, &request->turn, err);
    if (ok)
        pthread_cond_signal(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
    return ok;
}

void workers_stop(struct workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->count; i++)
        pthread_join(workers->threads[i], NULL);
}

void workers_free(struct workers *workers)
{
    if (!workers)
        return;
    pthread_cond_destroy(&workers->changed);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}
