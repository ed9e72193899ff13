/* The registry: kernels, their sources, and their history. It stores records in a catalogue and
 * bytes in objects (catalogue.h, blobs.h, with any drivers), and defines what they mean.
 *
 *   key ────► kernel ────► object (the package)
 *               └────────► blueprint ────► object (its source)
 *
 * A kernel is published after its objects, in one commit with its key, history and all other
 * records: completely or not at all. A key is the digest of everything that decides the answer to a
 * client (content, hints, compiler); several keys may lead to one kernel, since equal packages have
 * one id. A kernel that is deployed or has an alias is never evicted; an evicted one keeps its
 * record, and its object is restored when it is compiled again.
 *
 * Any number of threads. Records are returned in the caller's arena. */
#ifndef URZA_REGISTRY_REGISTRY_H
#define URZA_REGISTRY_REGISTRY_H

#include "registry/blobs.h"
#include "registry/catalogue.h"

struct registry;

struct registry_options {
    const char *catalogue, *blobs; /* URLs */
    uint64_t size_limit_bytes;     /* limit on the sum of all packages; 0: none */
    int64_t ttl_ms;                /* packages not used for so long are evicted; 0: never */
    void (*on_event)(void *context, const char *kind); /* called for each event that is written;
                                                          NULL: not called */
    void *context;
    bool alone; /* no other process publishes here: evicted objects are removed at once, instead of
                   an hour after they were put last */
};

bool registry_open(const struct registry_options *options, struct registry **out,
                   struct error *err);
/* Writes pending uses to the catalogue. No call may be in progress. Accepts NULL. */
void registry_close(struct registry *registry);
struct catalogue *registry_catalogue(struct registry *registry);
struct blobs *registry_blobs(struct registry *registry);

int64_t registry_now_ms(void); /* wall-clock time */

/* Statuses, and which may follow which; each may follow itself. */
bool kernel_status_known(const char *status);
bool blueprint_status_known(const char *status);

struct publication {
    const void *package;
    size_t package_bytes;
    const void *source; /* of the blueprint, as the client sent it; NULL: the blueprint named below
                           has it */
    size_t source_bytes;
    const char *content;                /* digest of the source's canonical form */
    const struct kernel_record *kernel; /* id and all that is known; not blueprint, version, status,
                                           object, size, times, uses */
    const struct key_record *key;       /* id, hints, compiler, name, answer */
    const struct compilation_record *compilation; /* NULL: no record of a compilation is written */
    const char *blueprint_name;                   /* the blueprint's own id, as in its source; "" */
    const char *blueprint; /* id of a submitted blueprint; "": found by content, or created */
    const char *client;
};
/* Publishes a kernel, unless it already is: afterwards its object and key exist. A retired kernel
 * becomes VALIDATED again; one that was refuted only if the new package is verified, else
 * ERR_VERIFY. The package of an existing kernel is replaced if it is missing or damaged, or if only
 * the new one is verified. *out (NULL: not wanted) lies in arena. ERR_NOT_FOUND, ERR_CONFLICT: the
 * named blueprint does not exist, or has other content; ERR_BUSY: others kept changing the same
 * records. */
bool registry_publish(struct registry *registry, const struct publication *publication,
                      struct arena *arena, struct kernel_record **out, struct error *err);
/* Replaces a kernel's package by one with other evidence, and updates the record. */
bool registry_replace(struct registry *registry, const char *id, const void *package, size_t size,
                      const char *evidence, struct error *err);

/* Finds the kernel of a key; *out_kernel NULL: none that can be returned (no such key, or retired,
 * evicted, lost). *out_key is set if there is a record of the key. */
bool registry_find(struct registry *registry, const char *key, struct arena *arena,
                   struct key_record **out_key, struct kernel_record **out_kernel,
                   struct error *err);
/* Explains why no kernel is found for a key: names the nearest key that has one, and the
 * differences: "no kernel of this blueprint", "hint 'strategy' differs from kernel-…: fast", "the
 * compiler was urza 0.1.0", "evicted", "lost", "retired: REASON". Text in arena. */
bool registry_why(struct registry *registry, const struct key_record *wanted, struct arena *arena,
                  const char **out, struct error *err);

/* Records why the compilation of a key failed, so that it is not repeated in vain. A failure caused
 * by the blueprint is final, since the compiler's version is part of the key. A death of the
 * compiler (time, memory, a crash) may be accidental: after FAILURE_DEATHS of them the key counts
 * as failed for attempts with no more time or memory. Other failures (a full disk, a cancellation)
 * say nothing about the key and are not recorded. */
#define FAILURE_DEATHS 3
enum blames { BLAMES_NOBODY, BLAMES_BLUEPRINT, BLAMES_COMPILER };
enum blames failure_blames(enum error_code code);
struct attempt {
    const char *key, *blueprint, *compiler; /* blueprint: its own id; "" */
    uint32_t timeout_seconds, memory_mb;
};
bool registry_note_failure(struct registry *registry, const struct attempt *attempt,
                           const struct error *why, struct error *err);
/* *out_settled: this attempt would fail, with *out_why. */
bool registry_find_failure(struct registry *registry, const struct attempt *attempt,
                           struct arena *arena, bool *out_settled, struct error *out_why,
                           struct error *err);
/* Removes the record of failures, so that the key is tried again. ERR_NOT_FOUND: there is none. */
bool registry_forget_failure(struct registry *registry, const char *key, struct error *err);

/* Reads a kernel by id or alias. ERR_NOT_FOUND. */
bool registry_kernel(struct registry *registry, const char *id_or_alias, struct arena *arena,
                     struct kernel_record **out, struct error *err);
/* Opens a kernel's package; the caller releases it by registry_blobs. ERR_NOT_FOUND: it was evicted
 * (retired kernels keep theirs); ERR_BUSY: it is missing or damaged; then an event is written, and
 * the kernel's keys return nothing until it is published again. */
bool registry_package(struct registry *registry, const struct kernel_record *kernel,
                      struct blob *out, struct error *err);
/* Counts a use, in memory; registry_tend writes it to the catalogue: at least once, and twice if a
 * commit was done but reported as failed. Not counted while 65,536 other kernels have unwritten
 * uses. */
void registry_used(struct registry *registry, const char *id);

/* A change of a kernel's or blueprint's status. */
struct setting {
    enum record_kind kind;
    const char *id;
    const char *status;          /* NULL: unchanged */
    const char *reason, *client; /* for the history; "" */
    const char *tags;            /* a LIST, for a kernel; NULL: unchanged */
};
/* ERR_NOT_FOUND; ERR_CONFLICT for a status that may not follow the current one, and for deploying
 * an evicted kernel. Changes of status are recorded in the history; setting the current status
 * again changes nothing. */
bool registry_set(struct registry *registry, const struct setting *setting, struct error *err);
/* A kernel has failed its verification: it becomes RETIRED, with evidence "failed".
 * ERR_NOT_FOUND. */
bool registry_refute(struct registry *registry, const char *id, const char *reason,
                     struct error *err);
/* Its verification exceeded its limits: evidence becomes "none" instead of "pending". */
bool registry_give_up_evidence(struct registry *registry, const char *id, struct error *err);
/* Stores measurements of a kernel: as JSON, the size of a call's temporaries, and its median time
 * (unless runtimes have reported one, which takes precedence). ERR_NOT_FOUND. */
struct measurement {
    const char *json;
    int64_t memory_bytes;
    double p50_us;
};
bool registry_note_measured(struct registry *registry, const char *id,
                            const struct measurement *measurement, struct error *err);
/* Sets the kernel of an alias ("": removes the alias). ERR_NOT_FOUND; ERR_INPUT for a name that
 * looks like a kernel id or has characters other than letters, digits and ._- (at most 100, no dot
 * first); ERR_CONFLICT for an evicted kernel. */
bool registry_set_alias(struct registry *registry, const char *name, const char *kernel,
                        const char *client, struct error *err);
/* A blueprint to be stored with its source. */
struct submission {
    const struct blueprint_record *blueprint; /* id "": made from its content: its digest, or if
                                                 that is "", its bytes */
    const void *source;
    size_t source_bytes;
};
/* Stores a new blueprint as UNVALIDATED. If it exists, the record is returned unchanged.
 * ERR_CONFLICT if the id has other content. */
bool registry_submit(struct registry *registry, const struct submission *submission,
                     struct arena *arena, struct blueprint_record **out, struct error *err);
/* A job for a source, whose bytes the registry stores. */
struct job_order {
    struct job_record *job; /* all fields but request */
    const void *source;
    size_t source_bytes;
};
/* Adds the job to the queue. If that is refused, nothing is stored. */
struct queue;
bool registry_enqueue(struct registry *registry, struct queue *queue, const struct job_order *order,
                      struct arena *arena, struct job_record **out, struct error *err);
/* Stores how long calls of a kernel (id or alias) took: fills observation->kernel, and writes an
 * event if the version before was faster, by the Mann-Whitney test on both samples and by at least
 * 5 %. ERR_NOT_FOUND. */
bool registry_observe(struct registry *registry, const char *kernel,
                      struct observation_record *observation, struct arena *arena,
                      struct error *err);
/* The kernel to compare with: the one that this one was meant to improve on, else the version
 * before. *out NULL: there is none. */
bool registry_before(struct registry *registry, const struct kernel_record *kernel,
                     struct arena *arena, struct kernel_record **out, struct error *err);
/* Whether the newer sample is slower; exposed for tests. */
bool observation_slower(const struct observation_record *older,
                        const struct observation_record *newer);
void registry_event(struct registry *registry, const char *kind, const char *subject,
                    const char *message); /* best effort */
/* Records a compilation that published nothing. Keeps the last 1,000. */
bool registry_record(struct registry *registry, const struct compilation_record *compilation,
                     struct error *err);

/* To be called regularly, on one thread at a time: writes uses to the catalogue, evicts packages
 * beyond the limits of size and age (least recently used first), and deletes the oldest records of
 * kinds that only grow: it keeps 1,000 compilations, 10,000 events, failures, tunings and ended
 * jobs, and 100,000 changes and observations. What fails is retried the next time. */
struct tended {
    uint32_t evicted, objects_removed;
    uint64_t bytes; /* of all stored packages */
};
bool registry_tend(struct registry *registry, struct tended *out, struct error *err);
/* Removes objects without references. Queries the catalogue for each object that is older than an
 * hour, so it should be called rarely. */
bool registry_sweep(struct registry *registry, uint32_t *out_removed, struct error *err);

/* Checks all records and objects, and the references between them. say (NULL: not called) is called
 * for each fault, with the repair if `repair` is set: damaged objects are removed and their kernels
 * marked as evicted, keys and aliases without a kernel removed, and submitted blueprints without
 * source and waiting jobs without request set to FAILED. Others may work meanwhile: records changed
 * since they were read are not reported. If an object cannot be read, that is not a fault but an
 * error, which ends the check. */
struct checked {
    uint64_t kernels, objects, faults, repaired, orphans;
};
bool registry_fsck(struct registry *registry, bool repair,
                   void (*say)(void *context, const char *text), void *context, struct checked *out,
                   struct error *err);

#endif
