/* The registry: kernels, what they were made from, how they fare. What is kept stands in a
 * catalogue and in objects (catalogue.h, blobs.h: any drivers); what it means stands here.
 *
 *   key ────► kernel ────► object (the package)
 *               └────────► blueprint ────► object (its source)
 *
 * A kernel is published once its objects are, in one commit with its key, history and all: it is
 * there whole or not at all. A key is the digest of all that decides what a client is answered
 * (content, hints, compiler); several keys may lead to one kernel, as equal packages have one id. A
 * kernel that is deployed, or has an alias, is never evicted; an evicted one keeps its record, and
 * its object comes back when it is compiled again.
 *
 * Any number of threads. Records come in the caller's arena. */
#ifndef URZA_REGISTRY_REGISTRY_H
#define URZA_REGISTRY_REGISTRY_H

#include "registry/blobs.h"
#include "registry/catalogue.h"

struct registry;

struct registry_options {
    const char *catalogue, *blobs; /* URLs */
    uint64_t size_limit_bytes;     /* of packages; 0: none */
    int64_t ttl_ms;                /* packages not asked for so long are evicted; 0: never */
    void (*on_event)(void *context, const char *kind); /* for each that is written; NULL: nobody */
    void *context;
    bool alone; /* no other process publishes here: what is evicted is removed at once, and not only
                   an hour after it was put last */
};

bool registry_open(const struct registry_options *options, struct registry **out,
                   struct error *err);
/* Writes down what is not written yet. No call may be under way. NULL is fine. */
void registry_close(struct registry *registry);
struct catalogue *registry_catalogue(struct registry *registry);
struct blobs *registry_blobs(struct registry *registry);

int64_t registry_now_ms(void); /* wall clock */

/* Statuses: who may follow whom; each may follow itself. */
bool kernel_status_known(const char *status);
bool blueprint_status_known(const char *status);

struct publication {
    const void *package;
    size_t package_bytes;
    const void *source; /* of the blueprint, as it was sent; NULL: one that is named has it */
    size_t source_bytes;
    const char *content;                /* digest of its canonical form */
    const struct kernel_record *kernel; /* id and all that is known; not blueprint, version, status,
                                           object, size, times, uses */
    const struct key_record *key;       /* id, hints, compiler, name, answer */
    const struct compilation_record *compilation; /* NULL: none is written down */
    const char *blueprint_name;                   /* the blueprint's own id; "" */
    const char *blueprint; /* the id of one that was submitted; "": found by content, or
                              made */
    const char *client;
};
/* Publishes, or finds it published: the kernel's object and key are there afterwards. A kernel that
 * was retired comes back as VALIDATED; one that was refuted does so only when verified, else
 * ERR_VERIFY. The package of one that is there is taken over where that
 * one's is gone or damaged, or where only the new one is verified. *out (NULL: not asked for) lies
 * in arena. ERR_NOT_FOUND, ERR_CONFLICT: the blueprint that was named is none, or has other
 * content; ERR_BUSY: others change the same records without end. */
bool registry_publish(struct registry *registry, const struct publication *publication,
                      struct arena *arena, struct kernel_record **out, struct error *err);
/* The same kernel with other evidence: its bytes from now on, and what the record says of it. */
bool registry_replace(struct registry *registry, const char *id, const void *package, size_t size,
                      const char *evidence, struct error *err);

/* What a key answers; *out_kernel NULL: nothing (none, retired, evicted, lost). *out_key is set
 * where there is a record of the key. */
bool registry_find(struct registry *registry, const char *key, struct arena *arena,
                   struct key_record **out_key, struct kernel_record **out_kernel,
                   struct error *err);
/* Why nothing answers a key: the nearest one that does, and what of it differs: "no kernel of this
 * blueprint", "hint 'strategy' differs from kernel-…: fast", "the compiler was urza 0.1.0",
 * "evicted", "lost", "retired: REASON". Text in arena. */
bool registry_why(struct registry *registry, const struct key_record *wanted, struct arena *arena,
                  const char **out, struct error *err);

/* What a compilation of a key failed with, so that nobody compiles again what cannot be compiled. A
 * failure of the blueprint settles its key for good, as the compiler's version is part of it. A
 * death of the compiler (time, memory, a crash) may be bad luck: FAILURE_DEATHS of them settle it,
 * for as long as no compiler may have more time or memory than those had. Other failures (a full
 * disk, a cancellation) say nothing about a key and are not kept. */
#define FAILURE_DEATHS 3
enum blames { BLAMES_NOBODY, BLAMES_BLUEPRINT, BLAMES_COMPILER };
enum blames failure_blames(enum error_code code);
struct attempt {
    const char *key, *blueprint, *compiler; /* blueprint: its own id; "" */
    uint32_t timeout_seconds, memory_mb;
};
bool registry_note_failure(struct registry *registry, const struct attempt *attempt,
                           const struct error *why, struct error *err);
/* *out_settled: this attempt would fail with *out_why. */
bool registry_find_failure(struct registry *registry, const struct attempt *attempt,
                           struct arena *arena, bool *out_settled, struct error *out_why,
                           struct error *err);
/* The key may be tried again. ERR_NOT_FOUND: nothing is known of it. */
bool registry_forget_failure(struct registry *registry, const char *key, struct error *err);

/* By id or by alias. ERR_NOT_FOUND. */
bool registry_kernel(struct registry *registry, const char *id_or_alias, struct arena *arena,
                     struct kernel_record **out, struct error *err);
/* Its package; registry_blobs releases it. ERR_NOT_FOUND: retired kernels have theirs, evicted ones
 * have not; ERR_BUSY: it should be there and is not, or is damaged: an event says so, and its keys
 * answer nothing until it is published again. */
bool registry_package(struct registry *registry, const struct kernel_record *kernel,
                      struct blob *out, struct error *err);
/* Counts a use, in memory; written down by registry_tend: at least once, and twice where a commit
 * was done and reported as failed. Not counted where 65,536 other kernels wait to be written. */
void registry_used(struct registry *registry, const char *id);

/* What becomes of a kernel or a blueprint. */
struct setting {
    enum record_kind kind;
    const char *id;
    const char *status;          /* NULL: as it is */
    const char *reason, *client; /* for its history; "" */
    const char *tags;            /* a LIST, of a kernel; NULL: as they are */
};
/* ERR_NOT_FOUND; ERR_CONFLICT for a status that may not follow, and for deploying what was evicted.
 * A status is written into its history; the one that it has already changes nothing. */
bool registry_set(struct registry *registry, const struct setting *setting, struct error *err);
/* A kernel did not pass its verification: RETIRED, with evidence "failed". ERR_NOT_FOUND. */
bool registry_refute(struct registry *registry, const char *id, const char *reason,
                     struct error *err);
/* Its verification needs more than it may have: evidence "none" instead of "pending". */
bool registry_give_up_evidence(struct registry *registry, const char *id, struct error *err);
/* What measuring it found: as JSON, the temporaries of a call, its median (which what runtimes
 * report counts for more than). ERR_NOT_FOUND. */
struct measurement {
    const char *json;
    int64_t memory_bytes;
    double p50_us;
};
bool registry_note_measured(struct registry *registry, const char *id,
                            const struct measurement *measurement, struct error *err);
/* Points a name at a kernel ("": nowhere any more). ERR_NOT_FOUND, ERR_INPUT for a name that looks
 * like a kernel's id or has other bytes than letters, digits and ._- (at most 100, no dot first),
 * ERR_CONFLICT for a kernel that was evicted. */
bool registry_set_alias(struct registry *registry, const char *name, const char *kernel,
                        const char *client, struct error *err);
/* A blueprint that is to be kept, with its source. */
struct submission {
    const struct blueprint_record *blueprint; /* id "": made from its content: its digest or, where
                                                 that is "", its bytes */
    const void *source;
    size_t source_bytes;
};
/* A new one, UNVALIDATED. One that is there already is answered as it is. ERR_CONFLICT where the id
 * has other content. */
bool registry_submit(struct registry *registry, const struct submission *submission,
                     struct arena *arena, struct blueprint_record **out, struct error *err);
/* A job for a source, of which the registry keeps the bytes. */
struct job_order {
    struct job_record *job; /* all but request */
    const void *source;
    size_t source_bytes;
};
/* queue_add of the job. Nothing is kept of one that is refused. */
struct queue;
bool registry_enqueue(struct registry *registry, struct queue *queue, const struct job_order *order,
                      struct arena *arena, struct job_record **out, struct error *err);
/* How long calls of a kernel (id or alias) took: fills observation->kernel, keeps it, and raises an
 * event where the version before was faster: Mann-Whitney over both samples, by 5 % at least.
 * ERR_NOT_FOUND. */
bool registry_observe(struct registry *registry, const char *kernel,
                      struct observation_record *observation, struct arena *arena,
                      struct error *err);
/* What a kernel is to be compared with: the one that it was to improve on, else the version before.
 * *out NULL: there is none. */
bool registry_before(struct registry *registry, const struct kernel_record *kernel,
                     struct arena *arena, struct kernel_record **out, struct error *err);
/* Whether newer is: for tests. */
bool observation_slower(const struct observation_record *older,
                        const struct observation_record *newer);
void registry_event(struct registry *registry, const char *kind, const char *subject,
                    const char *message); /* best effort */
/* Writes a compilation down that published nothing. Keeps the last 1,000. */
bool registry_record(struct registry *registry, const struct compilation_record *compilation,
                     struct error *err);

/* Now and then, on any one thread: writes uses down, evicts beyond size and age (those first that
 * were not asked for for longest) and, of what only grows, forgets the oldest: 1,000 compilations
 * are kept, 10,000 events, failures, tunings and ended jobs, 100,000 changes and observations. What
 * fails is done the next time. */
struct tended {
    uint32_t evicted, objects_removed;
    uint64_t bytes; /* of packages that are kept */
};
bool registry_tend(struct registry *registry, struct tended *out, struct error *err);
/* Forgets objects nobody needs. Asks the catalogue about each object that is older than an hour:
 * now and again is often enough. */
bool registry_sweep(struct registry *registry, uint32_t *out_removed, struct error *err);

/* Looks at everything: that records and objects are whole and belong together. say (NULL: nobody)
 * is called for each fault, with what was done about it when repair is set: damaged objects are
 * removed and their kernels marked as evicted, keys and aliases that lead nowhere forgotten,
 * submitted blueprints without source and waiting jobs without request FAILED. Others may work
 * meanwhile: what they changed since it was read is no fault. An object that cannot be read at the
 * moment is none either, but a failure, which ends the look. */
struct checked {
    uint64_t kernels, objects, faults, repaired, orphans;
};
bool registry_fsck(struct registry *registry, bool repair,
                   void (*say)(void *context, const char *text), void *context, struct checked *out,
                   struct error *err);

#endif
