/* What the files of the queue share. */
#ifndef URZA_REGISTRY_QUEUE_PRIV_H
#define URZA_REGISTRY_QUEUE_PRIV_H

#include <pthread.h>

#include "registry/edit_priv.h"
#include "registry/queue.h"

#define PRIORITY_MOST 9

/* Milliseconds since 1970. Tests move it. */
typedef int64_t queue_clock(void *context);

struct queue {
    struct catalogue *catalogue;
    uint32_t limit;
    queue_clock *clock;
    void *clock_context;
    pthread_mutex_t adding;            /* the limit is counted, then a job added */
    pthread_mutex_t leasing;           /* else the threads of a process would want the same job */
    uint64_t turns[PRIORITY_MOST + 1]; /* the client that was served last, as client_order says */
};

/* Before anybody else calls. */
void queue_set_clock(struct queue *queue, queue_clock *clock, void *context);
int64_t queue_time_ms(struct queue *queue);
bool queue_edit(struct queue *queue, edit_body *body, void *context, struct error *err);

/* queue_add without reading the job again. */
#define JOB_ID_BYTES 80
bool queue_put(struct queue *queue, const struct job_record *job, char out_id[JOB_ID_BYTES],
               bool *out_joined, struct error *err);

/* 32 hex digits that nobody can guess. */
#define TOKEN_BYTES 33
bool token_make(char out[TOKEN_BYTES], struct error *err);

bool job_is(const struct job_record *job, const char *state);
/* Into the record: it waits again. */
void job_put_back(struct job_record *job, int64_t now_ms);
/* Into the record: its worker died of reason. It waits again, or is poison. Allocates in arena. */
bool job_died(struct job_record *job, const char *reason, struct arena *arena, int64_t now_ms,
              struct error *err);

#endif
