/* What a client asks to have compiled, and the key of it.
 *
 * The key is a digest of the blueprint's canonical form, all hints with their values, and the
 * compiler: white space and the order of fields do not matter, any hint does. Everything lives in
 * the arena that is given. */
#ifndef URZA_SERVER_ASK_H
#define URZA_SERVER_ASK_H

#include <jansson.h>

#include "base/error.h"
#include "base/hash.h"
#include "compiler/compile.h"

struct arena;
struct settings;

struct hints {
    const char *target_hardware;  /* as asked: cpu, native, cuda, levels between commas */
    const char *targets;          /* for the compiler; NULL: all */
    uint32_t expected_batch_size; /* 0: not said */
    const char *precision;        /* fp32, fp16, bf16, int8; "": the blueprint's own */
    uint32_t optimization_level;  /* 0 … 2 */
    enum strategy strategy;
    bool optimize_memory;
    const char *expected_workload; /* "inference", "training", "latency", "throughput"; "" */
};

#define ASK_LESS_MOST 5

struct ask {
    const char *source; /* canonical JSON, or a model's bytes */
    size_t source_bytes;
    char content[SHA256_HEX_BYTES], key[SHA256_HEX_BYTES];
    struct hints hints;
    const char *hints_text;     /* canonical JSON of all */
    const char *compiler;       /* version, with the revision of its sources */
    const char *cache_key;      /* the client's name for it; "" */
    const char *blueprint_id;   /* the blueprint's own; NULL */
    const char *blueprint_name; /* as it calls itself: name or id; NULL */
    /* Legal hints that this build cannot follow. */
    struct ask_less {
        const char *what, *why;
    } less[ASK_LESS_MOST];
    uint32_t less_count;
};

/* With all that it points at in arena. */
void ask_copy(const struct ask *ask, struct arena *arena, struct ask *out);

/* Characters of UTF-8. */
size_t text_length(const char *text);
extern const char *const hint_names[]; /* NULL ends them */

/* object: hints as a client gave them, NULL: none; ERR_JSON names the field. */
bool ask_hints(const struct settings *settings, const json_t *object, struct arena *arena,
               struct ask *out, struct error *err);
/* {blueprint_ir, optimization_hints | hints, cache_key?}. */
bool ask_parse(const struct settings *settings, const json_t *body, struct arena *arena,
               struct ask *out, struct error *err);
/* A model's bytes, or a blueprint's as they are kept (borrowed), with hints parsed before. */
void ask_bytes(const void *bytes, size_t size, struct arena *arena, struct ask *out);
/* From content, hints and source that stand: fills key. */
void ask_finish(struct arena *arena, struct ask *ask);
/* The blueprint's own id, for messages; NULL. */
const char *ask_blueprint_id(const json_t *blueprint, struct arena *arena);
/* Removes hints that stand for "not said" from what hints_text printed. */
void drop_unsaid(json_t *hints);

#endif
