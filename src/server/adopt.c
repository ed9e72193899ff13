/* Makes jobs for blueprints that were submitted to the catalogue. */
#include <string.h>

#include "registry/queue.h"
#include "server/ask.h"
#include "server/feeder.h"

#define ADOPTED_MOST 64 /* at once */

/* Adds a job for a submitted blueprint, with the default hints. Its source is compiled as it is
 * stored, so the object's digest serves as the digest of the content. */
static bool adopt(struct server *server, const struct blueprint_record *blueprint,
                  struct arena *arena, struct error *err)
{
    struct job_record *wanted = record_new(RECORD_job, arena), *job;
    struct ask ask;
    bool joined;
    if (!ask_hints(&server->settings, NULL, arena, &ask, err))
        return false;
    snprintf(ask.content, sizeof ask.content, "%s", blueprint->source);
    ask_finish(arena, &ask);
    wanted->key = ask.key;
    wanted->request = blueprint->source;
    wanted->hints = ask.hints_text;
    wanted->blueprint = blueprint->head.id;
    if (!queue_add(server->queue, wanted, arena, &job, &joined, err))
        return false;
    if (strcmp(job->blueprint, blueprint->head.id) != 0)
        return true; /* another client's job for the same content: wait until it has ended */
    const struct setting setting = {.kind = RECORD_blueprint,
                                    .id = blueprint->head.id,
                                    .status = "COMPILING",
                                    .reason = "",
                                    .client = ""};
    return registry_set(server->registry, &setting, err);
}

void adopt_submitted(struct server *server)
{
    const struct filter filter = {.field = "status", .op = FILTER_IS, .text = "UNVALIDATED"};
    const struct query query = {
        .kind = RECORD_blueprint, .filters = &filter, .filter_count = 1, .limit = ADOPTED_MOST};
    struct records records;
    struct arena arena;
    struct error err;
    jmp_buf no_memory;
    arena_init(&arena);
    if (setjmp(no_memory) == 0) {
        arena.oom = &no_memory;
        if (catalogue_list(registry_catalogue(server->registry), &query, &arena, &records, &err))
            for (uint32_t i = 0; i < records.count; i++)
                if (!adopt(server, records.items[i], &arena, &err) && err.code == ERR_BUSY)
                    break;
    }
    arena.oom = NULL;
    arena_release(&arena);
}
