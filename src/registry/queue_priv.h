/* Shared by the files of the queue. */
#ifndef URZA_REGISTRY_QUEUE_PRIV_H
#define URZA_REGISTRY_QUEUE_PRIV_H

#include <pthread.h>

#include "registry/edit_priv.h"
#include "registry/queue.h"

#define PRIORITY_MOST 9

/* Milliseconds since 1970. Tests can advance it. */
typedef int64_t queue_clock(void *context);

struct queue {
    struct catalogue *catalogue;
    uint32_t limit;
    queue_clock *clock;
    void *clock_context;
    pthread_mutex_t adding;  /* held while the limit is checked and a job added */
    pthread_mutex_t leasing; /* held while leasing: threads of one process would try the same jobs
                              */
    uint64_t turns[PRIORITY_MOST + 1]; /* by priority: client_order of the client that was served
                                          last */
};

/* Call it before any other use. */
void queue_set_clock(struct queue *queue, queue_clock *clock, void *context);
int64_t queue_time_ms(struct queue *queue);
bool queue_edit(struct queue *queue, edit_body *body, void *context, struct error *err);

/* As queue_add, but returns only the job's id. */
#define JOB_ID_BYTES 80
bool queue_put(struct queue *queue, const struct job_record *job, char out_id[JOB_ID_BYTES],
               bool *out_joined, struct error *err);

/* 32 random hex digits that cannot be guessed. */
#define TOKEN_BYTES 33
bool token_make(char out[TOKEN_BYTES], struct error *err);

bool job_is(const struct job_record *job, const char *state);
/* Changes the record so that the job waits again. */
void job_put_back(struct job_record *job, int64_t now_ms);
/* Changes the record after its worker died of `reason`: the job waits again, or is poison.
 * Allocates in arena. */
bool job_died(struct job_record *job, const char *reason, struct arena *arena, int64_t now_ms,
              struct error *err);

#endif
