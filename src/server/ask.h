/* A client's request to compile ("ask"), and its key.
 *
 * The key is a digest of the blueprint's canonical form, all hints with their values, and the
 * compiler: white space and the order of fields do not change it, any hint does. Everything lives
 * in the given arena. */
#ifndef URZA_SERVER_ASK_H
#define URZA_SERVER_ASK_H

#include <jansson.h>

#include "base/error.h"
#include "base/hash.h"
#include "compiler/compile.h"

struct arena;
struct settings;

struct hints {
    const char *target_hardware; /* as the client gave it: cpu, native, cuda, or levels separated by
                                    commas */
    const char *targets;         /* for the compiler; NULL: all */
    uint32_t expected_batch_size; /* 0: not given */
    const char *precision;        /* fp32, fp16, bf16, int8; "": that of the blueprint */
    uint32_t optimization_level;  /* 0 … 2 */
    enum strategy strategy;
    bool optimize_memory;
    const char *expected_workload; /* "inference", "training", "latency", "throughput"; "" */
    bool backward;                 /* for training: the package has its backward pass */
    const char *graft;             /* the name of a blend; "": no graft */
};

#define ASK_IGNORED_MOST 5

struct ask {
    const char *source; /* canonical JSON, or a model's bytes */
    size_t source_bytes;
    char content[SHA256_HEX_BYTES], key[SHA256_HEX_BYTES];
    struct hints hints;
    const char *hints_text;     /* canonical JSON of all hints */
    const char *compiler;       /* version, with the digest of its sources */
    const char *cache_key;      /* the client's name for the request; "" */
    const char *blueprint_id;   /* the blueprint's own id; NULL */
    const char *blueprint_name; /* the blueprint's name, else its id; NULL */
    /* Valid hints that this build cannot follow. */
    struct ignored_hint {
        const char *what, *why;
    } ignored[ASK_IGNORED_MOST];
    uint32_t ignored_count;
};

/* Copies an ask with everything that it points to into arena. */
void ask_copy(const struct ask *ask, struct arena *arena, struct ask *out);

/* Number of characters of a UTF-8 text. */
size_t text_length(const char *text);
extern const char *const hint_names[]; /* ends with NULL */

/* Parses hints. object: as the client gave them, NULL: none; ERR_JSON names the field. */
bool ask_hints(const struct settings *settings, const json_t *object, struct arena *arena,
               struct ask *out, struct error *err);
/* Parses {blueprint_ir, optimization_hints | hints, cache_key?}. */
bool ask_parse(const struct settings *settings, const json_t *body, struct arena *arena,
               struct ask *out, struct error *err);
/* Fills an ask from a model's bytes, or a blueprint's as they are stored (borrowed); hints must be
 * parsed before. */
void ask_bytes(const void *bytes, size_t size, struct arena *arena, struct ask *out);
/* Computes the key, when content, hints and source are filled. */
void ask_finish(struct arena *arena, struct ask *ask);
/* The blueprint's own id, for messages; NULL. */
const char *ask_blueprint_id(const json_t *blueprint, struct arena *arena);
/* Removes hints that have their "not given" value from those that hints_text printed. */
void drop_unsaid(json_t *hints);

#endif
