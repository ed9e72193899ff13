/* Shared by the files of the registry: objects in flight between their store and the catalogue, and
 * uses that are not written yet. */
#ifndef URZA_REGISTRY_REGISTRY_PRIV_H
#define URZA_REGISTRY_REGISTRY_PRIV_H

#include <pthread.h>

#include "registry/edit_priv.h"
#include "registry/registry.h"

/* Orphans are removed when they were put longer ago than this: whichever process put them has
 * committed or failed by then. */
#define GRACE_MS ((int64_t)3600 * 1000)
#define COMPILATIONS_KEPT 1000
#define EVENTS_KEPT 10000
#define FAILURES_KEPT 10000
#define JOBS_KEPT 10000 /* only ended ones count */
#define TUNINGS_KEPT 10000
#define CHANGES_KEPT 100000
#define OBSERVATIONS_KEPT 100000

/* Milliseconds since 1970. Tests can advance it. */
typedef int64_t registry_clock(void *context);

/* An object that is being published or removed; on the stack of the thread that does it. */
struct flight {
    struct flight *next;
    const char *digest;
    bool removing;
};

/* Uses that are not written yet, in a hash table with chaining. */
struct use {
    struct use *next;
    int64_t count, last_ms;
    char id[];
};
/* Kernels; uses of further ones are not counted until some are written. */
#define USES_MOST 65536
struct uses {
    pthread_mutex_t mutex;
    struct use *chains[4096];
    uint32_t count;
};

struct registry {
    struct catalogue *catalogue;
    struct blobs *blobs;
    uint64_t size_limit_bytes;
    int64_t ttl_ms;
    bool alone;
    void (*on_event)(void *context, const char *kind);
    void *event_context;
    registry_clock *clock;
    void *clock_context;
    pthread_mutex_t flights_mutex;
    pthread_cond_t flight_ended;
    struct flight *flights;
    struct uses uses;
};

/* Takes ownership of open stores, also on failure. The URLs in options are not used. */
bool registry_open_over(const struct registry_options *options, struct catalogue *catalogue,
                        struct blobs *blobs, struct registry **out, struct error *err);
/* Call it before any other use. */
void registry_set_clock(struct registry *registry, registry_clock *clock, void *context);
int64_t registry_time_ms(struct registry *registry);

/* edit_run with the registry's catalogue and clock. */
bool registry_edit(struct registry *registry, edit_body *body, void *context, struct error *err);

/* Spans the time from before an object is put until the commit that refers to it has ended: no
 * thread of this process removes the object meanwhile. begin waits for a removal in progress.
 * digest is borrowed. */
void flight_begin(struct registry *registry, struct flight *flight, const char *digest);
/* Accepts one that was not begun. */
void flight_end(struct registry *registry, struct flight *flight);
/* Puts an object with a known digest. */
bool object_put(struct registry *registry, const char *digest, const void *data, size_t size,
                struct error *err);

/* The state of an object. If reading fails for other reasons, that is an error. */
enum object_state { OBJECT_NONE, OBJECT_WHOLE, OBJECT_GONE, OBJECT_DAMAGED };
/* out_blob: NULL, or receives the open object if it is whole. */
bool object_look(struct registry *registry, const char *digest, enum object_state *out,
                 struct blob *out_blob, struct error *err);
/* Whether any record refers to it. */
bool object_referenced(struct registry *registry, const char *digest, bool *out, struct error *err);
/* Removes an object, unless a record refers to it or a thread publishes it. */
bool object_forget(struct registry *registry, const char *digest, bool *out_removed,
                   struct error *err);

void uses_init(struct uses *uses);
void uses_release(struct uses *uses);
bool uses_pending(struct uses *uses, const char *id);
/* Adds all counted uses to their kernels' records. Those that could not be written are kept. */
bool uses_write(struct registry *registry, struct error *err);

/* The newest version below `below` of kernels like this one. *out NULL: there is none. */
bool version_find(struct catalogue *catalogue, const struct kernel_record *like, int64_t below,
                  struct arena *arena, struct kernel_record **out, struct error *err);

/* Whether a kernel may not be evicted. */
bool kernel_is_needed(struct registry *registry, const struct kernel_record *kernel, bool *out,
                      struct error *err);

#endif
