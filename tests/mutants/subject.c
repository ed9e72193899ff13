/* A blueprint, the right package of it, and how many sites each kind has there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "compiler/import/import.h"
#include "mutants.h"

static bool read_blueprint(struct subject *s, const char *path, struct error *err)
{
    char *text;
    size_t size;
    struct import_options import = {.folder = s->folder};
    struct blueprint *blueprint = ARENA_NEW(&s->arena, struct blueprint);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &size, err))
        return false;
    const char *copy = arena_memdup(&s->arena, text, size);
    free(text);
    if (!blueprint_read(copy, size, &import, &s->arena, blueprint, err))
        return false;
    uint32_t count = blueprint->graph.params.count;
    s->graph = blueprint->graph;
    s->json = blueprint->json;
    s->params = ARENA_ARRAY(&s->arena, struct package_param, count + 1);
    for (uint32_t i = 0; i < count; i++)
        if (!blueprint_param_data(blueprint, i, s->folder, &s->arena, &s->params[i], err))
            return false;
    return true;
}

static const char *folder_of(struct arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? arena_strndup(arena, path, (size_t)(slash - path)) : ".";
}

bool subject_open(struct subject *s, const char *name, const char *path, const char *targets,
                  const struct signing_key *key, struct error *err)
{
    struct compile_result result;
    struct trusted_keys trusted = {(const uint8_t(*)[32]) & key->public_key, 1};
    *s = (struct subject){.name = name, .key = *key};
    arena_init(&s->arena);
    s->folder = folder_of(&s->arena, path);
    s->cache = cache_new(&(struct cache_options){0});
    s->options = (struct compile_options){
        .strategy = STRATEGY_FAST, .targets = targets, .key = &s->key, .cache = s->cache};
    if (!read_blueprint(s, path, err) ||
        !compile_graph(&(struct compile_source){&s->graph, s->params, s->json}, &s->options,
                       &s->arena, &result, err))
        return false;
    s->package = arena_alloc(&s->arena, result.package_bytes, 64);
    memcpy((void *)(uintptr_t)s->package, result.package, result.package_bytes);
    s->package_bytes = result.package_bytes;
    return package_read(s->package, s->package_bytes, &(struct trust){TRUST_REQUIRE, &trusted},
                        &s->arena, &s->contents, err) &&
           plant_count(s, err);
}

void subject_close(struct subject *s)
{
    arena_release(&s->arena);
    cache_free(s->cache);
}
