/* What the files of the registry share: objects that are in flight between their store and the
 * catalogue, and uses that are not written down yet. */
#ifndef URZA_REGISTRY_REGISTRY_PRIV_H
#define URZA_REGISTRY_REGISTRY_PRIV_H

#include <pthread.h>

#include "registry/edit_priv.h"
#include "registry/registry.h"

/* An orphan goes when nobody has put it for so long: its publisher, in whatever process, has
 * committed or failed by then. */
#define GRACE_MS ((int64_t)3600 * 1000)
#define COMPILATIONS_KEPT 1000
#define EVENTS_KEPT 10000
#define FAILURES_KEPT 10000
#define JOBS_KEPT 10000 /* of those that have ended */
#define TUNINGS_KEPT 10000
#define CHANGES_KEPT 100000
#define OBSERVATIONS_KEPT 100000

/* Milliseconds since 1970. Tests move it. */
typedef int64_t registry_clock(void *context);

/* An object that is being published, or removed; it lies on that thread's stack. */
struct flight {
    struct flight *next;
    const char *digest;
    bool removing;
};

/* Uses that are not written down yet, in a hash table of chains. */
struct use {
    struct use *next;
    int64_t count, last_ms;
    char id[];
};
#define USES_MOST 65536 /* kernels; uses of more are not counted until some are written down */
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

/* Takes stores that are open; closes them with itself, and where it fails. options: its URLs are
 * not read. */
bool registry_open_over(const struct registry_options *options, struct catalogue *catalogue,
                        struct blobs *blobs, struct registry **out, struct error *err);
/* Before anybody else calls. */
void registry_set_clock(struct registry *registry, registry_clock *clock, void *context);
int64_t registry_time_ms(struct registry *registry);

/* edit_run over the registry's catalogue and clock. */
bool registry_edit(struct registry *registry, edit_body *body, void *context, struct error *err);

/* From before an object is put until the commit that refers to it has ended: nobody of this process
 * removes it meanwhile. begin waits for a removal that is under way. digest is borrowed. */
void flight_begin(struct registry *registry, struct flight *flight, const char *digest);
void flight_end(struct registry *registry, struct flight *flight); /* not begun is fine */
/* Puts an object whose digest is known. */
bool object_put(struct registry *registry, const char *digest, const void *data, size_t size,
                struct error *err);

/* How an object fares. Reading may fail for reasons that say nothing about it: that is an error. */
enum object_state { OBJECT_NONE, OBJECT_WHOLE, OBJECT_GONE, OBJECT_DAMAGED };
/* out_blob: NULL, or where a whole one is opened. */
bool object_look(struct registry *registry, const char *digest, enum object_state *out,
                 struct blob *out_blob, struct error *err);
/* Whether any record refers to it. */
bool object_referenced(struct registry *registry, const char *digest, bool *out, struct error *err);
/* Removes it unless a record refers to it or somebody publishes it. */
bool object_forget(struct registry *registry, const char *digest, bool *out_removed,
                   struct error *err);

void uses_init(struct uses *uses);
void uses_release(struct uses *uses);
bool uses_pending(struct uses *uses, const char *id);
/* Writes all of them into their kernels' records. What could not be written stays. */
bool uses_write(struct registry *registry, struct error *err);

/* The newest version of what is like this kernel, below a version. *out NULL: there is none. */
bool version_find(struct catalogue *catalogue, const struct kernel_record *like, int64_t below,
                  struct arena *arena, struct kernel_record **out, struct error *err);

/* Whether a kernel may not be evicted. */
bool kernel_is_needed(struct registry *registry, const struct kernel_record *kernel, bool *out,
                      struct error *err);

#endif
